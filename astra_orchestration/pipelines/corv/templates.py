"""Template grids of DA white dwarfs: read from files, or made by a small analytic family.

A grid is a regular table of spectra over effective temperature and surface gravity. The fit never looks at
how a grid came about: `load_grid` and `balmer_family` both give a `TemplateGrid`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError

Array = NDArray[np.floating[Any]]
Value = TypeVar("Value", float, Array)

BOSS_RESOLUTION = 1900.0
"""Resolving power (wavelength over FWHM) of BOSS around the Balmer lines: a dispersion of 0.99 pixels."""

FIT_RANGE = (3850.0, 6850.0)
"""Vacuum wavelengths (Angstrom) of the Balmer lines and of the room for their shifts."""

LOG_STEP = 5e-5
"""Step of the templates' internal axis (dex of wavelength), half a BOSS pixel."""

_OVERSAMPLING = 4
_BALMER_LIMIT = 3647.05
_HC_OVER_K = 1.438777e8
_REFERENCE_WAVELENGTH = 5500.0
_STRONGEST_TEFF = 12_500.0
_UPPER_LEVELS = np.arange(3, 13)
_LINE_CENTRES = _BALMER_LIMIT / (1.0 - 4.0 / _UPPER_LEVELS**2)
_LINE_DEPTHS = np.array([1.10, 1.20, 1.10, 0.95, 0.75, 0.55, 0.38, 0.26, 0.18, 0.12])
_LINE_WIDTHS = np.array([3.0, 4.2, 4.6, 4.4, 3.8, 3.0, 2.3, 1.7, 1.3, 1.0]) * 1e-3
_CORE_WIDTH = 6e-4
_CORE_SHARE = 0.25
_H_ALPHA_AIR, _H_ALPHA_VACUUM = 6562.79, 6564.61
_NPZ_KEYS = ("teff", "logg", "wavelength", "flux")


class TemplateError(AstraError, ValueError):
    """A template grid that can't be found, read or used."""


class TemplateValues(NamedTuple):
    """Interpolated fluxes and their derivatives, each of shape (n_pixels,), relative flux units."""

    flux: Array
    """Relative flux."""
    by_log_wavelength: Array
    """Derivative with respect to log10 of the wavelength."""
    by_log_teff: Array
    """Derivative with respect to log10 of the effective temperature."""
    by_logg: Array
    """Derivative with respect to the surface gravity."""


@dataclass(frozen=True, eq=False)
class TemplateGrid:
    """Spectra on a regular grid of effective temperature and surface gravity.

    Parameters
    ----------
    teff : ndarray of float64, shape (n_teff,)
        Effective temperatures (K), increasing, at least two.
    logg : ndarray of float64, shape (n_logg,)
        Surface gravities (dex of cm/s2), increasing, at least two.
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelengths in the rest frame (Angstrom), increasing.
    flux : ndarray of float64, shape (n_teff, n_logg, n_pixels)
        Flux per unit wavelength, positive; every template may have its own scale.
    resolution : float, optional
        Resolving power (wavelength over FWHM) to which the templates have to be convolved before they are
        compared with data. None when they are at the resolution of the instrument already.

    Raises
    ------
    TemplateError
        If the arrays don't fit together, an axis doesn't increase, or a value is not finite or not positive.

    Notes
    -----
    Between the nodes the logarithm of the flux is interpolated by a tensor product of splines in
    1/Teff, log g and log wavelength: cubic where an axis has four nodes, quadratic with three, linear with
    two. The inverse of the temperature is what the exponents of the Planck, Boltzmann and Saha laws are
    linear in, so that the logarithm of the flux bends least along it.
    """

    teff: Array
    logg: Array
    wavelength: Array
    flux: Array
    resolution: float | None = None

    def __post_init__(self) -> None:
        for name in _NPZ_KEYS:
            array = _as_numbers(name, getattr(self, name)).copy()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for name, least in (("teff", 2), ("logg", 2), ("wavelength", 16)):
            _check_axis(name, getattr(self, name), least)
        _check_flux(self.flux, (self.teff.size, self.logg.size, self.wavelength.size))
        if self.resolution is not None and not 0 < self.resolution < np.inf:
            raise TemplateError(
                f"resolution is {self.resolution}; give the positive resolving power of the instrument, "
                "or None for templates that are at its resolution already"
            )

    @cached_property
    def start(self) -> float:
        """First point of the internal wavelength axis (log10 of Angstrom), a multiple of the step."""
        return float(np.ceil(np.log10(max(self.wavelength[0], FIT_RANGE[0])) / LOG_STEP) * LOG_STEP)

    @cached_property
    def stop(self) -> float:
        """Last point of the internal wavelength axis (log10 of Angstrom)."""
        return float(np.floor(np.log10(min(self.wavelength[-1], FIT_RANGE[1])) / LOG_STEP) * LOG_STEP)

    def evaluate(self, log_wavelength: ArrayLike, log_teff: float, logg: float) -> TemplateValues:
        """Interpolate the convolved templates.

        Parameters
        ----------
        log_wavelength : array_like of float, shape (n_pixels,)
            log10 of the rest-frame vacuum wavelengths (Angstrom), between `start` and `stop`.
        log_teff : float
            log10 of the effective temperature (K), inside the grid.
        logg : float
            Surface gravity (dex of cm/s2), inside the grid.

        Returns
        -------
        TemplateValues
            The flux, scaled to a geometric mean of one, and its derivatives.
        """
        values, by_heat, by_logg = self._along_wavelength(_heat(10.0**log_teff), logg)
        weights, slopes, first = _uniform_weights((np.asarray(log_wavelength) - self.start) / LOG_STEP)
        nearby = first + np.arange(4)[:, None]
        around = values[nearby]
        flux = np.exp(np.sum(weights * around, axis=0))
        return TemplateValues(
            flux,
            flux * np.sum(slopes * around, axis=0) / LOG_STEP,
            flux * np.sum(weights * by_heat[nearby], axis=0) * -_heat(10.0**log_teff) * np.log(10.0),
            flux * np.sum(weights * by_logg[nearby], axis=0),
        )

    def _along_wavelength(self, heat: float, logg: float) -> Array:
        """Spline coefficients along the wavelength, and their two derivatives: shape (3, n_points)."""
        rows, in_teff = _basis(*self._teff_basis, heat)
        columns, in_logg = _basis(*self._logg_basis, logg)
        block = self._coefficients[rows, columns]
        weights = np.stack(
            [np.outer(in_teff[a], in_logg[b]).ravel() for a, b in ((0, 0), (1, 0), (0, 1))],
        )
        return weights @ block.reshape(-1, block.shape[-1])

    @cached_property
    def _teff_basis(self) -> tuple[Array, int]:
        return _knots(_heat(self.teff))

    @cached_property
    def _logg_basis(self) -> tuple[Array, int]:
        return _knots(self.logg)

    @cached_property
    def _coefficients(self) -> Array:
        """Coefficients of the tensor-product spline of the log flux, shape (n_teff, n_logg, n_points)."""
        from scipy.interpolate import make_interp_spline
        from scipy.ndimage import spline_filter1d

        log_flux = spline_filter1d(self._resampled(), order=3, axis=-1, mode="mirror")
        for axis, nodes in enumerate((_heat(self.teff), self.logg)):
            spline = make_interp_spline(nodes, log_flux, k=_degree(nodes), axis=axis)
            log_flux = np.moveaxis(spline.c, 0, axis)
        return np.ascontiguousarray(log_flux)

    def _resampled(self) -> Array:
        """Log flux, convolved, on the internal axis: shape (n_teff, n_logg, n_points)."""
        n_points = round((self.stop - self.start) / LOG_STEP) + 1
        if n_points < 16:
            raise TemplateError(
                f"the templates cover {self.wavelength[0]:.1f} to {self.wavelength[-1]:.1f} Angstrom; the "
                f"fit needs Balmer lines between {FIT_RANGE[0]:.0f} and {FIT_RANGE[1]:.0f} Angstrom: "
                "use other templates"
            )
        fine = self.start + np.arange((n_points - 1) * _OVERSAMPLING + 1) * LOG_STEP / _OVERSAMPLING
        spectra = self.flux.reshape(-1, self.wavelength.size)
        rows = [self._convolved(spectrum, fine)[::_OVERSAMPLING] for spectrum in spectra]
        log_flux = np.log(rows)
        log_flux -= log_flux.mean(axis=-1, keepdims=True)
        return log_flux.reshape(self.teff.size, self.logg.size, n_points)

    def _convolved(self, spectrum: Array, fine: Array) -> Array:
        """One template on the fine axis, convolved to the resolution of the instrument."""
        from scipy.interpolate import Akima1DInterpolator
        from scipy.ndimage import gaussian_filter1d

        fine = np.clip(fine, *np.log10(self.wavelength[[0, -1]]))
        flux = np.exp(Akima1DInterpolator(np.log10(self.wavelength), np.log(spectrum))(fine))
        if self.resolution is None:
            return flux
        sigma = _OVERSAMPLING / (LOG_STEP * self.resolution * np.sqrt(8 * np.log(2)) * np.log(10))
        return gaussian_filter1d(flux, sigma, mode="nearest")


def load_grid(path: str | Path, resolution: float | None = BOSS_RESOLUTION) -> TemplateGrid:
    """Read a template grid.

    Parameters
    ----------
    path : str or Path
        An ``.npz`` file, or a folder of Koester model spectra as text files.
    resolution : float, optional
        Resolving power of the instrument that took the data; None for templates that need no convolution. An
        npz file that says its own is not overruled.

    Returns
    -------
    TemplateGrid
        The grid, wavelengths in vacuum.

    Raises
    ------
    TemplateError
        If there is no such file, or it doesn't hold a complete grid.

    Notes
    -----
    The npz file has the arrays ``teff`` (K), ``logg`` (dex), ``wavelength`` (Angstrom) and
    ``flux`` of shape (n_teff, n_logg, n_pixels), and may have ``medium`` (text, "vacuum" or "air"; vacuum
    when missing) and ``resolution`` (the resolving power to convolve to; 0 for templates at the instrument's
    resolution).

    A text file has comment lines with ``teff = 12000 K`` and ``logg = 8``, then two columns: wavelength
    (Angstrom) and flux. The values are read from the comments, never from the name. Whether wavelengths are
    in air or in vacuum is not written in such files: it is told from the core of H-alpha, and air is
    converted.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _load_folder(path, resolution)
    if not path.is_file():
        raise TemplateError(
            f"no template grid at {path}; give an .npz file or a folder of Koester model spectra "
            "(parameter `grid` or the environment variable ASTRA_CORV_GRID)"
        )
    return _load_npz(path, resolution)


@lru_cache(maxsize=1)
def balmer_family() -> TemplateGrid:
    """Give the built-in grid: `da_flux` for 6500 to 40000 K and log g 7 to 9.

    Returns
    -------
    TemplateGrid
        26 temperatures equally spaced in log Teff by 9 gravities, at the resolution of BOSS. A toy family for
        the sample survey: for real white dwarfs, configure a grid of model atmospheres.
    """
    low, high = np.log10(FIT_RANGE) / LOG_STEP
    wavelength = 10 ** (np.arange(np.floor(low) - 2, np.ceil(high) + 3) * LOG_STEP)
    teff = np.geomspace(6500.0, 40_000.0, 26)
    logg = np.linspace(7.0, 9.0, 9)
    flux = np.array([[da_flux(wavelength, t, g) for g in logg] for t in teff])
    return TemplateGrid(teff, logg, wavelength, flux)


def da_flux(wavelength: ArrayLike, teff: float, logg: float) -> Array:
    """Give the flux of the analytic DA family.

    A black body times Balmer lines (H-alpha to H12) in absorption. It is a toy for the sample survey, not a
    model atmosphere: the lines are strongest at 12500 K, their wings fall off as the Stark effect has them
    (power -5/2) and widen with gravity, and high series members fade with gravity and in cool stars. The
    narrowest feature has a width (sigma) of 180 km/s, so the flux stands for a spectrum *as seen* at the
    resolution of BOSS: it needs no further convolution.

    Parameters
    ----------
    wavelength : array_like of float
        Vacuum wavelengths in the rest frame (Angstrom), any shape, any order.
    teff : float
        Effective temperature (K), meant for 6500 to 40000.
    logg : float
        Logarithm of the surface gravity (dex of cm/s2), meant for 7 to 9.

    Returns
    -------
    ndarray of float64
        Flux per unit wavelength, same shape as `wavelength`, relative to the continuum at 5500 Angstrom.
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    return black_body(wavelength, teff) * np.exp(-_optical_depth(wavelength, teff, logg))


def black_body(wavelength: Array, teff: float) -> Array:
    """Give the flux per unit wavelength of a black body of `teff` (K), relative to that at 5500 Angstrom."""
    reference = np.expm1(_HC_OVER_K / (_REFERENCE_WAVELENGTH * teff))
    return (_REFERENCE_WAVELENGTH / wavelength) ** 5 * reference / np.expm1(_HC_OVER_K / (wavelength * teff))


def _optical_depth(wavelength: Array, teff: float, logg: float) -> Array:
    """Sum of the profiles, symmetric in log wavelength so that no line favours a velocity."""
    log_wavelength = np.log(wavelength)
    depth = np.zeros_like(log_wavelength)
    core_share = _CORE_SHARE * (teff / _STRONGEST_TEFF) ** 0.3
    for centre, strength, width in zip(np.log(_LINE_CENTRES), *_line_shapes(teff, logg), strict=True):
        offset = log_wavelength - centre
        wings = 1.0 + (offset / width) ** 2
        core = np.exp(-0.5 * (offset / _CORE_WIDTH) ** 2)
        depth += strength * ((1.0 - core_share) / (wings * np.sqrt(np.sqrt(wings))) + core_share * core)
    return depth


def _line_shapes(teff: float, logg: float) -> tuple[Array, Array]:
    """Central optical depths and widths (in ln wavelength) of the lines, each of shape (n_lines,)."""
    heat = teff / _STRONGEST_TEFF
    strength = 4.2 / (1.2 * heat**-3.0 + 3.0 * heat**1.2)
    order = _UPPER_LEVELS - _UPPER_LEVELS[0]
    decrement = heat ** (0.12 * order) * 10 ** (-0.06 * order * (logg - 8.0))
    widths = _LINE_WIDTHS * heat**0.25 * 10 ** (0.2 * (logg - 8.0))
    return _LINE_DEPTHS * strength * decrement, widths


def _load_npz(path: Path, resolution: float | None) -> TemplateGrid:
    content = _read_npz(path)
    missing = [key for key in _NPZ_KEYS if key not in content]
    if missing:
        raise TemplateError(
            f"{path}: the array(s) {', '.join(missing)} are missing; found {', '.join(content) or 'nothing'}."
            " An npz grid has teff, logg, wavelength and flux"
        )
    try:
        return TemplateGrid(
            content["teff"],
            content["logg"],
            _to_vacuum(_as_numbers("wavelength", content["wavelength"]), str(content.get("medium", "vacuum"))),
            content["flux"],
            _resolution_from(content, resolution),
        )
    except TemplateError as error:
        raise TemplateError(f"{path}: {error}") from None


def _read_npz(path: Path) -> dict[str, Any]:
    """Read all arrays of an npz file, without unpickling anything."""
    from zipfile import BadZipFile
    from zlib import error as damaged

    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return dict(content) if isinstance(content, Mapping) else {"a single array": content}
    except (OSError, ValueError, EOFError, BadZipFile, damaged) as error:
        raise TemplateError(
            f"{path} can't be read as an npz file of plain numbers ({error}); write it with numpy.savez, "
            "without object arrays"
        ) from error


def _resolution_from(content: Mapping[str, Any], default: float | None) -> float | None:
    if "resolution" not in content:
        return default
    resolution = _as_numbers("resolution", content["resolution"])
    if resolution.size != 1:
        raise TemplateError(f"resolution has {resolution.size} values; give one number, 0 for no convolution")
    return float(resolution.item()) or None


def _load_folder(folder: Path, resolution: float | None) -> TemplateGrid:
    spectra: dict[tuple[float, float], tuple[Array, Array]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        content = _read_koester(path)
        if content is None:
            continue
        node, spectrum = content
        if node in spectra:
            raise TemplateError(f"{path}: a second spectrum of teff {node[0]:g} K, logg {node[1]:g}; remove one")
        spectra[node] = spectrum
    if not spectra:
        raise TemplateError(
            f"{folder} has no model spectrum: no file with comment lines `# teff = 12000 K` and `# logg = 8`;"
            " give the folder of the Koester models, or an .npz file"
        )
    return _assemble(folder, spectra, resolution)


def _read_koester(path: Path) -> tuple[tuple[float, float], tuple[Array, Array]] | None:
    """Read one model: its (teff, logg) and its spectrum; None for a file that isn't one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return None
    header = [line for line in lines if line.startswith("#")]
    teff, logg = _header_value("teff", header), _header_value("logg", header)
    if teff is None and logg is None:
        return None
    if teff is None or logg is None:
        raise TemplateError(f"{path}: no `# {'teff' if teff is None else 'logg'} = ...` in its comment lines; add it")
    return (teff, logg), _read_columns(path, lines)


def _header_value(name: str, header: Iterable[str]) -> float | None:
    for line in header:
        found = re.match(rf"#\s*{name}\s*=\s*([-+.\deE]+)", line)
        if found:
            return float(found[1])
    return None


def _read_columns(path: Path, lines: Iterable[str]) -> tuple[Array, Array]:
    """Wavelength (vacuum Angstrom) and flux of one model, both of shape (n_pixels,)."""
    rows = [line.split() for line in lines if not line.lstrip().startswith("#") and line.strip()]
    try:
        table = np.array([[float(row[0]), float(row[1])] for row in rows]).reshape(-1, 2)
    except (ValueError, IndexError) as error:
        raise TemplateError(f"{path}: a row is not wavelength and flux ({error}); download it again") from None
    wavelength, first = np.unique(table[:, 0], return_index=True)
    needed = (_H_ALPHA_AIR - 30, _H_ALPHA_VACUUM + 30)
    if wavelength.size < 16 or wavelength[0] > needed[0] or wavelength[-1] < needed[1]:
        raise TemplateError(
            f"{path}: {wavelength.size} wavelengths that don't span H-alpha, which tells air from vacuum; "
            "is the file cut short? Otherwise store the grid as .npz with its `medium`"
        )
    flux = table[first, 1]
    return _to_vacuum(wavelength, _medium(wavelength, flux)), flux


def _medium(wavelength: Array, flux: Array) -> str:
    """Tell "air" or "vacuum" from the core of H-alpha."""
    near = np.abs(wavelength - _H_ALPHA_VACUUM) < 15
    core = wavelength[near][np.argmin(flux[near])]
    return "air" if abs(core - _H_ALPHA_AIR) < abs(core - _H_ALPHA_VACUUM) else "vacuum"


def _to_vacuum(wavelength: Array, medium: str) -> Array:
    """Convert air wavelengths above 2000 Angstrom; refraction of standard air as in Morton (2000)."""
    if medium == "vacuum":
        return wavelength
    if medium != "air":
        raise TemplateError(f"medium is {medium!r}; it can be 'vacuum' or 'air'")
    vacuum = wavelength.copy()
    in_air = wavelength > 2000.0
    for _ in range(3):
        wave_number = (1e4 / vacuum[in_air]) ** 2
        refraction = 8.34254e-5 + 2.406147e-2 / (130 - wave_number) + 1.5998e-4 / (38.9 - wave_number)
        vacuum[in_air] = wavelength[in_air] * (1 + refraction)
    return vacuum


def _assemble(
    folder: Path, spectra: Mapping[tuple[float, float], tuple[Array, Array]], resolution: float | None
) -> TemplateGrid:
    """Put single spectra on one wavelength axis and into one regular grid."""
    teff, logg = (np.unique([node[axis] for node in spectra]) for axis in (0, 1))
    missing = [f"({t:g} K, {g:g})" for t in teff for g in logg if (t, g) not in spectra]
    if missing:
        raise TemplateError(
            f"{folder}: {len(missing)} of {teff.size * logg.size} models (teff, logg) are missing: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
            "add them, or move incomplete rows away"
        )
    wavelength = _common_axis([wave for wave, _ in spectra.values()])
    try:
        flux = np.array([[_on_axis(wavelength, *spectra[t, g]) for g in logg] for t in teff])
        return TemplateGrid(teff, logg, wavelength, flux, resolution)
    except TemplateError as error:
        raise TemplateError(f"{folder}: {error}") from None


def _common_axis(wavelengths: Iterable[Array]) -> Array:
    """Vacuum wavelengths (Angstrom) that all spectra cover, fine enough for the cores of the lines."""
    margin = 1.005
    first = max([FIT_RANGE[0] / margin, *(wave[0] for wave in wavelengths)])
    last = min([FIT_RANGE[1] * margin, *(wave[-1] for wave in wavelengths)])
    return 10 ** np.arange(np.log10(first), np.log10(last), LOG_STEP / _OVERSAMPLING)


def _on_axis(wavelength: Array, native: Array, flux: Array) -> Array:
    from scipy.interpolate import Akima1DInterpolator

    _check_positive(flux[(native >= wavelength[0]) & (native <= wavelength[-1])])
    near = slice(*np.clip(np.searchsorted(native, wavelength[[0, -1]]) + np.array([-3, 3]), 0, native.size))
    return np.exp(Akima1DInterpolator(native[near], np.log(flux[near]))(wavelength))


def _as_numbers(name: str, values: ArrayLike) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TemplateError(f"{name} doesn't hold numbers ({error}); store plain floating-point arrays") from None


def _check_axis(name: str, values: Array, least: int) -> None:
    if values.ndim != 1 or values.size < least:
        raise TemplateError(f"{name} has shape {values.shape}; it needs one dimension of at least {least} values")
    if not np.all(np.isfinite(values)) or not np.all(np.diff(values) > 0) or (name != "logg" and values[0] <= 0):
        what = "finite and increasing" if name == "logg" else "finite, positive and increasing"
        raise TemplateError(f"{name} is not {what}; sort it (and flux with it) and remove repeated values")


def _check_flux(flux: Array, shape: tuple[int, int, int]) -> None:
    if flux.shape != shape:
        raise TemplateError(
            f"flux has shape {flux.shape}, but teff, logg and wavelength say (n_teff, n_logg, n_pixels) = {shape}"
        )
    _check_positive(flux)


def _check_positive(flux: Array) -> None:
    bad = ~(np.isfinite(flux) & (flux > 0))
    if np.any(bad):
        raise TemplateError(
            f"flux is not finite and positive at {np.count_nonzero(bad)} of {bad.size} places; "
            "cut the wavelengths at which templates have no flux"
        )


def _heat(teff: Value) -> Value:
    """Coordinate of the interpolation in temperature (K): increases with it, and is linear in its inverse."""
    return -5040.0 / teff


def _degree(nodes: Array) -> int:
    return min(3, nodes.size - 1)


def _knots(nodes: Array) -> tuple[Array, int]:
    """Knots and degree of the interpolating spline on `nodes`."""
    from scipy.interpolate import make_interp_spline

    degree = _degree(nodes)
    return np.asarray(make_interp_spline(nodes, nodes, k=degree).t), degree


def _basis(knots: Array, degree: int, position: float) -> tuple[slice, Array]:
    """Find which coefficients a position needs; weights for value and derivative of shape (2, degree + 1)."""
    last = knots.size - degree - 2
    span = int(np.clip(np.searchsorted(knots, position, side="right") - 1, degree, last))
    weights, lower = np.ones(1), np.ones(1)
    for order in range(1, degree + 1):
        lower = weights
        right = knots[span + 1 : span + 1 + order]
        left = knots[span + 1 - order : span + 1]
        share = lower / (right - left)
        weights = np.append(share * (right - position), 0.0) + np.append(0.0, share * (position - left))
    share = degree * lower / (knots[span + 1 : span + 1 + degree] - knots[span + 1 - degree : span + 1])
    slopes = np.append(-share, 0.0) + np.append(0.0, share)
    return slice(span - degree, span + 1), np.stack([weights, slopes])


def _uniform_weights(position: Array) -> tuple[Array, Array, NDArray[np.intp]]:
    """Cubic B-spline weights on a uniform axis.

    Parameters
    ----------
    position : ndarray of float64, shape (n_pixels,)
        Positions in steps of the axis, from its first point.

    Returns
    -------
    weights, slopes : ndarray of float64, shape (4, n_pixels)
        Weights of the four coefficients around each position, for the value and for its derivative per step.
    first : ndarray of int, shape (n_pixels,)
        Index of the first of the four coefficients.
    """
    whole = np.floor(position)
    t = position - whole
    u = 1.0 - t
    weights = np.stack([u**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * u**2 + 3 * u**3, t**3]) / 6
    slopes = np.stack([-(u**2), 3 * t**2 - 4 * t, 4 * u - 3 * u**2, t**2]) / 2
    return weights, slopes, whole.astype(np.intp) - 1
