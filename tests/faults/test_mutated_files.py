"""Every damaged file is ingested or refused with a reason, alone, in bounded time and memory."""

import gzip
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table
from astropy.units import UnitsWarning
from reading import MEGABYTES, SECONDS, Reading, finish

from astra_models.apogeenet import ApogeeNet
from astra_models.corv import Corv
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.summary_file import write_result_file
from tests import spectrum_files

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"
REAL_SPECTRA = (
    *("apogee_tools/apStar-r6-2M03290406*", "apogee_tools/apVisit-2M00452143*-0.fits", "pyhammer/spec-1123*"),
    *("apogee_tools/aspcapStar-r6-l30e.2-2M03122509*", "doppler/apVisit*"),
)
VISITS = [{"mjd": 59_000 + i, "fieldid": 1, "catalogid": 5, "run2d": "v6"} for i in range(3)]
STARS = {
    "missing": [-9999],
    "tables": {"Source": {"sdss_id": "id", "ra": "ra", "dec": "dec", "plx": "plx", "sdss4_apogee_id": "name"}},
}

Outcomes = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


@pytest.fixture(scope="module")
def spectra(folder: Path) -> list[str]:
    """Give whole files of every kind of spectra: the first is a good one, to be given beside each damaged one."""
    sample = make_sample(folder / "sample", stars=2, seed=3)
    broken = {file.path for file in sample.broken}
    visits = [path for path in sample.files if "/visits/" in path and path not in broken]
    co_adds = [path for path in sample.files if "/stars/" in path]
    made = [
        spectrum_files.write_apstar(folder / "apStar.fits", 3),
        spectrum_files.write_apstar(folder / "apStar-1.fits", 1),
        spectrum_files.write_apvisit(folder / "apVisit.fits"),
        spectrum_files.write_mwm_visit(folder / "mwmVisit.fits", {1: VISITS}),
    ]
    packed = folder / "packed.fits.gz"
    packed.write_bytes(gzip.compress(Path(visits[1]).read_bytes(), 1))
    real = [path for pattern in REAL_SPECTRA for path in sorted(REAL_DATA.glob(pattern))]
    return [*visits[:2], co_adds[0], *map(str, [*made, packed, *real])]


@pytest.fixture(scope="module")
def summaries(folder: Path) -> list[str]:
    """Give tables of the survey, packed and not."""
    found = []
    for model in (ApogeeNet, Corv):
        packed = write_result_file(folder / f"{model.__name__}.fits.gz", model, 40, style="dr19")
        (folder / f"{model.__name__}.fits").write_bytes(gzip.decompress(packed.read_bytes()))
        found += [packed.with_suffix(""), packed]
    for path in REAL_DATA.glob("luminosity_cannon/APOGEE-allStar*"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
            Table.read(path)[:30].write(folder / "allStar.fits")
        found.append(folder / "allStar.fits")
    return list(map(str, found))


@pytest.fixture(scope="module")
def mapped(folder: Path) -> list[str]:
    """Give a table in each format that is read by a mapping."""
    table = Table({"id": [5, 6, -9999], "name": ["a", "b ", "c"]})
    for name in ("ra", "dec", "plx"):
        table[name] = [1.5, 2.5, 3.5]
    formats = {"t.fits": "fits", "t.ecsv": "ascii.ecsv", "t.vot": "votable", "t.csv": "ascii.csv"}
    for name, kind in formats.items():
        table.write(folder / name, format=kind)
    table.write(folder / "binary.vot", format="votable", tabledata_format="binary")
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    return [str(folder / name) for name in (*formats, "binary.vot", "t.csv.gz")]


def in_two_processes(n_files: int, bombs: bool = True, **options: Any) -> Outcomes:
    """Read a corpus: files of even numbers also as the command line does, and the bombs, in a process of their own."""
    even = Reading(first=0, last=n_files, step=2, with_bombs=bombs, **options)
    odd = Reading(first=1, last=n_files, step=2, completely=False, **options)
    processes = [even.start(), odd.start()]
    return [outcome for process in processes for outcome in finish(process)]


def assert_each_alone(outcomes: Outcomes, title: str, figures: Any) -> None:
    wrong = [one for one in outcomes if one["outcome"] not in ("accepted", "refused")]
    assert wrong == []
    assert [one for one in outcomes if one["outcome"] == "refused" and not one["reason"]] == []
    assert [one for one in outcomes if one["seconds"] > SECONDS or one["megabytes"] > MEGABYTES] == []
    accepted = [one for one in outcomes if one["outcome"] == "accepted"]
    n_refused = len(outcomes) - len(accepted)
    assert len(accepted) > 0.1 * len(outcomes) and n_refused > 0.1 * len(outcomes)
    slowest, largest = (max(outcomes, key=lambda one: one[unit]) for unit in ("seconds", "megabytes"))
    figures(
        f"{title}: {len(outcomes)} files, {len(accepted)} accepted, {n_refused} refused; slowest "
        f"{slowest['seconds']:.2f} s ({slowest['what']}), largest {largest['megabytes']:.0f} MB ({largest['what']})"
    )


def test_files_of_spectra(spectra: Sequence[str], tmp_path: Path, full_length: bool, figures: Any) -> None:
    options = {"originals": spectra[1:], "good": spectra[0], "folder": str(tmp_path)}
    n_files, seed = (16_000, 2) if full_length else (350, 1)
    assert_each_alone(in_two_processes(n_files, seed=seed, **options), "spectra", figures)


def test_files_of_spectra_into_postgresql(
    spectra: Sequence[str], tmp_path: Path, full_length: bool, figures: Any, parameters: Any, administrator: Any
) -> None:
    administrator.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    first, last = (20_000, 24_000) if full_length else (1000, 1050)
    options = {"originals": spectra[1:], "good": spectra[0], "folder": str(tmp_path), "target": parameters}
    assert_each_alone(finish(Reading(first=first, last=last, **options).start()), "spectra, PostgreSQL", figures)


def test_tables_of_the_survey(summaries: Sequence[str], tmp_path: Path, full_length: bool, figures: Any) -> None:
    options = {"originals": summaries, "folder": str(tmp_path), "as_tables": True}
    n_files, seed = (4000, 2) if full_length else (100, 1)
    assert_each_alone(in_two_processes(n_files, seed=seed, **options), "tables", figures)


def test_tables_with_a_mapping(mapped: Sequence[str], tmp_path: Path, full_length: bool, figures: Any) -> None:
    options = {"originals": mapped, "folder": str(tmp_path), "as_tables": True, "mapping": STARS}
    n_files, seed = (4000, 2) if full_length else (150, 1)
    assert_each_alone(in_two_processes(n_files, bombs=False, seed=seed, **options), "tables with a mapping", figures)
