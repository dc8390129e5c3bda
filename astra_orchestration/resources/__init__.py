"""Resources: the database of a run, watched folders, and the IO manager."""

import functools
from collections.abc import Mapping
from typing import Any

from astra_models import base
from astra_models.database.config import IN_MEMORY, sqlite_database
from astra_models.outputs import all_models
from astra_models.schema.tables import create_tables
from astra_orchestration.resources.database import DatabaseResource, connect
from astra_orchestration.resources.engine import INSTEAD as INSTEAD_OF_ENGINE
from astra_orchestration.resources.engine import EngineResource
from astra_orchestration.resources.folders import ResultFoldersResource
from astra_orchestration.resources.io_manager import pipeline_result_io_manager
from astra_orchestration.resources.targets import INSTEAD, ConfiguredTarget, PostgresTarget, SqliteTarget, Target

__all__ = [
    "ConfiguredTarget",
    "DatabaseResource",
    "EngineResource",
    "PostgresTarget",
    "SqliteTarget",
    "connect",
    "in_memory_resources",
    "resources_for",
    "shared_resources",
]


def resources_for(
    target: Mapping[str, Any] | Target | None = None, engine: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Give the resources that all our assets need.

    Parameters
    ----------
    target : mapping or Target, optional
        Where the database is, see `DatabaseResource`; by default as the configuration files say.
    engine : mapping, optional
        Where pipelines are called, such as ``{"local": {"workers": 8}}``, see `EngineResource`; by default as the
        configuration files say, else in the run's own process.

    Returns
    -------
    dict
        ``database``, ``engine``, ``pipeline_results`` and ``result_folders``, for `dagster.Definitions` or
        `dagster.materialize`.
    """
    # Given even where it is the default: the launchpad shows what was given.
    return {
        "database": DatabaseResource(target=target or {"config": {"instead": INSTEAD}}),
        "engine": EngineResource(engine=engine or {"config": {"instead": INSTEAD_OF_ENGINE}}),
        "pipeline_results": pipeline_result_io_manager,
        "result_folders": ResultFoldersResource(folders=[]),
    }


@functools.cache
def shared_resources() -> dict[str, Any]:
    """Give the default resources, the same ones each time: definitions that have them can be merged."""
    return resources_for()


def in_memory_resources() -> dict[str, Any]:
    """Give the resources on a new, empty in-memory database with the tables of all models, for a test.

    Returns
    -------
    dict
        As for `resources_for`. All models are bound to that database.
    """
    base.bind(sqlite_database(IN_MEMORY))
    create_tables(all_models())
    return resources_for({"sqlite": {"path": IN_MEMORY}})
