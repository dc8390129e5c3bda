"""Reading from a pipeline function's annotations what it takes and what it gives."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from astra_models.errors import TaskError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin

_EXAMPLE = "def corv(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]"


def input_models(function: Callable[..., Any], names: dict[str, Any]) -> tuple[type[SpectrumMixin], ...]:
    """Give the kinds of spectra that a pipeline takes: the concrete ones in its first parameter's annotation.

    Parameters
    ----------
    function : callable
        The pipeline.
    names : dict
        Names that annotations written as text may use, besides the function's globals.

    Raises
    ------
    TaskError
        If the annotation names none.
    """
    parameters = list(inspect.signature(function).parameters)
    if not parameters:
        raise TaskError(f"{function.__name__} takes no spectra; write it like {_EXAMPLE}")
    found = _models(_hints(function, names).get(parameters[0]), SpectrumMixin)
    concrete = tuple(dict.fromkeys(model for kind in found for model in kind.concrete_models()))
    if not concrete:
        raise TaskError(
            f"{function.__name__}: the annotation of {parameters[0]!r} names no kind of spectra; {_EXAMPLE}"
        )
    return concrete


def output_models(function: Callable[..., Any], names: dict[str, Any]) -> tuple[type[PipelineOutputMixin], ...]:
    """Give the models of a pipeline's results, from its return annotation.

    Raises
    ------
    TaskError
        If the annotation names none.
    """
    found = tuple(
        model for model in _models(_hints(function, names).get("return"), PipelineOutputMixin) if not model.abstract
    )
    if not found:
        raise TaskError(f"{function.__name__}: its return annotation names no output model; {_EXAMPLE}")
    return found


def _hints(function: Callable[..., Any], names: dict[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, localns=dict(names))
    except NameError as error:
        raise TaskError(f"{function.__name__}: its annotations can't be read: {error}") from error


def _models(hint: Any, base: type) -> Iterable[Any]:
    """Find the models of a kind in an annotation, inside unions, optionals and iterables too."""
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return [hint] if issubclass(hint, base) else []
    return [model for part in typing.get_args(hint) for model in _models(part, base)]
