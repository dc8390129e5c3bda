"""What another process needs to know to run a pipeline: where its code is, its parameters, versions and database.

A job is sent over pipes and encrypted connections only, and its text says nothing of the database: it may hold a
password.
"""

import importlib
import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple, Protocol, cast

import peewee

from astra_models import base
from astra_models.analysis.asked import AnySpectrum, Handed
from astra_models.analysis.calling import PipelineCalls
from astra_models.analysis.recipe import Recipe
from astra_models.database.config import is_in_memory
from astra_models.database.peewee_internals import settings_of
from astra_models.database.postgresql import PostgresqlDatabase
from astra_models.database.sqlite import SqliteDatabase
from astra_models.errors import WorkerError
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.version import DISTRIBUTION, installed_version

__all__ = ["Job", "Reference", "Versions", "make_job", "reference_to"]


class AnyTask(Pipeline, Protocol):
    """What other processes need of a pipeline; `astra_models.task.Task` is one."""

    version: str
    v_astra: str

    def recipe_as_used(self, values: Mapping[str, object]) -> Recipe:
        """Say what results are made by, from the values of all parameters."""
        ...

    def with_results(self, spectra: Iterable[AnySpectrum]) -> Iterable[AnySpectrum | Handed]:
        """Look up the results that go with spectra."""
        ...

    def calls(
        self, spectra: Iterable[AnySpectrum | Handed], recipe: Recipe, *, decides: bool = True
    ) -> PipelineCalls[PipelineOutputMixin]:
        """Analyse spectra, and give results and failures one by one."""
        ...


class Reference(NamedTuple):
    """Where a pipeline is.

    Parameters
    ----------
    module : str
        The module that defines it.
    name : str
        Its name there.
    """

    module: str
    name: str

    def load(self) -> AnyTask:
        """Import the pipeline."""
        return reduce(getattr, self.name.split("."), importlib.import_module(self.module))  # pyright: ignore[reportReturnType]


class Versions(NamedTuple):
    """By which code results are made: it has to be the same in all processes of a run.

    Parameters
    ----------
    astra : str
        What results are labelled with.
    package : str
        The installed package.
    pipeline : str
        The pipeline's own version.
    """

    astra: str
    package: str
    pipeline: str

    def __str__(self) -> str:
        return f"Astra {self.astra} (package {self.package}), version {self.pipeline} of the pipeline"


@dataclass(frozen=True)
class Job:
    """What another process needs to know to run a pipeline.

    Parameters
    ----------
    pipeline : Reference
        Where the pipeline is.
    parameters : mapping of str to object
        Values of all its parameters.
    versions : Versions
        By which code results are to be made.
    database : Opening, optional
        How to open the database; None if spectra come with all that is needed of it.
    """

    pipeline: Reference
    parameters: Mapping[str, object]
    versions: Versions
    database: "Opening | None" = field(repr=False)

    def load(self) -> AnyTask:
        """Import the pipeline, and bind the database.

        Raises
        ------
        WorkerError
            If its code, or Astra's, is another version here than where the run is.
        """
        task = self.pipeline.load()
        here = versions_of(task)
        if here != self.versions:
            raise WorkerError(
                f"{task.name}: the run has {self.versions}, and this process has {here}; install the same everywhere"
            )
        if self.database is not None:
            self.database.bind()
        return task


@dataclass(frozen=True)
class Opening:
    """How to open a database that another process has open."""

    is_postgresql: bool
    name: str
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    schema: str | None

    def __repr__(self) -> str:
        return "Opening(...)"

    def bind(self) -> None:
        """Bind all models to it, unless they are."""
        bound = base.database.obj
        if bound is not None and not is_in_memory(bound) and _opening(bound) == self:
            return
        if self.is_postgresql:
            target: peewee.Database = PostgresqlDatabase(self.name, **self.options)
        else:
            target = SqliteDatabase(self.name, pragmas=dict(self.settings), **self.options)
        base.bind(target, self.schema)


def make_job(pipeline: Pipeline, parameters: Mapping[str, object], *, with_database: bool = True) -> Job | None:
    """Say what another process needs to run a pipeline; None if it couldn't import it."""
    reference = reference_to(pipeline)
    if reference is None:
        return None
    opening = _opening(base.database.obj) if with_database else None
    return Job(reference, dict(parameters), versions_of(cast("AnyTask", pipeline)), opening)


def reference_to(pipeline: Pipeline) -> Reference | None:
    """Say where a pipeline can be imported from; None if it is of a notebook, a script, or within a function."""
    module, name = getattr(pipeline, "__module__", None), getattr(pipeline, "__qualname__", None)
    if not module or not name or module == "__main__" or "<locals>" in name:
        return None
    reference = Reference(module, name)
    try:
        return reference if reference.load() is getattr(pipeline, "origin", pipeline) else None
    except (ImportError, AttributeError):
        return None


def versions_of(task: AnyTask) -> Versions:
    """Say by which code results are made here."""
    return Versions(installed_version(), importlib.metadata.version(DISTRIBUTION), task.version)


def _opening(database: peewee.Database) -> Opening:
    is_postgresql = isinstance(database, peewee.PostgresqlDatabase)
    options = dict(database.connect_params)
    if is_postgresql:
        options["timezone"] = getattr(database, "timezone", None)
        if (password := os.environ.get("PGPASSWORD")) and not options.get("password"):
            options["password"] = password  # the environment of other processes may not have it
    return Opening(is_postgresql, str(database.database), settings_of(database), options, base.bound_schema())
