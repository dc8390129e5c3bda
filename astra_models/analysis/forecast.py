"""How long a run will take, by how long the last ones took."""

from astra_models.analysis.stream import duration
from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.outputs import Pipeline
from astra_models.pipeline_run import PipelineRun

__all__ = ["forecast", "seconds_per_spectrum"]

RUNS = 5
FEWEST = 5
"""Spectra that a run must have answered to tell anything: the start of a run takes seconds, too."""


def seconds_per_spectrum(pipeline: str) -> float | None:
    """Give how long a worker took for a spectrum in the last runs of a pipeline; None if nothing is known.

    Parameters
    ----------
    pipeline : str
        Its name.
    """
    query = (
        PipelineRun.select(PipelineRun.started, PipelineRun.ended, PipelineRun.workers, PipelineRun.answered)
        .where(
            PipelineRun.pipeline == pipeline,
            PipelineRun.ended.is_null(False),
            PipelineRun.workers.is_null(False),
            PipelineRun.answered >= FEWEST,
        )
        .order_by(PipelineRun.pk.desc())
        .limit(RUNS)
    )
    if not run_transaction(database, PipelineRun.table_exists):
        return None
    runs = run_transaction(database, lambda: list(query))
    answered = sum(run.answered for run in runs)
    spent = sum((run.ended - run.started).total_seconds() * run.workers for run in runs)
    return spent / answered if answered else None


def forecast(pipeline: Pipeline, due: int, workers: int) -> str | None:
    """Say how long a run would take; None if no run of the pipeline tells.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    due : int
        How many spectra are due.
    workers : int
        How many processes would call it.
    """
    each = seconds_per_spectrum(pipeline.name)
    if each is None:
        return None
    seconds = due * each / workers
    how = f"{workers} workers" if workers > 1 else "one process"
    return f"about {duration(seconds)} with {how}: {each:.2g} s for each spectrum in its last runs"
