"""How much faster than sdss/astra's way each step is that people of a survey wait for, all in one run.

On PostgreSQL: summary rows are ingested, what is due is asked, pixels are read, results are stored, stored again, and
written to a file. Both ways are those of the benchmarks of each step (ingest, selection, pixels, upsert, export), which
say what else there is to know.

    python benchmarks/beside_incumbent.py [--rows 50000] [--rounds 3] [--write docs/benchmarks.md]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import export
import ingest
import peewee
import pixels
import upsert
from _figures import write_figures
from astropy.table import Table
from selection import V_ASTRA, fill_tables
from upsert_by_hand import Narrow

from astra_models.analysis.rule import DueRule
from astra_models.aspcap import ASPCAP
from astra_models.base import database
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.ingest import ingest_result_file
from astra_models.schema.tables import create_tables

SHARE = 10
"""The incumbent's way is given one in so many rows where it would take minutes."""


class Step(NamedTuple):
    """One thing that is done, by both; how many of what a call does, and what is done before each call."""

    what: str
    unit: str
    there: Callable[[], int]
    here: Callable[[], int]
    before: Callable[[], None] = lambda: None


def ingesting(folder: Path, n_rows: int) -> Iterator[Step]:
    """Read summary rows of ASPCAP."""
    path, small = folder / "summary.fits.gz", folder / "small.fits"
    ingest.write_result_file(path, ASPCAP, n_rows, style="dr19")
    ingest.write_result_file(small, ASPCAP, n_rows // SHARE, style="dr19")
    create_tables()
    table = Table.read(small, hdu=2)
    plain = {model: ingest.plain_model(model) for model in ingest.TABLES}

    def there() -> int:
        ingest.incumbent(table, plain)
        return len(table)

    def here() -> int:
        ingest_result_file(path)
        return n_rows

    yield Step("ingest a summary file of ASPCAP, 384 columns", "rows/s", there, here, ingest.empty)


def selecting(folder: Path, n_rows: int) -> Iterator[Step]:
    """Ask which spectra are due: half of them."""
    fill_tables(n_rows)
    database.execute_sql("DELETE FROM corv WHERE spectrum_pk - spectrum_pk / 2 * 2 = 0")
    database.execute_sql("UPDATE corv SET spectrum_revision = 0")

    def there() -> int:
        newer = BossVisitSpectrum.modified > Corv.modified
        query = BossVisitSpectrum.select().join(
            Corv,
            peewee.JOIN.LEFT_OUTER,
            on=(BossVisitSpectrum.spectrum_pk == Corv.spectrum_pk) & (Corv.v_astra_major_minor == V_ASTRA // 1000),
        )
        return len(list(query.where(Corv.spectrum_pk.is_null() | newer)))

    def here() -> int:
        rule = DueRule(Corv, BossVisitSpectrum, V_ASTRA)
        return len(list(rule.select(BossVisitSpectrum.spectrum_pk).where(rule.is_due()).tuples()))

    yield Step("find what is due: half of the spectra", "spectra/s", there, here)


def reading(folder: Path, n_rows: int) -> Iterator[Step]:
    """Read flux and inverse variance."""
    for name in ("specFull", "apStar"):
        kind = pixels.KINDS[name]
        paths = [str(kind.write(folder / f"{kind.model.__name__}{i}.fits", i)) for i in range(100)]

        def there(paths: list[str] = paths, kind: pixels.Kind = kind) -> int:
            return len([pixels.every_array(path, kind) for path in paths])

        def here(paths: list[str] = paths, kind: pixels.Kind = kind) -> int:
            return len([pixels.ours(kind.model(path=path, **kind.columns)) for path in paths])

        yield Step(f"read flux and inverse variance, {name}", "spectra/s", there, here)


def storing(folder: Path, n_rows: int) -> Iterator[Step]:
    """Store results, and the same once more."""
    upsert.prepare(n_rows)
    upsert.PLAIN[Narrow] = upsert.plain_model(Narrow)
    job = upsert.Job(Narrow, upsert.make_columns(Narrow, n_rows, seed=1), 1000)
    steps = (lambda: upsert.incumbent(job), lambda: upsert.from_instances(job))
    yield Step("store results, 35 columns", "rows/s", *steps, before=lambda: upsert.empty_table(Narrow))
    yield Step("store results, as whole columns", "rows/s", steps[0], lambda: upsert.from_columns(job),
               before=lambda: upsert.empty_table(Narrow))  # fmt: skip
    upsert.from_columns(job)
    yield Step("store equal results again", "rows/s", steps[0], lambda: upsert.skipping_unchanged(job))


def exporting(folder: Path, n_rows: int) -> Iterator[Step]:
    """Write a summary product."""
    export.fill_tables(n_rows)

    def there() -> int:
        export.incumbent(folder / "there.fits", n_rows // SHARE)
        return n_rows // SHARE

    def here() -> int:
        export.streamed(folder / "here.fits", n_rows)
        return n_rows

    yield Step("write a product of ASPCAP, over 380 columns", "rows/s", there, here)


def rate(work: Callable[[], int], before: Callable[[], None]) -> float:
    """Do it, and give how many per second."""
    before()
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def compare(step: Step, rounds: int) -> str:
    """Do both in turns, and give a row of the table."""
    rates = [(rate(step.there, step.before), rate(step.here, step.before)) for _ in range(rounds)]
    there, here = (statistics.median(some) for some in zip(*rates, strict=True))
    times = statistics.median(mine / theirs for theirs, mine in rates)
    return f"| {step.what} | {there:,.0f} {step.unit} | {here:,.0f} {step.unit} | {times:.1f} |"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = ["| what | there | here | times as fast |", "| --- | --- | --- | --- |"]
    print("\n".join(lines), flush=True)
    for group in (ingesting, selecting, reading, storing, exporting):
        with tempfile.TemporaryDirectory() as folder, upsert.bound("postgresql"):
            for step in group(Path(folder), options.rows):
                lines.append(compare(step, options.rounds))
                print(lines[-1], flush=True)
    if options.write:
        write_figures(options.write, "beside_incumbent", lines)


if __name__ == "__main__":
    main()
