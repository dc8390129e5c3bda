"""What The Payne recovers of labels that went into binspec's network, and what it says of binspec's real spectrum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from astra_orchestration.pipelines.the_payne.columns import table_labels
from astra_orchestration.pipelines.the_payne.fitting import Fit, Fitter
from astra_orchestration.pipelines.the_payne.network import Network
from astra_orchestration.pipelines.the_payne.network_file import load_network

from .frame import Array, Data, Figure, Measured, robust_width, share

PIPELINE = "The Payne"
SEED = 20260401
OF = "binspec's network"
REAL = "spectrum_ap_id_2M13012770+5754582_.npz"
BESIDE = {"teff": 4921.7, "logg": 4.498, "fe_h": -0.193, "mg_fe": 0.096, "v_macro": 16.21}
"""What binspec's own code, at its only public version, fits to the real spectrum."""
FASTEST = 6.0


def measure(data: Data) -> Measured:
    """Measure all figures."""
    folder = data.path("binspec")
    if folder is None:
        return Measured([])
    network = load_network(folder)
    figures = [figure for snr in (30, 100, 180) for figure in _of_injected(network, snr, max(data.number // 2, 50))]
    figures += _of_outside(network, max(data.number // 10, 20))
    if path := data.path("binspec", REAL):
        with np.load(path, allow_pickle=False) as file:
            figures += _of_real(network, file["spectrum"], file["spec_err"] ** -2.0)
    return Measured(figures)


def observed(network: Network, scaled: Array, v_rel: float, snr: float, random: np.random.Generator) -> Fit:
    """Fit a spectrum of known labels behind a continuum that bends."""
    at_rest, moved = network.flux(scaled), network.wavelength * (1 + v_rel / 299_792.458)
    x = np.linspace(0, 1, len(at_rest))
    bend = 1 + 0.15 * np.sin(random.uniform(1, 4) * x + random.uniform(0, 6))
    light = 300 * bend * _through_points(network.wavelength, moved, at_rest)
    noisy = light + random.normal(size=light.shape) * light / snr
    return Fitter(network).fit(noisy, (snr / light) ** 2)


def _through_points(wavelength: Array, moved: Array, flux: Array) -> Array:
    """Resample by a spline, which isn't what the pipeline does; each chip by itself."""
    from scipy.interpolate import CubicSpline

    found = np.empty_like(flux)
    gaps = np.flatnonzero(np.diff(wavelength) > 2 * np.median(np.diff(wavelength))) + 1
    for chip in np.split(np.arange(len(flux)), gaps):
        found[chip] = CubicSpline(moved[chip], flux[chip])(wavelength[chip])
    return found


def _of_injected(network: Network, snr: int, number: int) -> Iterator[Figure]:
    random = np.random.default_rng(SEED + snr)
    names, matrix = table_labels(network.labels)
    off, errors, speeds, edges = [], [], [], 0
    for _ in range(number):
        scaled, v_rel = random.uniform(-0.4, 0.4, len(names)), random.uniform(-FASTEST, FASTEST)
        fit = observed(network, scaled, v_rel, snr, random)
        off.append(matrix @ (fit.labels - network.unscaled(scaled)))
        errors.append(np.sqrt(np.diag(matrix @ fit.covariance @ matrix.T)))
        speeds.append(fit.v_rel - v_rel)
        edges += bool(fit.at_edge.any())
    for place, name in enumerate(names):
        pulls = np.array(off)[:, place] / np.array(errors)[:, place]
        width, mean = robust_width(pulls), float(np.mean(pulls))
        told = f"mean {mean:+.2f}, width {width:.2f}, spread {robust_width(np.array(off)[:, place]):.3g}"
        told += f" ({number} spectra)"
        kept = 0.8 <= width <= 1.2 and abs(mean) <= 0.25
        wanted = "mean within 0.25, width 0.8 to 1.2"
        yield Figure(PIPELINE, f"{name}, S/N {snr}", OF, wanted, told, kept, "total")
    yield Figure(PIPELINE, f"v_rel, S/N {snr}", OF, "", f"spread {robust_width(np.array(speeds)):.3f} km/s")
    yield Figure(
        PIPELINE, f"flag_outside_network, inside, S/N {snr}", OF, "at most 2%", share(edges, number),
        edges <= 0.02 * number,
    )  # fmt: skip


def _of_outside(network: Network, number: int) -> Iterator[Figure]:
    """Stars beyond an end of the box, as the network goes on there."""
    random = np.random.default_rng(SEED)
    for place, name in enumerate(network.labels[:3]):
        flagged = 0
        for number_of in range(number):
            scaled = random.uniform(-0.3, 0.3, len(network.labels))
            scaled[place] = 0.65 if number_of % 2 else -0.65
            flagged += bool(observed(network, scaled, 0, 100, random).at_edge.any())
        yield Figure(
            PIPELINE, f"flag_outside_network, {name} beyond the box by 15 %, S/N 100", OF, "at least 95%",
            share(flagged, number), flagged >= 0.95 * number,
        )  # fmt: skip


def _of_real(network: Network, flux: Array, ivar: Array) -> Iterator[Figure]:
    fit = Fitter(network).fit(flux, ivar)
    near = {"teff": 20.0, "logg": 0.02, "fe_h": 0.02, "mg_fe": 0.02, "v_macro": 1.0}
    for place, name in enumerate(network.labels):
        found, error = fit.labels[place], np.sqrt(fit.covariance[place, place])
        wanted = f"binspec's own {BESIDE[name]:g} within {near[name]:g}"
        told = f"{found:.4g} ± {error:.2g}"
        yield Figure(
            PIPELINE, name, "real 2M13012770+5754582", wanted, told, abs(found - BESIDE[name]) <= near[name], "total"
        )
    told = f"{fit.rchi2:.2f}, v_rel {fit.v_rel:.2f} km/s, {fit.n_pixels} pixels"
    yield Figure(PIPELINE, "rchi2", "real 2M13012770+5754582", "", told)
