"""Choosing an engine by its name, with settings of the configuration files and of the command line."""

from collections.abc import Mapping
from dataclasses import fields

from pydantic import TypeAdapter, ValidationError

from astra_models.analysis.engine import Engine, InProcess
from astra_models.configuration import kind_of, read_configuration, shown_key
from astra_models.errors import ConfigurationError, UnknownEngineError, did_you_mean
from astra_orchestration.engines.clusters import Address, Bounded, Cluster, Local, Slurm
from astra_orchestration.engines.on_workers import OnWorkers

__all__ = ["ENGINES", "IN_PROCESS", "configured_engine", "make_engine"]

IN_PROCESS = "in_process"
ENGINES: Mapping[str, type[Bounded]] = {
    IN_PROCESS: Bounded,
    **{cluster.name: cluster for cluster in (Local, Slurm, Address)},
}
"""The settings of each engine. Those of ``in_process`` are of the child process, for what a run left that died."""


def make_engine(name: str, settings: Mapping[str, object] | None = None) -> Engine:
    """Make an engine.

    Parameters
    ----------
    name : {"in_process", "local", "slurm", "address"}
        Which.
    settings : mapping of str to object, optional
        Its settings; the others have their defaults.

    Raises
    ------
    UnknownEngineError
        If there is no such engine.
    ConfigurationError
        If it has no such setting, or a setting can't have its value.
    """
    if name not in ENGINES:
        raise UnknownEngineError(f"there is no engine {name!r}; {did_you_mean(name, ENGINES)}")
    known = [field.name for field in fields(ENGINES[name])]
    for setting in settings or {}:
        if setting not in known:
            raise ConfigurationError(
                f"the engine {name!r} has no setting {shown_key(setting)}; {did_you_mean(str(setting), known)}"
            )
    try:
        made = TypeAdapter(ENGINES[name]).validate_python(dict(settings or {}))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        setting = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"the engine {name!r}: its setting {setting!r} is wrong: {first['msg']}") from None
    return OnWorkers(made) if isinstance(made, Cluster) else InProcess(made.limits)


def configured_engine(name: str | None = None, **given: object) -> Engine:
    """Make an engine with the settings of the section ``engines`` of the configuration files.

    Parameters
    ----------
    name : str, optional
        Which; if not given, the configuration's ``default``, else ``in_process``, or ``local`` if ``workers`` is given.
    **given
        Settings that go before the configured ones; None is none.

    Raises
    ------
    ConfigurationError
        If the configuration is wrong.
    """
    configured = read_configuration().get("engines") or {}
    if not isinstance(configured, Mapping):
        raise ConfigurationError(f"engines: is {kind_of(configured)}, and not a mapping of engines to their settings")
    mine = {key: value for key, value in given.items() if value is not None}
    if name is None:
        name = str(configured.get("default") or ("local" if "workers" in mine else IN_PROCESS))
    settings = configured.get(name) or {}
    if not isinstance(settings, Mapping):
        raise ConfigurationError(f"engines: {shown_key(name)} is {kind_of(settings)}, and not a mapping of settings")
    if name == Slurm.name and "workers" in mine:
        mine["jobs"] = mine.pop("workers")
    return make_engine(name, {**settings, **mine})
