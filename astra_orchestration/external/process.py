"""One process of an external program, from its start to its end.

It runs in a session of its own, so that all that it starts can be ended together. A small shell in the same group
waits on a pipe that this process holds open: when this process is gone, killed or not, the pipe closes, and the shell
ends the group.
"""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from astra_orchestration.external.errors import InterruptedRunError, ProgramError
from astra_orchestration.external.slots import Slots

_WITH_ITS_PARENT = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 & exec "$@" 3<&-'
"""The program's arguments are not part of it: they follow as "$@", which no shell looks into."""

_FIRST_PAUSE, _PAUSE_AFTER_NEWS, _LONGEST_PAUSE = 0.005, 0.04, 0.2
_END_OF_LOG = 4096
_DYING = 30.0
"""So many seconds a killed process may take to end."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """How a program is started.

    Parameters
    ----------
    arguments : tuple of str
        The program and its arguments.
    folder : Path
        The folder that it starts in.
    log : Path
        Where all that it prints goes, after what is there.
    environment : mapping, optional
        Variables beside those of this process.
    """

    arguments: tuple[str, ...]
    folder: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How long a program may take, in seconds, and how many run at once on this computer.

    Parameters
    ----------
    item : float, optional
        For each item, counted from the last one that was finished.
    silence : float, optional
        Without anything new in its log or its outputs.
    loading : float, optional
        Before it begins with the first item.
    running : tuple of Slots, optional
        Bounds of what runs: of processes, of their threads.
    loads : Slots, optional
        Bound of processes that are loading at once.
    """

    item: float = 600.0
    silence: float = 600.0
    loading: float = 600.0
    running: tuple[Slots, ...] = ()
    loads: Slots = field(default_factory=partial(Slots, "loading"))


class Progress(NamedTuple):
    """How far a process is.

    Parameters
    ----------
    has_loaded : bool
        Whether it has begun with the items.
    n_finished : int
        How many are finished.
    n_bytes : int
        How much it has written: if this doesn't grow, it is silent.
    """

    has_loaded: bool
    n_finished: int
    n_bytes: int


class Ending(NamedTuple):
    """How a process ended.

    Parameters
    ----------
    why : str
        ``""`` if it ended by itself, else which limit was over: ``item``, ``silence``, ``loading``.
    status : int
        Its exit status; negative for a signal.
    has_loaded : bool
        Whether it had begun with the items.
    load_seconds : float
        How long that took; until its end if it hadn't.
    last_lines : str
        The end of its log.
    """

    why: str
    status: int
    has_loaded: bool
    load_seconds: float
    last_lines: str


def find_program(path: str | os.PathLike[str]) -> Path:
    """Find a program, by its path or its name.

    Raises
    ------
    ProgramError
        If there is none, or it can't be executed.
    """
    given = os.fspath(path)
    if os.sep not in given:
        found = shutil.which(given)
        if found is None:
            raise ProgramError(f"there is no program {given!r} on the path; install it, or configure where it is")
        return Path(found).absolute()
    program = Path(given).expanduser().absolute()
    if not program.is_file():
        raise ProgramError(f"there is no program {program}; configure where it is")
    if not os.access(program, os.X_OK):
        raise ProgramError(f"{program} can't be executed by this user; see its permissions (chmod +x)")
    return program


def run_process(
    command: Command,
    look: Callable[[], Progress],
    limits: Limits,
    *,
    n_slots: Sequence[int] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Ending:
    """Run a program to its end, or until a limit is over.

    Parameters
    ----------
    command : Command
        What is started.
    look : callable
        Says how far it is; called again and again.
    limits : Limits
        When it is ended, and how many run at once.
    n_slots : sequence of int, optional
        How many places it takes of each of `Limits.running`; one if it isn't said.
    stopped : callable, optional
        Asked again and again; True ends the program.

    Raises
    ------
    ProgramError
        If it can't be started.
    InterruptedRunError
        If `stopped` said so.
    """
    with ExitStack() as running, ExitStack() as loading:
        for number, slots in enumerate(limits.running):
            count = n_slots[number] if number < len(n_slots) else 1
            running.enter_context(slots.hold(count, stopped))
        loading.enter_context(limits.loads.hold(1, stopped))
        if stopped():
            raise InterruptedRunError(f"{command.arguments[0]} wasn't started: the run was asked to end")
        with _started(command) as process:
            return _Watch(process, command, limits, loading).until_the_end(look, stopped)


@contextmanager
def _started(command: Command) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a group of its own, and end the group in any case."""
    read_end, write_end = os.pipe()
    try:
        with command.log.open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _WITH_ITS_PARENT, "sh", *command.arguments],
                cwd=command.folder,
                env={**os.environ, **command.environment},
                stdin=read_end,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        os.close(write_end)
        raise ProgramError(f"{command.arguments[0]} can't be started in {command.folder}: {error}") from error
    finally:
        os.close(read_end)
    try:
        yield process
    finally:
        # Before the process is waited for, its number can't be another's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        os.close(write_end)
        try:
            process.wait(_DYING)
        except subprocess.TimeoutExpired:
            _log.warning("%s was killed and doesn't end: process %d is left", command.arguments[0], process.pid)


@dataclass
class _Watch:
    process: subprocess.Popen[bytes]
    command: Command
    limits: Limits
    loading: ExitStack

    def __post_init__(self) -> None:
        self.begun = self.last_item = self.last_word = time.monotonic()
        self.load_seconds: float | None = None
        self.progress = Progress(has_loaded=False, n_finished=0, n_bytes=0)

    def until_the_end(self, look: Callable[[], Progress], stopped: Callable[[], bool]) -> Ending:
        """Watch the process until it ends, is over one of its limits, or is to be stopped."""
        pause = _FIRST_PAUSE
        while True:
            over = _is_over(self.process)
            news = self._take(look())
            why = "" if over else self._over_its_limit()
            if over or why:
                return self._ending(why)
            if stopped():
                raise InterruptedRunError(f"{self.command.arguments[0]} was ended: the run was asked to end")
            time.sleep(pause)
            pause = min(pause, _PAUSE_AFTER_NEWS) if news else min(pause * 1.5, _LONGEST_PAUSE)

    def _take(self, new: Progress) -> bool:
        now = time.monotonic()
        if new.has_loaded and self.load_seconds is None:
            self.load_seconds = now - self.begun
            self.last_item = now
            self.loading.close()
        if new.n_finished > self.progress.n_finished:
            self.last_item = now
        news = new != self.progress
        if news:
            self.last_word = now
        self.progress = new
        return news

    def _over_its_limit(self) -> str:
        now = time.monotonic()
        if self.load_seconds is None:
            return "loading" if now - self.begun > self.limits.loading else ""
        if now - self.last_item > self.limits.item:
            return "item"
        return "silence" if now - self.last_word > self.limits.silence else ""

    def _ending(self, why: str) -> Ending:
        if why:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        status = _status(self.process) if _is_over(self.process) or _ends_soon(self.process) else -signal.SIGKILL
        seconds = time.monotonic() - self.begun if self.load_seconds is None else self.load_seconds
        return Ending(why, status, self.load_seconds is not None, seconds, last_lines(self.command.log))


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; it stays a zombie, so that its number and its group's aren't given away."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ends_soon(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of a process that was killed: one that hangs on a disk doesn't end."""
    until = time.monotonic() + _DYING
    while time.monotonic() < until:
        if _is_over(process):
            return True
        time.sleep(_FIRST_PAUSE)
    return False


def _status(process: subprocess.Popen[bytes]) -> int:
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def last_lines(log: Path, n_lines: int = 5) -> str:
    """Give the end of a log, for a message: its last lines that say something, joined by `` / ``."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _END_OF_LOG, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return " / ".join([line[:200] for line in lines if line][-n_lines:])
