"""How fast flux and inverse variance are read, against the incumbent's way and the bare reading of the bytes.

Files are built as the survey builds them, many of each kind, no two of one layout in a row. The candidates take turns,
spectrum by spectrum, so that a machine that is busy for a while slows all of them; figures are medians over the rounds.
The incumbent's way opens the file with astropy and copies every array of the spectrum. The bare reading knows where the
bytes are: it opens the file, seeks and reads, and copies into the machine's byte order. Of a BOSS table, whose
columns lie interleaved, these bytes are the whole table. All files are in the system's cache.

    python benchmarks/pixels.py [--rounds 7] [--spectra 400] [--write docs/pixels.md]
"""

import argparse
import gc
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
from astropy.io import fits
from spectrum_files import write_apstar, write_mwm_star, write_spec_full

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.mwm import ApogeeCombinedSpectrum, BossCombinedSpectrum

N_FILES = 40
MANY = 10_000

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


def incumbent(path: str, arrays: tuple[tuple[int, str | None], ...]) -> list[np.ndarray]:
    """Open with astropy, read every array of the spectrum, and copy it."""
    copies = []
    with fits.open(path) as hdus:
        for ext, column in arrays:
            data = hdus[ext].data
            copies.append(np.copy(np.atleast_2d(data)[0] if column is None else data[column]))
    return copies


def bare(path: str, places: tuple[Bytes, Bytes]) -> Pair:
    """Read known bytes, and copy them into the machine's byte order."""
    one, other = places
    with open(path, "rb") as file:
        file.seek(one.start)
        if one.stride == other.stride and abs(other.start - one.start) < one.stride:  # interleaved
            span = one.stride * one.shape
            content = file.read(span)
            views = [np.ndarray((p.shape,), p.dtype, content, p.start - one.start, (p.stride,)) for p in places[:1]]
            views.append(np.ndarray((other.shape,), other.dtype, content, other.start - one.start, (other.stride,)))
        else:
            views = [np.frombuffer(file.read(one.shape * one.stride), one.dtype)]
            file.seek(other.start)
            views.append(np.frombuffer(file.read(other.shape * other.stride), other.dtype))
    return tuple(view.astype(view.dtype.newbyteorder("=")) for view in views)  # type: ignore[return-value]


def places_of(path: str, arrays: tuple[tuple[int, str | None], ...]) -> tuple[Bytes, Bytes]:
    """Look up where flux and inverse variance (or error) are."""
    found = []
    with fits.open(path) as hdus:
        for ext, column in [(e, c) for e, c in arrays if c in ("flux", "ivar", None)][:2]:
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


def bare_weights(path: str, places: tuple[Bytes, Bytes]) -> Pair:
    """Read known bytes, and make inverse variances of errors."""
    flux, error = bare(path, places)
    with np.errstate(divide="ignore", over="ignore"):
        ivar = error**-2
        ivar[~((error > 0) & (error < 1e10) & (flux != 0))] = 0
    return flux, ivar


class Measured(NamedTuple):
    """Seconds per spectrum, of the ways."""

    ours: float
    incumbent: float
    bare: float
    weights: float


def measure(kind: Kind, paths: list[str], n: int) -> Measured:
    """Read `n` spectra in each of the three ways, taking turns."""
    spectra = [kind.model(path=path, **kind.columns) for path in paths]
    places = [places_of(path, kind.arrays) for path in paths]
    times = [0.0, 0.0, 0.0, 0.0]
    has_errors = kind.arrays[0][1] is None
    gc.collect()
    gc.disable()
    for i in range(n):
        # Each candidate has another file, so that none finds the bytes in the processor's cache.
        k, other, third = ((i + shift) % len(paths) for shift in (0, len(paths) // 3, 2 * len(paths) // 3))
        spectrum = spectra[k]
        start = time.perf_counter()
        ours(spectrum)
        times[0] += time.perf_counter() - start
        spectrum.release_pixels()
        if i % 4 == 0:  # slow, and so measured less often
            start = time.perf_counter()
            incumbent(paths[third], kind.arrays)
            times[1] += 4 * (time.perf_counter() - start)
        start = time.perf_counter()
        bare(paths[other], places[other])
        times[2] += time.perf_counter() - start
        if has_errors:
            start = time.perf_counter()
            bare_weights(paths[third], places[third])
            times[3] += time.perf_counter() - start
    gc.enable()
    return Measured(*(seconds / n for seconds in times))


def check(kind: Kind, path: str) -> None:
    """Compare what we read with what astropy does."""
    flux, ivar = ours(kind.model(path=path, **kind.columns))
    copies = incumbent(path, kind.arrays)
    number = next((i for i, (_, name) in enumerate(kind.arrays) if name == "flux"), 0)
    np.testing.assert_array_equal(flux, np.ravel(copies[number]))
    if kind.arrays[number][1] is None:
        return
    expected = np.ravel(copies[number + 1])
    np.testing.assert_array_equal(ivar, np.where(expected > 0, expected, 0))


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


def lines(rounds: int, n: int) -> Iterator[str]:
    """Measure all kinds, and give the rows of a Markdown table."""
    yield (
        "| file | spectra/s | incumbent's way | bare | times the incumbent | times the bare time "
        "| times the bare time, as weights | growth |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(kind.write(Path(folder) / f"{i}.fits", i)) for i in range(N_FILES)]
            for path in paths:
                check(kind, path)
            results = [measure(kind, paths, n) for _ in range(rounds)]
            mine, theirs, least, weights = (statistics.median(values) for values in zip(*results, strict=True))
            times = statistics.median(result.incumbent / result.ours for result in results)
            share = statistics.median(result.ours / result.bare for result in results)
            yield (
                f"| {name} | {1 / mine:,.0f} | {1 / theirs:,.0f} | {1 / least:,.0f} | {times:.0f} | {share:.2f} "
                f"| {f'{mine / weights:.2f}' if weights else 'the same'} | {growth(kind, paths):+.1f} MB |"
            )


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
        text = options.write.read_text()
        start, end = "<!-- figures -->", "<!-- end of figures -->"
        before, after = text.split(start)[0], text.split(end)[1]
        options.write.write_text(f"{before}{start}\n" + "\n".join(table) + f"\n{end}{after}")


if __name__ == "__main__":
    main()
