"""Pipelines: generators of results, whose annotations say what they take and give.

A pipeline is written like this::

    @task
    def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        model = load()
        yield ...                      # what took time until here was overhead
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=model(spectrum.flux))
"""

import copy
import functools
import inspect
import re
import typing
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import EllipsisType, GenericAlias, MappingProxyType
from typing import Generic, TypeVar, cast, get_args, overload

from astra_models.analysis.asked import Handed, Versions
from astra_models.analysis.calling import AnySpectrum, Batches, Output, PipelineCalls, rows_of
from astra_models.analysis.due import Where
from astra_models.analysis.needs import Inputs, read_inputs, with_results
from astra_models.analysis.parameters import Parameter, read_parameters
from astra_models.analysis.recipe import Recipe, make_recipe, require_known
from astra_models.analysis.runs import plan_run
from astra_models.columns.many import ManyResults
from astra_models.errors import TaskError
from astra_models.messages import shown
from astra_models.model_spectrum import ModelSpectrumMaker
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.spectrum import SpectrumMixin
from astra_models.version import installed_v_astra

__all__ = ["Task", "task"]

BATCH_SIZE = 1000
FIRST_VERSION = "1"
VERSION = re.compile(r"[A-Za-z0-9._+-]{1,40}")
NO_GROUPS = (
    "@task(group_by={0!r}): each spectrum that is due is analysed, and spectra aren't chosen by group. A pipeline that "
    "looks at all spectra of a group takes them one by one and queries the others, such as BossVisitSpectrum.select()"
    ".where(BossVisitSpectrum.source_pk == spectrum.source_pk); leave group_by out"
)
EXAMPLE = "def corv(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]"

Plots = Callable[..., object] | Sequence[Callable[..., object]]
Warnings = Callable[[Mapping[str, object]], Iterable[str]] | None
PipelineFunction = Callable[..., Iterable[Output | ManyResults[Output]]]
Model = TypeVar("Model", SpectrumMixin, PipelineOutputMixin)


@overload
def task(function: PipelineFunction[Output], /) -> "Task[Output]": ...


@overload
def task(
    *,
    batch_size: int = BATCH_SIZE,
    version: str = FIRST_VERSION,
    where: Where = None,
    environment: Mapping[str, str] | None = None,
    without_effect: Sequence[str] = (),
    v_astra: Versions = "installed",
    rerun_on_patch: bool = True,
    plots: Plots = (),
    resolve: Mapping[str, Callable[[object], object]] | None = None,
    files: Mapping[str, Callable[[Path], Iterable[Path]]] | None = None,
    warnings: Warnings = None,
    model_spectrum: ModelSpectrumMaker | None = None,
) -> "Callable[[PipelineFunction[Output]], Task[Output]]": ...


def task(
    function: PipelineFunction[Output] | None = None,
    /,
    *,
    batch_size: int = BATCH_SIZE,
    version: str = FIRST_VERSION,
    where: Where = None,
    environment: Mapping[str, str] | None = None,
    without_effect: Sequence[str] = (),
    v_astra: Versions = "installed",
    rerun_on_patch: bool = True,
    plots: Plots = (),
    resolve: Mapping[str, Callable[[object], object]] | None = None,
    files: Mapping[str, Callable[[Path], Iterable[Path]]] | None = None,
    warnings: Warnings = None,
    model_spectrum: ModelSpectrumMaker | None = None,
    group_by: object = None,
) -> "Task[Output] | Callable[[PipelineFunction[Output]], Task[Output]]":
    """Make a pipeline of a generator function.

    Parameters
    ----------
    function : callable
        A generator function. Its first parameter's annotation names the kinds of spectra that it takes, its return
        annotation the models of its results. Further parameters with an annotation and a default can be set for a run.
    batch_size : int, optional
        Results that are written together.
    version : str, optional
        The pipeline's own version, to be changed when its code changes what it gives: older results are then due.
    where : peewee.Expression or callable, optional
        Which spectra it takes: a condition on the kind of spectrum, on `Source` or on the results that it takes, or a
        function that makes one for a kind of spectrum; with a second argument, for the values of the parameters, too,
        by their names. Where it gives None, all are taken. Other spectra are never due.
    environment : mapping of str to str, optional
        For some parameters, the environment variable that says their value where none is given.
    without_effect : sequence of str, optional
        The parameters that no result depends on, such as a number of threads: other values make nothing due.
    v_astra : {"installed", "older"}, optional
        Which versions its results may have: the installed one, or also older ones, for a task that repeats results of
        earlier releases. It may then give one for each major.minor version.
    rerun_on_patch : bool, optional
        Whether a new patch release of Astra makes older results due. An expensive pipeline may say no: its rows then
        keep the version that they are of until something else makes them due.
    plots : callable or sequence of them, optional
        Functions that draw pictures of its results for Dagster's UI: each is given an empty `matplotlib` figure and the
        columns of a sample of its table, by name.
    resolve : mapping of str to callable, optional
        For some parameters, a function that says which value is used where one is given, or None: the file that a name
        stands for, or the one that is there. Its own values stay as they are.
    files : mapping of str to callable, optional
        For some parameters, a function that says which further files a file names, such as those of a configuration:
        they have to be there, are kept with a run by checksum, and another content makes older results due.
    warnings : callable, optional
        Says what to know before a run, of the parameters' values by name: sentences for the run's log, once a run.
    model_spectrum : callable, optional
        Makes the model of a result, of its spectrum: an `astra_models.model_spectrum.ModelSpectrum`. A table that is
        derived from `astra_models.model_spectrum.WithModelSpectrum` has it as ``model_flux`` and ``plot()`` of a row.
    group_by : object, optional
        Not supported: sdss/astra's option, which gives one of the due spectra of each group. See the differences from
        sdss/astra in the documentation.

    Returns
    -------
    Task
        The pipeline.

    Raises
    ------
    TaskError
        If the annotations don't say so, or a parameter can't be one, or `group_by` is given.
    """
    if group_by is not None:
        raise TaskError(NO_GROUPS.format(group_by))

    def make(function: PipelineFunction[Output]) -> "Task[Output]":
        return Task(
            function,
            batch_size,
            version=version,
            where=where,
            environment=environment,
            without_effect=without_effect,
            v_astra=v_astra,
            rerun_on_patch=rerun_on_patch,
            plots=plots,
            resolve=resolve,
            files=files,
            warnings=warnings,
            model_spectrum=model_spectrum,
        )

    return make if function is None else make(function)


class Task(Generic[Output]):
    """A pipeline: call it with spectra to analyse them.

    Attributes
    ----------
    name : str
        The function's name.
    spectrum_models, output_models : tuple of type
        The kinds of spectra that it takes, and the models of its results.
    needs : tuple of Need
        The results of other pipelines that it takes with each spectrum.
    where : peewee.Expression or callable or None
        Which spectra it takes.
    batch_size : int
        Results that are written together.
    version : str
        Its own version.
    parameters : mapping of str to Parameter
        Its parameters by their names, without that of the spectra.
    v_astra : {"installed", "older"}
        Which versions its results may have.
    origin : Task
        The pipeline as its module defines it, if this one has other defaults.
    rerun_on_patch : bool
        Whether a new patch release makes older results due.
    plots : tuple of callable
        Functions that draw pictures of its results.
    model_spectrum : callable or None
        Makes the model of a result, of its spectrum.
    """

    def __init__(
        self,
        function: PipelineFunction[Output],
        batch_size: int = BATCH_SIZE,
        *,
        version: str = FIRST_VERSION,
        where: Where = None,
        environment: Mapping[str, str] | None = None,
        without_effect: Sequence[str] = (),
        v_astra: Versions = "installed",
        rerun_on_patch: bool = True,
        plots: Plots = (),
        resolve: Mapping[str, Callable[[object], object]] | None = None,
        files: Mapping[str, Callable[[Path], Iterable[Path]]] | None = None,
        warnings: Warnings = None,
        model_spectrum: ModelSpectrumMaker | None = None,
    ):
        functools.update_wrapper(self, function)
        name = function.__name__
        if not inspect.isgeneratorfunction(function):
            raise TaskError(f"{name} is not a generator: it has to yield its results")
        if batch_size < 1:
            raise TaskError(f"{name}: batch_size={batch_size} is not a positive number of results")
        if v_astra not in get_args(Versions):
            raise TaskError(f"{name}: v_astra={v_astra!r} is none of {', '.join(map(repr, get_args(Versions)))}")
        self.function = function
        self.origin: Task[Output] = self
        self.name = name
        self.batch_size = batch_size
        self.version = _checked_version(name, version)
        self.where = where
        self.v_astra: Versions = v_astra
        self.rerun_on_patch = rerun_on_patch
        self.plots = _checked_plots(name, plots)
        self._warnings = warnings
        self.model_spectrum = model_spectrum
        self.spectrum_models, self.needs = _inputs_of(function)
        self.output_models = cast("tuple[type[Output], ...]", _output_models(function))
        if both := [need.model.__name__ for need in self.needs if need.model in self.output_models]:
            raise TaskError(f"{name} takes results of {both[0]}, and gives such results itself")
        self.parameters: Mapping[str, Parameter] = MappingProxyType(
            read_parameters(
                function,
                _hints(function),
                reserved=_own_names(),
                environment=environment,
                without_effect=without_effect,
                resolve=resolve,
                files=files,
            )
        )

    def warnings(self, /, **given: object) -> tuple[str, ...]:
        """Say what to know before a run with some values of the parameters; the others have their defaults.

        Raises
        ------
        ParameterError
            As `recipe` does.
        """
        return () if self._warnings is None else tuple(self._warnings(self.recipe(**given).values))

    def recipe(self, /, *args: object, **given: object) -> Recipe:
        """Say what results are made by: the pipeline's version, and its parameters as they are used.

        Parameters
        ----------
        *args, **given
            Arguments of the function that follow the spectra; the others have their defaults.

        Raises
        ------
        ParameterError
            If a name is unknown, a value is of another type or missing, or a file that one names isn't there.
        """
        return make_recipe(self.name, self.version, self.function, self.parameters, (args, given))

    def recipe_as_used(self, values: Mapping[str, object]) -> Recipe:
        """Say again what results are made by, from the values of a recipe, in another process or later.

        Parameters
        ----------
        values : mapping of str to object
            The values; environment variables don't count, and nothing is looked for.

        Raises
        ------
        ParameterError
            As `recipe` does.
        """
        return make_recipe(self.name, self.version, self.function, self.parameters, ((), values), as_used=True)

    def with_defaults(self, **values: object) -> "Task[Output]":
        """Give the same pipeline with other defaults, which go before environment variables, too.

        Parameters
        ----------
        **values
            Values of parameters where a run gives none.

        Raises
        ------
        ParameterError
            If a name is unknown, or a value is of another type. Files aren't looked for.
        """
        require_known(self.name, values, self.parameters)
        given = {
            name: replace(self.parameters[name], default=self.parameters[name].check(value), environment=None)
            for name, value in values.items()
        }
        made = copy.copy(self)
        made.origin = self.origin
        made.parameters = MappingProxyType({**self.parameters, **given})
        return made

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
            Further arguments of the function, checked by type.
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
        ParameterError
            If a parameter can't have the value that it is given, before anything is analysed.
        PipelineError
            If the function raised on every call before it gave any result, other than for a few unreadable files; if it
            ended without taking a spectrum; or if it gave nothing for 20 spectra or more, and no result of this version
            is stored.
        """
        from astra_models.analysis.stream import ResultStream, write_batches

        batches = self.batches(spectra, *args, batch_size=batch_size, **kwargs)
        if write_to_database:
            for _, stored in write_batches(ResultStream(batches, self.output_models), run_id=run_id, give_stored=True):
                yield from stored
        else:
            for batch in batches:
                yield from (item for item in rows_of(batch) if not isinstance(item, RejectedResult))

    def batches(
        self, spectra: Iterable[AnySpectrum], *args: object, batch_size: int | None = None, **kwargs: object
    ) -> Batches[Output]:
        """Analyse spectra, and give results and failures in bounded batches, as `stream.write` takes them.

        Yields
        ------
        list
            Results, and unsaved `RejectedResult` rows. A batch is closed when it is full, or after a minute.
        """
        recipe = self.recipe(*args, **kwargs)
        calls = self.calls(self.with_results(spectra), recipe)
        return Batches(calls, batch_size or self.batch_size, plan_run(recipe, self.function))

    def with_results(self, spectra: Iterable[AnySpectrum]) -> Iterable[AnySpectrum | Handed]:
        """Look up the results that go with spectra, as far as the pipeline takes any."""
        return with_results(spectra, self.needs, installed_v_astra()) if self.needs else spectra

    def calls(
        self, spectra: Iterable[AnySpectrum | Handed], recipe: Recipe, *, decides: bool = True
    ) -> PipelineCalls[Output]:
        """Analyse spectra, and give results and failures one by one.

        Parameters
        ----------
        spectra : iterable
            The spectra, as `with_results` gives them.
        recipe : Recipe
            The parameters.
        decides : bool, optional
            Whether these are all spectra of the run, see `PipelineCalls`.
        """

        def call(some: Iterable[object]) -> Generator[Output | EllipsisType, None, None]:
            positional, keywords = recipe.arguments()
            return cast("Generator[Output, None, None]", self.function(some, *positional, **keywords))

        return PipelineCalls(self.name, call, self.output_models, spectra, self.v_astra, decides=decides)


def _checked_version(name: str, version: object) -> str:
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise TaskError(
            f"{name}: version={shown(version)} is no version of a pipeline; write up to 40 letters, digits, dots, "
            'hyphens, underscores and plus signs as text, such as version="2"'
        )
    return version


def _checked_plots(name: str, plots: Plots) -> tuple[Callable[..., object], ...]:
    found = (plots,) if callable(plots) else tuple(plots)
    if wrong := [plot for plot in found if not callable(plot)]:
        raise TaskError(f"{name}: plots has {shown(wrong[0])}, which is no function; give plot(figure, rows)")
    return found


OF_RUNS = frozenset(
    {
        *("pipeline", "limit", "sdss_ids", "rerun", "batch_size", "keep_good", "parameters", "min_answered"),
        *("reason", "engine"),
    }
)
"""What `astra_models.analysis.stream.analyse` takes, which is imported once something is analysed (a test compares)."""


@functools.cache
def _own_names() -> frozenset[str]:
    """Give the names that a task, or what runs one, uses for itself."""
    users: tuple[Callable[..., object], ...] = (task, Task.__call__, Task.batches)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    declared = (one for user in users for one in inspect.signature(user).parameters.values())
    return frozenset(one.name for one in declared if one.kind in named) | OF_RUNS


# ---- annotations


def _inputs_of(function: PipelineFunction[Output]) -> Inputs:
    """Read what a pipeline takes from the annotation of its first parameter."""
    parameters = list(inspect.signature(function).parameters)
    if not parameters:
        raise TaskError(f"{function.__name__} takes no spectra; write it like {EXAMPLE}")
    return read_inputs(function.__name__, parameters[0], _hints(function).get(parameters[0]))


def _output_models(function: PipelineFunction[Output]) -> tuple[type[PipelineOutputMixin], ...]:
    """Give the models of a pipeline's results, from its return annotation."""
    named = _models(_hints(function).get("return"), PipelineOutputMixin)
    # `Iterable[Corv | ManyResults[Corv]]` names one model twice.
    found = tuple(dict.fromkeys(model for model in named if not model.abstract))
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
