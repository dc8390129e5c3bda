"""Measure The Cannon: labels per second against scipy in a loop, training from disk, and beside annieslasso.

Prints the table, and with ``--write docs/benchmarks.md`` puts it there. One thread.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")  # nothing is stored here; it silences the reminder

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _figures import write_figures  # noqa: E402
from _memory import grown_since, start_counting  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.optimize import curve_fit  # noqa: E402

from astra_orchestration.pipelines.the_cannon.continuum import normalise  # noqa: E402
from astra_orchestration.pipelines.the_cannon.making import TrainingSet, train_model  # noqa: E402
from astra_orchestration.pipelines.the_cannon.model import CannonModel, starts_among  # noqa: E402
from astra_orchestration.pipelines.the_cannon.polynomial import Polynomial, polynomial_for, powers_of  # noqa: E402
from astra_orchestration.pipelines.the_cannon.stored import StoredPixels  # noqa: E402
from astra_orchestration.pipelines.the_cannon.training import Coefficients, InMemory, train  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data" / "annieslasso" / "cannon_training_set.npz"
WAVELENGTH = 10 ** (4.179 + 6e-6 * np.arange(8575))
Array = NDArray[np.floating[Any]]

ANNIESLASSO = """
import json, sys, time
import numpy as np
import thecannon
labels, flux, n_test = np.load(sys.argv[1]), np.load(sys.argv[2]), int(sys.argv[3])
names = ["a", "b", "c"]
ivar = np.full(flux.shape, 1e4)
model = thecannon.CannonModel(labels, flux, ivar, thecannon.vectorizer.PolynomialVectorizer(names, 2))
started = time.process_time()
model.train(threads=1)
trained = time.process_time() - started
started = time.process_time()
model.test(flux[:n_test], ivar[:n_test], threads=1)
tested = time.process_time() - started
off = model(labels) - flux
print(json.dumps([trained, n_test / tested, float(np.sqrt(np.mean(off ** 2)))]))
"""
"""What the other implementation is asked to do, in its own environment."""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the page that the table goes into")
    parser.add_argument("--data", type=Path, default=REAL_DATA, help="cannon_training_set.npz: 671 stars, 100 pixels")
    parser.add_argument("--annieslasso", type=Path, help="python of an environment with annieslasso and numpy<2.4")
    parser.add_argument("--stars", type=int, default=10_000, help="stars of the training set on disk")
    parser.add_argument("--pixels", type=int, default=8_575, help="its pixels")
    parser.add_argument("--spectra", type=int, default=3_000, help="spectra that are labelled")
    arguments = parser.parse_args()
    lines = ["| what | The Cannon here | the other way | ratio |", "| --- | --- | --- | --- |"]
    for line in rows(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_figures(arguments.write, "the_cannon", lines)


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Give the rows of the table."""
    yield from _labelling(100, arguments.spectra)
    yield from _labelling(7_500, max(arguments.spectra // 10, 10))
    yield _continuum()
    yield from _from_disk(arguments.stars, arguments.pixels)
    if arguments.data.is_file():
        yield from _beside(arguments.data, arguments.annieslasso)


def made_up(n_stars: int, n_pixels: int, noise: float, seed: int = 1) -> tuple[Polynomial, Array, Coefficients, Array]:
    """Make stars: terms, their scaled labels, coefficients, and fluxes with noise."""
    rng = np.random.default_rng(seed)
    labels = np.column_stack([rng.uniform(*ends, n_stars) for ends in ((4000, 5500), (0.5, 4), (-1.5, 0.4))])
    offsets, scales = np.array([4750, 2.25, -0.5]), np.array([500, 1.2, 0.6])
    polynomial = Polynomial(("teff", "logg", "fe_h"), powers_of(3), offsets, scales)
    theta = np.random.default_rng(0).normal(0, 0.02, (n_pixels, 10)) * [1, 1, 1, 1, *[0.2] * 6]
    theta[:, 0] += 1
    scaled = polynomial.scaled(labels)
    scatter = np.full(n_pixels, 0.003)
    flux = polynomial.terms(scaled) @ theta.T + rng.normal(0, np.hypot(noise, 0.003), (n_stars, n_pixels))
    return polynomial, scaled, Coefficients(theta, scatter), flux


def _labelling(n_pixels: int, n_spectra: int) -> Iterator[str]:
    polynomial, scaled, model, flux = made_up(n_spectra, n_pixels, 0.01)
    ivar = np.full(flux.shape, 1e4)
    cannon = _whole(polynomial, model, scaled, np.arange(n_pixels, dtype=float))
    cannon.label(flux[:10], ivar[:10])
    started = time.process_time()
    assert cannon.label(flux, ivar).found.converged.all()
    ours = n_spectra / (time.process_time() - started)
    n_other = min(n_spectra, 200)
    theirs = n_other / _curve_fits(polynomial, model, flux[:n_other])
    yield (
        f"| labels of spectra of {n_pixels:,} pixels | {ours:,.0f} / s | {theirs:,.0f} / s, `scipy.optimize.curve_fit` "
        f"in a loop, analytic Jacobian | {ours / theirs:.0f} |"
    )


def _whole(polynomial: Polynomial, found: Coefficients, scaled: Array, wavelength: Array) -> CannonModel:
    ones, zeros, starts = np.ones(3), np.zeros(3), starts_among(scaled)
    return CannonModel(polynomial, found, wavelength, ("K", "dex", "dex"), ones, zeros, scaled, starts, "none")


def _curve_fits(polynomial: Polynomial, model: Coefficients, flux: Array) -> float:
    """Give the seconds that scipy takes: one start, at the middle of the training set."""
    theta, sigma = model.theta, np.hypot(0.01, model.scatter)

    def function(_: Array, *scaled: float) -> Array:
        return polynomial.terms(np.array([scaled]))[0] @ theta.T

    def jacobian(_: Array, *scaled: float) -> Array:
        return theta @ polynomial.gradient(np.array([scaled]))[0]

    pixels = np.arange(len(theta), dtype=float)
    started = time.process_time()
    for one in flux:
        curve_fit(function, pixels, one, p0=np.zeros(3), sigma=sigma, absolute_sigma=True, jac=jacobian)
    return time.process_time() - started


def _continuum() -> str:
    rng = np.random.default_rng(1)
    flux = 100 + rng.normal(size=(200, len(WAVELENGTH)))
    started = time.process_time()
    normalise(WAVELENGTH, flux, np.ones_like(flux))
    return f"| continuum of a spectrum of 8,575 pixels | {(time.process_time() - started) / 200 * 1e3:.1f} ms | | |"


def _from_disk(n_stars: int, n_pixels: int) -> Iterator[str]:
    polynomial, scaled, *_ = made_up(n_stars, 1, 0.01)
    theta = np.random.default_rng(0).normal(0, 0.004, (n_pixels, 10))
    theta[:, 0] += 1
    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder:
        stored = StoredPixels(Path(folder), n_pixels)
        ivar = np.full(n_pixels, 1e4)
        terms = polynomial.terms(scaled)
        for one in terms:
            stored.add(theta @ one + rng.normal(0, 0.0105, n_pixels), ivar)
        stored.block(slice(0, 1))
        pixels = np.arange(n_pixels, dtype=float)
        known = TrainingSet(polynomial.labels, ("K", "dex", "dex"), polynomial.unscaled(scaled), stored, pixels, "none")
        pieces: tuple[tuple[str, Callable[[], object]], ...] = (
            ("training", lambda: train(terms, stored)),
            ("training, and cross-validation in ten parts,", lambda: train_model(known)),
        )
        for what, work in pieces:
            before, started = start_counting(), time.process_time()
            work()
            seconds, grown = time.process_time() - started, grown_since(before)
            yield (
                f"| {what} on {n_stars:,} stars of {n_pixels:,} pixels, 10 terms, from disk | {seconds:.0f} s, "
                f"{grown:.0f} MB above the import | {2 * 8 * n_stars * n_pixels / 1e6:,.0f} MB are its fluxes and "
                "ivars in memory | |"
            )


def _beside(data: Path, other: Path | None) -> Iterator[str]:
    with np.load(data, allow_pickle=False) as file:
        labels, flux = file["labels"].astype(np.float64), file["flux"]
    polynomial = polynomial_for(("teff", "logg", "m_h"), labels)
    scaled = polynomial.scaled(labels)
    terms = polynomial.terms(scaled)
    started = time.process_time()
    found = train(terms, InMemory(flux, np.full(flux.shape, 1e4)))
    trained = time.process_time() - started
    rms = np.sqrt(np.mean((flux - terms @ found.theta.T) ** 2))
    started = time.process_time()
    _whole(polynomial, found, scaled, np.arange(flux.shape[1], dtype=float)).label(flux, np.full(flux.shape, 1e4))
    rate = len(flux) / (time.process_time() - started)
    theirs = _annieslasso(other, labels, flux) if other else None
    said = ["", "", ""] if theirs is None else [f"{theirs[0]:.2f} s", f"{theirs[1]:,.0f} / s", f"{theirs[2]:.5f}"]
    ratios = ["", ""] if theirs is None else [f"{theirs[0] / trained:.0f}", f"{rate / theirs[1]:.0f}"]
    what = "671 real stars of 100 pixels, quadratic, beside `annieslasso` 0.2.96"
    yield f"| training: {what} | {trained:.3f} s | {said[0]} | {ratios[0]} |"
    yield f"| labels: {what} | {rate:,.0f} / s | {said[1]} | {ratios[1]} |"
    yield f"| rms of the model: {what} | {rms:.5f} | {said[2]} | |"


def _annieslasso(python: Path, labels: Array, flux: Array) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("labels.npy", "flux.npy")]
        np.save(paths[0], labels)
        np.save(paths[1], flux)
        command = [str(python), "-W", "ignore", "-c", ANNIESLASSO, *paths, "100"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
