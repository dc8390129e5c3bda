"""``astra ingest``: whatever the files are, each is detected from its content, and none affects another."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.io import fits
from typer.testing import CliRunner, Result

from astra_models import base
from astra_models.aspcap import ASPCAP
from astra_models.astronn_dist import AstroNNdist
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database
from astra_models.ingest import ResultFileReport
from astra_models.ingest.rows.sources import IDENTIFIERS
from astra_models.ingested import IngestedFile
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.cli import ingest as cli_ingest
from astra_orchestration.cli.main import app
from astra_orchestration.cli.refusals import Refusal, tell_refusals
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.summary_file import write_result_file

NAME = "astraAllStarASPCAP-0.8.1.fits.gz"
OLD: Any = {"renamed": {"dist": "nn_dist", "e_dist": "nn_dist_err"}}
one_database = pytest.mark.sqlite_only(reason="what is said does not depend on the database")


def astra(*arguments: Any) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def rows_of(result: Result) -> dict[str, list[str]]:
    """Read the tables that were printed."""
    cells = (re.split(r"\s*[│┃]\s*", line)[1:-1] for line in result.output.splitlines() if line.startswith("│"))
    return {name: counts for name, *counts in cells}


def without_identifiers(rows: Any, start: int) -> None:
    """Take from row 3 of a file what says which star it is."""
    for name in set(rows.dtype.names) & set(IDENTIFIERS):
        rows[name][3 - start] = "" if rows[name].dtype.kind == "S" else -1


def test_a_file_of_results_is_ingested_once(database: peewee.Database, tmp_path: Path) -> None:
    path = write_result_file(tmp_path / NAME, ASPCAP, 1_500)

    first, again, anyway = astra("ingest", path), astra("ingest", path), astra("ingest", path, "--again")

    assert [step.exit_code for step in (first, again, anyway)] == [0, 0, 0], first.output
    assert re.search(rf"^{NAME}: astraAllStarASPCAP, 1,500 rows in [\d.]+ s \([\d,]+ rows/s\)$", first.output, re.M)
    assert rows_of(first) == {
        "source": ["1,500", "0", "0"],
        "apogee_coadded_spectrum_in_ap_star": ["1,500", "0", "0"],
        "aspcap": ["1,500", "0", "0"],
    }
    assert "note: HDU 1 (BOSS) has no rows" in first.output
    assert "known already, nothing is written (--again goes through it again)" in again.output
    assert rows_of(again) == {}
    assert rows_of(anyway)["aspcap"] == ["0", "0", "1,500"]
    assert ASPCAP.select().count() == 1_500


def test_files_of_all_kinds_are_told_apart_by_their_content(
    database: peewee.Database, tmp_path: Path, sample_visits: list[Path]
) -> None:
    results = write_result_file(tmp_path / "spec-1.fits", ASPCAP, 3)
    (tmp_path / "broken.fits.gz").write_bytes(results.read_bytes()[:9_000])
    (tmp_path / "notes.fits").write_text("no FITS file")

    done = astra("ingest", tmp_path / "*.fits*", *sample_visits, tmp_path / "nowhere" / "*.fits")

    assert done.exit_code == 3
    assert ASPCAP.select().count() == 3
    assert BossVisitSpectrum.select().count() == len(sample_visits)
    assert f"{len(sample_visits)} of {len(sample_visits)} file" in done.output
    refused = [line for line in done.output.splitlines() if line.startswith("refused")]
    assert len(refused) == 3
    assert "no file matches" in refused[0]
    assert f"{tmp_path}/broken.fits.gz: it is truncated" in refused[1]
    assert f"{tmp_path}/notes.fits: it is not a FITS file" in refused[2]


@one_database
def test_what_is_known_is_listed_once_however_many_files_are_none_of_it(
    database: peewee.Database, tmp_path: Path
) -> None:
    image = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 4)))])
    for name in ("one.fits", "two.fits"):
        image.writeto(tmp_path / name)

    done = astra("ingest", tmp_path / "*.fits")

    assert done.exit_code == 1
    refused = [line for line in done.output.splitlines() if line.startswith("refused")]
    content = "HDU 0: header only; HDU 1: image of 3 x 4"
    why = f"it has neither results nor spectra that are known; it has {content}"
    assert refused == [f"refused 2 files: {why}: {tmp_path}/one.fits, {tmp_path}/two.fits"]
    assert done.output.count("astraAllStar*") == done.output.count("apVisit") == done.output.count("--mapping") == 1


@one_database
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.fits", b"", "it is empty; fetch it again"),
        ("notes.txt", b"some words", "a table of another format needs a mapping of its columns (--mapping)"),
        ("stars.ecsv", b"# %ECSV 1.0\n", "a table of another format needs a mapping of its columns (--mapping)"),
    ],
)
def test_a_file_that_is_refused_says_what_to_do(
    database: peewee.Database, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)

    done = astra("ingest", tmp_path / name)

    assert done.exit_code == 1
    assert f"refused {tmp_path / name}: " in done.output
    assert message in done.output


@one_database
def test_a_folder_is_refused_with_the_pattern_that_is_meant(database: peewee.Database, tmp_path: Path) -> None:
    done = astra("ingest", tmp_path)

    assert done.exit_code == 1
    assert f"refused {tmp_path}: it is a folder; name its files, such as '{tmp_path}/*.fits*'" in done.output


@one_database
@pytest.mark.parametrize("part", ["last bytes", "first bytes", "header", "data", "a bit"])
def test_damage_of_any_kind_is_refused_with_what_to_do(database: peewee.Database, tmp_path: Path, part: str) -> None:
    path = write_result_file(tmp_path / NAME, ASPCAP, 20)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "last bytes": whole[:-4],
            "first bytes": whole[:5],
            "header": whole[:400],
            "data": whole[: len(whole) // 2],
            "a bit": whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:],
        }[part]
    )

    done = astra("ingest", path)

    assert done.exit_code == 1
    assert f"refused {path}: it" in done.output
    assert "fetch it again" in done.output
    assert not Source.select().exists()


@one_database
def test_a_dry_run_says_what_would_happen_and_needs_no_database(tmp_path: Path, sample_visits: list[Path]) -> None:
    path = write_result_file(tmp_path / "dist.fits", AstroNNdist, 5, style="dr19", change=without_identifiers, **OLD)

    done = astra("ingest", "--dry-run", path, *sample_visits)

    assert done.exit_code == 3, done.output
    assert "5 rows read" in done.output
    assert "nothing is written" in done.output
    n_columns = len(AstroNNdist._meta.fields)
    assert rows_of(done)["astro_nn_dist"][0] == "4"
    assert 10 < int(rows_of(done)["astro_nn_dist"][1]) < n_columns
    [columns] = re.findall(r"^  astro_nn_dist: (.*)$", done.output, re.M)
    assert {"task_pk", "v_astra", "nn_dist as dist"} < set(columns.split(", "))
    assert "1 row would be rejected" in done.output


@one_database
def test_a_dry_run_of_spectra_says_what_would_become_of_them(tmp_path: Path, sample_visits: list[Path]) -> None:
    broken = tmp_path / "broken.fits"
    broken.write_bytes(sample_visits[0].read_bytes()[:-8_000])

    done = astra("ingest", "--dry-run", *sample_visits, sample_visits[0])
    refused = astra("ingest", "--dry-run", broken)

    n_files = len(sample_visits)
    assert done.exit_code == 0, done.output
    assert rows_of(done)["boss_visit_spectrum"][0] == str(n_files)
    assert rows_of(done)["source"][0] == "1"
    assert re.search(r"^  source: .*\bsdss_id\b", done.output, re.M)
    assert re.search(r"^  boss_visit_spectrum: .*\brun2d\b", done.output, re.M)
    assert f"{n_files} files of spectra would be ingested; nothing is written" in done.output
    assert refused.exit_code == 1
    assert "truncated" in refused.output


@one_database
def test_a_dry_run_says_whether_the_file_was_ingested_before(database: peewee.Database, tmp_path: Path) -> None:
    path = write_result_file(tmp_path / NAME, ASPCAP, 4)
    before = astra("ingest", "--dry-run", path)
    astra("ingest", path)
    same = astra("ingest", "--dry-run", path)
    write_result_file(path, ASPCAP, 6)
    other = astra("ingest", "--dry-run", path)

    assert "before" not in before.output
    assert "it was ingested before: without --again, nothing would be written" in same.output
    assert "a file of this name with other contents was ingested before: this one would update it" in other.output


@one_database
def test_a_dry_run_does_without_a_database_that_cannot_be_reached(
    memory_database: peewee.Database, tmp_path: Path
) -> None:
    path = write_result_file(tmp_path / NAME, ASPCAP, 4)
    before = base.database.obj, base.bound_schema()
    base.bind(postgresql_database(dbname="survey", host="127.0.0.1", port=1), None)
    try:
        done = astra("ingest", "--dry-run", path)
    finally:
        base.bind(*before)

    assert done.exit_code == 0
    assert rows_of(done)["aspcap"][0] == "4"
    assert "note: nobody can tell whether it was ingested before: " in done.output


@one_database
def test_a_dry_run_writes_nothing(database: peewee.Database, tmp_path: Path, sample_visits: list[Path]) -> None:
    path = write_result_file(tmp_path / NAME, ASPCAP, 5, change=without_identifiers)
    astra("ingest", "--dry-run", path, *sample_visits)

    assert not any(model.select().exists() for model in (Source, ASPCAP, Spectrum, IngestedFile, RejectedResult))


@one_database
def test_rows_that_are_rejected_are_said_and_listed(database: peewee.Database, tmp_path: Path) -> None:
    done = astra("ingest", write_result_file(tmp_path / NAME, ASPCAP, 5, change=without_identifiers))
    listed = astra("rejected", "--reason", "not_ingested")

    assert done.exit_code == 3
    assert rows_of(done)["aspcap"] == ["4", "0", "0"]
    assert "1 row rejected, and kept in rejected_result (`astra rejected`)" in done.output
    assert "  1: it has no identifier of a source" in done.output
    assert listed.exit_code == 0
    assert "1 in all" in listed.output


@one_database
def test_other_contents_under_the_same_name_are_said_to_replace_it(database: peewee.Database, tmp_path: Path) -> None:
    astra("ingest", write_result_file(tmp_path / NAME, ASPCAP, 4))
    done = astra("ingest", write_result_file(tmp_path / NAME, ASPCAP, 6))

    assert "replaces a file of this name with other contents" in done.output
    assert rows_of(done)["aspcap"][0] == "2"


@one_database
def test_tables_that_are_not_there_are_one_line_with_a_remedy(database: peewee.Database, tmp_path: Path) -> None:
    database.drop_tables(BaseModel.concrete_models())

    done = astra("ingest", write_result_file(tmp_path / NAME, ASPCAP, 4))

    assert done.exit_code == 1
    assert done.output.startswith("error: SQLite database")
    assert "`astra init`" in done.output


def test_all_columns_are_named_and_reasons_beyond_a_few_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report = ResultFileReport("/somewhere/stars.fits", "mapped table", 1_000, "", superseded=1_234)
    report.tables = {"source": Counter(inserted=930)}
    report.reasons = Counter({f"reason {number}": 10 for number in range(7)})
    report.rejected = 70
    report.unplaced = [("1", f"column_{number}", "no table has it") for number in range(3)]
    report.notes = ["[odd] unit"]

    cli_ingest._show(report)

    said = capsys.readouterr()
    assert "1,234 rows of something that a later row has again; the later one is taken" in said.out
    assert "columns that have nowhere to go:\n  1, no table has it: column_0, column_1, column_2\n" in said.out
    assert "note: [odd] unit\n" in said.out
    assert "70 rows rejected" in said.err
    assert "  20: other reasons\n" in said.err


@pytest.mark.parametrize("arguments", [("--help",), ("files", "--help")])
def test_the_help_is_that_of_the_usual_command(arguments: tuple[str, ...]) -> None:
    shown = astra("ingest", *arguments)

    assert shown.exit_code == 0
    for word in ("FILE...", "--mapping", "--dry-run", "--again", "astra ingest spectra FILE..."):
        assert word in shown.output


@one_database
def test_a_file_may_be_named_as_a_command_is(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result_file(tmp_path / "spectra", ASPCAP, 2)
    monkeypatch.chdir(tmp_path)

    assert astra("ingest", "./spectra").exit_code == 0
    assert ASPCAP.select().count() == 2


@pytest.fixture
def sample_visits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from astra_orchestration.sample import make_sample

    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder, stars=1)
    return sorted((folder / "visits").glob("*.fits"))


# ---- files of spectra that are known


def test_spectra_that_are_known_are_said_to_be(database: peewee.Database, tmp_path: Path) -> None:
    sample = make_sample(tmp_path / "sample", stars=2)
    pattern = tmp_path / "sample" / "**" / "*.fits"
    first = astra("ingest", "spectra", pattern)
    assert "known already" not in first.output
    again = astra("ingest", "spectra", pattern)
    refused = first.output.count("refused /")
    assert again.output.count("refused /") == refused > 0
    good = len(sample.files) - refused
    line = f"known already: {good} ingested and {refused} refused, unchanged since (--again reads them again)"
    assert line in " ".join(again.output.split())
    assert rows_of(again)["boss_visit_spectrum"] == ["0", "0", rows_of(first)["boss_visit_spectrum"][0]]

    visit = Path(BossVisitSpectrum.get().path)
    times, content = visit.stat(), bytearray(visit.read_bytes())
    content[-1] ^= 1
    visit.write_bytes(content)
    os.utime(visit, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "changed /" not in astra("ingest", "spectra", pattern).output
    verified = " ".join(astra("ingest", "spectra", pattern, "--verify").output.split())
    assert f"changed {visit}: its bytes have changed, although its size and time are the same" in verified
    assert "known already" not in astra("ingest", "spectra", pattern, "--again").output


# ---- many files


@pytest.fixture
def many(tmp_path: Path) -> str:
    """Give a pattern of a thousand files that are refused for one reason, and of two for others."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1_000):
        (folder / f"night-{number:04}.fits").write_text(f"no FITS file, {number}")
    for name in ("empty-1.fits", "empty-2.fits"):
        (folder / name).touch()
    return str(folder / "*.fits")


@one_database
@pytest.mark.parametrize("command", [("ingest", "spectra"), ("ingest",)])
def test_what_is_refused_for_one_reason_is_said_once(
    database: peewee.Database, many: str, command: tuple[str, ...]
) -> None:
    done = astra(*command, many)
    assert done.exit_code == 1
    empty, night, hint = [line for line in done.stderr.splitlines() if "refused" in line or "-v" in line]
    folder = many.removesuffix("/*.fits")
    assert empty == f"refused 2 files: it is empty; fetch it again: {folder}/empty-1.fits, {folder}/empty-2.fits"
    assert night.startswith("refused 1,000 files: it is not a FITS file")
    named = ", ".join(f"{folder}/night-000{number}.fits" for number in range(3))
    assert night.endswith(f": {named} and 997 more")
    assert hint == "-v names them all, and so does --json"
    each = [line for line in astra(*command, many, "-v").stderr.splitlines() if line.startswith("refused")]
    assert len(each) == 1_002 and f"refused {folder}/night-0999.fits: it is not a FITS file" in each[-1]
    refused = json.loads(astra(*command, many, "--json").stdout)["data"]["refused"]
    assert len(refused) == 1_002 and refused[-1]["path"] == f"{folder}/night-0999.fits"


def test_reasons_that_differ_in_numbers_are_told_by_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    tell_refusals(Refusal(f"{number}.fits", f"{number}.fits: it ends at byte {number}") for number in (7, 81))
    assert capsys.readouterr().err == "refused 2 files: it ends at byte 7 (the first of them): 7.fits, 81.fits\n"
    reasons = "abcdefghijklmnopqrstuvwxyz"
    tell_refusals(Refusal("x.fits", f"why {letter}") for letter in reasons)
    assert capsys.readouterr().err.splitlines()[-1] == "refused 6 more files, for 6 other reasons: -v names them all"
