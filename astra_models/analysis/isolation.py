"""Spectra that may end the process which analyses them, tried in a child process until the culprit is known.

The child leaves a mark of each spectrum that it takes. If it dies, what it was at is tried alone once more: only what
fails again is listed, as ``crash``, ``timeout`` or ``memory``. Where the marked one is innocent (a pipeline may have
several in hand), halves are tried.
"""

import logging
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from astra_models.analysis.analyst import Found
from astra_models.analysis.asked import AnySpectrum, Handed, Taken
from astra_models.analysis.failures import Failures, Spectral, Undecided, made_from
from astra_models.analysis.isolated import LENGTH, Assignment
from astra_models.analysis.job import Job
from astra_models.analysis.marks import MarkFile
from astra_models.analysis.usage import Usage
from astra_models.errors import PipelineError, WorkerError
from astra_models.host import host_name
from astra_models.messages import printable
from astra_models.rejected import CRASH, MEMORY, TIMEOUT
from astra_models.spectrum import SpectrumMixin, load_spectra
from astra_models.version import installed_v_astra

__all__ = ["Limits", "analyse_isolated"]

LEAST_DEADLINE = 600.0
SLOWER_THAN_SLOWEST = 20
SECONDS_BETWEEN_LOOKS = 0.25
PAGE = os.sysconf("SC_PAGE_SIZE")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a spectrum may take.

    Parameters
    ----------
    seconds : float, optional
        The longest that one may take; if not given, 20 times the slowest one so far, and 10 minutes at least.
    memory : int, optional
        The most memory that a process may have, in bytes.
    """

    seconds: float | None = None
    memory: int | None = None

    def deadline(self, slowest: float) -> float:
        """Give the longest that a spectrum may take.

        Parameters
        ----------
        slowest : float
            How long the slowest one took so far, in seconds.
        """
        return self.seconds if self.seconds is not None else max(LEAST_DEADLINE, SLOWER_THAN_SLOWEST * slowest)


class _End(NamedTuple):
    """How a child process ended too early."""

    reason: str
    message: str
    key: int | None


def analyse_isolated(
    job: Job,
    model: type[SpectrumMixin],
    keys: Sequence[int],
    limits: Limits,
    *,
    suspect: int | None = None,
    items: Sequence[AnySpectrum | Handed] | None = None,
) -> Iterator[Found]:
    """Analyse spectra in a child process, whatever they do to it.

    Parameters
    ----------
    job : Job
        The pipeline.
    model : type
        The kind of spectrum.
    keys : sequence of int
        The spectra.
    limits : Limits
        What each may take.
    suspect : int, optional
        One of them that a process was at when it died.
    items : sequence, optional
        The spectra themselves, if they aren't to be read from the database.

    Yields
    ------
    Found
        What was found, piece by piece; a spectrum that ended its process twice is among the failures.

    Raises
    ------
    WorkerError
        If the process ends before it has taken a spectrum.
    """
    trial = _Trial(job, model, limits, None if items is None else {_spectrum(one).spectrum_pk: one for one in items})
    if suspect is not None and suspect in keys:
        yield from trial.alone(suspect)
        keys = [key for key in keys if key != suspect]
    yield from trial.several(list(keys))


class _Trial:
    def __init__(
        self,
        job: Job,
        model: type[SpectrumMixin],
        limits: Limits,
        items: Mapping[int, AnySpectrum | Handed] | None,
    ):
        self.job = job
        self.items = items
        self.model = model
        self.limits = limits
        self.slowest = 0.0
        self.task = task = job.load()
        self.failures = Failures(task.name, task.output_models[0], installed_v_astra())

    def several(self, keys: list[int]) -> Iterator[Found]:
        """Try spectra together; if the child dies, the one that it was at alone, and then the rest."""
        if not keys:
            return
        left, end = yield from self._run(keys)
        if end is None:
            return
        logger.warning("%s: %s; trying what it had in hand alone", self.failures.name, end.message)
        if len(left) == 1:
            yield from self.alone(left[0])
        elif end.key in left:
            n_listed = yield from self.alone(end.key)
            left.remove(end.key)
            yield from self.several(left) if n_listed else self._halves(left)
        else:
            yield from self._halves(left)

    def alone(self, key: int) -> Iterator[Found]:
        """Try a spectrum alone, and list it if it ends its process again; return how many were listed."""
        _, end = yield from self._run([key])
        if end is None:
            return 0
        yield self._listed(key, end)
        return 1

    def _halves(self, keys: list[int]) -> Iterator[Found]:
        middle = len(keys) // 2
        yield from self.several(keys[:middle])
        yield from self.several(keys[middle:])

    def _run(self, keys: list[int]) -> Iterator[Found]:
        """Run a child; return the spectra that it didn't finish, and how it ended if that was too early."""
        left = list(keys)
        mark = MarkFile.temporary()
        items = None if self.items is None else {key: self.items[key] for key in keys}
        child = _Child(Assignment(self.job, self.model, keys, items, mark.path, self.limits.memory))
        try:
            while True:
                found = child.read()
                if found is not None:
                    done = set(found.keys)
                    left = [key for key in left if key not in done]
                    self.slowest = max([self.slowest, *(seconds for seconds, _ in found.usage.slowest)])
                    yield found
                    if not left:  # whatever it does still, such as a thread that goes on
                        return [], None
                elif child.has_ended():
                    break
                elif (end := self._over_limit(child, mark)) is not None:
                    child.kill()
                    return left, end
            code = child.process.returncode
            if code == 0:
                return [], None
            key = mark.read().key
            if key is None and left == keys:
                raise WorkerError(
                    f"{self.failures.name}: the process that analyses spectra {_how(code)} before it took one: "
                    f"{child.last_words() or 'it said nothing'}"
                )
            return left, _End(
                CRASH, f"the process that analysed it {_how(code)}: {child.last_words()}".rstrip(": "), key
            )
        finally:
            child.kill()
            mark.remove()

    def _over_limit(self, child: "_Child", mark: MarkFile) -> _End | None:
        key, since = mark.read()
        deadline = self.limits.deadline(self.slowest)
        if key is not None and time.monotonic() - since > deadline:
            return _End(TIMEOUT, f"it took longer than {deadline:.0f} s", key)
        if self.limits.memory is not None and child.memory() > self.limits.memory:
            return _End(MEMORY, f"it needs more than {self.limits.memory / 1e6:.0f} MB of memory", key)
        return None

    def _listed(self, key: int, end: _End) -> Found:
        if self.items is None:
            item = next(iter(self.task.with_results(load_spectra(self.model, [key]))), None)
        else:
            item = self.items[key]
        of = Spectral(key, None, None, None) if item is None else made_from(Taken(item, key, 1))
        failure = self.failures.ended(of, end.reason, end.message)
        usage = Usage(host_name(), os.getpid(), 0.0, 0.0, 0)
        return Found([key], [], [failure], Undecided([], [], 0), 0, usage)


class _Child:
    """The child process, and what it writes."""

    def __init__(self, assignment: Assignment):
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "astra_models.analysis.isolated", str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[writing],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONFAULTHANDLER": "1"},
            )
        finally:
            os.close(writing)
        self._pipe = reading
        self._buffer = bytearray()
        self._errors = bytearray()
        self._at_end = False
        self._may_say_more = True
        assert self.process.stdin is not None
        with (
            suppress(BrokenPipeError),
            self.process.stdin as stdin,
        ):  # it may be dead, which is found out when it is read
            stdin.write(pickle.dumps(assignment))

    def read(self) -> Found | None:
        """Give the next piece; None if there is none for now."""
        piece = self._take_piece()
        if piece is not None or self._at_end:
            return piece
        has_exited = self.process.poll() is not None
        if self._pipe in self._read_errors(SECONDS_BETWEEN_LOOKS, self._pipe):
            read = os.read(self._pipe, 1_048_576)
            self._buffer += read
            self._at_end = not read
        else:
            self._at_end = has_exited  # a process that it started may keep the pipe open
        return self._take_piece()

    def _read_errors(self, seconds: float, *others: int) -> list[int]:
        """Read what it writes to its standard error, and tell from which of the other descriptors can be read."""
        assert self.process.stderr is not None
        errors = self.process.stderr.fileno()
        wanted: list[int] = [*others, *([errors] if self._may_say_more else [])]
        ready: list[int] = select.select(wanted, [], [], seconds)[0]
        if errors in ready:
            read = os.read(errors, 65_536)
            self._may_say_more = bool(read)
            self._errors += read
            del self._errors[:-4000]
        return ready

    def _take_piece(self) -> Found | None:
        if len(self._buffer) < LENGTH.size:
            return None
        length = LENGTH.unpack_from(self._buffer)[0]
        end = LENGTH.size + abs(length)
        if len(self._buffer) < end:
            return None
        if length < 0:
            raise PipelineError(self._buffer[LENGTH.size : end].decode())
        packed = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return Found.unpack(packed)

    def has_ended(self) -> bool:
        """Tell whether all is read, and the process has ended."""
        if not self._at_end:
            return False
        try:
            self.process.wait(SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def memory(self) -> int:
        """Give the memory that it has, in bytes; 0 where the system doesn't say."""
        try:
            with open(f"/proc/{self.process.pid}/statm") as file:
                return int(file.read().split()[1]) * PAGE
        except OSError:
            return 0

    def last_words(self) -> str:
        """Give the last line that it wrote to its standard error."""
        while self._may_say_more and self._read_errors(0):
            pass
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return printable(next((line for line in lines if line.startswith("Fatal")), lines[-1] if lines else ""))[:300]

    def kill(self) -> None:
        """End it, and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self.process.stderr is not None:
            self.process.stderr.close()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended itself (exit code {code})"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _spectrum(item: AnySpectrum | Handed) -> AnySpectrum:
    return item.spectrum if isinstance(item, Handed) else item
