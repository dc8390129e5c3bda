"""How fast flux and weights are read, like with like: against fitsio, astropy, and the bare reading of the bytes.

All candidates of one kind give the same two arrays, flux and inverse variance, in the machine's byte order, with 0 for
pixels that are not to be used; a file with errors has its weights made of them in every way. Beside these, the
incumbent's way opens the file with astropy and copies every array of the spectrum. The bare reading knows where the
bytes are: it opens the file, seeks and reads. Of a BOSS table, whose columns lie interleaved, these bytes are the whole
table.

Files are built as the survey builds them, many of each kind, no two of one layout in a row. The candidates take turns,
spectrum by spectrum, so that a machine that is busy for a while slows all of them; figures are medians over the rounds.
All files are in the system's cache. fitsio is left out if it isn't installed (`pip install '.[bench]'`).

    python benchmarks/pixels.py [--rounds 7] [--spectra 400] [--write docs/benchmarks.md]
"""

import argparse
import gc
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from _figures import write_figures
from astropy.io import fits
from spectrum_files import write_apstar, write_mwm_star, write_spec_full

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.mwm import ApogeeCombinedSpectrum, BossCombinedSpectrum

N_FILES = 40
MANY = 10_000
HUGE_ERROR = 1e10
SLOW = 4
"""Ways that take milliseconds are measured at every fourth spectrum."""

Pair = tuple[np.ndarray, np.ndarray]


class Bytes(NamedTuple):
    """Where an array is in a file."""

    start: int
    shape: int
    dtype: str
    stride: int


class Kind(NamedTuple):
    """A kind of files: its model, how one is written, and what the incumbent reads of it."""

    model: Any
    write: Callable[[Path, int], Path]
    arrays: tuple[tuple[int, str | None], ...]
    columns: dict[str, Any]

    @property
    def two(self) -> list[tuple[int, str | None]]:
        """Flux, and inverse variance or error: number of the HDU, and name of the column if it is a table."""
        return [(ext, column) for ext, column in self.arrays if column in ("flux", "ivar", None)][:2]

    @property
    def has_errors(self) -> bool:
        """Whether the files have errors, of which weights have to be made."""
        return self.arrays[0][1] is None


KINDS = {
    "specFull": Kind(
        BossVisitSpectrum,
        lambda path, i: write_spec_full(path, n_pixels=4590 + i),
        tuple((1, name) for name in ("loglam", "flux", "ivar", "wresl", "or_mask")),
        {},
    ),
    "apStar": Kind(
        ApogeeCoaddedSpectrumInApStar,
        lambda path, i: write_apstar(path, n_visits=2 + i % 6),
        ((1, None), (2, None), (3, None)),
        {},
    ),
    "apStar (DR19, doubles)": Kind(
        ApogeeCoaddedSpectrumInApStar,
        lambda path, i: write_apstar(path, n_visits=2 + i % 6, wide=True),
        ((1, None), (2, None), (3, None)),
        {},
    ),
    "mwmStar, BOSS": Kind(
        BossCombinedSpectrum,
        lambda path, i: write_mwm_star(path, {1: {"n_visits": i, "clean": True}}),
        tuple((1, name) for name in ("flux", "ivar", "pixel_flags", "continuum", "nmf_rectified_model_flux")),
        {"telescope": "apo25m"},
    ),
    "mwmStar, APOGEE": Kind(
        ApogeeCombinedSpectrum,
        lambda path, i: write_mwm_star(path, {3: {"n_visits": i, "clean": True}}),
        tuple((3, name) for name in ("flux", "ivar", "pixel_flags", "continuum", "nmf_rectified_model_flux")),
        {"telescope": "apo25m"},
    ),
}


def ours(spectrum: Any) -> Pair:
    """Read as a pipeline does."""
    return spectrum.flux, spectrum.ivar


def every_array(path: str, kind: Kind) -> list[np.ndarray]:
    """Read the incumbent's way: open with astropy, read every array of the spectrum, and copy it."""
    copies = []
    with fits.open(path) as hdus:
        for ext, column in kind.arrays:
            data = hdus[ext].data
            copies.append(np.copy(np.atleast_2d(data)[0] if column is None else data[column]))
    return copies


def with_astropy(path: str, kind: Kind) -> Pair:
    """Read the two arrays with astropy."""
    with fits.open(path) as hdus:
        flux, other = (
            np.atleast_2d(hdus[ext].data)[0] if column is None else np.ravel(hdus[ext].data[column])
            for ext, column in kind.two
        )
        return weighed(*(array.astype(array.dtype.newbyteorder("=")) for array in (flux, other)), kind)


def with_fitsio(path: str, kind: Kind) -> Pair:
    """Read the two arrays with fitsio; of a table all columns, which it reads faster than two of them."""
    import fitsio

    ext, column = kind.two[0]
    with fitsio.FITS(path) as file:
        if column is None:
            one_row = len(file[ext].get_dims()) == 1
            flux, other = (file[i].read() if one_row else file[i][0:1, :].ravel() for i, _ in kind.two)
            return weighed(flux, other, kind)
        rows = file[ext].read()
    names = {name.lower(): name for name in rows.dtype.names}
    flux, other = (np.ascontiguousarray(rows[names[name]]).ravel() for name in ("flux", "ivar"))
    return weighed(flux, other, kind)


def bare(path: str, places: tuple[Bytes, Bytes], kind: Kind) -> Pair:
    """Read known bytes, and copy them into the machine's byte order."""
    one, other = places
    with open(path, "rb") as file:
        file.seek(one.start)
        if one.stride == other.stride and abs(other.start - one.start) < one.stride:  # interleaved
            content = file.read(one.stride * one.shape)
            views = [np.ndarray((p.shape,), p.dtype, content, p.start - one.start, (p.stride,)) for p in places]
        else:
            views = [np.frombuffer(file.read(one.shape * one.stride), one.dtype)]
            file.seek(other.start)
            views.append(np.frombuffer(file.read(other.shape * other.stride), other.dtype))
    return weighed(*(view.astype(view.dtype.newbyteorder("=")) for view in views), kind)


def weighed(flux: np.ndarray, other: np.ndarray, kind: Kind) -> Pair:
    """Make weights, as any reader has to: of errors, or of inverse variances that may be anything."""
    if not kind.has_errors:
        other[~((other > 0) & (other < np.inf))] = 0
        return flux, other
    with np.errstate(divide="ignore", over="ignore"):
        ivar = other**-2
        ivar[~((other > 0) & (other < HUGE_ERROR) & (flux != 0))] = 0
    return flux, ivar


def places_of(path: str, kind: Kind) -> tuple[Bytes, Bytes]:
    """Look up where flux and inverse variance (or error) are."""
    found = []
    with fits.open(path) as hdus:
        for ext, column in kind.two:
            hdu, start = hdus[ext], hdus[ext].fileinfo()["datLoc"]
            if column is None:
                dtype = hdu.data.dtype
                found.append(Bytes(start, hdu.data.shape[-1], f">f{dtype.itemsize}", dtype.itemsize))
                continue
            name = next(name for name in hdu.columns.names if name.lower() == column)
            offset, row = hdu.data.dtype.fields[name][1], hdu.data.dtype.itemsize
            one_row = len(hdu.data) == 1
            n = hdu.data[name].size
            found.append(Bytes(start + offset, n, ">f4", 4 if one_row else row))
    return found[0], found[1]


class Way(NamedTuple):
    """A way to read the arrays of the file with a number, and whether it is slow."""

    name: str
    read: Callable[[int], Any]
    is_slow: bool = False


def ways(kind: Kind, paths: list[str], spectra: list[Any]) -> list[Way]:
    """Give the candidates; ours comes first, the incumbent's last."""
    places = [places_of(path, kind) for path in paths]
    made = [Way("ours", lambda i: ours(spectra[i])), Way("bare", lambda i: bare(paths[i], places[i], kind))]
    if importlib.util.find_spec("fitsio"):
        made.append(Way("fitsio", lambda i: with_fitsio(paths[i], kind), is_slow=True))
    made.append(Way("astropy", lambda i: with_astropy(paths[i], kind), is_slow=True))
    return [*made, Way("incumbent", lambda i: every_array(paths[i], kind), is_slow=True)]


def measure(candidates: list[Way], paths: list[str], n: int, forget: Callable[[int], None]) -> dict[str, float]:
    """Read `n` spectra in each way, taking turns; gives seconds per spectrum."""
    times = dict.fromkeys((way.name for way in candidates), 0.0)
    gc.collect()
    gc.disable()
    for i in range(n):
        for shift, way in enumerate(candidates):
            if way.is_slow and i % SLOW:
                continue
            # Each candidate has another file, so that none finds the bytes in the processor's cache.
            k = (i + shift * len(paths) // len(candidates)) % len(paths)
            start = time.perf_counter()
            way.read(k)
            times[way.name] += (SLOW if way.is_slow else 1) * (time.perf_counter() - start)
            forget(k)
    gc.enable()
    return {name: seconds / n for name, seconds in times.items()}


def check(kind: Kind, candidates: list[Way], i: int) -> None:
    """Compare the arrays of all ways, and these with every array of the file."""
    flux, ivar = candidates[0].read(i)
    for way in candidates[1:-1]:
        for mine, theirs in zip((flux, ivar), way.read(i), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-7, err_msg=way.name)
    number = kind.arrays.index(kind.two[0])
    np.testing.assert_array_equal(flux, np.ravel(candidates[-1].read(i)[number]))


def resident() -> float:
    """Give the memory that the process uses, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth(kind: Kind, paths: list[str]) -> float:
    """Read many spectra, and give by how many MB the process grew after the first thousand."""
    before = 0.0
    for i in range(MANY):
        ours(kind.model(path=paths[i % len(paths)], **kind.columns))
        if i == MANY // 10:
            before = resident()
    return resident() - before


HEADING = (
    "| file | ours, spectra/s | bare | fitsio | astropy, the two arrays | astropy, every array (incumbent) "
    "| of the bare time | times fitsio | times astropy | times the incumbent | growth |"
)


def lines(rounds: int, n: int) -> Iterator[str]:
    """Measure all kinds, and give the rows of a Markdown table."""
    yield HEADING
    yield "| --- " * (HEADING.count("|") - 1) + "|"
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(kind.write(Path(folder) / f"{i}.fits", i)) for i in range(N_FILES)]
            yield f"| {name} | {' | '.join(row(kind, paths, rounds, n))} | {growth(kind, paths):+.1f} MB |"


def row(kind: Kind, paths: list[str], rounds: int, n: int) -> Iterator[str]:
    """Measure one kind: spectra per second of each way, and how many times as fast as each ours is."""
    spectra = [kind.model(path=path, **kind.columns) for path in paths]
    candidates = ways(kind, paths, spectra)
    for i in range(len(paths)):
        check(kind, candidates, i)
        spectra[i].release_pixels()
    results = [measure(candidates, paths, n, lambda i: spectra[i].release_pixels()) for _ in range(rounds)]
    for name in ("ours", "bare", "fitsio", "astropy", "incumbent"):
        rates = [1 / result[name] for result in results if name in result]
        yield f"{statistics.median(rates):,.0f}" if rates else ""
    yield f"{statistics.median(result['ours'] / result['bare'] for result in results):.2f}"
    for name in ("fitsio", "astropy", "incumbent"):
        times = [result[name] / result["ours"] for result in results if name in result]
        yield f"{statistics.median(times):.1f}" if times else ""


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--spectra", type=int, default=400)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    table = []
    for line in lines(options.rounds, options.spectra):
        print(line, flush=True)
        table.append(line)
    if options.write:
        write_figures(options.write, "pixels", table)


if __name__ == "__main__":
    main()
