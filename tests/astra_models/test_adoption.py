"""A production schema is adopted: its differences are said, and its rows copied into a schema of ours."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from astra_models import base
from astra_models.adoption import adopt, survey_schema, try_in_place, verify_adopted
from astra_models.adoption.in_place import bound_to
from astra_models.analysis.due import select_due
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.corv import Corv
from astra_models.database.config import get_database_and_schema, postgresql_database
from astra_models.errors import AdoptionError, SchemaPermissionError
from astra_models.mwm import BossCombinedSpectrum
from astra_models.outputs import packages
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.schema.migration import init
from astra_models.slam import Slam
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from tests.production import NAMES, Production, insert, production_schemas, quoted

Make = Callable[..., Production]


@pytest.fixture
def make_production(postgresql: dict[str, str]) -> Iterator[Make]:
    """Give a function that makes a production schema with two spectra; models are bound to the database."""
    with production_schemas(postgresql) as make:
        yield make


@pytest.fixture
def production(make_production: Make) -> Production:
    """Give a production schema with two spectra."""
    return make_production()


# ---- copying


@pytest.mark.parametrize("release", ["v080", "v081"])
def test_rows_keep_keys_times_and_versions(make_production: Make, release: str) -> None:
    production = make_production(release)
    report = adopt(production.schema, production.target, "America/Denver")
    assert report.is_good
    assert {name: copied.rows for name, copied in report.tables.items() if copied.rows} == {
        "source": 2,
        "spectrum": 2,
        "boss_visit_spectrum": 2,
        "corv": 1,
        "boss_net": 2,
    }
    with bound_to(production.target):
        [result] = Corv.select()
        assert (result.task_pk, result.spectrum_pk, result.source_pk, result.v_astra) == (26_210, 1, 1, 8000)
        assert (result.teff, result.logg, result.tag, result.v_astra_major_minor) == (12_000, None, "é'%s", 8)
        assert result.modified == datetime(2024, 7, 1, 19, tzinfo=UTC)
        assert result.created == datetime(2024, 1, 1, 8, tzinfo=UTC)
        assert [row.teff for row in BossNet.select().order_by(BossNet.task_pk)] == [5777.25, math.inf]
        assert [row.n_neighborhood for row in Source.select().order_by(Source.pk)] == [None, 2]
        assert Spectrum.get_by_id(2).resolve().catalogid == 2
        assert Corv.create(spectrum_pk=2, v_astra=9000).task_pk == 26_211
        assert Source.create(sdss_id=1).pk == 8


def test_the_production_schema_is_only_read(production: Production, postgresql: dict[str, str]) -> None:
    """A role that may not write there can adopt it."""
    schema, role = quoted(production.schema), f"reader_{next(NAMES)}"
    production.query(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema.replace('%', '%%')} TO {role}"
    )
    production.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema.replace('%', '%%')} TO {role}")
    production.query(f'GRANT CREATE ON DATABASE "{postgresql["dbname"]}" TO {role}')
    before = base.database.obj, bound_schema()
    database = postgresql_database(**{**postgresql, "user": role, "password": "x"})
    bind(database)
    try:
        assert adopt(production.schema, production.target).is_good
    finally:
        database.close()
        bind(*before)
        production.query(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_a_role_that_may_not_read_is_told_what_it_needs(production: Production, postgresql: dict[str, str]) -> None:
    role = f"stranger_{next(NAMES)}"
    production.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    before = base.database.obj, bound_schema()
    database = postgresql_database(**{**postgresql, "user": role, "password": "x"})
    bind(database)
    try:
        with pytest.raises(SchemaPermissionError, match=r"permission denied .*USAGE and SELECT"):
            survey_schema(production.schema)
    finally:
        database.close()
        bind(*before)
        production.query(f"DROP ROLE {role}")


def test_the_adopted_schema_is_one_of_ours(production: Production) -> None:
    adopt(production.schema, production.target)
    with bound_to(production.target):
        upsert(Corv, [{"spectrum_pk": 1, "v_astra": 8001, "teff": 13_000.0}])
        [row] = Corv.select()
        assert (row.task_pk, row.teff, row.spectrum_revision) == (26_210, 13_000, None)
        large = 2**40
        Spectrum.insert(pk=large).execute()
        assert Corv.create(spectrum_pk=large, task_pk=large).task_pk == large


def test_times_are_those_that_are_read_in_place(make_production: Make) -> None:
    """In the repeated hour of autumn, in the hour left out in spring, in years before time zones, and with no time."""
    there = make_production(name='Astra "080"', filled=False)
    times = [
        "2023-11-05 01:30:00",
        "2024-03-10 02:30:00",
        "1850-06-01 12:00:00.123456",
        "9000-01-01",
        "1999-12-31 23:59:60",
    ]
    for pk, moment in enumerate(times, 1):
        query = there.query
        query("INSERT INTO spectrum (pk, spectrum_flags) VALUES (%s, 0)", pk)
        insert(query, "corv", task_pk=pk, spectrum_pk=pk, v_astra=8000, modified=moment, created=moment)
    with bound_to(there.schema, "America/Denver"):
        expected = [row.modified for row in Corv.select().order_by(Corv.task_pk)]
    assert adopt(there.schema, there.target, "America/Denver").is_good
    with bound_to(there.target):
        assert [row.modified for row in Corv.select().order_by(Corv.task_pk)] == expected


def test_a_time_that_is_missing_is_the_other_one(production: Production) -> None:
    """slam of 0.8 keeps no time of its last change, and has its version as text."""
    values = {"spectrum_pk": 1, "source_pk": 1, "v_astra": "0.8.1", "fe_h_niu": 0.1, "alpha_fe": 1e-60}
    insert(production.query, "slam", task_pk=3, created="2024-01-01 00:00:00", **values)
    adopt(production.schema, production.target)
    with bound_to(production.target):
        [row] = Slam.select()
        assert row.created == row.modified == datetime(2024, 1, 1, tzinfo=UTC)
        assert (row.v_astra, row.v_astra_major_minor, row.alpha_fe) == (8001, 8, 0)
        assert row.fe_h_niu == pytest.approx(0.1, rel=1e-6)


def test_columns_of_another_name_and_versions_as_text(production: Production) -> None:
    insert(production.query, "boss_combined_spectrum", pk=9, spectrum_pk_id=1, source_pk=1, v_astra="0.8.0rc1")
    adopt(production.schema, production.target)
    with bound_to(production.target):
        [row] = BossCombinedSpectrum.select()
        assert (row.pk, row.spectrum_pk, row.v_astra) == (9, 1, 8000)


# ---- what is due


def test_a_current_result_is_not_due(production: Production, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.8.0")
    adopt(production.schema, production.target, "America/Denver")
    with bound_to(production.target):
        assert list(select_due(Corv, BossVisitSpectrum)) == [2]
        assert not list(select_due(BossNet, BossVisitSpectrum))
        BossVisitSpectrum.update(snr=5.0).where(BossVisitSpectrum.pk == 1).execute()
        assert list(select_due(BossNet, BossVisitSpectrum)) == [1]


def test_a_spectrum_that_changed_after_its_result_is_due(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.8.0")
    production.query("UPDATE boss_visit_spectrum SET modified = '2024-07-01 14:00' WHERE pk = 2")
    adopt(production.schema, production.target)
    with bound_to(production.target):
        assert list(select_due(BossNet, BossVisitSpectrum)) == [2]


def test_results_say_that_they_were_adopted(production: Production) -> None:
    from astra_models.status.explain import explain_star, find_star

    adopt(production.schema, production.target)
    with bound_to(production.target):
        [run] = PipelineRun.select()
        assert (run.pipeline, run.inserted, run.rejected) == ("astra adopt", 9, 0)
        assert {row.pipeline_run_pk for row in BossNet.select()} == {run.pk}
        star = explain_star(find_star(54_392_544))
        assert len(star.results) == 3
        for result in star.results:
            assert result.adopted is not None
            assert result.adopted.startswith(f"{production.schema} by astra ")


# ---- what can't be stored


def test_rows_that_cannot_be_stored_are_listed_with_the_reason(make_production: Make) -> None:
    there = make_production()
    query = there.query
    query("ALTER TABLE corv DROP CONSTRAINT corv_spectrum_pk_v_astra_major_minor_key")
    query("ALTER TABLE corv DROP CONSTRAINT corv_spectrum_pk_fkey")
    query("ALTER TABLE source DROP CONSTRAINT source_sdss_id_key")
    insert(query, "source", pk=8, sdss_id=54_392_545)
    insert(query, "corv", task_pk=1, spectrum_pk=1, v_astra=8001, modified="2020-01-01", teff="NaN")
    insert(query, "corv", task_pk=2, spectrum_pk=99, v_astra=8000)
    insert(query, "corv", task_pk=3, spectrum_pk=None, v_astra=8000)
    insert(query, "boss_combined_spectrum", pk=4, spectrum_pk_id=2, v_astra="latest", release="x")
    counted = {(found.table, found.what): found.rows for found in survey_schema(there.schema).findings if found.rejects}
    report = adopt(there.schema, there.target)
    assert report.is_good
    assert report.tables["corv"].rows == 1
    with bound_to(there.target):
        listed = {(row.model, row.message.partition(": ")[2]): row for row in RejectedResult.select()}
        assert set(listed) == {
            ("Corv", "task_pk 26210 has the same spectrum_pk, v_astra_major_minor, and is kept: it was modified last"),
            ("Corv", "spectrum_pk 99 is not in " + f'{quoted(there.target)}."spectrum"'),
            ("Corv", "spectrum_pk is NULL"),
            ("BossCombinedSpectrum", "v_astra 'latest' is no version, such as 0.8.0"),
            ("Source", "pk 8 has the same sdss_id, and is kept: it was modified last"),
        }
        assert {row.reason for row in listed.values()} == {"not_ingested"}
        [orphan] = [row for row in listed.values() if row.spectrum_pk == 99]
        assert (orphan.v_astra, '"task_pk": 2' in orphan.payload) == (8000, True)
        assert PipelineRun.get().rejected == 5
    assert counted == {
        ("corv", "key"): 1,
        ("corv", "orphan"): 1,
        ("corv", "rejected"): 1,
        ("source", "key"): 1,
        ("boss_combined_spectrum", "rejected"): 1,
    }


def test_a_rejected_row_is_taken_once_its_cause_is_mended(make_production: Make) -> None:
    there = make_production()
    there.query("ALTER TABLE corv DROP CONSTRAINT corv_spectrum_pk_fkey")
    insert(there.query, "corv", task_pk=2, spectrum_pk=99, v_astra=8000)
    for _ in range(2):  # listed again, and not twice
        assert adopt(there.schema, there.target).tables["corv"].rejected == 1
        with bound_to(there.target):
            assert RejectedResult.select().count() == 1
    there.query("INSERT INTO spectrum (pk, spectrum_flags) VALUES (99, 0)")
    report = adopt(there.schema, there.target)
    assert (report.tables["corv"].new, report.tables["corv"].rejected, report.tables["spectrum"].rows) == (1, 0, 1)
    with bound_to(there.target):
        assert RejectedResult.select().count() == 0
        assert Corv.select().count() == 2


# ---- again


def test_a_second_run_copies_nothing_twice(production: Production) -> None:
    adopt(production.schema, production.target)
    report = adopt(production.schema, production.target)
    assert all((copied.rows, copied.new, copied.changed) == (0, 0, 0) for copied in report.tables.values())
    assert report.tables["boss_net"].before == 2
    with bound_to(production.target):
        assert PipelineRun.select().count() == 1


def test_what_is_new_or_changed_there_is_taken_by_its_values(production: Production) -> None:
    adopt(production.schema, production.target)
    insert(production.query, "corv", task_pk=1, spectrum_pk=2, v_astra=8000, teff=9_000)  # below the highest key
    insert(production.query, "boss_net", task_pk=70, spectrum_pk=2, v_astra=9000)
    production.query("UPDATE boss_net SET teff = 5778 WHERE task_pk = 5")  # its time says nothing
    production.query("DELETE FROM boss_net WHERE task_pk = 6")
    report = adopt(production.schema, production.target)
    assert report.is_good
    assert (report.tables["corv"].new, report.tables["boss_net"].rows) == (1, 1)
    assert (report.tables["boss_net"].changed, report.tables["boss_net"].deleted) == (1, 1)
    with bound_to(production.target):
        rows = {row.task_pk: row.teff for row in BossNet.select()}
        assert rows == {5: 5778.0, 6: math.inf, 70: None}
        assert {row.task_pk: row.teff for row in Corv.select()} == {1: 9_000, 26_210: 12_000}
    quiet = adopt(production.schema, production.target).tables["boss_net"]
    assert (quiet.new, quiet.changed, quiet.deleted) == (0, 0, 0)


def test_what_changed_here_too_is_kept(production: Production) -> None:
    adopt(production.schema, production.target)
    with bound_to(production.target):
        upsert(BossNet, [{"spectrum_pk": 1, "v_astra": 8001, "teff": 1.0}])
    production.query("UPDATE boss_net SET teff = 5778 WHERE task_pk = 5")
    report = adopt(production.schema, production.target)
    assert report.tables["boss_net"].changed_in_both == [5]
    assert report.verified["boss_net"].renewed == 1
    with bound_to(production.target):
        assert BossNet.get_by_id(5).teff == 1.0


def test_a_row_that_changed_into_one_that_cannot_be_stored_is_listed_once(production: Production) -> None:
    adopt(production.schema, production.target)
    production.query("ALTER TABLE boss_net DROP CONSTRAINT boss_net_spectrum_pk_fkey")
    production.query("UPDATE boss_net SET spectrum_pk = 99 WHERE task_pk = 5")
    for _ in range(2):
        report = adopt(production.schema, production.target)
        assert (report.tables["boss_net"].rejected, report.tables["boss_net"].changed) == (1, 0)
        with bound_to(production.target):
            assert [row.spectrum_pk for row in RejectedResult.select()] == [99]
            assert BossNet.get_by_id(5).spectrum_pk == 1
    production.query("DELETE FROM boss_net WHERE task_pk = 5")
    assert adopt(production.schema, production.target).tables["boss_net"].rejected == 0
    with bound_to(production.target):
        assert not RejectedResult.select().exists()


def test_a_rejected_row_that_is_gone_there_is_listed_no_more(production: Production) -> None:
    production.query("ALTER TABLE boss_net DROP CONSTRAINT boss_net_spectrum_pk_fkey")
    production.query("UPDATE boss_net SET spectrum_pk = 99 WHERE task_pk = 5")
    assert adopt(production.schema, production.target).tables["boss_net"].rejected == 1
    production.query("DELETE FROM boss_net WHERE task_pk = 5")
    assert adopt(production.schema, production.target).tables["boss_net"].rejected == 0
    with bound_to(production.target):
        assert not RejectedResult.select().exists()


def test_a_spectrum_that_changed_there_makes_its_results_due(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.8.0")
    adopt(production.schema, production.target)
    production.query("UPDATE boss_visit_spectrum SET snr = 9, modified = '2024-08-01' WHERE pk = 2")
    report = adopt(production.schema, production.target)
    assert (report.tables["boss_visit_spectrum"].changed, report.is_good) == (1, True)
    with bound_to(production.target):
        assert list(select_due(BossNet, BossVisitSpectrum)) == [2]


# ---- verifying


@pytest.mark.parametrize(
    ("table", "change", "key"),
    [
        ("boss_net", "teff = teff + 0.001", 5),
        ("boss_net", "tag = ''' '''", 5),
        ("boss_net", "teff = NULL", 5),
        ("source", "ra = -ra", 1),
        ("corv", "modified = modified + interval '1 microsecond'", 26_210),
    ],
)
def test_a_corrupted_value_is_found(production: Production, table: str, change: str, key: int) -> None:
    adopt(production.schema, production.target)
    assert all(found.is_good for found in verify_adopted(production.target).values())
    name = "pk" if table == "source" else "task_pk"
    production.query(f"UPDATE {quoted(production.target)}.{table} SET {change.replace('%', '%%')} WHERE {name} = {key}")
    found = verify_adopted(production.target)
    assert {name: one.different for name, one in found.items() if not one.is_good} == {table: [key]}


def test_a_spectrum_that_was_changed_here_is_told_apart(production: Production) -> None:
    adopt(production.schema, production.target)
    with bound_to(production.target):
        BossVisitSpectrum.update(snr=5.0).where(BossVisitSpectrum.pk == 1).execute()
    found = verify_adopted(production.target)["boss_visit_spectrum"]
    assert (found.is_good, found.changed_here, found.rows) == (True, [1], 1)


def test_a_lost_row_is_found(production: Production) -> None:
    adopt(production.schema, production.target)
    production.query(f"DELETE FROM {quoted(production.target)}.boss_net WHERE task_pk = 6")
    assert verify_adopted(production.target)["boss_net"].missing == [6]


# ---- odd values

FLOATS = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 2.0**-149, -999.0]),
    st.floats(width=32, allow_nan=False),
)
DOUBLES = st.one_of(FLOATS, st.floats(-3e38, 3e38), st.sampled_from([5e-324, -1e-300, 1e-45, 2.0**-150]))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KEYS = st.integers(-(2**31), 2**31 - 1)
TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))
ZONES = st.sampled_from(["UTC", "America/Denver", "Australia/Lord_Howe", "Europe/Dublin", "Asia/Kolkata"])


@st.composite
def results(draw: st.DrawFn) -> dict[int, tuple[Any, ...]]:
    """Draw results of Slam, by their key, which has 32 bits there."""
    rows = st.tuples(FLOATS, DOUBLES, TEXTS, TIMES, st.integers(-(2**31), 2**31 - 1))
    return draw(st.dictionaries(KEYS, rows, max_size=6))


@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example makes two schemas: shrinking would take long
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=results(), zone=ZONES, bits=st.integers(-(2**63), 2**63 - 1))
def test_whatever_a_row_holds_is_kept(
    make_production: Make, rows: dict[int, tuple[Any, ...]], zone: str, bits: int
) -> None:
    there = make_production(name="Ästra \\ 'x' %(a)s", filled=False)
    for number, (key, (teff, alpha, text, moment, chi2)) in enumerate(rows.items(), 1):
        there.query("INSERT INTO spectrum (pk, spectrum_flags) VALUES (%s, %s)", number, bits)
        values = {"teff": teff, "alpha_fe": alpha, "tag": text, "created": moment, "result_flags": chi2}
        insert(there.query, "slam", task_pk=key, spectrum_pk=number, v_astra="0.8.0", **values)
    report = adopt(there.schema, there.target, zone, chunk=2)
    assert report.is_good
    assert report.tables["slam"].rows == len(rows)
    with bound_to(there.target):
        assert all(row.spectrum_flags == bits for row in Spectrum.select())
        found = {row.task_pk: row for row in Slam.select()}
        assert found.keys() == rows.keys()
        for key, (teff, alpha, text, moment, chi2) in rows.items():
            row = found[key]
            assert (row.tag, row.result_flags) == (text, chi2)
            assert row.created == moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            for value, expected in ((row.teff, teff), (row.alpha_fe, alpha)):
                if expected is None or math.isnan(expected):
                    assert value is None
                else:
                    assert value == np.float32(expected)


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_a_number_beyond_single_precision_is_listed(production: Production, value: float) -> None:
    insert(production.query, "slam", task_pk=1, spectrum_pk=1, v_astra="0.8.0", alpha_fe=value)
    insert(production.query, "slam", task_pk=2, spectrum_pk=2, v_astra="0.8.0", alpha_fe=0.5)
    adopt(production.schema, production.target)
    with bound_to(production.target):
        assert [row.task_pk for row in Slam.select()] == [2]
        assert "is beyond single precision" in RejectedResult.get().message


# ---- what will differ


def test_what_will_differ_is_said_and_counted(production: Production) -> None:
    production.query("CREATE TABLE hot_payne (a int); INSERT INTO hot_payne VALUES (1), (2)")
    insert(production.query, "aspcap", task_pk=1, spectrum_pk=1, v_astra=8000, initial_flags=2)
    found = survey_schema(production.schema, "America/Denver")
    assert found.left_behind == {"hot_payne": 2}
    assert found.plan.left_behind["hot_payne"] == "there is no such table here"
    assert "the_payne" in found.plan.new
    assert found.rows["boss_net"] == 2
    told = {(one.table, one.column, one.what): (one.there, one.here, one.rows) for one in found.findings}
    assert told["source", "crossmatch_flags", "left behind"][2] == 2
    assert told["source", "n_neighborhood", "missing"] == ("-1", "NULL", 1)
    assert told["source", "pk", "type"][:2] == ("integer", "bigint")
    assert told["source", "ra", "type"][:2] == ("real", "double precision")
    assert told["corv", "logg", "missing"] == ("NaN", "NULL", 1)
    assert told["boss_combined_spectrum", "v_astra", "version"][:2] == ("text", "a number")
    assert told["boss_combined_spectrum", "spectrum_pk_id", "name"][:2] == ("spectrum_pk_id", "spectrum_pk")
    assert told["slam", "fe_h_niu", "digits"][:2] == ("double precision", "real")
    assert told["aspcap", "initial_flags", "flag"][2] == 1
    assert not any(one.rejects for one in found.findings)


def test_it_is_said_where_the_production_schema_is_the_configured_one(make_production: Make) -> None:
    there = make_production(name="Configured")
    found = survey_schema(there.schema).findings
    with bound_to(there.schema):  # whose times have no zone
        assert survey_schema(there.schema).findings == found
        assert adopt(there.schema, there.target).is_good
    with bound_to(there.schema, "America/Denver"):
        assert Corv.get().task_pk == 26_210
        assert survey_schema(there.schema).findings == found
        assert adopt(there.schema, there.target).is_good


def test_saying_it_writes_nothing(production: Production) -> None:
    statement = "SELECT count(*) FROM pg_class"
    before = production.query(statement)
    survey_schema(production.schema)
    assert production.query(statement) == before


# ---- what can't be adopted


def test_schemas_that_cannot_be_adopted(production: Production, make_production: Make) -> None:
    with pytest.raises(AdoptionError, match=r"has no schema 'astro'; .*"):
        adopt("astro", production.target)
    with pytest.raises(AdoptionError, match="into itself"):
        adopt(production.schema, production.schema)
    with pytest.raises(AdoptionError, match="percent sign"):
        adopt(production.schema, "100%")
    adopt(production.schema, production.target, "UTC")
    with pytest.raises(AdoptionError, match="is one of ours already"):
        adopt(production.target, "another")
    with pytest.raises(AdoptionError, match="with times of UTC, and not from"):
        adopt(production.schema, production.target, "America/Denver")
    with pytest.raises(AdoptionError, match=r"was adopted from .*, and not from 'astra_079'"):
        verify_adopted(production.target, schema="astra_079")
    other = make_production()
    with pytest.raises(AdoptionError, match="isn't one of ours"):
        adopt(production.schema, make_production(name="Other").schema)
    with pytest.raises(AdoptionError, match="was adopted from"):
        adopt(other.schema, production.target, "UTC")
    with bound_to(other.target):
        init(packages())
        Source.create(sdss_id=1)
    with pytest.raises(AdoptionError, match="has rows already"):
        adopt(other.schema, other.target)


def test_a_schema_that_was_not_adopted_cannot_be_verified(production: Production) -> None:
    with pytest.raises(AdoptionError, match="wasn't adopted"):
        verify_adopted(production.schema)


def test_a_sqlite_file_is_refused(memory_database: object) -> None:
    with pytest.raises(AdoptionError, match="works on PostgreSQL"):
        survey_schema("astra_080")


# ---- in place


@pytest.mark.parametrize("release", ["v080", "v081"])
def test_a_schema_is_tried_in_place(make_production: Make, release: str) -> None:
    there = make_production(release, name="Astra'080")
    found = try_in_place(there.schema, "America/Denver")
    assert {"source", "corv", "boss_net", "slam"} <= set(found.readable)
    assert "slam" in found.read_only
    assert "corv" not in found.read_only
    assert "the_payne" in found.missing
    section = yaml.safe_load(found.configuration)["database"]
    assert (section["schema"], section["timezone"]) == (there.schema, "America/Denver")
    database, schema = get_database_and_schema({"database": section})
    before = base.database.obj, bound_schema()
    bind(database, schema)
    try:
        assert BossNet.get_by_id(5).teff == 5777.25
    finally:
        database.close()
        bind(*before)
