"""What commands import: Dagster takes a second to import, and most of them have no use for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_DAGSTER = (
    ["--help"],
    ["version"],
    ["init"],
    ["check-schema"],
    ["migrate", "status"],
    ["status"],
    ["explain", "101000000"],
    ["rejected"],
    ["replay"],
    ["leases"],
    ["ingest", "files", "nothing.fits"],
    ["export", "source", "--output", "sources.csv"],
    ["grids", "list"],
)

PROGRAM = """
import json, sys
from typer.testing import CliRunner
from astra_orchestration.cli.main import app
done = {}
for command in json.loads(sys.argv[1]):
    CliRunner().invoke(app, command)
    done[" ".join(command)] = "dagster" in sys.modules
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def imported_by(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Give which commands have imported Dagster when they are done, one after the other in one process."""
    folder = tmp_path_factory.mktemp("commands")
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(WITHOUT_DAGSTER)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "ASTRA_DATABASE_PATH": "astra.db"}
        | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert (folder / "astra.db").is_file()
    return json.loads(shown.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", [" ".join(command) for command in WITHOUT_DAGSTER])
def test_a_command_that_has_no_use_for_dagster_does_not_import_it(imported_by: dict[str, bool], command: str) -> None:
    assert not imported_by[command]
