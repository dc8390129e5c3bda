"""What commands import: Dagster takes a second to import, and most of them have no use for it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from astra_orchestration.cli import overview
from astra_orchestration.cli.contents import CONTENTS
from astra_orchestration.cli.main import app

ROOT = Path(__file__).parents[2]
OF_DAGSTER = {"materialize", "ui", "web", "watch", "backup", "restore"}
"""Commands that start Dagster, or look after what it keeps."""
TRAINING = "train snow_white"
"""It takes long: what it imports is imported without it."""

WITHOUT_DAGSTER = (
    "--help",
    "--version",
    "version",
    "init",
    "check-schema",
    "migrate status",
    "migrate up",
    "migrate make astra_pipeline_less",
    "sample --stars 2 --folder survey",
    "ingest files nothing.fits",
    "ingest spectra 'survey/**/*.fits'",
    "mapping list",
    "mapping show apogee_dr12_hipparcos",
    "mapping guess stars.csv",
    "run rocket --limit 1",
    "run snow_white --dry-run",
    "status --why",
    "status --exact --json",
    "explain 101000000",
    "query 'select count(*) from source'",
    "rows rocket --json",
    "export source --output sources.csv",
    "rejected",
    "replay --all",
    "leases",
    "grids list",
    "grids fetch da --from nothing.whl",
    "grids add own nothing",
    "new pipeline line_depth --in packages",
    "train the_cannon --labels labels.ecsv --to model.npz",
    "adopt there --into here",
    "alerts",
)

PROGRAM = """
import json, os, shlex, sys
import astra_orchestration.cli.start

def call(words):
    # A process of its own, in which nothing of ours is imported but the first module.
    sys.argv = ["astra", *words]
    sys.stdout = open(os.devnull, "w")
    sys.stderr = open(os.devnull, "w")
    try:
        astra_orchestration.cli.start.main()
        code = 0
    except SystemExit as end:
        code = end.code
    return {"code": code, "dagster": "dagster" in sys.modules, "ours": "astra_models.base" in sys.modules}

found = {}
for command in json.loads(sys.argv[1]):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(call(shlex.split(command))).encode())
        os._exit(0)
    os.close(writing)
    found[command] = json.loads(os.read(reading, 10_000))
    os.waitpid(child, 0)
print(json.dumps(found))
"""


def astra(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-X", "importtime", "-m", "astra_orchestration.cli", *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "120"} | variables
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=100, check=False)


def imported(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """Give the modules that a process has imported."""
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Give what commands have imported when they are done, called one after the other on one database."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "stars.csv").write_text("ra,dec\n1,2\n")
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(WITHOUT_DAGSTER)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "ASTRA_DATABASE_PATH": "astra.db", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (folder / "astra.db").is_file()
    return json.loads(shown.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", WITHOUT_DAGSTER)
def test_a_command_that_has_no_use_for_dagster_does_not_import_it(
    called: dict[str, dict[str, object]], command: str
) -> None:
    assert not called[command]["dagster"]


def test_most_of_these_calls_do_what_they_are_for(called: dict[str, dict[str, object]]) -> None:
    done = {command for command, found in called.items() if found["code"] in (0, None)}
    assert {"init", "run rocket --limit 1", "status --why", "status --exact --json", "explain 101000000"} <= done
    assert {"query 'select count(*) from source'", "rows rocket --json", "export source --output sources.csv"} <= done


def test_every_command_is_called_or_is_one_of_dagster() -> None:
    spec = importlib.util.spec_from_file_location("command_pages", ROOT / "docs" / "command_pages.py")
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    names = {" ".join(words) for words, _ in pages.commands()}
    missing = {name for name in names if not any(f"{call} ".startswith(f"{name} ") for call in WITHOUT_DAGSTER)}
    assert missing == {*OF_DAGSTER, TRAINING}


FOR_ITSELF = (
    "backup kept --only results",
    "restore kept --only results --force",
    "watch",  # there is nothing of Dagster's to look at
    "ui --stop",
    "ui --port 99999999",
    "materialize --stars none",
    *(f"{name} --help" for name in sorted(OF_DAGSTER)),
)
"""What commands that look after Dagster's records do without them, one after the other."""


@pytest.fixture(scope="module")
def in_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, bool]]:
    """Give how processes of their own ended, and whether they imported Dagster; all in a folder with a database."""
    folder = tmp_path_factory.mktemp("processes")
    here = {"ASTRA_DATABASE_PATH": str(folder / "astra.db"), "HOME": str(folder)}
    astra("init", **here)
    (folder / "home").mkdir()
    homes = {"ui --stop": {"DAGSTER_HOME": str(folder / "home")}}
    found = {}
    for command in FOR_ITSELF:
        done = astra(*command.replace("kept", str(folder / "kept")).split(), **here, **homes.get(command, {}))
        found[command] = done.returncode, "dagster" in imported(done)
    done = astra("backup", str(folder / "both"), **here, DAGSTER_HOME=str(folder / "home"))
    found["backup both"] = done.returncode, "dagster" in imported(done)
    return found


@pytest.mark.parametrize("command", FOR_ITSELF)
def test_a_command_of_dagster_does_not_import_it_for_what_is_not_of_dagster(
    in_processes: dict[str, tuple[int, bool]], command: str
) -> None:
    code, with_dagster = in_processes[command]
    wrong = {"watch": 1, "ui --port 99999999": 2, "materialize --stars none": 2}
    assert (code, with_dagster) == (wrong.get(command, 0), False)


def test_dagsters_own_records_are_read_by_its_configuration(in_processes: dict[str, tuple[int, bool]]) -> None:
    assert in_processes["backup both"] == (0, True)


def test_training_imports_no_dagster() -> None:
    program = "import sys, astra_orchestration.pipelines.snow_white.training; print('dagster' in sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


# ---- what needs no command


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_and_version_import_neither_tables_nor_numbers(option: str) -> None:
    done = astra(option)
    assert done.returncode == 0
    assert "astra_orchestration.cli.start" in imported(done)
    assert not {"numpy", "peewee", "typer", "dagster", "astropy", "astra_models.base"} & imported(done)


def test_the_version_is_the_one_that_the_command_says() -> None:
    assert astra("--version", ASTRA_VERSION="1.2.3").stdout == "astra 1.2.3 (v_astra 1002003)\n"
    assert astra("version", ASTRA_VERSION="1.2.3").stdout == "astra 1.2.3 (v_astra 1002003)\n"
    wrong = astra("--version", ASTRA_VERSION="many")
    assert wrong.returncode == 2
    assert "error: " in wrong.stderr


def words(text: str, start: str) -> list[str]:
    """Give the words of a help from a heading on, without frames, however its lines are broken."""
    found = [word for word in text.split() if not set(word) <= set("╭─╮│╰╯")]
    return found[found.index(start) :]


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_the_help_says_of_every_command_what_the_command_says(width: str) -> None:
    shown = astra("--help", COLUMNS=width)
    made = CliRunner().invoke(app, ["--help"], env={"COLUMNS": width})
    assert (shown.returncode, made.exit_code) == (0, 0)
    assert words(shown.stdout, "Commands") == words(made.output, "Commands")


def test_the_help_has_the_options_that_there_are() -> None:
    group = get_command(app)
    context = group.context_class(group, info_name="astra", help_option_names=["-h", "--help"])
    options = {max(each.opts, key=len): each.help for each in group.get_params(context)}
    assert options == {name: text for name, (_, text) in overview.OPTIONS.items()}


def test_the_contents_are_what_there_is() -> None:
    group = get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert command.name == name
        assert " ".join((command.help or "").split("\n\n")[0].split()) == CONTENTS[name].does
    modules = {path.stem for path in (ROOT / "astra_orchestration" / "cli").glob("*.py")}
    with_commands = {name for name in modules if f"{name}_commands = " in source(name)}
    assert with_commands == {entry.module for entry in CONTENTS.values()} - {"main"}


def source(module: str) -> str:
    return (ROOT / "astra_orchestration" / "cli" / f"{module}.py").read_text()


def test_an_unknown_command_is_refused_with_the_nearest_name() -> None:
    done = CliRunner().invoke(app, ["statsu"])
    assert done.exit_code == 2
    assert "status" in done.output
