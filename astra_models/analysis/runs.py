"""The record of a run of a pipeline: what it was made with, where, and what came of it."""

import functools
import importlib.metadata
import json
import logging
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import peewee

from astra_models.analysis.recipe import Recipe
from astra_models.analysis.rule import RecipeKey
from astra_models.analysis.usage import RunUsage
from astra_models.base import database
from astra_models.columns.many import ManyResults
from astra_models.database.retry import run_transaction
from astra_models.errors import AstraError
from astra_models.fields import utc_now
from astra_models.host import host_name
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.upsert import UpsertReport
from astra_models.version import installed_v_astra

__all__ = ["PlannedRun", "RunRecord", "plan_run"]

SECONDS_FOR_GIT = 5

logger = logging.getLogger(__name__)


class PlannedRun(NamedTuple):
    """What is known of a run before it begins.

    Parameters
    ----------
    recipe : RecipeKey
        The pipeline, its version, and the checksum of what results depend on.
    parameters : str
        The parameters as they are used, as JSON.
    model_files : str or None
        The checksum of each file that a parameter names, as JSON.
    function : callable
        The generator function, whose source has a revision.
    started : datetime
        When it began: what is due had been selected.
    """

    recipe: RecipeKey
    parameters: str
    model_files: str | None
    function: object
    started: datetime

    def begin(self, run_id: str | None = None, due: int | None = None, *, keep: bool = False) -> "RunRecord | None":
        """Write down that the run begins; None if the bound database keeps no record of runs.

        With `keep`, its results aren't due because the parameters of the deployment are others.
        """
        database.follow_tables()
        if not run_transaction(database, PipelineRun.table_exists):
            return None
        row = PipelineRun(
            pipeline=self.recipe.pipeline,
            version=self.recipe.version,
            v_astra=installed_v_astra(),
            recipe=self.recipe.digest,
            parameters=self.parameters,
            model_files=self.model_files,
            git_revision=_git_revision(_folder_of(self.function)),
            packages=_packages(),
            python=platform.python_version(),
            host=host_name(),
            run_id=run_id,
            due=due,
            started=self.started,
            keep=keep or None,
        )
        run_transaction(database, lambda: row.save(force_insert=True))
        return RunRecord(row.pk)


def plan_run(recipe: Recipe, function: object) -> PlannedRun:
    """Say what a run will be made with: its files are read now, before anything is analysed."""
    key = RecipeKey(recipe.pipeline, recipe.version, recipe.digest)
    files = json.dumps(dict(recipe.files), sort_keys=True) if recipe.files else None
    return PlannedRun(key, recipe.as_json(), files, function, utc_now())


class RunRecord:
    """The record of a run that is under way.

    Parameters
    ----------
    pk : int
        Its key, which its results get.
    """

    def __init__(self, pk: int):
        self.pk = pk

    def stamp(self, batch: Iterable[PipelineOutputMixin | ManyResults[Any] | RejectedResult]) -> None:
        """Write down in results and failures that they are of this run."""
        for row in batch:
            if isinstance(row, ManyResults):
                row.set("pipeline_run_pk", self.pk)
            else:
                row.__data__["pipeline_run_pk"] = self.pk

    def end_after_error(self, report: UpsertReport, answered: int | None, usage: RunUsage | None = None) -> None:
        """Write down that the run ended, where that can still be written, before its error is raised."""
        try:
            self.end(report, answered, usage)
        except (AstraError, peewee.PeeweeException) as error:
            logger.warning("the end of run %d of pipeline_run isn't written down: %s", self.pk, error)

    def end(self, report: UpsertReport, answered: int | None, usage: RunUsage | None = None) -> None:
        """Write down that the run ended, and what came of it.

        Parameters
        ----------
        report : UpsertReport
            What became of its results.
        answered : int or None
            How many spectra have a result or a failure of this run, where that is known.
        usage : RunUsage, optional
            What it took.
        """
        counts = ("inserted", "updated", "unchanged", "kept", "rejected")
        values: dict[str, object] = {name: getattr(report, name) for name in counts}
        if usage is not None:
            values |= {"engine": usage.engine, "workers": usage.workers, "core_seconds": usage.core_seconds}
            values["hosts"] = json.dumps(usage.hosts or [host_name()])
        query = PipelineRun.update(**values, answered=answered, ended=utc_now()).where(PipelineRun.pk == self.pk)
        run_transaction(database, query.execute)


def _folder_of(function: object) -> Path | None:
    inner = getattr(function, "__wrapped__", function)
    file = Path(inner.__code__.co_filename) if isinstance(inner, FunctionType) else None
    return file.parent if file is not None and file.is_file() else None


@functools.cache
def _git_revision(folder: Path | None) -> str | None:
    """Give the Git revision of a folder's source, with ``+changes`` if it was edited since; None if it is in none."""
    if folder is None:
        return None

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                timeout=SECONDS_FOR_GIT,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return None  # there is no git, or it takes too long: nothing is known then
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie in an environment within somebody's checkout, and isn't of that.
    if not ask("ls-files", "--", "."):
        return None
    revision = ask("rev-parse", "HEAD")
    return revision and revision + ("+changes" if ask("status", "--porcelain", "--", ".") else "")


def _packages() -> str:
    """Give the versions of the packages that are imported, as JSON."""
    imported = {name.partition(".")[0] for name in sys.modules}
    found = dict(_name_and_version(package) for modules, package in _installed() if not imported.isdisjoint(modules))
    return json.dumps(dict(sorted(found.items())))


@functools.cache
def _name_and_version(package: importlib.metadata.Distribution) -> tuple[str, str]:
    """Read what a package says of itself, once: for a hundred packages that takes 0.1 s."""
    said = package.metadata
    return said["Name"], said["Version"]


@functools.cache
def _installed() -> list[tuple[set[str], importlib.metadata.Distribution]]:
    """Give the installed packages, each with the modules that it has at its top.

    ``importlib.metadata.packages_distributions`` makes an object of each file: 0.3 s, where this takes 0.02.
    """
    found = []
    for package in importlib.metadata.distributions():
        listed = package.read_text("top_level.txt")
        if listed is None:
            files = (package.read_text("RECORD") or "").splitlines()
            listed = "\n".join({file.partition("/")[0].partition(",")[0].partition(".")[0] for file in files})
        found.append((set(listed.split()), package))
    return found
