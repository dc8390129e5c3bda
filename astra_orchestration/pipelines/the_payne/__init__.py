"""The Payne: labels of stars, by a neural network that makes model spectra.

Ting et al. 2019 (ApJ 879, 69). The network, its file and the fit work without a database; here they are joined to the
survey's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra_models.analysis.task import task
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.errors import ConfigurationError, MissingPixelsError
from astra_models.intermediate import write_arrays
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.the_payne import ThePayne

from .columns import columns_of, table_labels, warnings_of
from .finding import NETWORK_VARIABLE, find_network
from .fitting import Fit, Fitter
from .network import Network, PayneError
from .network_file import load_network
from .pictures import PICTURES

__all__ = ["the_payne"]

DIGITS = 12
"""Digits of a checksum that tell one network from another."""

LOWEST_SNR = 70.0
"""S/N below which a result gets the flag for low S/N."""

NEAR = 0.02
"""Pixels by which the network's wavelengths may be off those of the spectra."""

Spectrum = ApogeeCoaddedSpectrumInApStar | ApogeeCombinedSpectrum


def without_products(values: Mapping[str, object]) -> list[str]:
    """Warn of a run whose model fluxes go nowhere, by the values of its parameters."""
    if not values.get("keep_models"):
        return []
    try:
        _ = ThePayne(spectrum_pk=0, source_pk=0).arrays_path
    except ConfigurationError as error:
        return [f"model fluxes aren't kept: {error}; labels are"]
    return []


@task(
    environment={"network": NETWORK_VARIABLE},
    resolve={"network": find_network},
    without_effect=["keep_models"],
    warnings=without_products,
    plots=PICTURES,
    batch_size=200,
)
def the_payne(
    spectra: Iterable[ApogeeCoaddedSpectrumInApStar | ApogeeCombinedSpectrum],
    network: Path | None = None,
    largest_v_rel: float = 10.0,
    largest_rchi2: float = 3.0,
    keep_models: bool = True,
) -> Iterable[ThePayne]:
    """Find stellar labels of APOGEE co-adds, by a network that makes spectra of labels.

    Spectrum and model are divided by a continuum that is found in the same way. The labels are those of least squares,
    inside the box that the network was trained in. What it has no label for is missing.

    Parameters
    ----------
    spectra : iterable of ApogeeCoaddedSpectrumInApStar or ApogeeCombinedSpectrum
        Co-adds at rest; wavelengths in vacuum Angstrom, flux in 1e-17 erg/s/cm2/Angstrom.
    network : Path, optional
        A file with a network, or the folder of binspec's files; by default the one that lies where runs look for it.
    largest_v_rel : float, optional
        Velocity in km/s up to which lines may be off their places at rest; 0 if that isn't to be found.
    largest_rchi2 : float, optional
        Reduced chi-squared above which a fit gets the flag for a bad one.
    keep_models : bool, optional
        Whether model flux and continuum of each result are kept in a file below $MWM_ASTRA.

    Yields
    ------
    ThePayne
        One result per spectrum. What could not be found is missing, and a flag says why.
    """
    trained = load_network(find_network(network))
    names, matrix = table_labels(trained.labels)
    fitter = Fitter(trained, largest_v_rel)
    used = {"network": f"{trained.name} {trained.checksum[:DIGITS]}".strip()}
    keep_models = keep_models and not without_products({"keep_models": True})
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    for spectrum in spectra:
        flux, ivar, places = _pixels_of(spectrum, trained)
        fit = fitter.fit(flux[places], ivar[places])
        flags = _flags_of(fit, largest_rchi2) | {"flag_low_snr": _is_faint(spectrum, flux, ivar)}
        columns: dict[str, Any] = dict(used)
        if fit.found:
            of_labels = columns_of(fit, names, matrix)
            columns |= of_labels | {"v_rel": fit.v_rel, "chi2": fit.chi2, "reduced_chi2": fit.rchi2}
            flags |= warnings_of(of_labels)
        result = ThePayne.from_spectrum(spectrum, **columns, **flags)
        if keep_models and fit.found:
            _keep(result, fit, places, len(flux))
        yield result


def _pixels_of(spectrum: Spectrum, network: Network) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.intp]]:
    """Give flux and inverse variance, and which pixels the network has."""
    wavelength, flux, ivar = (np.asarray(array) for array in (spectrum.wavelength, spectrum.flux, spectrum.ivar))
    if flux.shape != wavelength.shape or ivar.shape != flux.shape:
        raise MissingPixelsError(
            f"the flux has shape {flux.shape}, where there are {wavelength.size} wavelengths; the file is damaged, or "
            "of another kind"
        )
    places = np.clip(np.searchsorted(wavelength, network.wavelength), 1, len(wavelength) - 1)
    places -= np.abs(wavelength[places - 1] - network.wavelength) < np.abs(wavelength[places] - network.wavelength)
    off = np.abs(np.log(wavelength[places] / network.wavelength))
    if off.max() > NEAR * np.median(np.diff(np.log(wavelength))):
        raise PayneError(
            f"the network {network.name} has other wavelengths than APOGEE's co-adds: "
            f"{network.wavelength[off.argmax()]:.3f} Angstrom is none of theirs; resample it to their grid"
        )
    return flux, ivar, places


def _flags_of(fit: Fit, largest_rchi2: float) -> dict[str, bool]:
    return {
        "flag_fitting_failure": not fit.found,
        "flag_outside_network": bool(fit.at_edge.any()),
        "flag_v_rel_at_limit": fit.v_rel_at_edge,
        "flag_bad_chi2": fit.found and not fit.rchi2 <= largest_rchi2,
        "flag_not_converged": fit.found and not fit.converged,
        "flag_no_continuum": not fit.has_continuum,
    }


def _is_faint(spectrum: Spectrum, flux: NDArray[Any], ivar: NDArray[Any]) -> bool:
    """Tell whether the S/N is too low: that of the row, or else the median of the pixels."""
    if spectrum.snr is not None:
        return not spectrum.snr >= LOWEST_SNR
    good = np.isfinite(flux) & (ivar > 0)
    return not (good.any() and np.median(flux[good] * np.sqrt(ivar[good])) >= LOWEST_SNR)


def _keep(result: ThePayne, fit: Fit, places: NDArray[np.intp], n_pixels: int) -> None:
    """Write model flux and continuum of a result, on the wavelengths of the spectrum."""
    continuum, model = np.full(n_pixels, np.nan, dtype=np.float32), np.full(n_pixels, np.nan, dtype=np.float32)
    continuum[places], model[places] = fit.continuum, fit.continuum * fit.model
    write_arrays(result.arrays_path, model_flux=model, continuum=continuum)
