"""A generator of the survey's own Astra as a task of ours.

    bossnet = incumbent("astra.pipelines.bossnet:bossnet")

The function below the other Astra's decorator is called with our spectra, and what it yields becomes rows of ours. All
else is as for any task: what is due, failures, workers, checks.
"""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import EllipsisType
from typing import Any

import peewee

from astra_models.analysis.task import Task
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_orchestration.incumbent import again
from astra_orchestration.incumbent.classes import classes_by_table, version_of
from astra_orchestration.incumbent.finding import find_function
from astra_orchestration.incumbent.handing import HandedSpectra, Theirs, handed_source, handed_spectrum
from astra_orchestration.incumbent.results import rows_of_result
from astra_orchestration.incumbent.signature import Models, Shape, read_shape
from astra_orchestration.incumbent.surroundings import Surroundings

__all__ = ["incumbent"]

Condition = peewee.ColumnBase | Callable[..., peewee.ColumnBase | None] | None
Row = PipelineOutputMixin | EllipsisType

AS_ITS_QUERY_SAYS: Any = ...
"""The value of `where` by which a default query counts."""

logger = logging.getLogger(__name__)


def incumbent(
    place: str,
    *,
    name: str | None = None,
    spectra: Models = None,
    results: Models = None,
    where: Condition = AS_ITS_QUERY_SAYS,
    parameters: Mapping[str, object] | None = None,
    root: str | None = None,
    environment: Mapping[str, str] | None = None,
    pickles: bool = False,
    version: str | None = None,
    batch_size: int = 1000,
) -> Task[Any]:
    """Make a task of a generator of the survey's own Astra, which is installed in this environment.

    Parameters
    ----------
    place : str
        Where it is: ``astra.pipelines.bossnet:bossnet``.
    name : str, optional
        What it is called here; the function's name by default.
    spectra : str or type or sequence of them, optional
        Our kinds of spectra that it takes, where its annotation and its default query don't say so.
    results : str or type or sequence of them, optional
        Our models of its results, where its return annotation doesn't say so.
    where : peewee.Expression or callable or None, optional
        Which spectra it takes, as for `astra_models.task`; None for all. What its default query says, if not given.
    parameters : mapping, optional
        Values of its further parameters; those without a default need one.
    root : str, optional
        The folder that ``$MWM_ASTRA`` is while it is imported and runs; by default that of the configuration.
    environment : mapping, optional
        Further environment variables while it is imported and runs, such as other folders.
    pickles : bool, optional
        Whether it may open pickles, which can run any code.
    version : str, optional
        Its version, of which another one makes results due; by default that of its package.
    batch_size : int, optional
        Results that are written together.

    Returns
    -------
    Task
        A task, as `astra_models.task` makes it.

    Raises
    ------
    ConfigurationError
        If it can't be imported, opens a pickle that isn't allowed, or doesn't say what it takes or gives; also if its
        default query can't be said in our columns.
    """
    surroundings = Surroundings(place, root, pickles, dict(environment or {}))
    function = find_function(place, surroundings)
    is_narrowed = where is not AS_ITS_QUERY_SAYS
    shape = read_shape(
        place, function, spectra=spectra, results=results, parameters=parameters, is_narrowed=is_narrowed
    )
    condition = where if is_narrowed else _selected(place, shape)
    caller = _Caller(place, function, surroundings, shape, classes_by_table(place))
    run = _generator(caller, name or function.__name__, inspect.getdoc(function) or "")
    task = Task(run, batch_size, version=_version(place, version), where=condition)
    settings = {
        "place": place,
        "name": name,
        "spectra": [kind.__name__ for kind in shape.kinds],
        "results": [model.__name__ for model in shape.outputs],
        "parameters": dict(parameters or {}),
        "root": root,
        "environment": dict(environment or {}),
        "pickles": pickles,
        "version": version,
        "narrowed": is_narrowed,
    }
    again.register(task, settings)
    return task


def _version(place: str, given: str | None) -> str:
    found = given or re.sub(r"[^A-Za-z0-9._+-]", "-", version_of(place))[:40]
    return found or "1"


def _selected(place: str, shape: Shape) -> Condition:
    """Give what a default query selects, as a condition of ours."""
    selection = shape.selection
    if selection is None or selection.condition is None:
        return None

    def where(kind: type[SpectrumMixin]) -> peewee.ColumnBase | None:
        return selection.condition if kind is selection.model or selection.model is Source else None

    where.__doc__ = f"Those that the default query of {place} selects."
    return where


def _generator(caller: "_Caller", name: str, doc: str) -> Callable[..., Any]:
    """Make a generator function with a signature of ours, which a task reads."""
    shape = caller.shape

    def run(spectra: Iterable[object], **parameters: object) -> Iterator[Row]:
        yield from caller.run(spectra, parameters)

    joined = shape.selection.joined if shape.selection is not None else ()
    element: Any = reduce(or_, shape.kinds)
    if joined:
        element = tuple[(element, *(one.model | None if one.optional else one.model for one in joined))]  # type: ignore[misc]
    takes, gives = Iterable[element], Iterable[reduce(or_, shape.outputs)]
    first = inspect.Parameter("spectra", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=takes)
    run.__name__ = run.__qualname__ = name
    run.__module__ = again.__name__
    run.__doc__ = doc
    run.__annotations__ = {"spectra": takes, **{one.name: one.annotation for one in shape.parameters}, "return": gives}
    run.__dict__["__signature__"] = inspect.Signature([first, *shape.parameters], return_annotation=gives)
    return run


@dataclass
class _Caller:
    """Calls a pipeline of another Astra."""

    place: str
    function: Callable[..., Iterable[object] | None]
    surroundings: Surroundings
    shape: Shape
    theirs: Theirs

    def run(self, spectra: Iterable[object], parameters: Mapping[str, object]) -> Iterator[Row]:
        """Call it with spectra, and give rows of ours."""
        taken: set[int] | None = set() if self.shape.by_source or self.shape.input is None else None
        n_others = 0
        for result in self._results(spectra, parameters, taken):
            for row in rows_of_result(self.place, result, self.shape.outputs):
                if taken is not None and isinstance(row, PipelineOutputMixin) and row.spectrum_pk not in taken:
                    n_others += 1
                    continue
                yield row
        if n_others:
            logger.info("%s gave %d results of spectra that aren't due; they are left out", self.place, n_others)

    def _results(
        self, spectra: Iterable[object], parameters: Mapping[str, object], taken: set[int] | None
    ) -> Iterator[object]:
        arguments = dict(parameters)
        if self.shape.input is not None:
            arguments[self.shape.input] = HandedSpectra(self._handed(spectra, taken))
        elif not self._take_all(spectra, taken):
            return
        with self.surroundings.inside():
            found = self.function(**arguments)
            results = iter(() if found is None else found)
        try:
            while True:
                with self.surroundings.inside():
                    try:
                        result = next(results)
                    except StopIteration:
                        return
                yield result
        finally:
            if (close := getattr(results, "close", None)) is not None:
                with self.surroundings.inside():
                    close()

    def _take_all(self, spectra: Iterable[object], taken: set[int] | None) -> bool:
        for spectrum in spectra:
            if taken is not None:
                taken.add(_spectrum_of(spectrum).spectrum_pk)
        return bool(taken)

    def _handed(self, spectra: Iterable[object], taken: set[int] | None) -> Iterator[object]:
        """Hand over spectra, or the sources of all of them; reading them is our own code."""
        before = self.surroundings.before()
        items = iter(spectra)
        if self.shape.by_source:
            with self.surroundings.outside(before):
                sources = self._sources(items, taken)
            yield from sources
            return
        while True:
            with self.surroundings.outside(before):
                item = next(items, None)
                handed = None if item is None else self._one(item)
            if handed is None:
                return
            yield handed

    def _one(self, item: object) -> object:
        spectrum = _spectrum_of(item)
        results = item[1:] if isinstance(item, tuple) else ()
        joined = self.shape.selection.joined if self.shape.selection is not None else ()
        return handed_spectrum(
            spectrum, self.theirs, {one.attribute: row for one, row in zip(joined, results, strict=False)}
        )

    def _sources(self, items: Iterator[object], taken: set[int] | None) -> list[object]:
        keys: dict[int, None] = {}
        for item in items:
            spectrum = _spectrum_of(item)
            if taken is not None:
                taken.add(spectrum.spectrum_pk)
            if spectrum.source_pk is not None:
                keys[spectrum.source_pk] = None
        rows = {row.pk: row for some in _chunks(list(keys)) for row in Source.select().where(Source.pk.in_(some))}
        return [handed_source(rows[key], self.theirs) for key in keys if key in rows]


def _spectrum_of(item: object) -> Any:
    return item[0] if isinstance(item, tuple) else item


def _chunks(keys: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def made_again(settings: Mapping[str, Any]) -> Task[Any]:
    """Make a task again from its settings, in another process: spectra are selected where the run is."""
    given = dict(settings)
    if given.pop("narrowed"):
        given["where"] = None
    return incumbent(**given)


again.make_by(made_again)
