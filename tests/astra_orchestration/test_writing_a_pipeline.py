"""An author's way: `astra new pipeline`, and the page about it, followed outside the checkout with Astra as a wheel."""

import ast
import re
import shlex
from pathlib import Path

import peewee
import pytest
from outside import ROOT, Machine
from typer.testing import CliRunner

from astra_models.errors import ModelError, PipelineNameError
from astra_models.fields import FloatField
from astra_models.pipeline import PipelineOutputMixin
from astra_orchestration.cli.main import app
from astra_orchestration.cli.new import FILES, model_name, require_free_name, write_package

PAGE = ROOT / "docs" / "writing-a-pipeline.md"
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)
TITLED = "tests/test_brightness.py"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


# ---- the page


def steps() -> list[str]:
    """Give what the page says to do, as lines of a shell: its commands, and the files that it shows."""
    lines = []
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["language"] == "console":
            lines += [line.removeprefix("$ ") for line in block["text"].splitlines() if line.startswith("$ ")]
        elif block["file"]:
            lines.append(f"printf %s {shlex.quote(block['text'])} > {block['file']}")
    return lines


@pytest.fixture(scope="module")
def followed(machine: Machine) -> Path:
    """Give the folder of the pipeline that comes about by doing what the page says, in order."""
    machine.run("\n".join(steps()))
    return machine.home / "brightness"


def query(machine: Machine, sql: str) -> list[tuple]:
    database = peewee.SqliteDatabase(str(machine.home / "astra.db"))
    with database.connection_context():
        return database.execute_sql(sql).fetchall()


def test_nothing_of_the_checkout_is_in_reach(machine: Machine, followed: Path) -> None:
    shown = machine.run(
        "python -c 'import astra_models, astra_orchestration as o; print(astra_models.__file__, o.__file__)'"
    )
    assert all(Path(path).is_relative_to(machine.venv) for path in shown.split())


def test_the_page_leads_to_results_of_every_visit(machine: Machine, followed: Path) -> None:
    [(visits,)] = query(machine, "SELECT count(*) FROM boss_visit_spectrum")
    found = query(machine, "SELECT count(*), count(median_flux), count(snr) FROM brightness")
    assert found == [(visits, visits, visits)]
    assert visits >= 20


def test_the_added_column_has_a_migration_in_the_package(machine: Machine, followed: Path) -> None:
    assert [path.name for path in sorted((followed / "brightness" / "migrations").glob("0*.py"))] == [
        "0001_add_brightness_n_good.py"
    ]
    assert "n_good" in {name for (name,) in query(machine, "SELECT name FROM pragma_table_info('brightness')")}
    shown = machine.run("astra migrate status", ASTRA_DATABASE_PATH=str(machine.home / "astra.db"))
    assert "0001_add_brightness_n_good" in shown


def test_the_shown_asset_takes_the_results(machine: Machine, followed: Path) -> None:
    program = (
        "from definitions import defs\n"
        "import dagster as dg\n"
        "result = dg.materialize([defs.get_assets_def('brightest'), defs.get_assets_def('brightness')],\n"
        "    resources=defs.resources, selection='brightest')\n"
        "print('the brightest is', result.output_for_node('brightest'))\n"
    )
    database = str(machine.home / "astra.db")
    shown = machine.run(f"python -c {shlex.quote(program)}", followed, ASTRA_DATABASE_PATH=database)
    [(brightest,)] = query(machine, "SELECT spectrum_pk FROM brightness ORDER BY median_flux DESC LIMIT 1")
    assert f"the brightest is {brightest}" in shown


def test_the_asset_appears_in_the_code_location(machine: Machine, followed: Path) -> None:
    program = (
        "from astra_orchestration.definitions import defs\n"
        "asset = defs.get_assets_def('brightness')\n"
        "[metadata] = asset.metadata_by_key.values()\n"
        "print([(c.name, c.tags.get('unit')) for c in metadata['dagster/column_schema'].columns if 'flux' in c.name])\n"
    )
    shown = machine.run(f"python -c {shlex.quote(program)}", ASTRA_DATABASE_PATH=":memory:")
    assert "[('median_flux', '1e-17 erg / (Angstrom s cm2)')]" in shown


def test_the_shown_tests_are_short() -> None:
    [tests] = [block["text"] for block in BLOCK.finditer(PAGE.read_text()) if block["file"] == TITLED]
    functions = [node for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert len(lengths) == 4
    assert all(length <= 10 for length in lengths.values()), lengths


def test_the_entry_point_that_the_page_shows_is_the_packages(followed: Path) -> None:
    [shown] = [block["text"] for block in BLOCK.finditer(PAGE.read_text()) if block["language"] == "toml"]
    assert shown in (followed / "pyproject.toml").read_text()


# ---- the package that is written


def test_what_is_written_installs_passes_its_tests_and_runs(machine: Machine) -> None:
    work = machine.folder / "work"
    work.mkdir()
    shown = machine.run(
        "pip install --quiet astra-orchestration\n"
        "astra new pipeline line_depth --in nested/folder\n"
        "cd nested/folder/line_depth\n"
        "pip install --quiet -e '.[test]'\n"
        "pytest -q\n"
        "astra init\n"
        "astra sample --stars 2 --folder sample\n"
        "astra ingest spectra 'sample/visits/*.fits'\n"
        "astra run line_depth\n"
        "astra status\n",
        work,
        ASTRA_DATABASE_PATH=str(work / "astra.db"),
    )
    assert "3 passed" in shown
    database = peewee.SqliteDatabase(str(work / "astra.db"))
    with database.connection_context():
        [(results, with_flux)] = database.execute_sql("SELECT count(*), count(median_flux) FROM line_depth").fetchall()
    assert results == with_flux > 0
    assert "line_depth" in shown


def test_it_is_clean_for_its_linter_and_has_no_placeholder_left(tmp_path: Path) -> None:
    for file in write_package("line_depth", tmp_path / "line_depth"):
        text = (tmp_path / "line_depth" / file).read_text()
        assert "$" not in text.replace("$PWD", "")
        assert max(map(len, text.splitlines())) <= 120
        if file.endswith(".py"):
            ast.parse(text)


def test_an_outside_pipeline_takes_few_lines(tmp_path: Path) -> None:
    written = write_package("line_depth", tmp_path / "line_depth")
    lines = {file: len((tmp_path / "line_depth" / file).read_text().splitlines()) for file in written}
    assert len(written) == len(FILES) == 6
    assert sum(count for file, count in lines.items() if file.startswith("line_depth/")) <= 60
    assert sum(lines.values()) <= 160


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Line-Depth", "such as line_depth"),
        ("class", "lower-case letters"),
        ("1st", "such as st"),
        ("", "lower-case letters"),
        ("corv", "'corv' is the name of a pipeline already; take another, such as my_corv"),
        ("source", r"a table, that of astra_models\.source\.Source already"),
        ("bossnet", r"a table, that of astra_models\.bossnet\.BossNet"),
        ("boss_net", r"a table, that of astra_models\.bossnet\.BossNet"),
        ("numpy", "an installed package or module"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, why: str) -> None:
    with pytest.raises(PipelineNameError, match=why):
        require_free_name(name)


def test_the_name_of_a_model_follows_from_the_pipelines() -> None:
    assert [model_name(name) for name in ("corv", "line_depth", "co2_depth")] == ["Corv", "LineDepth", "Co2Depth"]


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "line_depth" / "notes.txt"
    there.parent.mkdir()
    there.write_text("mine")
    result = CliRunner().invoke(app, ["new", "pipeline", "line_depth"])
    assert result.exit_code == 1
    assert "is there already, and nothing is overwritten" in " ".join(result.output.split())
    assert [path.name for path in there.parent.iterdir()] == ["notes.txt"]
    assert there.read_text() == "mine"


def test_an_empty_folder_and_one_that_is_not_there_are_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "line_depth").mkdir()
    for arguments in (["line_depth"], ["line_width", "--in", "not/there"]):
        assert CliRunner().invoke(app, ["new", "pipeline", *arguments]).exit_code == 0
    assert (tmp_path / "line_depth" / "line_depth" / "model.py").exists()
    assert (tmp_path / "not" / "there" / "line_width" / "tests" / "test_line_width.py").exists()


def test_a_pipeline_of_a_table_that_a_notebook_defined_is_refused() -> None:
    class LineWidth(PipelineOutputMixin):
        width = FloatField(null=True, unit="Angstrom")

    with pytest.raises(ModelError, match="table 'line_width'"):
        type("LineWidth", (PipelineOutputMixin,), {"__module__": "line_width.model"})
