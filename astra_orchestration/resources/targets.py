"""Where a run's database can be, and where a password may be sent.

A target is chosen in code or in the launchpad. Dagster keeps and shows what is typed there, so a password is never a
part of it: ``password_env`` names the environment variable that has it. Whoever can launch a run could otherwise name
any variable of the code server, and any server to send it to; so the names of variables have to match
``ASTRA_SECRET_VARIABLES``, and hosts have to be the configured one, or match ``ASTRA_DATABASE_HOSTS``.
"""

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import peewee
from pydantic import ConfigDict, Field

from astra_models.configuration import kind_of, shown_key
from astra_models.database.config import (
    PATH_VARIABLE,
    get_database_and_schema,
    hosts_of,
    postgresql_database,
    read_configuration,
    require_plain_path,
    require_plain_settings,
    sqlite_database,
    sqlite_settings,
)
from astra_models.database.postgresql import PATIENCE
from astra_models.errors import ConfigurationError, did_you_mean

__all__ = ["TARGETS", "ConfiguredTarget", "PostgresTarget", "SqliteTarget", "Target", "check_target"]

SECRETS_VARIABLE = "ASTRA_SECRET_VARIABLES"
SECRETS = "ASTRA_*PASSWORD* PGPASSWORD"
HOSTS_VARIABLE = "ASTRA_DATABASE_HOSTS"

# What a run computed is to survive a power cut; development's synchronous=0 doesn't promise that.
ORCHESTRATED_PRAGMAS: Mapping[str, Any] = {"synchronous": "normal"}

INSTEAD = "sqlite: {path: /data/astra.db}, or postgres: {dbname: survey, host: db}"
"""What the launchpad shows: it leaves out what is empty, so nobody would see that there is a choice."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ANY_HOST = re.compile(r"\s*\*:")


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
            If a setting is none, or a password would be sent where none may be sent.
        """
        _check_postgres({"schema": self.schema_, **self.model_dump(exclude={"kind", "schema_"})})
        connection = {"user": self.user, "host": self.host, "port": self.port, "password": self._password()}
        return postgresql_database(self.dbname, timezone=self.timezone, **connection, **self.patience), self.schema_

    def _password(self) -> str | None:
        if self.password_env is None:
            return None
        if password := os.environ.get(self.password_env):
            return password
        named = repr(self.password_env) if _NAME.fullmatch(self.password_env) else "that it names"
        raise ConfigurationError(
            f"target.postgres.password_env: the environment variable {named} is not set; export it where Dagster's "
            "code server runs, or leave password_env out and let libpq look in PGPASSWORD and ~/.pgpass"
        )


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
    instead: str = Field(default=INSTEAD, description="To be read in the launchpad: how another database is named")

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
            pragmas = section.get("pragmas") or {}
            if isinstance(pragmas, Mapping):
                config["database"] = {**section, "pragmas": {**ORCHESTRATED_PRAGMAS, **pragmas}}
        return get_database_and_schema(config)


TARGETS: dict[str, type[Target]] = {
    "postgres": PostgresTarget,
    "sqlite": SqliteTarget,
    "config": ConfiguredTarget,
}


def check_target(target: object, *, hosts: bool = True) -> None:
    """Make sure that a mapping is a target, with settings of the right kinds, and sends no password to a stranger.

    Parameters
    ----------
    target : object
        What was given.
    hosts : bool, optional
        Whether the hosts are checked, too: only the code server knows which are configured.

    Raises
    ------
    ConfigurationError
        If it isn't. Neither values are repeated nor keys that are no names: each may be a password.
    """
    if not isinstance(target, Mapping):
        raise ConfigurationError(f"target: is not a mapping with one of the keys {', '.join(TARGETS)}")
    if len(target) != 1 or not TARGETS.keys() >= target.keys():
        given = f"[{', '.join(sorted(map(shown_key, target)))}]"
        raise ConfigurationError(f"target: has {given}, but takes exactly one of {', '.join(TARGETS)}")
    [(kind, section)] = target.items()
    where = f"target.{kind}"
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"{where}: is not a mapping of settings")
    _require_known_keys(where, section, TARGETS[kind])
    if kind == "postgres":
        _check_postgres(section, hosts)
    elif kind == "sqlite":
        _require_text(where, "path", section.get("path"))
        require_plain_path(section["path"], f"{where}.path")
        sqlite_settings(section.get("pragmas"), f"{where}.pragmas")
    elif section.get("instead", INSTEAD) != INSTEAD:
        raise ConfigurationError(f"{where}.instead is there to be read; replace {where} as it says")


def _require_known_keys(where: str, section: Mapping[Any, Any], model: type[Target]) -> None:
    if "password" in section:
        raise ConfigurationError(
            f"{where}.password: passwords aren't configured, they would be kept with every run; export it, and "
            "name the environment variable in password_env"
        )
    known = {field.alias or name for name, field in model.model_fields.items()} - {"kind"}
    for key in section:
        if key not in known | {"kind"}:
            raise ConfigurationError(f"{where}: unknown key {shown_key(key)}; {did_you_mean(key, sorted(known))}")


def _require_text(where: str, key: str, value: object) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{where}.{key} is {kind_of(value)}, and is not text; give the text itself (variables of the environment "
            "aren't looked up here: they would be sent to a server, or shown)"
        )


def _check_postgres(section: Mapping[Any, Any], hosts: bool = True) -> None:
    where = "target.postgres"
    given = {str(key): value for key, value in section.items() if value is not None}
    _require_patience(f"{where}.patience", given.get("patience", {}))
    for key in ("dbname", *(given.keys() - {"port", "kind", "patience"})):
        _require_text(where, key, given.get(key))
    if type(given.get("port", 1)) is not int:
        raise ConfigurationError(f"{where}.port is {kind_of(given['port'])}, and is not a number")
    require_plain_settings(given, where)
    _require_secret(given.get("password_env"))
    if hosts:
        _require_trusted_hosts(given)


def _require_patience(where: str, patience: object) -> None:
    if not isinstance(patience, Mapping):
        raise ConfigurationError(f"{where} is {kind_of(patience)}, and is not a mapping of names to whole numbers")
    for name, value in patience.items():
        if name not in PATIENCE:
            raise ConfigurationError(f"{where}: unknown key {shown_key(name)}; {did_you_mean(str(name), PATIENCE)}")
        if type(value) is not int:
            raise ConfigurationError(f"{where}.{name} is {kind_of(value)}, and is not a whole number")


def _require_secret(variable: str | None) -> None:
    if variable is None or any(fnmatchcase(variable, pattern) for pattern in _patterns(SECRETS_VARIABLE, SECRETS)):
        return
    raise ConfigurationError(
        "target.postgres.password_env is not the name of a variable with a password (not shown: it may be one); names "
        f"match {' or '.join(_patterns(SECRETS_VARIABLE, SECRETS))}, unless {SECRETS_VARIABLE} is set to other patterns"
    )


def _require_trusted_hosts(section: Mapping[str, Any]) -> None:
    """Refuse hosts that nobody has configured, if a password is at hand that would be sent to them."""
    hosts = hosts_of(section.get("host"))
    at_hand = "password_env" if section.get("password_env") else _password_of_libpq()
    if at_hand is None or not hosts:
        return
    configured = read_configuration().get("database")
    known = hosts_of(configured.get("host")) if isinstance(configured, Mapping) else []
    for host in hosts:
        if host not in known and not any(_matches(host, pattern) for pattern in _patterns(HOSTS_VARIABLE, "")):
            raise ConfigurationError(
                f"target.postgres.host: the password of {at_hand} isn't sent to a host that nobody has configured; "
                f"name the host in {HOSTS_VARIABLE} where Dagster's code server runs (patterns, such as "
                "'localhost *.example.org'), or in the section 'database' of the configuration file"
            )


def _matches(host: str, pattern: str) -> bool:
    # A star stands for a part of a name, and not for a folder that anybody can have a socket in.
    same_kind = host.startswith(("/", "@")) == pattern.startswith(("/", "@"))
    return same_kind and fnmatchcase(host.lower(), pattern.lower())


def _patterns(variable: str, otherwise: str) -> list[str]:
    return re.findall(r"[^\s,]+", os.environ.get(variable) or otherwise)


def _password_of_libpq() -> str | None:
    """Name where libpq would find a password for any host, if it would."""
    for variable in ("PGPASSWORD", "PGSERVICE"):
        if os.environ.get(variable):
            return variable
    passfile = Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
    try:
        lines = passfile.read_text(errors="replace").splitlines()
    except OSError:
        return None
    return str(passfile) if any(_ANY_HOST.match(line) for line in lines) else None
