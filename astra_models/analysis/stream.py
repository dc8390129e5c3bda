"""One way to run a pipeline: what is due, a stream of the batches that it gives, and each batch written.

A call of a pipeline, its asset and ``astra run`` all write by `write_batches`. Nothing here knows of Dagster.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from astra_models.analysis.calling import AnySpectrum, Output
from astra_models.analysis.due import Rerun, select_due
from astra_models.analysis.recording import record
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.spectrum import load_spectra
from astra_models.upsert import UpsertReport
from astra_models.upsert.plan import Existing

__all__ = ["Pace", "Progress", "ResultStream", "analyse", "write", "write_batches"]


Taken = TypeVar("Taken", bound=AnySpectrum)


class ResultStream(Generic[Output]):
    """Results in batches, made while they are read.

    It is a class because Dagster takes a bare generator for a stream of its own events.

    Parameters
    ----------
    batches : iterable of sequences
        Results, each batch of a size that fits into memory, with unsaved `RejectedResult` rows among them.
    models : sequence of type
        The models of the results. The first one's table is the asset's.
    due : int, optional
        How many spectra are to be analysed, where that is known.
    narrowed : bool, optional
        Whether only some of the spectra that may be due were asked for.
    existing : {"newest", "replace", "keep", "merge"}, optional
        What to do with a result that is there already, as for `upsert`.
    keep_good : bool, optional
        Whether a result without any measured value leaves a better one in place.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[Output | RejectedResult]],
        models: Sequence[type[Output]],
        *,
        due: int | None = None,
        narrowed: bool = False,
        existing: Existing = "newest",
        keep_good: bool = False,
    ):
        self.batches = batches
        self.models = tuple(models)
        self.due = due
        self.narrowed = narrowed
        self.existing: Existing = existing
        self.keep_good = keep_good
        self.taken = 0
        self.on_taken: Callable[[], None] | None = None

    def counted(self, spectra: Iterable[Taken]) -> Iterator[Taken]:
        """Pass on spectra, counting them in `taken`: slow pipelines have much to do before a batch is full."""
        for spectrum in spectra:
            yield spectrum
            self.taken += 1
            if self.on_taken:
                self.on_taken()

    def __iter__(self) -> Iterator[Sequence[Output | RejectedResult]]:
        return iter(self.batches)


@dataclass(frozen=True)
class Progress:
    """How far a stream has been written.

    Attributes
    ----------
    done : int
        Spectra analysed so far, or rows written where that is not known.
    due : int or None
        Spectra that were due at the start.
    per_second : float
        Mean rate so far.
    """

    done: int
    due: int | None
    per_second: float

    def __str__(self) -> str:
        total = "" if self.due is None else f" of {self.due}"
        return f"{self.done}{total} done, {self.per_second:.1f} per second"


class Pace:
    """Says when to report progress: every few seconds, and more rarely the longer a run lasts.

    Dagster keeps a run's reports, so there must not be many.

    Parameters
    ----------
    interval : float, optional
        Seconds between the first reports; later ones are apart by a twentieth of the time since the start. With 0,
        it is always time for a report.
    """

    def __init__(self, interval: float = 3.0):
        self.interval = interval
        self.started = self.reported = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def is_due(self) -> bool:
        """Say whether it is time for a report; if so, the next one is counted from now."""
        now = time.monotonic()
        if self.interval and now - self.reported < max(self.interval, (now - self.started) / 20):
            return False
        self.reported = now
        return True


def analyse(
    pipeline: Pipeline,
    *,
    limit: int | None = None,
    sdss_ids: Sequence[int] | None = None,
    rerun: Rerun | Literal["due", "failed", "all"] = Rerun.due,
    batch_size: int | None = None,
    keep_good: bool = False,
) -> ResultStream[PipelineOutputMixin]:
    """Select the spectra that are due, and have a pipeline analyse them as its results are read.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    limit : int, optional
        At most this many spectra.
    sdss_ids : sequence of int, optional
        Only spectra of these sources.
    rerun : Rerun or {"due", "failed", "all"}, optional
        What is due, only what failed, or everything again.
    batch_size : int, optional
        Results per batch; the pipeline's own if not given.
    keep_good : bool, optional
        Whether a result without any measured value leaves a better one in place.

    Raises
    ------
    UnknownSourceError
        If none of `sdss_ids` is known.
    """
    selections = []
    due = 0
    for model in pipeline.spectrum_models:
        left = None if limit is None else limit - due
        keys = select_due(pipeline.output_models[0], model, sdss_ids=sdss_ids, limit=left, rerun=rerun)
        due += len(keys)
        selections.append((model, keys))
    spectra = (spectrum for model, keys in selections for spectrum in load_spectra(model, keys))
    narrowed = limit is not None or sdss_ids is not None or rerun == Rerun.failed
    # Everything again is what was asked for: also what a newer patch has found.
    existing = "replace" if rerun == Rerun.all else "newest"
    stream = ResultStream(
        (), pipeline.output_models, due=due, narrowed=narrowed, existing=existing, keep_good=keep_good
    )
    stream.batches = pipeline.batches(stream.counted(spectra), batch_size=batch_size)
    return stream


def write_batches(
    stream: ResultStream[Output], *, run_id: str | None = None, give_stored: bool = False
) -> Iterator[tuple[UpsertReport, list[Output]]]:
    """Write a stream's batches, each in its own transaction, one in memory at a time.

    Parameters
    ----------
    stream : ResultStream
        What to write.
    run_id : str, optional
        The run's id, kept with failures and refused results.
    give_stored : bool, optional
        Whether to give the results that are in the database now.

    Yields
    ------
    report : UpsertReport
        What became of a batch.
    stored : list of PipelineOutputMixin
        Its stored results, in order, with ``task_pk`` and ``created``; empty unless `give_stored`.
    """
    for batch in stream:
        stored: list[Output] = []
        filled = stored if give_stored else None
        report = record(batch, existing=stream.existing, keep_good=stream.keep_good, run_id=run_id, stored=filled)
        yield report, stored


def write(
    stream: ResultStream[Output],
    *,
    run_id: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    interval: float = 3.0,
) -> UpsertReport:
    """Write a whole stream, and report progress.

    Parameters
    ----------
    stream : ResultStream
        What to write.
    run_id : str, optional
        The run's id, kept with failures and refused results.
    on_progress : callable, optional
        Called with a `Progress` when it is time for a report.
    interval : float, optional
        Seconds between the first calls; see `Pace`.

    Returns
    -------
    UpsertReport
        The sum over all batches. If the stream raises, the batches before that are in the tables.
    """
    total, pace = UpsertReport(), Pace(interval)

    def tell() -> None:
        if on_progress and pace.is_due():
            done = max(stream.taken, total.rows)
            on_progress(Progress(done, stream.due, done / pace.seconds))

    stream.on_taken = tell
    for report, _ in write_batches(stream, run_id=run_id):
        total += report
        tell()
    return total
