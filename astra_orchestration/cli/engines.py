"""The options of ``astra run`` that say where a pipeline is called."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astra_models.analysis.engine import Engine


def engine_given(engine: str | None, workers: int | None) -> "Engine":
    """Make the engine that is asked for, with what the configuration files say of it.

    Raises
    ------
    ConfigurationError
        If there is no such engine, or the configuration is wrong.
    """
    from astra_orchestration.engines.choosing import configured_engine

    if engine is not None and "://" in engine:
        return configured_engine("address", address=engine)
    return configured_engine(engine, workers=workers)
