"""Which database to use: an environment variable, the configuration files, or one in memory.

In this order: ``ASTRA_DATABASE_PATH``, the ``TESTING`` flag, the configuration's ``database`` section, and an
in-memory SQLite database with a warning. A wrong setting is an error, and never leads to the next in the order.
Nothing here touches the network.
"""

import os
import warnings
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peewee

from astra_models.configuration import USER_FILES, expand_path, read_configuration
from astra_models.database.layout import TIMEZONE_VARIABLE
from astra_models.database.postgresql import PATIENCE, PostgresqlDatabase, patience
from astra_models.database.sqlite import SqliteDatabase
from astra_models.errors import ConfigurationError, close_names, did_you_mean

PATH_VARIABLE = "ASTRA_DATABASE_PATH"
IN_MEMORY = ":memory:"

POSTGRESQL_KEYS = {"dbname", "user", "host", "port", "password", "schema", "timezone", *PATIENCE}
SQLITE_KEYS = {"path", "pragmas"}

# Development settings, as documented: a power cut can corrupt the file with synchronous=0.
SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "cache_size": -16_000,
    "foreign_keys": 1,
    "busy_timeout": 30_000,
    "synchronous": 0,
}


def get_database_and_schema(config: Mapping[str, Any] | None = None) -> tuple[peewee.Database, str | None]:
    """Give the configured database, without connecting to it.

    Parameters
    ----------
    config : mapping, optional
        A configuration. Read from the user's file over the package's default if not given.

    Returns
    -------
    database : peewee.Database
        A PostgreSQL or SQLite database; its connections open on first use.
    schema : str or None
        The PostgreSQL schema of all tables.

    Raises
    ------
    ConfigurationError
        If the configuration is wrong.

    Warns
    -----
    UserWarning
        If nothing is configured: results then vanish with the process.
    """
    if path := os.environ.get(PATH_VARIABLE):
        return sqlite_database(path), None
    if config is None:
        config = read_configuration()
    if config.get("TESTING"):
        return sqlite_database(IN_MEMORY), None
    _refuse_misspelt_section(config)
    if "database" not in config:
        warnings.warn(
            "no database is configured, so results are kept in memory and vanish with this process; looked "
            f"at {PATH_VARIABLE}, ASTRA_CONFIG_PATH, and a 'database' section in {USER_FILES}",
            UserWarning,
            stacklevel=2,
        )
        return sqlite_database(IN_MEMORY), None
    return _database_from_section(config["database"])


def sqlite_database(path: str | Path, pragmas: Mapping[str, Any] | None = None) -> peewee.SqliteDatabase:
    """Make a SQLite database, with the documented settings unless `pragmas` changes them.

    Parameters
    ----------
    path : str or Path
        A file, which need not exist yet, or ``":memory:"``. An in-memory database is one for all threads.
    pragmas : mapping, optional
        SQLite pragmas that replace or add to the defaults.

    Raises
    ------
    ConfigurationError
        If the file's folder doesn't exist, or a pragma isn't a plain name and value.
    """
    settings = _sqlite_settings(pragmas)
    if str(path) == IN_MEMORY:
        return SqliteDatabase(IN_MEMORY, pragmas=settings, thread_safe=False, check_same_thread=False)
    file = Path(expand_path(path))
    if not file.parent.is_dir():
        raise ConfigurationError(f"SQLite file {str(file)!r}: there is no folder {str(file.parent)!r}; make it first")
    return SqliteDatabase(str(file), pragmas=settings, timeout=settings["busy_timeout"] / 1000)


def postgresql_database(
    dbname: str, timezone: str | None = None, **connection: str | int | None
) -> peewee.PostgresqlDatabase:
    """Make a PostgreSQL database.

    Parameters
    ----------
    dbname : str
        Name of the database.
    timezone : str, optional
        The zone in which times without one were written, such as ``"America/Denver"``; ``ASTRA_DATABASE_TIMEZONE`` if
        not given. Tables of our own have no such times.
    **connection
        ``user``, ``host``, ``port``, ``password``, or another parameter of libpq, which finds those that aren't given
        in its own ways (``PGPASSWORD``, ``~/.pgpass``, a service file). How long a silent network is waited for has
        defaults of ours: `astra_models.database.postgresql.PATIENCE`.

    Raises
    ------
    ConfigurationError
        If there is no time zone of that name.
    """
    settings: dict[str, Any] = {"application_name": "astra", **patience()}
    settings |= {key: value for key, value in connection.items() if value is not None}
    return PostgresqlDatabase(dbname, timezone=_timezone(timezone or os.environ.get(TIMEZONE_VARIABLE)), **settings)


def is_in_memory(database: peewee.Database) -> bool:
    """Tell whether a database is lost when the process ends."""
    return isinstance(database, peewee.SqliteDatabase) and database.database in (IN_MEMORY, "")


def _database_from_section(section: object) -> tuple[peewee.Database, str | None]:
    if not isinstance(section, Mapping):
        raise ConfigurationError(
            f"database: {section!r} is not a mapping; give 'dbname' (PostgreSQL) or 'path' (SQLite file)"
        )
    _refuse_unknown_keys(section)
    if "dbname" in section and "path" in section:
        raise ConfigurationError("database: has both 'dbname' (PostgreSQL) and 'path' (SQLite); keep one")
    if not section.get("dbname") and not section.get("path"):
        raise ConfigurationError(
            "database: has neither 'dbname' (PostgreSQL) nor 'path' (SQLite file), or it is empty; give one"
        )
    if "path" in section:
        return sqlite_database(section["path"], section.get("pragmas")), None
    settings = {key: value for key, value in section.items() if key not in ("dbname", "schema")}
    settings["timezone"] = os.environ.get(TIMEZONE_VARIABLE) or settings.get("timezone")
    for name in ("port", *PATIENCE):
        if settings.get(name) is not None:
            settings[name] = _integer(name, settings[name])
    schema = section.get("schema")
    if not isinstance(schema, str | None):
        raise ConfigurationError(f"database: schema {schema!r} is not text; put it in quotes")
    return postgresql_database(str(section["dbname"]), **settings), schema


def _refuse_misspelt_section(config: Mapping[str, Any]) -> None:
    if "database" in config:
        return
    for key in config:
        if close_names(key, ["database"], cutoff=0.8):
            raise ConfigurationError(f"the configuration has an unknown key {key!r}; did you mean database?")


def _sqlite_settings(pragmas: object) -> dict[str, Any]:
    if pragmas is not None and not isinstance(pragmas, Mapping):
        raise ConfigurationError(f"database.pragmas: {pragmas!r} is not a mapping of names to values")
    settings = SQLITE_PRAGMAS | {str(key).lower(): value for key, value in (pragmas or {}).items()}
    for key, value in settings.items():
        if not key.isidentifier() or not str(value).lstrip("-").isalnum():
            raise ConfigurationError(f"database.pragmas: {key} = {value!r} is not a plain name and value")
    return settings | {"busy_timeout": _integer("busy_timeout", settings["busy_timeout"])}


def _refuse_unknown_keys(section: Mapping[str, Any]) -> None:
    known = POSTGRESQL_KEYS if "dbname" in section else SQLITE_KEYS
    known = known if "dbname" in section or "path" in section else POSTGRESQL_KEYS | SQLITE_KEYS
    for key in section:
        if key not in known | {"dbname", "path"}:
            raise ConfigurationError(f"database: unknown key {key!r}; {did_you_mean(key, sorted(known))}")


def _timezone(name: str | None) -> str | None:
    if not name:
        return None
    try:
        return zoneinfo.ZoneInfo(name).key
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise ConfigurationError(
            f"database: timezone {name!r} is no time zone; give its name, such as America/Denver or UTC"
        ) from error


def _integer(name: str, value: str | float) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"database: {name} {value!r} is not a number") from error
