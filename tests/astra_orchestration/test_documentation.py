"""What the documentation shows is run; the commands that it names exist."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
from typer.testing import CliRunner

from astra_models.base import bound_schema
from astra_models.corv import Corv
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_orchestration.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_python_of_the_readme_runs(
    memory_database: peewee.Database, make_spectra: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    good, noisy = make_spectra(2)
    Corv.from_spectrum(good, teff=30_000, v_rad=12.5).save()
    Corv.from_spectrum(noisy, teff=30_000, v_rad=-80, flag_low_snr=True).save()

    for block in code_blocks(ROOT / "README.md", "python"):
        exec(block, {})

    assert capsys.readouterr().out == f"{good.spectrum_pk} 12.5 None\n"


@pytest.fixture
def queried(database: peewee.Database, make_spectra: Callable, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Everything that the page about queries defines, on three stars with results of two versions."""
    spectra = make_spectra(3)
    for sdss_id, spectrum in zip((12345678, 2, 3), spectra, strict=True):
        flags = (1 << 5).to_bytes(1, "little") if sdss_id == 2 else None
        place = {"ra": 10.68, "dec": 41.27} if sdss_id == 12345678 else {}
        Source.update(sdss_id=sdss_id, sdss5_target_flags=flags, **place).where(
            Source.pk == spectrum.source_pk
        ).execute()
        for v_astra, teff in ((8_001, 9_000), (9_000, 12_000 + sdss_id % 10)):
            Corv.from_spectrum(spectrum, v_astra=v_astra, teff=teff, v_rad=sdss_id % 10).save()
            Rocket.from_spectrum(spectrum, v_astra=v_astra, teff=1).save()
    namespace: dict[str, Any] = {"__name__": "shown"}
    for block in code_blocks(ROOT / "docs" / "querying.md", "python"):
        exec(compile(block, "querying.md", "exec"), namespace)
    return namespace | {"printed": capsys.readouterr().out}


def test_the_shown_queries_give_what_the_page_says(queried: dict[str, Any]) -> None:
    counts = {name: value.count() for name, value in queried.items() if isinstance(value, peewee.ModelSelect)}
    assert counts == {
        "hot": 3,
        "good": 6,
        "targets": 1,
        "magnitudes": 6,
        "joined": 6,
        "newest": 3,
        "one_each": 3,
        "both": 3,
        "of_0_9": 3,
        "by_time": 3,
        "hot_ones": 1,
        "around": 1,
    }
    assert queried["matched"]["star", "sdss_id"].as_array().tolist() == [("a", 12345678)]
    assert len(queried["frame"]) == len(queried["compared"].matched) == 3
    assert queried["table"].column_names == ["teff", "sdss_id"]
    assert list(queried["bright"].columns) == ["teff", "sdss_id", "ra", "dec"]
    assert queried["result"].source_pk == Source.get(Source.sdss_id == 12345678).pk
    assert sorted(queried["sdss_ids"]) == [2, 2, 3, 3, 12345678, 12345678]
    assert {tuple(row) for row in queried["rows"]} == {("sdss_id", "g_mag", "teff")}
    assert "apo25m 59900" in queried["printed"]
    assert "Reduced chi-squared of the best fit" in queried["printed"]


def test_the_shown_sql_runs(queried: dict[str, Any], database: peewee.Database) -> None:
    [sql] = code_blocks(ROOT / "docs" / "querying.md", "sql")
    if schema := bound_schema():
        database.execute_sql(f'SET search_path = "{schema}"')
    assert sorted(database.execute_sql(sql).fetchall()) == [(2, 12_002, 2), (3, 12_003, 3), (12345678, 12_008, 8)]


def commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for line in page.read_text().splitlines():
            for command in re.findall(r"(?:^\$ |`)astra ((?:[a-z][a-z-]* ?)+)", line):
                yield page.name, command.split()


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_commands_that_the_documentation_names_exist(page: str, words: list[str]) -> None:
    known = {"ingest": {"spectra"}, "migrate": {"status", "up", "make"}, "new": {"pipeline"}}
    depth = 2 if words[0] in known and words[1:] else 1

    shown = CliRunner().invoke(app, [*words[:depth], "--help"])

    assert shown.exit_code == 0, f"{page}: astra {' '.join(words)}"
    assert "Example" in shown.output or depth < len(words) or words[0] in known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_that_the_documentation_names_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+)(?: [a-z]+)*:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", page.read_text(), re.MULTILINE)) <= targets
