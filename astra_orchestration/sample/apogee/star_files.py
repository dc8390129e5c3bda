"""The files of an APOGEE star: apStar, as DR19 has it, and mwmStar.

An apStar has images of flux, error and mask with a row for each of two co-adds and for each visit; of a star with one
visit they have one row, and no axis of rows. The images of sky and telluric lines are there without pixels.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from astra_models.fits.header import CardValue, padded
from astra_models.fits.written_header import card, header, primary_cards, table_hdu
from astra_orchestration.pipelines.white_dwarfs.choosing import SAMPLE_CARD
from astra_orchestration.sample.apogee.light import MISSING_ERROR, Exposure, Observed
from astra_orchestration.sample.apogee.lines import LOG_START, LOG_STEP, N_PIXELS, log_wavelengths
from astra_orchestration.sample.apogee.stars import ApogeeStar
from astra_orchestration.sample.star_file import (
    APOGEE_COLUMNS,
    BOSS_COLUMNS,
    RELEASE,
    TELESCOPES,
    V_ASTRA,
    empty_table,
    filled_table,
    grid_cards,
)

APRED = "1.3"
PLATE_OF_FIRST_STARS, STARS_PER_PLATE = 15_000, 20
V_RAD_ERROR = 0.1
FLUX_UNIT = "Flux (10^-17 erg/s/cm^2/Ang)"
ERROR_UNIT = "Err (10^-17 erg/s/cm^2/Ang)"
MASK_UNIT = "Pixel bitmask"
WITHOUT_PIXELS = ("Sky (10^-17 erg/s/cm^2/Ang)", "Sky Error", "Telluric", "Telluric Error")


class CoAddFacts(NamedTuple):
    """What the files say of a co-add: S/N, velocities (km/s), fibres, nights (MJD)."""

    snr: float
    v_rad: float
    e_v_rad: float
    std_v_rad: float
    median_e_v_rad: float
    mean_fiber: float
    std_fiber: float
    n_visits: int
    min_mjd: int
    max_mjd: int


def co_add_facts(star: ApogeeStar, seen: Observed) -> CoAddFacts:
    """Tell of a star's co-add, the same in each file."""
    velocities = [visit.v_rad for visit in star.visits]
    return CoAddFacts(
        snr=round(seen.by_pixel.snr, 4),
        v_rad=round(float(np.mean(velocities)), 4),
        e_v_rad=round(V_RAD_ERROR / len(velocities) ** 0.5, 4),
        std_v_rad=round(float(np.std(velocities)), 4),
        median_e_v_rad=V_RAD_ERROR,
        mean_fiber=round(star.mean_fiber, 4),
        std_fiber=round(float(np.std([visit.fiber for visit in star.visits])), 4),
        n_visits=len(star.visits),
        min_mjd=star.visits[0].mjd,
        max_mjd=star.visits[-1].mjd,
    )


def ap_star_name(star: ApogeeStar) -> str:
    """Give the name of a star's apStar file."""
    return f"apStar-{APRED}-{star.telescope}-{star.obj}.fits"


def mwm_star_name(star: ApogeeStar) -> str:
    """Give the name of a star's mwmStar file."""
    return f"mwmStar-{V_ASTRA}-{star.sdss_id}.fits"


# ---- apStar


def ap_star(star: ApogeeStar, seen: Observed) -> bytes:
    """Make the apStar file of a star.

    Parameters
    ----------
    star : ApogeeStar
        What was observed.
    seen : Observed
        Its pixels.
    """
    rows = [seen.by_pixel, seen.by_visit, *seen.visits] if len(seen.visits) > 1 else [seen.by_pixel]
    content = header(primary_cards([*_ap_star_cards(star, seen), SAMPLE_CARD]))
    content += _image(np.array([row.flux for row in rows]), FLUX_UNIT)
    content += _image(np.array([row.error for row in rows]), ERROR_UNIT)
    content += _image(np.array([row.mask for row in rows]), MASK_UNIT)
    for unit in WITHOUT_PIXELS:
        content += header(_image_cards(-64, (), unit))
    content += table_hdu("LSF", np.zeros(0, [("coefficient", "f8")]))
    return content + table_hdu("VISITS", _visit_table(star, seen), {"VHELIO": "km/s", "VREL": "km/s"})


def _ap_star_cards(star: ApogeeStar, seen: Observed) -> Iterator[tuple[str, CardValue]]:
    facts = co_add_facts(star, seen)
    yield from (
        ("OBJ", star.obj),
        ("OBJID", star.obj),
        ("APRED", APRED),
        ("SURVEY", "SDSS-V"),
        ("HEALPIX", star.healpix),
        ("SDSS_ID", star.sdss_id),
        ("CATID", star.catalogid),
        ("GAIAID", star.gaia_dr3_source_id),
        ("TELESCOP", star.telescope),
        ("RA", star.ra),
        ("DEC", star.dec),
        ("HMAG", star.h_mag),
        ("NVISITS", facts.n_visits),
        ("SNR", facts.snr),
        ("VHBARY", facts.v_rad),
        ("VSCATTER", facts.std_v_rad),
        ("VERR", facts.e_v_rad),
        ("VERR_MED", facts.median_e_v_rad),
        ("MEANFIB", facts.mean_fiber),
        ("SIGFIB", facts.std_fiber),
        ("STARFLAG", 0),
        ("ANDFLAG", 0),
        ("RV_TEFF", round(star.teff, -1)),
        ("RV_LOGG", round(star.logg, 1)),
        ("RV_FEH", round(star.m_h, 1)),
    )
    for number, (visit, exposure) in enumerate(zip(star.visits, seen.visits, strict=True), start=1):
        yield f"SFILE{number}", _visit_name(star, number - 1)
        yield f"JD{number}", visit.mjd + 2_400_000.8
        yield f"FIBER{number}", visit.fiber
        yield f"VHBARY{number}", visit.v_rad
        yield f"SNRVIS{number}", round(exposure.snr, 4)
        yield f"FLAG{number}", 0


def _visit_name(star: ApogeeStar, i: int) -> str:
    prefix = "as" if star.telescope == "lco25m" else "ap"
    plate = PLATE_OF_FIRST_STARS + star.number // STARS_PER_PLATE
    visit = star.visits[i]
    return f"{prefix}Visit-{APRED}-{star.telescope}-{plate}-{visit.mjd}-{visit.fiber:03d}.fits"


def _visit_table(star: ApogeeStar, seen: Observed) -> np.ndarray:
    numbers = [("MJD", "i4"), ("FIBER", "i4"), ("SNR", "f8"), ("VHELIO", "f8"), ("VREL", "f8")]
    rows = np.zeros(len(star.visits), [("FILENAME", "S60"), *numbers])
    for i, (visit, exposure) in enumerate(zip(star.visits, seen.visits, strict=True)):
        rows[i] = (_visit_name(star, i), visit.mjd, visit.fiber, exposure.snr, visit.v_rad, visit.v_rad)
    return rows


def _image(rows: np.ndarray, unit: str) -> bytes:
    """Make an image of rows of pixels; of one row without the axis of the rows."""
    shape = rows.shape if len(rows) > 1 else rows.shape[1:]
    data = rows.astype(rows.dtype.newbyteorder(">")).tobytes()
    return header(_image_cards(-64 if rows.dtype.kind == "f" else 64, shape, unit)) + data.ljust(
        padded(len(data)), b"\0"
    )


def _image_cards(bits: int, shape: tuple[int, ...], unit: str) -> list[str]:
    entries: list[tuple[str, CardValue]] = [("XTENSION", "IMAGE"), ("BITPIX", bits), ("NAXIS", len(shape))]
    entries += [(f"NAXIS{i}", size) for i, size in enumerate(reversed(shape), start=1)]
    entries += [("PCOUNT", 0), ("GCOUNT", 1), ("BUNIT", unit)]
    grid = (("CRVAL1", LOG_START), ("CDELT1", LOG_STEP), ("CRPIX1", 1), ("CTYPE1", "LOG-LINEAR"), ("DC-FLAG", 1))
    return [card(keyword, value) for keyword, value in (*entries, *grid)]


# ---- mwmStar


def mwm_star_of_apogee(star: ApogeeStar, seen: Observed) -> bytes:
    """Make the mwmStar file of a star: four tables, of which the one of its APOGEE telescope has its co-add.

    Parameters
    ----------
    star : ApogeeStar
        What was observed.
    seen : Observed
        Its pixels.
    """
    content = header(primary_cards([*_mwm_star_cards(star), SAMPLE_CARD]))
    for observatory in TELESCOPES:
        content += table_hdu(f"BOSS/{observatory}", empty_table(BOSS_COLUMNS), entries=grid_cards("BOSS", observatory))
    for observatory, telescope in TELESCOPES.items():
        rows = empty_table(APOGEE_COLUMNS)
        if telescope == star.telescope:
            rows = filled_table(APOGEE_COLUMNS, _mwm_star_row(star, seen), N_PIXELS)
        content += table_hdu(f"APOGEE/{observatory}", rows, entries=grid_cards("APOGEE", observatory))
    return content


def _mwm_star_cards(star: ApogeeStar) -> list[tuple[str, CardValue]]:
    mjds = [visit.mjd for visit in star.visits]
    return [
        ("", ""),
        ("", "Metadata"),
        ("V_ASTRA", V_ASTRA),
        ("", ""),
        ("", "Identifiers"),
        ("SDSS_ID", star.sdss_id),
        ("APOGEEID", star.obj),
        ("GAIA2_ID", -1),
        ("GAIA3_ID", star.gaia_dr3_source_id),
        ("TIC_ID", -1),
        ("HEALPIX", star.healpix),
        ("", ""),
        ("", "Targeting"),
        ("LEAD", "gaia_dr3_source"),
        ("VER_ID", 31),
        ("CAT_ID", star.catalogid),
        ("CAT_ID21", -1),
        ("CAT_ID25", -1),
        ("CAT_ID31", star.catalogid),
        ("N_ASSOC", 1),
        ("N_NEIGH", 0),
        ("", ""),
        ("", "Astrometry and photometry"),
        ("RA", star.ra),
        ("DEC", star.dec),
        ("PLX", "NaN"),
        ("E_PLX", "NaN"),
        ("V_RAD", "NaN"),
        ("H_MAG", star.h_mag),
        ("", ""),
        ("", "Observations"),
        ("N_BOSS", 0),
        ("B_MINMJD", -1),
        ("N_MAXMJD", -1),
        ("N_APOGEE", len(mjds)),
        ("A_MINMJD", min(mjds)),
        ("A_MAXMJD", max(mjds)),
    ]


def _mwm_star_row(star: ApogeeStar, seen: Observed) -> dict[str, Any]:
    co_add: Exposure = seen.by_pixel
    return {
        "spectrum_pk": -1,
        "release": RELEASE,
        "filetype": "mwmStar",
        "v_astra": V_ASTRA,
        "healpix": star.healpix,
        "sdss_id": star.sdss_id,
        "apred": APRED,
        "obj": star.obj,
        "telescope": star.telescope,
        "n_entries": 1,
        "n_good_visits": len(star.visits),
        "n_good_rvs": len(star.visits),
        "wavelength": 10 ** log_wavelengths(),
        "flux": co_add.flux,
        "ivar": np.where(co_add.error < MISSING_ERROR, co_add.ivar, 0),
        "pixel_flags": co_add.mask,
        "continuum": seen.continuum,
        "nmf_rectified_model_flux": seen.model,
        "nmf_rchi2": 1.0,
        **co_add_facts(star, seen)._asdict(),
    }
