"""The database of a run, chosen in code or in the launchpad.

`DatabaseResource` says where results go: a PostgreSQL database, a SQLite file, or whatever the configuration files
say. All models are bound to it on first use, so that a database that can't be reached fails the step that needs it, by
a message that says what to do, and not the setting up of the run.
"""

from typing import Any

import dagster as dg
import peewee
from dagster._config.pythonic_config.resource import ConfigurableResourceFactoryResourceDefinition
from dagster._utils.cached_method import cached_method
from pydantic import ConfigDict, Field, PrivateAttr

from astra_models import base
from astra_models.base import BaseModel
from astra_models.database.config import is_in_memory
from astra_models.database.peewee_internals import settings_of
from astra_models.errors import ConfigurationError
from astra_models.outputs.opening import connect
from astra_orchestration.resources.launchpad import launchpad_schema
from astra_orchestration.resources.targets import ConfiguredTarget, PostgresTarget, SqliteTarget, Target, check_target

__all__ = [
    "ConfiguredTarget",
    "DatabaseResource",
    "PostgresTarget",
    "SqliteTarget",
    "connect",
]


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
            check_target(data["target"])
        super().__init__(**data)

    @cached_method  # Dagster needs the same definition each time
    def get_resource_definition(self) -> ConfigurableResourceFactoryResourceDefinition:
        """Give Dagster's definition, with settings that are checked before a run keeps them."""
        plain = super().get_resource_definition()
        return ConfigurableResourceFactoryResourceDefinition(
            type(self),
            resource_fn=plain.resource_fn,
            config_schema=launchpad_schema(plain.config_schema.default_value),
            description=plain.description,
            nested_resources=plain.nested_resources,
            nested_partial_resources=plain.nested_partial_resources,
        )

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
