"""The mwmStar file of a star: four tables, of which one has the co-add of its visits in the rest frame.

Columns, their order and their types are those of the survey's files. A table without a spectrum is there all the
same, without rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from astra_models.fits.header import CardValue
from astra_models.fits.written_header import header, primary_cards, table_hdu
from astra_models.pixels.arrays import APOGEE_GRID, BOSS_GRID
from astra_orchestration.pipelines.white_dwarfs.choosing import SAMPLE_CARD
from astra_orchestration.sample.light import (
    LOG_STEP,
    N_PIXELS,
    Array,
    Observation,
    doppler_factor,
    log_wavelengths,
)
from astra_orchestration.sample.stars import Star, Visit
from astra_orchestration.sample.visit_file import RUN2D

V_ASTRA = "0.8.1"
RELEASE = "sdss5"
TELESCOPES = {"APO": "apo25m", "LCO": "lco25m"}

PIXEL_ARRAYS = ("wavelength", "flux", "ivar", "pixel_flags", "continuum", "nmf_rectified_model_flux")
STAR_TEXT = {"release": 5, "filetype": 7, "v_astra": 5, "run2d": 6, "telescope": 6, "apred": 3, "obj": 18}
BOSS_COLUMNS = (
    "spectrum_pk_id:i8 release filetype v_astra healpix:i4 sdss_id:i8 run2d telescope min_mjd:i4 max_mjd:i4 "
    "n_visits:i4 n_good_visits:i4 n_good_rvs:i4 v_rad e_v_rad std_v_rad median_e_v_rad xcsao_teff xcsao_e_teff "
    "xcsao_logg xcsao_e_logg xcsao_fe_h xcsao_e_fe_h xcsao_meanrxc snr gri_gaia_transform_flags:i8 "
    "zwarning_flags:i8 wavelength flux ivar pixel_flags continuum nmf_rectified_model_flux nmf_rchi2 nmf_flags:i8"
)
APOGEE_COLUMNS = (
    "spectrum_pk:i8 release filetype v_astra healpix:i4 sdss_id:i8 apred obj telescope min_mjd:i4 max_mjd:i4 "
    "n_entries:i4 n_visits:i4 n_good_visits:i4 n_good_rvs:i4 snr mean_fiber std_fiber spectrum_flags:i8 v_rad "
    "e_v_rad std_v_rad median_e_v_rad doppler_teff doppler_e_teff doppler_logg doppler_e_logg doppler_fe_h "
    "doppler_e_fe_h doppler_rchi2 doppler_flags:i8 xcorr_v_rad xcorr_v_rel xcorr_e_v_rel ccfwhm autofwhm "
    "n_components:i4 wavelength flux ivar pixel_flags continuum nmf_rectified_model_flux nmf_rchi2 nmf_flags:i8"
)


def mwm_star(star: Star, visits: Sequence[tuple[Visit, Observation]], random: np.random.Generator) -> bytes:
    """Make the mwmStar file of a star: four tables, of which one has the co-add of its visits at rest.

    Parameters
    ----------
    star : Star
        What was observed.
    visits : sequence of (Visit, Observation)
        All its visits.
    random : numpy.random.Generator
        Errors of the velocities.
    """
    content = header(primary_cards([*_star_cards(star, [visit for visit, _ in visits]), SAMPLE_CARD]))
    for observatory in TELESCOPES:
        rows = empty_table(BOSS_COLUMNS)
        if observatory == star.observatory:
            rows = filled_table(BOSS_COLUMNS, _co_add(star, visits, random), N_PIXELS)
        content += table_hdu(f"BOSS/{observatory}", rows, entries=grid_cards("BOSS", observatory))
    for observatory in TELESCOPES:
        content += table_hdu(
            f"APOGEE/{observatory}", empty_table(APOGEE_COLUMNS), entries=grid_cards("APOGEE", observatory)
        )
    return content


def _star_cards(star: Star, visits: Sequence[Visit]) -> list[tuple[str, CardValue]]:
    mjds = [visit.mjd for visit in visits]
    return [
        ("", ""),
        ("", "Metadata"),
        ("V_ASTRA", V_ASTRA),
        ("", ""),
        ("", "Identifiers"),
        ("SDSS_ID", star.sdss_id),
        ("APOGEEID", ""),
        ("GAIA2_ID", -1),
        ("GAIA3_ID", star.gaia_dr3_source_id),
        ("TIC_ID", -1),
        ("HEALPIX", -1),
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
        ("G_MAG", star.g_mag),
        ("BP_MAG", "NaN"),
        ("RP_MAG", "NaN"),
        ("", ""),
        ("", "Observations"),
        ("N_BOSS", len(visits)),
        ("B_MINMJD", min(mjds)),
        ("N_MAXMJD", max(mjds)),
        ("N_APOGEE", 0),
        ("A_MINMJD", -1),
        ("A_MAXMJD", -1),
    ]


def grid_cards(instrument: str, observatory: str) -> list[tuple[str, CardValue]]:
    """Give the cards of a table's header that say what its pixels are."""
    grid = BOSS_GRID if instrument == "BOSS" else APOGEE_GRID
    return [
        ("INSTRMNT", instrument),
        ("OBSRVTRY", observatory),
        ("CRVAL", grid["crval"]),
        ("CDELT", grid["cdelt"]),
        ("CTYPE", "LOG-LINEAR"),
        ("CUNIT", "Angstrom (Vacuum)"),
        ("CRPIX", 1),
        ("NPIXELS", grid["naxis"]),
    ]


def _co_add(star: Star, visits: Sequence[tuple[Visit, Observation]], random: np.random.Generator) -> dict[str, Any]:
    """Columns of a star's co-add, as far as they aren't missing."""
    at_rest = [_at_rest(seen, visit.v_rad) for visit, seen in visits]
    weights = np.array([ivar for _, ivar, _ in at_rest])
    total = weights.sum(axis=0)
    divisor = np.where(total > 0, total, 1)
    flux, model = (
        np.where(total > 0, sum(w * spectrum[k] for w, spectrum in zip(weights, at_rest, strict=True)) / divisor, 0)
        for k in (0, 2)
    )
    continuum = _continuum(model, total > 0)
    good = total > 0
    return _velocities(star, [visit for visit, _ in visits], random) | {
        "spectrum_pk_id": -1,
        "release": RELEASE,
        "filetype": "mwmStar",
        "v_astra": V_ASTRA,
        "healpix": -1,
        "sdss_id": star.sdss_id,
        "run2d": RUN2D,
        "telescope": TELESCOPES[star.observatory],
        "snr": np.median(flux[good] * np.sqrt(total[good])),
        "wavelength": 10 ** log_wavelengths(),
        "flux": flux,
        "ivar": total,
        "pixel_flags": np.where(good, 0, 1),
        "continuum": continuum,
        "nmf_rectified_model_flux": np.where(good, model / continuum, 1),
        "nmf_rchi2": 1.0,
    }


def _velocities(star: Star, visits: Sequence[Visit], random: np.random.Generator) -> dict[str, Any]:
    errors = np.array([(250 if star.kind == "DA" else 60) / visit.snr for visit in visits])
    measured = np.array([visit.v_rad for visit in visits]) + errors * random.standard_normal(len(visits))
    weights = errors**-2
    mjds = [visit.mjd for visit in visits]
    return {
        "min_mjd": min(mjds),
        "max_mjd": max(mjds),
        "n_visits": len(visits),
        "n_good_visits": len(visits),
        "n_good_rvs": len(visits),
        "v_rad": np.sum(weights * measured) / np.sum(weights),
        "e_v_rad": np.sum(weights) ** -0.5,
        "std_v_rad": np.std(measured),
        "median_e_v_rad": np.median(errors),
    }


def _at_rest(seen: Observation, v_rad: float) -> tuple[Array, Array, Array]:
    """Flux, inverse variance and model of a visit, shifted to rest by linear interpolation on the grid.

    A shift is the same number of pixels everywhere, because the grid is uniform in the logarithm.
    """
    shift = np.log10(doppler_factor(v_rad)) / LOG_STEP
    whole, share = int(np.floor(shift)), shift - np.floor(shift)
    left = np.arange(N_PIXELS) + whole
    usable = (left >= 0) & (left + 1 < N_PIXELS)
    left = np.clip(left, 0, N_PIXELS - 2)
    ivar_left, ivar_right = seen.ivar[left], seen.ivar[left + 1]
    usable &= (ivar_left > 0) & (ivar_right > 0)
    variance = (1 - share) ** 2 / np.where(usable, ivar_left, 1) + share**2 / np.where(usable, ivar_right, 1)
    flux, model = ((1 - share) * array[left] + share * array[left + 1] for array in (seen.flux, seen.model))
    return flux, np.where(usable, 1 / variance, 0), model


def _continuum(model: Array, good: np.ndarray) -> Array:
    position = np.linspace(-1, 1, N_PIXELS)
    usable = good & (model > 0)
    coefficients = np.polynomial.legendre.legfit(position[usable], np.log(model[usable]), 5)
    return np.exp(np.polynomial.legendre.legval(position, coefficients))


def _columns(described: str, n_pixels: int, filled: bool) -> list[tuple[Any, ...]]:
    columns: list[tuple[Any, ...]] = []
    for name, _, kind in (word.partition(":") for word in described.split()):
        if name in STAR_TEXT:
            columns.append((name, f"S{STAR_TEXT[name] if filled else 1}"))
        elif name in PIXEL_ARRAYS:
            columns.append((name, "f4", (n_pixels,)))
        else:
            columns.append((name, kind or "f4"))
    return columns


def empty_table(described: str) -> np.ndarray:
    """Make a table without rows of columns such as `BOSS_COLUMNS`."""
    return np.zeros(0, _columns(described, 0, filled=False))


def filled_table(described: str, values: dict[str, Any], n_pixels: int) -> np.ndarray:
    """Make a table of one row: `values` by column; what isn't given is NaN, 0 or empty."""
    rows = np.zeros(1, _columns(described, n_pixels, filled=True))
    for name in rows.dtype.names or ():
        missing = np.nan if rows.dtype[name].kind == "f" else 0
        rows[name] = values.get(name, missing)
    return rows
