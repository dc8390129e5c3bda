"""``astra ingest``: whatever the files are, each is told apart by its content, and none takes another along."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import peewee
import pytest
from click.testing import Result
from typer.testing import CliRunner

from astra_models.aspcap import ASPCAP
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.ingest.results import ResultFileReport
from astra_models.ingest.sample_files import write_result_file
from astra_models.ingest.sources import IDENTIFIERS
from astra_models.ingested import IngestedFile
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_orchestration import cli_ingest
from astra_orchestration.cli import app

NAME = "astraAllStarASPCAP-0.8.1.fits.gz"
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

    assert done.exit_code == 1
    assert ASPCAP.select().count() == 3
    assert BossVisitSpectrum.select().count() == len(sample_visits)
    assert f"{len(sample_visits)} of {len(sample_visits)} file" in done.output
    refused = [line for line in done.output.splitlines() if line.startswith("refused")]
    assert len(refused) == 3
    assert "no file matches" in refused[0]
    assert f"{tmp_path}/broken.fits.gz: it is truncated" in refused[1]
    assert f"{tmp_path}/notes.fits: it is not a FITS file" in refused[2]


@one_database
def test_a_dry_run_says_what_would_happen_and_needs_no_database(tmp_path: Path, sample_visits: list[Path]) -> None:
    path = write_result_file(tmp_path / NAME, ASPCAP, 5, change=without_identifiers)

    done = astra("ingest", "--dry-run", path, *sample_visits)

    assert done.exit_code == 0, done.output
    assert "5 rows read" in done.output
    assert "nothing is written" in done.output
    assert rows_of(done)["aspcap"] == ["4"]
    assert "1 row would be rejected" in done.output
    assert "of spectra would be ingested" in done.output


@one_database
def test_a_dry_run_writes_nothing(database: peewee.Database, tmp_path: Path) -> None:
    astra("ingest", "--dry-run", write_result_file(tmp_path / NAME, ASPCAP, 5, change=without_identifiers))

    assert not any(model.select().exists() for model in (Source, ASPCAP, IngestedFile, RejectedResult))


@one_database
def test_rows_that_are_rejected_are_said_and_listed(database: peewee.Database, tmp_path: Path) -> None:
    done = astra("ingest", write_result_file(tmp_path / NAME, ASPCAP, 5, change=without_identifiers))
    listed = astra("rejected", "--reason", "not_ingested")

    assert done.exit_code == 0
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
    assert "rows that a later one of the same spectrum and version took the place of: 1,234" in said.out
    assert "columns that have nowhere to go:\n  1, no table has it: column_0, column_1, column_2\n" in said.out
    assert "note: [odd] unit\n" in said.out
    assert "70 rows rejected" in said.err
    assert "  20: other reasons\n" in said.err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("files", "--help")])
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
