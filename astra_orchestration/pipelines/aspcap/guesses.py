"""Step 1: where a fit begins, from what other pipelines and surveys say of the star."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import peewee

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.database.sql import is_any_of
from astra_models.messages import one_line
from astra_models.source import Source

from .dimensions import DIMENSIONS

logger = logging.getLogger(__name__)

LOG10_V_SINI = 1.0
"""Of a star whose rotation isn't known."""

AT_CENTER = "flag_initial_guess_at_grid_center"


@dataclass(frozen=True)
class Guess:
    """Where a fit begins.

    Parameters
    ----------
    teff, logg, m_h : float
        K, dex of cm/s2, dex.
    flag : str
        The flag of where it is from.
    """

    teff: float
    logg: float
    m_h: float
    flag: str
    others: dict[str, float] = field(default_factory=dict)

    def value(self, label: str) -> float:
        """Give the value of a grid's dimension; of what no survey tells, that of most stars."""
        column = DIMENSIONS[label].column
        known = {"teff": self.teff, "logg": self.logg, "m_h": self.m_h}
        usual = {"log10_v_sini": LOG10_V_SINI, "log10_v_micro": log10_v_micro(self.logg)}
        return {**usual, **known, **self.others}.get(column, 0.0)


def log10_v_micro(logg: float) -> float:
    """Give the usual microturbulence of a gravity, as log10 of km/s: the relation of the survey's ASPCAP."""
    return 0.372160 - 0.090531 * logg - 0.000802 * logg**2 + 0.001263 * logg**3


def initial_guess(
    spectrum: ApogeeCoaddedSpectrumInApStar, source: Source | None, apogee_net: ApogeeNet | None
) -> Guess | None:
    """Give the first guess that there is: ApogeeNet's, Gaia XP's (Zhang et al. 2023), Doppler's.

    Parameters
    ----------
    spectrum : ApogeeCoaddedSpectrumInApStar
        The spectrum.
    source : Source or None
        Its star.
    apogee_net : ApogeeNet or None
        Its result at the same major.minor version.

    Returns
    -------
    Guess or None
        None if none of them knows temperature and gravity.
    """
    return _from_apogee_net(apogee_net) or _from_gaia_xp(source) or _from_doppler(spectrum)


def _from_apogee_net(result: ApogeeNet | None) -> Guess | None:
    if result is None or result.flag_unreliable_teff or result.flag_unreliable_logg:
        return None
    m_h = None if result.flag_unreliable_fe_h else result.fe_h
    return _guess(result.teff, result.logg, m_h, "flag_initial_guess_from_apogeenet")


def _from_gaia_xp(source: Source | None) -> Guess | None:
    if source is None or source.zgr_quality_flags:
        return None
    return _guess(source.zgr_teff, source.zgr_logg, source.zgr_fe_h, "flag_initial_guess_from_gaia_xp_zhang_2023")


def _from_doppler(spectrum: ApogeeCoaddedSpectrumInApStar) -> Guess | None:
    if spectrum.doppler_flags:
        return None
    flag = "flag_initial_guess_from_doppler"
    return _guess(spectrum.doppler_teff, spectrum.doppler_logg, spectrum.doppler_fe_h, flag)


def _guess(teff: float | None, logg: float | None, m_h: float | None, flag: str) -> Guess | None:
    if teff is None or logg is None or not (math.isfinite(teff) and math.isfinite(logg) and teff > 0):
        return None
    return Guess(teff, logg, m_h if m_h is not None and math.isfinite(m_h) else 0.0, flag)


def sources_of(spectra: Sequence[ApogeeCoaddedSpectrumInApStar]) -> dict[int, Source]:
    """Look up the stars of spectra, by their keys; empty where there is no table of them, as on some workers."""
    keys = sorted({spectrum.source_pk for spectrum in spectra if spectrum.source_pk is not None})
    try:
        found = list(Source.select().where(is_any_of(Source.pk, keys))) if keys and Source.table_exists() else []
    except peewee.DatabaseError as error:
        logger.warning("what catalogues say of the stars can't be looked up: %s", one_line(str(error)))
        return {}
    return {source.pk: source for source in found}
