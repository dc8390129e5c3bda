"""What a pipeline of the survey's own Astra finds around it while it is imported or runs.

Its files go below one folder, by ``$MWM_ASTRA``; its models ask our database, and can't write to it; its pickles stay
closed unless they are allowed. All of that ends whenever it gives a result, so that nothing else sees it.
"""

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peewee

from astra_models.base import BaseModel, bound_schema, database
from astra_models.configuration import expand_path
from astra_models.errors import ConfigurationError
from astra_models.pixels.paths import product_root
from astra_orchestration.incumbent.classes import models_of, package_of
from astra_orchestration.incumbent.pickles import Watch, unwatched, watched

__all__ = ["Surroundings"]

VARIABLE = "MWM_ASTRA"

_one_at_a_time = threading.RLock()
"""The environment is the process's: two pipelines in two threads take turns."""


class ReadOnlyDatabase:
    """Our database, as the models of another Astra have it: they can ask, and not write."""

    def __init__(self, pipeline: str):
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> object:
        return getattr(database, name)

    def execute(self, query: object, *arguments: object, **options: object) -> object:
        """Run a query that reads."""
        if not isinstance(query, peewee.SelectBase):
            raise ConfigurationError(
                f"{self._pipeline} writes to the database by itself ({type(query).__name__}); its results are stored "
                "by this project, from what it yields: take the write out of it"
            )
        return database.execute(query, *arguments, **options)


@dataclass
class Surroundings:
    """What is set while a pipeline is imported or runs.

    Parameters
    ----------
    pipeline : str
        Where it is: ``package.module:function``.
    root : str or None
        The folder of its files; by default what is configured as the root of Astra's products.
    pickles : bool
        Whether it may open pickles.
    environment : mapping
        Further environment variables.
    """

    pipeline: str
    root: str | None = None
    pickles: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watch = None if self.pickles else Watch(self.pipeline, package_of(self.pipeline))

    @contextmanager
    def inside(self, *, bound: bool = True) -> Iterator[None]:
        """Set them while this lasts.

        Parameters
        ----------
        bound : bool, optional
            Whether its models ask our database.

        Raises
        ------
        PicklesRefusedError
            If it opened a pickle, and hid that this was refused.
        """
        variables = {VARIABLE: root_folder(self.root)} | {k: expand_path(v) for k, v in self.environment.items()}
        try:
            with _one_at_a_time, ExitStack() as stack:
                stack.enter_context(_variables(variables))
                stack.enter_context(_children_allowed())
                if bound:
                    stack.enter_context(_bound(self.pipeline))
                stack.enter_context(watched(self.watch))
                yield
        except BaseException as error:
            self._raise_refusal(error)
            raise
        self._raise_refusal(None)

    def _raise_refusal(self, cause: BaseException | None) -> None:
        """Raise the refusal of a pickle, whatever the pipeline made of it."""
        refused = None if self.watch is None else self.watch.refused
        if self.watch is not None and refused is not None and refused is not cause:
            self.watch.refused = None
            raise refused from cause

    @contextmanager
    def outside(self, before: Mapping[str, str | None]) -> Iterator[None]:
        """Have our own code run as if there were no such pipeline around it."""
        with _variables(before), unwatched():
            yield

    def before(self) -> dict[str, str | None]:
        """Give the variables as they are now."""
        return {name: os.environ.get(name) for name in (VARIABLE, *self.environment)}


def root_folder(given: str | None) -> str:
    """Say below which folder files go: the one that is given, or configured, or else the user's folder of data."""
    if given is not None:
        return os.path.abspath(expand_path(given))
    try:
        return os.path.abspath(product_root("astra"))
    except ConfigurationError:
        if os.environ.get(VARIABLE):
            raise
    home = os.environ.get("ASTRA_DATA") or os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return os.path.abspath(Path(expand_path(home)) / "astra")


@contextmanager
def _variables(values: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _children_allowed() -> Iterator[None]:
    """Let a pipeline have a process pool in a worker, too: workers are daemons, which may have no children."""
    settings: dict[str, object] = getattr(multiprocessing.current_process(), "_config")  # noqa: B009  there is no other way
    before = settings.get("daemon")
    settings["daemon"] = False
    try:
        yield
    finally:
        settings["daemon"] = before


@contextmanager
def _bound(pipeline: str) -> Iterator[None]:
    """Let the models of a pipeline's package ask our database."""
    models = list(models_of(package_of(pipeline)))
    before = [(model, model._meta.database, model._meta.schema) for model in models]
    ours: Any = ReadOnlyDatabase(pipeline)
    for model in models:
        model._meta.schema = bound_schema()
        model._meta.set_database(ours)
    renamed = list(_renamed_columns(models))
    try:
        for key, name, _ in renamed:
            key.column_name = name
        yield
    finally:
        for key, _, name in renamed:
            key.column_name = name
        for model, own, schema in before:
            model._meta.schema = schema
            model._meta.set_database(own)


def _renamed_columns(models: Iterable[type[peewee.Model]]) -> Iterator[tuple[peewee.Field, str, str]]:
    """Give the keys whose columns have other names in our tables, with both: peewee adds ``_id`` to theirs."""
    ours = {model._meta.table_name: model._meta.columns for model in BaseModel.concrete_models()}
    for model in models:
        columns = ours.get(model._meta.table_name, {})
        for key in model._meta.sorted_fields:
            if isinstance(key, peewee.ForeignKeyField) and key.column_name not in columns and key.name in columns:
                yield key, key.name, key.column_name
