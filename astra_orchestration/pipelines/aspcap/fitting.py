"""A stage's fits: spectra by their grids, one grid after the other, and what FERRE gave for each."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra_models.ferre import LABELS
from astra_orchestration.pipelines.ferre.control import Settings
from astra_orchestration.pipelines.ferre.fit import Fit, Program, Request, Spectra, fit, fit_all
from astra_orchestration.pipelines.ferre.grid import Grid

from .dimensions import DIMENSIONS
from .flags import Edges, edges
from .grid_choice import KnownGrid
from .work_folders import names_for

Array = NDArray[np.float64]

GOOD, TIMED_OUT = "good", "timed_out"


class Job(NamedTuple):
    """A spectrum to be fitted with a grid.

    Parameters
    ----------
    key, source_key : int
        ``spectrum_pk`` and ``source_pk``.
    known : KnownGrid
        The grid.
    start : array of float, shape (n_dim,)
        Where the fit begins, in the grid's order and units.
    flux, error : array of float, shape (n_pixels,)
        The grid's pixels of the spectrum.
    flags : int
        ``initial_flags`` of the result.
    upstream : int, optional
        ``task_pk`` of the result of the stage before.
    """

    key: int
    source_key: int | None
    known: KnownGrid
    start: Array
    flux: Array
    error: Array
    flags: int = 0
    upstream: int | None = None

    @property
    def suffix(self) -> str:
        """Its name in FERRE's files without the index."""
        upstream = "NULL" if self.upstream is None else self.upstream
        return f"{self.source_key or 0}_{self.key}_{self.flags}_{upstream}"


@dataclass(frozen=True)
class Fitted:
    """What FERRE gave for a spectrum.

    Parameters
    ----------
    job : Job
        What was asked.
    name, index : str, int
        Its name in FERRE's files, and its line in those that FERRE read.
    n_obj : int
        How many spectra they have.
    folder : Path
        Where they are.
    settings : Settings
        How it was fitted.
    values, errors : array of float, shape (n_dim,)
        In the grid's order and units; NaN where FERRE gave none.
    rchi2, snr, seconds, load_seconds : float
        Reduced chi-squared, FERRE's median S/N, time of the fit and of loading the grid (s).
    state : str
        "good", or why there is no result.
    """

    job: Job
    name: str
    index: int
    n_obj: int
    folder: Path
    settings: Settings
    values: Array
    errors: Array
    rchi2: float
    snr: float
    seconds: float
    load_seconds: float
    state: str

    @property
    def is_good(self) -> bool:
        """Whether FERRE gave a result."""
        return self.state == GOOD

    @property
    def edges(self) -> Edges:
        """How it stands to the edges of the grid."""
        grid = self.job.known.grid
        return edges(grid, self.values, self.errors, self.settings.free)

    def value(self, label: str) -> float:
        """Give the value of a dimension."""
        return float(self.values[self.job.known.grid.axis(label)])

    def error(self, label: str) -> float:
        """Give the error of a dimension."""
        return float(self.errors[self.job.known.grid.axis(label)])

    def columns(self) -> dict[str, Any]:
        """Give the columns that the results of all stages have."""
        known, settings = self.job.known, self.settings
        free = {DIMENSIONS[label].column for label in settings.free}
        columns: dict[str, Any] = {
            "short_grid_name": known.name,
            "header_path": str(known.grid.path),
            "continuum_order": -1 if settings.continuum is None else settings.continuum,
            "continuum_reject": None if settings.continuum is None else settings.reject,
            "continuum_flag": int(settings.continuum is not None),
            "continuum_observations_flag": int(settings.continuum is not None),
            "interpolation_order": settings.interpolation,
            "weight_path": "" if settings.mask is None else str(settings.mask),
            "f_access": 0,
            "f_format": 1,
            "n_threads": settings.n_threads,
            "initial_flags": self.job.flags,
            "ferre_name": self.name,
            "ferre_index": self.index,
            "ferre_n_obj": self.n_obj,
            "rchi2": self.rchi2,
            "ferre_log_snr_sq": 2 * np.log10(self.snr) if self.snr > 0 else np.nan,
            "ferre_time_load_grid": self.load_seconds,
            "ferre_time_elapsed": self.seconds,
        }
        columns |= {f"flag_{name}_frozen": True for name in LABELS if name not in free}
        for label, start, value, error in zip(known.grid.labels, self.job.start, self.values, self.errors, strict=True):
            name = DIMENSIONS[label].column
            columns |= {f"initial_{name}": start, name: value, f"e_{name}": error if name in free else np.nan}
        return columns | self.edges.columns() | self._failure()

    def _failure(self) -> dict[str, bool]:
        if self.is_good:
            return {}
        return {"flag_ferre_fail": True} | ({"flag_potential_ferre_timeout": True} if self.state == TIMED_OUT else {})


FolderOf = Callable[[KnownGrid], Path]


def fit_jobs(
    program: Program,
    jobs: Sequence[Job],
    settings_for: Callable[[KnownGrid], Settings],
    folder_for: FolderOf,
    processes: int = 1,
) -> list[Fitted]:
    """Fit spectra, grid by grid; large and small grids in turn, so that those side by side need less memory.

    Parameters
    ----------
    program : Program
        FERRE.
    jobs : sequence of Job
        The spectra; one may be there with several grids.
    settings_for, folder_for : callable
        Give the settings, and the folder, of a grid.
    processes : int, optional
        Grids that are worked on at once.

    Returns
    -------
    list of Fitted
        In the order of the jobs.
    """
    by_grid: dict[str, list[int]] = {}
    for place, job in enumerate(jobs):
        by_grid.setdefault(job.known.name, []).append(place)
    found: dict[int, Fitted] = {}
    is_over = threading.Event()
    stoppable = replace(program, stopped=is_over.is_set)

    def work(name: str) -> None:
        places = by_grid[name]
        known = jobs[places[0]].known
        some = [jobs[place] for place in places]
        fitted = _fit_grid(stoppable, known, some, settings_for(known), folder_for(known))
        found.update(zip(places, fitted, strict=True))

    names = _in_turn({name: jobs[places[0]].known.grid for name, places in by_grid.items()})
    with ThreadPoolExecutor(max(1, min(processes, len(names)))) as pool:
        try:
            for _ in pool.map(work, names):
                pass
        finally:
            is_over.set()  # or an interrupted run would wait until FERRE has finished
    return [found[place] for place in range(len(jobs))]


def _in_turn(grids: Mapping[str, Grid]) -> list[str]:
    """Give the names of grids: the largest, the smallest, the next largest, ..."""
    by_size = sorted(grids, key=lambda name: int(np.prod(grids[name].n_points)) * grids[name].n_pixels, reverse=True)
    half = (len(by_size) + 1) // 2
    pairs = zip_longest(by_size[:half], reversed(by_size[half:]))
    return [name for name in chain.from_iterable(pairs) if name is not None]


def _fit_grid(
    program: Program, known: KnownGrid, jobs: Sequence[Job], settings: Settings, folder: Path
) -> list[Fitted]:
    return _fitted(fit(program, known.grid, _spectra(jobs, folder), settings, folder), jobs, settings)


def fit_species(
    program: Program, jobs: Sequence[Job], settings: Mapping[str, Settings], folder: Path
) -> dict[str, list[Fitted]]:
    """Fit spectra of one grid in several ways; FERRE reads the grid once, and the spectra are written once.

    Parameters
    ----------
    program : Program
        FERRE.
    jobs : sequence of Job
        The spectra.
    settings : mapping of str to Settings
        The ways, by the names of their folders.
    folder : Path
        Where those are.

    Returns
    -------
    dict of str to list of Fitted
        By the names, in the order of the jobs.
    """
    if not jobs or not settings:
        return {}
    spectra = _spectra(jobs, folder)
    requests = [Request(spectra, one, folder / name) for name, one in settings.items()]
    given = fit_all(program, jobs[0].known.grid, requests, folder)
    return {name: _fitted(one, jobs, settings[name]) for name, one in zip(settings, given, strict=True)}


def _spectra(jobs: Sequence[Job], folder: Path) -> Spectra:
    return Spectra(
        names_for(folder, [job.suffix for job in jobs]),
        np.array([job.start for job in jobs]),
        np.array([job.flux for job in jobs]),
        np.array([job.error for job in jobs]),
    )


def _fitted(given: Fit, jobs: Sequence[Job], settings: Settings) -> list[Fitted]:
    return [_of(given, place, job, settings) for place, job in enumerate(jobs)]


def _of(given: Fit, place: int, job: Job, settings: Settings) -> Fitted:
    return Fitted(
        job,
        given.names[place],
        place,
        len(given.names),
        given.folder,
        settings,
        given.values[place],
        given.errors[place],
        float(given.rchi2[place]),
        float(given.snr[place]),
        float(given.seconds[place]),
        given.load_seconds,
        str(given.state[place]),
    )
