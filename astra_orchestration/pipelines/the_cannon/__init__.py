"""The Cannon: labels of stars, by a model that learnt from stars whose labels are known.

Ness et al. 2015 (ApJ 808, 16); Casey et al. 2016 (arXiv:1603.03040). Training, test step and files work without a
database; here they are joined to the survey's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from astra_models.analysis.task import task
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.columns.many import ManyResults
from astra_models.errors import ConfigurationError, MissingPixelsError
from astra_models.intermediate import write_arrays
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.the_cannon import ALL_LABELS, TheCannon

from .continuum import VERSION, Normalised, normalise
from .finding import MODEL_VARIABLE, find_model
from .model import Answer, CannonModel
from .model_file import load_model
from .pictures import PICTURES
from .polynomial import CannonError

__all__ = ["the_cannon"]

AT_ONCE = 200
"""Spectra that are labelled together: 100 MB of arrays."""

DIGITS = 12
"""Digits of a checksum that tell one model from another."""

Spectrum = ApogeeCoaddedSpectrumInApStar | ApogeeCombinedSpectrum


def without_products(values: Mapping[str, object]) -> list[str]:
    """Warn of a run whose model fluxes go nowhere, by the values of its parameters."""
    if not values.get("keep_models"):
        return []
    try:
        _ = TheCannon(spectrum_pk=0, source_pk=0).absolute_path
    except ConfigurationError as error:
        return [f"model fluxes aren't kept: {error}; labels are"]
    return []


@task(
    environment={"model": MODEL_VARIABLE},
    resolve={"model": find_model},
    without_effect=["keep_models"],
    warnings=without_products,
    plots=PICTURES,
    batch_size=1000,
)
def the_cannon(
    spectra: Iterable[ApogeeCoaddedSpectrumInApStar | ApogeeCombinedSpectrum],
    model: Path | None = None,
    largest_rchi2: float = 3.0,
    keep_models: bool = True,
) -> Iterable[TheCannon | ManyResults[TheCannon]]:
    """Find stellar labels of APOGEE co-adds, by a model that learnt from labelled stars.

    The flux of each pixel, over a pseudo-continuum, is a polynomial of the labels. Those of a spectrum are found by
    least squares from several starts. What the training set has no label for is missing.

    Parameters
    ----------
    spectra : iterable of ApogeeCoaddedSpectrumInApStar or ApogeeCombinedSpectrum
        Co-adds at rest; wavelengths in vacuum Angstrom, flux in 1e-17 erg/s/cm2/Angstrom.
    model : Path, optional
        A model that `astra train the_cannon` wrote; by default the one that it left where runs look for it.
    largest_rchi2 : float, optional
        Reduced chi-squared above which a fit gets the flag for a bad one.
    keep_models : bool, optional
        Whether model flux, continuum and correlations of each result are kept in a file below $MWM_ASTRA.

    Yields
    ------
    TheCannon
        One result per spectrum. What could not be found is missing, and a flag says why.
    """
    trained = load_model(find_model(model))
    _require_usable(trained)
    keep_models = keep_models and not without_products({"keep_models": True})
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    source = iter(spectra)
    while some := list(islice(source, AT_ONCE)):
        yield from _results(some, trained, largest_rchi2, keep_models)


def _require_usable(model: CannonModel) -> None:
    if unknown := set(model.labels) - set(ALL_LABELS):
        raise CannonError(f"{model.name}: the table has no column for its labels {', '.join(sorted(unknown))}")
    if model.continuum != VERSION:
        raise CannonError(
            f"{model.name} was trained with another continuum ({model.continuum}) than this version has ({VERSION}): "
            "train it again"
        )


def _results(
    spectra: Sequence[Spectrum], model: CannonModel, largest_rchi2: float, keep_models: bool
) -> Iterator[ManyResults[TheCannon]]:
    """Label some spectra at once. One that can't be read leaves the others as they are."""
    good, flux, ivar = [], [], []
    unread: list[tuple[Spectrum, MissingPixelsError]] = []
    for spectrum in spectra:
        try:
            arrays = _pixels_of(spectrum, model)
        except MissingPixelsError as error:
            unread.append((spectrum, error))
            continue
        good.append(spectrum)
        flux.append(arrays[0])
        ivar.append(arrays[1])
        spectrum.release_pixels()
    if good:
        normalised = normalise(model.wavelength, np.array(flux), np.array(ivar))
        answer = model.label(normalised.flux, normalised.ivar)
        results = TheCannon.from_spectra(good, **_columns(answer, normalised, model, largest_rchi2))
        if keep_models:
            _keep(results, answer, normalised, model)
        yield results
    if unread:
        # What is raised is recorded for the spectrum that is asked for alone; the others have their results.
        raise unread[0][1]


def _pixels_of(spectrum: Spectrum, model: CannonModel) -> tuple[Any, Any]:
    flux, ivar = spectrum.flux, spectrum.ivar
    if flux.shape != model.wavelength.shape or ivar.shape != flux.shape:
        raise MissingPixelsError(
            f"the flux has shape {flux.shape}, where the model has {model.wavelength.size} pixels; the file is "
            "damaged, or of another kind"
        )
    return flux, ivar


def _columns(answer: Answer, normalised: Normalised, model: CannonModel, largest_rchi2: float) -> dict[str, Any]:
    """Name what was found as the columns and flags of the table."""
    found = answer.found
    known = np.isfinite(found.labels).all(axis=1)
    columns: dict[str, Any] = {"trained_model": f"{model.name} {model.checksum[:DIGITS]}".strip()}
    for i, label in enumerate(model.labels):
        columns |= {label: found.labels[:, i], f"e_{label}": answer.errors[:, i], f"raw_e_{label}": found.errors[:, i]}
    rchi2 = found.rchi2
    with np.errstate(invalid="ignore"):
        is_bad = known & ~(rchi2 <= largest_rchi2)
    return columns | {
        "chi2": found.chi2,
        "rchi2": rchi2,
        "ier": np.where(found.converged, 1, 0),
        "nfev": found.n_steps,
        "x0_index": found.start,
        "flag_fitting_failure": ~known,
        "flag_outside_training_set": known & answer.outside,
        "flag_bad_chi2": is_bad,
        "flag_not_converged": known & ~found.converged,
        "flag_no_continuum": _chips_without_continuum(normalised, model),
    }


def _chips_without_continuum(normalised: Normalised, model: CannonModel) -> Any:
    """Tell which spectra lack the continuum in a chip that the model uses."""
    used = np.isfinite(model.coefficients.scatter)
    return ~np.isfinite(normalised.continuum[:, used]).all(axis=1)


def _keep(results: ManyResults[TheCannon], answer: Answer, normalised: Normalised, model: CannonModel) -> None:
    """Write model flux, continuum and correlations of each result that has labels."""
    places = [ALL_LABELS.index(label) for label in model.labels]
    fluxes = model.model_flux(answer.found.labels) * normalised.continuum
    for place, row in enumerate(results):
        if not np.isfinite(answer.found.labels[place]).all():
            continue
        correlation = np.full((len(ALL_LABELS), len(ALL_LABELS)), np.nan)
        errors = answer.found.errors[place]
        correlation[np.ix_(places, places)] = answer.found.covariance[place] / np.outer(errors, errors)
        write_arrays(
            row.absolute_path,
            model_flux=fluxes[place].astype(np.float32),
            continuum=normalised.continuum[place].astype(np.float32),
            correlation=correlation.astype(np.float32),
        )
