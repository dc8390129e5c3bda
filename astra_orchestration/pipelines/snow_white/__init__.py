"""Snow White: classes of white dwarfs, and temperature and gravity of those with hydrogen lines.

Features, the forest and the fit work without a database; here they are joined to the survey's tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from astra_models.analysis.task import task
from astra_models.boss import BossVisitSpectrum
from astra_models.snow_white import SnowWhite
from astra_orchestration.pipelines.snow_white.confusion import confusion_by_snr
from astra_orchestration.pipelines.snow_white.features import NoFeaturesError, features
from astra_orchestration.pipelines.snow_white.forest import Classifier, load_classifier
from astra_orchestration.pipelines.snow_white.labels import column_of, label_of
from astra_orchestration.pipelines.snow_white.pictures import classes_by_snr
from astra_orchestration.pipelines.white_dwarfs.choosing import GridChoice, without_grid
from astra_orchestration.pipelines.white_dwarfs.registry import resolve_grid

__all__ = ["GRID_VARIABLE", "SHIPPED", "classify", "snow_white"]

GRID_VARIABLE = "ASTRA_CORV_GRID"
"""Environment variable with the grid of model spectra, the same as Corv's."""

CLASSIFIER_VARIABLE = "ASTRA_SNOW_WHITE_CLASSIFIER"
"""Environment variable with the file of another classifier."""

SHIPPED = Path(__file__).parent / "classifier.npz"
"""The classifier that comes with the package."""

LOWEST_SNR = 8.0
"""Median S/N per pixel up to which a result gets the flag for low S/N."""


@task(
    environment={"grid": GRID_VARIABLE, "classifier": CLASSIFIER_VARIABLE},
    resolve={"grid": resolve_grid},
    warnings=without_grid,
    plots=(classes_by_snr, confusion_by_snr),
    batch_size=500,
)
def snow_white(
    spectra: Iterable[BossVisitSpectrum], grid: Path | None = None, classifier: Path = SHIPPED
) -> Iterable[SnowWhite]:
    """Classify white dwarfs, and measure temperature and gravity of DAs.

    A random forest on 1751 features gives the probability of each class. The Balmer lines of spectra called "DA" or
    "DA:" are fitted with a grid of model atmospheres. The method follows NPGFusillo/4MOST_WDpipe.

    Parameters
    ----------
    spectra : iterable of BossVisitSpectrum
        Visit spectra; wavelengths in vacuum Angstrom, flux in 1e-17 erg/s/cm2/Angstrom.
    grid : Path, optional
        A grid of model atmospheres, or the name of one in `astra grids list`; by default "da", if that is registered.
        Without one, or if it is "built-in", real stars get classes alone.
    classifier : Path, optional
        A classifier that `astra train snow_white` wrote; by default the one that comes with the package.

    Yields
    ------
    SnowWhite
        One result per spectrum: probabilities, temperatures in K, gravities in dex of cm/s2. What could not be measured
        is missing, and a flag says why.
    """
    forest, choice = load_classifier(classifier), GridChoice(grid)
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    for spectrum in spectra:
        yield SnowWhite.from_spectrum(spectrum, **_columns(spectrum, forest, choice))


def classify(wavelength: Any, flux: Any, ivar: Any, classifier: Classifier) -> dict[str, float]:
    """Give the probability of each class that a classifier knows.

    Parameters
    ----------
    wavelength, flux, ivar : array_like of float, shape (n_pixels,)
        The spectrum, see `features.features`.
    classifier : Classifier
        From `forest.load_classifier`.

    Raises
    ------
    NoFeaturesError
        If too little of the spectrum is there.
    """
    found = classifier.probabilities(features(wavelength, flux, ivar)[None])[0]
    return dict(zip(classifier.classes, found.tolist(), strict=True))


def _columns(spectrum: BossVisitSpectrum, forest: Classifier, choice: GridChoice) -> dict[str, Any]:
    from astra_orchestration.pipelines.snow_white.parameters import FIT_LABELS, measured
    from astra_orchestration.pipelines.white_dwarfs.catalogues import photometry_of

    arrays = spectrum.wavelength, spectrum.flux, spectrum.ivar
    columns: dict[str, Any] = {"classifier": str(forest)}
    try:
        probabilities = classify(*arrays, forest)
    except NoFeaturesError as error:
        return columns | {f"flag_{error.reason}": True, "flag_low_snr": True}
    label = label_of(list(probabilities), list(probabilities.values()))
    columns |= {column_of(name): p for name, p in probabilities.items()}
    columns |= {"classification": label, "flag_low_snr": not _signal_to_noise(*arrays[1:]) > LOWEST_SNR}
    if label not in FIT_LABELS:
        return columns
    chosen = choice.of(spectrum)
    if not chosen.counts:
        return columns | {"flag_no_model_grid": True}
    columns |= {"template_grid": chosen.label}
    return columns | measured(*arrays, chosen.templates, lambda: photometry_of(spectrum))


def _signal_to_noise(flux: Any, ivar: Any) -> float:
    good = np.isfinite(flux) & np.isfinite(ivar) & (np.asarray(ivar) > 0)
    return float(np.median(flux[good] * np.sqrt(ivar[good]))) if np.any(good) else np.nan
