"""The base of all models, and the one database that they are bound to.

The database is resolved when this module is imported, and opened on first use. `bind` moves every model to
another one, those defined later included.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import peewee
from playhouse.shortcuts import model_to_dict

from astra_models.database.config import get_database_and_schema, is_in_memory
from astra_models.database.layout import layout_of, layouts, require_no_value
from astra_models.database.models import forget_references, models
from astra_models.database.peewee_internals import NO_DEFAULTS, OrderedOnDemand, UnsavedOnDemand
from astra_models.declared import DeclaredModel
from astra_models.errors import AbstractModelError, ModelError
from astra_models.fields import GeneratedField, utc_now
from astra_models.fields.given import columns_of, rows_to_insert
from astra_models.fields.rules import check_columns, check_names
from astra_models.notebook.query import ShownAlias, ShownQuery
from astra_models.notebook.rows import ShownAs, row_html, row_text

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["BaseModel", "bind", "database", "get_database_and_schema"]


class BoundDatabase(peewee.DatabaseProxy):
    """The database that all models are bound to. Before the first query, they follow the tables that it has."""

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Open this thread's connection."""
        opened = self.obj.connect(reuse_if_open=reuse_if_open)
        self.follow_tables()
        return opened

    def execute(self, query: peewee.BaseQuery, **options: object) -> Any:
        """Run a query."""
        self.follow_tables()
        layouts.leave_out_missing(query)
        try:
            return self.obj.execute(query, **options)
        except (peewee.ProgrammingError, peewee.OperationalError) as error:
            layouts.explain(error)
            raise

    def follow_tables(self) -> None:
        """Let the models follow the tables that there are, as far as they don't yet."""
        if layouts.outdated:
            layouts.follow(self.obj, BaseModel.concrete_models(), bound_schema())


database = BoundDatabase()


class BaseModel(UnsavedOnDemand, peewee.Model, metaclass=DeclaredModel):
    """What all models share: the bound database, named by their class in snake case.

    A base that is no table of its own says ``abstract = True`` in its body.
    """

    abstract: ClassVar[bool] = True
    upsert_key: ClassVar[tuple[str, ...]] = ()
    """Columns by which `upsert` finds a row again; they have a unique constraint."""
    record_columns: ClassVar[frozenset[str]] = frozenset()
    """Columns that say what a row is about and when it was made: whatever they hold, nothing was measured."""
    made_from: ClassVar[tuple[str, ...]] = ()
    """Those of them that say what it was made from. Whoever writes a row without saying so makes them NULL."""
    provenance_columns: ClassVar[frozenset[str]] = frozenset({"created", "modified"})
    """Columns that say when, how fast and by which release a row was made. Rows that differ in nothing else agree."""

    _repr_html_ = ShownAs(row_html)

    if not TYPE_CHECKING:  # a type checker would want the Meta of every model to be a kind of this one

        class Meta:
            database = database
            legacy_table_names = False
            model_metadata_class = OrderedOnDemand

    def __init__(self, *args: object, **kwargs: object):
        # Rows are made by the million. Where only columns are set, and to plain values, taking them as they are
        # comes to the same as setting one attribute after the other.
        meta = self._meta
        bare = kwargs.pop(NO_DEFAULTS, None)  # the row is being read
        only_columns = meta.fields.keys() >= kwargs.keys()
        if args or not (only_columns or bare):
            if args:
                raise TypeError(f"{type(self).__name__} takes its values by name")
            kwargs = columns_of(type(self), kwargs, attributes=True)
            only_columns = meta.fields.keys() >= kwargs.keys()
        if not only_columns or any(isinstance(kwargs.get(key.name), peewee.Model) for key in meta.refs):
            super().__init__(**({NO_DEFAULTS: bare} | kwargs))
            return
        if not bare:
            for field, default in meta.defaults.items():
                if field.name not in kwargs:
                    kwargs[field.name] = default() if callable(default) else default
        self.__data__ = kwargs
        self.__rel__ = {}

    def __init_subclass__(cls, **kwargs: object):
        super().__init_subclass__(**kwargs)
        check_names(cls)
        cls.abstract = bool(cls.__dict__.get("abstract", False))

    @classmethod
    def validate_model(cls) -> None:
        """Check the columns of a model that was just defined, and take it in among the others; peewee calls it."""
        super().validate_model()
        try:
            check_columns(cls)
            models.add(cls, has_table=not cls.abstract)
        except ModelError:
            forget_references(cls)
            raise
        layouts.outdated = True

    @classmethod
    def create_table(cls, safe: bool = True, **options: object) -> None:
        """Create the table and its indexes, if they aren't there.

        Raises
        ------
        AbstractModelError
            If the model is only a base for others.
        """
        if cls.abstract:
            raise AbstractModelError(f"{cls.__name__} is a base for other models and has no table; create theirs")
        super().create_table(safe=safe, **options)
        cls.complete_table()
        layouts.forget_table(cls)

    @classmethod
    def complete_table(cls) -> None:
        """Make what the table needs beside its columns and indexes, or make it anew; nothing by default.

        It is called when the table is made, and after each migration.
        """

    @classmethod
    def drop_table(cls, safe: bool = True, drop_sequences: bool = True, **options: bool) -> None:
        """Drop the table."""
        super().drop_table(safe=safe, drop_sequences=drop_sequences, **options)
        layouts.forget_table(cls)

    if not TYPE_CHECKING:  # which has it from peewee

        @classmethod
        def select(cls, *fields):
            """Make a query of the model's rows, or of columns and expressions; a notebook shows its first rows."""
            return ShownQuery(cls, fields or cls._meta.sorted_fields, is_default=not fields)

        @classmethod
        def alias(cls, alias=None):
            """Give the model under another name, to join it with itself."""
            return ShownAlias(cls, alias)

    @classmethod
    def insert(cls, __data: dict[Any, Any] | None = None, /, **values: object) -> peewee.ModelInsert:
        """Make an INSERT query of one row, given by columns and flags.

        Raises
        ------
        UnknownColumnError
            If the model has no such column or flag.
        """
        return super().insert(columns_of(cls, dict(__data or {}) | values))

    @classmethod
    def update(cls, __data: dict[Any, Any] | None = None, /, **values: object) -> peewee.ModelUpdate:
        """Make an UPDATE query, which moves ``modified`` unless it is set by the query itself."""
        data = dict(__data or {}) | values
        if "modified" in cls._meta.sorted_field_names and "modified" not in {getattr(key, "name", key) for key in data}:
            data["modified"] = utc_now()
        return super().update(data)

    def save(self, force_insert: bool = False, only: Iterable[peewee.Field | str] | None = None) -> int:
        """Write the row; what the database generates is left to it, and an update moves ``modified``."""
        self._require_columns()
        fields = self._meta.sorted_fields if only is None else only
        named = [self._meta.combined[field] if isinstance(field, str) else field for field in fields]
        written = [field for field in named if not isinstance(field, GeneratedField)]
        if "modified" in self._meta.sorted_field_names and self.get_id() is not None and not force_insert:
            self.modified = utc_now()
            written.append(self._meta.fields["modified"])
        return super().save(force_insert=force_insert, only=written)

    def _require_columns(self) -> None:
        """Make sure that what is set has a column in the bound database."""
        database.follow_tables()
        layout = layout_of(type(self))
        for column in layout.missing if layout else ():
            require_no_value(column, self.__data__.get(column.name))

    @classmethod
    def insert_many(cls, rows: Iterable[Any], fields: Sequence[peewee.Field] | None = None) -> peewee.ModelInsert:
        """Make an INSERT query of many rows; what the database generates is left to it.

        Raises
        ------
        UnknownColumnError
            If a row is a dict, and has a key that is no column or flag of the model, or that the first row lacks. The
            rows are read when the query is run.
        """
        if fields is None:
            rows = rows_to_insert(cls, rows)
        generated = [isinstance(field, GeneratedField) for field in fields or ()]
        if fields is not None and any(generated):
            fields = [field for field, skip in zip(fields, generated, strict=True) if not skip]
            rows = ([value for value, skip in zip(row, generated, strict=True) if not skip] for row in rows)
        return super().insert_many(rows, fields=fields)

    def __repr__(self) -> str:
        return row_text(self)

    def __str__(self) -> str:
        return row_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Give the row's columns and values, keys as they are stored."""
        return model_to_dict(self, recurse=False)

    @classmethod
    def column_table(cls) -> "Table":
        """Describe the columns of the model's table.

        Returns
        -------
        astropy.table.Table
            A row per column, in the table's order: ``name``; ``type``, as PostgreSQL calls it; ``unit``, as
            `astropy.units` reads it, empty if there is none; ``description``; ``category``, the heading of its group;
            ``nullable``. Flags and pixel arrays are no columns: see `flag_table` and `pixel_array_table`.
        """
        from astra_models.columns.headings import column_table

        return column_table(cls)

    @classmethod
    def flag_table(cls) -> "Table":
        """Describe the flags of the model's bit fields.

        Returns
        -------
        astropy.table.Table
            A row per flag: ``name``, ``column``, ``bit`` (its value is ``2**bit``), ``description``.
        """
        from astra_models.columns.headings import flag_table

        return flag_table(cls)

    @classmethod
    def pixel_array_table(cls) -> "Table":
        """Describe the per-pixel arrays that a row reads from its file.

        Returns
        -------
        astropy.table.Table
            A row per array: ``name``, ``unit``, ``description``.
        """
        from astra_models.columns.headings import pixel_array_table

        return pixel_array_table(cls)

    @classmethod
    def concrete_models(cls) -> Iterator[type[Self]]:
        """Give this model and those derived from it, as far as they are tables, in the order of their definition.

        All of ours are among them, whether they have been imported or not.
        """
        models.complete()
        return (model for model in models if issubclass(model, cls) and not model.abstract)


def bind(target: peewee.Database, schema: str | None = None) -> None:
    """Move all models to a database, and on PostgreSQL to a schema of it.

    Models that are defined later follow. Open connections stay with the database that they belong to.

    Parameters
    ----------
    target : peewee.Database
        Any peewee database.
    schema : str, optional
        The schema of all tables.
    """
    layouts.forget()
    database.initialize(target)
    for model in models:
        model._meta.schema = schema
        model._meta.set_database(database)


def bound_schema() -> str | None:
    """Give the schema of all tables, or None."""
    return BaseModel._meta.schema


_parents_connections: list[Any] = []


def _leave_connection_to_parent() -> None:
    """In a forked process, drop the connection without closing it: it is the parent's, which goes on using it."""
    target = database.obj
    if target is not None and not target.is_closed() and not is_in_memory(target):
        _parents_connections.append(target.connection())
        target.dispose()


bind(*get_database_and_schema())
os.register_at_fork(after_in_child=_leave_connection_to_parent)
