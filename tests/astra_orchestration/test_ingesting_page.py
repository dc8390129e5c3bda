"""What the page about ingesting files shows is what happens."""

import re
import shlex
from pathlib import Path

import peewee
import pytest
import yaml
from typer.testing import CliRunner

from astra_models.aspcap import ASPCAP
from astra_orchestration.assets.result_files import ResultFileConfig
from astra_orchestration.cli.main import app
from astra_orchestration.sample.summary_file import write_result_file

PAGE = Path(__file__).parents[2] / "docs" / "ingesting.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def without_times(text: str) -> list[str]:
    """Give the lines, in any order: what goes to stderr has no place among the others."""
    return sorted(re.sub(r"in [\d.]+ s \([\d,]+ rows/s\)", "in no time", text).splitlines())


def test_the_shown_commands_print_what_the_page_says(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_result_file("astraAllStarASPCAP-0.6.0.fits.gz", ASPCAP, 500, style="dr19")
    [table], [mapping] = blocks("text"), [block for block in blocks("yaml") if "tables:" in block]
    Path("stars.csv").write_text(table)
    Path("stars.csv.yaml").write_text(mapping)

    for block in blocks("console"):
        command, shown = block.split("\n", 1)
        words = shlex.split(command.removeprefix("$ astra "))
        done = CliRunner().invoke(app, words)
        assert done.exit_code == (3 if "rejected, and kept" in shown else 0), done.output
        assert without_times(done.output) == without_times(shown)


def test_the_shown_configuration_is_one() -> None:
    [shown] = [block for block in blocks("yaml") if "ops:" in block]

    op = yaml.safe_load(shown)["ops"]["result_file"]
    config = ResultFileConfig(**op["config"])

    assert op.keys() == {"config"}
    assert op["config"].keys() == ResultFileConfig.model_fields.keys()
    assert config.path is not None
    assert not config.again
