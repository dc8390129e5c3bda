"""The 1751 numbers of a spectrum by which a random forest tells white dwarfs apart.

Pixels are divided by a smooth continuum, so that shapes of lines count and fluxing and reddening hardly do; a few means
are held against black bodies, for companions and peculiar spectra. Everything that doesn't depend on the spectrum is
computed once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError

Array = NDArray[np.floating[Any]]

FIRST, LAST = 3850.0, 8300.0
"""Ends of the axis of the features (vacuum Angstrom), in steps of one Angstrom."""

ANCHORS = (3850.0, 4230.0, 4600.0, 5300.0, 5700.0, 7350.0, 8100.0, 8900.0)
"""Wavelengths (Angstrom) through which the continuum goes."""

ANCHOR_REACH = 10.0
"""How far to either side of an anchor pixels count (Angstrom)."""

DA = ((3860, 3900), (3950, 4000), (4075, 4120), (4310, 4370), (4830, 4890), (6500, 6650))
DB = (
    *((3880, 3905), (3955, 3975), (3990, 4056), (4110, 4140), (4370, 4410), (4450, 4485), (4705, 4725)),
    *((4900, 4950), (5000, 5030), (5860, 5890), (6670, 6700), (7050, 7090), (7265, 7300)),
)
DQ = ((4600, 4750), (5000, 5160))
DZ = ((3920, 3975),)
HOT_DQ = ((4240, 4430), (4930, 5180), (5850, 5950))
COMPANION = (
    (7000, 7050),
    *((first, first + 50) for first in range(7400, 7600, 50)),
    *((first, first + 50) for first in range(8000, 8200, 50)),
)
PECULIAR = ((3920, 3975), (4000, 4100), (4600, 4750), (5000, 5160))
"""Windows of the features (Angstrom); the pixels strictly inside count."""

BLUE_BODY = (4600.0, 5100.0, 5700.0, 6250.0)
RED_BODY = (6000.0, 6250.0, 6900.0, 7350.0, 8900.0)
"""Wavelengths (Angstrom) of the two black bodies."""

BODY_TEMPERATURES = 10 ** np.linspace(3.3, 5.2, 39)
"""Temperatures of the black bodies that are tried (K)."""

H_ALPHA = 6564.6
NARROW, WIDE, SHOULDER = 6.0, 20.0, 60.0
"""Half widths (Angstrom) of the core, of the line and of its surroundings, for emission in H-alpha."""

LARGEST_GAP = 8.0
"""Angstrom to the next good pixel from which a point of the axis isn't covered."""

MIN_COVERED = 0.9
"""Least share of the axis that has to be covered."""

LIMITS = (-5.0, 10.0)
"""Range to which features are cut: single pixels of noise say nothing beyond it."""

N_FEATURES = 1751

_HC_OVER_K = 1.438777e8


class NoFeaturesError(AstraError, ValueError):
    """A spectrum from which no features can be made; `reason` is "no_flux" or "too_few_pixels"."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class _Fixed(NamedTuple):
    """What is the same for all spectra."""

    axis: Array
    """Wavelengths (Angstrom), shape (n_points,)."""
    levels: Array
    """Wavelengths (Angstrom) around which pixels are averaged, shape (n_levels,)."""
    at_anchors: NDArray[np.intp]
    """Places of the anchors among the levels."""
    continuum: Array
    """Continuum per value at an anchor, shape (n_points, n_anchors)."""
    pixels: NDArray[np.intp]
    """Points whose flux over continuum is a feature."""
    bodies: tuple[_Body, _Body]


class _Body(NamedTuple):
    """Black bodies through some wavelengths."""

    at: NDArray[np.intp]
    """Their places among the levels, shape (n_at,)."""
    shapes: Array
    """Flux there by temperature, normed to a sum of squares of one: shape (n_temperatures, n_at)."""
    everywhere: Array
    """The same on the axis: shape (n_temperatures, n_points)."""


def features(wavelength: ArrayLike, flux: ArrayLike, ivar: ArrayLike) -> NDArray[np.float32]:
    """Describe a spectrum by numbers.

    Parameters
    ----------
    wavelength : array_like of float, shape (n_pixels,)
        Vacuum wavelengths (Angstrom), in any order.
    flux : array_like of float, shape (n_pixels,)
        Flux per unit wavelength, any unit.
    ivar : array_like of float, shape (n_pixels,)
        Inverse variance of `flux`; zero, negative or not finite where a pixel is not to be used.

    Returns
    -------
    ndarray of float32, shape (1751,)
        Flux over continuum in the windows of hydrogen (399), helium (438), carbon (308) and calcium (54); means over a
        black body where a cool companion (9) and broad features (4) would show; pixels over that black body for
        ionised carbon (537); two ratios of emission in H-alpha. All finite.

    Raises
    ------
    NoFeaturesError
        If no pixel has a flux, or too few are good between 3850 and 8300 Angstrom.
    ValueError
        If the arrays differ in shape.

    Notes
    -----
    The windows are those of NPGFusillo/4MOST_WDpipe.
    """
    with np.errstate(all="ignore"):
        pixels = _good_pixels(wavelength, flux, ivar)
        return _features_of(*pixels)


def _good_pixels(wavelength: ArrayLike, flux: ArrayLike, ivar: ArrayLike) -> tuple[Array, Array, Array]:
    columns = [np.ma.filled(np.ma.asarray(one).astype(np.float64), np.nan) for one in (wavelength, flux, ivar)]
    if columns[0].ndim != 1 or any(column.shape != columns[0].shape for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns)
        raise ValueError(f"wavelength, flux and ivar have shapes {shapes}; give three arrays of one equal length")
    wave, values, weights = columns
    good = np.isfinite(wave) & np.isfinite(values) & np.isfinite(weights) & (weights > 0)
    if not np.any(values[good] != 0):
        raise NoFeaturesError("no_flux", f"none of {wave.size} pixels has a flux and an inverse variance")
    wave, values, weights = wave[good], values[good], weights[good]
    if np.any(np.diff(wave) <= 0):
        wave, first = np.unique(wave, return_index=True)
        values, weights = values[first], weights[first]
    scale = np.median(np.abs(values)) or np.max(np.abs(values))
    values, weights = values / scale, weights * scale**2
    usable = np.isfinite(values) & np.isfinite(weights)
    wave, values, weights = wave[usable], values[usable], weights[usable]
    _require_coverage(wave)
    return wave, values, weights


def _require_coverage(wavelength: Array) -> None:
    """Make sure that there are pixels almost everywhere on the axis."""
    inside = wavelength[(wavelength > FIRST) & (wavelength < LAST)]
    gaps = np.diff(np.concatenate([[FIRST], inside, [LAST]]))
    lost = float(np.sum(gaps[gaps > LARGEST_GAP]))
    covered = 1 - lost / (LAST - FIRST)
    if covered < MIN_COVERED:
        raise NoFeaturesError(
            "too_few_pixels",
            f"good pixels cover {covered:.0%} of {FIRST:.0f} to {LAST:.0f} Angstrom; a class needs {MIN_COVERED:.0%}",
        )


def _features_of(wavelength: Array, flux: Array, ivar: Array) -> NDArray[np.float32]:
    fixed = _fixed()
    on_axis = np.interp(fixed.axis, wavelength, flux)
    levels = _means(wavelength, flux, ivar, fixed.levels)
    anchors = levels[fixed.at_anchors]
    continuum = fixed.continuum @ anchors
    # Where noise takes the continuum to zero, flux over continuum has no meaning.
    floor = 0.05 * np.median(np.abs(anchors))
    ratio = on_axis / np.where(continuum > floor, continuum, floor)
    blue, red = (_body(body, levels[body.at]) for body in fixed.bodies)
    over_blue, over_red = on_axis / blue, on_axis / red
    parts = (
        ratio[fixed.pixels],
        _averages(COMPANION) @ over_blue,
        _averages(PECULIAR) @ over_red,
        over_red[_inside(HOT_DQ)],
        _emission(fixed.axis, ratio),
    )
    found = np.concatenate(parts)
    found[np.isnan(found)] = 1.0
    return np.clip(found, *LIMITS).astype(np.float32)


def _means(wavelength: Array, flux: Array, ivar: Array, at: Array) -> Array:
    """Average pixels around some wavelengths, by weight; the nearest pixel where there are none."""
    first = np.searchsorted(wavelength, at - ANCHOR_REACH)
    last = np.searchsorted(wavelength, at + ANCHOR_REACH)
    nearest = np.clip(np.searchsorted(wavelength, at), 0, wavelength.size - 1)
    # No pixel may count more than three times as much as the usual one: a single wrong ivar would be the mean.
    found = np.empty(at.size)
    for i, (start, stop) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        if stop - start < 3:
            found[i] = np.median(flux[max(0, nearest[i] - 10) : nearest[i] + 11])
            continue
        weights = ivar[start:stop]
        weights = np.minimum(weights, 3 * np.sort(weights)[weights.size // 2])
        found[i] = weights @ flux[start:stop] / weights.sum()
    return found


def _body(body: _Body, values: Array) -> Array:
    """Give the black body that fits best, on the axis."""
    amplitudes = body.shapes @ values
    best = int(np.argmax(amplitudes))
    amplitude = amplitudes[best] if amplitudes[best] > 0 else np.nan
    return amplitude * body.everywhere[best]


@lru_cache(maxsize=2)
def _averages(windows: tuple[tuple[float, float], ...]) -> Array:
    """Weights that average the axis in each window: shape (n_windows, n_points)."""
    weights = np.zeros((len(windows), int(LAST - FIRST) + 1))
    for row, window in zip(weights, windows, strict=True):
        inside = _inside((window,))
        row[inside] = 1 / inside.size
    return weights


def _emission(axis: Array, ratio: Array) -> Array:
    """Core of H-alpha over the line around it, and the line over its surroundings."""
    centre = int(H_ALPHA - axis[0])
    core, line, around = (ratio[centre - int(reach) : centre + int(reach) + 1] for reach in (NARROW, WIDE, SHOULDER))
    sides = (around.sum() - line.sum()) / (around.size - line.size)
    wings = (line.sum() - core.sum()) / (line.size - core.size)
    return np.array([core.mean() / wings, line.mean() / sides])


@lru_cache(maxsize=1)
def _fixed() -> _Fixed:
    from scipy.interpolate import CubicSpline

    axis = np.arange(FIRST, LAST + 1)
    anchors = np.array(ANCHORS)
    # A spline through fixed anchors is linear in the values there: one column for each.
    continuum = CubicSpline(anchors, np.eye(anchors.size), bc_type="natural")(axis)
    pixels = np.concatenate([_inside(windows) for windows in (DA, DB, DQ, DZ)])
    levels = np.unique([*ANCHORS, *BLUE_BODY, *RED_BODY])
    bodies = _make_body(axis, levels, BLUE_BODY), _make_body(axis, levels, RED_BODY)
    return _Fixed(axis, levels, np.searchsorted(levels, anchors), np.ascontiguousarray(continuum), pixels, bodies)


def _make_body(axis: Array, levels: Array, wavelengths: tuple[float, ...]) -> _Body:
    shapes, everywhere = (_black_bodies(one) for one in (np.array(wavelengths), axis))
    norm = np.sqrt(np.sum(shapes**2, axis=1, keepdims=True))
    return _Body(np.searchsorted(levels, wavelengths), shapes / norm, everywhere / norm)


def _black_bodies(wavelength: Array) -> Array:
    """Flux per unit wavelength, relative to that at 5500 Angstrom: shape (n_temperatures, n_points)."""
    heat = _HC_OVER_K / BODY_TEMPERATURES[:, None]
    return (5500.0 / wavelength) ** 5 * np.expm1(heat / 5500.0) / np.expm1(heat / wavelength)


@lru_cache(maxsize=8)
def _inside(windows: tuple[tuple[float, float], ...]) -> NDArray[np.intp]:
    """Points of the axis strictly inside some windows."""
    return np.concatenate([np.arange(int(first - FIRST) + 1, int(last - FIRST)) for first, last in windows])
