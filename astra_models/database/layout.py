"""Tables as they are in the bound database, where they differ from the models.

A production schema that other software made opens as it is. Before the first query after `bind`, the catalogue is
asked once, and the models adapt: to other names of columns, to columns that aren't there, to narrower types, to times
without a zone. The next `bind` undoes that. Tables that are as the models say cost nothing more.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet
from zoneinfo import ZoneInfo

import peewee

from astra_models.database.catalog import StoredTable, declared_type, read_tables
from astra_models.errors import ConfigurationError, MissingColumnError
from astra_models.version import version_integer_to_string, version_string_to_integer

TIMEZONE_VARIABLE = "ASTRA_DATABASE_TIMEZONE"
UNDEFINED_COLUMN = "42703"
LOCAL_TIME = "timestamp without time zone"
_TEXTS = ("text", "character varying")
_WHOLE = ("integer", "bigint")
# Types of one group hold each other's values, as far as they fit.
_GROUPS = (_WHOLE, ("real", "double precision"), _TEXTS, (LOCAL_TIME, "timestamp with time zone"))


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

    renamed: dict[Any, str] = field(default_factory=dict)
    missing: tuple[Any, ...] = ()
    types: dict[Any, str] = field(default_factory=dict)
    obstacles: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.renamed or self.missing or self.types or self.obstacles)


class Layouts:
    """The layouts of the bound database's tables, which its models follow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, StoredTable] | None = None
        self._seen: WeakSet[Any] = WeakSet()
        self._adapted: WeakSet[Any] = WeakSet()
        self.outdated = True
        self.current = False
        """Whether the bound database is known to have the tables of this release."""

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let all models be as they are declared, whatever the tables are, while these are changed."""
        self.forget()
        self.outdated = False
        try:
            yield
        finally:
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
            self.current = False

    def follow(self, database: peewee.Database, models: Iterable[Any], schema: str | None) -> None:
        """Adapt the models that haven't been yet.

        Raises
        ------
        ConfigurationError
            If the tables hold times without a zone, and nothing says which zone is meant.
        """
        with self._lock:
            if self.outdated and isinstance(database, peewee.PostgresqlDatabase):
                if self._tables is None:
                    self._tables = read_tables(database, schema)
                for model in models:
                    if model not in self._seen:
                        self._follow_table(model, self._tables.get(model._meta.table_name), database)
                        self._seen.add(model)
            self.outdated = False

    def leave_out_missing(self, query: Any) -> None:
        """Take columns that aren't there out of what a query selects: it may have been made before that was known."""
        if self._adapted and isinstance(query, peewee.Select):
            selected: Any = getattr(query, "_returning", None) or ()
            setattr(query, "_returning", [column for column in selected if not _is_missing(column)])  # noqa: B010

    def explain(self, error: peewee.ProgrammingError) -> None:
        """Turn the error about a column that isn't there into one that says why.

        Raises
        ------
        MissingColumnError
            If the bound database lacks columns that models have.
        """
        if getattr(getattr(error, "orig", error), "pgcode", None) != UNDEFINED_COLUMN:
            return
        lacking = sorted(model._meta.table_name for model in self._adapted if model._meta.layout.missing)
        if lacking:
            raise MissingColumnError(
                f"{str(error).splitlines()[0]}; here, columns of our models are missing from {', '.join(lacking)}: "
                "`astra check-schema` lists them"
            ) from error

    def _follow_table(self, model: Any, table: StoredTable | None, database: peewee.Database) -> None:
        layout = TableLayout() if table is None else compare(model, table, database)
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


def layout_of(model: Any) -> TableLayout | None:
    """Give how a model's table differs from the model; None if it doesn't, or no query was made yet."""
    return getattr(model._meta, "layout", None)


def compare(model: Any, table: StoredTable, database: peewee.Database) -> TableLayout:
    """Find how a table differs from its model, as far as that matters to queries."""
    layout = TableLayout()
    known = set()
    for column in declared_fields(model):
        name = stored_name(column, table)
        known.add(name)
        if name is None:
            layout.missing += (column,)
            continue
        stored, declared = table.columns[name], declared_type(column, database)
        if name != column.column_name:
            layout.renamed[column] = name
        if stored.type != declared:
            layout.types[column] = stored.type
            if not can_hold(column, declared, stored.type):
                layout.obstacles.append(f"its column {name} is of type {stored.type}, and not {declared}")
    layout.obstacles += _key_obstacles(model, layout, table)
    for name, stored in table.columns.items():
        if name not in known and stored.required and not stored.default and not stored.generated:
            layout.obstacles.append(f"its column {name}, which we know nothing of, can't be NULL and has no default")
    return layout


def require_no_value(column: Any, value: Any) -> None:
    """Make sure that nothing is to be stored in a column that isn't there.

    Raises
    ------
    MissingColumnError
        If `value` is something else than NULL or the column's default.
    """
    if value is None or callable(column.default) or value == column.default:
        return
    raise MissingColumnError(
        f"{column.model.__name__}.{column.name} is {value!r}, but here table {column.model._meta.table_name!r} has no "
        "such column; leave it out, or add the column (`astra check-schema` lists what differs)"
    )


def declared_fields(model: Any) -> list[Any]:
    """Give all fields of a model, those that the bound database doesn't have included."""
    return list(model._meta._sorted_field_list)


def declared_name(column: Any) -> str:
    """Give the name that a field's column has in tables that we make."""
    return vars(column.model._meta).get("declared_names", {}).get(column.name, column.column_name)


def stored_name(column: Any, table: StoredTable) -> str | None:
    """Give the name that a field's column has in a table, or None if it isn't there."""
    declared = declared_name(column)
    return next((name for name in (declared, f"{declared}_id") if name in table.columns), None)


def can_hold(column: Any, declared: str, stored: str) -> bool:
    """Tell whether a column of one type holds values of another, as far as they fit."""
    if _is_version_text(column, declared, stored):
        return True
    return any(declared.split("(")[0] in group and stored.split("(")[0] in group for group in _GROUPS)


def _is_version_text(column: Any, declared: str, stored: str) -> bool:
    return column.name == "v_astra" and declared in _WHOLE and stored.split("(")[0] in _TEXTS


def _is_missing(selected: Any) -> bool:
    column = getattr(selected, "field", selected) if isinstance(selected, peewee.FieldAlias) else selected
    layout = layout_of(column.model) if isinstance(column, peewee.Field) else None
    return layout is not None and any(column is missing for missing in layout.missing)


def _key_obstacles(model: Any, layout: TableLayout, table: StoredTable) -> list[str]:
    obstacles = []
    missing = {column.name for column in layout.missing}
    key = [model._meta.fields[name] for name in model.upsert_key]
    for column in key:
        if column.name in missing:
            obstacles.append(f"it has no column {column.column_name}, by which rows are found again")
        elif hasattr(column, "expression") and not table.columns[stored_name(column, table) or ""].generated:
            obstacles.append(f"the database doesn't compute its column {column.column_name}")
    names = [str(layout.renamed.get(column, column.column_name)) for column in key]
    if key and not obstacles and not table.has_key(names):
        obstacles.append(f"it has no unique key ({', '.join(names)})")
    return obstacles


def _adapt(model: Any, layout: TableLayout, database: Any) -> None:
    meta = model._meta
    meta.declared_names = {column.name: column.column_name for column in layout.renamed}
    for column, name in layout.renamed.items():
        _rename(meta, column, name)
    gone = set(layout.missing)
    meta.sorted_fields = [column for column in meta.sorted_fields if column not in gone]
    meta.sorted_field_names = [column.name for column in meta.sorted_fields]
    meta.defaults = {column: default for column, default in meta.defaults.items() if column not in gone}
    for column, stored in layout.types.items():
        _hold(column, stored, database)
    del meta.table
    meta.layout = layout


def _restore(model: Any) -> None:
    meta = model._meta
    layout, names = meta.__dict__.pop("layout"), meta.__dict__.pop("declared_names")
    for column in layout.renamed:
        _rename(meta, column, names[column.name])
    for column in layout.types:
        for name in ("stored_type", "zone", "db_value", "python_value"):
            column.__dict__.pop(name, None)
    meta.defaults = {column: column.default for column in declared_fields(model) if column.default is not None}
    meta._update_sorted_fields()
    del meta.table


def _rename(meta: Any, column: Any, name: str) -> None:
    for names in (meta.columns, meta.combined):
        if column.column_name != column.name or names is meta.columns:
            names.pop(column.column_name, None)
        names[name] = column
    column.column_name = name


def _hold(column: Any, stored: str, database: Any) -> None:
    """Let a field hold values as its column of another type does."""
    declared = declared_type(column, database)
    if not can_hold(column, declared, stored):
        return
    column.stored_type = stored.split("(")[0]
    if stored == LOCAL_TIME:
        column.zone = ZoneInfo(database.timezone)
    elif _is_version_text(column, declared, stored):
        column.db_value = _version_as_text
        column.python_value = _version_from_text


def _version_as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else version_integer_to_string(int(value))


def _version_from_text(value: Any) -> int | None:
    if not isinstance(value, str):
        return value
    return int(value) if value.isdigit() else version_string_to_integer(value)
