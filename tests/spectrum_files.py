"""FITS files built as the survey builds them (see its data model), with pixels that a test can predict.

Every array has values of its own: flux ``1 + number of the spectrum``, errors 0.5, and so an inverse variance of 4.
"""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

N_APOGEE, N_BOSS = 8575, 4648
GRIDS = {"BOSS": (3.5523, 1e-4, N_BOSS), "APOGEE": (4.179, 6e-6, N_APOGEE)}
MISSING = slice(0, 300)
"""Pixels that are missing in an apStar: flux 0, error 1e10, mask bit 0."""


def apstar_images(n_visits: int, wide: bool = False) -> list[np.ndarray]:
    """Make flux, error and mask of an apStar: two co-adds and the visits, or 1-D for one visit."""
    n_rows = 1 if n_visits == 1 else n_visits + 2
    flux = np.ones((n_rows, N_APOGEE)) + np.arange(n_rows)[:, None]
    error, mask = np.full_like(flux, 0.5), np.zeros(flux.shape, int)
    flux[:, MISSING], error[:, MISSING], mask[:, MISSING] = 0, 1e10, 1
    flux[:, 400:410] = 0  # with an ordinary error, and no bit
    types = (">f8", ">f8", ">i8") if wide else (">f4", ">f4", ">i2")
    images = [image.astype(kind) for image, kind in zip((flux, error, mask), types, strict=True)]
    return [image[0] for image in images] if n_visits == 1 else images


def write_apstar(path: Path, n_visits: int = 3, wide: bool = False, apred: str = "r6", **cards: Any) -> Path:
    """Write an apStar of SDSS-III/IV, or (wide) of the types of DR19."""
    primary = fits.PrimaryHDU()
    given = {"OBJID": "2M00000000+0000000", "TELESCOP": "apo25m", "FIELD": "120-45", "NVISITS": n_visits, "SNR": 80.0}
    for i in range(1, n_visits + 1):
        given |= {
            f"SFILE{i}": f"apVisit-{apred}-6561-{56580 + i}-{130 + i:03d}.fits",
            f"JD{i}": 2456581.2 + i,
            f"FIBER{i}": 130 + i,
            f"VHELIO{i}": 7.0 + i,
            f"SNRVIS{i}": 40.0,
            f"BC{i}": -6.5,
        }
    primary.header.update(given | cards)
    units = ("Flux (10^-17 erg/s/cm^2/Ang)", "Err (10^-17 erg/s/cm^2/Ang)", "Pixel bitmask")
    hdus: list[Any] = [primary]
    for image, unit in zip(apstar_images(n_visits, wide), units, strict=True):
        hdu = fits.ImageHDU(image)
        hdu.header.update({"CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "BUNIT": unit})
        hdus.append(hdu)
    sky = [fits.ImageHDU(np.zeros_like(hdus[1].data)) for _ in range(4)]
    table = fits.BinTableHDU.from_columns([fits.Column("FILE", "30A", array=["apVisit"])])
    fits.HDUList([*hdus, *sky, fits.ImageHDU(np.zeros(26)), table]).writeto(path, overwrite=True)
    return path


def write_apvisit(path: Path, survey: str | None = "apogee", **cards: Any) -> Path:
    """Write an apVisit: three chips from red to blue, wavelengths that decrease, some unusable pixels."""
    primary = fits.PrimaryHDU()
    given = {
        "LOCID": 4476,
        "PLATE": "6561",
        "TELESCOP": "apo25m",
        "MJD5": 56587,
        "FIBERID": 131,
        "DATE-OBS": "2013-10-22T05:06:52.142",
        "EXPTIME": 2002.04,
        "JD-MID": 2456587.73637,
        "OBJID": "2M00452143+1634446",
        "RA": 11.339304,
        "DEC": 16.579082,
        "SNR": 39.9,
        "STARFLAG": 4,
        "BC": -6.4667,
        "VHELIO": 595.82,
        "V_APRED": "v3_15",
    }
    primary.header.update(given | ({"SURVEY": survey} if survey else {}) | cards)
    wavelength = np.array([np.linspace(*ends, 4096) for ends in ((16955, 16473), (16436, 15858), (15811, 15143))])
    flux = np.ones((3, 4096)) * [[30], [20], [10]]
    error, mask = np.full_like(flux, 0.5), np.zeros(flux.shape)
    error[0, 0], error[2, -1], mask[0, 0] = 7e6, np.nan, 1
    arrays = (flux.astype(">f4"), error.astype(">f4"), mask.astype(">i2"), wavelength.astype(">f8"))
    units = ("Flux (10^-17 erg/s/cm^2/Ang)", "Flux Error (same)", "Flag Mask (bitwise)", "Wavelength (Ang)")
    hdus: list[Any] = [primary]
    for array, unit in zip(arrays, units, strict=True):
        hdu = fits.ImageHDU(array)
        hdu.header["BUNIT"] = unit
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def write_spec_full(path: Path, n_pixels: int = 4600, upper_case: bool = True) -> Path:
    """Write a specFull: header, COADD, SPALL, ZALL and an exposure."""
    primary = fits.PrimaryHDU()
    primary.header.update({f"CARD{i:03d}": i for i in range(140)} | {"COEFF0": 3.5523, "COEFF1": 1e-4, "VACUUM": True})
    names = ["FLUX", "LOGLAM", "IVAR", "AND_MASK", "OR_MASK", "WDISP", "SKY", "MODEL", "WRESL"]
    coadd = np.zeros(n_pixels, [(name, ">i4" if name.endswith("MASK") else ">f4") for name in names])
    coadd["FLUX"], coadd["IVAR"], coadd["WRESL"] = 1 + np.arange(n_pixels) % 7, 4, 1.5
    coadd["IVAR"][:5] = 0
    coadd["LOGLAM"] = 3.5523 + 1e-4 * np.arange(n_pixels)
    if not upper_case:
        coadd.dtype.names = [name.lower() for name in names]
    exposure = np.zeros(n_pixels, [(name, ">f4") for name in ("FLUX", "LOGLAM", "IVAR", "SKY")])
    tables = {"COADD": coadd, "SPALL": np.zeros(1, [("MJD", ">i4")]), "ZALL": np.zeros(30, [("Z", ">f4")])}
    hdus = [fits.BinTableHDU(rows, name=name) for name, rows in (tables | {"MJD_EXP_59874-00": exposure}).items()]
    fits.HDUList([primary, *hdus]).writeto(path, overwrite=True, checksum=True)
    return path


BOSS_STAR = "release:4A filetype:8A v_astra:5A healpix:J sdss_id:K run2d:6A telescope:6A min_mjd:J max_mjd:J n_visits:J"
APOGEE_STAR = (
    "release:4A filetype:8A v_astra:5A healpix:J sdss_id:K apred:4A obj:18A telescope:6A min_mjd:J max_mjd:J "
    "n_entries:J n_visits:J snr:E v_rad:E doppler_teff:E"
)
BOSS_VISIT = (
    "release:4A filetype:8A v_astra:5A healpix:J sdss_id:K run2d:6A mjd:J fieldid:J catalogid:K telescope:6A exptime:E "
    "snr:E xcsao_v_rad:E zwarning_flags:K fiber_offset:L delta_ra:3E"
)
APOGEE_VISIT = (
    "catalogid:K star_pk:K visit_pk:K rv_visit_pk:K release:4A filetype:8A v_astra:5A healpix:J sdss_id:K apred:4A "
    "plate:5A telescope:6A fiber:J mjd:J field:6A prefix:2A reduction:1A obj:18A date_obs:26A jd:E input_ra:E snr:E "
    "v_rad:E v_rel:E bc:E dithered:L"
)
STAR_PIXELS = ("wavelength", "flux", "ivar", "pixel_flags", "continuum", "nmf_rectified_model_flux")
BOSS_VISIT_PIXELS = ("flux", "ivar", "wresl", "pixel_flags", "continuum")
APOGEE_VISIT_PIXELS = ("flux", "ivar", "pixel_flags", "continuum")
TABLES = (("BOSS", "APO"), ("BOSS", "LCO"), ("APOGEE", "APO"), ("APOGEE", "LCO"))
DEFAULTS = {"release": "dr20", "v_astra": "0.8.1", "sdss_id": 54392544, "healpix": 28656}


def write_mwm_star(path: Path, rows: dict[int, dict[str, Any]], key: str = "spectrum_pk", **cards: Any) -> Path:
    """Write an mwmStar; `rows` gives values by number of the HDU, the others have no rows.

    A value ``clean`` leaves out inverse variances that are none.
    """
    filled = {number: [{"filetype": "mwmStar"} | values] for number, values in rows.items()}
    return _write_mwm(path, filled, (BOSS_STAR, APOGEE_STAR), (STAR_PIXELS, STAR_PIXELS), key, cards)


def write_mwm_visit(path: Path, rows: dict[int, list[dict[str, Any]]], key: str = "spectrum_pk", **cards: Any) -> Path:
    """Write an mwmVisit; `rows` gives the visits by number of the HDU, the others have no rows."""
    filled = {number: [{"filetype": "mwmVisit"} | values for values in visits] for number, visits in rows.items()}
    return _write_mwm(path, filled, (BOSS_VISIT, APOGEE_VISIT), (BOSS_VISIT_PIXELS, APOGEE_VISIT_PIXELS), key, cards)


def _write_mwm(
    path: Path, rows: dict[int, list[dict[str, Any]]], columns: Any, pixels: Any, key: str, cards: Any
) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"V_ASTRA": "0.8.1", "SDSS_ID": 54392544, "APOGEEID": "", "GAIA3_ID": -1, "PLX": "NaN"} | cards
    )
    hdus: list[Any] = [primary]
    for number, (instrument, observatory) in enumerate(TABLES, start=1):
        kind = instrument == "APOGEE"
        table = _mwm_table(instrument, observatory, f"{key}:K {columns[kind]}", pixels[kind], rows.get(number, []))
        hdus.append(table)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def _mwm_table(instrument: str, observatory: str, columns: str, pixels: Any, rows: list[dict[str, Any]]) -> Any:
    crval, cdelt, n_pixels = GRIDS[instrument]
    telescope = {"APO": "apo25m", "LCO": "lco25m"}[observatory]
    given = []
    for name, form in (word.split(":") for word in columns.split()):
        values = [(DEFAULTS | {"telescope": telescope} | row).get(name, _missing(form)) for row in rows]
        if not rows:  # text of width 1 and arrays of width 0, as in the survey's files
            form = "1A" if "A" in form else "0E" if form[0].isdigit() else form
        given.append(fits.Column(name, form, array=np.array(values) if rows else None))
    for name in pixels:
        array = np.array(
            [_mwm_pixels(name, number, GRIDS[instrument], "clean" in row) for number, row in enumerate(rows)],
            dtype=">f4",
        )
        form = f"{n_pixels if rows else 0}E"
        given.append(fits.Column(name, form, array=array if rows else np.zeros((0, 0), ">f4")))
    given += [
        fits.Column("nmf_rchi2", "E", array=np.ones(len(rows))),
        fits.Column("nmf_flags", "K", array=np.ones(len(rows))),
    ]
    hdu = fits.BinTableHDU.from_columns(given, nrows=len(rows), name=f"{instrument}/{observatory}")
    grid = {"CRVAL": crval, "CDELT": cdelt, "CTYPE": "LOG-LINEAR", "CUNIT": "Angstrom (Vacuum)", "NPIXELS": n_pixels}
    hdu.header.update({"INSTRMNT": instrument, "OBSRVTRY": observatory} | grid)
    return hdu


def _missing(form: str) -> Any:
    return "" if "A" in form else np.nan if form == "E" else [np.nan] * int(form[:-1]) if "E" in form else 0


def _mwm_pixels(name: str, number: int, grid: tuple[float, float, int], clean: bool) -> np.ndarray:
    crval, cdelt, n_pixels = grid
    if name == "wavelength":
        return 10 ** (crval + cdelt * np.arange(n_pixels))
    values = {
        "flux": number + 1,
        "ivar": 4,
        "pixel_flags": 0,
        "continuum": 2,
        "nmf_rectified_model_flux": 0.5,
        "wresl": 1.5,
    }
    array = np.full(n_pixels, values[name], dtype=float)
    if name == "ivar":
        array[:3] = 0 if clean else (0, np.nan, -1)
    if name == "pixel_flags":
        array[:2] = 2**20 + 1, np.nan
    return array
