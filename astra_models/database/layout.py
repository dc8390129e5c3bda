"""Tables as they are in the bound database, where they differ from the models.

Before the first query after `bind`, the catalogue is asked once, and the models adapt: to columns that aren't there,
to other names of columns, and on PostgreSQL to narrower types and times without a zone. So a production schema that
other software made opens as it is, and so does a table that is older than a column of its model. The next `bind` undoes
that. Tables that are as the models say cost nothing more.
"""

import re
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet
from zoneinfo import ZoneInfo

import peewee

from astra_models.database.catalog import StoredTable, declared_type, read_column_names, read_tables
from astra_models.database.peewee_internals import declared_fields, gives_models, restore_sorted_fields
from astra_models.errors import ConfigurationError, MissingColumnError
from astra_models.version import version_integer_to_string, version_string_to_integer

TIMEZONE_VARIABLE = "ASTRA_DATABASE_TIMEZONE"
UNDEFINED_COLUMN = "42703"
UNDEFINED_ON_SQLITE = ("no such column", "has no column named")
"""What SQLite's messages about a column that isn't there have in common: there is no code for it."""
LOCAL_TIME = "timestamp without time zone"
_TEXTS = ("text", "character varying")
_WHOLE = ("integer", "bigint")
# Types of one group hold each other's values, as far as they fit.
_GROUPS: tuple[tuple[str, ...], ...] = (
    _WHOLE,
    ("real", "double precision"),
    _TEXTS,
    (LOCAL_TIME, "timestamp with time zone"),
)

Model = type[peewee.Model]


@dataclass(eq=False)
class TableLayout:
    """How a model's table differs from the model.

    Parameters
    ----------
    renamed : dict of Field to str
        Columns of another name, and that name.
    missing : tuple of Field
        Columns that aren't there.
    types : dict of Field to str
        Columns of another type, and that type.
    obstacles : list of str
        Why rows can't be upserted.
    """

    renamed: dict[peewee.Field, str] = field(default_factory=dict)
    missing: tuple[peewee.Field, ...] = ()
    types: dict[peewee.Field, str] = field(default_factory=dict)
    obstacles: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.renamed or self.missing or self.types or self.obstacles)


class Layouts:
    """The layouts of the bound database's tables, which its models follow."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tables: dict[str, StoredTable] | None = None
        self._seen: WeakSet[Model] = WeakSet()
        self._adapted: WeakSet[Model] = WeakSet()
        self._is_suspended = False
        self.outdated = True
        self.current: set[str] = set()
        """The packages of which the bound database is known to have the tables of their installed release."""

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let all models be as they are declared, whatever the tables are, while these are changed."""
        self.forget()
        self._is_suspended = True
        try:
            yield
        finally:
            self._is_suspended = False
            self.forget()

    def forget(self) -> None:
        """Let all models be as they are declared; the catalogue is asked again before the next query."""
        with self._lock:
            for model in list(self._adapted):
                _restore(model)
            self._tables = None
            self._seen.clear()
            self._adapted.clear()
            self.outdated = True
            self.current.clear()

    def forget_table(self, model: Model) -> None:
        """Let a model be as it is declared, whose table was made, changed or dropped."""
        with self._lock:
            self._tables = None
            self._seen.discard(model)
            if model in self._adapted:
                _restore(model)
                self._adapted.discard(model)
                self.outdated = True

    def follow(self, database: peewee.Database, models: Iterable[Model], schema: str | None) -> None:
        """Adapt the models that haven't been yet.

        Raises
        ------
        ConfigurationError
            If the tables hold times without a zone, and nothing says which zone is meant.
        """
        with self._lock:
            if self._is_suspended or not self.outdated:
                return
            new = [model for model in models if model not in self._seen]
            if self._tables is None:
                self._tables = _tables_to_follow(database, schema, new)
            for model in new:
                table = self._tables.get(model._meta.table_name)
                if table is not None:
                    self._follow_table(model, table, database)
                    self._seen.add(model)
            self.outdated = False
            if isinstance(database, peewee.SqliteDatabase):
                self._tables = None  # read for these models only

    def leave_out_missing(self, query: object) -> None:
        """Take columns that aren't there out of what a query selects: it may have been made before that was known."""
        if self._adapted and isinstance(query, peewee.Select):
            selected = query.selected_columns or ()
            if any(map(_is_missing, selected)):
                query.selected_columns = list(_without_missing(query, selected))

    def explain(self, error: peewee.DatabaseError) -> None:
        """Turn the error about a column that isn't there into one that says why.

        Raises
        ------
        MissingColumnError
            If the bound database lacks columns that models have.
        """
        message = str(error).splitlines()[0] if str(error) else ""
        code = getattr(getattr(error, "orig", error), "pgcode", None)
        if code != UNDEFINED_COLUMN and not any(words in message for words in UNDEFINED_ON_SQLITE):
            return
        missing = sorted(
            (column for model in self._adapted for column in (layout_of(model) or TableLayout()).missing),
            key=lambda column: (column.model._meta.table_name, column.name),
        )
        named = [column for column in missing if re.search(rf"\b{column.column_name}\b", message)]
        if len(named) == 1:
            [column] = named
            raise MissingColumnError(
                f"{message}; here, column {column.column_name} is missing from {column.model._meta.table_name}: "
                f"{how_to_add(column)} (`astra check-schema` lists what differs)"
            ) from error
        if missing:
            lacking = ", ".join(dict.fromkeys(column.model._meta.table_name for column in missing))
            raise MissingColumnError(
                f"{message}; here, columns of our models are missing from {lacking}: `astra check-schema` lists them"
            ) from error

    def _follow_table(self, model: Model, table: StoredTable, database: peewee.Database) -> None:
        layout = compare(model, table, database)
        if not layout:
            return
        if LOCAL_TIME in layout.types.values() and not getattr(database, "timezone", None):
            raise ConfigurationError(
                f"the times in table {model._meta.table_name!r} have no zone; say in which they were written, by "
                f"`timezone: America/Denver` in the configuration's 'database' section, by {TIMEZONE_VARIABLE}, or by "
                "postgresql_database(..., timezone=...)"
            )
        _adapt(model, layout, database)
        self._adapted.add(model)


layouts = Layouts()


def layout_of(model: Model) -> TableLayout | None:
    """Give how a model's table differs from the model; None if it doesn't, or no query was made yet."""
    return vars(model._meta).get("layout")


def compare(model: Model, table: StoredTable, database: peewee.Database) -> TableLayout:
    """Find how a table differs from its model, as far as that matters to queries.

    On SQLite types don't: a column holds whatever it is given.
    """
    layout = TableLayout()
    known = set()
    for column in declared_fields(model):
        name = stored_name(column, table.columns)
        known.add(name)
        if name is None:
            layout.missing += (column,)
            continue
        if name != column.column_name:
            layout.renamed[column] = name
        if isinstance(database, peewee.PostgresqlDatabase):
            _compare_types(layout, column, name, table.columns[name].type, declared_type(column, database))
    layout.obstacles += _key_obstacles(model, layout, table)
    for name, stored in table.columns.items():
        if name not in known and stored.required and not stored.default and not stored.generated:
            layout.obstacles.append(f"its column {name}, which we know nothing of, can't be NULL and has no default")
    return layout


def require_no_value(column: peewee.Field, value: object) -> None:
    """Make sure that nothing is to be stored in a column that isn't there.

    Raises
    ------
    MissingColumnError
        If `value` is something else than NULL or the column's default.
    """
    if value is None or callable(column.default) or value == column.default:
        return
    remedy = how_to_add(column)
    layouts.forget_table(column.model)  # it is looked for again: somebody may add it before the next try
    raise MissingColumnError(
        f"{column.model.__name__}.{column.name} is {value!r}, but here table {column.model._meta.table_name!r} has no "
        f"such column; {remedy}, or leave it out (`astra check-schema` lists what differs)"
    )


def how_to_add(column: peewee.Field) -> str:
    """Say how to add a column that isn't there: by a migration of the package whose model has it, or by hand."""
    package, by_hand = column.model.__module__.partition(".")[0], _statement_that_adds(column)
    if package == "__main__":
        return f"add it with `{by_hand}`"
    if package != __name__.partition(".")[0]:
        return f"add it with `astra migrate make {package}` and `astra migrate up`"
    return f"add it with `astra migrate up`, or where other software made the table with `{by_hand}`"


def _statement_that_adds(column: peewee.Field) -> str:
    meta = column.model._meta
    table = ".".join(f'"{name}"' for name in (meta.schema, meta.table_name) if name)
    return (
        f'ALTER TABLE {table} ADD COLUMN "{column.column_name}" {declared_type(column, meta.get_database_instance())}'
    )


def declared_name(column: peewee.Field) -> str:
    """Give the name that a field's column has in tables that we make."""
    return vars(column.model._meta).get("declared_names", {}).get(column.name, column.column_name)


def stored_name(column: peewee.Field, columns: Container[str]) -> str | None:
    """Give the name that a field's column has among those of a table, or None if it isn't there."""
    declared = declared_name(column)
    return next((name for name in (declared, f"{declared}_id") if name in columns), None)


def can_hold(column: peewee.Field, declared: str, stored: str) -> bool:
    """Tell whether a column of one type holds values of another, as far as they fit."""
    if _is_version_text(column, declared, stored):
        return True
    return any(declared.split("(")[0] in group and stored.split("(")[0] in group for group in _GROUPS)


def _is_version_text(column: peewee.Field, declared: str, stored: str) -> bool:
    return column.name == "v_astra" and declared in _WHOLE and stored.split("(")[0] in _TEXTS


def _tables_to_follow(database: peewee.Database, schema: str | None, models: Iterable[Model]) -> dict[str, StoredTable]:
    """Read the tables that models may have to follow: none on SQLite, where no column of theirs is missing.

    There, the whole catalogue takes ten times as long to read as the names of all columns.
    """
    if isinstance(database, peewee.SqliteDatabase):
        there = read_column_names(database)
        columns = (
            (column, there[model._meta.table_name])
            for model in models
            if model._meta.table_name in there
            for column in declared_fields(model)
        )
        if all(column.column_name in names for column, names in columns):
            return {}
    return read_tables(database, schema)


def _is_missing(selected: object) -> bool:
    column = getattr(selected, "field", selected) if isinstance(selected, peewee.FieldAlias) else selected
    layout = layout_of(column.model) if isinstance(column, peewee.Field) else None
    return layout is not None and any(column is missing for missing in layout.missing)


def _without_missing(query: peewee.Select, selected: Sequence[object]) -> list[object]:
    """Give what a query selects, without columns that aren't there, or with NULL for them where places matter."""
    left = [column for column in selected if not _is_missing(column)]
    if left and gives_models(query):
        return left
    return [_null_for(column) if _is_missing(column) else column for column in selected]


def _null_for(column: object) -> peewee.Node:
    return peewee.Value(None).alias(str(getattr(column, "name", "")))


def _compare_types(layout: TableLayout, column: peewee.Field, name: str, stored: str, declared: str) -> None:
    if stored == declared:
        return
    layout.types[column] = stored
    if not can_hold(column, declared, stored):
        layout.obstacles.append(f"its column {name} is of type {stored}, and not {declared}")


def _key_obstacles(model: Model, layout: TableLayout, table: StoredTable) -> list[str]:
    obstacles = []
    missing = {column.name for column in layout.missing}
    key = [model._meta.fields[name] for name in getattr(model, "upsert_key", ())]
    for column in key:
        if column.name in missing:
            obstacles.append(f"it has no column {column.column_name}, by which rows are found again")
        elif hasattr(column, "expression") and not table.columns[stored_name(column, table.columns) or ""].generated:
            obstacles.append(f"the database doesn't compute its column {column.column_name}")
    names = [layout.renamed.get(column, str(column.column_name)) for column in key]
    if key and not obstacles and not table.has_key(names):
        obstacles.append(f"it has no unique key ({', '.join(names)})")
    return obstacles


def _adapt(model: Model, layout: TableLayout, database: peewee.Database) -> None:
    meta = model._meta
    vars(meta)["declared_names"] = {column.name: column.column_name for column in layout.renamed}
    for column, name in layout.renamed.items():
        _rename(meta, column, name)
    gone = set(layout.missing)
    meta.sorted_fields = [column for column in meta.sorted_fields if column not in gone]
    meta.sorted_field_names = [column.name for column in meta.sorted_fields]
    meta.defaults = {column: default for column, default in meta.defaults.items() if column not in gone}
    for column, stored in layout.types.items():
        _hold(column, stored, database)
    del meta.table
    vars(meta)["layout"] = layout


def _restore(model: Model) -> None:
    meta = model._meta
    layout, names = meta.__dict__.pop("layout"), meta.__dict__.pop("declared_names")
    for column in layout.renamed:
        _rename(meta, column, names[column.name])
    for column in layout.types:
        for name in ("stored_type", "zone", "db_value", "python_value"):
            column.__dict__.pop(name, None)
    meta.defaults = {column: column.default for column in declared_fields(model) if column.default is not None}
    restore_sorted_fields(model)
    del meta.table


def _rename(meta: peewee.Metadata, column: peewee.Field, name: str) -> None:
    for names in (meta.columns, meta.combined):
        if column.column_name != column.name or names is meta.columns:
            names.pop(column.column_name, None)
        names[name] = column
    column.column_name = name


def _hold(column: peewee.Field, stored: str, database: peewee.Database) -> None:
    """Let a field hold values as its column of another type does."""
    declared = declared_type(column, database)
    if not can_hold(column, declared, stored):
        return
    attributes = vars(column)
    attributes["stored_type"] = stored.split("(")[0]
    if stored == LOCAL_TIME:
        attributes["zone"] = ZoneInfo(getattr(database, "timezone", "UTC"))
    elif _is_version_text(column, declared, stored):
        attributes |= {"db_value": _version_as_text, "python_value": _version_from_text}


def _version_as_text(value: str | int | None) -> str | None:
    return value if value is None or isinstance(value, str) else version_integer_to_string(int(value))


def _version_from_text(value: str | int | None) -> int | None:
    if not isinstance(value, str):
        return value
    return int(value) if value.isdigit() else version_string_to_integer(value)
