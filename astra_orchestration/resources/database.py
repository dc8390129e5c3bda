"""The database of a run, chosen in code or in the launchpad.

`DatabaseResource` says where results go: a PostgreSQL database, a SQLite file, or whatever the configuration files
say. All models are bound to it on first use, so that a database that can't be reached fails the step that needs it, by
a message that says what to do, and not the setting up of the run.
"""

import os
from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg
import peewee
from pydantic import ConfigDict, Field, PrivateAttr

from astra_models import base
from astra_models.base import BaseModel
from astra_models.database.config import (
    PATH_VARIABLE,
    get_database_and_schema,
    is_in_memory,
    postgresql_database,
    read_configuration,
    sqlite_database,
)
from astra_models.database.peewee_internals import settings_of
from astra_models.database.postgresql import PATIENCE
from astra_models.database.retry import describe, one_line
from astra_models.errors import ConfigurationError, DatabaseUnavailableError, did_you_mean
from astra_models.outputs import packages_of
from astra_models.schema.migration import require_current
from astra_models.schema.tables import existing_tables, require_tables

__all__ = [
    "ConfiguredTarget",
    "DatabaseResource",
    "PostgresTarget",
    "SqliteTarget",
    "connect",
]

# What a run computed is to survive a power cut; development's synchronous=0 doesn't promise that.
ORCHESTRATED_PRAGMAS: Mapping[str, Any] = {"synchronous": "normal"}


class Target(dg.Config):
    """Base of the targets. Errors never repeat a wrong value: it may be a misplaced password."""

    model_config = ConfigDict(hide_input_in_errors=True)


class PostgresTarget(Target):
    """A PostgreSQL database. There is no field for a password: name the environment variable that holds it."""

    kind: Literal["postgres"] = "postgres"
    dbname: str = Field(description="Name of the database")
    user: str | None = Field(default=None, description="As whom to connect")
    host: str | None = Field(default=None, description="Machine, or folder of the socket")
    port: int | None = Field(default=None, description="Port")
    schema_: str | None = Field(default=None, alias="schema", description="Schema of all tables")
    timezone: str | None = Field(
        default=None, description="Zone of times that are stored without one, such as America/Denver"
    )
    password_env: str | None = Field(
        default=None,
        description="Environment variable that holds the password. Without it, libpq looks in PGPASSWORD and ~/.pgpass",
    )
    patience: dict[str, int] = Field(
        default={},
        description="How long a silent network is waited for, by libpq's names: connect_timeout, tcp_user_timeout, ...",
    )

    def resolve(self) -> tuple[peewee.Database, str | None]:
        """Make the database, without connecting to it.

        Raises
        ------
        ConfigurationError
            If the environment variable isn't set, `dbname` is a connection string, or `patience` has an unknown key.
        """
        if "=" in self.dbname or "://" in self.dbname:
            raise ConfigurationError(
                "target.postgres.dbname is a connection string; give the database's name alone, and the rest in "
                "user, host, port and password_env"
            )
        for name in self.patience.keys() - PATIENCE.keys():
            raise ConfigurationError(f"target.postgres.patience: unknown key {name!r}; {did_you_mean(name, PATIENCE)}")
        connection = {"user": self.user, "host": self.host, "port": self.port, "password": self._password()}
        return postgresql_database(self.dbname, timezone=self.timezone, **connection, **self.patience), self.schema_

    def _password(self) -> str | None:
        if self.password_env is None:
            return None
        try:
            return os.environ[self.password_env]
        except KeyError:
            raise ConfigurationError(
                f"target.postgres.password_env: the environment variable {self.password_env!r} is not set; export it, "
                "or leave password_env out and let libpq look in PGPASSWORD and ~/.pgpass"
            ) from None


class SqliteTarget(Target):
    """A SQLite file."""

    kind: Literal["sqlite"] = "sqlite"
    path: str = Field(description="The file, made if it isn't there; ':memory:' for tests")
    pragmas: dict[str, Any] = Field(default={}, description="SQLite pragmas that replace the defaults")

    def resolve(self) -> tuple[peewee.Database, str | None]:
        """Make the database, without opening the file."""
        return sqlite_database(self.path, {**ORCHESTRATED_PRAGMAS, **self.pragmas}), None


class ConfiguredTarget(Target):
    """The database that ``ASTRA_DATABASE_PATH`` or the configuration files name."""

    kind: Literal["config"] = "config"

    def resolve(self) -> tuple[peewee.Database, str | None]:
        """Make the database, without connecting to it.

        Raises
        ------
        ConfigurationError
            If something is configured, and wrong.
        """
        if os.environ.get(PATH_VARIABLE):
            return SqliteTarget(path=os.environ[PATH_VARIABLE]).resolve()
        config = dict(read_configuration())
        section = config.get("database")
        if isinstance(section, Mapping) and section.get("path") and "dbname" not in section:
            config["database"] = {
                **section,
                "pragmas": {**ORCHESTRATED_PRAGMAS, **(section.get("pragmas") or {})},
            }
        return get_database_and_schema(config)


class DatabaseResource(dg.ConfigurableResource):
    """The database that sources, spectra and results live in."""

    # The launchpad shows the docstring, as one line. `target` is one of the targets, or a mapping with one key:
    # {"postgres": {"dbname": ..., "password_env": ...}}, {"sqlite": {"path": ...}}, or {"config": {}}, the default.

    target: PostgresTarget | SqliteTarget | ConfiguredTarget = Field(
        default_factory=ConfiguredTarget,
        discriminator="kind",
        description="Where the database is: `postgres`, `sqlite`, or `config` for what the configuration files say",
    )

    model_config = ConfigDict(hide_input_in_errors=True)
    _keeps_results: bool = PrivateAttr(default=False)

    def __init__(self, **data: Any):
        if "target" in data and not isinstance(data["target"], Target):
            _check_target(data["target"])
        super().__init__(**data)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Note whether the run is one whose results are to be kept. Nothing is opened here."""
        self._keeps_results = context.instance is not None and not context.instance.is_ephemeral

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close this thread's connection."""
        from astra_models.base import database

        if database.obj is not None and not is_in_memory(database.obj) and not database.is_closed():
            database.close()

    def connect(self, *models: type[BaseModel]) -> peewee.Database:
        """Bind all models to the database, and make sure that it can be used.

        Parameters
        ----------
        *models : type
            Models whose tables are needed.

        Returns
        -------
        peewee.Database
            The database, with this thread's connection open.

        Raises
        ------
        ConfigurationError
            If the target is wrong, or in memory although results are to be kept.
        DatabaseUnavailableError
            If it can't be reached.
        MissingTableError
            If its schema or a table isn't there.
        """
        database, schema = self.target.resolve()
        if self._keeps_results and is_in_memory(database):
            raise ConfigurationError(
                "the database is in memory, so this run's results would vanish with its process; set "
                "ASTRA_DATABASE_PATH, a 'database' section in the configuration file, or the resource's target "
                '({"sqlite": {"path": ...}})'
            )
        _bind_unless_bound(database, schema)
        return connect(*models)


def connect(*models: type[BaseModel]) -> peewee.Database:
    """Open the bound database, and make sure that it can be used.

    Parameters
    ----------
    *models : type
        Models whose tables are needed.

    Raises
    ------
    DatabaseUnavailableError
        If the database can't be reached.
    MissingTableError
        If the schema or a table isn't there.
    OutdatedSchemaError
        If the tables are those of an older release, of ours or of the models' package.
    """
    try:
        require_current(packages_of(models))
        if models:
            require_tables(*models)
        else:
            existing_tables()
    except peewee.PeeweeException as error:
        raise DatabaseUnavailableError(
            f"{describe(base.database)} can't be used: {one_line(error)}; check that it is what it should be, and that "
            "you may read and write it"
        ) from error
    return base.database.obj


_TARGETS: dict[str, type[Target]] = {
    "postgres": PostgresTarget,
    "sqlite": SqliteTarget,
    "config": ConfiguredTarget,
}


def _check_target(target: object) -> None:
    """Refuse unknown keys, by name only: a wrong key's value may be a password."""
    if not isinstance(target, Mapping):
        raise ConfigurationError(f"target: is not a mapping with one of the keys {', '.join(_TARGETS)}")
    if len(target) != 1 or not _TARGETS.keys() >= target.keys():
        raise ConfigurationError(f"target: has {sorted(target)}, but takes exactly one of {', '.join(_TARGETS)}")
    [(kind, section)] = target.items()
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"target.{kind}: is not a mapping of settings")
    if "password" in section:
        raise ConfigurationError(
            f"target.{kind}.password: passwords aren't configured, they would be kept with every run; export it, and "
            "name the environment variable in password_env"
        )
    known = {field.alias or name for name, field in _TARGETS[kind].model_fields.items()} - {"kind"}
    for key in set(section) - known - {"kind"}:
        raise ConfigurationError(f"target.{kind}: unknown key {key!r}; {did_you_mean(key, sorted(known))}")


def _bind_unless_bound(database: peewee.Database, schema: str | None) -> None:
    """Bind a database unless it is bound already: that would drop its open connections, and tables in memory."""
    if base.database.obj is None or (_identity(base.database.obj), base.bound_schema()) != (
        _identity(database),
        schema,
    ):
        base.bind(database, schema)


def _identity(database: peewee.Database) -> tuple[Any, ...]:
    if is_in_memory(database):
        return ("in memory",)
    zone, settings = getattr(database, "timezone", None), settings_of(database)
    return type(database), database.database, database.connect_params, zone, settings
