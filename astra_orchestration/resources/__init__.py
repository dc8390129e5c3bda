"""Resources: the database of a run, watched folders, and the IO manager."""

from astra_orchestration.resources.bundle import in_memory_resources, resources_for
from astra_orchestration.resources.database import DatabaseResource, connect
from astra_orchestration.resources.targets import ConfiguredTarget, PostgresTarget, SqliteTarget

__all__ = [
    "ConfiguredTarget",
    "DatabaseResource",
    "PostgresTarget",
    "SqliteTarget",
    "connect",
    "in_memory_resources",
    "resources_for",
]
