"""How long it takes to select what is due by what results were made from, against the rule of times alone.

Tables are filled by the database itself: BOSS visits, ten of a source, each with a result of Snow White and one of
Corv, rows as wide as real ones; one in a hundred of these is outdated. Then half of the spectra are made due for one
reason after the other, and the first thousand of them are asked for. Ways take turns; figures are medians over the
rounds.

    python benchmarks/selection.py [--spectra 2000000] [--rounds 5] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import peewee
from _figures import write_figures
from upsert import bound

from astra_models.analysis.rule import DueRule, Need, RecipeKey
from astra_models.base import BaseModel, database
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.sql import is_postgresql
from astra_models.pipeline_run import PipelineRun
from astra_models.schema.tables import create_tables
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import Spectrum

VISITS_PER_SOURCE = 10
NOW = "'2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00'"
LATER = "'2026-02-01 00:00:00+00:00'"
V_ASTRA = 9_000
RECIPE = RecipeKey("corv", "1", "now")
FIRST = 1000

Rule = Callable[[], DueRule]


def by_times() -> DueRule:
    """Give the rule of times alone: what every row had before they said what they were made from."""
    rule = DueRule(Corv, BossVisitSpectrum, V_ASTRA)
    rule.keeps_revisions = False
    return rule


RULES: dict[str, Rule] = {
    "times alone": by_times,
    "revisions": lambda: DueRule(Corv, BossVisitSpectrum, V_ASTRA),
    "revisions and recipe": lambda: DueRule(Corv, BossVisitSpectrum, V_ASTRA, recipe=RECIPE),
    "with one pipeline upstream": lambda: DueRule(
        Corv, BossVisitSpectrum, V_ASTRA, recipe=RECIPE, needs=[Need(SnowWhite)]
    ),
}

MADE_DUE = {
    "spectrum changed": ("boss_visit_spectrum", "revision = 1"),
    "upstream changed": ("snow_white", "revision = 8"),
    "parameters changed": ("corv", "pipeline_run_pk = 2"),
    "patch": ("corv", "v_astra = 8999 + 0 * v_astra"),
    "new": ("corv", None),
}


def fill_tables(n_spectra: int, *, wide: bool = True) -> None:
    """Make sources, spectra, results and runs; rows as wide as real ones, or with what has to be there."""
    create_tables()
    for digest in ("now", "then"):
        PipelineRun.create(pipeline="corv", version="1", recipe=digest, v_astra=V_ASTRA, parameters="{}")

    def insert(model: type[BaseModel], columns: str, values: str, n: int) -> None:
        given = columns.split(", ")
        others = [field.column_name for field in model._meta.sorted_fields if isinstance(field, peewee.FloatField)]
        others = [name for name in others if name not in given] if wide else []
        columns, values = ", ".join([*given, *others]), ", ".join([values, *["1.5"] * len(others)])
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
        database.execute_sql(f"{numbers} INSERT INTO {model._meta.table_name} ({columns}) SELECT {values} FROM n")

    flags = [field.column_name for field in Source._meta.sorted_fields if not field.null and field.default == 0]
    names = ", ".join(["sdss_id", "created", "modified", *flags])
    insert(Source, names, f"i, {NOW}{', 0' * len(flags)}", n_spectra // VISITS_PER_SOURCE)
    insert(Spectrum, "spectrum_flags", "0", n_spectra)
    source_pk = f"(i - 1) / {VISITS_PER_SOURCE} + 1"
    insert(
        BossVisitSpectrum,
        "spectrum_pk, source_pk, created, modified, release, filetype, run2d, mjd, fieldid, catalogid, spec_file, "
        "gri_gaia_transform_flags, zwarning_flags",
        f"i, {source_pk}, {NOW}, 'sdss5', 'specFull', 'v6', 60000, 1, i, 'none', 0, 0",
        n_spectra,
    )
    keys = "spectrum_pk, source_pk, created, modified, v_astra, tag, result_flags, pipeline_run_pk, spectrum_revision"
    values = f"i, {source_pk}, {NOW}, {V_ASTRA}, '', 0, 1, 0"
    insert(SnowWhite, f"{keys}, revision", f"{values}, 7", n_spectra)
    insert(Corv, f"{keys}, upstream_revision, teff", f"{values}, 7, 7000 + i - i / 23000 * 23000", n_spectra)
    outdated = "WHERE spectrum_pk - spectrum_pk / 100 * 100 = 0"
    database.execute_sql(f"UPDATE corv SET spectrum_revision = 1, modified = '2025-01-01 00:00:00+00:00' {outdated}")
    analyze()


def analyze() -> None:
    """Let the database see what is in its tables."""
    database.execute_sql("VACUUM ANALYZE" if is_postgresql(database) else "ANALYZE")


def count(rule: DueRule) -> int:
    """Count all that is due."""
    return rule.select(BossVisitSpectrum.spectrum_pk).where(rule.is_due()).count()


def first(rule: DueRule) -> int:
    """Read the first thousand of what is due."""
    query = rule.select(BossVisitSpectrum.spectrum_pk).where(rule.is_due())
    return len(list(query.order_by(BossVisitSpectrum.spectrum_pk).limit(FIRST).tuples()))


def seconds(ask: Callable[[DueRule], int], rules: dict[str, Rule], rounds: int, expected: int) -> dict[str, float]:
    """Give the median times of some rules, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in rules}
    for turn in range(rounds + 1):
        for name, rule in rules.items():
            started = time.perf_counter()
            found = ask(rule())
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - started)
            assert found == expected, f"{name}: {found} and not {expected} are due"
    return {name: statistics.median(taken) for name, taken in times.items()}


def measure(backend: str, n_spectra: int, rounds: int) -> Iterator[str]:
    """Ask everything of one database, and give the rows of the table."""
    with bound(backend):
        fill_tables(n_spectra)
        all_due = seconds(count, RULES, rounds, n_spectra // 100)
        for name, taken in all_due.items():
            times = taken / all_due["times alone"]
            yield f"| {backend} | all that is due, one in a hundred: {name} | {taken:.2f} s | {times:.2f} |"
        widest = {"": RULES["with one pipeline upstream"]}
        database.execute_sql("UPDATE corv SET spectrum_revision = 0")
        for reason, (table, assignment) in MADE_DUE.items():
            half = "WHERE spectrum_pk - spectrum_pk / 2 * 2 = 0"
            with database.atomic() as transaction:
                if is_postgresql(database):
                    database.execute_sql("ALTER TABLE boss_visit_spectrum DISABLE TRIGGER USER")
                database.execute_sql(
                    f"UPDATE {table} SET {assignment} {half}" if assignment else f"DELETE FROM {table} {half}"
                )
                taken = seconds(first, widest, rounds, FIRST)[""]
                transaction.rollback()
            yield f"| {backend} | the first thousand of {n_spectra // 2:,} due: {reason} | {1e3 * taken:.1f} ms | |"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [f"{options.spectra:,} spectra, and as many results of each of two pipelines.", ""]
    lines += ["| database | what is asked | time | times the rule of times |", "|" + " --- |" * 4]
    for backend in options.backend or ["postgresql", "sqlite"]:
        for line in measure(backend, options.spectra, options.rounds):
            lines.append(line)
            print(line, flush=True)
    if options.write:
        write_figures(options.write, "selection", lines)


if __name__ == "__main__":
    main()
