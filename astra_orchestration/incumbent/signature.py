"""What a pipeline of another Astra takes and gives, by its signature: in our models, or what the operator says."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import peewee

from astra_models.analysis.parameter_types import parameter_type
from astra_models.analysis.parameters import COMMAND_NAMES
from astra_models.analysis.stream import analyse
from astra_models.analysis.task import Task, task
from astra_models.base import BaseModel
from astra_models.errors import ConfigurationError, ParameterError, TaskError, did_you_mean
from astra_models.outputs.known_models import model_named, output_model_named
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_orchestration.incumbent.classes import version_of
from astra_orchestration.incumbent.queries import Selection, read_query

__all__ = ["NOT_PASSED", "Shape", "read_shape"]

NOT_PASSED = frozenset({"page", "limit", "live", "live_renderable", "write_to_database", "write_frequency", "run_id"})
"""Arguments by which the other Astra narrows, shows or stores a run: here, the run itself does that."""

INPUTS = ("spectra", "spectrum", "sources", "source")

Models = str | type[BaseModel] | Sequence[str | type[BaseModel]] | None


@dataclass(frozen=True)
class Shape:
    """What a pipeline takes and gives.

    Parameters
    ----------
    input : str or None
        Its parameter of spectra or sources; None if it has none.
    by_source : bool
        Whether it takes sources.
    kinds : tuple of type
        Our kinds of spectra.
    outputs : tuple of type
        Our models of its results.
    selection : Selection or None
        What its default query selects.
    parameters : tuple of inspect.Parameter
        Its further parameters, as a task of ours has them.
    """

    input: str | None
    by_source: bool
    kinds: tuple[type[SpectrumMixin], ...]
    outputs: tuple[type[PipelineOutputMixin], ...]
    selection: Selection | None
    parameters: tuple[inspect.Parameter, ...]


def read_shape(
    place: str,
    function: Callable[..., object],
    *,
    spectra: Models = None,
    results: Models = None,
    parameters: Mapping[str, object] | None = None,
    is_narrowed: bool = False,
) -> Shape:
    """Read what a pipeline takes and gives; what the operator says goes first.

    Parameters
    ----------
    place : str
        The pipeline, for messages.
    function : callable
        Its function, without decorators.
    spectra, results : str or type or sequence of them, optional
        Our kinds of spectra, and our models of its results, or their names.
    parameters : mapping, optional
        Values of its parameters.
    is_narrowed : bool, optional
        Whether the operator says which spectra it takes, in place of its default query.

    Raises
    ------
    ConfigurationError
        If neither its signature nor the operator says what it takes or gives: what to add.
    """
    hints = _hints(function)
    declared = list(inspect.signature(function).parameters.values())
    outputs = _outputs(place, hints.get("return"), results)
    input_of = next((one for one in declared if one.name in INPUTS), None) or _first_query(declared)
    models = {model._meta.table_name: model for model in BaseModel.concrete_models()}
    selection = None
    if input_of is not None and isinstance(input_of.default, peewee.SelectBase):
        selection = read_query(
            place, input_of.default, models, outputs, version=version_of(place), replaced=is_narrowed
        )
    named = list(_classes(hints.get(input_of.name))) if input_of is not None else []
    by_source = _is_by_source(input_of, named, selection)
    kinds = _kinds(place, input_of, named, selection, by_source, spectra, models)
    further = [one for one in declared if one is not input_of]
    made = tuple(_parameters(place, further, hints, dict(parameters or {})))
    return Shape(input_of.name if input_of else None, by_source, kinds, outputs, selection, made)


def _is_by_source(input_of: inspect.Parameter | None, named: Sequence[type], selection: Selection | None) -> bool:
    if selection is not None and selection.model is Source:
        return True
    is_called_so = input_of is not None and input_of.name in ("sources", "source")
    return is_called_so or any(one.__name__ == "Source" for one in named)


def _hints(function: Callable[..., object]) -> dict[str, object]:
    """Give the annotations, those that can be read; some name what is only there for a type checker."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        annotations = dict(getattr(function, "__annotations__", {}))
        return {name: hint for name, hint in annotations.items() if not isinstance(hint, str)}


def _classes(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        if hint is not types.NoneType:
            yield hint
        return
    for part in typing.get_args(hint):
        yield from _classes(part)


def _first_query(declared: Sequence[inspect.Parameter]) -> inspect.Parameter | None:
    return next((one for one in declared if isinstance(one.default, peewee.SelectBase)), None)


# ---- results


def _outputs(place: str, hint: object, given: Models) -> tuple[type[PipelineOutputMixin], ...]:
    if given is not None:
        return tuple(
            output_model_named(one) if isinstance(one, str) else _checked(place, "results", one, PipelineOutputMixin)
            for one in _listed(given)
        )
    tables = [one._meta.table_name for one in _classes(hint) if issubclass(one, peewee.Model)]
    known = {model._meta.table_name: model for model in PipelineOutputMixin.concrete_models()}
    if not tables:
        raise ConfigurationError(
            f"{place}: its return annotation names no model of results; say which of our tables they are for, such as "
            f"results={next(iter(known.values())).__name__!r}"
        )
    if missing := [table for table in tables if table not in known]:
        raise ConfigurationError(
            f"{place}: there is no table of results {missing[0]!r} here; define one (docs/writing-a-pipeline.md), or "
            f"say which it is by results=; {did_you_mean(missing[0], known)}"
        )
    return tuple(dict.fromkeys(known[table] for table in tables))


# ---- spectra


def _kinds(
    place: str,
    input_of: inspect.Parameter | None,
    named: Sequence[type],
    selection: Selection | None,
    by_source: bool,
    given: Models,
    models: Mapping[str, type[BaseModel]],
) -> tuple[type[SpectrumMixin], ...]:
    if given is not None:
        return tuple(
            _checked(place, "spectra", model_named(one) if isinstance(one, str) else one, SpectrumMixin)
            for one in _listed(given)
        )
    kinds = _kinds_named(place, named, models)
    if not kinds and selection is not None and issubclass(selection.model, SpectrumMixin):
        kinds = (selection.model,)
    if not kinds:
        raise ConfigurationError(f"{place}: {_why_unknown(input_of, named, by_source)}")
    return kinds


def _kinds_named(
    place: str, named: Sequence[type], models: Mapping[str, type[BaseModel]]
) -> tuple[type[SpectrumMixin], ...]:
    tables = [one._meta.table_name for one in named if issubclass(one, peewee.Model)]
    if missing := [table for table in tables if table not in models]:
        raise ConfigurationError(
            f"{place}: there is no kind of spectra {missing[0]!r} here; say which of ours it takes by spectra=; "
            f"{did_you_mean(missing[0], models)}"
        )
    found = dict.fromkeys(models[table] for table in tables)
    return tuple(model for model in found if issubclass(model, SpectrumMixin))


def _why_unknown(input_of: inspect.Parameter | None, named: Sequence[type], by_source: bool) -> str:
    example = "spectra='BossVisitSpectrum'"
    if input_of is None:
        return f"it takes no spectra, and its results are of some; say which are to have a result, such as {example}"
    if by_source:
        return f"it takes sources; say which spectra of theirs its results are of, such as {example}"
    annotated = " or ".join(one.__name__ for one in named)
    what = f"is annotated by {annotated}, which is any kind" if annotated else "has no annotation"
    return f"its parameter {input_of.name!r} {what}; say which of our spectra it takes, such as {example}"


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | type) else list(given)


def _checked(place: str, setting: str, model: Any, base: Any) -> Any:
    if not (isinstance(model, type) and issubclass(model, base)) or getattr(model, "abstract", False):
        raise ConfigurationError(
            f"{place}: {setting} has {getattr(model, '__name__', model)!r}, which is none of our models of {setting}; "
            f"name one such as {next(base.concrete_models()).__name__}"
        )
    return model


# ---- parameters


@functools.cache
def _not_passed() -> frozenset[str]:
    """Give the names that a task or a run uses for itself, and those by which the other Astra runs a pipeline."""
    users: tuple[Callable[..., object], ...] = (task, Task.__call__, Task.batches, analyse)
    return NOT_PASSED | COMMAND_NAMES | {name for user in users for name in inspect.signature(user).parameters}


def _parameters(
    place: str, declared: Sequence[inspect.Parameter], hints: Mapping[str, object], given: dict[str, object]
) -> Iterator[inspect.Parameter]:
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = {one.name: one for one in declared if one.kind not in variadic}
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in declared)
    for name in given:
        if name not in named and not takes_any:
            raise ParameterError(f"{place} has no parameter {name!r}; {did_you_mean(name, named)}")
        if name in _not_passed():
            raise ParameterError(f"{place}: its parameter {name!r} isn't passed: the run itself narrows and stores")
    for name, one in named.items():
        if name in given:
            yield _parameter(name, hints.get(name), given[name])
        elif name in _not_passed() or name.startswith("_"):
            if one.default is inspect.Parameter.empty:
                raise TaskError(f"{place}: its parameter {name!r} has no default, and can't be given here")
        elif one.default is inspect.Parameter.empty:
            raise ConfigurationError(
                f"{place}: its parameter {name!r} has no default; give it a value, such as parameters={{{name!r}: ...}}"
            )
        else:
            yield _parameter(name, hints.get(name), one.default)
    for name in given.keys() - named.keys():
        yield _parameter(name, None, given[name])


def _parameter(name: str, hint: object, default: object) -> inspect.Parameter:
    """Give a parameter as one of ours, with the first annotation that can be set for a run."""
    kind = inspect.Parameter.KEYWORD_ONLY
    for annotation in (hint, type(default) if default is not None else None, _element(default)):
        if annotation is None or annotation is Any:
            continue
        try:
            parameter_type(annotation).check(default)
        except ParameterError:
            continue
        return inspect.Parameter(name, kind, default=default, annotation=annotation)
    return inspect.Parameter(name, kind, default=default, annotation=Any)


def _element(default: object) -> object:
    if isinstance(default, list) and default and len({type(one) for one in default}) == 1:
        return types.GenericAlias(list, (type(default[0]),))
    return None
