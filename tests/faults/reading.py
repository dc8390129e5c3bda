"""A process that ingests damaged files, one after the other: run as ``python reading.py '<json of Reading>'``.

It prints a line of JSON per file. It may use no more memory than is allowed, and is killed by the system if a file
takes more time: the test sees at which one.
"""

import faulthandler
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import peewee
from _memory import grown_since, start_counting
from damage import Original, bombs, damaged
from ingesting import connect

from astra_models.base import database
from astra_models.errors import MissingPixelsError, UnknownKindError, UnrecognizedFileError
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.ingest.spectra.files import MODELS
from astra_models.ingest.spectra.recognise import what_is_in, why_no_spectrum
from astra_models.ingest.tables.mapping import MappingError
from astra_models.pixels import pixel_arrays
from astra_models.schema.tables import create_tables

SECONDS = 2
MEGABYTES = 300
SPARE = 512
"""Addresses that threads reserve and don't use, in MB."""


@dataclass(frozen=True)
class Reading:
    """What a process reads.

    Parameters
    ----------
    originals : list of str
        Whole files.
    first, last, step : int
        Which numbers of the corpus.
    folder : str
        Where to write the damaged files.
    good : str
        A whole file of spectra, given together with each damaged one.
    mapping : dict, optional
        Of tables that aren't the survey's; then all of them are read as tables.
    as_tables : bool
        Whether to read all files as tables.
    with_bombs : bool
        Whether to read the bombs, too.
    completely : bool
        Whether to try each file that isn't one of spectra as one of results.
    target : dict, optional
        The database, as `ingesting.connect` takes it; in memory if not given.
    seed : int
        Of the corpus.
    """

    originals: list[str]
    first: int
    last: int
    folder: str
    good: str = ""
    step: int = 1
    mapping: dict[str, Any] | None = None
    as_tables: bool = False
    with_bombs: bool = False
    completely: bool = True
    target: dict[str, Any] = field(default_factory=lambda: {"path": ":memory:"})
    seed: int = 1

    def start(self) -> subprocess.Popen[str]:
        """Start the process."""
        command = [sys.executable, "-W", "ignore", str(Path(__file__)), json.dumps(asdict(self))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Wait for a process; gives what became of each file, the last one without an outcome if it ended the process."""
    output, errors = process.communicate()
    lines = [json.loads(line) for line in output.splitlines()]
    if process.returncode:
        lines.append({"outcome": f"the process ended with {process.returncode}: {errors[-2000:]}"})
    found: list[dict[str, Any]] = []
    for line in lines:
        if "number" in line or not found:
            found.append({"outcome": "none"})
        found[-1].update(line)
    return found


def main() -> None:
    """Read the files, and print what becomes of each."""
    reading = Reading(**json.loads(sys.argv[1]))
    faulthandler.register(signal.SIGXCPU, chain=True)  # where it was when its time was up
    connect(reading.target)
    create_tables()
    spectra = _warm_up(reading)
    addresses = _addresses() + (MEGABYTES + SPARE) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    path = ""
    for number, what, suffix in _files(reading):
        path = f"{reading.folder}/{number}{suffix}"
        print(json.dumps({"number": number, "what": what, "path": path}), flush=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as in a test: a warning is an exception, too
            print(json.dumps(_outcome(reading, path, spectra[number % len(spectra)])), flush=True)
        os.unlink(path)
    _read_all_rows()


def _files(reading: Reading) -> Iterator[tuple[int, str, str]]:
    originals = [Original(Path(path)) for path in reading.originals]
    for number in range(reading.first, reading.last, reading.step):
        yield _written(reading, number, damaged(number, originals, reading.seed))
    if reading.with_bombs:
        for number, bomb in enumerate(bombs()):
            yield _written(reading, reading.last + number, bomb)


def _written(reading: Reading, number: int, one: Any) -> tuple[int, str, str]:
    Path(f"{reading.folder}/{number}{one.suffix}").write_bytes(one.content)
    return number, one.what, one.suffix


def _outcome(reading: Reading, path: str, spectra: Sequence[Any]) -> dict[str, Any]:
    """Ingest a file, and tell what became of it and what that took."""
    seconds = math.ceil(time.process_time()) + SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    before, started = start_counting(), time.process_time()
    try:
        outcome, reason = _as_table(reading, path) if reading.as_tables else _as_spectrum(reading, path, spectra)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        outcome, reason = "raised", f"{type(error).__name__}: {error}"[:1000]
    return {
        "outcome": outcome,
        "reason": reason,
        "seconds": time.process_time() - started,
        "megabytes": grown_since(before),
    }


def _as_spectrum(reading: Reading, path: str, spectra: Sequence[Any]) -> tuple[str, str]:
    report = ingest_spectra([path, reading.good])
    refused = dict(report.refused)
    if reading.good in refused:
        return "raised", f"the good file beside it was refused: {refused[reading.good]}"
    missing = _pixels(path, spectra)
    if path in refused:
        return _as_the_command_line(path, refused[path]) if reading.completely else ("refused", refused[path])
    return "accepted", missing


def _as_the_command_line(path: str, reason: str) -> tuple[str, str]:
    """Try a file that isn't one of spectra as one of results, as ``astra ingest`` does; that may go in."""
    try:
        ingest_result_file(path)
    except UnrecognizedFileError as error:
        if isinstance(why_no_spectrum(path), UnknownKindError):
            what_is_in(path)
        return ("refused" if path in str(error) else "raised"), f"{error}; {reason}"
    return "accepted", "as a file of results"


def _pixels(path: str, spectra: Sequence[Any]) -> str:
    """Read all pixels of the spectra of a file that was whole when it was ingested; gives what is missing."""
    missing: list[str] = []
    for spectrum in spectra:
        spectrum.path = path
        spectrum.release_pixels()
        for name in pixel_arrays(type(spectrum)):
            try:
                getattr(spectrum, name)
            except MissingPixelsError as error:
                missing.append(str(error))
    return missing[0] if missing else ""


def _spectra_of(path: str) -> list[Any]:
    """Give two spectra of each kind of a file."""
    return [spectrum for model in MODELS for spectrum in model.select().where(model.path == path).limit(2)]


def _as_table(reading: Reading, path: str) -> tuple[str, str]:
    try:
        # Checksums would refuse nearly all of them: every other file is read whatever they say.
        number = Path(path).name.partition(".")[0]
        is_even = not number.isdigit() or int(number) % 2 == 0
        report = ingest_result_file(path, mapping=reading.mapping, damaged="read" if is_even else "refuse")
    except (UnrecognizedFileError, MappingError) as error:
        return ("refused" if path in str(error) else "raised"), str(error)
    return "accepted", f"{report.rejected} of {report.rows} rows rejected"


def _warm_up(reading: Reading) -> list[list[Any]]:
    """Read the whole files, which also imports what reading needs; gives the spectra of each."""
    import astropy.io.fits
    import astropy.io.votable  # noqa: F401

    spectra: list[list[Any]] = []
    for path in reading.originals:
        if reading.as_tables:
            _as_table(reading, path)
        else:
            ingest_spectra([path])
        spectra.append([] if reading.as_tables else _spectra_of(path))
        for some in spectra[-1:]:
            _pixels(path, some)
    return spectra


def _read_all_rows() -> None:
    from astra_models.base import BaseModel

    for model in BaseModel.concrete_models():
        if database.table_exists(model._meta.table_name, model._meta.schema):
            for row in model.select():
                repr(row.__data__)


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    assert peewee
    main()
