"""The pages about commands that `make docs` makes from the code of the commands."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from astra_orchestration.cli.main import app

ROOT = Path(__file__).parents[2]


def generator() -> ModuleType:
    """Import the script, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("command_pages", ROOT / "docs" / "command_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()
COMMANDS = dict(GENERATOR.commands())
PAGES = GENERATOR.command_pages()


@pytest.mark.parametrize("names", COMMANDS, ids=GENERATOR.title)
def test_a_page_names_all_that_the_help_of_its_command_names(names: tuple[str, ...]) -> None:
    page = PAGES[GENERATOR.page_of(names)]
    helped = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert helped.exit_code == 0, helped.output
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"`[^`]*`", "", helped.output)))
    assert options <= set(re.findall(r"--[a-z][a-z-]+", page))
    assert page.startswith(f"# astra {' '.join(names)}\n")
    assert "`" * 4 not in page


@pytest.mark.parametrize("names", COMMANDS, ids=GENERATOR.title)
def test_help_has_its_short_way_everywhere(names: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, [*names, option]) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)


def test_many_choices_leave_room_for_what_is_said_of_them() -> None:
    assert r"| `--reason` `<exception\|no_result\|crash\|" in PAGES["commands/run.md"]
    assert r"| `--rerun <due\|failed\|all>` | " in PAGES["commands/run.md"]


def test_no_mark_of_the_terminal_is_left() -> None:
    assert not [path for path, page in PAGES.items() if re.search(r"\[/?(bold|dim|italic)?\]", page)]


def test_every_command_is_listed() -> None:
    listed: Any = re.findall(r"^\| \[`astra ([^`]+)`\]\(([^)]+)\)", PAGES[GENERATOR.ALL_COMMANDS], re.MULTILINE)
    assert [tuple(names.split()) for names, _ in listed] == list(COMMANDS)
    assert all(f"commands/{page}" in PAGES for _, page in listed)
    assert {("ingest", "spectra"), ("migrate", "up"), ("status",)} <= set(COMMANDS)
