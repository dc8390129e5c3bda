"""Ctrl-C and SIGTERM end a command, also one that waits for a database.

Python runs its handlers between two steps of its own. A statement that waits for a lock, or for a network, is one step,
however long it takes: whoever is still in it some seconds after the signal is ended by force. The database then rolls
back.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

__all__ = ["ENDED", "Terminated", "watch_for_signals"]

ENDED = "interrupted: what was written before is kept; run again for the rest"
GRACE = 3.0  # seconds


class Terminated(KeyboardInterrupt):
    """SIGTERM: what is under way ends as by Ctrl-C."""


def watch_for_signals() -> None:
    """Have SIGTERM end what is under way, and both signals end a statement that doesn't return."""
    signal.signal(signal.SIGTERM, _terminate)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_what_is_stuck, args=(reading,), name="astra-signals", daemon=True).start()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _end_what_is_stuck(reading: int) -> None:
    while (number := os.read(reading, 1)[0]) not in (signal.SIGINT, signal.SIGTERM):
        pass
    before = _place()
    time.sleep(GRACE)
    if before is not None and _place() == before:
        os.write(2, f"{ENDED}\n".encode())
        os._exit(128 + number)


def _place() -> tuple[FrameType, int] | None:
    """Say where the main thread is; the same place twice is the same step."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return None if frame is None else (frame, frame.f_lasti)
