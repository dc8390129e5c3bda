"""Which stars there are, and when they are observed.

Every star is drawn from random numbers of its own, made from the seed and its number: a survey of more stars
begins with the same ones.
"""

from dataclasses import dataclass

import numpy as np

DA_TEFF = (7500.0, 32_000.0)
DA_LOGG = (8.0, 0.25, 7.25, 8.75)
SNR = (5.0, 60.0)
V_RAD_WIDTH = 50.0
BINARY_SHARE = 0.2
BINARY_AMPLITUDE = (40.0, 200.0)
FIRST_MJD, LAST_MJD = 59_600, 60_500
OTHER_KINDS = {"M": (2900.0, 3800.0, 4.9), "K": (4000.0, 5200.0, 4.6), "F": (6100.0, 7300.0, 4.2)}

EVERY_NTH_IS_OTHER = 5
EVERY_NTH_IS_SOUTHERN = 4
STARS_PER_SEED = 1_000_000
STARS_PER_FIELD = 20


@dataclass(frozen=True)
class Visit:
    """One observation: night (MJD), velocity (km/s, barycentric), median S/N per pixel."""

    mjd: int
    v_rad: float
    snr: float


@dataclass(frozen=True)
class Star:
    """A star: who it is, what it is, and when it is observed.

    Parameters
    ----------
    number : int
        From 0.
    sdss_id, catalogid, gaia_dr3_source_id : int
        Identifiers, different for every seed and star.
    kind : str
        "DA", "M", "K" or "F".
    teff, logg : float
        K, and dex of cm/s2.
    ra, dec : float
        deg.
    g_mag : float
        mag.
    observatory : str
        "APO" or "LCO".
    fieldid : int
        The field.
    is_binary : bool
        Whether its velocity changes.
    visits : tuple of Visit
        By time.
    """

    number: int
    sdss_id: int
    catalogid: int
    gaia_dr3_source_id: int
    kind: str
    teff: float
    logg: float
    ra: float
    dec: float
    g_mag: float
    observatory: str
    fieldid: int
    is_binary: bool
    visits: tuple[Visit, ...]


def draw_star(seed: int, number: int) -> Star:
    """Draw a star.

    Parameters
    ----------
    seed : int
        Of the survey, not negative.
    number : int
        Of the star, from 0. Every fifth is no white dwarf.
    """
    random = random_numbers(seed, number)
    kind = _kind(number)
    teff, logg = _parameters(random, kind)
    snr = _log_uniform(random, *SNR)
    identity = (seed % 1000) * STARS_PER_SEED + number
    is_binary = bool(random.random() < BINARY_SHARE)
    return Star(
        number=number,
        sdss_id=100_000_000 + identity,
        catalogid=27_021_600_000_000_000 + 7 * identity,
        gaia_dr3_source_id=4_100_000_000_000_000_000 + 128 * identity,
        kind=kind,
        teff=round(teff, 1),
        logg=round(logg, 3),
        ra=round(float(random.uniform(0, 360)), 6),
        dec=round(float(np.degrees(np.arcsin(random.uniform(-0.6, 0.9)))), 6),
        g_mag=round(19.8 - 3.0 * float(np.log10(snr / SNR[0])) + float(random.normal(0, 0.1)), 3),
        observatory="LCO" if number % EVERY_NTH_IS_SOUTHERN == EVERY_NTH_IS_SOUTHERN - 1 else "APO",
        fieldid=100_000 + number // STARS_PER_FIELD,
        is_binary=is_binary,
        visits=_visits(random, kind, snr, is_binary),
    )


def random_numbers(seed: int, *numbers: int) -> np.random.Generator:
    """Give random numbers of one's own for a star, a visit, or whatever `numbers` count."""
    # As entropy, (1, 5) and (1, 5, 0) would give the same numbers; as a key they don't.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=numbers)))


def _kind(number: int) -> str:
    if number % EVERY_NTH_IS_OTHER != EVERY_NTH_IS_OTHER - 1:
        return "DA"
    kinds = list(OTHER_KINDS)
    return kinds[number // EVERY_NTH_IS_OTHER % len(kinds)]


def _parameters(random: np.random.Generator, kind: str) -> tuple[float, float]:
    if kind == "DA":
        mean, width, lowest, highest = DA_LOGG
        return _log_uniform(random, *DA_TEFF), float(np.clip(random.normal(mean, width), lowest, highest))
    coolest, hottest, logg = OTHER_KINDS[kind]
    return float(random.uniform(coolest, hottest)), float(random.normal(logg, 0.1))


def _visits(random: np.random.Generator, kind: str, snr: float, is_binary: bool) -> tuple[Visit, ...]:
    n_visits = int(random.integers(2, 5) if kind == "DA" else random.integers(1, 4))
    mjds = np.sort(random.choice(np.arange(FIRST_MJD, LAST_MJD), n_visits, replace=False))
    systemic = random.normal(0, V_RAD_WIDTH)
    amplitude = _log_uniform(random, *BINARY_AMPLITUDE) * is_binary
    velocities = systemic + amplitude * np.sin(2 * np.pi * random.random(n_visits))
    ratios = snr * random.lognormal(0, 0.15, n_visits)
    return tuple(
        Visit(int(mjd), round(float(v_rad), 3), float(ratio))
        for mjd, v_rad, ratio in zip(mjds, velocities, ratios, strict=True)
    )


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
