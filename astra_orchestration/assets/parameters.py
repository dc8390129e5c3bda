"""The parameters of a pipeline as fields of the launchpad."""

import logging
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import dagster as dg
from pydantic import Field, create_model

from astra_models.analysis.parameter_types import ParameterType
from astra_models.analysis.parameters import Parameter, description_of
from astra_models.analysis.recipe import HasParameters, recipe_of
from astra_models.errors import TaskError
from astra_models.outputs import Pipeline

__all__ = ["parameters_in", "say_if_redone", "with_parameters"]

PREFIX = "parameter_"
"""What begins the attributes that hold parameters: so that none is called like a method of pydantic's models."""

Config = TypeVar("Config", bound=dg.Config)


def with_parameters(config: type[Config], pipeline: Pipeline) -> type[Config]:
    """Add a field for each parameter of a pipeline that can be set for a run.

    Parameters
    ----------
    config : type of dagster.Config
        The configuration that all pipelines have.
    pipeline : Pipeline
        The pipeline.

    Raises
    ------
    TaskError
        If a parameter is called like a field that is there already.
    """
    return _with_fields(config, pipeline) if isinstance(pipeline, HasParameters) else config


@cache  # Dagster allows one type of a name
def _with_fields(config: type[Config], pipeline: HasParameters) -> type[Config]:
    fields: dict[str, Any] = {}
    for parameter in _configurable(pipeline):
        if parameter.name in config.model_fields:
            raise TaskError(
                f"{pipeline.name}: its parameter {parameter.name!r} is called like a field of every run; rename it"
            )
        hint, default = _field(parameter)
        field = Field(default=default, alias=parameter.name, description=_description(parameter))
        fields[PREFIX + parameter.name] = (hint, field)
    if not fields:
        return config
    return create_model(f"{pipeline.name}_{config.__name__}", __base__=config, __doc__=config.__doc__, **fields)


def parameters_in(config: dg.Config, pipeline: Pipeline) -> dict[str, object]:
    """Give the values of a pipeline's parameters that a run's configuration has.

    Where a parameter has an environment variable, None says that no value is given.
    """
    values = {one.name: _value(one, getattr(config, PREFIX + one.name)) for one in _configurable(pipeline)}
    return {
        one.name: values[one.name]
        for one in _configurable(pipeline)
        if values[one.name] is not None or not one.environment
    }


def say_if_redone(log: logging.Logger, pipeline: Pipeline, given: Mapping[str, object], *, keep: bool) -> None:
    """Say in a run's log, before it begins, what becomes of results that aren't made with the deployment's parameters.

    The deployment's parameters are the defaults, or what environment variables of the code server say.
    """
    ours, theirs = recipe_of(pipeline), recipe_of(pipeline, given)
    if ours is None or theirs is None or ours.digest == theirs.digest:
        return
    names = ", ".join(name for name, value in theirs.values.items() if value != ours.values.get(name))
    if keep:
        log.info(f"{names}: not as the deployment has it; with `keep`, these results stay until something else changes")
    else:
        log.warning(
            f"{names}: not as the deployment has it, so the sensor will have these results done again with the "
            "deployment's parameters; launch with `keep: true` to leave them as they are"
        )


def _configurable(pipeline: Pipeline | HasParameters) -> list[Parameter]:
    parameters: Mapping[str, Parameter] = pipeline.parameters if isinstance(pipeline, HasParameters) else {}
    return [parameter for parameter in parameters.values() if parameter.is_configuration]


def _description(parameter: Parameter) -> str | None:
    parts = [description_of(parameter)]
    if parameter.type is not None and parameter.type.choices and not _is_enumerated(parameter.type):
        parts.append(f"Takes {parameter.type}.")
    if parameter.environment and parameter.default is not None:
        parts.append(f"If that isn't set: {parameter.default}.")
    return " ".join(filter(None, parts)) or None


def _field(parameter: Parameter) -> tuple[object, object]:
    """Give the type of a parameter's field, of those that Dagster knows, and its default."""
    kind = cast("ParameterType", parameter.type)
    hint: Any = bool if kind.scalar is bool else kind.scalar if kind.scalar in (int, float) else str
    default: object = parameter.check(parameter.default)
    if _is_enumerated(kind):
        hint = Enum(
            f"{parameter.pipeline}_{parameter.name}",
            {kind.to_text(choice): kind.to_text(choice) for choice in kind.choices},
        )
        default = None if default is None else hint[kind.to_text(default)]
    elif kind.choices:
        hint = str
    if kind.container is not None:
        hint = list[hint]
        default = None if default is None else [_as_field(kind, item) for item in cast("list[object]", default)]
    elif not _is_enumerated(kind):
        default = _as_field(kind, default)
    if parameter.environment:
        return hint | None, None
    return (hint | None if kind.optional else hint), default


def _is_enumerated(kind: ParameterType) -> bool:
    """Whether there are nothing but choices; of a list, or beside a number, Dagster can't offer them."""
    return kind.scalar is None and kind.container is None


def _as_field(kind: ParameterType, value: object) -> object:
    if value is None:
        return None
    return kind.to_text(value) if kind.choices else str(value) if isinstance(value, Path) else value


def _value(parameter: Parameter, value: object) -> object:
    """Give a parameter's value from that of its field."""
    kind = cast("ParameterType", parameter.type)
    if isinstance(value, Enum):
        value = value.value
    if value is None or not kind.choices:
        return value
    if kind.container is not None:
        return [parameter.from_text(item) for item in cast("list[str]", value)]
    return parameter.from_text(cast("str", value))
