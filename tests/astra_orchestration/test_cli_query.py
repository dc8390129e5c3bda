"""``astra query`` and ``astra rows``: what they print, and that nothing can be changed by them."""

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import peewee
import pytest
from typer.testing import CliRunner, Result

from astra_models.base import bound_schema
from astra_models.base import database as bound
from astra_models.bossnet import BossNet
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.errors import SelectionError
from astra_models.products.asking import asked, require_one_question
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.cli.main import app

pytestmark = pytest.mark.long_on_each

TABLE = "boss_net"


@pytest.fixture
def rows(database: peewee.Database) -> None:
    source = Source.create(sdss_id=7)
    for number in range(60):
        spectrum = Spectrum.create(spectrum_flags=0)
        teff = None if number == 1 else 4000.5 + number
        BossNet.create(
            spectrum_pk=spectrum.pk, source_pk=source.pk, teff=teff, tag='it\'s, "so"' if number == 2 else ""
        )


def run(*arguments: str, code: int = 0, **options: Any) -> Result:
    done = CliRunner().invoke(app, list(arguments), **options)
    assert done.exit_code == code, done.output
    return done


# ---- rows


def test_rows_are_printed_as_csv_and_json_with_missing_values(rows: None) -> None:
    wanted = ("rows", TABLE, "--columns", "teff,tag", "--limit", "3")
    given = list(csv.reader(io.StringIO(run(*wanted, "--csv").stdout)))
    assert given == [["teff", "tag"], ["4000.5", ""], ["", ""], ["4002.5", 'it\'s, "so"']]
    assert json.loads(run(*wanted, "--json").stdout) == [
        {"teff": 4000.5, "tag": ""},
        {"teff": None, "tag": ""},
        {"teff": 4002.5, "tag": 'it\'s, "so"'},
    ]


def test_a_table_on_the_terminal_has_fifty_rows_and_says_so(rows: None) -> None:
    shown = run("rows", TABLE, "--columns", "teff")
    assert "4050.5" not in shown.stdout and "4049.5" in shown.stdout
    assert "only the first 50 rows are shown" in shown.stderr
    assert "4059.5" in run("rows", TABLE, "--columns", "teff", "--limit", "100").stdout
    assert len(json.loads(run("rows", TABLE, "--json").stdout)) == 60


def test_a_table_has_the_columns_that_there_is_room_for(rows: None) -> None:
    shown = run("rows", TABLE, "--limit", "2")
    header = shown.stdout.splitlines()[1]
    assert "teff" in header and "spectrum_pk" in header and "result_flags" in header
    assert "4000.5" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 120
    assert f"of {len(BossNet._meta.fields)} columns" in shown.stderr
    names = [f"{'x' * 50}{n}" for n in range(3)]
    asked_for = run("query", f"select {', '.join(f'{n} as {name}' for n, name in enumerate(names))}")
    assert names[0] in asked_for.stdout and names[2] not in asked_for.stdout
    assert "of 3 columns" in asked_for.stderr


def test_a_condition_chooses_rows(rows: None) -> None:
    found = json.loads(run("rows", "BossNet", "--where", "teff > 4057 or teff is null", "--json").stdout)
    assert [row["teff"] for row in found] == [None, 4057.5, 4058.5, 4059.5]
    assert set(found[0]) == set(BossNet._meta.fields)
    assert json.loads(run("rows", TABLE, "--where", "teff > 1e9", "--json").stdout) == []
    assert len(json.loads(run("rows", TABLE, "--sdss-id", "7", "--latest", "--v-astra", "0.9", "--json").stdout)) == 60


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--columns", "tef"], "BossNet has no column 'tef'; did you mean teff"),
        (["--where", "tef > 1"], "did you mean teff"),
        (["--where", "1; drop table boss_net"], "can't be read"),
        (["--json", "--csv"], "give one of --csv, --json and --table"),
    ],
)
def test_what_is_asked_wrongly_is_said(rows: None, arguments: list[str], why: str) -> None:
    assert why in run("rows", TABLE, *arguments, code=2).stderr.replace("\n│ ", " ")


def test_rows_go_into_a_file_that_is_not_there(rows: None, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    run("rows", TABLE, "--columns", "teff", "--limit", "1", "--csv", "-o", str(path))
    assert path.read_text() == "teff\n4000.5\n"
    assert "is there already" in run("rows", TABLE, "--csv", "-o", str(path), code=1).stderr
    assert path.read_text() == "teff\n4000.5\n"


def test_an_export_takes_columns_and_conditions_and_standard_output(rows: None, tmp_path: Path) -> None:
    wanted = ("export", TABLE, "--where", "teff < 4003", "--columns", "spectrum_pk,teff")
    printed = run(*wanted, "--output", "-").stdout
    run(*wanted, "--output", str(tmp_path / "some.csv"))
    assert printed == (tmp_path / "some.csv").read_text()
    assert [row.split(",")[1] for row in printed.split()] == ["teff", "4000.5", "4002.5"]


# ---- questions in SQL


def test_a_question_is_answered(rows: None) -> None:
    sql = f"select spectrum_pk as key, teff, teff from {TABLE} where teff > 1 order by teff limit 1;"
    [row] = json.loads(run("query", sql, "--json").stdout)
    assert row == {"key": 1, "teff": 4000.5, "teff_2": 4000.5}
    assert "4000.5" in run("query", "-", input=sql).stdout
    assert run("query", "values (1), (2)", "--csv", "--limit", "1").stdout.splitlines()[1:] == ["1"]
    with_semicolons = "select ';' || '--' as \"a;b\" -- ; not here\n /* ; nor here */"
    assert json.loads(run("query", with_semicolons, "--json").stdout) == [{"a;b": ";--"}]


WRITING = [
    "delete from boss_net",
    "update boss_net set teff = 1",
    "drop table boss_net",
    "insert into boss_net (teff) values (1)",
    "select 1; delete from boss_net",
    "select 1; commit; set default_transaction_read_only = off; delete from boss_net",
    "with gone as (delete from boss_net returning 1) select * from gone",
    "with some as (select 1) delete from boss_net",
    "select E'a\\''; delete from boss_net; --'",
    "select $$a$$; delete from boss_net; --$$",
    "select 1 as a$b$; commit; set default_transaction_read_only = off; delete from boss_net; select 1 as c$b$",
    "select 1 as a$e'\\'; commit; set default_transaction_read_only = off; delete from boss_net; --'",
    "select 1 /* /* */ ; delete from boss_net; -- */ */",
    "create table other (a integer)",
    "attach database 'other.db' as other",
    "pragma query_only = 0",
    "pragma writable_schema = 1",
    "vacuum into 'other.db'",
    "begin",
    "set transaction read write",
    "select load_extension('x')",
    "explain analyze delete from boss_net",
    "copy boss_net to '/tmp/stolen'",
    "reindex",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("sql", WRITING)
def test_nothing_can_be_changed(rows: None, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(BossNet.select().order_by(BossNet.task_pk).dicts())
    tables = set(bound.get_tables(schema=bound_schema()))
    run("query", sql, code=2)
    assert list(BossNet.select().order_by(BossNet.task_pk).dicts()) == before
    assert set(bound.get_tables(schema=bound_schema())) == tables
    assert not list(tmp_path.glob("other.db"))


def test_a_question_that_takes_too_long_is_stopped(rows: None) -> None:
    endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n"
    assert "took longer than 0.3 s" in run("query", endless, "--seconds", "0.3", code=2).stderr


@contextmanager
def locked() -> Iterator[None]:
    """Keep everybody from reading the table."""
    if is_postgresql(bound):
        with bound.atomic():
            bound.execute_sql(f"LOCK TABLE {quoted_table(BossNet)} IN ACCESS EXCLUSIVE MODE")
            yield
        return
    bound.close()
    with closing(sqlite3.connect(bound.obj.database, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        yield
    bound.connect()


def test_a_locked_database_is_waited_for_no_longer_than_the_question_may_take(rows: None) -> None:
    with locked():
        before = time.monotonic()
        done = run("query", f"select count(*) from {TABLE}", "--seconds", "0.5", code=2)
        assert time.monotonic() - before < 5
    assert "took longer than 0.5 s" in done.stderr


@pytest.mark.parametrize("seconds", ["inf", "1e300", "3000000"])
def test_a_question_may_take_forever(rows: None, seconds: str) -> None:
    assert run("query", "select 1 as one", "--seconds", seconds, "--csv").stdout == "one\n1\n"


@pytest.mark.parametrize("form", ["--csv", "--json", "--table"])
def test_what_can_not_be_asked_or_read_is_refused(rows: None, form: str) -> None:
    assert "of the value 0" in run("query", "-", form, input="select 'a\0'", code=2).stderr
    run("query", "select", form, code=2)
    if is_postgresql(bound):
        for value in ("date '0044-03-15 BC'", "timestamp '294276-01-01'"):
            assert "cast it to text" in run("query", f"select {value} as then", form, code=2).stderr
        assert "0044-03-15 BC" in run("query", "select (date '0044-03-15 BC')::text as then", form).stdout


@pytest.mark.postgresql_only(reason="SQLite has no type of JSON")
def test_values_of_json_are_json(rows: None) -> None:
    question = """select '{"a": [1, null]}'::jsonb as found"""
    [_, [cell]] = csv.reader(io.StringIO(run("query", question, "--csv").stdout))
    assert json.loads(cell) == {"a": [1, None]}
    assert json.loads(run("query", question, "--json").stdout) == [{"found": {"a": [1, None]}}]


def test_a_refusal_is_one_line(rows: None) -> None:
    done = run("query", "select 1 from nowhere", code=2)
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.output


def test_a_database_that_is_not_there_is_no_wrong_query(tmp_path: Path) -> None:
    environment = os.environ | {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "astra_orchestration.cli", "query", "select 1"]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True)
    assert done.returncode == 1
    assert "can't be used" in done.stderr and "refuses the query" not in done.stderr
    assert not (tmp_path / "astra.db").exists()


def test_a_file_is_whole_or_not_there(rows: None, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select i from n"
    run("query", endless, "--seconds", "0.5", "--csv", "-o", str(path), code=2)
    assert list(tmp_path.iterdir()) == []


def test_many_rows_are_read_some_at_a_time(rows: None) -> None:
    many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000) select i from n"
    with asked(many, 60) as answer:
        batches = [len(batch) for batch in answer.batches]
    assert sum(batches) == 5000 and max(batches) <= 1000


@pytest.mark.parametrize("sql", ["select 1;;", "  (select 1)", "WITH a AS (SELECT 1) SELECT * FROM a", "select ';'"])
def test_one_question_is_one(sql: str) -> None:
    require_one_question(sql)


@pytest.mark.parametrize("sql", ["select 1; select 2", "select '\\'; select 2 --'", "do $$ begin end $$"])
def test_two_are_two(sql: str) -> None:
    with pytest.raises(SelectionError):
        require_one_question(sql)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    environment = os.environ | {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "astra_orchestration.cli"]
    subprocess.run([*command, "init"], env=environment, check=True, timeout=60, capture_output=True)
    many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 500000) select i from n"
    done = subprocess.run(
        f"{sys.executable} -m astra_orchestration.cli query '{many}' --csv | head -2",
        shell=True, env=environment, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "i\n1\n"
    assert done.stderr == ""
