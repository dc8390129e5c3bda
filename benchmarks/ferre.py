"""What FERRE's text files cost: writing and reading them, against savetxt and loadtxt, and all stages of ASPCAP.

In the place of FERRE is a program that copies its inputs into its outputs in FERRE's formats, without names, so that
nothing but the cost of our side is measured: the CPU time of this process. The stages are those of ASPCAP with spectra
of 7,514 pixels: a coarse fit, the fit of all parameters, the models that aren't normalised, and one fit per species,
all species in list mode with one file of fluxes; and the five arrays that ASPCAP reads back.

    python benchmarks/ferre.py [--spectra 200] [--species 20] [--rounds 5] [--write docs/benchmarks.md]
"""

import argparse
import io
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import numpy as np
from _figures import write_figures

from astra_orchestration.pipelines.ferre.control import Settings
from astra_orchestration.pipelines.ferre.fit import Program, Request, Spectra, fit, fit_all, model_fluxes
from astra_orchestration.pipelines.ferre.grid import Chip, Grid, write_grid
from astra_orchestration.pipelines.ferre.inputs import format_lines
from astra_orchestration.pipelines.ferre.outputs import parse_fluxes, read_fluxes

CHIPS = (Chip(4.180476, 6e-6, 3028), Chip(4.200510, 6e-6, 2495), Chip(4.217064, 6e-6, 1991))
N_PIXELS = 7514
LABELS = ("METALS", "O Mg Si S Ca Ti", "LOGG", "TEFF")
READ_BACK = ("rectified_flux.output", "rectified_model_flux.output")

COPYING = """\
import re, sys
import numpy as np
def run(name):
    print(" next object # 1", flush=True)
    text = open(name).read()
    value = lambda key: (re.search(rf"^ {key} = '?([^'\\n]*)", text, re.MULTILINE) or ["", ""])[1]
    n_dim = int(value("NDIM"))
    names = [line.split()[0] for line in open(value("PFILE"))]
    if value("NOV") == "0":
        line = "%13.5E" * 7514 % tuple(np.full(7514, 0.9)) + "\\n"
        open(value("OFFILE"), "w").writelines([line[1:]] * len(names))
        return
    rows, rectified, models = open(value("OPFILE"), "w"), open(value("SFFILE"), "w"), open(value("OFFILE"), "w")
    n = 7514 - int(value("NOV")) + 1
    for name, flux, error in zip(names, open(value("FFILE")), open(value("ERFILE"))):
        flux, error = np.array(flux.split(), float), np.array(error.split(), float)
        chi2 = np.log10((((0.01 * flux) / error) ** 2).sum() / n)
        numbers = [*np.full(n_dim, 0.1), *np.full(n_dim, 0.1), 0, 99, chi2, *(0.01 * np.eye(n_dim)).ravel()]
        rectified.write(("%13.5E" * 7514 % tuple(flux))[1:] + "\\n")
        models.write(("%13.5E" * 7514 % tuple(1.01 * flux))[1:] + "\\n")
        rows.write(f" {name:<150s}" + "".join("%13.4E" % number for number in numbers) + "\\n")
print(" f e r r e   v5.1.1", flush=True)
names = sys.argv[1:] if sys.argv[1] != "-l" else open(sys.argv[2]).read().split()
if names != ["version.nml"]:
    for number, name in enumerate(names, 1):
        print(f"{number:12d} {name}", flush=True)
        run(name)
"""


def install_copying_program(folder: Path) -> Program:
    """Write the program that stands in for FERRE."""
    path = folder / "ferre.x"
    path.write_text(f"#!{sys.executable} -u\n{COPYING}")
    path.chmod(0o755)
    return Program(path)


def milliseconds(call: Callable[[], object], rounds: int, per_call: int) -> float:
    """Give the CPU time of this process for one of the things that a call does: the median over some rounds."""
    call()
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - begun) / per_call)
    return statistics.median(times)


def measure_text(rounds: int) -> dict[str, float]:
    """Measure a line of 7,514 numbers, written and read, in ms."""
    values = np.random.default_rng(1).lognormal(5, 0.3, (20, N_PIXELS))
    lines = [("%13.5E" * N_PIXELS % tuple(row))[1:].encode() for row in values]

    def loadtxt() -> None:
        for line in lines:
            np.loadtxt(io.BytesIO(line))

    return {
        "write, `numpy.savetxt`": milliseconds(lambda: np.savetxt(io.BytesIO(), values, fmt="%.4e"), rounds, 20),
        "write, ours": milliseconds(lambda: format_lines(values), rounds, 20),
        "read, `numpy.loadtxt`": milliseconds(loadtxt, rounds, 20),
        "read, ours": milliseconds(lambda: [parse_fluxes(line, N_PIXELS) for line in lines], rounds, 20),
    }


def make_grid(folder: Path) -> Grid:
    """Make a grid whose models nobody looks at."""
    models = np.ones((4, 4, 4, 4, N_PIXELS), dtype=np.float32)
    return write_grid(folder / "g.hdr", LABELS, (-1, -0.5, 1, 4000), (0.5, 0.5, 1, 500), CHIPS, models)


def measure_stages(folder: Path, n: int, n_species: int) -> dict[str, float]:
    """Measure what each stage costs this process, in ms of CPU a spectrum."""
    program, grid = install_copying_program(folder), make_grid(folder)
    program.version  # noqa: B018  # asked once, before the clock runs
    random = np.random.default_rng(2)
    flux = random.lognormal(5, 0.3, (n, N_PIXELS)).astype(np.float32)
    names = [f"{i}_{i}_{i}_0_NULL" for i in range(n)]
    spectra = Spectra(names, np.tile([0.1, 0.1, 2.0, 5000.0], (n, 1)), flux, 0.01 * flux)
    all_free, one_free = Settings(LABELS), Settings(LABELS[:1], continuum=None)
    requests = [Request(spectra, one_free, folder / "abundances" / f"E{i}") for i in range(n_species)]

    def read_back() -> None:
        for stage, outputs in (("coarse", READ_BACK), ("params", (*READ_BACK, "model_flux.output"))):
            for output in outputs:
                assert np.isfinite(read_fluxes(folder / stage / output, names, N_PIXELS)).all()

    stages: dict[str, Callable[[], object]] = {
        "coarse": lambda: fit(program, grid, spectra, all_free, folder / "coarse"),
        "parameters": lambda: fit(program, grid, spectra, all_free, folder / "params"),
        "models (NOV = 0)": lambda: model_fluxes(program, grid, names, spectra.start, folder / "params"),
        "five arrays read back": read_back,
        "abundances": lambda: fit_all(program, grid, requests, folder / "abundances"),
    }
    costs = {}
    for stage, call in stages.items():
        begun = time.process_time()
        call()
        costs[stage] = 1e3 * (time.process_time() - begun) / n
    return costs


def main() -> None:
    """Measure, print, and write a table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=200, help="spectra of a stage")
    parser.add_argument("--species", type=int, default=20, help="species of the abundances")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the single lines")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    text = measure_text(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        stages = measure_stages(Path(folder), options.spectra, options.species)
    abundances = stages.pop("abundances")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [(f"a line: {name}", f"{cost:.2f}") for name, cost in text.items()]
    rows += [(f"stage: {name}", f"{cost:.1f}") for name, cost in stages.items()]
    rows += [("all stages but the species", f"{sum(stages.values()):.1f}")]
    rows += [(f"each species ({options.species} in list mode)", f"{abundances / options.species:.2f}")]
    lines = ["", "| one spectrum of 7,514 pixels | ms of CPU |", "| --- | --- |"]
    lines += [f"| {name} | {cost} |" for name, cost in rows]
    lines += ["", f"{options.spectra} spectra; the process had {peak:.0f} MB at most.", ""]
    print("\n".join(lines))
    if options.write:
        write_figures(options.write, "ferre", lines)


if __name__ == "__main__":
    main()
