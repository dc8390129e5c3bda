"""Fluxes and errors of a set of spectra as FERRE reads them, written once however many fits read them.

Beside ``flux.input`` and ``e_flux.input`` is ``flux.index``: for each spectrum its name, a digest of its pixels, the
lengths of its two lines, and how many of its pixels are good.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.inputs import SpectraError, check_names, format_lines, sanitize

FLUX, ERROR, INDEX = "flux.input", "e_flux.input", "flux.index"
_BLOCK = 32
"""So many spectra are turned into text at once: what bounds the memory."""


Written = dict[tuple[Path, tuple[int, ...]], Path]
"""Where the lines of some spectra were copied to, by their files and their numbers."""


@dataclass(frozen=True)
class Entry:
    """A spectrum's place in the files.

    Parameters
    ----------
    name, digest : str
        Its name, and a digest of fluxes and errors as they were given.
    flux, error : slice
        Where its lines are in ``flux.input`` and ``e_flux.input``, in bytes.
    n_good : int
        Number of pixels that have a weight.
    """

    name: str
    digest: str
    flux: slice
    error: slice
    n_good: int


@dataclass(frozen=True)
class FluxFiles:
    """Two files of fluxes and errors, and what is where in them.

    Parameters
    ----------
    folder : Path
        Where they are.
    entries : tuple of Entry
        The spectra, in the order of the lines.
    """

    folder: Path
    entries: tuple[Entry, ...]

    def copy_lines(self, numbers: Sequence[int], target: Path, written: Written | None = None) -> None:
        """Give FERRE the lines of some spectra: all by a link, fewer by a copy.

        Parameters
        ----------
        numbers : sequence of int
            Numbers of the spectra, in the order of the lines.
        target : Path
            The folder that gets the two files.
        written : dict, optional
            Copies that there are already, and that will do; this one is added.
        """
        copies = written if written is not None else {}
        copied = copies.setdefault((self.folder, tuple(numbers)), target)
        if copied != target:
            for kind in (FLUX, ERROR):
                _link(copied / kind, target / kind)
            return
        everything = list(numbers) == list(range(len(self.entries)))
        for kind, places in ((FLUX, [e.flux for e in self.entries]), (ERROR, [e.error for e in self.entries])):
            source = self.folder / kind
            if everything:
                _link(source, target / kind)
                continue
            with source.open("rb") as file, (target / kind).open("wb") as copy:
                for number in numbers:
                    file.seek(places[number].start)
                    copy.write(file.read(places[number].stop - places[number].start))


def _link(source: Path, target: Path) -> None:
    """Link to a file; to its contents if the disk allows it, so that a file that replaces it later isn't read."""
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source.absolute())


def write_fluxes(
    folder: Path, names: Sequence[str], flux: NDArray[np.floating], error: NDArray[np.floating]
) -> FluxFiles:
    """Write the two files, unless they are there and of the same spectra.

    Parameters
    ----------
    folder : Path
        Where they go.
    names : sequence of str
        Names of the spectra.
    flux, error : array
        (n_spectra, n_pixels); see `sanitize` for what becomes of bad pixels.

    Raises
    ------
    SpectraError
        If names or shapes are wrong.
    """
    check_names(names)
    if flux.shape != error.shape or flux.ndim != 2 or len(flux) != len(names):
        raise SpectraError(
            f"{len(names)} names, fluxes of shape {flux.shape} and errors of shape {error.shape} don't fit together"
        )
    digests = [_digest(flux[i], error[i]) for i in range(len(names))]
    found = _read_index(folder)
    if [(entry.name, entry.digest) for entry in found] == list(zip(names, digests, strict=True)):
        return FluxFiles(folder, found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    entries = _write(folder, names, digests, flux, error)
    replace_text(
        folder / INDEX,
        "".join(
            f"{e.name} {e.digest} {e.flux.stop - e.flux.start} {e.error.stop - e.error.start} {e.n_good}\n"
            for e in entries
        ),
    )
    return FluxFiles(folder, entries)


def replace_text(path: Path, text: str) -> None:
    """Write a file anew, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _digest(flux: NDArray[np.floating], error: NDArray[np.floating]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in (flux, error):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _write(
    folder: Path,
    names: Sequence[str],
    digests: Sequence[str],
    flux: NDArray[np.floating],
    error: NDArray[np.floating],
) -> tuple[Entry, ...]:
    lengths: list[tuple[str, str, int, int, int]] = []
    # New files instead of the old ones' contents: a fit that is running may have them open.
    for kind in (FLUX, ERROR):
        (folder / kind).unlink(missing_ok=True)
    with (folder / FLUX).open("wb") as flux_file, (folder / ERROR).open("wb") as error_file:
        for start in range(0, len(names), _BLOCK):
            block = slice(start, start + _BLOCK)
            clean_flux, clean_error, bad = sanitize(flux[block], error[block])
            flux_lines, error_lines = format_lines(clean_flux), format_lines(clean_error)
            flux_file.writelines(flux_lines)
            error_file.writelines(error_lines)
            n_good = (~bad & (clean_error < 1e10)).sum(axis=1).tolist()
            sizes = zip(map(len, flux_lines), map(len, error_lines), n_good, strict=True)
            lengths += [(n, d, *s) for n, d, s in zip(names[block], digests[block], sizes, strict=True)]
    return _entries(lengths)


def _entries(lengths: Sequence[tuple[str, str, int, int, int]]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    flux_start = error_start = 0
    for name, digest, flux_length, error_length, n_good in lengths:
        flux = slice(flux_start, flux_start + flux_length)
        error = slice(error_start, error_start + error_length)
        entries.append(Entry(name, digest, flux, error, n_good))
        flux_start, error_start = flux.stop, error.stop
    return tuple(entries)


def _read_index(folder: Path) -> tuple[Entry, ...]:
    """Read what is where, if the files are as long as it says."""
    try:
        words = [line.split() for line in (folder / INDEX).read_text(encoding="utf-8").splitlines()]
        entries = _entries([(name, digest, *map(int, sizes)) for name, digest, *sizes in words])  # type: ignore[misc]
        whole = entries and all(
            (folder / kind).stat().st_size == end
            for kind, end in ((FLUX, entries[-1].flux.stop), (ERROR, entries[-1].error.stop))
        )
    except (OSError, ValueError, TypeError):
        return ()
    return entries if whole else ()
