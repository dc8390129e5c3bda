"""How long it takes to ask for the newest results, for what is due, and for the versions that are stored.

Tables are filled by the database itself: BOSS visits, ten of a source, with a result of 0.8 each, and of two in three
also one of 0.9, so that the others are due. Queries are warm; figures are medians over the rounds.

    python benchmarks/queries.py [--spectra 1000000] [--rounds 5] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

from _figures import write_figures
from upsert import bound

from astra_models.analysis.due import newest_version, select_due, stored_versions
from astra_models.base import database
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.sql import is_postgresql
from astra_models.schema.tables import create_tables
from astra_models.source import Source

VISITS_PER_SOURCE = 10
NOW = "'2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00'"

Query = Callable[[], object]


def fill_tables(n_spectra: int) -> None:
    """Make sources, spectra and results."""
    create_tables()
    n_sources = n_spectra // VISITS_PER_SOURCE

    def insert(table: str, columns: str, values: str, n: int, where: str = "i > 0") -> None:
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
        database.execute_sql(f"{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM n WHERE {where}")

    flags = [field.column_name for field in Source._meta.sorted_fields if not field.null and field.default == 0]
    insert("source", ", ".join(["sdss_id", "created", "modified", *flags]), f"i, {NOW}{', 0' * len(flags)}", n_sources)
    insert("spectrum", "spectrum_flags", "0", n_spectra)
    insert(
        "boss_visit_spectrum",
        "spectrum_pk, source_pk, created, modified, release, filetype, run2d, mjd, fieldid, catalogid, spec_file, "
        "gri_gaia_transform_flags, zwarning_flags",
        f"i, (i - 1) / {VISITS_PER_SOURCE} + 1, {NOW}, 'sdss5', 'specFull', 'v6', 60000, 1, i, 'none', 0, 0",
        n_spectra,
    )
    columns = "spectrum_pk, source_pk, created, modified, v_astra, tag, teff, result_flags"
    for v_astra, where in ((8_001, "i > 0"), (9_000, "i - i / 3 * 3 > 0")):
        values = f"i, (i - 1) / {VISITS_PER_SOURCE} + 1, {NOW}, {v_astra}, '', 7000 + i - i / 23000 * 23000, 0"
        insert("corv", columns, values, n_spectra, where)
    database.execute_sql("VACUUM ANALYZE" if is_postgresql(database) else "ANALYZE")


def queries(n_spectra: int) -> dict[str, Query]:
    """Give the questions, by what they are called."""
    n_sources = n_spectra // VISITS_PER_SOURCE
    some = list(range(1, n_sources + 1, max(1, n_sources // 1000)))[:1000]
    joined = Corv.latest(Source.sdss_id, Corv.teff).join(Source)
    return {
        "`Corv.latest()`, all counted": lambda: Corv.latest().count(),
        "`Corv.latest().where(Corv.teff > 29900)`": lambda: list(Corv.latest().where(Corv.teff > 29_900).tuples()),
        "`Corv.latest().join(Source)`, all counted": lambda: joined.count(),
        f"the same of {len(some)} `sdss_id`": lambda: list(joined.where(Source.sdss_id.in_(some)).tuples()),
        "the same of one `sdss_id`": lambda: list(joined.where(Source.sdss_id == some[-1]).tuples()),
        "`stored_versions`: which versions are here": lambda: stored_versions(Corv),
        "`newest_version`, which the sensor asks for": lambda: newest_version(Corv),
        "`select_due(limit=1000)`": lambda: len(select_due(Corv, BossVisitSpectrum, version="0.9.0", limit=1000)),
        "`select_due`, all": lambda: len(select_due(Corv, BossVisitSpectrum, version="0.9.0")),
    }


def seconds(query: Query, rounds: int) -> float:
    """Give the median time that a query takes, once it is warm."""
    query()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        query()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(backend: str, n_spectra: int, rounds: int) -> dict[str, float]:
    """Ask everything of one database."""
    with bound(backend):
        fill_tables(n_spectra)
        assert len(select_due(Corv, BossVisitSpectrum, version="0.9.0")) == n_spectra // 3
        return {name: seconds(query, rounds) for name, query in queries(n_spectra).items()}


def spelled(time_taken: float) -> str:
    """Spell a time: seconds, or milliseconds where it is short."""
    return f"{time_taken:.1f} s" if time_taken > 0.1 else f"{1e3 * time_taken:.1f} ms"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    measured = {
        backend: measure(backend, options.spectra, options.rounds)
        for backend in options.backend or ["postgresql", "sqlite"]
    }
    lines = [f"{options.spectra:,} spectra, {options.spectra * 5 // 3:,} results of two versions.", ""]
    lines += [f"| query | {' | '.join(measured)} |", f"|{' --- |' * (1 + len(measured))}"]
    for name in queries(options.spectra):
        lines.append(f"| {name} | {' | '.join(spelled(times[name]) for times in measured.values())} |")
    print("\n".join(lines))
    if options.write:
        write_figures(options.write, "queries", lines)


if __name__ == "__main__":
    main()
