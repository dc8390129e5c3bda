"""The note by which a running UI is known in its ``DAGSTER_HOME``: two daemons there would each do the work of one.

The process that started the others writes it, touches it as long as it lives, and removes it. Who finds it can tell
whether these processes are there: by their identities on the same computer, by the note's age on another.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from astra_models.errors import AlreadyRunningError, ConfigurationError
from astra_models.host import has_ended, host_name, this_process

__all__ = ["OwnNote", "noted", "stop"]

NAME = "astra-ui.json"
LOST_AFTER = 60.0
"""Seconds after which a note that nobody touches is one of a computer that is off."""
PATIENCE = 20.0
"""Seconds in which processes have to end by themselves."""


@dataclass
class Note:
    """What is known of a running UI.

    Parameters
    ----------
    host : str
        The computer's name.
    process : str
        The process that started the others, see `astra_models.host`.
    since : str
        When it started.
    address : str
        Where the UI is.
    children : dict of str to str
        The processes that it started, by name; each leads a process group.
    ends_within : float, optional
        How long it may take to end in order, in seconds.
    """

    host: str
    process: str
    since: str
    address: str
    children: dict[str, str] = field(default_factory=dict)
    ends_within: float = 0.0

    @property
    def number(self) -> str:
        """The number of the process that started the others."""
        return self.process.partition(" ")[0]

    def is_running(self, path: Path) -> bool:
        """Tell whether any of its processes is there."""
        if self.host == host_name() and self.process != self.number:
            return not all(has_ended(self.host, process) for process in [self.process, *self.children.values()])
        return _age(path) < LOST_AFTER

    def __str__(self) -> str:
        return f"process {self.number} on {self.host}, since {self.since}, at {self.address}"


class OwnNote:
    """The note of this process."""

    def __init__(self, path: Path, note: Note):
        self._path = path
        self._note = note
        self._touched = time.monotonic()

    def add(self, name: str, process: str) -> None:
        """Note a process that was started."""
        self._note.children[name] = process
        _write(self._path, self._note)

    def touch(self) -> None:
        """Say that this process lives; often enough, however often it is called."""
        if time.monotonic() < self._touched + LOST_AFTER / 6:
            return
        self._touched = time.monotonic()
        with suppress(FileNotFoundError):  # somebody has removed it by hand
            os.utime(self._path)


@contextmanager
def noted(home: Path, address: str, ends_within: float = 0.0) -> Iterator[OwnNote]:
    """Note in a folder that this process serves the UI.

    Parameters
    ----------
    home : Path
        ``DAGSTER_HOME``.
    address : str
        Where the UI will be.
    ends_within : float, optional
        How long it may take to end in order, in seconds.

    Raises
    ------
    AlreadyRunningError
        If another process does, or left some of its own behind.
    """
    path = home / NAME
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    note = Note(host_name(), this_process(), since, address, ends_within=ends_within)
    _take(path, note)
    try:
        yield OwnNote(path, note)
    finally:
        _remove(path, note)


def stop(home: Path) -> Note | None:
    """End the UI of a ``DAGSTER_HOME`` with all its processes; give what was noted of it, None if none runs.

    Raises
    ------
    ConfigurationError
        If it runs on another computer, or a process doesn't end.
    """
    path = home / NAME
    note = _read(path)
    if note is None or not note.is_running(path):
        return None
    if note.host != host_name():
        raise ConfigurationError(f"the UI runs on another computer ({note}): say `astra ui --stop` there")
    if not has_ended(note.host, note.process):
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(int(note.number), signal.SIGTERM)
        _wait([note.process], note.ends_within)
    for number in (signal.SIGINT, signal.SIGKILL):  # what it left behind, if it was killed
        left = [process for process in note.children.values() if not has_ended(note.host, process)]
        for process in left:
            with suppress(ProcessLookupError):
                os.killpg(int(process.partition(" ")[0]), number)
        _wait(left)
    if note.is_running(path):
        raise ConfigurationError(f"the UI doesn't end ({note}); end its processes by hand")
    _remove(path, note)
    return note


def _take(path: Path, note: Note) -> None:
    """Write a note where there is none, or that of processes that have ended."""
    with _locked(path.parent):
        other = _read(path)
        if other is not None and other.is_running(path):
            raise AlreadyRunningError(
                f"the Dagster UI of {path.parent} is already running: {other}. A second one would have a second daemon "
                "there. `astra ui --stop` ends it"
            )
        _write(path, note)


def _remove(path: Path, note: Note) -> None:
    """Remove a note, unless another has taken its place."""
    with _locked(path.parent):
        left = _read(path)
        if left is not None and (left.host, left.process) == (note.host, note.process):
            path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let no other process look at the note and write one of its own in between."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, note: Note) -> None:
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    whole.write_text(json.dumps(asdict(note)))
    os.replace(whole, path)


def _read(path: Path) -> Note | None:
    try:
        return Note(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # there is none, or it is not ours
        return None


def _age(path: Path) -> float:
    """Give how long ago a file was touched, by the clock of its file system."""
    probe = path.with_name(f"{path.name}.{os.getpid()}.now")
    try:
        probe.write_bytes(b"")
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _wait(processes: Collection[str], longer: float = 0.0) -> None:
    until = time.monotonic() + PATIENCE + longer
    while time.monotonic() < until and not all(has_ended(host_name(), process) for process in processes):
        time.sleep(0.1)
