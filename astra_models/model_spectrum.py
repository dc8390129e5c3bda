"""Model spectra of results whose table has their parameters alone: made when they are asked for.

Who makes them is the pipeline, which may be in another package: `@task(model_spectrum=...)`. It is found by the entry
points of pipelines, so that nothing here needs to know it.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra_models.errors import MissingExtraError, ModelSpectrumError
from astra_models.messages import said
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import Spectrum, SpectrumMixin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ModelSpectrum", "ModelSpectrumMaker", "WithModelSpectrum"]

Array = NDArray[np.float64]

GROUP = "astra.pipelines"
DATA, MODEL, CLIPPED, ERROR = "black", "tab:red", "tab:orange", "0.82"
PANEL_WIDTH, HEIGHT, LEAST_WIDTH = 2.6, 4.6, 5.0  # inches
MARGIN = 0.1
MOST_SIGMA = 8.0
"""Residuals beyond this many standard deviations are drawn at the edge."""


class ModelSpectrum(NamedTuple):
    """A spectrum and the model that was fitted to it.

    Parameters
    ----------
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelengths (Angstrom), those of the spectrum.
    flux, e_flux : ndarray of float64, shape (n_pixels,)
        The spectrum and its uncertainty, in the unit of its flux; NaN and infinite where there is nothing.
    model_flux : ndarray of float64, shape (n_pixels,)
        The model in the same unit; NaN outside the windows.
    windows : mapping of str to tuple of float
        First and last wavelength (Angstrom) of each stretch that was fitted, by its name.
    clipped : ndarray of bool, shape (n_pixels,)
        Pixels in the windows that were left out as outliers.
    """

    wavelength: Array
    flux: Array
    e_flux: Array
    model_flux: Array
    windows: Mapping[str, tuple[float, float]]
    clipped: NDArray[np.bool_]

    @property
    def residuals(self) -> Array:
        """The spectrum less the model, in units of its uncertainty: shape (n_pixels,); NaN where there is none."""
        with np.errstate(invalid="ignore"):
            found = (self.flux - self.model_flux) / self.e_flux
        return np.where(np.isfinite(self.e_flux), found, np.nan)


ModelSpectrumMaker = Callable[[PipelineOutputMixin, SpectrumMixin], ModelSpectrum]
"""Makes the model spectrum of a result, of its spectrum."""


class WithModelSpectrum(PipelineOutputMixin):
    """Base of tables of results, of which the model spectrum can be made from the row."""

    abstract = True

    def model_spectrum(self) -> ModelSpectrum:
        """Make the model that the result says, on the wavelengths of its spectrum.

        Raises
        ------
        ModelSpectrumError
            If nothing was measured, the grid of models that the row names isn't here, or no pipeline that is installed
            makes model spectra of this table.
        MissingPixelsError
            If the spectrum's file isn't here.
        """
        return _maker_of(type(self))(self, Spectrum(pk=self.spectrum_pk).resolve())

    @property
    def model_flux(self) -> Array:
        """Flux of the model on the spectrum's wavelengths, in the unit of its flux; NaN outside the windows.

        Raises
        ------
        ModelSpectrumError, MissingPixelsError
            As for `model_spectrum`.
        """
        return self.model_spectrum().model_flux

    def plot(self) -> "Figure":
        """Draw the spectrum with its model, window by window, and below what is left, in units of the noise.

        Outliers, which were left out of the fit, are marked.

        Raises
        ------
        ModelSpectrumError, MissingPixelsError
            As for `model_spectrum`.
        MissingExtraError
            If matplotlib, the ``plot`` extra, isn't installed.
        """
        return _draw(self.model_spectrum(), _title(self))


@lru_cache(maxsize=64)
def _maker_of(model: type[PipelineOutputMixin]) -> ModelSpectrumMaker:
    """Find who makes model spectra of a table: a pipeline that fills it, of whatever package."""
    table = str(model._meta.table_name)
    problems: list[str] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name != table, entry.name)):
        try:
            pipeline = entry.load()
        except (Exception, SystemExit) as error:  # one package never stops another; told below if none has it
            problems.append(f"{entry.value}: {said(error)}")
            continue
        maker: ModelSpectrumMaker | None = getattr(pipeline, "model_spectrum", None)
        if maker is not None and model in getattr(pipeline, "output_models", ()):
            return maker
    told = f" ({'; '.join(problems)})" if problems else ""
    raise ModelSpectrumError(
        f"no pipeline that is installed makes model spectra of {table}{told}; install the package that it was made by"
    )


# ---- pictures


def _title(result: PipelineOutputMixin) -> str:
    parts = [f"{type(result).__name__}, spectrum_pk {result.spectrum_pk}"]
    for name, form in (
        ("teff", "{:.0f} K"),
        ("logg", "log g {:.2f}"),
        ("v_rad", "{:.1f} km/s"),
        ("rchi2", "rchi2 {:.2f}"),
    ):
        value = getattr(result, name, None)
        parts += [form.format(value)] if value is not None and np.isfinite(value) else []
    if grid := getattr(result, "template_grid", None):
        parts.append(grid)
    return ", ".join(parts)


def _draw(found: ModelSpectrum, title: str) -> "Figure":
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib; install it with `pip install astra-orchestration[plot]`"
        ) from error
    windows = sorted(found.windows.items(), key=lambda window: window[1])
    size = max(PANEL_WIDTH * len(windows), LEAST_WIDTH), HEIGHT
    n_panels, ratios = max(len(windows), 1), {"height_ratios": (3, 1)}
    figure, panels = plt.subplots(
        2, n_panels, figsize=size, layout="constrained", sharex="col", squeeze=False, gridspec_kw=ratios
    )
    for (name, limits), above, below in zip(windows, *panels, strict=False):
        _draw_window(found, limits, above, below)
        above.set_title(name, fontsize="small")
    panels[0, 0].set_ylabel("flux")
    panels[1, 0].set_ylabel("residual / error")
    figure.supxlabel("Vacuum wavelength [Å]", fontsize="medium")
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_window(found: ModelSpectrum, limits: tuple[float, float], above: "Axes", below: "Axes") -> None:
    inside = (found.wavelength >= limits[0]) & (found.wavelength <= limits[1])
    wavelength, flux, model = (column[inside] for column in (found.wavelength, found.flux, found.model_flux))
    clipped, measured = found.clipped[inside], np.isfinite(found.e_flux[inside])
    shown, error = np.where(measured, flux, np.nan), np.where(measured, found.e_flux[inside], 0.0)
    above.fill_between(wavelength, shown - error, shown + error, color=ERROR, linewidth=0)
    above.plot(wavelength, shown, color=DATA, linewidth=0.6)
    above.plot(wavelength, model, color=MODEL, linewidth=1.0)
    good = np.concatenate([shown[measured & ~clipped], model[np.isfinite(model)]])
    if good.size:
        low, high = good.min(), good.max()
        margin = MARGIN * ((high - low) or abs(high) or 1.0)
        above.set_ylim(low - margin, high + margin)
        above.plot(wavelength[clipped], np.clip(flux[clipped], low, high), "x", color=CLIPPED, markersize=4)
    residuals = np.clip(found.residuals[inside], -MOST_SIGMA, MOST_SIGMA)
    below.plot(wavelength, np.where(clipped, np.nan, residuals), color=DATA, linewidth=0.6)
    below.plot(wavelength[clipped], residuals[clipped], "x", color=CLIPPED, markersize=4)
    below.axhline(0.0, color=MODEL, linewidth=0.8)
    below.set_ylim(-MOST_SIGMA - 1, MOST_SIGMA + 1)
