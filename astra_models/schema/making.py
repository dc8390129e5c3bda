"""Writing the migration that brings a package's tables up to its models.

The tables of the bound database are compared with the models once, when the step is written. The step says what it does
as SQL, for both back ends, and is never compared with the models again.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import peewee

from astra_models.base import BaseModel, bind, bound_schema, database
from astra_models.database.catalog import read_tables
from astra_models.database.layout import layouts
from astra_models.database.peewee_internals import declared_fields
from astra_models.database.retry import run_transaction
from astra_models.database.sql import quote
from astra_models.errors import MigrationError
from astra_models.schema.check import Difference, differences
from astra_models.schema.history import steps_of
from astra_models.schema.migration import pending_steps, where
from astra_models.schema.package import Package

STEP = '''"""{title}."""

from astra_models.schema.steps import {functions}


def up(migrator, db):
    """{title}."""
{body}'''
INIT = '"""Migrations of these tables: `astra migrate make` writes them, `astra migrate up` applies them."""\n'
INDEX = re.compile(r'CREATE (?P<unique>UNIQUE )?INDEX IF NOT EXISTS "(?P<name>.+?)" ON "(.+?)" \((?P<columns>.*)\)')
UNIQUE = "unique=True"
NAMED_IN_TITLE = 3
LINE = 84


class WrittenStep(NamedTuple):
    """A migration that was written.

    Parameters
    ----------
    path : Path
        Its file.
    adds : list of str
        What it adds: tables, columns as ``table.column``, indexes.
    left_out : list of str
        Other differences that matter between models and tables: they need a step written by hand.
    """

    path: Path
    adds: list[str]
    left_out: list[str]


class Operation(NamedTuple):
    """A call in a step: what it adds, which function is called, and its arguments as they are written."""

    adds: str
    function: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        arguments = ("migrator", *self.arguments)
        in_one_line = f"{self.function}({', '.join(arguments)})\n"
        if len(in_one_line) <= LINE and in_one_line.count("\n") == 1:
            return in_one_line
        listed = "".join(f"{argument},\n" for argument in arguments)
        return f"{self.function}(\n{indent(listed, ' ' * 4)})\n"


class Ddl(NamedTuple):
    """How a back end is told to make a model's table: the table, each column by its name, the indexes."""

    table: str
    columns: dict[str, str]
    indexes: list[str]


def make_step(package: Package, name: str | None = None) -> WrittenStep:
    """Write the step that adds what a package's models have and its tables lack: tables, columns, indexes.

    Parameters
    ----------
    package : Package
        The package; the step goes into its folder of migrations.
    name : str, optional
        The step's name, after its number; what it adds if not given.

    Raises
    ------
    MigrationError
        If there is nothing to add, if something can't be added to tables with rows, or if earlier steps haven't been
        applied.
    """
    if package.migrations is None:
        raise MigrationError(
            f"{package.name} is a single module, and migrations need a folder: make a package of it, that is a folder "
            "with an __init__.py"
        )
    operations, left_out = _compare(package)
    if not operations:
        also = f"; by hand, write a step for: {'; '.join(left_out)}" if left_out else ""
        raise MigrationError(f"{where()} lacks nothing that the models of {package.name} have{also}")
    adds = [operation.adds for operation in operations]
    number = max((step.file.idx for step in steps_of(package) if step.file is not None), default=0) + 1
    words = re.findall(r"[a-z0-9]+", (name or f"add {adds[0]}").lower())
    path = package.migrations / f"{number:04}_{'_'.join(words)}.py"
    _write(path, operations)
    return WrittenStep(path, adds, left_out)


def _write(path: Path, operations: Sequence[Operation]) -> None:
    adds = [operation.adds for operation in operations]
    more = f" and {len(adds) - NAMED_IN_TITLE} more" if len(adds) > NAMED_IN_TITLE else ""
    step = STEP.format(
        title=f"Add {', '.join(adds[:NAMED_IN_TITLE])}{more}",
        functions=", ".join(sorted({operation.function for operation in operations})),
        body=indent("".join(map(str, operations)), " " * 4),
    )
    init = path.with_name("__init__.py")
    try:
        path.parent.mkdir(exist_ok=True)
        if not init.exists():  # so that the folder is packaged with the rest
            init.write_text(INIT, encoding="utf-8")
        path.write_text(step, encoding="utf-8")
    except OSError as error:
        raise MigrationError(
            f"{path} can't be written: {error.strerror or error}; install the package from its folder, by "
            "`pip install -e`"
        ) from error


# ---- what is to be added


def _compare(package: Package) -> tuple[list[Operation], list[str]]:
    """Tell what a step can add, and what else differs and matters."""
    with layouts.suspended():
        tables = run_transaction(database, lambda: read_tables(database.obj, bound_schema()))
        if package.tables.isdisjoint(tables):
            raise MigrationError(f"{where()} has no table of {package.name}; make them as they are now: `astra init`")
        if pending := run_transaction(database, lambda: pending_steps(package)):
            raise MigrationError(f"first apply {', '.join(pending)}: `astra migrate up`")
        found = [
            (model, difference)
            for model in package.models
            for difference in differences(model, tables.get(model._meta.table_name))
        ]
    ddl = _ddl(package.models)
    operations: list[Operation] = []
    for model, difference in found:
        operations += _operations(model, difference, {back_end: made[model] for back_end, made in ddl.items()})
    left_out = [_told(difference) for _, difference in found if difference.matters and difference.there != "none"]
    return operations, left_out


def _told(difference: Difference) -> str:
    where_it_is = ".".join(filter(None, (difference.table, difference.column)))
    return f"{where_it_is}: {difference.what} {difference.there}, and {difference.here} in the model"


def _operations(model: type[BaseModel], difference: Difference, ddl: dict[str, Ddl]) -> Iterator[Operation]:
    if difference.there != "none":
        return
    if difference.what == "table":
        statements = (f"{back_end}={_written(made.table)}" for back_end, made in ddl.items())
        yield Operation(difference.table, "create_table", tuple(statements))
        yield from filter(None, map(_index, ddl["sqlite"].indexes))
    elif difference.what == "column":
        yield _column(model, difference.column, ddl)
    else:
        yield _index_on(model, difference, ddl["sqlite"].indexes)


def _column(model: type[BaseModel], name: str, ddl: dict[str, Ddl]) -> Operation:
    column = next(field for field in declared_fields(model) if field.name == name)
    on_postgresql, on_sqlite = (ddl[back_end].columns[name] for back_end in ("postgresql", "sqlite"))
    arguments = list(map(_quoted, (model._meta.table_name, str(column.column_name), on_postgresql)))
    if on_sqlite != on_postgresql:
        arguments.append(f"sqlite={_quoted(on_sqlite)}")
    if not (column.null or hasattr(column, "expression")):
        default = _default(column)
        arguments.append(f"default={_quoted(default) if isinstance(default, str) else repr(default)}")
    return Operation(f"{model._meta.table_name}.{column.column_name}", "add_column", tuple(arguments))


def _default(column: peewee.Field) -> object:
    value = column.db_value(column.default() if callable(column.default) else column.default)
    if not isinstance(value, int | float | str | bytes):
        raise MigrationError(
            f"{column.model.__name__}.{column.name} can't be added to a table with rows: it can't be NULL, and has no "
            "default for them; give it null=True, or a plain default"
        )
    return value


def _quoted(text: str) -> str:
    """Write text as Python does, in the quotes that formatters prefer."""
    return json.dumps(text, ensure_ascii=False)


def _index_on(model: type[BaseModel], difference: Difference, declared: Sequence[str]) -> Operation:
    """Add an index on some columns: as the model declares it, or the key that one of its constraints is."""
    columns = tuple(difference.column.split(", "))
    for operation in filter(None, map(_index, declared)):
        if [name for name in operation.arguments[2:] if name != UNIQUE] == [*map(_quoted, columns)]:
            return operation
    name = "_".join((difference.table, *columns))[:63]
    unique = (UNIQUE,) if difference.what == "key" else ()
    arguments = tuple(map(_quoted, (name, difference.table, *columns)))
    return Operation(f"{difference.what} {name}", "add_index", (*arguments, *unique))


def _index(statement: str) -> Operation | None:
    found = INDEX.fullmatch(statement)
    if found is None:
        return None
    unique = (UNIQUE,) if found["unique"] else ()
    names = (found["name"], found[3], *re.findall(r'"(.+?)"', found["columns"]))
    kind = "key" if unique else "index"
    return Operation(f"{kind} {found['name']}", "add_index", (*map(_quoted, names), *unique))


# ---- how the back ends say it


class _Dictation(peewee.Database):
    """A database that writes down what it is told, and does nothing."""

    def __init__(self) -> None:
        super().__init__(None)
        self.statements: list[str] = []

    def execute_sql(self, sql: str, params: object = None) -> None:
        """Write a statement down."""
        self.statements.append(sql)


class _Postgresql(_Dictation, peewee.PostgresqlDatabase): ...


class _Sqlite(_Dictation, peewee.SqliteDatabase): ...


def _ddl(models: Sequence[type[BaseModel]]) -> dict[str, dict[type[BaseModel], Ddl]]:
    """Tell how each back end is told to make the models' tables. The models are bound to it meanwhile."""
    target, schema = database.obj, bound_schema()
    made: dict[str, dict[type[BaseModel], Ddl]] = {}
    try:
        for name, dictation in {"postgresql": _Postgresql(), "sqlite": _Sqlite()}.items():
            bind(dictation)
            with layouts.suspended():
                made[name] = {model: _ddl_of(model, dictation) for model in models}
    finally:
        bind(target, schema)
    return made


def _ddl_of(model: type[BaseModel], dictation: _Postgresql | _Sqlite) -> Ddl:
    super(BaseModel, model).create_table()  # what completes a table is done when steps are applied
    table, *indexes = dictation.statements
    dictation.statements.clear()
    is_sqlite = isinstance(dictation, _Sqlite)
    columns = {column.name: _definition(column, is_sqlite=is_sqlite) for column in declared_fields(model)}
    return Ddl(table, columns, indexes)


def _definition(column: peewee.Field, *, is_sqlite: bool) -> str:
    """Give a column's type and constraints, as it is added to a table."""
    context = database.obj.get_sql_context()
    words, _ = context.sql(column.ddl(context)).query()
    words = words.removeprefix(quote(column.column_name)).strip()
    if isinstance(column, peewee.ForeignKeyField):
        words += f" REFERENCES {quote(column.rel_model._meta.table_name)} ({quote(column.rel_field.column_name)})"
    if is_sqlite and hasattr(column, "expression"):  # which can't be stored in a table that is there already
        words = words.replace(" NOT NULL", "").replace(" STORED", " VIRTUAL")
    return words


def _written(statement: str) -> str:
    """Write a statement as Python does, a column per line."""
    head, _, columns = statement.partition(" (")
    parts = re.split(r", (?![^(]*\))", columns.removesuffix(")"))
    return '"""\n    ' + head + " (\n        " + ",\n        ".join(parts) + '\n    )"""'
