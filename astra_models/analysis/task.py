"""Pipelines: generators of results, whose annotations say what they take and give.

A pipeline is written like this::

    @task
    def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        model = load()
        yield ...                      # what took time until here was overhead
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=model(spectrum.flux))
"""

import functools
import inspect
import typing
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from types import EllipsisType, GenericAlias
from typing import Generic, TypeVar, cast, get_args, overload

from astra_models.analysis.asked import Versions
from astra_models.analysis.calling import AnySpectrum, Batches, Output, PipelineCalls
from astra_models.analysis.stream import ResultStream, write_batches
from astra_models.errors import TaskError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.spectrum import SpectrumMixin

__all__ = ["Task", "task"]

BATCH_SIZE = 1000
EXAMPLE = "def corv(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]"

PipelineFunction = Callable[..., Iterable[Output]]
Model = TypeVar("Model", SpectrumMixin, PipelineOutputMixin)


@overload
def task(function: PipelineFunction[Output], /) -> "Task[Output]": ...


@overload
def task(
    *, batch_size: int = BATCH_SIZE, versions: Versions = "installed"
) -> "Callable[[PipelineFunction[Output]], Task[Output]]": ...


def task(
    function: PipelineFunction[Output] | None = None,
    /,
    *,
    batch_size: int = BATCH_SIZE,
    versions: Versions = "installed",
) -> "Task[Output] | Callable[[PipelineFunction[Output]], Task[Output]]":
    """Make a pipeline of a generator function.

    Parameters
    ----------
    function : callable
        A generator function. Its first parameter's annotation names the kinds of spectra that it takes, its return
        annotation the models of its results.
    batch_size : int, optional
        Results that are written together.
    versions : {"installed", "older"}, optional
        Which versions its results may have: the installed one, or also older ones, for a task that repeats results of
        earlier releases. It may then give one for each major.minor version.

    Returns
    -------
    Task
        The pipeline.

    Raises
    ------
    TaskError
        If the annotations don't say so.
    """
    if function is None:
        return lambda function: Task(function, batch_size, versions)
    return Task(function, batch_size, versions)


class Task(Generic[Output]):
    """A pipeline: call it with spectra to analyse them.

    Attributes
    ----------
    name : str
        The function's name.
    spectrum_models, output_models : tuple of type
        The kinds of spectra that it takes, and the models of its results.
    batch_size : int
        Results that are written together.
    versions : {"installed", "older"}
        Which versions its results may have.
    """

    def __init__(
        self, function: PipelineFunction[Output], batch_size: int = BATCH_SIZE, versions: Versions = "installed"
    ):
        functools.update_wrapper(self, function)
        name = function.__name__
        if not inspect.isgeneratorfunction(function):
            raise TaskError(f"{name} is not a generator: it has to yield its results")
        if batch_size < 1:
            raise TaskError(f"{name}: batch_size={batch_size} is not a positive number of results")
        if versions not in get_args(Versions):
            raise TaskError(f"{name}: versions={versions!r} is none of {', '.join(map(repr, get_args(Versions)))}")
        self.function = function
        self.name = name
        self.batch_size = batch_size
        self.versions: Versions = versions
        self.spectrum_models = _input_models(function)
        self.output_models = cast("tuple[type[Output], ...]", _output_models(function))

    def __call__(
        self,
        spectra: Iterable[AnySpectrum],
        *args: object,
        write_to_database: bool = True,
        batch_size: int | None = None,
        run_id: str | None = None,
        **kwargs: object,
    ) -> Iterator[Output]:
        """Analyse spectra.

        Parameters
        ----------
        spectra : iterable
            The spectra.
        *args, **kwargs
            Further arguments of the function.
        write_to_database : bool, optional
            Whether to write the results, and what failed, batch by batch.
        batch_size : int, optional
            Results that are written together; the task's own if not given.
        run_id : str, optional
            The run's id, kept with failures and refused results.

        Yields
        ------
        PipelineOutputMixin
            The results, with ``task_pk`` if they were written. Those that can't be stored, and those that aren't of a
            spectrum that the function took, are left out, and kept in ``rejected_result``.

        Raises
        ------
        PipelineError
            If the function raised on every call before it gave any result, other than for a few unreadable files; if it
            ended without taking a spectrum; or if it gave nothing for 20 spectra or more, and no result of this version
            is stored.
        """
        batches = self.batches(spectra, *args, batch_size=batch_size, **kwargs)
        if write_to_database:
            for _, stored in write_batches(ResultStream(batches, self.output_models), run_id=run_id, give_stored=True):
                yield from stored
        else:
            for batch in batches:
                yield from (item for item in batch if not isinstance(item, RejectedResult))

    def batches(
        self, spectra: Iterable[AnySpectrum], *args: object, batch_size: int | None = None, **kwargs: object
    ) -> Batches[Output]:
        """Analyse spectra, and give results and failures in bounded batches, as `stream.write` takes them.

        Yields
        ------
        list
            Results, and unsaved `RejectedResult` rows. A batch is closed when it is full, or after a minute.
        """

        def call(some: Iterable[AnySpectrum]) -> Generator[Output | EllipsisType, None, None]:
            return cast("Generator[Output, None, None]", self.function(some, *args, **kwargs))

        calls = PipelineCalls(self.name, call, self.output_models, spectra, self.versions)
        return Batches(calls, batch_size or self.batch_size)


# ---- annotations


def _input_models(function: PipelineFunction[Output]) -> tuple[type[SpectrumMixin], ...]:
    """Give the kinds of spectra that a pipeline takes: the concrete ones in its first parameter's annotation."""
    parameters = list(inspect.signature(function).parameters)
    if not parameters:
        raise TaskError(f"{function.__name__} takes no spectra; write it like {EXAMPLE}")
    found = _models(_hints(function).get(parameters[0]), SpectrumMixin)
    concrete = tuple(dict.fromkeys(model for kind in found for model in kind.concrete_models()))
    if not concrete:
        raise TaskError(f"{function.__name__}: the annotation of {parameters[0]!r} names no kind of spectra; {EXAMPLE}")
    return concrete


def _output_models(function: PipelineFunction[Output]) -> tuple[type[PipelineOutputMixin], ...]:
    """Give the models of a pipeline's results, from its return annotation."""
    found = tuple(model for model in _models(_hints(function).get("return"), PipelineOutputMixin) if not model.abstract)
    if not found:
        raise TaskError(f"{function.__name__}: its return annotation names no output model; {EXAMPLE}")
    return found


def _hints(function: PipelineFunction[Output]) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(function, localns=dict(_names_from_around(function)))
    except NameError as error:
        raise TaskError(
            f"{function.__name__}: its annotations can't be read: {error}. An annotation that is text (all are, after "
            "`from __future__ import annotations`) may name what its module has, and what the function itself uses: "
            "define the model in the module, or write the annotation without quotes"
        ) from error


def _names_from_around(function: PipelineFunction[Output]) -> Iterator[tuple[str, object]]:
    """Give what a function uses of the functions around it, as far as it is set already."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        with suppress(ValueError):
            yield name, cell.cell_contents


def _models(hint: object, base: type[Model]) -> Iterator[type[Model]]:
    """Find the models of a kind in an annotation, inside unions, optionals and iterables too."""
    if isinstance(hint, type) and not isinstance(hint, GenericAlias):
        if issubclass(hint, base):
            yield hint
        return
    for part in typing.get_args(hint):
        yield from _models(part, base)
