"""Ctrl-C and SIGTERM end a command, also one that waits for a database, and it says what is kept.

Python runs its handlers between two steps of its own. A statement that waits for a lock, or for a network, is one step,
however long it takes: whoever is still in it some seconds after the signal is ended by force. The database then rolls
back.
"""

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType

from astra_orchestration.cli.answers import answer

__all__ = ["Terminated", "code_of_signal", "end_by_the_next_signal", "ended", "note_progress", "watch_for_signals"]

GRACE = 3.0  # seconds
WRITTEN = "what was written before is kept; run again for the rest"
UNCHANGED = "nothing was changed"
NO_FILE = "no file was written; run again"
KEPT = {
    "adopt": "chunks of rows that were copied are kept, and nothing else was changed; run again for the rest",
    "backup": "there is no backup of this name; run again",
    "export": NO_FILE,
    "grids add": "the grid isn't registered; run again",
    "grids fetch": "what isn't registered now (`astra grids list`) isn't there; run again",
    "ingest files": "what was written before is kept; run again for the rest: files that are done aren't read again",
    "ingest spectra": "what was written before is kept; run again for the rest: files that are done aren't read again",
    "init": "tables that were made are kept; run again for the rest",
    "migrate make": NO_FILE,
    "migrate up": "migrations that were applied are kept, the one under way was undone; run again for the rest",
    "new pipeline": "the new folder may lack files; remove it and run again",
    "replay": "rows that were stored are kept, the others stay listed; run again for the rest",
    "restore": "it isn't restored as a whole; run again with --force before anything else uses it",
    "run": "results that were written are kept; run again for the rest",
    "sample": "the survey isn't whole; run again, and it is made anew",
    "train snow_white": NO_FILE,
    "train the_cannon": NO_FILE,
    **dict.fromkeys(
        ("alerts", "check-schema", "explain", "grids list", "leases", "mapping guess", "mapping list", "mapping show"),
        UNCHANGED,
    ),
    **dict.fromkeys(("migrate status", "query", "rejected", "rows", "status", "version", "watch"), UNCHANGED),
}
"""What stays after an interruption, by command."""

_progress: list[str] = []
_signals: list[int] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM: what is under way ends as by Ctrl-C."""


def note_progress(done: int, total: int, what: str) -> None:
    """Remember how far a command is, for the case that it is interrupted; a `total` of 0 forgets it."""
    _progress[:] = [f" after {done:,} of {total:,} {what}"] if total else []


def ended() -> str:
    """Say how far the command under way was, what is kept, and what to do."""
    words = " ".join(answer().words)
    return f"interrupted{''.join(_progress)}: {KEPT.get(words, WRITTEN)}"


def code_of_signal() -> int | None:
    """Give the exit code of the signal that has come, if one has: what it raises may have become another error."""
    return 128 + _signals[0] if _signals else None


def watch_for_signals() -> None:
    """Have both signals end what is under way, and a statement that doesn't return."""
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # or else it is ignored, or somebody's
        signal.signal(signal.SIGINT, _stop)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_what_is_stuck, args=(reading,), name="astra-signals", daemon=True).start()


def end_by_the_next_signal(code: int) -> None:
    """Have another Ctrl-C end the process at once: what there is to say is said, and everything is undone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _stop:
            signal.signal(number, lambda *_: os._exit(code))


def _stop(number: int, frame: FrameType | None) -> None:
    _signals[:] = [number]
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # connections that end with the command are no news
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _end_what_is_stuck(reading: int) -> None:
    while (number := os.read(reading, 1)[0]) not in (signal.SIGINT, signal.SIGTERM):
        pass
    before = _place()
    time.sleep(GRACE)
    if before is not None and _place() == before:
        os.write(2, f"{ended()}\n".encode())
        if answer().as_json and not answer().is_of_rows:
            answer().hear("error", ended())
            os.write(1, f"{answer().document(128 + number)}\n".encode())
        os._exit(128 + number)


def _place() -> tuple[FrameType, int] | None:
    """Say where the main thread is; the same place twice is the same step."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return None if frame is None else (frame, frame.f_lasti)
