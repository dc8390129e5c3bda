"""Which computer and which process this is, and whether another process of this computer still runs."""

import functools
import os
import socket
import time
from pathlib import Path

__all__ = ["has_ended", "has_ended_since", "host_name", "identity", "this_process"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_TIME = 19  # the how manyth field after the command's name in /proc/PID/stat
UPTIME = Path("/proc/uptime")
CLOCK_SLACK = 5.0
"""How far the clock may have been set since, in seconds."""


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


def has_ended_since(host: str, number: int, moment: float) -> bool:
    """Tell whether the process that had a number at some time has ended. Of another computer, nobody knows.

    Parameters
    ----------
    host : str
        The computer's name.
    number : int
        The process's number.
    moment : float
        When it ran, in seconds since 1970. What has its number now and started later is another one.
    """
    if host != host_name() or not UPTIME.exists():
        return False
    if identity(number) is None:
        return True
    try:
        ticks = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[START_TIME])
    except OSError:  # it has just ended
        return True
    booted = time.time() - float(UPTIME.read_text().split()[0])
    return booted + ticks / os.sysconf("SC_CLK_TCK") > moment + CLOCK_SLACK


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
