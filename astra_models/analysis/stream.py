"""Results on their way to a table: what a pipeline has to analyse, and the writing of what it gives.

Nothing here knows of Dagster: the asset and ``astra run`` do the same thing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from astra_models.analysis.due import select_due
from astra_models.analysis.pace import Pace
from astra_models.analysis.recording import record
from astra_models.analysis.task import Task
from astra_models.spectrum import load_spectra
from astra_models.upsert import UpsertReport

__all__ = ["Progress", "ResultStream", "analyse", "write"]


class ResultStream:
    """Results in batches, made while they are read.

    An own class, because Dagster takes a bare generator for a stream of its events.

    Parameters
    ----------
    batches : iterable of sequences
        Results, each batch of a size that fits into memory, with unsaved `RejectedResult` rows among them.
    models : sequence of type
        The models of the results. The first one's table is the asset's.
    due : int, optional
        How many spectra are to be analysed, where that is known.
    narrowed : bool, optional
        Whether only some of the spectra that could be due were looked at.
    keep_good : bool, optional
        Whether a result without any measured value leaves a better one in place.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[Any]],
        models: Sequence[type],
        *,
        due: int | None = None,
        narrowed: bool = False,
        keep_good: bool = False,
    ):
        self.batches = batches
        self.models = tuple(models)
        self.due = due
        self.narrowed = narrowed
        self.keep_good = keep_good
        self.taken = 0
        self.on_taken: Callable[[], None] | None = None

    def counted(self, spectra: Iterable[Any]) -> Iterator[Any]:
        """Pass on spectra, counting them in `taken`: slow pipelines have much to do before a batch is full."""
        for spectrum in spectra:
            yield spectrum
            self.taken += 1
            if self.on_taken:
                self.on_taken()

    def __iter__(self) -> Iterator[Sequence[Any]]:
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


def analyse(
    task: Task,
    *,
    limit: int | None = None,
    sdss_ids: Sequence[int] | None = None,
    rerun: Literal["due", "failed", "all"] = "due",
    batch_size: int | None = None,
    keep_good: bool = False,
) -> ResultStream:
    """Select the spectra that are due, and have a pipeline analyse them as its results are read.

    Parameters
    ----------
    task : Task
        The pipeline.
    limit : int, optional
        At most this many spectra.
    sdss_ids : sequence of int, optional
        Only spectra of these sources.
    rerun : {"due", "failed", "all"}, optional
        What is due, only what failed, or everything again.
    batch_size : int, optional
        Results per batch; the task's own if not given.
    keep_good : bool, optional
        Whether a result without any measured value leaves a better one in place.

    Raises
    ------
    UnknownSourceError
        If none of `sdss_ids` is known.
    """
    selections = []
    due = 0
    for model in task.spectrum_models:
        left = None if limit is None else limit - due
        keys = select_due(task.output_models[0], model, sdss_ids=sdss_ids, limit=left, rerun=rerun)
        due += len(keys)
        selections.append((model, keys))
    spectra = (spectrum for model, keys in selections for spectrum in load_spectra(model, keys))
    narrowed = limit is not None or sdss_ids is not None or rerun == "failed"
    stream = ResultStream((), task.output_models, due=due, narrowed=narrowed, keep_good=keep_good)
    stream.batches = task.batches(stream.counted(spectra), batch_size=batch_size)
    return stream


def write(
    stream: ResultStream,
    *,
    run_id: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    interval: float = 3.0,
) -> UpsertReport:
    """Write a stream's batches, each in its own transaction, one in memory at a time.

    Parameters
    ----------
    stream : ResultStream
        What to write.
    run_id : str, optional
        Kept with what is rejected.
    on_progress : callable, optional
        Called with a `Progress` every now and then.
    interval : float, optional
        Seconds between the first calls; see `Pace`.

    Returns
    -------
    UpsertReport
        The sum over all batches. If the stream raises, the batches before that are in the tables.
    """
    report, pace = UpsertReport(), Pace(interval)

    def tell() -> None:
        if on_progress and pace.is_due():
            done = max(stream.taken, report.rows)
            on_progress(Progress(done, stream.due, done / pace.seconds))

    stream.on_taken = tell
    for batch in stream:
        report += record(batch, keep_good=stream.keep_good, run_id=run_id)
        tell()
    return report
