"""Measure Corv: recovery of known truth, Koester models, a real white dwarf, time per spectrum.

Prints the tables, and with ``--write docs/benchmarks.md`` puts them there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _figures import write_figures
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")  # nothing is stored here; it silences the reminder

from astra_orchestration.pipelines.white_dwarfs.family import balmer_family, da_flux  # noqa: E402
from astra_orchestration.pipelines.white_dwarfs.files import load_grid  # noqa: E402
from astra_orchestration.pipelines.white_dwarfs.fit import LINE_WINDOWS, BalmerFit, fit_spectrum  # noqa: E402
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateGrid  # noqa: E402

Array = NDArray[np.floating[Any]]
Spectrum = tuple[Array, Array, Array]

SEED = 20240229
BOSS = 10 ** (3.5563 + 1e-4 * np.arange(4648))
SPEED_OF_LIGHT = 299_792.458
SNRS = (10, 20, 50)
REAL_DATA = ROOT.parent / "shared" / "data"
M_DWARFS = {
    "spec-0618-52049-0372": "M1",
    "spec-1123-52882-0065": "M5",
    "spec-5047-55833-0936": "M2",
    "spec-4068-55445-0924": "B2 (A9 by the survey)",
}


@dataclass(frozen=True)
class Star:
    """The truth of a simulated spectrum: velocity (km/s), temperature (K), gravity (dex)."""

    v_rad: float
    teff: float
    logg: float


@dataclass(frozen=True)
class Trial:
    """A truth, what was measured, and the time it took (s)."""

    star: Star
    fit: BalmerFit
    seconds: float

    def pull(self, name: str) -> float:
        """Give the offset from the truth in units of the quoted error."""
        error = getattr(self.fit, f"e_{name}")
        return (getattr(self.fit, name) - getattr(self.star, name)) / error

    @property
    def clean(self) -> bool:
        """Tell whether no flag is set."""
        fit = self.fit
        return not (
            fit.low_snr
            or fit.no_lines
            or fit.not_converged
            or fit.v_rad_at_edge
            or fit.template_at_edge
            or fit.too_few_pixels
        )


def in_windows(wavelength: Array) -> NDArray[np.bool_]:
    """Tell which pixels belong to a line window."""
    return np.any([(wavelength > first) & (wavelength < last) for first, _, last in LINE_WINDOWS.values()], axis=0)


def rest_frame(wavelength: Array, v_rad: float) -> Array:
    """Bring observed wavelengths (Angstrom) to the rest frame of a star receding with `v_rad` (km/s)."""
    beta = v_rad / SPEED_OF_LIGHT
    return wavelength * np.sqrt((1 - beta) / (1 + beta))


def observe(flux: Array, snr: float, rng: np.random.Generator) -> Spectrum:
    """Add noise and masks to a spectrum on the grid of BOSS.

    Photons of star and sky make the noise, and the throughput falls towards both ends; `snr` is the median
    per pixel in the line windows, as the pipeline reports it. One pixel in a hundred and a block of 30 are
    masked and hold nonsense.
    """
    throughput = 0.1 + np.exp(-0.5 * ((BOSS - 6800) / 1900) ** 2)
    relative = flux / np.median(flux)
    noise = np.sqrt((relative + 0.5) / throughput)
    noise *= np.median(relative[in_windows(BOSS)] / noise[in_windows(BOSS)]) / snr
    noisy, ivar = relative + noise * rng.normal(size=flux.size), noise**-2
    masked = rng.random(flux.size) < 0.01
    first = rng.integers(flux.size - 30)
    masked[first : first + 30] = True
    noisy[masked], ivar[masked] = rng.normal(0, 100, np.count_nonzero(masked)), 0.0
    return BOSS, noisy, ivar


def attempt(star: Star, spectrum: Spectrum, grid: TemplateGrid) -> Trial:
    """Fit one spectrum and take the time."""
    start = time.perf_counter()
    fit = fit_spectrum(*spectrum, grid)
    return Trial(star, fit, time.perf_counter() - start)


def family_trials(snr: float, number: int) -> list[Trial]:
    """Spectra of the built-in family, drawn continuously: log Teff, log g, velocity."""
    rng, grid = np.random.default_rng([SEED, int(snr)]), balmer_family()
    trials = []
    for _ in range(number):
        star = Star(rng.normal(0, 150), 10 ** rng.uniform(np.log10(7000), np.log10(36_000)), rng.uniform(7.2, 8.8))
        flux = da_flux(rest_frame(BOSS, star.v_rad), star.teff, star.logg)
        trials.append(attempt(star, observe(flux, snr, rng), grid))
    return trials


def koester_flux(grid: TemplateGrid, node: tuple[int, int], v_rad: float) -> Array:
    """Show a Koester model as BOSS would see it, by code of its own: flux of shape (4648,)."""
    steps = np.linspace(-4, 4, 81)
    weights = np.exp(-0.5 * steps**2)
    sigma = 1 / (1900 * np.sqrt(8 * np.log(2)))
    rest = rest_frame(BOSS, v_rad)
    model = grid.flux[node]
    around = [np.interp(rest * np.exp(sigma * step), grid.wavelength, model) for step in steps]
    return weights @ np.array(around) / weights.sum()


def koester_trials(grid: TemplateGrid, node: tuple[int, int], snr: float, number: int) -> list[Trial]:
    """Noisy copies of one model of the grid, at random velocities."""
    rng = np.random.default_rng([SEED, *node, int(snr)])
    trials = []
    for _ in range(number):
        star = Star(rng.normal(0, 150), float(grid.teff[node[0]]), float(grid.logg[node[1]]))
        trials.append(attempt(star, observe(koester_flux(grid, node, star.v_rad), snr, rng), grid))
    return trials


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    lines = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def robust_width(values: Array) -> float:
    """Half of the range that holds the central 68 percent."""
    low, high = np.percentile(values, [15.865, 84.135])
    return float(high - low) / 2


def family_report(number: int) -> str:
    """Write up the recovery of spectra of the built-in family."""
    trials = {snr: family_trials(snr, number) for snr in SNRS}
    header = (
        "S/N", "spectra", "flagged", "bias (km/s)", "scatter (km/s)", "median error (km/s)",
        "pull mean", "pull width", "ms per spectrum",
    )  # fmt: skip
    velocity = table(header, (velocity_row(snr, group) for snr, group in trials.items()))
    header = (
        "S/N", "Teff: median error (K)", "pull median", "pull width (68 %)", "wrong side of the maximum",
        "log g: median error", "pull mean", "pull width",
    )  # fmt: skip
    others = table(header, (parameter_row(snr, group) for snr, group in trials.items()))
    return f"Velocities:\n\n{velocity}\n\nTemperatures and gravities of the same spectra:\n\n{others}"


def collect(trials: Iterable[Trial], value: Callable[[Trial], float]) -> Array:
    """Take one number of every trial: shape (n_trials,)."""
    return np.array([value(trial) for trial in trials])


def velocity_row(snr: float, trials: list[Trial]) -> Iterator[str]:
    """Summarise the velocities at one S/N."""
    good = [trial for trial in trials if trial.clean]
    pulls = collect(good, lambda trial: trial.pull("v_rad"))
    offsets = collect(good, lambda trial: trial.fit.v_rad - trial.star.v_rad)
    errors = collect(good, lambda trial: trial.fit.e_v_rad)
    spent = collect(trials, lambda trial: 1e3 * trial.seconds)
    yield from (f"{snr:g}", str(len(trials)), str(len(trials) - len(good)))
    yield from (f"{offsets.mean():+.2f}", f"{offsets.std(ddof=1):.2f}", f"{np.median(errors):.2f}")
    yield from (f"{pulls.mean():+.3f}", f"{pulls.std(ddof=1):.3f}", f"{spent.mean():.0f}")


def parameter_row(snr: float, trials: list[Trial]) -> Iterator[str]:
    """Summarise temperatures and gravities at one S/N."""
    good = [trial for trial in trials if trial.clean]
    teff, logg = (collect(good, lambda trial, name=name: trial.pull(name)) for name in ("teff", "logg"))
    wrong = collect(good, lambda trial: abs(np.log(trial.fit.teff / trial.star.teff)) > 0.2).astype(bool)
    yield from (f"{snr:g}", f"{np.median([trial.fit.e_teff for trial in good]):.0f}")
    yield from (f"{np.median(teff):+.3f}", f"{robust_width(teff):.3f}", f"{np.count_nonzero(wrong)}")
    yield f"{np.median([trial.fit.e_logg for trial in good]):.3f}"
    yield from (f"{logg.mean():+.3f}", f"{logg.std(ddof=1):.3f}")


def koester_report(grid: TemplateGrid, number: int) -> str:
    """Write up the recovery of all models of a grid."""
    rows = []
    for at_teff, teff in enumerate(grid.teff):
        for at_logg, logg in enumerate(grid.logg):
            for snr in (20, 50):
                trials = koester_trials(grid, (at_teff, at_logg), snr, number)
                rows.append((f"{teff:g}", f"{logg:g}", f"{snr}", *koester_row(trials)))
    header = (
        "Teff (K)", "log g", "S/N", "Teff found (K)", "log g found", "velocity bias (km/s)",
        "velocity pull width", "at edge of grid",
    )  # fmt: skip
    return f"{number} noisy copies of each model and S/N; median and half of the central 68 %.\n\n" + table(
        header, rows
    )


def koester_row(trials: list[Trial]) -> Iterator[str]:
    """Summarise the copies of one model."""
    found = [trial for trial in trials if np.isfinite(trial.fit.v_rad)]
    teff, logg = (collect(found, lambda trial, name=name: getattr(trial.fit, name)) for name in ("teff", "logg"))
    offsets = collect(found, lambda trial: trial.fit.v_rad - trial.star.v_rad)
    pulls = collect(found, lambda trial: trial.pull("v_rad"))
    yield f"{np.median(teff):.0f} ± {robust_width(teff):.0f}"
    yield f"{np.median(logg):.3f} ± {robust_width(logg):.3f}"
    yield from (f"{offsets.mean():+.2f}", f"{pulls.std(ddof=1):.2f}")
    yield f"{np.mean([trial.fit.template_at_edge for trial in found]):.0%}"


def read_boss(path: Path) -> Spectrum:
    """Read a spec file: wavelength (vacuum Angstrom), flux, ivar."""
    from astropy.io import fits

    table = np.asarray(fits.getdata(path, 1, memmap=False))
    columns = [table[name].astype(float) for name in ("loglam", "flux", "ivar")]
    return 10 ** columns[0], columns[1], columns[2]


def white_dwarf_report(real_data: Path, grid: TemplateGrid) -> str:
    """Put the fits of the real white dwarf beside the published ones."""
    spectrum = read_boss(real_data / "wdtools" / "sample_spectrum.fits")
    rows = [("published, first method", "", "13242 ± 78", "8.22 ± 0.01", "")]
    rows.append(("published, second method", "", "13912 ± 295", "8.10 ± 0.06", ""))
    for name, templates in (
        ("this pipeline, Koester grid (9 models)", grid),
        ("built-in family", balmer_family()),
    ):
        fit = fit_spectrum(*spectrum, templates)
        rows.append(
            (
                name,
                f"{fit.v_rad:.1f} ± {fit.e_v_rad:.1f}",
                f"{fit.teff:.0f} ± {fit.e_teff:.0f}",
                f"{fit.logg:.2f} ± {fit.e_logg:.2f}",
                f"{fit.rchi2:.2f}",
            )
        )
    return table(("SDSS J082600.58+282346.2", "v_rad (km/s)", "Teff (K)", "log g", "reduced chi-squared"), rows)


def other_stars_report(real_data: Path) -> str:
    """List the flags of real stars that are no white dwarfs."""
    rows = []
    for name, kind in M_DWARFS.items():
        fit = fit_spectrum(*read_boss(real_data / "pyhammer" / f"{name}.fits"))
        flags = [flag for flag, value in vars(fit).items() if value is True]
        rows.append((name, kind, f"{fit.snr:.0f}", ", ".join(flags)))
    return table(("spectrum", "type", "S/N", "flags"), rows)


def report(real_data: Path, number: int) -> Iterator[str]:
    """Write all sections."""
    yield "### Spectra of the built-in family\n\n" + family_report(number)
    if not (real_data / "koester_da").is_dir():
        yield f"(No real data at {real_data}: Koester models and real spectra were left out.)"
        return
    grid = load_grid(real_data / "koester_da")
    yield "### Koester models with added noise\n\n" + koester_report(grid, max(1, number // 20))
    yield "### A real white dwarf\n\n" + white_dwarf_report(real_data, grid)
    yield "### Real stars that are no white dwarfs\n\n" + other_stars_report(real_data)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real-data", type=Path, default=REAL_DATA, help="folder with koester_da, wdtools, pyhammer")
    parser.add_argument("--number", type=int, default=1000, help="spectra per S/N of the built-in family")
    parser.add_argument("--write", type=Path, help="the page to put the tables into")
    arguments = parser.parse_args()
    text = "\n\n".join(report(arguments.real_data, arguments.number))
    print(text)
    if arguments.write:
        write_figures(arguments.write, "corv", [text])


if __name__ == "__main__":
    main()
