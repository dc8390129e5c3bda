"""Pictures of spectra. matplotlib is imported when one is made: it is an extra, and slow to load."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from astra_models.errors import AstraError, MissingExtraError
from astra_models.pixels.arrays import Array, pixel_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLUX, MODEL, CONTINUUM, FLAGGED = "black", "tab:red", "tab:blue", "tab:orange"
SHOWN = (0.5, 99.5)
"""Percentiles of the good fluxes that the axis spans, apart from a margin."""
MARGIN = 0.12
FIGURE_WIDTH, FIGURE_HEIGHT = 10, 3.5


class Spectrum(Protocol):
    """A spectrum of any kind: wavelengths and fluxes of shape ``(n_pixels,)`` or ``(n_chips, n_pixels)``."""

    spectrum_pk: int | None
    wavelength: Array
    flux: Array

    @property
    def e_flux(self) -> Array:
        """Uncertainties of the flux."""
        ...


class Chip(NamedTuple):
    """What is plotted of a chip: arrays of shape ``(n_pixels,)``."""

    wavelength: Array
    flux: Array
    e_flux: Array
    model: Array | None
    continuum: Array | None
    flagged: Array | None


def plot_spectrum(
    spectrum: Spectrum,
    ax: "Axes | Sequence[Axes] | None" = None,
    *,
    model_flux: ArrayLike | None = None,
    continuum: ArrayLike | None = None,
    flags: bool = True,
) -> "Figure":
    """Plot a spectrum; see `SpectrumMixin.plot`. Several chips may share one of the given axes."""
    chips = _chips(spectrum, model_flux, continuum, flags)
    axes = _axes(ax, chips)
    for panel, chip in zip(axes, chips, strict=True):
        _draw(panel, chip)
    for panel in dict.fromkeys(axes):
        _label(panel, spectrum, is_first=panel is axes[0])
    figure = axes[0].figure
    if ax is None and len(axes) > 1:
        figure.supxlabel(_wavelength_label(spectrum), fontsize="medium")
        figure.suptitle(_title(spectrum), fontsize="medium")
    return cast("Figure", figure)


def _chips(spectrum: Spectrum, model_flux: ArrayLike | None, continuum: ArrayLike | None, flags: bool) -> list[Chip]:
    *n_chips, n_pixels = np.shape(spectrum.flux)

    def each(values: ArrayLike) -> Iterator[Array]:
        return iter(np.reshape(values, (-1, n_pixels)))

    def each_or_none(values: ArrayLike | None) -> Iterator[Array | None]:
        return repeat(None, int(np.prod(n_chips))) if values is None else each(values)

    model, level = _model_and_continuum(spectrum, model_flux, continuum)
    flagged = _flagged(spectrum) if flags else None
    known = each(spectrum.wavelength), each(spectrum.flux), each(spectrum.e_flux)
    return [Chip(*arrays) for arrays in zip(*known, *map(each_or_none, (model, level, flagged)), strict=True)]


def _model_and_continuum(
    spectrum: Spectrum, model_flux: ArrayLike | None, continuum: ArrayLike | None
) -> tuple[ArrayLike | None, ArrayLike | None]:
    if continuum is None:
        continuum = _own(spectrum, "continuum")
    if model_flux is None:
        rectified = _own(spectrum, "nmf_rectified_model_flux")
        if rectified is not None and continuum is not None:
            model_flux = np.asarray(rectified) * np.asarray(continuum)
    return model_flux, continuum


def _own(spectrum: Spectrum, name: str) -> Array | None:
    """Give an array of the spectrum's own, or None if it, or its file, doesn't have it."""
    if name not in pixel_arrays(type(spectrum)):
        return None
    try:
        return getattr(spectrum, name)
    except AstraError:
        return None


def _flagged(spectrum: Spectrum) -> Array | None:
    flags = _own(spectrum, "pixel_flags")
    return None if flags is None else np.asarray(flags) != 0


def _axes(ax: "Axes | Sequence[Axes] | None", chips: list[Chip]) -> list["Axes"]:
    if ax is not None:
        given = list(np.atleast_1d(np.asarray(ax, dtype=object)).ravel())
        return given if len(given) == len(chips) else [given[0]] * len(chips)
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib; install it with `pip install astra-orchestration[plot]`"
        ) from error
    widths = [float(np.ptp(chip.wavelength)) or 1.0 for chip in chips]
    size = (FIGURE_WIDTH, FIGURE_HEIGHT)
    _, axes = plt.subplots(1, len(chips), figsize=size, layout="constrained", width_ratios=widths, squeeze=False)
    return list(axes[0])


def _draw(ax: "Axes", chip: Chip) -> None:
    wavelength, flux, e_flux = chip.wavelength, chip.flux, chip.e_flux
    measured = np.isfinite(e_flux) & np.isfinite(flux)
    shown = np.where(measured, flux, np.nan)
    error = np.where(measured, e_flux, 0)
    ax.fill_between(wavelength, shown - error, shown + error, where=measured, color="0.82", linewidth=0, zorder=1)
    ax.plot(wavelength, shown, color=FLUX, linewidth=0.6, label="flux", zorder=2)
    for name, values, color in (("continuum", chip.continuum, CONTINUUM), ("model", chip.model, MODEL)):
        if values is not None:
            ax.plot(wavelength, np.where(measured, values, np.nan), color=color, linewidth=0.9, label=name, zorder=3)
    if chip.flagged is not None:
        for start, stop in _runs(chip.flagged):
            edges = wavelength[[max(start - 1, 0), start, stop - 1, min(stop, len(wavelength) - 1)]]
            left, right = (edges[0] + edges[1]) / 2, (edges[2] + edges[3]) / 2
            ax.axvspan(left, right, color=FLAGGED, alpha=0.25, linewidth=0, zorder=0)
    ax.set_xlim(wavelength.min(), wavelength.max())
    if measured.any():
        low, high = np.percentile(flux[measured], SHOWN)
        margin = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
        ax.set_ylim(low - margin, high + margin)


def _runs(flagged: np.ndarray) -> Iterator[tuple[int, int]]:
    """Give beginnings and ends of the stretches where something is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flagged, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _label(ax: "Axes", spectrum: Spectrum, is_first: bool) -> None:
    if is_first:
        ax.set_ylabel(_flux_label(spectrum))
    if len(ax.figure.axes) == 1 or np.ndim(spectrum.flux) == 1:
        ax.set(xlabel=_wavelength_label(spectrum), title=_title(spectrum))
        ax.title.set_fontsize("medium")
    if is_first and len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend(loc="best", fontsize="small", frameon=False)


def _wavelength_label(spectrum: Spectrum) -> str:
    frame = "at rest" if "rest" in (pixel_arrays(type(spectrum))["wavelength"].help_text or "") else "observed"
    return f"Vacuum wavelength, {frame} [Å]"


def _flux_label(spectrum: Spectrum) -> str:
    from astropy.units import Unit

    unit = pixel_arrays(type(spectrum))["flux"].unit
    return f"Flux [{Unit(unit).to_string('latex_inline')}]" if unit else "Flux"


def _title(spectrum: Spectrum) -> str:
    """Say what it is: kind, key, and how good."""
    parts = [type(spectrum).__name__, f"spectrum_pk {spectrum.spectrum_pk}"]
    parts += [
        f"{name} {value}"
        for name in ("obj", "sdss_id", "catalogid", "telescope", "mjd")
        if (value := getattr(spectrum, name, None))
    ]
    if snr := getattr(spectrum, "snr", None):
        parts.append(f"S/N {snr:.0f}")
    return ", ".join(parts)
