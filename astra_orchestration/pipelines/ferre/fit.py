"""Fits by FERRE: spectra in, parameters out; whatever happens to the program in between.

A spectrum has a result if there is a whole row of its name, whatever the program's exit status. Everything is in the
folder of the fit, and a later fit of the same spectra goes on from there.
"""

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.external.errors import ProgramError
from astra_orchestration.external.process import Command, Limits, Progress, find_program, run_process
from astra_orchestration.external.slots import Slots, lock_file
from astra_orchestration.external.work import Outcome, Worker
from astra_orchestration.pipelines.ferre.attempt import FerreAttempt, Item
from astra_orchestration.pipelines.ferre.control import MOST_CONTROL_FILES, Settings, check_settings
from astra_orchestration.pipelines.ferre.fluxes import FluxFiles, write_fluxes
from astra_orchestration.pipelines.ferre.folders import MODEL, PARAMETERS, FitPart, ModelPart, Part, inside, rows_of
from astra_orchestration.pipelines.ferre.grid import Grid
from astra_orchestration.pipelines.ferre.inputs import SpectraError, check_names
from astra_orchestration.pipelines.ferre.outputs import read_fluxes, read_row
from astra_orchestration.pipelines.ferre.version import UNKNOWN, Version, version_in

_token = itertools.count(1)
_CANNOT_RUN = (126, 127)
"""Exit statuses of what can't be executed, or lacks a library."""


@dataclass(frozen=True)
class Spectra:
    """Spectra on the pixels of a grid.

    Parameters
    ----------
    names : sequence of str
        A name for each, unique, without blanks.
    start : array
        (n, n_dim): where the fit starts, in the grid's order and units.
    flux, error : array
        (n, n_pixels), any unit.
    """

    names: Sequence[str]
    start: NDArray[np.floating]
    flux: NDArray[np.floating]
    error: NDArray[np.floating]


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Program:
    """FERRE, and what it may use.

    Parameters
    ----------
    path : Path
        ``ferre.x``: a path, or a name that is on the path.
    seconds_per_spectrum : float, optional
        After so long without a finished spectrum, the one in hand is given up.
    seconds_of_silence : float, optional
        After so long without a word.
    seconds_to_load : float, optional
        For reading the grid.
    processes : int, optional
        How many share the spectra of a fit, side by side.
    most_processes, most_threads, most_loads : int, optional
        How many processes, threads of them, and processes that read a grid there are at once on this computer, all fits
        of this user together. None: no bound.
    slots : Path, optional
        Folder of the locks that say so, on a disk of this computer.
    stopped : callable, optional
        Asked again and again, by several threads; True ends all that runs: fits in threads have no other way to learn
        that their run was asked to end.
    """

    path: Path
    seconds_per_spectrum: float = 600.0
    seconds_of_silence: float = 600.0
    seconds_to_load: float = 600.0
    processes: int = 1
    most_processes: int | None = None
    most_threads: int | None = None
    most_loads: int | None = None
    slots: Path | None = None
    stopped: Callable[[], bool] = _never

    @cached_property
    def executable(self) -> Path:
        """Where it is.

        Raises
        ------
        ProgramError
            If it isn't, or can't be executed.
        """
        return find_program(self.path)

    @property
    def version(self) -> Version:
        """Which version it is: it is started, and says so; `UNKNOWN` if it doesn't.

        Raises
        ------
        ProgramError
            If it can't be run, such as for a library that isn't there.
        """
        status = self.executable.stat()
        return _version_of(self.executable, status.st_mtime_ns, status.st_size)

    @property
    def limits(self) -> Limits:
        """What the runner is told of this."""
        return Limits(
            self.seconds_per_spectrum,
            self.seconds_of_silence,
            self.seconds_to_load,
            (
                Slots("ferre-processes", self.most_processes, self.slots),
                Slots("ferre-threads", self.most_threads, self.slots),
            ),
            Slots("ferre-loads", self.most_loads, self.slots),
        )


@cache
def _version_of(executable: Path, _changed: int, _size: int) -> Version:
    """Ask a program for its version, once as long as it isn't replaced."""
    with tempfile.TemporaryDirectory(prefix="ferre-") as folder:
        log = Path(folder) / "log"
        (Path(folder) / "version.nml").write_text(" &LISTA\n NO_FIT = 1\n /\n", encoding="ascii")
        command = Command((str(executable), "version.nml"), Path(folder), log)
        ending = run_process(command, partial(_size_of, log), Limits(loading=30.0))
        version = version_in(log.read_bytes())
    if version is None and (ending.why or ending.status in _CANNOT_RUN):
        raise ProgramError(
            f"{executable} doesn't run as FERRE: it ended with status {ending.status} and printed "
            f"{ending.last_lines or 'nothing'}; see what it lacks, or configure another program"
        )
    return version or UNKNOWN


def _size_of(log: Path) -> Progress:
    return Progress(has_loaded=False, n_finished=0, n_bytes=log.stat().st_size)


class Fit(NamedTuple):
    """What FERRE found, in the order of the names.

    Parameters
    ----------
    names : tuple of str
        Names of the spectra.
    values, errors : array
        (n, n_dim) float64, in the grid's order and units. Values of dimensions that weren't fitted are where they
        started, or where their tie led; their errors are NaN. All are NaN of a spectrum without a result.
    covariance : array
        (n, n_dim, n_dim) float64; NaN where a dimension wasn't fitted, or FERRE gave none.
    snr, rchi2 : array
        (n,) float64: median signal to noise, and reduced chi squared.
    seconds : array
        (n,) float64: how long each took.
    state : array
        (n,) of str: ``good``; ``failed`` if FERRE gave up on it; ``timed_out`` or ``died`` if the program was ended, or
        ended, while it was tried alone; ``not_run``.
    load_seconds : float
        How long the grid took to be read, the longest if it was read several times.
    folder : Path
        Where the files are, and FERRE's log in ``logs``.
    messages : dict
        What the program said last, for each name that is neither good nor failed.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    covariance: NDArray[np.float64]
    snr: NDArray[np.float64]
    rchi2: NDArray[np.float64]
    seconds: NDArray[np.float64]
    state: NDArray[np.str_]
    load_seconds: float
    folder: Path
    messages: dict[str, str]


class Request(NamedTuple):
    """One of several fits with the same grid.

    Parameters
    ----------
    spectra : Spectra
        What is fitted.
    settings : Settings
        How.
    folder : Path
        Where the outputs go.
    """

    spectra: Spectra
    settings: Settings
    folder: Path


def fit(
    program: Program,
    grid: Grid,
    spectra: Spectra,
    settings: Settings,
    folder: Path,
    flux_folder: Path | None = None,
) -> Fit:
    """Fit spectra with one grid.

    Parameters
    ----------
    program : Program
        FERRE.
    grid : Grid
        The grid.
    spectra : Spectra
        What is fitted. Starting values are moved inside the grid; pixels that aren't finite have no weight.
    settings : Settings
        How.
    folder : Path
        Where everything is. What is there already of the same spectra and settings isn't done again.
    flux_folder : Path, optional
        Where ``flux.input`` and ``e_flux.input`` are, or are written, for several fits of the same spectra.

    Raises
    ------
    AstraError
        If settings and grid don't fit together, the program can't be started, it ends before it begins, or the run was
        asked to end.
    """
    return fit_all(program, grid, [Request(spectra, settings, folder)], flux_folder)[0]


def fit_all(program: Program, grid: Grid, requests: Sequence[Request], flux_folder: Path | None = None) -> list[Fit]:
    """Fit in several ways with one grid, which a process reads once: list mode.

    Parameters
    ----------
    program : Program
        FERRE.
    grid : Grid
        The grid of all fits.
    requests : sequence of Request
        The fits; each has a folder of its own.
    flux_folder : Path, optional
        Where the pixels of all of them are, if all are of the same spectra; by default in each one's folder.

    Returns
    -------
    list of Fit
        One for each request.
    """
    for request in requests:
        check_settings(grid, request.settings)
    parts = [_fit_part(program, grid, request, flux_folder) for request in requests]
    hopeless = {(k, e.name) for k, part in enumerate(parts) for e in part.fluxes.entries if e.n_good == 0}
    outcomes = _work(program, parts, hopeless)
    return [_result(part, k, outcomes) for k, part in enumerate(parts)]


def model_fluxes(
    program: Program,
    grid: Grid,
    names: Sequence[str],
    parameters: NDArray[np.floating],
    folder: Path,
    interpolation: int = 3,
) -> NDArray[np.float64]:
    """Interpolate models that aren't normalised.

    Parameters
    ----------
    program : Program
        FERRE.
    grid : Grid
        The grid.
    names : sequence of str
        A name for each model.
    parameters : array
        (n, n_dim), in the grid's order and units; moved a thousandth of a step inside the grid.
    folder : Path
        Where ``model_flux.output`` is written, each line with its name.
    interpolation : int, optional
        1 linear, 2 quadratic, 3 cubic.

    Returns
    -------
    array
        (n, n_pixels) float64; NaN where a parameter is NaN, or FERRE gave no model.
    """
    check_names(names)
    folder = Path(folder)
    values = np.asarray(parameters, dtype=np.float64).reshape(len(names), grid.n_dim)
    part = ModelPart(folder, grid, program.version, tuple(names), inside(grid, values), interpolation=interpolation)
    unknown = {(0, name) for name, row in zip(names, values, strict=True) if not np.isfinite(row).all()}
    _work(program, [part], unknown)
    fluxes = read_fluxes(folder / MODEL, names, grid.n_pixels)
    fluxes[~np.isfinite(values).all(axis=1)] = np.nan
    return fluxes


def _fit_part(program: Program, grid: Grid, request: Request, flux_folder: Path | None) -> FitPart:
    spectra, settings, folder = request.spectra, request.settings, Path(request.folder)
    start = np.asarray(spectra.start, dtype=np.float64)
    flux, error = np.asarray(spectra.flux), np.asarray(spectra.error)
    if start.shape != (len(spectra.names), grid.n_dim) or flux.shape[1:] != (grid.n_pixels,):
        raise SpectraError(
            f"{grid.path.name} has {grid.n_dim} dimensions and {grid.n_pixels} pixels; starting values of shape "
            f"{start.shape} and fluxes of shape {flux.shape} don't fit to it and {len(spectra.names)} names"
        )
    names = tuple(spectra.names)
    fluxes: FluxFiles = write_fluxes(Path(flux_folder or folder), names, flux, error)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(grid.path, folder / "grid.hdr")
    return FitPart(folder, grid, program.version, names, inside(grid, start), settings=settings, fluxes=fluxes)


def _work(program: Program, parts: Sequence[Part], hopeless: set[Item]) -> dict[Item, Outcome]:
    """Do what isn't done yet, at most as many control files in a process as FERRE takes."""
    with ExitStack() as locks:
        for part in parts:
            _lock(part.folder, locks)
        return _work_alone(program, parts, hopeless)


def _lock(folder: Path, locks: ExitStack) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not lock_file(folder / ".lock", locks):
        raise ProgramError(f"{folder} is in use: another fit is running there; wait for its end, or use another folder")


def _work_alone(program: Program, parts: Sequence[Part], hopeless: set[Item]) -> dict[Item, Outcome]:
    done = {(number, name) for number, part in enumerate(parts) for name in part.resume()}
    outcomes: dict[Item, Outcome] = {}
    for first in range(0, len(parts), MOST_CONTROL_FILES):
        numbers = range(first, min(first + MOST_CONTROL_FILES, len(parts)))
        items = [(k, name) for k in numbers for name in parts[k].names]
        items = [item for item in items if item not in done and item not in hopeless]
        if items:
            n_threads = max(part.settings.n_threads if isinstance(part, FitPart) else 1 for part in parts)
            worker = Worker(partial(_begin, program, parts), program.limits, (1, n_threads), stopped=program.stopped)
            outcomes |= worker.work_through(items, program.processes)
    return outcomes


def _begin(program: Program, parts: Sequence[Part], items: Sequence[Item]) -> FerreAttempt:
    token = f"{time.time_ns() // 1000}-{os.getpid()}-{next(_token)}"
    return FerreAttempt(program.executable, parts, items, token)


def _result(part: FitPart, number: int, outcomes: Mapping[Item, Outcome]) -> Fit:
    n, n_dim = len(part.names), part.grid.n_dim
    values, errors, covariance = (np.full((n, *shape), np.nan) for shape in ((n_dim,), (n_dim,), (n_dim, n_dim)))
    snr, rchi2, seconds = (np.full(n, np.nan) for _ in range(3))
    state = np.full(n, "failed", dtype="<U9")
    rows = rows_of(part.folder / PARAMETERS, n_dim, part.names)
    times, load_seconds = part.times(), 0.0
    fixed = [part.grid.axis(label) for label in part.grid.labels if label not in part.settings.free]
    messages: dict[str, str] = {}
    for i, name in enumerate(part.names):
        outcome = outcomes.get((number, name))
        if name in rows:
            row = read_row(rows[name][1], n_dim)
            snr[i] = row.snr
            seconds[i], load = times.get(name, (np.nan, 0.0))
            load_seconds = max(load_seconds, load)
            if row.is_good:
                state[i], values[i], errors[i], rchi2[i] = "good", row.values, row.errors, row.rchi2
                covariance[i] = row.covariance
        elif outcome is not None:
            state[i], seconds[i], messages[name] = outcome.state, outcome.seconds, outcome.message
    errors[:, fixed] = covariance[:, fixed] = np.nan
    covariance[:, :, fixed] = np.nan
    return Fit(part.names, values, errors, covariance, snr, rchi2, seconds, state, load_seconds, part.folder, messages)
