"""Into files and pipes, on dumb terminals and where colours aren't wanted, commands print plain text."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.answers import SERVERS, all_commands

pytestmark = pytest.mark.long_on_each

COLOURS = re.compile(r"\x1b\[[\d;]*m")
FORCING = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "COLUMNS")

PROGRAM = """
import json, sys
from astra_orchestration.cli.main import app
for command in json.loads(sys.argv[1]):
    print("@@", *command, flush=True)
    print("@@", *command, file=sys.stderr, flush=True)
    try:
        app(command)
    except SystemExit:
        pass
"""

COMMANDS = [
    ["init"],
    ["sample", "--stars", "2", "--folder", "sample"],
    ["ingest", "spectra", "sample/**/*.fits"],
    ["ingest", "files", "sample/visits/*.fits", "--dry-run"],
    ["ingest", "sample/**/*.fits", "nowhere.fits"],
    ["run", "rocket"],
    ["run", "rocket", "--rerun", "failed"],
    ["status"],
    ["status", "--why"],
    ["explain", "100000"],
    ["explain", "--spectrum-pk", "1"],
    ["rejected"],
    ["rejected", "--traceback"],
    ["replay", "--all"],
    ["leases"],
    ["rows", "source"],
    ["rows", "source", "--limit", "1", "--json"],
    ["query", "select pk, ra from source"],
    ["query", "select pk, ra from source", "--csv"],
    ["export", "source", "-o", "source.fits"],
    ["export", "source", "-o", "-"],
    ["export", "--product", "list"],
    ["check-schema"],
    ["migrate", "status"],
    ["migrate", "up"],
    ["migrate", "make", "astra_models"],
    ["mapping", "list"],
    ["mapping", "show", "apogee_dr12_hipparcos"],
    ["mapping", "guess", "source.fits"],
    ["grids", "list"],
    ["grids", "add", "own", "none.npz"],
    ["grids", "fetch", "da", "--from", "none.whl"],
    ["new", "pipeline", "line_depth"],
    ["alerts"],
    ["watch"],
    ["backup", "kept", "--only", "results"],
    ["restore", "kept", "--only", "results", "--force"],
    ["adopt", "astra_080"],
    ["train", "the_cannon"],
    ["train", "snow_white", "--grid", "none"],
    ["version"],
    ["materialize", "--stars", "0"],
    ["ui", "--stop"],
    ["--help"],
    ["run", "rocket", "--help"],
    ["fly"],
]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in FORCING}
    own |= {"ASTRA_DATABASE_PATH": str(folder / "astra.db"), "DAGSTER_HOME": str(folder)}
    return own | {"ASTRA_DATA": str(folder / "data"), "XDG_DATA_HOME": str(folder)} | variables


def test_each_command_is_among_those_that_are_tried() -> None:
    tried = {tuple(command[: len(names)]) for command in COMMANDS for names in all_commands()}
    assert set(all_commands()) - tried <= SERVERS


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Give what all commands print into pipes, one after the other in one process."""
    folder = tmp_path_factory.mktemp("piped")
    command = [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, TERM="xterm-256color"),
        capture_output=True,
        timeout=300,
        check=True,
    )
    return done.stdout.decode(), done.stderr.decode()


def test_pipes_get_plain_text(piped: tuple[str, str]) -> None:
    for printed in piped:
        assert re.findall(r"^@@ .*", printed, re.MULTILINE)[-len(COMMANDS) :] == [
            " ".join(["@@", *command]) for command in COMMANDS
        ]
        for odd in ("\x1b", "\r", "\x07", "\x08"):
            assert odd not in printed, printed[max(0, printed.index(odd) - 300) :][:400]
    assert "Traceback" not in piped[1]


def test_there_are_no_bars_in_pipes(piped: tuple[str, str]) -> None:
    assert not [line for line in "".join(piped).splitlines() if "━" * 10 in line and not line.startswith(("┏", "┡"))]


def on_terminal(folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command on a terminal, and give what it gets."""
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "astra_orchestration.cli", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder, **variables), stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    printed = b""
    while True:
        try:
            some = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not some:
            break
        printed += some
    os.close(parent)
    process.wait(60)
    return printed.decode()


SHOWN = [["init"], ["status"], ["run", "rockett"], ["ingest", "spectra", "sample/visits/*.fits"], ["version", "--json"]]


def test_terminals_get_what_they_know(tmp_path: Path) -> None:
    folder = tmp_path
    on_terminal(folder, "sample", "--stars", "2", "--folder", "sample", TERM="dumb")
    for arguments in SHOWN:
        dumb = on_terminal(folder, *arguments, TERM="dumb")
        assert "\x1b" not in dumb and "\r" not in dumb.replace("\r\n", ""), dumb
        without = on_terminal(folder, *arguments, TERM="xterm-256color", NO_COLOR="1")
        assert not COLOURS.search(without), without
    assert COLOURS.search(on_terminal(folder, "run", "rockett", TERM="xterm-256color"))
    assert "━" in on_terminal(folder, "ingest", "spectra", "sample/visits/*.fits", "--again", TERM="xterm-256color")
    helped = on_terminal(folder, "--help", TERM="xterm-256color", NO_COLOR="1")
    assert not re.search(r"\x1b\[(\d+;)*(3|4|9)\d", helped)
