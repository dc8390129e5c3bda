"""A small line model of normalised APOGEE spectra. It isn't a model atmosphere: no physics is claimed.

A line of a species X has the optical depth

    log10 tau = t + a . [X/H] + c (Teff / 5000 K - 1) + g (logg - 3),

with its own t (strength), c (its response to temperature) and g (its response to gravity). A molecule
responds to the abundances of its atoms: CO to C and O, CN to C and N, OH to O; `RESPONSES` has the weights a. A line
saturates as b v ln(1 + tau / v), where b is `DEPTH` and v is the microturbulence over 1.5 km/s, to the power of 0.3.
The flux is exp(-depth), and each depth is a Gaussian of the instrument's width, whose area doesn't depend on the width.

[X/H] is [M/H], plus [alpha/M] for O, Mg, Si, S, Ca, Ti, plus [C/M] for C and [N/M] for N, plus what is asked for.

Lines stand 8 pixels apart in the mean (one pixel is 6e-6 in log10 wavelength), counted from the first pixel of each
chip. So every 24th pixel sees the core of a line, and neighbours don't blend: a grid of 314 pixels holds all species,
and it is known of each pixel which species it is of.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.pixels.arrays import APOGEE_GRID

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]

LABELS = ("teff", "logg", "m_h", "alpha_m", "c_m", "n_m")
LOG_START, LOG_STEP, N_PIXELS = 4.179, 6e-6, int(APOGEE_GRID["naxis"])
CHIPS = ((246, 3028), (3585, 2495), (6344, 1991))
"""First pixel and number of pixels of the three chips, of the pixels that FERRE's grids have."""

RESOLUTION = 22_500.0
FWHM_OF_SIGMA = 2.354820045
DEPTH = 0.15
MODELS_AT_ONCE = 1024

ALPHA_ELEMENTS = ("O", "Mg", "Si", "S", "Ca", "Ti")
IRON_PEAK_AND_OTHERS = ("Fe", "Al", "Na", "K", "V", "Cr", "Mn", "Co", "Ni")
ELEMENTS = ("C", "N", *ALPHA_ELEMENTS, *IRON_PEAK_AND_OTHERS)
RESPONSES: dict[str, dict[str, float]] = {
    "CO": {"C": 0.6, "O": 0.5},
    "CN": {"C": 0.5, "N": 0.6},
    "OH": {"O": 0.9},
} | {element: {element: 1.0} for element in ELEMENTS if element != "N"}
"""By species: how log10 of the optical depth responds to abundances."""

_SHARES = {"Fe": 20, "Al": 6, "Na": 2, "K": 2, "V": 2, "Cr": 3, "Mn": 3, "Co": 2, "Ni": 5}
_SHARES |= {"Mg": 7, "Si": 6, "S": 3, "Ca": 5, "Ti": 4, "C": 3, "O": 1, "CO": 9, "CN": 12, "OH": 8, "": 10}
"""How many of a hundred lines are of a species; a place without one is continuum."""

_PIXELS_APART = 8
_EVERY_NTH = 3
_BEYOND = 5
_SEED = 8575


class Lines(NamedTuple):
    """Lines, each array of shape (n_lines,).

    Parameters
    ----------
    species : ndarray of str
        A key of `RESPONSES`.
    log_wavelength : ndarray of float
        log10 of the vacuum wavelength (Angstrom).
    strength, temperature, gravity : ndarray of float
        t, c and g of the formula above.
    """

    species: NDArray[np.str_]
    log_wavelength: Array
    strength: Array
    temperature: Array
    gravity: Array


@lru_cache(maxsize=1)
def line_list() -> Lines:
    """Give the lines: always the same ones."""
    random = np.random.Generator(np.random.PCG64(_SEED))
    places = [
        (first + _PIXELS_APART * slot, slot % _EVERY_NTH == 0)
        for first, n_pixels in CHIPS
        for slot in range(-_BEYOND, n_pixels // _PIXELS_APART + _BEYOND)
    ]
    pixels = np.array([pixel for pixel, _ in places], dtype=np.float64)
    in_small_grids = np.array([kept for _, kept in places])
    species = np.empty(len(places), "U2")
    for some in (in_small_grids, ~in_small_grids):
        species[some] = random.permutation(_dealt(int(np.count_nonzero(some))))
    pixels += random.uniform(-0.6, 0.6, len(pixels))
    is_molecule = np.isin(species, ["CO", "CN", "OH"])
    strength = random.uniform(0.5, 1.5, len(pixels))
    temperature = np.where(is_molecule, random.uniform(-2.2, -1.2, len(pixels)), random.uniform(-2.0, 2.0, len(pixels)))
    gravity = np.where(is_molecule, random.uniform(-0.1, 0.15, len(pixels)), random.uniform(-0.25, 0.2, len(pixels)))
    there = species != ""
    return Lines(
        species[there], LOG_START + LOG_STEP * pixels[there], strength[there], temperature[there], gravity[there]
    )


def _dealt(number: int) -> list[str]:
    """Give so many species by their shares."""
    names, shares = list(_SHARES), np.array(list(_SHARES.values()), dtype=np.float64)
    ends = np.round(np.cumsum(shares) / shares.sum() * number).astype(int)
    counts = np.diff(ends, prepend=0)
    return [name for name, count in zip(names, counts, strict=True) for _ in range(count)]


def log_wavelengths() -> Array:
    """Give log10 of the vacuum wavelengths (Angstrom) of an apStar's pixels, shape (8575,)."""
    return LOG_START + LOG_STEP * np.arange(N_PIXELS, dtype=np.float64)


def usual_v_micro(logg: ArrayLike) -> Array:
    """Give the microturbulence (km/s) that goes with a gravity, by the relation of DR17's grids (Holtzman et al.)."""
    g = np.asarray(logg, dtype=np.float64)
    return 10 ** (0.372160 - 0.090531 * g - 0.000802 * g**2 + 0.001263 * g**3)


def abundances_of(labels: ArrayLike, offsets: Mapping[str, ArrayLike] | None = None) -> dict[str, Array]:
    """Give [X/H] of every element of the model.

    Parameters
    ----------
    labels : array_like of float, shape (n_models, 6)
        As in `LABELS`.
    offsets : mapping of str to array_like, optional
        By element: what is added to [X/H] (dex), one number or one for each model.

    Returns
    -------
    dict of str to ndarray
        By element, shape (n_models,) (dex).
    """
    given = np.atleast_2d(np.asarray(labels, dtype=np.float64))
    _, _, m_h, alpha_m, c_m, n_m = given.T
    added = dict.fromkeys(ALPHA_ELEMENTS, alpha_m) | {"C": c_m, "N": n_m}
    more = _known(offsets or {})
    return {element: m_h + added.get(element, 0.0) + more.get(element, 0.0) for element in ELEMENTS}


def _known(offsets: Mapping[str, ArrayLike]) -> dict[str, Array]:
    if unknown := sorted(set(offsets) - set(ELEMENTS)):
        raise ValueError(f"the line model has no lines of {', '.join(unknown)}; it has {', '.join(ELEMENTS)}")
    return {element: np.asarray(offset, dtype=np.float64) for element, offset in offsets.items()}


def model_flux(
    labels: ArrayLike,
    log_wavelength: ArrayLike,
    resolution: float = RESOLUTION,
    *,
    v_micro: ArrayLike | None = None,
    offsets: Mapping[str, ArrayLike] | None = None,
) -> Array:
    """Compute normalised fluxes.

    Parameters
    ----------
    labels : array_like of float, shape (n_models, 6) or (6,)
        Teff (K), logg (dex of cm/s2), [M/H], [alpha/M], [C/M], [N/M] (dex).
    log_wavelength : array_like of float, shape (n_pixels,)
        log10 of the pixels' vacuum wavelengths at rest (Angstrom): any pixels, in any order.
    resolution : float, optional
        The instrument's: wavelength over the full width at half maximum of its Gaussian line spread function.
    v_micro : array_like of float, optional
        Microturbulence (km/s), one number or one for each model; that of `usual_v_micro` if not given.
    offsets : mapping of str to array_like, optional
        By element: what is added to [X/H] (dex), one number or one for each model.

    Returns
    -------
    ndarray of float, shape (n_models, n_pixels)
        Flux over the continuum: 1 where there is no line.

    Raises
    ------
    ValueError
        If the model has no lines of an element in `offsets`.
    """
    given = np.atleast_2d(np.asarray(labels, dtype=np.float64))
    wavelength = np.ascontiguousarray(log_wavelength, dtype=np.float64)
    profiles = _profiles(wavelength.tobytes(), float(resolution))
    turbulence = np.broadcast_to(usual_v_micro(given[:, 1]) if v_micro is None else v_micro, len(given))
    abundances = abundances_of(given, offsets)
    flux = np.empty((len(given), len(wavelength)))
    for start in range(0, len(given), MODELS_AT_ONCE):
        some = slice(start, start + MODELS_AT_ONCE)
        chosen = {element: values[some] for element, values in abundances.items()}
        depths = _depths(given[some], np.asarray(turbulence[some]), chosen)
        flux[some] = np.exp(-(depths @ profiles))
    return flux


def _depths(labels: Array, v_micro: Array, abundances: Mapping[str, Array]) -> Array:
    """Give the depths of lines at their centres at the resolution of `RESOLUTION`, shape (n_models, n_lines)."""
    lines = line_list()
    log_tau = lines.strength + lines.temperature * (labels[:, :1] / 5000 - 1) + lines.gravity * (labels[:, 1:2] - 3)
    for species, response in RESPONSES.items():
        of_species = sum(weight * abundances[element] for element, weight in response.items())
        log_tau[:, lines.species == species] += np.asarray(of_species)[:, None]
    relative = ((v_micro / 1.5) ** 0.3)[:, None]
    return DEPTH * relative * np.log1p(10**log_tau / relative)


@lru_cache(maxsize=16)
def _profiles(wavelength: bytes, resolution: float) -> "csr_array":
    """Give the profile of each line in each pixel, a sparse array of shape (n_lines, n_pixels)."""
    from scipy.sparse import csr_array

    pixels = np.frombuffer(wavelength)
    sigma, usual = (1 / (r * FWHM_OF_SIGMA * np.log(10)) for r in (resolution, RESOLUTION))
    order = np.argsort(pixels)
    centres = line_list().log_wavelength
    first = np.searchsorted(pixels[order], centres - 6 * sigma)
    last = np.searchsorted(pixels[order], centres + 6 * sigma)
    rows = np.repeat(np.arange(len(centres)), last - first)
    columns = np.concatenate([order[a:b] for a, b in zip(first, last, strict=True)])
    offset = (pixels[columns] - centres[rows]) / sigma
    values = usual / sigma * np.exp(-0.5 * offset**2)
    return csr_array((values, (rows, columns)), shape=(len(centres), len(pixels)))


def pixels_of_element(log_wavelength: ArrayLike, element: str, resolution: float = RESOLUTION) -> NDArray[np.bool_]:
    """Tell which pixels respond to an element's abundance, and to no other line.

    Parameters
    ----------
    log_wavelength : array_like of float, shape (n_pixels,)
        log10 of the pixels' vacuum wavelengths (Angstrom).
    element : str
        One of `ELEMENTS`. C is also seen by CO and CN, N by CN alone, O by CO and OH.
    resolution : float, optional
        The instrument's.

    Returns
    -------
    ndarray of bool, shape (n_pixels,)
        Where a third or more of the depth of a line is seen.

    Raises
    ------
    ValueError
        If the model has no lines of the element.
    """
    _known({element: 0.0})
    wavelength = np.ascontiguousarray(log_wavelength, dtype=np.float64)
    profiles = _profiles(wavelength.tobytes(), float(resolution))
    responds = np.array([element in RESPONSES[str(species)] for species in line_list().species], dtype=np.float64)
    total = np.ones(len(responds)) @ profiles
    return (total > 1 / 3) & (responds @ profiles > 0.98 * total)
