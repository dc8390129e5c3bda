"""What The Cannon makes of real stars, of injected ones, and of the sample survey's; and what its continuum leaves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from astra_models.pixels.ivar import error_to_ivar
from astra_orchestration.pipelines.the_cannon.continuum import CHIPS, normalise
from astra_orchestration.pipelines.the_cannon.making import TrainingSet, train_model
from astra_orchestration.pipelines.the_cannon.model import CannonModel, starts_among
from astra_orchestration.pipelines.the_cannon.polynomial import Polynomial, polynomial_for
from astra_orchestration.pipelines.the_cannon.stored import StoredPixels
from astra_orchestration.pipelines.the_cannon.training import Coefficients, InMemory, train
from astra_orchestration.pipelines.the_cannon.validation import cross_validate
from astra_orchestration.sample.apogee.lines import LABELS, model_flux
from astra_orchestration.sample.apogee.stars import draw_apogee_star

from .frame import Array, Data, Figure, Measured, robust_width

PIPELINE = "The Cannon"
SEED = 20260301
WAVELENGTH = 10 ** (4.179 + 6e-6 * np.arange(8575))
GAPS = ((0.0, 15_150.0), (15_815.0, 15_855.0), (16_435.0, 16_475.0), (16_950.0, 20_000.0))
IN_CHIPS = ~np.any([(first < WAVELENGTH) & (last > WAVELENGTH) for first, last in GAPS], axis=0)
REAL = "671 real APOGEE stars, 100 pixels"
STARS = ("2M00452143+1634446", "2M03290406+3117075", "2M12132318+3900529")
WANTED = {"teff": (155.0, "K"), "logg": (0.35, "dex"), "m_h": (0.145, "dex")}


def measure(data: Data) -> Measured:
    """Measure all figures."""
    figures = [*_of_continuum(), *_of_line_model(data.number)]
    if path := data.path("annieslasso", "cannon_training_set.npz"):
        figures += _of_real_stars(path, data.number)
    if data.path("apogee_tools"):
        figures += _beside_aspcap(data)
    return Measured(figures)


# ---- real stars


def _of_real_stars(path: Path, number: int) -> Iterator[Figure]:
    with np.load(path, allow_pickle=False) as file:
        labels, flux, terms = file["labels"].astype(np.float64), file["flux"], file["terms"].tolist()
    for what, powers, wanted in (
        ("its authors' 12 terms and a constant", powers_of_terms(terms), 0.0130),
        ("all quadratic terms", None, 0.0132),
    ):
        polynomial = polynomial_for(tuple(WANTED), labels, powers=powers)
        in_terms = polynomial.terms(polynomial.scaled(labels))
        found = train(in_terms, InMemory(flux))
        rms = float(np.sqrt(np.mean((flux - in_terms @ found.theta.T) ** 2)))
        yield Figure(PIPELINE, f"rms of the model, {what}", REAL, f"<= {wanted:.4f}", f"{rms:.5f}", rms <= wanted)
    scaled = polynomial.scaled(labels)
    starts = starts_among(scaled)
    validation = cross_validate(polynomial, labels, InMemory(flux), found, starts)
    for i, (name, (wanted, unit)) in enumerate(WANTED.items()):
        spread = validation.spread[i]
        told = f"{spread:.3g} {unit}, median {validation.bias[i]:+.2g}"
        yield Figure(
            PIPELINE, f"{name}, cross-validation", REAL, f"spread <= {wanted:g} {unit}", told, spread <= wanted
        )
    factors = ", ".join(f"{factor:.2f}" for factor in validation.factors)
    yield Figure(PIPELINE, "factor of the formal errors, cross-validation", REAL, "", factors)
    yield from _injected(polynomial, found, scaled, starts, number)


def powers_of_terms(terms: list[str]) -> list[list[int]]:
    """Read terms such as ``TEFF^1 * LOGG^1``, with a constant before them."""
    names, powers = ["TEFF", "LOGG", "M_H"], [[0, 0, 0]]
    for term in terms:
        powers.append([0, 0, 0])
        for part in term.replace(" ", "").replace("PARAM_", "").split("*"):
            name, _, power = part.partition("^")
            powers[-1][names.index(name)] += int(power)
    return powers


def _injected(
    polynomial: Polynomial, found: Coefficients, scaled: Array, starts: Array, number: int
) -> Iterator[Figure]:
    """Put labels of the real stars into their model, with noise alone: what 100 pixels can tell."""
    no_scatter = Coefficients(found.theta, np.zeros(len(found.theta)))
    model = _model(polynomial, no_scatter, scaled, starts, np.arange(100.0))
    random = np.random.default_rng(SEED)
    for snr in (500, 200, 100):
        truth = scaled[random.integers(0, len(scaled), 3 * number)]
        clean = polynomial.terms(truth) @ found.theta.T
        answer = model.label(clean + random.normal(0, 1 / snr, clean.shape), np.full(clean.shape, float(snr**2)))
        kept = None if snr == 100 else True
        yield from _pulls(answer, polynomial.unscaled(truth), f"S/N {snr}", "model of these, 100 pixels", kept)


def _pulls(answer: Any, truth: Array, what: str, of: str, wanted: bool | None) -> Iterator[Figure]:
    pulls = (answer.found.labels - truth) / answer.found.errors
    widths = [robust_width(column) for column in pulls.T]
    told = f"width {', '.join(f'{width:.2f}' for width in widths)}; {np.count_nonzero(~answer.found.converged)} lost"
    said = "" if wanted is None else "width 0.95 to 1.05"
    kept = None if wanted is None else all(0.95 <= round(width, 2) <= 1.05 for width in widths)
    yield Figure(PIPELINE, f"pulls of teff, logg, [M/H], {what}", of, said, told, kept, "formal")


def _model(polynomial: Polynomial, found: Coefficients, scaled: Array, starts: Array, wavelength: Array) -> CannonModel:
    n_labels = len(polynomial.labels)
    ones, zeros = np.ones(n_labels), np.zeros(n_labels)
    return CannonModel(polynomial, found, wavelength, ("",) * n_labels, ones, zeros, scaled, starts, "none")


# ---- the sample survey's line model


def _of_line_model(number: int) -> Iterator[Figure]:
    """Train on stars of the line model at S/N 100, behind continua that bend, and label others."""
    random = np.random.default_rng(SEED)
    stars = [draw_apogee_star(SEED, i) for i in range(3 * max(100, number // 5))]
    labels = np.array([[getattr(star, name) for name in LABELS] for star in stars])
    light = np.concatenate([_light(some) for some in np.array_split(labels, len(labels) // 20)])
    flux, ivar = _observed(light, 100, random)
    normalised = normalise(WAVELENGTH, flux, ivar)
    n_known = 2 * len(stars) // 3
    with tempfile.TemporaryDirectory() as folder:
        pixels = StoredPixels(Path(folder), len(WAVELENGTH))
        for pair in zip(normalised.flux[:n_known], normalised.ivar[:n_known], strict=True):
            pixels.add(*pair)
        known = TrainingSet(LABELS, ("",) * len(LABELS), labels[:n_known], pixels, WAVELENGTH, "")
        model, _ = train_model(known)
    answer = model.label(normalised.flux[n_known:], normalised.ivar[n_known:])
    off = answer.found.labels - labels[n_known:]
    of = f"line model, {n_known} stars to learn from"
    for i, name in enumerate(LABELS):
        width = robust_width(off[:, i] / answer.errors[:, i])
        told = f"spread {robust_width(off[:, i]):.3g}, width {width:.2f} ({len(off)} stars)"
        yield Figure(PIPELINE, f"{name}, S/N 100", of, "width 0.8 to 1.2", told, 0.8 <= width <= 1.2, "total")


def _light(labels: Array) -> Array:
    return model_flux(labels, np.log10(WAVELENGTH), 22_500)


def _observed(light: Array, snr: float, random: np.random.Generator, bend: float = 0.15) -> tuple[Array, Array]:
    """Put stars behind continua that bend smoothly, and add noise."""
    x = (WAVELENGTH - 16_050) / 900
    waves, phases = random.uniform(1, 4, (len(light), 1)), random.uniform(0, 6, (len(light), 1))
    flux = 300 * light * (1 + bend * np.sin(waves * x + phases))
    error = flux / snr
    flux = flux + random.normal(size=flux.shape) * error
    return np.where(IN_CHIPS, flux, 0), np.where(IN_CHIPS, error**-2.0, 0)


# ---- the continuum


def _of_continuum() -> Iterator[Figure]:
    random = np.random.default_rng(SEED)
    star = _light(np.array([[4500.0, 2.0, 0.0, 0.1, 0.0, 0.1]]))
    clean = normalise(WAVELENGTH, *_observed(star, 1e9, random, bend=0)).flux[0, IN_CHIPS]
    for snr in (50, 100, 300):
        found = normalise(WAVELENGTH, *_observed(np.repeat(star, 100, axis=0), snr, random)).flux[:, IN_CHIPS]
        spread, noise = float(np.std(found - clean)), float(np.sqrt(np.mean((clean / snr) ** 2)))
        told = f"{spread:.5f}, noise alone {noise:.5f}"
        yield Figure(
            PIPELINE,
            f"continuum, distortions of 15 %, S/N {snr}",
            "line model",
            "spread as of the noise alone",
            told,
            spread <= 1.005 * noise,
        )


def _beside_aspcap(data: Data) -> Iterator[Figure]:
    from astropy.io import fits

    for star in STARS:
        names = (f"apStar-r6-{star}.fits", f"aspcapStar-r6-l30e.2-{star}.fits")
        ours, theirs = (data.path("apogee_tools", name) for name in names)
        if ours is None or theirs is None:
            continue
        with fits.open(ours) as ap_star, fits.open(theirs) as aspcap:
            flux, error = (np.atleast_2d(_array(ap_star, ext))[0] for ext in (1, 2))
            other, other_error = _array(aspcap, 1), _array(aspcap, 2)
        ivar = error_to_ivar(error, flux)
        found = normalise(WAVELENGTH, flux[None], ivar[None])
        both = (found.ivar[0] > 0) & (other > 0) & (other_error < 0.5)
        levels, spreads = [], []
        for low, high in CHIPS:
            chip = both & (low < WAVELENGTH) & (high > WAVELENGTH)
            ratio = found.flux[0, chip] / other[chip]
            levels.append(float(np.median(ratio)))
            spreads.append(float(np.std(ratio / np.median(ratio))))
        snr = np.median(flux[both] * np.sqrt(ivar[both]))
        told = f"level {', '.join(f'{x:.3f}' for x in levels)}; spread {', '.join(f'{x:.3f}' for x in spreads)}"
        yield Figure(PIPELINE, f"flux over ASPCAP's, by chip: {star}, S/N {snr:.0f}", "aspcapStar", "", told)


def _array(hdus: Any, ext: int) -> Array:
    return np.asarray(hdus[ext].data, dtype=np.float64)
