"""What a run of a pipeline uses: time, memory, and which spectra took longest."""

import heapq
from dataclasses import dataclass, field

__all__ = ["SLOWEST", "RunUsage", "Usage"]

SLOWEST = 5


@dataclass
class Usage:
    """What a process used for a chunk.

    Parameters
    ----------
    host : str
        The computer.
    process : int
        The process's number.
    seconds : float
        Time that it took.
    cpu_seconds : float
        Time of one core.
    peak_memory : int
        The most memory that the process ever had, in bytes.
    slowest : list of (float, int)
        The slowest spectra: seconds, and ``spectrum_pk``.
    setup_seconds : float
        How much of the time the pipeline was set up, before it took a spectrum: once in a process.
    """

    host: str
    process: int
    seconds: float
    cpu_seconds: float
    peak_memory: int
    slowest: list[tuple[float, int]] = field(default_factory=list)
    setup_seconds: float = 0.0

    @property
    def seconds_without_setup(self) -> float:
        """What the chunk's spectra took."""
        return self.seconds - self.setup_seconds


@dataclass
class RunUsage:
    """What a run used, of all processes together.

    Parameters
    ----------
    engine : str
        Where the pipeline was called.
    workers : int
        The most processes at once.
    core_seconds : float
        Time that they spent on chunks.
    peak_memory : dict of (str, int) to int
        The most memory that each process ever had, in bytes, by computer and number.
    slowest : list of (float, int)
        The slowest spectra: seconds, and ``spectrum_pk``.
    lost_workers : int
        How many processes were lost, without any spectrum being to blame.
    dashboard : str or None
        Where Dask shows what the workers do.
    """

    engine: str = "in_process"
    workers: int = 1
    core_seconds: float = 0.0
    peak_memory: dict[tuple[str, int], int] = field(default_factory=dict)
    slowest: list[tuple[float, int]] = field(default_factory=list)
    lost_workers: int = 0
    dashboard: str | None = None

    @property
    def hosts(self) -> list[str]:
        """The computers, in order of their names."""
        return sorted({host for host, _ in self.peak_memory})

    def add(self, usage: Usage) -> None:
        """Add what a chunk used."""
        process = (usage.host, usage.process)
        self.core_seconds += usage.seconds
        self.peak_memory[process] = max(usage.peak_memory, self.peak_memory.get(process, 0))
        self.slowest = heapq.nlargest(SLOWEST, [*self.slowest, *usage.slowest])

    def summary(self, seconds: float) -> str:
        """Say it in a line, for a run that took so many seconds."""
        efficiency = self.core_seconds / max(seconds * self.workers, 1e-9)
        memory = max(self.peak_memory.values(), default=0) / 1e6
        slowest = ", ".join(f"{key} ({took:.2f} s)" for took, key in self.slowest[:3])
        lost = f"; {self.lost_workers} workers were lost and replaced" if self.lost_workers else ""
        return (
            f"{self.core_seconds:.1f} core-seconds on {', '.join(self.hosts) or 'no computer'}, {efficiency:.0%} of "
            f"{self.workers} workers; at most {memory:.0f} MB each{lost}"
            + (f"; slowest spectra: {slowest}" if slowest else "")
        )
