"""What a worker does: it analyses a chunk, and leaves marks by which the culprit is found if that ends it."""

import faulthandler
import logging
import pickle
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from astra_models.analysis.analyst import Analyst, Found
from astra_models.analysis.asked import AnySpectrum, Handed
from astra_models.analysis.isolation import Limits, analyse_isolated
from astra_models.analysis.job import Job
from astra_models.analysis.marks import MarkFile
from astra_models.database.retry import DEADLINE
from astra_models.errors import DatabaseUnavailableError
from astra_models.messages import error_text
from astra_models.spectrum import SpectrumMixin

__all__ = ["TOPIC", "Order", "Packed", "mark_of"]

SECONDS_BETWEEN_ALARMS = 1.0
SECONDS_BETWEEN_TRIES = 2.0
TOPIC = "astra"
"""Under which workers tell what the run's operator should know."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A chunk, as it is sent to a worker.

    Parameters
    ----------
    job : Job
        The pipeline.
    model : type
        The kind of spectrum.
    keys : sequence of int
        The spectra.
    items : sequence, optional
        The spectra themselves, for workers that can't reach the database.
    limits : Limits
        What each spectrum may take.
    slowest : float
        How long the slowest one took so far, in seconds.
    marks : Path
        The folder of the workers' marks.
    number : int
        The chunk's number, which the marks are named by.
    is_patient : bool
        Whether a database that can't be reached is waited for, because others of the run have reached it.
    """

    job: Job
    model: type[SpectrumMixin]
    keys: Sequence[int]
    items: Sequence[AnySpectrum | Handed] | None
    limits: Limits
    slowest: float
    marks: Path
    number: int
    is_patient: bool = False

    def pack(self) -> "Packed":
        """Make one buffer of it."""
        return Packed(pickle.dumps(self, protocol=5))


class Packed:
    """An order as one buffer. Its text says nothing of what is in it: Dask writes arguments into logs."""

    def __init__(self, data: bytes):
        self.data = data

    def __repr__(self) -> str:
        return f"a chunk of {len(self.data)} bytes"

    def order(self) -> Order:
        """Give the order."""
        return pickle.loads(self.data)


def mark_of(marks: Path, number: int) -> Path:
    """Give the file of the mark of a chunk."""
    return marks / f"{number}.mark"


_analysts: dict[bytes, Analyst] = {}
_one_at_a_time = threading.Lock()
"""A worker may have several threads, but one pipeline, which goes from chunk to chunk."""


def analyse(packed: Packed) -> list[bytes]:
    """Analyse a chunk."""
    with _one_at_a_time:
        return _analyse(packed.order())


def _analyse(order: Order) -> list[bytes]:
    _limit_memory(order.limits.memory)
    until = time.monotonic() + (DEADLINE if order.is_patient else 0.0)
    while True:
        try:
            return [_found(order).pack()]
        except DatabaseUnavailableError as error:
            _analysts.clear()  # its generator has ended by the error
            if time.monotonic() > until:
                raise
            logger.warning("trying again in %.0f s: %s", SECONDS_BETWEEN_TRIES, error)
            time.sleep(SECONDS_BETWEEN_TRIES)


def _found(order: Order) -> Found:
    mark = _Watch(order)
    try:
        analyst = _analyst(order.job)
        analyst.on_take = mark.put
        if order.items is None:
            return analyst.analyse(order.model, order.keys)
        return analyst.analyse_handed(list(order.keys), order.items)
    finally:
        mark.close()


def analyse_in_child(packed: Packed, suspect: int | None) -> list[bytes]:
    """Analyse a chunk in a child process, because it may have ended a worker."""
    order = packed.order()
    found = analyse_isolated(order.job, order.model, order.keys, order.limits, suspect=suspect, items=order.items)
    return [some.pack() for some in found]


class _Watch:
    """Marks what a worker takes, and ends the worker if that takes too long: even code that holds the GIL."""

    def __init__(self, order: Order):
        self._deadline = order.limits.deadline(order.slowest)
        self._armed = -SECONDS_BETWEEN_ALARMS
        try:
            order.marks.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark = MarkFile(mark_of(order.marks, order.number))
        except OSError as error:
            self._mark = None  # a culprit is found without it, by halving
            _tell(f"no marks can be left in {order.marks}: {error_text(error)}; make room there")

    def put(self, key: int | None) -> None:
        """Mark the spectrum that is taken now, and give it its time; None if it has no key."""
        if self._mark is not None:
            self._mark.put(key)
        now = time.monotonic()
        if now - self._armed >= SECONDS_BETWEEN_ALARMS:  # setting it takes 0.2 ms
            faulthandler.dump_traceback_later(self._deadline + SECONDS_BETWEEN_ALARMS, exit=True)
            self._armed = now

    def close(self) -> None:
        """Remove the mark, and end the worker no more."""
        faulthandler.cancel_dump_traceback_later()
        if self._mark is not None:
            self._mark.remove()


def _tell(text: str) -> None:
    """Tell the run something that its operator should know."""
    from distributed import get_worker

    logger.warning(text)
    get_worker().log_event(TOPIC, text)


def _analyst(job: Job) -> Analyst:
    digest = pickle.dumps(job)
    if digest not in _analysts:
        _analysts.clear()
        _analysts[digest] = Analyst(job)
    return _analysts[digest]


def _limit_memory(most: int | None) -> None:
    if most is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
