"""Which database to use: an environment variable, the configuration files, or one in memory.

In this order: ``ASTRA_DATABASE_PATH``, the ``TESTING`` flag, the configuration's ``database`` section, and an
in-memory SQLite database with a warning. A wrong setting is an error, and never leads to the next in the order.
Nothing here touches the network. No error repeats a configured value, which may be a misplaced password, or comes
with another error that does.
"""

import ipaddress
import os
import re
import warnings
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peewee

from astra_models.configuration import USER_FILES, expand_path, kind_of, read_configuration, shown_key
from astra_models.configuration_file import is_connection_string, shown_path
from astra_models.database.layout import TIMEZONE_VARIABLE
from astra_models.database.postgresql import PATIENCE, PostgresqlDatabase, patience
from astra_models.database.sqlite import SqliteDatabase
from astra_models.errors import ConfigurationError, close_names, did_you_mean

PATH_VARIABLE = "ASTRA_DATABASE_PATH"
IN_MEMORY = ":memory:"

POSTGRESQL_KEYS = {"dbname", "user", "host", "port", "password", "schema", "timezone", *PATIENCE}
SQLITE_KEYS = {"path", "pragmas"}
NAMES = {"dbname": "database"}

_HOST = re.compile(r"[A-Za-z0-9._-]+")
_CONNECTION = re.compile(r"[:=]|//")

# Development settings, as documented: a power cut can corrupt the file with synchronous=0.
SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "cache_size": -16_000,
    "foreign_keys": 1,
    "busy_timeout": 30_000,
    "synchronous": 0,
}
ONE_FOR_ALL_THREADS: Mapping[str, Any] = {"thread_safe": False, "check_same_thread": False}


class _Unconfigured(SqliteDatabase):
    """The database in memory of who has configured none. It says so when it is opened: an import keeps no results."""

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Open the database, with a warning that it will vanish."""
        if self.is_closed():
            warnings.warn(
                "no database is configured, so results are kept in memory and vanish with this process; looked "
                f"at {PATH_VARIABLE}, ASTRA_CONFIG_PATH, and a 'database' section in {USER_FILES}",
                UserWarning,
                stacklevel=2,
            )
        return super().connect(reuse_if_open=reuse_if_open)


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
        If nothing is configured, once the database is opened: results then vanish with the process.
    """
    if path := os.environ.get(PATH_VARIABLE):
        return sqlite_database(path), None
    if config is None:
        config = read_configuration()
    if config.get("TESTING"):
        return sqlite_database(IN_MEMORY), None
    _refuse_misspelt_section(config)
    if "database" not in config:
        return _Unconfigured(IN_MEMORY, pragmas=sqlite_settings(None), **ONE_FOR_ALL_THREADS), None
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
    settings = sqlite_settings(pragmas)
    if str(path) == IN_MEMORY:
        return SqliteDatabase(IN_MEMORY, pragmas=settings, **ONE_FOR_ALL_THREADS)
    require_plain_path(path)
    file = Path(expand_path(path))
    if not file.parent.is_dir():
        raise ConfigurationError(
            f"SQLite file {shown_path(file)}: there is no folder {shown_path(file.parent)}; make it first"
        )
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


def require_plain_path(path: str | Path, where: str = "the path of the SQLite file") -> None:
    """Make sure that the path of a SQLite file isn't a connection string.

    Parameters
    ----------
    path : str or Path
        The path.
    where : str, optional
        What the setting is called, for the error.

    Raises
    ------
    ConfigurationError
        If it is; the error doesn't repeat it.
    """
    if is_connection_string(str(path)):
        raise ConfigurationError(
            f"{where} is a connection string (not shown: it may hold a password); give the path "
            "of a file, or for PostgreSQL a section 'database' with 'dbname', 'host' and 'user' in the configuration "
            "file"
        )


def require_plain_settings(section: Mapping[str, object], where: str) -> None:
    """Make sure that the settings of a PostgreSQL database are names, and none is a connection string or a list.

    Parameters
    ----------
    section : mapping
        ``dbname``, ``user``, ``host``, ``schema``, as far as they are given.
    where : str
        What the section is called, for the error.

    Raises
    ------
    ConfigurationError
        If one isn't; it names the setting, and not its value.
    """
    for key in ("dbname", "user", "host", "schema"):
        value = section.get(key)
        if value is not None and not isinstance(value, str) and not (key == "dbname" and type(value) is int):
            raise ConfigurationError(f"{where}: {key} is {kind_of(value)}, and is not text; put it in quotes")
        if key != "host" and value is not None and _CONNECTION.search(str(value)):
            raise ConfigurationError(
                f"{where}: {key} is a connection string (not shown: it may hold a password); give the "
                f"{NAMES.get(key, key)}'s name alone, and the rest by keys of its own, such as user, host and port"
            )
    if not all(map(_is_host, hosts_of(section.get("host")))):
        raise ConfigurationError(
            f"{where}: host is not the name or the address of a machine, or the folder of a socket (not shown: it may "
            "hold a password); user, port and password have keys of their own"
        )


def hosts_of(host: object) -> list[str]:
    """Give the hosts that libpq would try, one after the other; those that it chooses itself aside."""
    return [one for one in str(host or "").split(",") if one]


def _is_host(text: str) -> bool:
    if text.startswith(("/", "@")):
        return not _CONNECTION.search(text[1:])
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return True


def _database_from_section(section: object) -> tuple[peewee.Database, str | None]:
    if not isinstance(section, Mapping):
        raise ConfigurationError(
            f"database: is {kind_of(section)}, and is not a mapping; give 'dbname' (PostgreSQL) or 'path' (SQLite file)"
        )
    _refuse_unknown_keys(section)
    if "dbname" in section and "path" in section:
        raise ConfigurationError("database: has both 'dbname' (PostgreSQL) and 'path' (SQLite); keep one")
    if not section.get("dbname") and not section.get("path"):
        raise ConfigurationError(
            "database: has neither 'dbname' (PostgreSQL) nor 'path' (SQLite file), or it is empty; give one"
        )
    if "path" in section:
        if not isinstance(section["path"], str):
            raise ConfigurationError(f"database: path is {kind_of(section['path'])}, and is not text; put it in quotes")
        return sqlite_database(section["path"], section.get("pragmas")), None
    require_plain_settings(section, "database")
    settings = {key: value for key, value in section.items() if key not in ("dbname", "schema")}
    settings["timezone"] = os.environ.get(TIMEZONE_VARIABLE) or settings.get("timezone")
    for name in ("port", *PATIENCE):
        if settings.get(name) is not None:
            settings[name] = _integer(name, settings[name])
    if isinstance(settings.get("password"), Mapping | list):
        raise ConfigurationError(f"database: password is {kind_of(settings['password'])}, and is not text")
    return postgresql_database(str(section["dbname"]), **settings), section.get("schema")


def _refuse_misspelt_section(config: Mapping[str, Any]) -> None:
    if "database" in config:
        return
    for key in config:
        if close_names(key, ["database"], cutoff=0.8):
            raise ConfigurationError(f"the configuration has an unknown key {shown_key(key)}; did you mean database?")


def sqlite_settings(pragmas: object, where: str = "database.pragmas") -> dict[str, Any]:
    """Give the settings of a SQLite database: the documented ones, and those that are given.

    Parameters
    ----------
    pragmas : mapping, optional
        SQLite pragmas that replace or add to the documented ones.
    where : str, optional
        What they are called, for the error.

    Raises
    ------
    ConfigurationError
        If a pragma isn't a plain name and value.
    """
    if pragmas is not None and not isinstance(pragmas, Mapping):
        raise ConfigurationError(f"{where}: is {kind_of(pragmas)}, and is not a mapping of names to values")
    settings = SQLITE_PRAGMAS | {str(key).lower(): value for key, value in (pragmas or {}).items()}
    for key, value in settings.items():
        if not key.isidentifier() or not str(value).lstrip("-").isalnum():
            raise ConfigurationError(
                f"{where}: {shown_key(key)} is not a plain name and value, such as synchronous: normal"
            )
    return settings | {"busy_timeout": _integer("busy_timeout", settings["busy_timeout"])}


def _refuse_unknown_keys(section: Mapping[str, Any]) -> None:
    known = POSTGRESQL_KEYS if "dbname" in section else SQLITE_KEYS
    known = known if "dbname" in section or "path" in section else POSTGRESQL_KEYS | SQLITE_KEYS
    for key in section:
        if key not in known | {"dbname", "path"}:
            raise ConfigurationError(f"database: unknown key {shown_key(key)}; {did_you_mean(key, sorted(known))}")


def _timezone(name: object) -> str | None:
    if not name:
        return None
    try:
        return zoneinfo.ZoneInfo(str(name)).key
    except (KeyError, ValueError, TypeError, OSError):
        pass  # raised below, without the error that repeats the name
    raise ConfigurationError(
        f"database: timezone (in the configuration or in {TIMEZONE_VARIABLE}) is no time zone; give its name, such as "
        "America/Denver or UTC"
    )


def _integer(name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        pass  # raised below, without the error that repeats the value
    raise ConfigurationError(f"database: {name} is {kind_of(value)}, and is not a number")
