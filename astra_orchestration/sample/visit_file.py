"""The specFull file of a visit: a header, the spectrum, and one row that says of what it is and how it was taken.

Columns, their order and their types are those of the survey's files, as far as anything reads them.
"""

from typing import Any

import numpy as np

from astra_models.fits.header import CardValue
from astra_models.fits.written_header import header, primary_cards, table_hdu
from astra_orchestration.pipelines.white_dwarfs.choosing import SAMPLE_CARD
from astra_orchestration.pipelines.white_dwarfs.grid import BOSS_RESOLUTION
from astra_orchestration.sample.light import (
    FWHM_OF_SIGMA,
    LOG_START,
    LOG_STEP,
    N_PIXELS,
    SPEED_OF_LIGHT,
    Observation,
    log_wavelengths,
)
from astra_orchestration.sample.stars import Star, Visit

RUN2D = "v6_2_1"
NAMES = {"APO": "SDSS 2.5-M", "LCO": "LCO Du Pont"}
EXPOSURE_TIME = 900.0

FLUX_UNIT = "10^-17 ergs/s/cm^2/Angs"
COADD_UNITS = {
    "FLUX": FLUX_UNIT,
    "LOGLAM": "log10(Angs)",
    "WDISP": "Pixels",
    "SKY": FLUX_UNIT,
    "MODEL": FLUX_UNIT,
    "WRESL": "Angs",
}


def spec_full(star: Star, visit: Visit, seen: Observation, random: np.random.Generator) -> bytes:
    """Make the specFull file of a visit: a header, the spectrum, and one row that says of what and how.

    Parameters
    ----------
    star, visit : Star, Visit
        What was observed, and when.
    seen : Observation
        The pixels.
    random : numpy.random.Generator
        Weather, and errors of what the reduction measured.
    """
    weather = _weather(random)
    return (
        header(primary_cards([*_visit_cards(star, visit, weather), SAMPLE_CARD]))
        + table_hdu("COADD", _coadd_rows(seen), COADD_UNITS)
        + table_hdu("SPALL", _one_row(_spall(star, visit, seen, weather, random)))
    )


def _coadd_rows(seen: Observation) -> np.ndarray:
    columns = {
        "FLUX": seen.flux,
        "LOGLAM": log_wavelengths(),
        "IVAR": seen.ivar,
        "AND_MASK": seen.and_mask,
        "OR_MASK": seen.or_mask,
        "WDISP": np.full(N_PIXELS, 1 / (BOSS_RESOLUTION * FWHM_OF_SIGMA * LOG_STEP * np.log(10))),
        "SKY": seen.sky,
        "MODEL": seen.model,
        "WRESL": 10 ** log_wavelengths() / BOSS_RESOLUTION,
    }
    kinds = [(name, ">i4" if values.dtype.kind == "i" else ">f4") for name, values in columns.items()]
    rows = np.zeros(seen.inside.stop - seen.inside.start, kinds)
    for name, values in columns.items():
        rows[name] = values[seen.inside]
    return rows


def _weather(random: np.random.Generator) -> dict[str, float]:
    return {
        "airmass": round(float(random.uniform(1.0, 1.6)), 4),
        "seeing": round(float(random.uniform(0.9, 2.2)), 3),
        "airtemp": round(float(random.uniform(-5, 20)), 2),
        "humidity": round(float(random.uniform(10, 80)), 2),
        "moon_distance": round(float(random.uniform(30, 120)), 1),
        "moon_phase": round(float(random.uniform(0, 1)), 3),
        "n_exp": float(random.integers(3, 6)),
    }


def _visit_cards(star: Star, visit: Visit, weather: dict[str, float]) -> list[tuple[str, CardValue]]:
    n_exp = int(weather["n_exp"])
    return [
        ("TELESCOP", NAMES[star.observatory]),
        ("OBSERVAT", star.observatory),
        ("NEXP", n_exp),
        ("EXPTIME", n_exp * EXPOSURE_TIME),
        ("PLATEID", ""),
        ("CARTID", "FPS-N" if star.observatory == "APO" else "FPS-S"),
        ("MAPID", ""),
        ("FIELDID", star.fieldid),
        ("MJD", visit.mjd),
        ("RA", star.ra),
        ("DEC", star.dec),
        ("AIRTEMP", weather["airtemp"]),
        ("DEWPOINT", "NaN"),
        ("HUMIDITY", weather["humidity"]),
        ("TAI-BEG", visit.mjd * 86_400),
        ("TAI-END", visit.mjd * 86_400 + int(n_exp * EXPOSURE_TIME)),
        ("VERS2D", RUN2D),
        ("VERSCOMB", RUN2D),
        ("RUN2D", RUN2D),
        ("VACUUM", True),
        ("PSFSKY", 3),
        ("PREJECT", 0.2),
        ("NSTD", 70),
        ("LOWREJ", 5),
        ("HIGHREJ", 8),
        ("SCATPOLY", 0),
        ("PROFTYPE", 1),
        ("NFITPOLY", 1),
        ("COEFF0", LOG_START),
        ("COEFF1", LOG_STEP),
        ("BUNIT", "1E-17 erg/cm^2/s/Ang"),
    ]


def _spall(
    star: Star, visit: Visit, seen: Observation, weather: dict[str, float], random: np.random.Generator
) -> dict[str, Any]:
    n_exp = int(weather["n_exp"])
    snr = np.float32(seen.snr)
    shown = "WD" if star.kind == "DA" else f"{star.kind}5"
    return {
        "PROGRAMNAME": "mwm_wd" if star.kind == "DA" else "mwm_galactic",
        "SURVEY": "mwm",
        "OBS": star.observatory,
        "FIELD": np.int32(star.fieldid),
        "MJD": np.int32(visit.mjd),
        "MJD_FINAL": np.float64(visit.mjd + 0.3),
        "RUN2D": RUN2D,
        "RUN1D": RUN2D,
        "CATALOGID": np.int64(star.catalogid),
        "SDSS_ID": np.int64(star.sdss_id),
        "SPECOBJID": f"{star.fieldid}{visit.mjd}{star.catalogid}"[:29],
        "OBJTYPE": "science",
        "RACAT": np.float64(star.ra),
        "DECCAT": np.float64(star.dec),
        "GAIA_G_MAG": np.float32(star.g_mag),
        "BP_MAG": np.float32(-999),
        "RP_MAG": np.float32(-999),
        "HEALPIX": np.int32(-1),
        "NEXP": np.int32(n_exp),
        "EXPTIME": np.float32(n_exp * EXPOSURE_TIME),
        "AIRMASS": np.float32(weather["airmass"]),
        "SEEING50": np.float32(weather["seeing"]),
        "MOON_DIST": _as_list(weather["moon_distance"], n_exp),
        "MOON_PHASE": _as_list(weather["moon_phase"], n_exp),
        "DELTA_RA_LIST": _as_list(0.0, n_exp),
        "DELTA_DEC_LIST": _as_list(0.0, n_exp),
        "FIBER_OFFSET": np.uint8(0),
        "CLASS": "STAR",
        "SUBCLASS": shown,
        "Z": np.float32(visit.v_rad / SPEED_OF_LIGHT),
        "ZWARNING": np.int64(0),
        "SN_MEDIAN": np.full(5, snr, np.float32),
        "SN_MEDIAN_ALL": snr,
        "GRI_GAIA_TRANSFORM": np.int64(0),
    } | _xcsao(star, visit, float(snr), random)


def _xcsao(star: Star, visit: Visit, snr: float, random: np.random.Generator) -> dict[str, np.float32]:
    """Give what cross-correlation with templates of normal stars finds: nothing for a white dwarf."""
    error = 60 / snr
    found = {
        "XCSAO_RV": visit.v_rad + error * random.standard_normal(),
        "XCSAO_ERV": error,
        "XCSAO_RXC": 4 + snr / 3,
        "XCSAO_TEFF": star.teff + 100 * random.standard_normal(),
        "XCSAO_ETEFF": 100.0,
        "XCSAO_LOGG": star.logg,
        "XCSAO_ELOGG": 0.2,
        "XCSAO_FEH": 0.0,
        "XCSAO_EFEH": 0.2,
    }
    missing = np.nan if star.number % 2 else -999.0
    return {name: np.float32(missing if star.kind == "DA" else value) for name, value in found.items()}


def _as_list(value: float, n_exp: int) -> str:
    return " ".join([f"{value:g}"] * n_exp)


def _one_row(values: dict[str, Any]) -> np.ndarray:
    cells = {name: np.asarray(value.encode() if isinstance(value, str) else value) for name, value in values.items()}
    kinds = [(name, cell.dtype, cell.shape) for name, cell in cells.items()]
    return np.array([tuple(cells.values())], dtype=kinds)
