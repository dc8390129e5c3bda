"""What ASPCAP costs on our side: CPU of this process over its three stages, and memory with many spectra and species.

In the place of FERRE is a program that only copies (benchmarks/ferre.py), so its own time doesn't count: only the CPU
time of this process does. Spectra have the 7,514 pixels of the survey's grids. They are made up, and read from no
file; rows are made but not stored.

    python benchmarks/aspcap.py [--spectra 200] [--many 1000 5000] [--species 20] [--write docs/benchmarks.md]
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import numpy as np
import yaml
from _figures import write_figures
from _memory import grown_since, start_counting
from ferre import N_PIXELS, install_copying_program, make_grid

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ABUNDANCES, ASPCAP
from astra_models.ferre import FerreCoarse, FerreStellarParameters
from astra_orchestration.pipelines.aspcap import AT_ONCE
from astra_orchestration.pipelines.aspcap.abundances import abundance_results
from astra_orchestration.pipelines.aspcap.coarse import coarse_results
from astra_orchestration.pipelines.aspcap.parameters import parameter_results
from astra_orchestration.pipelines.aspcap.workshop import Workshop, in_lots

ALL_PIXELS = 8575
SPECIES = [name.removesuffix("_h").title() for name in ABUNDANCES if name.endswith("_h")]


def configure(folder: Path, n_species: int) -> Path:
    """Write a configuration of a grid of 7,514 pixels, and of so many species."""
    program, grid = install_copying_program(folder), make_grid(folder)
    mask = folder / "all.mask"
    mask.write_text("1.0\n" * N_PIXELS)
    species = {name: {"mask": mask.name, "fit": "METALS"} for name in list(SPECIES)[:n_species]}
    entry = {"header": grid.path.name, "telescopes": ["apo25m"], "fibers": [1, 300]}
    path = folder / "aspcap.yml"
    path.write_text(yaml.safe_dump({"ferre": str(program.path), "grids": {"g": entry}, "species": species}))
    return path


def make_spectra(n: int) -> Iterator[ApogeeCoaddedSpectrumInApStar]:
    """Make up spectra one by one; their pixels are as if they had just been read."""
    random = np.random.default_rng(3)
    flux = random.lognormal(5, 0.05, ALL_PIXELS).astype(np.float32)
    for i in range(1, n + 1):
        spectrum = ApogeeCoaddedSpectrumInApStar(
            spectrum_pk=i, source_pk=i, telescope="apo25m", mean_fiber=150, snr=100, std_v_rad=0.1,
            doppler_teff=5000, doppler_logg=2.0, doppler_fe_h=0.0, doppler_flags=0,
        )  # fmt: skip
        bits = np.zeros(ALL_PIXELS, dtype=np.int64)
        spectrum._pixels_read.update(flux=flux * (1 + 1e-4 * i), ivar=1e4 / flux**2, pixel_flags=bits)
        yield spectrum


def of_stages(workshop: Workshop, n: int) -> Iterator[tuple[str, Iterable[Any]]]:
    """Give the work of each stage, lot by lot, and give its rows to the next stage."""
    coarse: list[FerreCoarse] = []
    parameters: list[FerreStellarParameters] = []

    def keep(rows: Iterable[Any], kept: list[Any]) -> Iterator[Any]:
        for row in rows:
            row.task_pk = row.spectrum_pk
            kept.append(row)
            yield row

    def lots(*others: list[Any]) -> Iterator[list[Any]]:
        rows = zip(make_spectra(n), *(others or ([None] * n,)), strict=True)
        return in_lots(rows, AT_ONCE)

    yield "coarse", keep((row for lot in lots() for row in coarse_results(workshop, lot)), coarse)
    yield "parameters", keep((row for lot in lots(coarse) for row in parameter_results(workshop, lot)), parameters)
    yield "abundances", _without_files(workshop, (abundance_results(workshop, lot) for lot in lots(coarse, parameters)))


def _without_files(workshop: Workshop, lots: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """Give the rows of lots, and remove the files of each: those of many spectra would fill the disk."""
    for rows in lots:
        yield from rows
        shutil.rmtree(workshop.root / "abundances")


def run(n: int, n_species: int) -> tuple[dict[str, float], float]:
    """Do all stages; give the CPU time of each (ms a spectrum), and the peak of memory above what was in use (MB)."""
    folder = Path(tempfile.mkdtemp())
    try:
        workshop = Workshop.open(configure(folder, n_species), folder / "work")
        workshop.program().version  # noqa: B018  # asked once, before the clock runs
        costs: dict[str, float] = {}
        before = start_counting()
        for name, rows in of_stages(workshop, n):
            begun = time.process_time()
            results = sum(isinstance(row, FerreCoarse | FerreStellarParameters | ASPCAP) for row in rows)
            costs[name] = 1e3 * (time.process_time() - begun) / n
            if results != n:
                raise SystemExit(f"{name}: {results} results of {n} spectra")
        return costs, grown_since(before)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure, print, and write a table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=200, help="spectra whose CPU time is measured")
    parser.add_argument("--species", type=int, default=20, help="species of the abundances")
    parser.add_argument("--many", type=int, nargs="*", default=[1000, 5000], help="spectra whose memory is measured")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    one, _ = run(options.spectra, 1)
    all_species, _ = run(options.spectra, options.species)
    each = (all_species["abundances"] - one["abundances"]) / max(options.species - 1, 1)
    lines = ["", "| one spectrum of 7,514 pixels | ms of CPU |", "| --- | --- |"]
    lines += [f"| {name}{', one species' if name == 'abundances' else ''} | {cost:.1f} |" for name, cost in one.items()]
    lines += [f"| all stages, one species | {sum(one.values()):.1f} |", f"| each further species | {each:.2f} |", ""]
    lines += [f"| spectra, {options.species} species | MB above the import |", "| --- | --- |"]
    for n in options.many:
        lines.append(f"| {n:,} | {run(n, options.species)[1]:.0f} |")
        print(lines[-1], flush=True)
    print("\n".join([*lines, ""]))
    if options.write:
        write_figures(options.write, "aspcap", [*lines, ""])


if __name__ == "__main__":
    main()
