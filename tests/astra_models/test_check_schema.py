"""Tables as the database has them, against the models; and what differs."""

from typing import Any

import peewee
import pytest

from astra_models import base
from astra_models.analysis.due import stored_versions
from astra_models.base import BaseModel, bind, bound_schema
from astra_models.database.catalog import StoredColumn, StoredIndex, StoredTable, declared_type, read_tables
from astra_models.database.config import postgresql_database
from astra_models.database.peewee_internals import declared_fields
from astra_models.fields import BitField, IntegerField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rocket import Rocket
from astra_models.schema.check import Difference, check_schema, differences
from tests.production import statements


def own_models() -> list[Any]:
    return [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]


@pytest.fixture
def stored(database: peewee.Database) -> dict[str, StoredTable]:
    """Give the tables of all models, as the database has them."""
    return read_tables(database, bound_schema())


# ---- all tables


@pytest.mark.lesson(16)
@pytest.mark.lesson(26)
def test_every_table_has_the_columns_of_its_model_on_either_database(stored: dict[str, StoredTable]) -> None:
    for model in own_models():
        names = [field.column_name for field in declared_fields(model)]
        assert list(stored[model._meta.table_name].columns) == names


@pytest.mark.lesson(22)
def test_the_type_of_every_field_is_known_as_the_database_calls_it(
    database: peewee.Database, stored: dict[str, StoredTable]
) -> None:
    for model in own_models():
        for field in declared_fields(model):
            assert stored[model._meta.table_name].columns[field.column_name].type == declared_type(field, database)


@pytest.mark.lesson(22)
def test_the_type_of_a_field_of_somebody_elses_is_known(database: peewee.Database) -> None:
    class Percent(IntegerField):
        """A number in a hundred."""

    class Survey(PipelineOutputMixin):
        share = Percent(null=True, unit="%")
        name = peewee.CharField(null=True)

    Survey.create_table()
    stored = read_tables(database, bound_schema())["survey"]
    assert check_schema([Survey]) == []
    assert stored.columns["share"].type.lower() == "integer"
    Survey.drop_table()


@pytest.mark.lesson(20)
@pytest.mark.postgresql_only(reason="integers of SQLite have 64 bits")
def test_flags_have_room_for_63_bits(stored: dict[str, StoredTable]) -> None:
    flags = [field for model in own_models() for field in declared_fields(model) if isinstance(field, BitField)]
    assert len(flags) > 80
    for field in flags:
        assert stored[field.model._meta.table_name].columns[field.column_name].type == "bigint"


@pytest.mark.lesson(27)
def test_no_index_repeats_how_another_begins(stored: dict[str, StoredTable]) -> None:
    for name, table in stored.items():
        columns = [index.columns for index in table.indexes]
        for index in table.indexes:
            longer = [other for other in columns if len(other) > len(index.columns)]
            repeated = [other for other in longer if other[: len(index.columns)] == index.columns]
            assert index.unique or not repeated, (name, index.columns)
        assert len(set(columns)) == len(columns), name


@pytest.mark.lesson(17)
@pytest.mark.lesson(27)
def test_results_have_no_more_indexes_than_queries_use(stored: dict[str, StoredTable]) -> None:
    for model in set(PipelineOutputMixin.concrete_models()).intersection(own_models()):
        indexed = {column for index in stored[model._meta.table_name].indexes for column in index.columns}
        foreign_keys = {field.column_name for field in model._meta.refs}
        assert indexed <= {"task_pk", "v_astra", *model.upsert_key, *foreign_keys}, model


def test_nothing_differs_in_tables_that_we_make(stored: dict[str, StoredTable]) -> None:
    assert check_schema() == []


# ---- what differs


def differing(**changes: Any) -> list[tuple[str, str, str, str, bool]]:
    """Compare Rocket with a table that is as it should be, except for some columns; None is none."""
    good = {
        field.column_name: StoredColumn(
            declared_type(field, base.database.obj),
            required=not field.null,
            default="x" if field.primary_key else "",
            generated=hasattr(field, "expression"),
        )
        for field in declared_fields(Rocket)
    }
    columns = {name: column for name, column in (good | changes).items() if isinstance(column, StoredColumn)}
    indexes = [
        StoredIndex("", ("task_pk",), True),
        StoredIndex("", ("spectrum_pk", "v_astra_major_minor"), True),
        StoredIndex("", ("source_pk",), False),
        StoredIndex("", ("v_astra",), False),
    ]
    found = differences(Rocket, StoredTable(columns, changes.get("indexes", indexes)))
    return [(row.column, row.what, row.here, row.there, row.matters) for row in found]


@pytest.fixture
def on_postgresql(postgresql: dict[str, str]) -> Any:
    """Bind all models to a PostgreSQL database, whose tables don't matter."""
    before = base.database.obj, bound_schema()
    bind(postgresql_database(**postgresql, timezone="UTC"), "nowhere")
    yield
    base.database.close()
    bind(*before)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"teff": None}, [("teff", "column", "real", "none", True)]),
        ({"teff": StoredColumn("double precision")}, [("teff", "type", "real", "double precision", False)]),
        ({"teff": StoredColumn("text")}, [("teff", "type", "real", "text", True)]),
        ({"teff": StoredColumn("real", required=True)}, [("teff", "NULL", "NULL", "NOT NULL", True)]),
        ({"tag": StoredColumn("text")}, [("tag", "NULL", "NOT NULL", "NULL", False)]),
        (
            {"v_astra_major_minor": StoredColumn("integer", required=True)},
            [("v_astra_major_minor", "generated", "yes", "no", True)],
        ),
        ({"task_pk": StoredColumn("integer", True, "x")}, [("task_pk", "type", "bigint", "integer", False)]),
        ({"note": StoredColumn("text")}, [("note", "column", "none", "text", False)]),
        ({"note": StoredColumn("text", True)}, [("note", "column", "none", "text", True)]),
        (
            {"created": StoredColumn("timestamp without time zone", True)},
            [("created", "type", "timestamp with time zone", "timestamp without time zone", False)],
        ),
        (
            {"source_pk": None, "source_pk_id": StoredColumn("bigint")},
            [("source_pk", "name", "source_pk", "source_pk_id")],
        ),
    ],
)
def test_a_difference_is_told_and_whether_it_matters(
    on_postgresql: None, changes: dict[str, Any], expected: list[Any]
) -> None:
    found = differing(**changes)
    assert [row[: len(want)] for row, want in zip(found, expected, strict=False)] == expected
    assert len([row for row in found if row[1] not in ("index",)]) == len(expected)


def test_keys_and_indexes_are_compared(on_postgresql: None) -> None:
    there = [
        StoredIndex("", ("task_pk",), True),
        StoredIndex("", ("source_pk",), False),
        StoredIndex("", ("tag",), False),
        StoredIndex("", ("teff",), True),
    ]
    assert set(differing(indexes=there)) == {
        ("spectrum_pk, v_astra_major_minor", "key", "yes", "none", True),
        ("v_astra", "index", "yes", "none", False),
        ("tag", "index", "none", "yes", False),
        ("teff", "key", "none", "yes", True),
    }


def test_a_table_that_is_missing_is_told(on_postgresql: None) -> None:
    why = "nothing can be stored in it; `astra init` makes it"
    assert list(differences(Rocket, None)) == [Difference("rocket", "", "table", "yes", "none", True, why)]


@pytest.mark.parametrize("release", ["v080", "v081"])
def test_what_differs_in_a_production_schema_is_told(postgresql: dict[str, str], release: str) -> None:
    before = base.database.obj, bound_schema()
    database = postgresql_database(**postgresql, timezone="America/Denver")
    for statement in statements(release, f"checked_{release}"):
        database.execute_sql(statement)
    bind(database, f"checked_{release}")
    try:
        found = {(row.table, row.column, row.what): row for row in check_schema()}
    finally:
        database.execute_sql(f"DROP SCHEMA checked_{release} CASCADE")
        database.close()
        bind(*before)
    assert found["slam", "v_astra_major_minor", "column"].matters
    assert found["boss_combined_spectrum", "spectrum_pk", "name"].there == "spectrum_pk_id"
    assert found["corv", "modified", "type"].why == "taken as the local time of America/Denver"
    assert not found["corv", "task_pk", "type"].matters
    assert found["source", "ra", "type"].matters
    assert found["source", "crossmatch_flags", "column"].matters == (release == "v081")
    assert ("corv", "spectrum_pk, v_astra_major_minor", "key") not in found


def test_times_without_a_zone_matter_until_one_is_configured(postgresql: dict[str, str]) -> None:
    before = base.database.obj, bound_schema()
    database = postgresql_database(**postgresql)
    for statement in statements("v080", "no_zone"):
        database.execute_sql(statement)
    bind(database, "no_zone")
    try:
        found = {(row.table, row.column): row for row in check_schema()}
    finally:
        database.execute_sql("DROP SCHEMA no_zone CASCADE")
        database.close()
        bind(*before)
    assert found["corv", "modified"].matters
    assert found["corv", "modified"].why == "no zone is configured: timezone"


# ---- which versions are there


def test_the_versions_in_a_table_are_told_oldest_first(database: peewee.Database, make_spectra: Any) -> None:
    assert stored_versions(Rocket) == []
    for v_astra in (9001, 8000, 10_000):
        for spectrum in make_spectra(2):
            Rocket.create(spectrum_pk=spectrum.spectrum_pk, v_astra=v_astra)
    assert stored_versions(Rocket) == [8000, 9001, 10_000]
