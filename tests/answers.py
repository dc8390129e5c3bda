"""What commands print for ``--json``, checked by the schema that is delivered."""

import functools
import importlib.util
import json
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
from typer.testing import Result

SCHEMA: dict[str, Any] = json.loads((files("astra_orchestration.cli") / "answer.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
SERVERS = {("ui",), ("web",)}
"""Commands that serve, and tell nothing."""


def document(text: str) -> Any:
    """Read what was printed, if it is as the schema says."""
    content = json.loads(text, parse_constant=_refuse)
    VALIDATOR.validate(content)
    return content


def data_of(done: Result, command: str, code: int = 0) -> Any:
    """Give the data of a command that ended with a code."""
    assert done.exit_code == code, done.output
    content = document(done.stdout)
    assert (content["command"], content["exit_code"]) == (command, code)
    return content["data"]


def command_pages() -> ModuleType:
    """Import the script that lists the commands, which is no part of a package."""
    path = Path(__file__).parents[1] / "docs" / "command_pages.py"
    spec = importlib.util.spec_from_file_location("command_pages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def all_commands() -> dict[tuple[str, ...], Any]:
    """Give the words of all commands, and their contexts."""
    return dict(command_pages().commands())


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
