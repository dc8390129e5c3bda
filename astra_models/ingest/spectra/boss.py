"""BOSS spectra of one visit: spec and specFull files, and optical templates.

A specFull file of SDSS-V says which catalogue entry and which source it is of. Earlier files don't, so that
stable numbers stand in, all negative to show that they are none of SDSS-V's:

- the spectrum's ``catalogid`` is minus the number of the fiber, which is unique on a plate and night
  (``fieldid`` is the plate);
- the source's ``catalogid`` is minus the object's number in the SDSS photometric catalogue, which is the
  same on any plate, or, without one, minus a number made of the position to the arcsecond.

An optical template (columns LogLam, Flux, PropErr) is of no source, plate or night: these are 0, and its
``catalogid`` is minus a number made of its file name.

The release of an earlier file is the first data release that published its reduction (`REDUCTION_RELEASES`).
"""

import hashlib
import os

import numpy as np

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.star_file import FitsFile, Row
from astra_models.ingest.spectra import values as v
from astra_models.ingest.spectra.content import FileContent, From, Kind, Values, take

SPECTRUM_COLUMNS = {"FLUX", "LOGLAM", "IVAR"}
TEMPLATE_COLUMNS = {"FLUX", "LOGLAM", "PROPERR"}
TABLE_NAMES = ("SPALL", "SPECOBJ")
IDENTIFYING = ("CATALOGID", "FIELD", "MJD", "PLATE", "FIBERID", "RUN2D")

REDUCTION_RELEASES = {
    "26": "dr8",
    "103": "dr8",
    "104": "dr8",
    "v5_4_45": "dr9",
    "v5_5_12": "dr10",
    "v5_6_5": "dr11",
    "v5_7_0": "dr12",
    "v5_7_2": "dr12",
    "v5_9_0": "dr13",
    "v5_10_0": "dr14",
    "v5_13_0": "dr16",
    "v5_13_2": "dr17",
}
OTHER_RELEASE = "sdss4"

TELESCOPES = {"APO": "apo25m", "LCO": "lco25m", "SDSS 2.5-M": "apo25m"}

HEADER_COLUMNS = {
    "exptime": From(v.positive, ("EXPTIME",)),
    "n_exp": From(v.whole, ("NEXP",)),
    "plateid": From(v.identifier, ("PLATEID",)),
    "cartid": From(v.whole, ("CARTID",)),
    "mapid": From(v.whole, ("MAPID",)),
    "slitid": From(v.whole, ("SLITID", "SLITID1", "SLITID2")),
    "psfsky": From(v.whole, ("PSFSKY",)),
    "preject": From(v.number, ("PREJECT",)),
    "n_std": From(v.whole, ("NSTD",)),
    "n_gal": From(v.whole, ("NGAL",)),
    "lowrej": From(v.whole, ("LOWREJ",)),
    "highrej": From(v.whole, ("HIGHREJ",)),
    "scatpoly": From(v.whole, ("SCATPOLY",)),
    "proftype": From(v.whole, ("PROFTYPE",)),
    "nfitpoly": From(v.whole, ("NFITPOLY",)),
    "skychi2": From(v.number, ("SKYCHI2",)),
    "schi2min": From(v.number, ("SCHI2MIN",)),
    "schi2max": From(v.number, ("SCHI2MAX",)),
    "alt": From(v.number, ("ALT",)),
    "az": From(v.number, ("AZ",)),
    "airmass": From(v.positive, ("AIRMASS",)),
    "seeing": From(v.positive, ("SEEING50",)),
    "airtemp": From(v.number, ("AIRTEMP", "TEMP")),
    "dewpoint": From(v.number, ("DEWPOINT", "DPTEMP")),
    "humidity": From(v.number, ("HUMIDITY",)),
    "pressure": From(v.number, ("PRESSURE",)),
    "dust_a": From(v.number, ("DUSTA",)),
    "dust_b": From(v.number, ("DUSTB",)),
    "gust_direction": From(v.number, ("GUSTD",)),
    "gust_speed": From(v.number, ("GUSTS",)),
    "wind_direction": From(v.number, ("WINDD",)),
    "wind_speed": From(v.number, ("WINDS",)),
    "n_guide": From(v.whole, ("NGUIDE",)),
    "tai_beg": From(v.whole, ("TAI-BEG",)),
    "tai_end": From(v.whole, ("TAI-END",)),
}

# Only in SDSS-V do these names have this meaning: in BOSS files AIRMASS and FIELD, for example, are of the
# imaging.
V6_COLUMNS = {
    "exptime": From(v.positive, ("EXPTIME",)),
    "n_exp": From(v.whole, ("NEXP",)),
    "airmass": From(v.positive, ("AIRMASS",)),
    "seeing": From(v.positive, ("SEEING50",)),
    "healpix": From(v.whole, ("HEALPIX",)),
    "moon_dist_mean": From(v.mean, ("MOON_DIST",)),
    "moon_phase_mean": From(v.mean, ("MOON_PHASE",)),
    "fiber_offset": From(v.boolean, ("FIBER_OFFSET",)),
    "delta_ra": From(v.numbers, ("DELTA_RA_LIST",)),
    "delta_dec": From(v.numbers, ("DELTA_DEC_LIST",)),
    "xcsao_v_rad": From(v.number, ("XCSAO_RV",)),
    "xcsao_e_v_rad": From(v.positive, ("XCSAO_ERV",)),
    "xcsao_rxc": From(v.number, ("XCSAO_RXC",)),
    "xcsao_teff": From(v.positive, ("XCSAO_TEFF",)),
    "xcsao_e_teff": From(v.positive, ("XCSAO_ETEFF",)),
    "xcsao_logg": From(v.number, ("XCSAO_LOGG",)),
    "xcsao_e_logg": From(v.positive, ("XCSAO_ELOGG",)),
    "xcsao_fe_h": From(v.number, ("XCSAO_FEH",)),
    "xcsao_e_fe_h": From(v.positive, ("XCSAO_EFEH",)),
    "gri_gaia_transform_flags": From(v.flags, ("GRI_GAIA_TRANSFORM",)),
}

V6_SOURCE_COLUMNS = {
    "sdss_id": From(v.identifier, ("SDSS_ID",)),
    "catalogid": From(v.identifier, ("CATALOGID",)),
    "catalogid21": From(v.identifier, ("CATALOGID_V0",)),
    "catalogid25": From(v.identifier, ("CATALOGID_V0P5",)),
    "catalogid31": From(v.identifier, ("CATALOGID_V1",)),
    "ra": From(v.number, ("RACAT", "RA", "PLUG_RA")),
    "dec": From(v.number, ("DECCAT", "DEC", "PLUG_DEC")),
    "healpix": From(v.whole, ("HEALPIX",)),
    "g_mag": From(v.magnitude, ("GAIA_G_MAG",)),
    "bp_mag": From(v.magnitude, ("GAIA_BP_MAG", "BP_MAG")),
    "rp_mag": From(v.magnitude, ("GAIA_RP_MAG", "RP_MAG")),
}

EARLY_SOURCE_COLUMNS = {
    "ra": From(v.number, ("RA", "PLUG_RA")),
    "dec": From(v.number, ("DEC", "PLUG_DEC")),
    "l": From(v.number, ("L",)),
    "b": From(v.number, ("B",)),
}


def has_boss_spectrum(file: FitsFile) -> bool:
    """Tell whether HDU 1 is a table with the columns of a BOSS spectrum."""
    return len(file.hdus) > 1 and set(file.hdus[1].columns) >= SPECTRUM_COLUMNS


def is_template(file: FitsFile) -> bool:
    """Tell whether HDU 1 is a table with the columns of an optical template."""
    return len(file.hdus) > 1 and set(file.hdus[1].columns) >= TEMPLATE_COLUMNS


def read_visit(file: FitsFile) -> FileContent:
    """Read what a spec or specFull file says of its visit and source.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    _require_pixels(file)
    row = _table_row(file)
    is_v6 = "CATALOGID" in row
    visit = _v6_visit(file, row) if is_v6 else _early_visit(file, row)
    source = take(V6_SOURCE_COLUMNS, row, file.primary) if is_v6 else _early_source(file, row)
    visit |= {
        "zwarning_flags": v.flags(row.get("ZWARNING")),
        "snr": v.number(row.get("SN_MEDIAN_ALL")),
        "path": file.path,
        "spec_file": os.path.basename(file.path),
    }
    if visit["snr"] is None:
        visit["snr"] = _signal_to_noise(file)
    return FileContent(file.path, source, [(BossVisitSpectrum, visit)])


def read_template(file: FitsFile) -> FileContent:
    """Read an optical template, which is kept as a spectrum without source, plate or night.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated.
    """
    _require_pixels(file)
    name = os.path.basename(file.path)
    digest = hashlib.blake2b(name.encode(), digest_size=7).digest()
    visit = {
        "release": "template",
        "filetype": "template",
        "run2d": "",
        "mjd": 0,
        "fieldid": 0,
        "catalogid": -1 - int.from_bytes(digest, "big"),
        "snr": _template_signal_to_noise(file),
        "path": file.path,
        "spec_file": name,
    }
    return FileContent(file.path, None, [(BossVisitSpectrum, visit)])


def _v6_visit(file: FitsFile, row: Row) -> Values:
    observatory = v.text(row.get("OBS")) or v.text(file.primary.get("OBSERVAT")) or ""
    key = {
        "run2d": v.text(row.get("RUN2D")) or _reduction(file),
        "mjd": v.whole(row.get("MJD")),
        "fieldid": v.whole(row.get("FIELD")),
        "catalogid": v.identifier(row.get("CATALOGID")),
    }
    _require(key, "SPALL", row)
    return (
        take(HEADER_COLUMNS, file.primary)
        | take(V6_COLUMNS, row, file.primary)
        | key
        | {"release": "sdss5", "filetype": "specFull", "telescope": TELESCOPES.get(observatory.upper())}
    )


def _early_visit(file: FitsFile, row: Row) -> Values:
    run2d = v.text(row.get("RUN2D")) or _reduction(file)
    fiber = v.identifier(row.get("FIBERID")) or v.identifier(file.primary.get("FIBERID"))
    key = {
        "run2d": run2d,
        "mjd": v.whole(row.get("MJD")) or v.whole(file.primary.get("MJD")),
        "fieldid": v.identifier(row.get("PLATE")) or v.identifier(file.primary.get("PLATEID")),
        "catalogid": -fiber if fiber else None,
    }
    _require(key, "SPECOBJ or SPALL", row)
    telescope = str(file.primary.get("TELESCOP", "")).strip().upper()
    return (
        take(HEADER_COLUMNS, file.primary)
        | key
        | {
            "release": REDUCTION_RELEASES.get(str(run2d), OTHER_RELEASE),
            "filetype": "spec",
            "telescope": TELESCOPES.get(telescope),
        }
    )


def _early_source(file: FitsFile, row: Row) -> Values:
    source = take(EARLY_SOURCE_COLUMNS, row)
    for column, card in (("ra", "PLUG_RA"), ("dec", "PLUG_DEC")):
        if source[column] is None:
            source[column] = v.number(file.primary.get(card))
    # In the older tables OBJID is five numbers and BESTOBJID the photometric object, later OBJID is the
    # object.
    object_number = v.identifier(row.get("BESTOBJID")) or v.identifier(row.get("OBJID"))
    source["catalogid"] = _position_number(source) if object_number is None else -object_number
    return source


def _position_number(source: Values) -> int | None:
    ra, dec = source["ra"], source["dec"]
    if not isinstance(ra, float) or not isinstance(dec, float):
        return None
    return -1 - round(ra * 3600) * 648_001 - round((dec + 90) * 3600)


def _table_row(file: FitsFile) -> Row:
    if len(file.hdus) < 3 or not file.hdus[2].is_table or file.hdus[2].n_rows != 1:
        raise UnrecognizedFileError(
            "HDU 1 is a BOSS spectrum, but nothing says of what: looked for a table of one row, "
            f"{' or '.join(TABLE_NAMES)}, in HDU 2; found {file.describe()}"
        )
    return file.row(2)


def _require_pixels(file: FitsFile) -> None:
    file.require_data(1, "pixels")
    if file.hdus[1].n_rows == 0:
        raise UnrecognizedFileError("the spectrum in HDU 1 has no pixels")


def _require(key: Values, table: str, row: Row) -> None:
    missing = [name for name, value in key.items() if value is None]
    if missing:
        found = ", ".join(f"{name} {row.get(name)!r}" for name in IDENTIFYING if name in row)
        raise UnrecognizedFileError(
            f"it has no usable {', '.join(missing)}: looked for {' and '.join(IDENTIFYING[:3])} (SDSS-V) or "
            f"{', '.join(IDENTIFYING[3:])} in the table {table}; found {found or 'none of them'}"
        )


def _reduction(file: FitsFile) -> str | None:
    return next((text for name in ("RUN2D", "VERS2D") if (text := v.text(file.primary.get(name)))), None)


def _signal_to_noise(file: FitsFile) -> float | None:
    flux, ivar = file.arrays(1, "FLUX", "IVAR")
    good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    return float(np.median(flux[good] * np.sqrt(ivar[good]))) if np.any(good) else None


def _template_signal_to_noise(file: FitsFile) -> float | None:
    flux, error = file.arrays(1, "FLUX", "PROPERR")
    good = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    return float(np.median(flux[good] / error[good])) if np.any(good) else None


VISIT = Kind(
    "a spec or specFull (HDU 1 a table with FLUX, LOGLAM and IVAR; HDU 2 one row of SPECOBJ or SPALL)",
    has_boss_spectrum,
    read_visit,
)
TEMPLATE = Kind("an optical template (HDU 1 a table with LogLam, Flux and PropErr)", is_template, read_template)
