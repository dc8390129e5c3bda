"""The folder of a fit: what went in, what came out so far, and how a later run goes on from there.

``fit.index`` has a digest of everything that a spectrum's result depends on. What is in the output files counts as long
as the digest is the same. An attempt that was cut off, with the run that it belonged to, is in ``attempts``: its
finished rows are taken over first.
"""

import hashlib
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.control import Settings, fit_control, model_control
from astra_orchestration.pipelines.ferre.fluxes import ERROR, FLUX, FluxFiles, Written, replace_text
from astra_orchestration.pipelines.ferre.grid import Grid
from astra_orchestration.pipelines.ferre.inputs import format_parameters, write_lines
from astra_orchestration.pipelines.ferre.matching import Input, Layout, match_lines
from astra_orchestration.pipelines.ferre.outputs import (
    parse_fluxes,
    read_lines,
    read_row,
    split_flux_line,
    split_row,
    whole_lines,
)
from astra_orchestration.pipelines.ferre.version import Version

PARAMETERS_IN, PARAMETERS = "parameter.input", "parameter.output"
RECTIFIED_MODEL, RECTIFIED, MODEL = "rectified_model_flux.output", "rectified_flux.output", "model_flux.output"
TIMES = "times.output"
_collecting = threading.Lock()
INSIDE = 1e-3
"""Parameters stay this part of a step inside the grid's box."""


def inside(grid: Grid, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Move parameters into a grid's box; those that aren't finite to its centre.

    Parameters
    ----------
    grid : Grid
        The grid.
    values : array
        (n, n_dim), in the grid's order and units.
    """
    lower, upper, steps = map(np.array, (grid.lower, grid.upper, grid.steps))
    margin = INSIDE * np.where(upper > lower, steps, 0)
    values = np.where(np.isfinite(values), values, (lower + upper) / 2)
    return np.asarray(np.clip(values, lower + margin, upper - margin), dtype=np.float64)


@dataclass(frozen=True)
class Part(ABC):
    """Spectra that one control file is for, and their folder.

    Parameters
    ----------
    folder : Path
        Where outputs are gathered.
    grid : Grid
        The grid.
    version : Version
        FERRE's version.
    names : tuple of str
        Names of the spectra.
    values : array
        (n, n_dim) float64: where the fit starts, or what the model is wanted of.
    """

    folder: Path
    grid: Grid
    version: Version
    names: tuple[str, ...]
    values: NDArray[np.float64]

    index: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]]

    @abstractmethod
    def control(self, prefix: str) -> str:
        """Write the control file; `prefix` is the folder of an attempt's files."""

    @abstractmethod
    def prepare(self, attempt: Path, numbers: Sequence[int], written: Written) -> None:
        """Write what FERRE reads of some of the spectra, but for their parameters."""

    @abstractmethod
    def digest(self, number: int) -> str:
        """Give a digest of what the result of a spectrum depends on."""

    @abstractmethod
    def collect(self, attempt: Path) -> set[str]:
        """Add what an attempt finished to the folder's outputs; give the names."""

    @abstractmethod
    def finished(self) -> set[str]:
        """Give the names that the folder's outputs have."""

    @property
    @abstractmethod
    def tell_tale(self) -> str:
        """Name of the output that has a line for each finished spectrum."""

    @cached_property
    def places(self) -> dict[str, int]:
        """Numbers of the spectra by their names."""
        return {name: number for number, name in enumerate(self.names)}

    @property
    def attempts(self) -> Path:
        """Where the files of running processes are."""
        return self.folder / "attempts"

    def begin(self, attempt: Path, numbers: Sequence[int], written: Written) -> None:
        """Write the inputs of an attempt at some of the spectra."""
        attempt.mkdir(parents=True)
        self.prepare(attempt, numbers, written)
        lines = format_parameters([self.names[i] for i in numbers], self.values[list(numbers)])
        write_lines(attempt / PARAMETERS_IN, lines)

    def resume(self) -> set[str]:
        """Take over what is in the folder already and still counts; give its names."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.outputs:
            _cut_partial_line(self.folder / name)
        for attempt in sorted(self.attempts.glob("*")):
            self.collect_and_remove(attempt)
        digests = {name: self.digest(number) for number, name in enumerate(self.names)}
        old = dict(line.split() for line in _text_lines(self.folder / self.index))
        if dropped := {name for name, digest in old.items() if digests.get(name, digest) != digest}:
            for name in self.outputs:
                _drop_lines(self.folder / name, dropped)
        replace_text(self.folder / self.index, "".join(f"{n} {d}\n" for n, d in (old | digests).items()))
        known = {name for name in self.names if old.get(name) == digests[name]}
        return self.finished() & known

    def collect_and_remove(self, attempt: Path) -> set[str]:
        """Add what an attempt finished to the folder's outputs, and remove its files."""
        with _collecting:  # processes side by side add to the same files
            names = self.collect(attempt)
        shutil.rmtree(attempt)
        return names

    def append(self, name: str, lines: Iterable[bytes]) -> None:
        """Add lines to one of the folder's outputs."""
        with (self.folder / name).open("ab") as file:
            file.writelines(lines)

    def add_times(self, times: Mapping[str, tuple[float, float]]) -> None:
        """Keep how long spectra took, and how long the grid was loaded for them, in seconds."""
        with _collecting:
            self.append(TIMES, [f"{name} {own:.3f} {load:.3f}\n".encode() for name, (own, load) in times.items()])

    def times(self) -> dict[str, tuple[float, float]]:
        """Read how long spectra took, and how long the grid was loaded for them, in seconds."""
        words = [line.split() for line in _text_lines(self.folder / TIMES)]
        return {name: (float(own), float(load)) for name, own, load in words}


@dataclass(frozen=True)
class FitPart(Part):
    """Spectra that are fitted.

    Parameters
    ----------
    settings : Settings
        How.
    fluxes : FluxFiles
        Their pixels.
    """

    settings: Settings
    fluxes: FluxFiles

    index: ClassVar[str] = "fit.index"
    outputs: ClassVar[tuple[str, ...]] = (PARAMETERS, RECTIFIED_MODEL, RECTIFIED, TIMES)

    @property
    def tell_tale(self) -> str:
        """Name of the output that has a line for each finished spectrum."""
        return PARAMETERS

    def control(self, prefix: str) -> str:
        """Write the control file; `prefix` is the folder of an attempt's files."""
        files = {
            "SYNTHFILE(1)": "grid.hdr",
            "PFILE": f"{prefix}/{PARAMETERS_IN}",
            "FFILE": f"{prefix}/{FLUX}",
            "ERFILE": f"{prefix}/{ERROR}",
            "OPFILE": f"{prefix}/{PARAMETERS}",
            "OFFILE": f"{prefix}/{RECTIFIED_MODEL}",
            "SFFILE": f"{prefix}/{RECTIFIED}",
            "FILTERFILE": f"{prefix}/mask",
        }
        return fit_control(self.grid, self.settings, self.version, files)

    def prepare(self, attempt: Path, numbers: Sequence[int], written: Written) -> None:
        """Write what FERRE reads of some of the spectra, but for their parameters."""
        self.fluxes.copy_lines(numbers, attempt, written)
        if self.settings.mask is not None:
            (attempt / "mask").symlink_to(self.settings.mask.absolute())

    @cached_property
    def _digest_of_all(self) -> bytes:
        settings = replace(self.settings, mask=None, n_threads=1)
        mask = b"" if self.settings.mask is None else self.settings.mask.read_bytes()
        text = f"{settings} {self.version} {_digest_of_grid(self.grid)}"
        return hashlib.blake2b(text.encode() + mask, digest_size=16).digest()

    def digest(self, number: int) -> str:
        """Give a digest of what the result of a spectrum depends on."""
        digest = hashlib.blake2b(self._digest_of_all, digest_size=16)
        digest.update(self.fluxes.entries[number].digest.encode())
        digest.update(self.values[number].tobytes())
        return digest.hexdigest()

    def collect(self, attempt: Path) -> set[str]:
        """Add what an attempt finished to the folder's outputs; give the names."""
        order = _names_of(attempt)
        lines = rows_of(attempt / PARAMETERS, self.grid.n_dim, order)
        rows = {name: read_row(numbers, self.grid.n_dim) for name, (_, numbers) in lines.items()}
        inputs = _inputs(attempt, order, self.grid.n_pixels)
        rectified, models = whole_lines(attempt / RECTIFIED), whole_lines(attempt / RECTIFIED_MODEL)
        for found in match_lines(rows, rectified, models, inputs, self.layout):
            self.append(RECTIFIED, (named(name, numbers) for name, numbers in found.rectified.items()))
            self.append(RECTIFIED_MODEL, (named(name, numbers) for name, numbers in found.models.items()))
        # Last: a name that is here is in the other files, as far as it ever will be.
        self.append(PARAMETERS, [line.strip() + b"\n" for line, _ in lines.values()])
        return set(rows)

    @property
    def layout(self) -> Layout:
        """How fluxes are arranged and rectified."""
        free, mask = len(self.settings.free), self.settings.mask
        return Layout(self.grid.chip_slices, self.settings.continuum, free, mask is not None, self.settings.n_threads)

    def finished(self) -> set[str]:
        """Give the names that the folder's outputs have."""
        return set(rows_of(self.folder / PARAMETERS, self.grid.n_dim, self.names))


@dataclass(frozen=True)
class ModelPart(Part):
    """Parameters whose models are wanted, not normalised.

    Parameters
    ----------
    interpolation : int
        1 linear, 2 quadratic, 3 cubic.
    """

    interpolation: int

    index: ClassVar[str] = "model.index"
    outputs: ClassVar[tuple[str, ...]] = (MODEL,)

    @property
    def attempts(self) -> Path:
        """Where the files of running processes are."""
        return self.folder / "model_attempts"

    @property
    def tell_tale(self) -> str:
        """Name of the output that has a line for each finished spectrum."""
        return MODEL

    def control(self, prefix: str) -> str:
        """Write the control file; `prefix` is the folder of an attempt's files."""
        files = {"SYNTHFILE(1)": "grid.hdr", "PFILE": f"{prefix}/{PARAMETERS_IN}", "OFFILE": f"{prefix}/{MODEL}"}
        return model_control(self.grid, self.interpolation, files)

    def prepare(self, attempt: Path, numbers: Sequence[int], written: Written) -> None:
        """Write what FERRE reads of some of the spectra, but for their parameters: nothing."""

    @cached_property
    def _digest_of_all(self) -> bytes:
        text = f"{self.interpolation} {self.version} {_digest_of_grid(self.grid)}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def digest(self, number: int) -> str:
        """Give a digest of what the result of a spectrum depends on."""
        return hashlib.blake2b(self.values[number].tobytes() + self._digest_of_all, digest_size=16).hexdigest()

    def collect(self, attempt: Path) -> set[str]:
        """Add what an attempt finished to the folder's outputs; give the names.

        There is one thread: lines without names are in the order of the input.
        """
        order = _names_of(attempt)
        wanted = {name.encode(): name for name in order}
        found: set[str] = set()
        with (self.folder / MODEL).open("ab") as file:
            for place, line in enumerate(whole_lines(attempt / MODEL)):
                name, numbers = split_flux_line(line, wanted)
                owner = wanted.get(name) if name else order[place] if place < len(order) else None
                if owner is not None and is_spectrum(numbers, self.grid.n_pixels):
                    file.write(named(owner, numbers))
                    found.add(owner)
        return found

    def finished(self) -> set[str]:
        """Give the names that the folder's outputs have."""
        names = set(self.names)
        found = (line.split(b" ", 1)[0].decode("ascii", "replace") for line in whole_lines(self.folder / MODEL))
        return names.intersection(found)

    def add_times(self, times: Mapping[str, tuple[float, float]]) -> None:
        """Keep nothing: models take no time."""


def rows_of(path: Path, n_dim: int, names: Collection[str]) -> dict[str, tuple[bytes, list[bytes]]]:
    """Give the whole rows of a file of parameters by name: the line, and its numbers as text."""
    wanted = {name.encode(): name for name in names}
    rows: dict[str, tuple[bytes, list[bytes]]] = {}
    for line in read_lines(path):
        if (split := split_row(line, n_dim, wanted)) is not None:
            rows[wanted[split[0]]] = line, split[1]
    return rows


def is_spectrum(numbers: bytes, n_pixels: int) -> bool:
    """Whether a line has as many numbers as the grid has pixels."""
    return numbers.count(b".") == n_pixels or len(numbers.split()) == n_pixels


def named(name: str, numbers: bytes) -> bytes:
    """Write a line of fluxes that starts with a name."""
    return name.encode() + b" " + numbers.strip() + b"\n"


def _digest_of_grid(grid: Grid) -> str:
    models = grid.models_path.stat()
    header = hashlib.blake2b(grid.path.read_bytes(), digest_size=16).hexdigest()
    return f"{header} {models.st_size} {models.st_mtime_ns}"


def _names_of(attempt: Path) -> list[str]:
    return [line.split(None, 1)[0].decode("ascii") for line in read_lines(attempt / PARAMETERS_IN) if line.strip()]


def _inputs(attempt: Path, order: Sequence[str], n_pixels: int) -> Callable[[str], Input]:
    """Give a function that reads what went in for a spectrum, when it is asked for."""
    places = {name: place for place, name in enumerate(order)}
    starts: dict[str, list[int]] = {}

    def read(kind: str, place: int) -> NDArray[np.float64]:
        path = attempt / kind
        if kind not in starts:
            starts[kind] = _line_starts(path)
        if place >= len(starts[kind]):
            return np.full(n_pixels, np.nan)
        with path.open("rb") as file:
            file.seek(starts[kind][place])
            numbers = parse_fluxes(file.readline().rstrip(b"\n"), n_pixels)
        return np.full(n_pixels, np.nan) if numbers is None else numbers

    return lambda name: Input(read(FLUX, places[name]), read(ERROR, places[name]))


def _line_starts(path: Path) -> list[int]:
    with path.open("rb") as file:
        starts = [0]
        starts.extend(np.cumsum([len(line) for line in file]).tolist())
    return starts


def _text_lines(path: Path) -> list[str]:
    return [line.decode("utf-8", "replace") for line in read_lines(path)]


def _cut_partial_line(path: Path) -> None:
    """Remove what a killed run had written of a line."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        whole = 0
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
        file.truncate(whole)


def _drop_lines(path: Path, names: Collection[str]) -> None:
    """Remove the lines of some names from a file."""
    if not path.exists():
        return
    unwanted = {name.encode() for name in names}
    partial = path.with_name(f".{path.name}.partial")
    with path.open("rb") as old, partial.open("wb") as new:
        new.writelines(line for line in old if line.split(None, 1)[:1] and line.split(None, 1)[0] not in unwanted)
    partial.replace(path)
