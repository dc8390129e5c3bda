"""Where both databases are: the configured results, and Dagster's records of a ``DAGSTER_HOME``."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peewee
import psycopg2.extensions

from astra_models.base import bound_schema, database
from astra_models.errors import ConfigurationError
from astra_orchestration.backup.folder import BackupError
from astra_orchestration.backup.postgresql import PostgresSchema

__all__ = ["DagsterFiles", "dagster_home", "dagster_records", "results_place"]

HOME = "DAGSTER_HOME"


def results_place() -> Path | PostgresSchema:
    """Give the configured database of results: its SQLite file, or its schema."""
    bound = database.obj
    if isinstance(bound, peewee.SqliteDatabase):
        return Path(str(bound.database))
    return PostgresSchema({"dbname": bound.database} | dict(bound.connect_params), bound_schema())


def dagster_home() -> Path | None:
    """Give ``DAGSTER_HOME``; None if it isn't set.

    Raises
    ------
    ConfigurationError
        If it is no folder.
    """
    if not (named := os.environ.get(HOME)):
        return None
    home = Path(named).expanduser()
    if not home.is_dir():
        raise ConfigurationError(f"{HOME} is {home}, and there is no such folder; make it, or name another one")
    return home


class DagsterFiles:
    """The SQLite files of Dagster's records.

    Parameters
    ----------
    base : Path
        Their folder, ``DAGSTER_HOME`` or another one.
    """

    def __init__(self, base: Path):
        self.base = base

    def files(self) -> list[Path]:
        """Give the files, relative to `base`."""
        own = ("history", "schedules")
        return sorted(
            path.relative_to(self.base)
            for path in self.base.rglob("*.db")
            if path.relative_to(self.base).parts[0] in own and not path.is_symlink()
        )


def dagster_records(home: Path) -> DagsterFiles | PostgresSchema:
    """Give where Dagster keeps its records, by its own configuration. Nothing is opened: it may be damaged.

    Raises
    ------
    BackupError
        If they are in another kind of storage.
    """
    from dagster._config import process_config, resolve_to_config_type
    from dagster._core.instance.ref import InstanceRef

    data = InstanceRef.from_dir(str(home)).storage_data
    if data is None:
        raise BackupError("dagster.yaml gives each of Dagster's storages a place of its own: give one, under `storage`")
    kind = getattr(importlib.import_module(data.module_name), data.class_name)
    read = process_config(resolve_to_config_type(kind.config_type()), data.config_dict)
    if not read.success:
        raise BackupError(f"{home / 'dagster.yaml'}: the storage isn't configured as Dagster wants it")
    settings: Mapping[str, Any] = read.value or {}
    if "base_dir" in settings:
        return DagsterFiles(Path(settings["base_dir"]))
    if data.class_name != "DagsterPostgresStorage":
        raise BackupError(f"Dagster's records are in {data.class_name}: back them up by its own means, --only results")
    from dagster_postgres.utils import pg_url_from_config  # pyright: ignore[reportMissingImports]  of an extra

    url = str(pg_url_from_config(settings)).replace("postgresql+psycopg2:", "postgresql:", 1)
    return PostgresSchema(psycopg2.extensions.parse_dsn(url))
