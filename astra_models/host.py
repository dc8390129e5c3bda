"""Which computer and which process this is, and whether another process of this computer still runs."""

import functools
import os
import socket
from pathlib import Path

__all__ = ["has_ended", "host_name", "this_process"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_TIME = 19  # the how manyth field after the command's name in /proc/PID/stat


def host_name() -> str:
    """Give the computer's name."""
    return socket.gethostname()


def this_process() -> str:
    """Give what tells this process from all others of this computer: its number, its start, and the computer's.

    Where the system doesn't say when a process started (there is no ``/proc``), it is the number alone.
    """
    return identity(os.getpid()) or str(os.getpid())


def has_ended(host: str, process: str) -> bool:
    """Tell whether a process has ended, by what `this_process` said of it. Of another computer, nobody knows."""
    number, _, rest = process.partition(" ")
    if host != host_name() or not rest or not BOOT_ID.exists():
        return False
    return identity(int(number)) != process


def identity(number: int) -> str | None:
    """Give what tells a process from others, None if there is none of this number."""
    try:
        after_name = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else f"{number} {after_name[START_TIME]} {_boot()}"


@functools.cache
def _boot() -> str:
    return BOOT_ID.read_text().strip()[:8] if BOOT_ID.exists() else ""
