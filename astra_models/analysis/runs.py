"""The record of a run of a pipeline: what it was made with, where, and what came of it."""

import functools
import importlib.metadata
import json
import platform
import socket
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

from astra_models.analysis.rule import RecipeKey
from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.fields import utc_now
from astra_models.pipeline_run import PipelineRun
from astra_models.upsert import UpsertReport
from astra_models.version import installed_v_astra

__all__ = ["PlannedRun", "RunRecord"]

SECONDS_FOR_GIT = 5


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
    """

    recipe: RecipeKey
    parameters: str
    model_files: str | None
    function: object

    def begin(self, run_id: str | None = None, due: int | None = None) -> "RunRecord | None":
        """Write down that the run begins; None if the bound database keeps no record of runs."""
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
            packages=_packages(len(sys.modules)),
            python=platform.python_version(),
            host=socket.gethostname(),
            run_id=run_id,
            due=due,
        )
        run_transaction(database, lambda: row.save(force_insert=True))
        return RunRecord(row.pk)


class RunRecord:
    """The record of a run that is under way.

    Parameters
    ----------
    pk : int
        Its key, which its results get.
    """

    def __init__(self, pk: int):
        self.pk = pk

    def end(self, report: UpsertReport, answered: int | None) -> None:
        """Write down that the run ended, and what came of it.

        Parameters
        ----------
        report : UpsertReport
            What became of its results.
        answered : int or None
            How many spectra have a result or a failure of this run, where that is known.
        """
        counts = ("inserted", "updated", "unchanged", "kept", "rejected")
        values = {name: getattr(report, name) for name in counts}
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


@functools.cache
def _packages(n_modules: int) -> str:
    """Give the versions of the packages that are imported, as JSON; it is looked again if `n_modules` differs."""
    imported = {name.partition(".")[0] for name in sys.modules}
    owners = importlib.metadata.packages_distributions()
    names = sorted({owner for module in imported & owners.keys() for owner in owners[module]})
    return json.dumps({name: importlib.metadata.version(name) for name in names})
