"""What we use of peewee without its word for it: a release that changes it fails here, and in one file only."""

import ast
from pathlib import Path

import peewee
import pytest

import astra_models
import astra_orchestration
from astra_models.base import BaseModel
from astra_models.database import peewee_internals
from astra_models.database.config import sqlite_database
from astra_models.fields import AutoField, FloatField
from astra_models.source import Source

PRIVATE = {
    *("__exception_wrapper__", "__no_default__", "sort_models", "_create_table", "_dirty", "_order", "_pragmas"),
    *(
        "_is_default",
        "_returning",
        "_row_type",
        "_schema",
        "_sort_key",
        "_sorted_field_list",
        "_state",
        "_update_sorted_fields",
    ),
}


def private_names(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return PRIVATE & (attributes | texts)


def test_private_names_of_peewee_are_in_one_file() -> None:
    folders = [Path(package.__path__[0]) for package in (astra_models, astra_orchestration)]
    files = {path: private_names(path) for folder in folders for path in folder.rglob("*.py")}
    assert [path.name for path, names in files.items() if names] == ["peewee_internals.py"]


def test_errors_of_the_driver_become_those_of_peewee(database: peewee.Database) -> None:
    with pytest.raises(peewee.DatabaseError), peewee_internals.driver_errors:
        database.connection().cursor().execute("SELECT nothing FROM nowhere")


def test_places_count_up_and_a_copy_can_be_put_here() -> None:
    first, second = FloatField(), FloatField()
    between = peewee_internals.next_place()
    assert peewee_internals.place_of(first) < peewee_internals.place_of(second) < between
    peewee_internals.put_here(first)
    assert peewee_internals.place_of(first) > between


def test_what_is_left_out_of_a_table_is_still_declared() -> None:
    class Comet(BaseModel):
        pk = AutoField()
        period = FloatField(null=True, unit="yr")

    period = Comet._meta.sorted_fields.pop()
    assert period in peewee_internals.declared_fields(Comet)
    peewee_internals.restore_sorted_fields(Comet)
    assert Comet._meta.sorted_fields == peewee_internals.declared_fields(Comet) == [Comet.pk, period]


def test_a_row_lists_what_is_unsaved_and_may_be_marked_as_saved() -> None:
    row = Source(sdss_id=1)
    assert "sdss_id" in row.dirty_field_names
    peewee_internals.mark_as_saved(row)
    assert not row.is_dirty()
    row.healpix = 5
    assert row.dirty_field_names == ["healpix"]


def test_a_query_gives_models_unless_told_otherwise() -> None:
    assert peewee_internals.gives_models(Source.select())
    assert not any(map(peewee_internals.gives_models, [Source.select().tuples(), Source.select().dicts()]))


def test_a_query_with_more_columns_is_one_of_keys_inside_another(database: peewee.Database) -> None:
    Source.create(sdss_id=1)
    query = peewee_internals.still_default(Source.select().select_extend(peewee.SQL("1.5").alias("more")))
    assert [float(row.more) for row in query] == [1.5]
    assert Source.select().where(Source.pk.in_(query)).count() == 1


def test_pragmas_are_told_without_a_connection() -> None:
    database = sqlite_database(":memory:")
    assert peewee_internals.settings_of(database)["foreign_keys"] == 1
    assert database.is_closed()
    assert peewee_internals.settings_of(peewee.PostgresqlDatabase("nowhere")) == {}
