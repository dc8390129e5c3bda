"""Which APOGEE stars there are, what they are, and when they are observed.

As of the other stars of the sample survey, each is drawn from random numbers of its own: a survey of more stars begins
with the same ones.
"""

from dataclasses import dataclass

import numpy as np

from astra_orchestration.sample.apogee.lines import abundances_of, usual_v_micro
from astra_orchestration.sample.stars import STARS_PER_SEED, random_numbers

APOGEE = STARS_PER_SEED
"""The key under which random numbers of APOGEE stars are drawn: no other star has this number."""

SNR = (30.0, 300.0)
V_RAD_WIDTH, LARGEST_V_RAD = 35.0, 90.0
FIRST_MJD, LAST_MJD = 59_200, 60_400
KINDS = ("giant", "dwarf", "giant", "dwarf", "subgiant", "giant", "dwarf", "giant", "giant", "dwarf")
M_H, ALPHA_M, C_M, N_M = (-0.5, 0.25), (-0.1, 0.3), (-0.4, 0.3), (-0.2, 0.5)
"""Limits of the abundances: well within those of the small grids."""

FIBRES = {"b": (146, 245), "d": (1, 50)}
"""Fibres of the two line spread functions that stars are observed with, as ASPCAP's rule names them."""

LABELED_OF_EVERY_THREE = 2


@dataclass(frozen=True)
class ApogeeVisit:
    """One observation: night (MJD), fibre, barycentric velocity (km/s), median S/N per pixel."""

    mjd: int
    fiber: int
    v_rad: float
    snr: float


@dataclass(frozen=True)
class ApogeeStar:
    """A star: who it is, what it is, and when it is observed.

    Parameters
    ----------
    number : int
        From 0.
    sdss_id, catalogid, gaia_dr3_source_id : int
        Identifiers, different for every seed and star, and from those of the survey's other stars.
    obj : str
        Name by position: 2M05320969-0526230.
    kind : str
        "giant", "subgiant" or "dwarf".
    teff, logg, m_h, alpha_m, c_m, n_m : float
        K, dex of cm/s2, dex.
    ra, dec : float
        deg.
    h_mag : float
        mag.
    telescope : str
        "apo25m" or "lco25m".
    lsf : str
        "b" or "d": which fibres it is observed with.
    healpix : int
        A number below 196608. It isn't that of the position.
    v_rad : float
        Barycentric velocity (km/s).
    visits : tuple of ApogeeVisit
        By time.
    """

    number: int
    sdss_id: int
    catalogid: int
    gaia_dr3_source_id: int
    obj: str
    kind: str
    teff: float
    logg: float
    m_h: float
    alpha_m: float
    c_m: float
    n_m: float
    ra: float
    dec: float
    h_mag: float
    telescope: str
    lsf: str
    healpix: int
    v_rad: float
    visits: tuple[ApogeeVisit, ...]

    @property
    def labels(self) -> tuple[float, ...]:
        """Labels in the order of `lines.LABELS`."""
        return self.teff, self.logg, self.m_h, self.alpha_m, self.c_m, self.n_m

    @property
    def v_micro(self) -> float:
        """Microturbulence (km/s)."""
        return float(usual_v_micro(self.logg))

    @property
    def abundances(self) -> dict[str, float]:
        """[X/H] by element (dex)."""
        return {element: float(values[0]) for element, values in abundances_of(self.labels).items()}

    @property
    def is_labeled(self) -> bool:
        """Whether the file of labels has it: two of every three stars."""
        return self.number % 3 < LABELED_OF_EVERY_THREE

    @property
    def mean_fiber(self) -> float:
        """Mean fibre of the visits, weighted by their S/N."""
        weights = [visit.snr for visit in self.visits]
        return float(np.average([visit.fiber for visit in self.visits], weights=weights))


def draw_apogee_star(seed: int, number: int) -> ApogeeStar:
    """Draw a star.

    Parameters
    ----------
    seed : int
        Of the survey, not negative.
    number : int
        Of the star, from 0.
    """
    random = random_numbers(seed, APOGEE, number)
    kind = KINDS[number % len(KINDS)]
    m_h = float(np.clip(random.normal(-0.1, 0.18), *M_H))
    thick = random.random() < 0.3
    alpha_m = float(np.clip(0.05 - 0.25 * m_h + 0.12 * thick + random.normal(0, 0.04), *ALPHA_M))
    teff, logg = _position(random, kind, m_h)
    mixed = kind == "giant"
    c_m = float(np.clip(random.normal(-0.12 if mixed else 0.0, 0.1), *C_M))
    n_m = float(np.clip(random.normal(0.22 if mixed else 0.05, 0.12), *N_M))
    identity = (seed % 1000) * STARS_PER_SEED + number
    ra, dec = float(random.uniform(0, 360)), float(np.degrees(np.arcsin(random.uniform(-0.6, 0.9))))
    snr = float(np.exp(random.uniform(*np.log(SNR))))
    v_rad = float(np.clip(random.normal(0, V_RAD_WIDTH), -LARGEST_V_RAD, LARGEST_V_RAD))
    lsf = list(FIBRES)[number // 2 % 2]
    return ApogeeStar(
        number=number,
        sdss_id=1_200_000_000 + identity,
        catalogid=27_021_620_000_000_000 + 7 * identity,
        gaia_dr3_source_id=4_200_000_000_000_000_000 + 128 * identity,
        obj=_name(ra, dec),
        kind=kind,
        teff=round(teff, 1),
        logg=round(logg, 3),
        m_h=round(m_h, 3),
        alpha_m=round(alpha_m, 3),
        c_m=round(c_m, 3),
        n_m=round(n_m, 3),
        ra=round(ra, 6),
        dec=round(dec, 6),
        h_mag=round(13.5 - 5.0 * float(np.log10(snr / SNR[0])) + float(random.normal(0, 0.1)), 3),
        telescope="lco25m" if number % 4 in (1, 2) else "apo25m",
        lsf=lsf,
        healpix=int(random.integers(0, 196_608)),
        v_rad=round(v_rad, 3),
        visits=_visits(random, snr, v_rad, lsf),
    )


def _position(random: np.random.Generator, kind: str, m_h: float) -> tuple[float, float]:
    """Give a place in the Kiel diagram: Teff (K) and logg."""
    if kind == "giant":
        logg = float(random.uniform(0.9, 3.3))
        return float(np.clip(3900 + 450 * (logg - 0.9) - 350 * m_h + random.normal(0, 50), 3830, 5300)), logg
    if kind == "subgiant":
        teff = float(random.uniform(4800, 5400))
        return teff, float(np.clip(3.55 + 0.4 * (teff - 5100) / 300 + random.normal(0, 0.05), 3.2, 4.0))
    teff = float(random.uniform(4450, 6350))
    return teff, float(np.clip(4.68 - 0.5 * ((teff - 4450) / 1900) ** 2 + random.normal(0, 0.04), 4.0, 4.8))


def _visits(random: np.random.Generator, snr: float, v_rad: float, lsf: str) -> tuple[ApogeeVisit, ...]:
    n_visits = int(random.integers(1, 4))
    mjds = np.sort(random.choice(np.arange(FIRST_MJD, LAST_MJD), n_visits, replace=False))
    low, high = FIBRES[lsf]
    fibers = random.integers(low, high + 1, n_visits)
    velocities = v_rad + random.normal(0, 0.1, n_visits)
    ratios = snr / np.sqrt(n_visits) * random.uniform(0.85, 1.15, n_visits)
    return tuple(
        ApogeeVisit(int(mjd), int(fiber), round(float(velocity), 3), float(ratio))
        for mjd, fiber, velocity, ratio in zip(mjds, fibers, velocities, ratios, strict=True)
    )


def _name(ra: float, dec: float) -> str:
    """Give the name that 2MASS gives to a position: hours and degrees, minutes, seconds."""
    hundredths = round(ra / 15 * 360_000) % (24 * 360_000)
    tenths = round(abs(dec) * 36_000)
    hours, degrees = hundredths // 360_000, tenths // 36_000
    return (
        f"2M{hours:02d}{hundredths // 6000 % 60:02d}{hundredths % 6000:04d}{'-' if dec < 0 else '+'}"
        f"{degrees:02d}{tenths // 600 % 60:02d}{tenths % 600:03d}"
    )
