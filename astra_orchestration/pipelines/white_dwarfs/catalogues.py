"""What catalogues say of a star besides its spectrum, as far as the tables have it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import peewee
from numpy.typing import ArrayLike

from astra_models.messages import one_line
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin

from .fit import BalmerFit, fit_spectrum
from .grid import TemplateGrid
from .solutions import RANGE, Photometry

__all__ = ["fit_knowing", "photometry_in", "photometry_of"]

logger = logging.getLogger(__name__)

MIN_CONFIDENCE = 0.5
"""Least confidence in a photometric temperature (`zgr_teff_confidence`)."""


def fit_knowing(
    wavelength: ArrayLike,
    flux: ArrayLike,
    ivar: ArrayLike,
    grid: TemplateGrid,
    photometry: Callable[[], Photometry | None],
) -> tuple[BalmerFit, Photometry | None]:
    """Fit the lines of a star, and ask catalogues where two solutions are possible.

    Parameters
    ----------
    wavelength, flux, ivar : array_like of float, shape (n_pixels,)
        The spectrum, see `fit.fit_spectrum`.
    grid : TemplateGrid
        The models.
    photometry : callable
        Looks up what catalogues say. That takes a query, and few stars need it.

    Returns
    -------
    tuple of BalmerFit and Photometry or None
        The fit, and what was asked for it.
    """
    fit = fit_spectrum(wavelength, flux, ivar, grid)
    is_open = fit.two_solutions or (np.isfinite(fit.other_teff) and RANGE[0] < fit.teff < RANGE[1])
    known = photometry() if is_open else None
    return (fit if known is None else fit_spectrum(wavelength, flux, ivar, grid, photometry=known)), known


def photometry_of(spectrum: SpectrumMixin) -> Photometry | None:
    """Look up what is known of a spectrum's star; None if it has no source, or there is no table of them.

    A worker that can't reach the database (an engine with `carry` other than `keys`) has no such table. Lines alone
    decide then, and a flag says when they can't.
    """
    if spectrum.source_pk is None:
        return None
    try:
        source = Source.get_or_none(Source.pk == spectrum.source_pk) if Source.table_exists() else None
    except peewee.DatabaseError as error:
        logger.warning("what catalogues say of a star can't be looked up: %s", one_line(str(error)))
        return None
    return None if source is None else photometry_in(source)


def photometry_in(source: Source) -> Photometry:
    """Take what a source has: `plx`, `e_plx`, `g_mag`, and `zgr_teff` if its confidence is 0.5 or more."""
    trusted = _number(source.zgr_teff_confidence) >= MIN_CONFIDENCE
    return Photometry(
        teff=_number(source.zgr_teff) if trusted else np.nan,
        e_teff=_number(source.zgr_e_teff) if trusted else np.nan,
        g_mag=_number(source.g_mag),
        parallax=_number(source.plx),
        e_parallax=_number(source.e_plx),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan
