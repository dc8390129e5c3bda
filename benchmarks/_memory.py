"""How much memory a piece of work takes, in this process."""

from pathlib import Path


def start_counting() -> float:
    """Let the peak of memory be counted from here on; gives what is in use now, in MB.

    `resource.getrusage` isn't enough: a process begins with the peak of the one that started it.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return _megabytes("VmRSS")


def grown_since(before: float) -> float:
    """Give by how many MB the peak is above what `start_counting` gave."""
    return max(0.0, _megabytes("VmHWM") - before)


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
