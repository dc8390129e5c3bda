"""Working through items with a program that may hang on one of them, or die of it.

What was finished is always kept. The items that were in hand when the program was ended are tried once more, each
alone; the rest goes on in a new process. Each round settles one item at least, so there is an end.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from astra_orchestration.external.errors import ProgramError
from astra_orchestration.external.process import Command, Ending, Limits, Progress, run_process

_log = logging.getLogger(__name__)

_PATIENCE_OF_LOADS = 10
"""So many times as long as before may it take to load: disks are busy at times."""

Item = TypeVar("Item", bound=Hashable)


class Attempt(Protocol[Item]):
    """One process and its items: how it is started, how far it is, what came out."""

    command: Command

    def look(self) -> Progress:
        """Say how far it is, while it runs."""
        ...

    def in_hand(self) -> Sequence[Item]:
        """Say which items it was working on, as far as it says so itself."""
        ...

    def collect(self) -> Mapping[Item, float]:
        """Keep what was finished, after its end; give those items and the seconds that each took."""
        ...


class Outcome(NamedTuple):
    """What became of an item.

    Parameters
    ----------
    state : str
        ``finished``; ``timed_out`` or ``died`` if it was so when it was tried alone; ``not_run`` if the program was
        given up before.
    seconds : float
        How long it took; for what wasn't finished, how long it was waited for.
    load_seconds : float
        How long the process that had it took to load.
    message : str
        What the program said last, if it wasn't finished.
    """

    state: str
    seconds: float
    load_seconds: float
    message: str


@dataclass
class Worker(Generic[Item]):
    """Works through items with one process after another.

    Parameters
    ----------
    begin : callable
        Prepares an attempt for some items.
    limits : Limits
        Limits of each process.
    n_slots : sequence of int, optional
        How many places each process takes of each of `Limits.running`; one if it isn't said.
    patience : int, optional
        After so many processes in a row without a finished item the program is given up.
    stopped : callable, optional
        Asked again and again, by several threads; True ends all.
    """

    begin: Callable[[Sequence[Item]], Attempt[Item]]
    limits: Limits
    n_slots: Sequence[int] = ()
    patience: int = 20
    stopped: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._ended = threading.Event()

    def _is_stopped(self) -> bool:
        return self._ended.is_set() or self.stopped()

    def work_through(self, items: Sequence[Item], n_processes: int = 1) -> dict[Item, Outcome]:
        """Try all items; give what became of each.

        Parameters
        ----------
        items : sequence
            The items, each once.
        n_processes : int, optional
            How many processes share them, side by side.

        Raises
        ------
        ProgramError
            If the program can't be started, or ended without beginning with the items, and none is finished.
        InterruptedRunError
            If `stopped` said so; what was finished is kept.
        """
        shares = [list(items[number::n_processes]) for number in range(n_processes)]
        shares = [share for share in shares if share]
        if len(shares) < 2:
            return _Share(self, shares[0], self._is_stopped).work() if shares else {}
        outcomes: dict[Item, Outcome] = {}
        errors: list[ProgramError] = []
        with ThreadPoolExecutor(len(shares)) as pool:
            try:
                futures = [pool.submit(_Share(self, share, self._is_stopped).work) for share in shares]
                for share, future in zip(shares, futures, strict=True):
                    try:
                        outcomes |= future.result()
                    except ProgramError as error:
                        errors.append(error)
                        outcomes |= dict.fromkeys(share, Outcome("not_run", 0.0, 0.0, str(error)))
            finally:
                self._ended.set()
        if len(errors) == len(shares):
            raise errors[0]
        return outcomes


class _Share(Generic[Item]):
    """The items of one chain of processes."""

    def __init__(self, worker: Worker[Item], items: Sequence[Item], stopped: Callable[[], bool]) -> None:
        self.worker = worker
        self.rest = list(items)
        self.stopped = stopped
        self.outcomes: dict[Item, Outcome] = {}
        self.fruitless = 0
        self.not_loaded = 0
        self.usual_load: float | None = None
        self.program = ""
        self.log = Path()

    def work(self) -> dict[Item, Outcome]:
        """Begin with all items; after each end, try those in hand alone, and go on with the rest."""
        while self.rest:
            ending, suspects = self._try(self.rest)
            if not self.rest:
                break
            if self.fruitless and not self._had_begun(ending):
                self._expect_better(ending)
            else:
                for item in suspects:
                    self._try_alone(item)
            if self.fruitless > self.worker.patience:
                self._give_up(ending)
            if self.fruitless:
                self.rest = self.rest[len(self.rest) // 2 :] + self.rest[: len(self.rest) // 2]
        return self.outcomes

    def _try(self, items: Sequence[Item]) -> tuple[Ending, list[Item]]:
        """Run one process; give how it ended, and the unfinished items that it was working on."""
        attempt = self.worker.begin(list(items))
        self.program, self.log = attempt.command.arguments[0], attempt.command.log
        try:
            ending = run_process(
                attempt.command, attempt.look, self._limits(), n_slots=self.worker.n_slots, stopped=self.stopped
            )
        except BaseException:
            # An interrupted run keeps what is finished, too.
            attempt.collect()
            raise
        in_hand = attempt.in_hand()
        finished = attempt.collect()
        for item, seconds in finished.items():
            self.outcomes[item] = Outcome("finished", seconds, ending.load_seconds, "")
        self.rest = [item for item in self.rest if item not in self.outcomes]
        if ending.has_loaded:
            self.usual_load = max(self.usual_load or 0.0, ending.load_seconds)
            self.not_loaded = 0
        self.fruitless = 0 if finished else self.fruitless + 1
        left = [item for item in items if item not in self.outcomes]
        if left:
            _log.warning(
                "%s ended (%s) with %d of %d items unfinished, its log is %s: %s",
                self.program,
                ending.why or f"status {ending.status}",
                len(left),
                len(items),
                self.log,
                ending.last_lines,
            )
        return ending, [item for item in in_hand if item in left] or left[:1]

    def _limits(self) -> Limits:
        """Give the limits; a program that prints nothing until its first item is known by how it began before."""
        limits = self.worker.limits
        if self.usual_load is None:
            return limits
        return replace(limits, loading=min(limits.loading, _PATIENCE_OF_LOADS * self.usual_load + limits.item))

    def _try_alone(self, item: Item) -> None:
        ending, left = self._try([item])
        if left:
            self._settle(item, ending)

    def _settle(self, item: Item, ending: Ending) -> None:
        state = "timed_out" if ending.why else "died"
        if not self._had_begun(ending):
            state = "not_run"
        seconds = self.worker.limits.item if ending.why == "item" else 0.0
        self.outcomes[item] = Outcome(state, seconds, ending.load_seconds, ending.last_lines)
        self.rest.remove(item)

    def _had_begun(self, ending: Ending) -> bool:
        """Whether the end had to do with an item: also if the program says nothing before it has finished one."""
        is_known_to_begin = self.usual_load is not None
        return ending.has_loaded or (is_known_to_begin and (ending.why != "" or ending.status < 0))

    def _expect_better(self, ending: Ending) -> None:
        """Allow one process that ends before it begins: not two, and none if no other did better."""
        self.not_loaded += 1
        if not self.outcomes and (ending.why != "loading" or self.not_loaded > 1):
            raise ProgramError(self._why_nothing(ending))
        if self.not_loaded > 1:
            self._give_up(ending)

    def _give_up(self, ending: Ending) -> None:
        message = self._why_nothing(ending)
        self.outcomes |= dict.fromkeys(self.rest, Outcome("not_run", 0.0, ending.load_seconds, message))
        self.rest = []

    def _why_nothing(self, ending: Ending) -> str:
        how = f"with status {ending.status}"
        if ending.why:
            how = f"by a limit ({ending.why})"
        begun = "" if ending.has_loaded else " before it began"
        return f"{self.program} ended {how}{begun}; its log is {self.log}: {ending.last_lines or 'it printed nothing'}"
