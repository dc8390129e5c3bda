"""Rows read in each way that there is: the same values by all of them, of one moment, or an error that names what."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.base import bound_schema
from astra_models.base import database as bound_database
from astra_models.columns.typed import Column
from astra_models.corv import Corv
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.errors import FieldValueError, SelectionError
from astra_models.ferre import FerreChemicalAbundances
from astra_models.lease import Lease
from astra_models.products import export as exporting
from astra_models.products import reading, to_arrow, to_batches, to_table
from astra_models.products.arrow import arrow_batch, arrow_schema
from astra_models.products.export import export
from astra_models.products.query import Selection, select_model, snapshot
from astra_models.products.reading import by_adbc, copied, key_ranges
from astra_models.products.reading.copied import can_be_copied, copied_in_parts, copy_columns
from astra_models.products.reading.packed import read_packed
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert
from tests.conftest import _bound
from tests.everything import is_sqlite, row, store, table_of_everything

pytestmark = pytest.mark.long_on_each


@pytest.fixture
def everything(database: peewee.Database) -> Iterator[Any]:
    with table_of_everything() as model:
        yield model


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Bind a database that is a file of SQLite."""
    path = tmp_path / "a file%20 with ?.db"
    with _bound(sqlite_database(path)):
        yield path


@pytest.fixture
def always_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read even few rows by ADBC."""
    pytest.importorskip("adbc_driver_sqlite", reason="the extra `fast` isn't installed")
    monkeypatch.setattr(by_adbc, "WORTHWHILE", 0)


def values(parts: list[list[Column]]) -> list[list[object]]:
    """Give the rows of columns, with what differs where values are equal but not the same."""
    columns = zip(*parts, strict=True)
    lists = [[shown(part.value(n)) for part in some for n in range(len(part.null))] for some in columns]
    return [list(each) for each in zip(*lists, strict=True)]


def shown(value: Any) -> object:
    return repr(value.tolist()) if hasattr(value, "tolist") else value.hex() if isinstance(value, float) else value


def ways(selection: Selection) -> Iterator[tuple[str, list[list[Column]]]]:
    yield "one by one", list(reading._typed_rows(selection, 2))
    if is_sqlite():
        yield "packed", list(read_packed(selection, 2))
        yield "packed, but for one", list(read_packed(selection, 2, 1))
        yield "ADBC", list(by_adbc.read_by_adbc(selection, 2))
        return
    assert can_be_copied(selection)
    copied: list[list[Column]] = []
    copy_columns(selection, copied.append, 2)
    yield "copied", copied
    yield "copied in parts", list(copied_in_parts(selection, 2))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(row, max_size=5))
def test_all_ways_give_the_same(always_fast: None, everything: Any, rows: list[dict[str, Any]]) -> None:
    everything.delete().execute()
    for one in rows:
        store(everything, one)
    with snapshot():
        found = {name: values(parts) for name, parts in ways(select_model(everything))}
    expected = found["one by one"]
    assert len(expected) == len(rows)
    for name, given_rows in found.items():
        assert given_rows == (expected[1:] if "but for one" in name else expected), name


def test_rows_are_read_by_adbc(always_fast: None, file: Path, make_spectra: Any, caplog: Any) -> None:
    keys = [one.spectrum_pk for one in make_spectra(500)]
    upsert(Rocket, [{"spectrum_pk": key, "teff": 5000.0 + key, "tag": f"é{key}"} for key in keys])
    caplog.set_level("DEBUG", by_adbc.logger.name)
    assert to_arrow(Rocket)["tag"].to_pylist() == [f"é{key}" for key in keys]
    assert not caplog.records


def test_what_others_write_meanwhile_is_not_seen(always_fast: None, file: Path, make_spectra: Any, caplog: Any) -> None:
    keys = [one.spectrum_pk for one in make_spectra(50)]
    upsert(Rocket, [{"spectrum_pk": key, "teff": 5000.0} for key in keys])
    caplog.set_level("DEBUG", by_adbc.logger.name)
    with snapshot():
        assert Rocket.select().count() == 50
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("UPDATE rocket SET teff = 6000")
        assert set(to_arrow(Rocket, columns=["teff"])["teff"].to_pylist()) == {5000.0}
    assert any("others are writing" in record.getMessage() for record in caplog.records)


def test_a_process_that_is_killed_costs_no_row(always_fast: None, file: Path, make_spectra: Any) -> None:
    keys = [one.spectrum_pk for one in make_spectra(5_000)]
    upsert(Rocket, [{"spectrum_pk": key, "tag": "x" * 100} for key in keys])
    with snapshot():
        parts = by_adbc.read_by_adbc(select_model(Rocket, columns=["spectrum_pk", "tag"]), 50)
        found = next(parts)[0].values.tolist()
        [process] = children()
        os.kill(process, signal.SIGKILL)
        found += [key for some in parts for key in some[0].values.tolist()]
    assert found == keys


def test_no_process_is_left_when_nobody_reads_on(always_fast: None, file: Path, make_spectra: Any) -> None:
    keys = [one.spectrum_pk for one in make_spectra(2_000)]
    upsert(Rocket, [{"spectrum_pk": key, "tag": "x" * 100} for key in keys])
    batches = to_batches(Rocket, rows=10)
    batches.read_next_batch()
    assert children()
    del batches
    assert not children()


def children() -> list[int]:
    """Give the processes that this one has started to read."""
    numbers = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    return [int(n) for n in numbers if by_adbc.PROGRAM.name in Path(f"/proc/{n}/cmdline").read_text()]


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("teff", "'hot'", r"teff: there is 'hot', where a number should be"),
        ("teff", "'nan'", r"teff: there is 'nan', where a number should be"),
        ("e_teff", "x'00ff'", "e_teff: there is b'.*', where a number"),
        ("result_flags", "1.5", r"result_flags: there is 1\.5, where a whole number should be"),
        ("pipeline_run_pk", "'7 or 8'", "pipeline_run_pk: there is '7 or 8', where a whole number"),
        ("tag", "x'ff00'", r"tag: there is b'.*', where text should be"),
        ("created", "'yesterday'", "created: 'yesterday' is not a moment"),
    ],
)
def test_what_its_column_cannot_hold_is_named(
    file: Path, make_spectra: Any, column: str, value: str, said: str, is_fast: bool, request: pytest.FixtureRequest
) -> None:
    if is_fast:
        request.getfixturevalue("always_fast")
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": 5000.0} for one in make_spectra(3)])
    bound_database.execute_sql(f"UPDATE rocket SET {column} = {value} WHERE task_pk = 2")
    with pytest.raises(FieldValueError, match=said):
        to_arrow(Rocket)
    assert to_arrow(Rocket, where="task_pk != 2").num_rows == 2


def test_batches_are_of_one_moment_whatever_is_written_between(database: peewee.Database, make_spectra: Any) -> None:
    keys = [one.spectrum_pk for one in make_spectra(6)]
    upsert(Rocket, [{"spectrum_pk": key, "teff": 5000.0} for key in keys])
    batches = to_batches(Rocket, rows=2, columns=["teff"])
    found = batches.read_next_batch()["teff"].to_pylist()
    in_another_thread(Rocket.update(teff=6000.0).execute)
    found += [value for batch in batches for value in batch["teff"].to_pylist()]
    assert found == [5000.0] * 6
    del batches
    assert to_arrow(Rocket)["teff"].to_pylist() == [6000.0] * 6


def in_another_thread(write: Callable[[], object]) -> None:
    """Write by a connection of its own."""

    def write_and_close() -> None:
        write()
        bound_database.close()

    other = threading.Thread(target=write_and_close)
    other.start()
    other.join()


def test_a_loop_over_batches_may_ask_for_more(database: peewee.Database, make_spectra: Any) -> None:
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk} for one in make_spectra(5)])
    counts = [Rocket.select().count() for _ in to_batches(Rocket, rows=2)]
    assert counts == [5, 5, 5]


def test_computed_columns_have_the_type_of_all_values(database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(4)
    temperatures = [None, None, 5000.0, 5000.5]
    rows = zip(spectra, temperatures, ["", "", "a", "b"], strict=True)
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": teff, "tag": tag} for one, teff, tag in rows])
    text = peewee.Case(None, [(Rocket.tag == "", None)], Rocket.tag.concat("!"))
    query = Rocket.select(
        text.alias("text"),
        (Rocket.teff * 2).alias("double"),
        (Rocket.task_pk + 1).alias("next"),
        peewee.fn.NULLIF(Rocket.tag, Rocket.tag).alias("none"),
    ).order_by(Rocket.task_pk)
    first, *others = list(to_batches(query, rows=2))
    assert first.schema.types[:3] == [pa.string(), pa.float64(), pa.int64()]
    assert first["text"].to_pylist() == first["double"].to_pylist() == [None, None]
    assert [batch["text"].to_pylist() for batch in others] == [["a!", "b!"]]
    assert pa.Table.from_batches([first, *others]).to_pydict() == to_arrow(query).to_pydict()


def test_numbers_are_not_copied(memory_database: peewee.Database, make_spectra: Any) -> None:
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": 5000.0} for one in make_spectra(9)])
    selection = select_model(Rocket, columns=["task_pk", "teff", "created", "e_teff"])
    with snapshot():
        columns = reading.all_columns(selection)
    batch = arrow_batch(arrow_schema(selection.columns, {}), columns)
    for column, array in zip(columns, batch.columns, strict=True):
        assert array.buffers()[1].address == column.values.ctypes.data


def test_exports_are_the_same_bytes_in_each_way(
    always_fast: None, file: Path, make_spectra: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = [one.spectrum_pk for one in make_spectra(300)]
    upsert(Corv, [{"spectrum_pk": key, "teff": 9000.0 + key} for key in keys])
    monkeypatch.setattr(exporting, "provenance", lambda: {"software": "one moment"})
    for suffix in ("fits", "fits.gz", "parquet"):
        fast, plain = tmp_path / f"fast.{suffix}", tmp_path / f"plain.{suffix}"
        with monkeypatch.context() as patch:
            export(Corv, select_model(Corv), fast)
            patch.setattr(by_adbc, "WORTHWHILE", 10**12)
            export(Corv, select_model(Corv), plain)
        assert fast.read_bytes() == plain.read_bytes()


def test_joined_rows_beside_each_other(database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(3)
    upsert(
        Rocket, [{"spectrum_pk": one.spectrum_pk, "source_pk": one.source_pk, "teff": 5000.0} for one in spectra[:2]]
    )
    upsert(Rocket, [{"spectrum_pk": spectra[0].spectrum_pk, "v_astra": 8000, "teff": 4000.0}])
    upsert(Corv, [{"spectrum_pk": spectra[1].spectrum_pk, "teff": 9000.0}])
    table: Any = to_table(Rocket, joins=[Source, Corv], v_astra="0.9", columns=["teff", "sdss_id", "corv_teff"])
    assert table["teff"].tolist() == [5000.0, 5000.0]
    assert table["corv_teff"].tolist() == [None, 9000.0]
    assert None not in table["sdss_id"].tolist()
    assert table["corv_teff"].unit == "K"
    with pytest.raises(SelectionError, match="Source is joined 2 times"):
        to_table(Rocket, joins=[Source, Source])
    with pytest.raises(SelectionError, match="can't be joined with itself"):
        to_table(Rocket, joins=[Rocket])
    with pytest.raises(SelectionError, match="nothing says which rows of Rocket and Lease belong together"):
        to_table(Rocket, joins=[Lease])
    sources = to_arrow(Source, joins=[Rocket], columns=["pk", "v_astra"], where="rocket.teff < 4500")
    assert sources.num_rows == 0  # the older one names no source
    of_spectra = to_arrow(Rocket, joins=[type(spectra[0])], where="boss_visit_spectrum.mjd > 0", limit=2)
    assert of_spectra.num_rows == 2


def test_large_tables_are_read_by_ranges_of_their_key(
    database: peewee.Database, make_spectra: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(key_ranges, "ROWS_IN_RANGE", 10)
    monkeypatch.setattr(by_adbc, "WORTHWHILE", 0)
    caplog.set_level("DEBUG", by_adbc.logger.name)
    keys = [one.spectrum_pk for one in make_spectra(60)]
    upsert(Rocket, [{"spectrum_pk": key, "teff": 5000.0 + key, "tag": f"é{key}"} for key in keys])
    Rocket.delete().where(Rocket.task_pk.between(5, 30)).execute()
    left = [(row.spectrum_pk, row.teff, row.tag) for row in Rocket.select().order_by(Rocket.task_pk)]
    selection = select_model(Rocket)
    with snapshot():
        parts = key_ranges.key_ranges(selection)
        assert len(parts) == min(os.cpu_count() or 1, 3)
        assert sum(part.select(Rocket.task_pk).count() for part in parts) == len(left) == 34
    table = to_arrow(Rocket, columns=["spectrum_pk", "teff", "tag"])
    assert list(zip(*table.to_pydict().values(), strict=True)) == left
    assert to_arrow(Rocket, where="teff < 0").num_rows == 0
    assert to_arrow(Rocket, limit=25)["spectrum_pk"].to_pylist() == [key for key, _, _ in left[:25]]
    assert not caplog.records


def test_ranges_see_one_moment(database: peewee.Database, make_spectra: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ranges, "ROWS_IN_RANGE", 10)
    monkeypatch.setattr(by_adbc, "WORTHWHILE", 0)
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": 5000.0} for one in make_spectra(60)])
    with snapshot():
        assert Rocket.select().count() == 60
        in_another_thread(Rocket.update(teff=6000.0).execute)
        assert set(to_arrow(Rocket)["teff"].to_pylist()) == {5000.0}
    assert set(to_arrow(Rocket)["teff"].to_pylist()) == {6000.0}


def test_a_result_with_several_rows_beside_it_loses_none_between_batches(
    database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(3)
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk} for one in spectra])
    elements = [f"e{n}" for n in range(5)]
    rows = [{"spectrum_pk": one.spectrum_pk, "element": name} for one in spectra for name in elements]
    upsert(FerreChemicalAbundances, rows)
    batches = to_batches(Rocket, rows=4, joins=[FerreChemicalAbundances], columns=["spectrum_pk", "element"])
    found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    assert found == [(one.spectrum_pk, name) for one in spectra for name in elements]


def test_what_this_thread_has_written_and_not_committed_is_seen(
    always_fast: None, file: Path, make_spectra: Any
) -> None:
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": 5000.0} for one in make_spectra(5)])
    batches = to_batches(Rocket, rows=2)
    batches.read_next_batch()
    Rocket.update(teff=6000.0).execute()
    assert set(to_arrow(Rocket)["teff"].to_pylist()) == {6000.0}
    del batches


def test_a_file_that_no_other_connection_can_read_is_read(
    always_fast: None, file: Path, make_spectra: Any, caplog: Any
) -> None:
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": 5000.0} for one in make_spectra(5)])
    bound_database.execute_sql("PRAGMA locking_mode = EXCLUSIVE")
    Rocket.update(teff=6000.0).execute()
    assert set(to_arrow(Rocket)["teff"].to_pylist()) == {6000.0}


@pytest.mark.postgresql_only(reason="SQLite has no limit of connections")
def test_who_may_have_one_connection_reads_large_tables_by_it(
    database: peewee.Database, make_spectra: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(key_ranges, "ROWS_IN_RANGE", 10)
    caplog.set_level("DEBUG", copied.logger.name)
    keys = [one.spectrum_pk for one in make_spectra(60)]
    upsert(Rocket, [{"spectrum_pk": key} for key in keys])
    schema = bound_schema() or "public"
    database.execute_sql("CREATE ROLE only_one LOGIN CONNECTION LIMIT 1")
    database.execute_sql(f'GRANT USAGE ON SCHEMA "{schema}" TO only_one')
    database.execute_sql(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO only_one')
    try:
        there = database.connection().get_dsn_parameters()
        place = {name: there[name] for name in ("host", "port", "dbname")}
        with _bound(postgresql_database(**place, user="only_one"), schema, create=False):
            assert to_arrow(Rocket)["spectrum_pk"].to_pylist() == keys
        assert any("read by one connection" in record.getMessage() for record in caplog.records)
    finally:
        database.execute_sql("DROP OWNED BY only_one")
        database.execute_sql("DROP ROLE only_one")
