"""Triggers that count how often a row changed.

The database counts, so that no change is missed: not one by a query of one's own, by another program, or while the row
is being used. A row that was only inserted has no revision yet (NULL), which stands for 0.
"""

from collections.abc import Sequence

import peewee

from astra_models.database.sql import is_postgresql, quote, quoted_table

__all__ = ["PIXELS", "make_revision_trigger"]

PIXELS = 2**32
"""What new pixels add to a revision; a change of other columns adds 1, so that the two can be told apart."""

COLUMN = "revision"


def make_revision_trigger(model: type[peewee.Model], ignored: Sequence[str]) -> None:
    """Make the trigger that raises a row's ``revision`` by 1 when a column changes, or make it anew.

    Nothing is done to a table that has no such column yet.

    Parameters
    ----------
    model : type
        The table's model, which has a column ``revision`` and the primary key ``pk``.
    ignored : sequence of str
        Columns that may change without that.
    """
    database = model._meta.database
    stored = [column.name for column in database.get_columns(model._meta.table_name, model._meta.schema)]
    if COLUMN not in stored:
        return
    # What the database generates follows from other columns; PostgreSQL hasn't done so yet when the trigger runs.
    generated = [column.column_name for column in model._meta.sorted_fields if hasattr(column, "expression")]
    same = [*ignored, *generated, COLUMN]
    if is_postgresql(database):
        statements = _for_postgresql(model, same)
    else:
        statements = _for_sqlite(model, [name for name in stored if name not in same])
    for statement in statements:
        database.execute_sql(statement)


def _for_postgresql(model: type[peewee.Model], ignored: Sequence[str]) -> list[str]:
    """Compare the rows as a whole, bit by bit, so that a column of any type that is added later counts, too."""
    table = quoted_table(model)
    trigger, function = _trigger_of(model), quote(model._meta.schema, _trigger_name(model))
    taken = "".join(f"before.{quote(name)} := NEW.{quote(name)}; " for name in ignored)
    body = (
        f"DECLARE before RECORD; BEGIN before := OLD; {taken}"
        "IF before *<> NEW THEN NEW.revision := coalesce(NEW.revision, 0) + 1; END IF; RETURN NEW; END"
    )
    return [
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $function$ {body} $function$",
        f"DROP TRIGGER IF EXISTS {trigger} ON {table}",
        f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
    ]


def _for_sqlite(model: type[peewee.Model], counted: Sequence[str]) -> list[str]:
    table, trigger = quoted_table(model), _trigger_of(model)
    changed = " OR ".join(f"OLD.{quote(name)} IS NOT NEW.{quote(name)}" for name in counted)
    body = f"UPDATE {table} SET revision = coalesce(revision, 0) + 1 WHERE pk = NEW.pk;"
    return [
        f"DROP TRIGGER IF EXISTS {trigger}",
        f"CREATE TRIGGER {trigger} AFTER UPDATE ON {table} WHEN {changed} BEGIN {body} END",
    ]


def _trigger_of(model: type[peewee.Model]) -> str:
    return quote(_trigger_name(model))


def _trigger_name(model: type[peewee.Model]) -> str:
    return f"{model._meta.table_name}_revision"
