"""Where FERRE's files are: a folder for each lot of spectra and stage. A later run takes over what a killed one left.

``ROOT/coarse/20260102-030405-a1b2c3/coarse/GRID/``: the folder with the time is the ``pwd`` of the results. While a
run works in it, it holds the lock on the folder's note. A note that is there, and isn't locked, is of a run that was
killed: what FERRE had finished there isn't done again.
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.inputs import format_lines, write_lines
from astra_orchestration.pipelines.ferre.outputs import read_lines

T = TypeVar("T")

HEADER, INDEX = "grid.hdr", "flux.index"

NOTE = "unfinished.json"
"""The note of a folder that isn't finished: the keys of its spectra."""

MOST_LEFT = 200
"""So many folders are looked at, the latest first."""


@dataclass
class WorkFolder:
    """A folder that is worked in.

    Parameters
    ----------
    path : Path
        The folder.
    """

    path: Path

    def give(self, results: Iterable[T]) -> Iterator[T]:
        """Give results. The folder is finished before the last one: who takes it may never ask for another."""
        iterator = iter(results)
        following = next(iterator, None)
        while (result := following) is not None:
            following = next(iterator, None)
            if following is None:
                self.finish()
            yield result

    def finish(self) -> None:
        """Remove the note, and the folder if nothing was fitted in it."""
        (self.path / NOTE).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()


@contextmanager
def work_folder(root: Path, stage: str, keys: Sequence[int]) -> Iterator[WorkFolder]:
    """Give a new folder for some spectra, with what a killed run had finished of them.

    It is finished when all results were given, or the block ends without an exception. The folder of the killed run
    stays as it is: rows that it had stored point to it.

    Parameters
    ----------
    root : Path
        The folder of all.
    stage : str
        The stage.
    keys : sequence of int
        ``spectrum_pk`` of the spectra.
    """
    folder = root / stage
    folder.mkdir(parents=True, exist_ok=True)
    work = WorkFolder(folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}")
    work.path.mkdir()
    file = os.open(work.path / NOTE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        wanted = {int(key) for key in keys}
        _take_over(folder, work.path, wanted)
        _write_keys(file, wanted)
        yield work
        work.finish()
    finally:
        os.close(file)


def _take_over(folder: Path, target: Path, wanted: set[int]) -> None:
    """Copy what a killed run left of the most of the spectra, and take them off its note."""
    notes = sorted(folder.glob(f"*/{NOTE}"), reverse=True)[:MOST_LEFT]
    shared = sorted(((len(wanted & _keys_in(note)), note) for note in notes), key=lambda one: one[0], reverse=True)
    for n_shared, note in shared:
        if n_shared and (file := _locked(note)) is not None:
            try:
                ignored = shutil.ignore_patterns(NOTE, ".lock")
                shutil.copytree(note.parent, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)
                if left := _keys_in(note) - wanted:
                    _write_keys(file, left)
                else:
                    note.unlink()
            finally:
                os.close(file)
            return


def _write_keys(file: int, keys: Iterable[int]) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(sorted(keys)).encode(), 0)


def _locked(note: Path) -> int | None:
    """Take the lock of a note; None if another has it, or it is gone."""
    try:
        file = os.open(note, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if note.exists():  # its holder may have finished while the file was opened
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None


def _keys_in(note: Path) -> set[int]:
    with suppress(OSError, ValueError, TypeError):
        return {int(key) for key in json.loads(note.read_text())}
    return set()


def names_for(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Name spectra for FERRE: ``INDEX_SOURCE_SPECTRUM_GUESS_UPSTREAM``, as in a run that was left if there was one.

    Parameters
    ----------
    folder : Path
        The folder of the fit.
    suffixes : sequence of str
        What follows the index in each name.
    """
    earlier = dict(_earlier_names(folder))
    following = max((int(name.partition("_")[0]) for name in earlier.values()), default=-1) + 1
    names: list[str] = []
    for suffix in suffixes:
        name = earlier.get(suffix)
        if name is None:
            name, following = f"{following}_{suffix}", following + 1
        names.append(name)
    return names


def _earlier_names(folder: Path) -> Iterable[tuple[str, str]]:
    for name in names_in(folder):
        index, _, suffix = name.partition("_")
        if index.isdecimal() and suffix:
            yield suffix, name


def names_in(folder: Path) -> list[str]:
    """List the names of the spectra that a folder's ``flux.input`` has, in its order; none if there is none."""
    try:
        lines = (folder / INDEX).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split(maxsplit=1)[0] for line in lines if line.strip()]


def copy_lines(source: Path, names: Sequence[str], target: Path) -> None:
    """Copy what a fit has of some spectra: their lines of the files that FERRE read and wrote.

    Parameters
    ----------
    source, target : Path
        Folders of a fit.
    names : sequence of str
        Names of the spectra: the lines of ``flux.input`` and ``e_flux.input`` are in their order.
    """
    target.mkdir(parents=True, exist_ok=True)
    if (source / HEADER).exists():
        shutil.copyfile(source / HEADER, target / HEADER)
    wanted = set(map(str.encode, names))
    for file in ("model_flux.output", "rectified_model_flux.output", "rectified_flux.output", "continuum.input"):
        lines = read_lines(source / file)
        write_lines(target / file, (line + b"\n" for line in lines if line.partition(b" ")[0] in wanted))
    place_of = {name: place for place, name in enumerate(names_in(source))}
    for kind in ("flux", "e_flux"):
        lines = read_lines(source / f"{kind}.input")
        there = [place_of.get(name, len(lines)) for name in names]
        write_lines(target / f"{kind}.input", (lines[p] + b"\n" if p < len(lines) else b"\n" for p in there))
    (target / INDEX).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def named_line(name: str, pixels: NDArray[np.float64]) -> bytes:
    """Write pixels, (n_pixels,), as a line that starts with the name of a spectrum; NaN becomes 0."""
    return name.encode() + b" " + format_lines(np.nan_to_num(pixels)[None])[0]


def tidy(folder: Path, *patterns: str) -> None:
    """Remove files that nothing reads any more."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
