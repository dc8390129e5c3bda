"""Where a run calls its pipeline: chosen in code, or in the launchpad."""

import functools
import operator
from dataclasses import fields
from typing import Any, Literal, get_type_hints

import dagster as dg
from pydantic import Field, create_model

from astra_models.analysis.engine import Engine
from astra_orchestration.engines.choosing import ENGINES, IN_PROCESS, configured_engine, make_engine
from astra_orchestration.engines.clusters import Bounded

__all__ = ["EngineResource"]


INSTEAD = "in_process: {}, or local: {workers: 8}, or slurm: {jobs: 20, ...}"
"""What the launchpad shows: it leaves out what is empty, so nobody would see that there is a choice."""


class ConfiguredEngine(dg.Config):
    """What the section ``engines`` of the configuration files says; the run's own process if it says nothing."""

    kind: Literal["config"] = "config"
    instead: str = Field(default=INSTEAD, description="To be read in the launchpad: how another engine is chosen")


def _config_of(kind: Any, engine: type[Bounded]) -> type[dg.Config]:
    """Make the launchpad's fields of an engine's settings."""
    hints = get_type_hints(engine)
    settings: dict[str, Any] = {
        one.name: (
            list[str] if one.default == () else hints[one.name],
            Field(default=[] if one.default == () else one.default, description=one.metadata["about"]),
        )
        for one in fields(engine)
    }
    settings["kind"] = (Literal[kind], kind)
    about = "The run's own process." if kind == IN_PROCESS else engine.__doc__
    return create_model(f"{kind}Engine", __base__=dg.Config, __doc__=about, **settings)


AnyEngine: Any = functools.reduce(operator.or_, (_config_of(*one) for one in ENGINES.items()), ConfiguredEngine)


class EngineResource(dg.ConfigurableResource):
    """Where pipelines are called."""

    # `engine` is a mapping with one key, as for the database's target: {"local": {"workers": 8}}.

    engine: AnyEngine = Field(  # pyright: ignore[reportInvalidTypeForm]  made from the engines' settings
        default_factory=ConfiguredEngine,
        discriminator="kind",
        description="`config` (as the configuration files say), `in_process`, `local` (the cores of this computer), "
        "`slurm`, or the `address` of a scheduler",
    )

    @property
    def is_chosen(self) -> bool:
        """Whether it says more than that the configuration files decide."""
        return not isinstance(self.engine, ConfiguredEngine)

    def make(self) -> Engine:
        """Make the engine.

        Raises
        ------
        ConfigurationError
            If a setting is wrong.
        """
        if isinstance(self.engine, ConfiguredEngine):
            return configured_engine()
        return make_engine(self.engine.kind, self.engine.model_dump(exclude={"kind"}))
