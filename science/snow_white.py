"""What Snow White calls spectra of known truth, and what it measures of DAs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra_models.boss import BossVisitSpectrum
from astra_orchestration.pipelines.snow_white import SHIPPED
from astra_orchestration.pipelines.snow_white.features import features
from astra_orchestration.pipelines.snow_white.forest import Classifier, load_classifier
from astra_orchestration.pipelines.snow_white.labels import NOT_WHITE_DWARF, label_of
from astra_orchestration.pipelines.snow_white.observing import observe
from astra_orchestration.pipelines.snow_white.parameters import measured
from astra_orchestration.pipelines.snow_white.training import Kind, kinds_of
from astra_orchestration.pipelines.snow_white.white_dwarfs import Atmospheres
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.sample.light import log_wavelengths
from astra_orchestration.sample.light import observe as observe_sample
from astra_orchestration.sample.stars import draw_star, random_numbers

from . import other_stars, truth
from .frame import Array, Data, Figure, Measured, robust_width, share
from .report import table

PAGE = "snow_white.md"
PIPELINE = "Snow White"
SEED = 20260101
OTHER_SEED = 2
"""Of spectra made by the training's own code: not those that it was trained on."""

SNR_BINS = ((5.0, 10.0), (10.0, 20.0), (20.0, 60.0))
STARS = {
    "spec-0618-52049-0372": "M1",
    "spec-1123-52882-0065": "M5",
    "spec-5047-55833-0936": "M2",
    "spec-4068-55445-0924": "B2",
}
Spectrum = tuple[Array, Array, Array]


def measure(data: Data) -> Measured:
    """Measure all figures, and the tables of the page."""
    classifier = load_classifier(SHIPPED)
    figures = [*_of_others(classifier, data.number), *_of_sample(classifier), _speed(classifier)]
    blocks = {}
    if data.path("koester_da"):
        figures.append(_of_koester(classifier, data))
    if data.path("wdtools") and data.path("pyhammer"):
        figures += _of_real_spectra(classifier, data)
    if data.grid:
        figures += _of_parameters(data)
        said = _synthetic(classifier, data)
        blocks = {"confusion": _confusion(classifier, said), "calibration": _calibration(classifier, said)}
    return Measured(figures, blocks)


# ---- who is a DA


def _of_others(classifier: Classifier, number: int) -> Iterator[Figure]:
    """Ask of stars that are no white dwarfs, each kind by itself, and all."""
    random, at, everything = np.random.default_rng(SEED), classifier.classes.index("DA"), []
    for kind in other_stars.MAKERS:
        spectra = (other_stars.star(kind, random, _draw_snr(random))[1:] for _ in range(max(200, number // 2)))
        found = _probabilities(classifier, spectra)[:, at]
        everything.append(found)
        wrong = int(np.count_nonzero(found > 0.3))
        yield _figure(f"p(DA) > 0.3: {kind} stars", "synthetic, dust, tilts", "", share(wrong, found.size), None)
    found = np.concatenate(everything)
    wrong = int(np.count_nonzero(found > 0.3))
    yield _figure(
        "p(DA) > 0.3: all of these",
        "synthetic, dust, tilts",
        "<= 1 %",
        share(wrong, found.size),
        wrong <= 0.01 * found.size,
    )


def _of_koester(classifier: Classifier, data: Data) -> Figure:
    """Ask of DAs of another author."""
    folder, random = data.path("koester_da"), np.random.default_rng(SEED + 1)
    assert folder is not None
    lights = [_light(path) for path in sorted(folder.glob("da*.txt"))]
    spectra = (
        other_stars.observed(light, random, _draw_snr(random))
        for light in lights
        for _ in range(max(20, data.number // 10))
    )
    labels = _labels(classifier, _probabilities(classifier, spectra))
    right = sum(label == "DA" for label in labels)
    return _figure(
        "called DA", "Koester's DAs, dust, tilts", ">= 97 %", share(right, len(labels)), right >= 0.97 * len(labels)
    )


def _light(path: Path) -> Array:
    """Bring a model in air to the wavelengths of `other_stars`."""
    columns = np.loadtxt(path, comments="#")
    return np.interp(other_stars.FINE, truth.to_vacuum(columns[:, 0]), columns[:, 1])


def _of_real_spectra(classifier: Classifier, data: Data) -> Iterator[Figure]:
    at = classifier.classes.index("DA")
    folder, others = data.path("wdtools"), data.path("pyhammer")
    assert folder is not None
    assert others is not None
    found = _probabilities(classifier, [_read(folder / "sample_spectrum.fits")])[0]
    yield _figure("p(DA)", "real DA J0826+2823", "> 0.9", f"{found[at]:.2f}", bool(found[at] > 0.9))
    for name, kind in STARS.items():
        found = _probabilities(classifier, [_read(others / f"{name}.fits")])[0]
        called = label_of(classifier.classes, found)
        yield _figure("p(DA)", f"real {kind}", "<= 0.3", f"{found[at]:.2f}, called {called}", bool(found[at] <= 0.3))
    if not data.grid:
        return
    fit = measured(*_read(folder / "sample_spectrum.fits"), load_grid(data.grid))
    teff, logg = (fit["teff"], fit["e_teff"]), (fit["logg"], fit["e_logg"])
    off = [abs(teff[0] - 13_912) / np.hypot(295, teff[1]), abs(logg[0] - 8.10) / np.hypot(0.06, logg[1])]
    yield _figure(
        "Teff, log g",
        "real DA J0826+2823",
        "within 2 sigma of 13912 ± 295, 8.10 ± 0.06",
        f"{teff[0]:.0f} ± {teff[1]:.0f}, {logg[0]:.2f} ± {logg[1]:.2f}",
        max(off) <= 2,
        "total",
    )


def _of_sample(classifier: Classifier) -> Iterator[Figure]:
    """Ask of the sample survey's visits at S/N of 10 or more."""
    spectra, kinds = [], []
    for number in range(200):
        star = draw_star(1, number)
        for i, visit in enumerate(star.visits):
            seen = observe_sample(star, visit, random_numbers(1, number, 0, i))
            if seen.snr >= 10:
                spectra.append((10 ** log_wavelengths()[seen.inside], seen.flux[seen.inside], seen.ivar[seen.inside]))
                kinds.append(star.kind)
    labels = _labels(classifier, _probabilities(classifier, spectra))
    of_da = [label == "DA" for label, kind in zip(labels, kinds, strict=True) if kind == "DA"]
    others = [label.startswith("DA") for label, kind in zip(labels, kinds, strict=True) if kind != "DA"]
    yield _figure(
        "called DA", "the sample's DAs", ">= 95 %", share(sum(of_da), len(of_da)), sum(of_da) >= 0.95 * len(of_da)
    )
    yield _figure("called DA", "the sample's M, K, F", "none", share(sum(others), len(others)), not any(others))


def _speed(classifier: Classifier) -> Figure:
    random = np.random.default_rng(SEED)
    spectra = [other_stars.star("A", random, 20)[1:] for _ in range(20)] * 10
    rates = []
    for _ in range(3):
        started = time.process_time()
        for spectrum in spectra:
            classifier.probabilities(features(*spectrum)[None])
        rates.append(len(spectra) / (time.process_time() - started))
    return _figure(
        "spectra per second of one core", "features and classes", ">= 1000", f"{max(rates):.0f}", max(rates) >= 1000
    )


# ---- what is measured of DAs


def _of_parameters(data: Data) -> Iterator[Figure]:
    """Measure the grid's own models at S/N 10 to 50."""
    assert data.grid is not None
    models, grid, random = truth.read_npz(data.grid), load_grid(data.grid), np.random.default_rng(SEED + 2)
    rows = []
    for _ in range(data.number):
        star = truth.draw_star(random, (6500.0, 50_000.0))
        seen = truth.expose(models.shown(star), _draw_snr(random, 50), random)
        found = measured(seen.wavelength, seen.flux, seen.ivar, grid)
        names = ("teff", "e_teff", "raw_e_teff", "logg", "e_logg", "raw_e_logg", "flag_two_solutions")
        rows.append([star.teff, star.logg, *(found.get(name, np.nan) for name in names)])
    made = np.array(rows, dtype=float)
    kept = made[np.isfinite(made[:, 2])]
    yield _figure("fits without a value", "the grid's models", "", share(len(made) - len(kept), len(made)), None)
    for name, true, value, total, formal in (("Teff", 0, 2, 3, 4), ("log g", 1, 5, 6, 7)):
        for errors, at in (("total", total), ("formal", formal)):
            pulls = (kept[:, value] - kept[:, true]) / kept[:, at]
            width, inside = robust_width(pulls), int(np.count_nonzero(np.abs(pulls) < 2))
            is_good = (0.8 <= width <= 1.1 and inside >= 0.95 * len(kept)) if errors == "total" else None
            wanted = "95 % within 2 sigma; width 0.8 to 1.1" if errors == "total" else ""
            yield _figure(
                f"{name}, pulls",
                "the grid's models",
                wanted,
                f"{share(inside, len(kept))}; {width:.2f}",
                is_good,
                errors,
            )
    far = kept[(kept[:, 0] < 10_000) | (kept[:, 0] > 17_000)]
    wrong = int(np.count_nonzero((far[:, 0] < 13_000) != (far[:, 2] < 13_000)))
    yield _figure(
        "wrong side of 13,000 K, outside 10 to 17 kK",
        "the grid's models",
        "<= 1 %",
        share(wrong, len(far)),
        wrong <= 0.01 * len(far),
    )
    near = kept[(kept[:, 0] >= 10_000) & (kept[:, 0] <= 17_000)]
    yield _figure(
        "flag_two_solutions, 10 to 17 kK", "the grid's models", "", share(int(near[:, 8].sum()), len(near)), None
    )


# ---- tables of the page


def _synthetic(classifier: Classifier, data: Data) -> list[tuple[float, str, Array]]:
    """Ask of spectra of all classes: S/N, truth, probabilities."""
    assert data.grid is not None
    kinds = [kind for kind in kinds_of(Atmospheres(load_grid(data.grid)), None) if kind.label != NOT_WHITE_DWARF]
    found, each = [], max(20, data.number // 10)
    for low, high in SNR_BINS:
        random = np.random.default_rng([SEED, int(low), OTHER_SEED])
        for truth_of, spectra in _drawn(kinds, random, (low, high), each):
            snrs, arrays = zip(*spectra, strict=True)
            found += [(s, truth_of, p) for s, p in zip(snrs, _probabilities(classifier, arrays), strict=True)]
    return found


def _drawn(
    kinds: Iterable[Kind], random: np.random.Generator, snr: tuple[float, float], each: int
) -> Iterator[tuple[str, list[tuple[float, Spectrum]]]]:
    for kind in kinds:
        at = [_draw_snr(random, snr[1], snr[0]) for _ in range(each)]
        yield kind.label, [(s, observe(kind.make(random), random, s, convolve=kind.convolve)) for s in at]
    for kind in other_stars.MAKERS:
        at = [_draw_snr(random, snr[1], snr[0]) for _ in range(each)]
        yield NOT_WHITE_DWARF, [(s, other_stars.star(kind, random, s)[1:]) for s in at]


def _confusion(classifier: Classifier, said: list[tuple[float, str, Array]]) -> str:
    """Write what each class was called, by S/N."""
    names = [*classifier.classes, "unsure"]
    parts = []
    for low, high in SNR_BINS:
        counts: Mapping[str, NDArray[np.intp]] = {name: np.zeros(len(names), int) for name in classifier.classes}
        for snr, true, probabilities in said:
            if low <= snr < high:
                label = label_of(classifier.classes, probabilities)
                counts[true][names.index(label) if label in names else len(names) - 1] += 1
        rows = [
            [f"**{name}** ({row.sum()})", *(f"{value / max(row.sum(), 1):.0%}" for value in row)]
            for name, row in counts.items()
        ]
        parts.append(f"S/N {low:g} to {high:g}:\n\n" + table(["truth", *names], rows))
    return "\n\n".join(parts)


def _calibration(classifier: Classifier, said: list[tuple[float, str, Array]]) -> str:
    """Write how often a class of some probability is the right one."""
    best = np.array([probabilities.max() for *_, probabilities in said])
    right = np.array([classifier.classes[int(np.argmax(p))] == true for _, true, p in said])
    edges = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.01)
    rows = []
    for low, high in itertools.pairwise(edges):
        here = (best >= low) & (best < high)
        if np.any(here):
            rows.append(
                [
                    f"{low:g} to {min(high, 1):g}",
                    f"{here.sum()}",
                    f"{best[here].mean():.2f}",
                    f"{right[here].mean():.2f}",
                ]
            )
    return table(["largest probability", "spectra", "its mean", "share that is right"], rows)


# ---- helpers


def _figure(what: str, of: str, wanted: str, found: str, kept: bool | None, errors: str = "") -> Figure:
    return Figure(PIPELINE, what, of, wanted, found, kept if kept is None else bool(kept), errors)


def _draw_snr(random: np.random.Generator, most: float = 60.0, least: float = 10.0) -> float:
    return float(np.exp(random.uniform(np.log(least), np.log(most))))


def _probabilities(classifier: Classifier, spectra: Iterable[Spectrum]) -> Array:
    return classifier.probabilities(np.array([features(*spectrum) for spectrum in spectra]))


def _labels(classifier: Classifier, probabilities: Array) -> list[str]:
    return [label_of(classifier.classes, row) for row in probabilities]


def _read(path: Path) -> Spectrum:
    spectrum = BossVisitSpectrum(path=str(path))
    return spectrum.wavelength, spectrum.flux, spectrum.ivar
