"""How many files of spectra are ingested in a second, against reading their headers alone.

The files are those of a sample survey: visits, and co-adds made of them. Ours reads the headers of each file, finds its
source, and writes rows of sources and spectra; ``again`` goes through the same files when all of it is stored, ``next
night`` looks at the same files and finds that they are known, and ``verify`` reads every byte to see that. The
limit reads the same headers and rows with our reader and writes nothing; astropy reads them as most scripts do.

    python benchmarks/ingest_spectra.py [--stars 400] [--rounds 5] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

from _figures import write_figures
from _memory import grown_since, start_counting
from astropy.io import fits
from upsert import bound

from astra_models.base import database
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.fits.star_file import FitsFile
from astra_models.ingest import ingest_spectra
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.spectrum_file import SpectrumContent, SpectrumFile
from astra_orchestration.sample import make_sample

ASTROPY_FILES = 200
MEMORY = "MB above the start, ours"


def empty() -> None:
    """Empty the tables."""
    models = [SpectrumContent, SpectrumFile, *SpectrumMixin.concrete_models(), Spectrum, Source]
    if is_postgresql(database):
        database.execute_sql(f"TRUNCATE {', '.join(quoted_table(model) for model in models)} CASCADE")
        database.execute_sql("CHECKPOINT")
        return
    for model in models:
        model.delete().execute()
    database.execute_sql("VACUUM")


def read_headers(paths: Sequence[str]) -> None:
    """Read headers, and the first row of the table that says what was observed, with our reader."""
    for path in paths:
        file = FitsFile(path)
        if len(file.hdus) > 2 and file.hdus[2].is_table and file.hdus[2].n_rows:
            row = file.row(2)
            for name in file.hdus[2].columns:
                row.get(name)


def read_headers_with_astropy(paths: Sequence[str]) -> None:
    """Read the same with astropy."""
    for path in paths:
        with fits.open(path) as hdus:
            dict(hdus[0].header)
            if len(hdus) > 2 and isinstance(hdus[2], fits.BinTableHDU) and len(hdus[2].data):
                list(hdus[2].data[0])


def ingest_again(paths: Sequence[str]) -> None:
    """Read files that are known, too."""
    assert ingest_spectra(paths, again=True).known == 0


def verify_spectra(paths: Sequence[str]) -> None:
    """Read every byte of files that are known."""
    assert ingest_spectra(paths, verify=True).known == len(paths)


def rate(work: Callable[[Sequence[str]], object], paths: Sequence[str]) -> float:
    """Give the files per second of some work."""
    started = time.perf_counter()
    work(paths)
    return len(paths) / (time.perf_counter() - started)


def measure(backend: str, paths: Sequence[str], rounds: int) -> dict[str, float]:
    """Time all candidates in turn on one database; gives the medians of files per second."""
    rates: dict[str, list[float]] = {}
    with bound(backend):
        create_tables()
        ingest_spectra(paths[:2])  # for what is imported
        before = start_counting()
        for _ in range(rounds):
            empty()
            rates.setdefault("ours", []).append(rate(ingest_spectra, paths))
            n_spectra = Spectrum.select().count()
            rates.setdefault("ours, again", []).append(rate(ingest_again, paths))
            rates.setdefault("ours, next night", []).append(rate(ingest_spectra, paths))
            rates.setdefault("ours, verify", []).append(rate(verify_spectra, paths))
            rates.setdefault(MEMORY, [grown_since(before)])
            assert Spectrum.select().count() == n_spectra >= len(paths)
            rates.setdefault("headers alone", []).append(rate(read_headers, paths))
            rates.setdefault("headers, astropy", []).append(rate(read_headers_with_astropy, paths[:ASTROPY_FILES]))
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = ["| database | way | files/s | of reading headers alone |", "| --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        summary = make_sample(folder, stars=options.stars, seed=1)
        broken = {file.path for file in summary.broken}
        paths = [path for path in summary.files if path not in broken]
        for backend in options.backend or ["postgresql", "sqlite"]:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:  # for its memory
                medians = process.submit(measure, backend, paths, options.rounds).result()
            grown = medians.pop(MEMORY)
            for name, files_per_second in medians.items():
                share = files_per_second / medians["headers alone"]
                lines.append(f"| {backend} | {name} | {files_per_second:,.0f} | {share:.2f} |")
            lines.append(f"| {backend} | memory | {grown:.0f} MB above the start | |")
            print("\n".join(lines), flush=True)
    if options.write:
        write_figures(options.write, "ingest_spectra", lines)


if __name__ == "__main__":
    main()
