"""One way to run a pipeline: what is due, a stream of the batches that it gives, and each batch written.

A call of a pipeline, its asset and ``astra run`` all write by `write_batches`. Nothing here knows of Dagster.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from astra_models.analysis.analyst import Found
from astra_models.analysis.calling import AnySpectrum, Item, Output
from astra_models.analysis.counting import count_after_run
from astra_models.analysis.due import DueCounts, Rerun, count_due_by_reason, due_options, select_due
from astra_models.analysis.engine import Engine, InProcess
from astra_models.analysis.leases import Leases
from astra_models.analysis.recording import Recording, last_rejected, record_batch, record_found
from astra_models.analysis.runs import PlannedRun, RunRecord
from astra_models.analysis.usage import RunUsage
from astra_models.analysis.work import Selection, Work
from astra_models.errors import UnansweredError
from astra_models.garbage import imports_set_aside
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import CONTRACT, RejectedResult
from astra_models.upsert import UpsertReport
from astra_models.upsert.plan import Existing
from astra_models.version import installed_v_astra

__all__ = ["MIN_ANSWERED", "Pace", "Progress", "ResultStream", "analyse", "count_work", "write", "write_batches"]

MIN_ANSWERED = 0.5
FEWEST_DUE = 20

Taken = TypeVar("Taken", bound=AnySpectrum)


class ResultStream(Generic[Output]):
    """Results in batches, made while they are read.

    It is a class because Dagster takes a bare generator for a stream of its own events.

    Parameters
    ----------
    batches : iterable
        Results, each batch of a size that fits into memory, with unsaved `RejectedResult` rows among them; or what
        another process found.
    models : sequence of type
        The models of the results. The first one's table is the asset's.
    work : Work, optional
        What was to be analysed, and the run's leases on it.
    due : int, optional
        How many spectra are to be analysed, where that is known.
    narrowed : bool, optional
        Whether only some of the spectra that may be due were asked for.
    existing : {"newest", "replace", "keep", "merge"}, optional
        What to do with a result that is there already, as for `upsert`.
    keep_good : bool, optional
        Whether a result without any measured value leaves a better one in place.
    min_answered : float, optional
        The share of what is due that has to have a result in the end, from 0 to 1; see `require_answered`.

    Attributes
    ----------
    on_written : callable or None
        Gives what is to be reported beside the counts, once all is written.
    written : UpsertReport
        What became of its batches so far.
    """

    def __init__(
        self,
        batches: "Iterable[Sequence[Item[Output]] | Found]",
        models: Sequence[type[Output]],
        *,
        work: Work | None = None,
        due: int | None = None,
        narrowed: bool = False,
        existing: Existing = "newest",
        keep_good: bool = False,
        min_answered: float = 0.0,
    ):
        self.batches = batches
        self.work = work
        self.models = tuple(models)
        self.due = due
        self.narrowed = narrowed
        self.existing: Existing = existing
        self.keep_good = keep_good
        self.min_answered = min_answered
        self.pipeline: Pipeline | None = None
        """The pipeline whose results they are, where it analyses what is due."""
        self.keep = False
        """Whether results are left alone although the deployment's parameters are others."""
        self.taken = 0
        self.written = UpsertReport()
        self.on_taken: Callable[[], None] | None = None
        self.on_written: Callable[[UpsertReport], Mapping[str, object]] | None = None

    def counted(self, spectra: Iterable[Taken]) -> Iterator[Taken]:
        """Pass on spectra, counting them in `taken`: slow pipelines have much to do before a batch is full."""
        for spectrum in spectra:
            yield spectrum
            self.taken += 1
            if self.on_taken:
                self.on_taken()

    def __iter__(self) -> "Iterator[Sequence[Item[Output]] | Found]":
        return iter(self.batches)

    @property
    def usage(self) -> RunUsage | None:
        """What was used so far, where that is known."""
        return getattr(self.batches, "usage", None)

    @property
    def expected(self) -> int | None:
        """How many spectra are to have a result: those that were due, without those that other runs take care of."""
        if self.due is None or self.work is None:
            return self.due
        return self.due - self.work.elsewhere - self.work.done_by_others

    def answered(self, report: UpsertReport) -> int:
        """Give how many spectra have a result that is stored, by the report of writing the stream."""
        stored = report.rows - report.rejected
        given: int = getattr(self.batches, "answered", stored)
        return min(given, stored)  # what was given may have been refused, and a spectrum may have several results

    def require_answered(self, report: UpsertReport) -> None:
        """Make sure that enough of the spectra that were due have a result, after the stream was written.

        Fewer than 20 that were due may all have failed.

        Raises
        ------
        UnansweredError
            If the share of those that have one is below `min_answered`.
        """
        answered, expected = self.answered(report), self.expected
        if expected is None or expected < FEWEST_DUE or answered >= self.min_answered * expected:
            return
        raise UnansweredError(
            f"only {answered} of {expected} spectra that were due have a result, and at least {self.min_answered:.0%} "
            "should have; `astra rejected` says what happened to the others. What was given is stored"
        )


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
    usage : RunUsage or None
        What was used so far, where that is known.
    """

    done: int
    due: int | None
    per_second: float
    usage: RunUsage | None = None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None if that isn't known."""
        return None if self.due is None or not self.per_second else max(0, self.due - self.done) / self.per_second

    def __str__(self) -> str:
        total = "" if self.due is None else f" of {self.due}"
        parts = [f"{self.done}{total} done, {self.per_second:.1f} per second"]
        if self.seconds_left:
            parts.append(f"{duration(self.seconds_left)} left")
        if self.usage is not None and self.usage.workers > 1:
            memory = max(self.usage.peak_memory.values(), default=0) / 1e6
            parts.append(f"{self.usage.workers} workers of at most {memory:.0f} MB")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Give a time as a person would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Pace:
    """Says when to report progress: every few seconds, and more and more rarely.

    Dagster keeps a run's reports, so there must not be many: 20 in two weeks.

    Parameters
    ----------
    interval : float, optional
        Seconds to the first report.
    growth : float, optional
        How much later each report is than the one before: twice as long after the start, if not given. With 1, reports
        are apart by `interval`; if that is 0, it is always time.
    """

    def __init__(self, interval: float = 3.0, growth: float = 2.0):
        self.interval = interval
        self.growth = growth
        self.started = time.monotonic()
        self._next = interval

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def is_due(self) -> bool:
        """Say whether it is time for a report; if so, the next one is counted from now."""
        seconds = self.seconds
        if seconds < self._next:
            return False
        self._next = max(seconds + self.interval, seconds * self.growth) if self.interval else 0.0
        return True


def analyse(
    pipeline: Pipeline,
    *,
    limit: int | None = None,
    sdss_ids: Sequence[int] | None = None,
    rerun: Rerun | Literal["due", "failed", "all"] = Rerun.due,
    batch_size: int | None = None,
    keep_good: bool = False,
    parameters: Mapping[str, object] | None = None,
    min_answered: float = MIN_ANSWERED,
    reason: str | None = None,
    engine: Engine | None = None,
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
    parameters : mapping of str to object, optional
        Values of the pipeline's parameters; the others have their defaults.
    min_answered : float, optional
        The share of what is due that has to have a result in the end, from 0 to 1.
    reason : str, optional
        With ``rerun="failed"``, only what is listed for this reason.
    engine : Engine, optional
        Where the pipeline is called; in this process if not given.

    Raises
    ------
    UnknownSourceError
        If none of `sdss_ids` is known.
    ParameterError
        If a parameter can't have its value, or a file that one names isn't there.
    """
    selections: list[Selection] = []
    due = 0
    for model in pipeline.spectrum_models:
        # What is wrong with the parameters is said here, before anything is read.
        options = due_options(pipeline, model, parameters)
        left = None if limit is None else limit - due
        options |= {"sdss_ids": sdss_ids, "limit": left, "rerun": rerun, "failed_for": reason}
        keys = select_due(pipeline.output_models[0], model, **options)
        due += len(keys)
        selections.append(Selection(model, keys, options))
    narrowed = limit is not None or sdss_ids is not None or rerun == Rerun.failed
    leases = Leases(pipeline.output_models[0], installed_v_astra())
    work = Work(pipeline.output_models[0], selections, leases, is_whole=not narrowed and rerun == Rerun.due)
    # Everything again is what was asked for: also what a newer patch has found.
    existing = "replace" if rerun == Rerun.all else "newest"
    stream = ResultStream(
        (),
        pipeline.output_models,
        work=work,
        due=due,
        narrowed=narrowed,
        existing=existing,
        keep_good=keep_good,
        min_answered=min_answered,
    )
    stream.pipeline = pipeline
    stream.batches = (engine or InProcess()).start(pipeline, work, parameters or {}, batch_size, stream.counted)
    return stream


def count_work(
    pipeline: Pipeline,
    *,
    limit: int | None = None,
    sdss_ids: Sequence[int] | None = None,
    rerun: Rerun | Literal["due", "failed", "all"] = Rerun.due,
    reason: str | None = None,
    parameters: Mapping[str, object] | None = None,
) -> DueCounts:
    """Count what `analyse` would analyse for the same arguments, by reason, and what waits; nothing is started."""
    counts = DueCounts(Counter(), 0)
    for model in pipeline.spectrum_models:
        options = due_options(pipeline, model, parameters)
        left = None if limit is None else limit - counts.due
        options |= {"sdss_ids": sdss_ids, "limit": left, "rerun": rerun, "failed_for": reason}
        counts += count_due_by_reason(pipeline.output_models[0], model, **options)
    return counts


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
    writing = _Writing(stream, run_id)
    parts = iter(stream)
    with imports_set_aside():
        try:
            for part in parts:
                yield writing.write(part, give_stored=give_stored)
        except BaseException:
            writing.end_after_error()
            raise
        finally:
            writing.give_back_leases()
            if isinstance(parts, Generator):
                parts.close()  # workers end now, and not when somebody forgets the error that ended the run
    writing.end()


class _Writing(Generic[Output]):
    """A stream that is being written, with the record of its run."""

    def __init__(self, stream: ResultStream[Output], run_id: str | None):
        self.stream = stream
        self.total = UpsertReport()
        self._planned: PlannedRun | None = getattr(stream.batches, "planned", None)
        self._run: RunRecord | None = None
        leases = None if stream.work is None else stream.work.leases
        if leases is not None:
            leases.run_id = run_id
        self._how = Recording(stream.existing, stream.keep_good, run_id, leases=leases)
        self._knows_earlier = False
        self._started = time.monotonic()

    def write(self, part: Sequence[Item[Output]] | Found, *, give_stored: bool) -> tuple[UpsertReport, list[Output]]:
        """Write a part; give the report, and what is stored if that is wanted."""
        stored: list[Output] = []
        if self._planned is not None:
            self._run, self._planned = self._begin(self._planned), None
        self._note_earlier(part.failures if isinstance(part, Found) else part)
        if isinstance(part, Found):
            report = record_found(part, self._how, None if self._run is None else self._run.pk)
        else:
            if self._run is not None:
                self._run.stamp(part)
            report = record_batch(part, self._how, stored if give_stored else None)
        self.total += report
        self.stream.written = self.total
        return report, stored

    def _begin(self, planned: PlannedRun) -> RunRecord | None:
        return planned.begin(self._how.run_id, self.stream.due, keep=self.stream.keep)

    def end(self) -> None:
        """Write down that the run ended."""
        if self._run is not None:
            self._run.end(self.total, self.stream.answered(self.total), self.stream.usage)
        if self.stream.pipeline is not None:
            count_after_run(self.stream.pipeline, time.monotonic() - self._started)

    def end_after_error(self) -> None:
        """Write down that the run ended by an error, where that can be written."""
        if self._run is not None:
            self._run.end_after_error(self.total, self.stream.answered(self.total), self.stream.usage)

    def give_back_leases(self) -> None:
        """Give back what is still leased."""
        if self._how.leases is not None:
            self._how.leases.close()

    def _note_earlier(self, items: Iterable[Item[Output]]) -> None:
        """Note which rows of ``rejected_result`` are of earlier runs, before the first that replaces any is written."""
        if self._knows_earlier:
            return
        if any(isinstance(item, RejectedResult) and item.reason == CONTRACT for item in items):
            self._how = replace(self._how, replaced=last_rejected())
            self._knows_earlier = True


def write(
    stream: ResultStream[Output],
    *,
    run_id: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    interval: float = 3.0,
    growth: float = 2.0,
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
    interval, growth : float, optional
        When it is time, see `Pace`.

    Returns
    -------
    UpsertReport
        The sum over all batches. If the stream raises, the batches before that are in the tables.
    """
    total, pace = UpsertReport(), Pace(interval, growth)

    def tell() -> None:
        if on_progress and pace.is_due():
            # Of several models a spectrum has several rows: they count where spectra aren't.
            done = max(stream.taken, total.rows) if len(stream.models) == 1 else stream.taken or total.rows
            on_progress(Progress(done, stream.due, done / pace.seconds, stream.usage))

    stream.on_taken = tell
    for report, _ in write_batches(stream, run_id=run_id):
        total += report
        tell()
    return total
