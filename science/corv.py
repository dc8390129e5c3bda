"""Corv: velocities, temperatures and gravities of DA white dwarfs with known truth; bad spectra to be flagged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.fit import BalmerFit, Photometry, fit_spectrum
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateGrid

from . import truth
from .frame import Array, Data, Figure, Measured, robust_width, share
from .report import table
from .truth import Atmospheres, Observed, Random, Star

PAGE = "corv.md"
SNRS = (5, 10, 20, 50, 100)
SEED = 20_261_128
OWN, OTHER = "the grid's own atmospheres", "Koester's atmospheres"
MAXIMUM = (10_000.0, 17_000.0)


@dataclass(frozen=True)
class Trial:
    """A truth and what was measured."""

    star: Star
    fit: BalmerFit

    def pull(self, name: str, error: str = "raw_e") -> float:
        """Give the offset from the truth in units of an error."""
        return (getattr(self.fit, name) - getattr(self.star, name)) / getattr(self.fit, f"{error}_{name}")

    @property
    def measured(self) -> bool:
        """Tell whether there is a velocity."""
        return bool(np.isfinite(self.fit.v_rad))

    @property
    def near_maximum(self) -> bool:
        """Tell whether the star is where the Balmer lines are strongest."""
        return MAXIMUM[0] < self.star.teff < MAXIMUM[1]

    @property
    def wrong_side(self) -> bool:
        """Tell whether the temperature is off by more than a fifth."""
        return abs(float(np.log(self.fit.teff / self.star.teff))) > 0.2


def fitted(star: Star, seen: Observed, grid: TemplateGrid, photometry: Photometry | None = None) -> Trial:
    """Measure one spectrum."""
    return Trial(star, fit_spectrum(seen.wavelength, seen.flux, seen.ivar, grid, photometry=photometry))


def trials(
    models: Atmospheres,
    grid: TemplateGrid,
    snr: float,
    number: int,
    make: Callable[[Atmospheres, Star, Random], Array] = lambda models, star, random: models.shown(star),
    after: Callable[[Observed, Random], Observed] = lambda spectrum, random: spectrum,
    seed: int = 0,
) -> list[Trial]:
    """Measure drawn stars: `make` gives their flux, `after` spoils what was observed."""
    random = np.random.default_rng([SEED, seed, int(snr)])
    found = []
    for _ in range(number):
        star = truth.draw_star(random)
        seen = truth.expose(make(models, star, random), snr, random)
        found.append(fitted(star, after(seen, random), grid))
    return found


def pulls(group: Iterable[Trial], name: str = "v_rad", error: str = "raw_e") -> Array:
    """Collect pulls of what was measured."""
    return np.array([trial.pull(name, error) for trial in group if trial.measured])


def velocity_figure(snr: float, group: list[Trial], what: str = "velocity", wanted: bool = True) -> Figure:
    """Say how pulls of velocities are distributed."""
    values = pulls(group, error="e")
    mean, width = float(np.mean(values)), robust_width(values)
    uncertain = width / np.sqrt(values.size)
    return Figure(
        "Corv",
        f"{what}, S/N {snr:g}",
        OWN if wanted else OTHER,
        "mean within 0.1, width 0.85 to 1.15" if wanted else "",
        f"mean {mean:+.3f} ± {uncertain:.3f}, width {width:.2f} ({values.size} spectra)",
        (abs(mean) <= 0.1 and 0.85 <= width <= 1.15) if wanted else None,
        "total",
    )


def flagged_figure(what: str, group: list[Trial], least: float | None = None, most: float | None = None) -> Figure:
    """Say how many have `flag_bad_fit`."""
    number = sum(trial.fit.bad_fit for trial in group)
    part = number / len(group)
    limits = f"at least {least:.0%}" if least is not None else f"at most {most:.0%}" if most is not None else ""
    kept = part >= least if least is not None else part <= most if most is not None else None
    return Figure("Corv", f"flag_bad_fit, {what}", OWN, limits, share(number, len(group)), kept)


def clean_figures(groups: dict[int, list[Trial]]) -> Iterator[Figure]:
    """Velocities, flags and parameters of good spectra."""
    for snr, group in groups.items():
        yield velocity_figure(snr, group)
    for snr, group in groups.items():
        yield flagged_figure(f"clean, S/N {snr}", group, most=0.02)
    for snr, group in groups.items():
        yield from parameter_figures(snr, [trial for trial in group if trial.measured and not trial.near_maximum])
    for snr, group in groups.items():
        yield maximum_figure(snr, [trial for trial in group if trial.measured and trial.near_maximum])


def parameter_figures(snr: float, group: list[Trial]) -> Iterator[Figure]:
    """Say how pulls of temperatures and gravities are distributed."""
    for name in ("teff", "logg"):
        values = pulls(group, name)
        text = f"median {np.median(values):+.2f}, width {robust_width(values):.2f} ({values.size} spectra)"
        yield Figure("Corv", f"{name} outside 10 to 17 kK, S/N {snr:g}", OWN, "", text, None, "formal")


def maximum_figure(snr: float, group: list[Trial]) -> Figure:
    """Say how often two solutions fit alike."""
    wrong = [trial for trial in group if trial.wrong_side]
    told = sum(trial.fit.two_solutions for trial in wrong)
    flagged = share(sum(trial.fit.two_solutions for trial in group), len(group))
    text = f"{flagged} flagged; {len(wrong)} off by more than a fifth, {told} of them flagged"
    return Figure("Corv", f"flag_two_solutions, 10 to 17 kK, S/N {snr:g}", OWN, "", text)


def cosmic_figures(models: Atmospheres, grid: TemplateGrid, number: int) -> Iterator[Figure]:
    """Spectra with 3 % of their pixels hit."""
    for snr in (10, 20, 50):
        group = trials(models, grid, snr, number, after=truth.with_cosmics, seed=1)
        lost = sum(not trial.measured for trial in group)
        yield Figure(
            "Corv", f"values lost, 3 % cosmics, S/N {snr}", OWN, "at most 3%", share(lost, len(group)),
            lost <= 0.03 * len(group),
        )  # fmt: skip
        yield velocity_figure(snr, group, "velocity, 3 % cosmics")


def spoiled_figures(models: Atmospheres, grid: TemplateGrid, number: int) -> Iterator[Figure]:
    """Count what has to be flagged."""
    for seed, (name, (snr, make)) in enumerate(truth.SPOILED.items(), start=10):
        group = trials(models, grid, snr, number, make, seed=seed)
        yield flagged_figure(f"{name}, S/N {snr:g}", group, least=0.9)


def photometry_of(star: Star, random: Random) -> Photometry:
    """Photometry of a star: a temperature good to 5 per cent."""
    return Photometry(teff=star.teff * (1 + 0.05 * random.standard_normal()), e_teff=0.05 * star.teff)


def photometry_figure(models: Atmospheres, grid: TemplateGrid, number: int) -> Figure:
    """Stars near the maximum at S/N 10, with and without photometry."""
    random = np.random.default_rng([SEED, 50])
    alone, helped = [], []
    for _ in range(number):
        star = truth.draw_star(random, MAXIMUM)
        seen = truth.expose(models.shown(star), 10, random)
        alone.append(fitted(star, seen, grid))
        helped.append(fitted(star, seen, grid, photometry_of(star, random)))
    text = "; ".join(
        f"{name} {sum(trial.wrong_side for trial in group if trial.measured)} off by a fifth, "
        f"{sum(trial.fit.two_solutions for trial in group)} flagged"
        for name, group in (("by lines", alone), ("with a photometric Teff (5 %)", helped))
    )
    return Figure("Corv", "two solutions, 10 to 17 kK, S/N 10", OWN, "", f"of {number}: {text}")


def noiseless(models: Atmospheres, star: Star) -> Observed:
    """Give a spectrum at S/N 1000 without noise."""
    flux = models.shown(star)
    return Observed(truth.PIXELS, flux, (1000 / flux) ** 2)


def other_author_figures(koester: Atmospheres, grid: TemplateGrid, number: int) -> Iterator[Figure]:
    """Koester's models fitted with the grid: what errors have to allow for, and what is flagged."""
    random = np.random.default_rng([SEED, 60])
    for teff in koester.teff:
        stars = [Star(float(teff), float(logg), 0.0) for logg in koester.logg]
        exact = [fitted(star, noiseless(koester, star), grid) for star in stars]
        off = ", ".join(
            f"{(trial.fit.teff / teff - 1):+.1%} {trial.fit.logg - trial.star.logg:+.2f}" for trial in exact
        )
        yield Figure("Corv", f"teff, logg at {teff:g} K, logg 7.5, 8, 8.5", OTHER, "", off)
        drawn = [replace(star, v_rad=random.uniform(-300, 300)) for star in stars for _ in range(number // 3)]
        for snr in (50, 100):
            group = [fitted(star, truth.expose(koester.shown(star), snr, random), grid) for star in drawn]
            yield from other_author_group(teff, snr, group)


def other_author_group(teff: float, snr: float, group: list[Trial]) -> Iterator[Figure]:
    """Say what is flagged, and whether total errors allow for the difference of the models."""
    flagged = share(sum(trial.fit.bad_fit for trial in group), len(group))
    two = share(sum(trial.fit.two_solutions for trial in group), len(group))
    yield Figure("Corv", f"flags at {teff:g} K, S/N {snr}", OTHER, "", f"bad_fit {flagged}, two_solutions {two}")
    rms = {name: float(np.sqrt(np.mean(pulls(group, name, "e") ** 2))) for name in ("teff", "logg")}
    text = ", ".join(f"{name} {value:.2f}" for name, value in rms.items())
    away = not MAXIMUM[0] < teff < MAXIMUM[1]
    kept = max(rms.values()) <= 1.2 if away else None
    wanted = "at most 1.2" if away else ""
    yield Figure("Corv", f"rms of pulls at {teff:g} K, S/N {snr}", OTHER, wanted, text, kept, "total")
    yield velocity_figure(snr, group, f"velocity at {teff:g} K", wanted=False)


def left_out_figures(models: Atmospheres, grid: TemplateGrid) -> Iterator[Figure]:
    """Fit the grid's nodes, each with a grid that doesn't have it."""
    found: dict[str, list[tuple[float, float]]] = {}
    for node in range(1, grid.teff.size - 1):
        teff = float(grid.teff[node])
        if not 6500 <= teff <= 40_000:
            continue
        name = (
            "10 to 17 kK" if MAXIMUM[0] <= teff <= MAXIMUM[1] else "6.5 to 9.5 kK" if teff < 10_000 else "20 to 40 kK"
        )
        poorer = TemplateGrid(
            np.delete(grid.teff, node), grid.logg, grid.wavelength, np.delete(grid.flux, node, axis=0), grid.resolution
        )
        for logg in (7.5, 8.0, 8.5):
            trial = fitted(Star(teff, logg, 0.0), noiseless(models, Star(teff, logg, 0.0)), poorer)
            found.setdefault(name, []).append((trial.fit.teff / teff - 1, trial.fit.logg - logg))
    for name, values in found.items():
        teff, logg = (np.sqrt(np.nanmean(np.square(column))) for column in np.transpose(values))
        text = f"rms {teff:.2%} in teff, {logg:.3f} in logg ({len(values)} models)"
        yield Figure("Corv", f"nodes left out in turn, {name}", OWN, "", text)


def real_star_figure(data: Data, grid: TemplateGrid) -> Iterator[Figure]:
    """Fit the white dwarf whose published parameters are known."""
    from astropy.io import fits

    path = data.path("wdtools", "sample_spectrum.fits")
    if path is None:
        return
    rows = np.asarray(fits.getdata(path, 1, memmap=False))
    fit = fit_spectrum(10 ** rows["loglam"].astype(float), rows["flux"].astype(float), rows["ivar"].astype(float), grid)
    flags = ", ".join(name for name, there in fit.flags().items() if there) or "none"
    text = (
        f"{fit.teff:.0f} ± {fit.e_teff:.0f} K (formal {fit.raw_e_teff:.0f}), {fit.logg:.2f} ± {fit.e_logg:.2f} (formal "
        f"{fit.raw_e_logg:.2f}), {fit.v_rad:.1f} ± {fit.e_v_rad:.1f} km/s; other solution {fit.other_teff:.0f} K; "
        f"flags: {flags}"
    )
    wanted = "13912 ± 295 K, 8.10 ± 0.06 within 2 sigma"
    kept = abs(fit.teff - 13912) < 2 * np.hypot(295, fit.e_teff) and abs(fit.logg - 8.10) < 2 * np.hypot(
        0.06, fit.e_logg
    )
    yield Figure("Corv", "teff, logg of SDSS J082600.58+282346.2", "published", wanted, text, bool(kept), "total")


def measure(data: Data) -> Measured:
    """Measure everything for which there are data."""
    if data.missing:
        print(data.missing)
    if data.grid is None:
        return Measured([])
    grid, models = load_grid(data.grid), truth.read_npz(data.grid)
    groups = {snr: trials(models, grid, snr, data.number) for snr in SNRS}
    figures = [*clean_figures(groups)]
    fewer = max(20, data.number // 5)
    figures += cosmic_figures(models, grid, fewer)
    figures += spoiled_figures(models, grid, fewer)
    figures.append(photometry_figure(models, grid, fewer))
    figures += left_out_figures(models, grid)
    folder = data.path("koester_da")
    if folder:
        figures += other_author_figures(truth.read_koester(folder), grid, fewer // 2)
    figures += real_star_figure(data, grid)
    return Measured(figures, {"science": own_table(figures)})


def own_table(figures: Iterable[Figure]) -> str:
    """Write Corv's figures for its own page."""
    header = ("what was recovered", "truth", "wanted", "found")
    return table(header, ((one.what, one.truth, one.wanted or "-", one.found) for one in figures))
