"""What ``astra --help`` shows, in the form of the help of the commands, without importing them or typer."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from astra_orchestration.cli.contents import ABOUT, CONTENTS, VERSION_OPTION
from astra_orchestration.cli.streams import silence

__all__ = ["print_overview"]

OPTIONS = {
    "--version": ("", VERSION_OPTION),
    "--install-completion": ("", "Install completion for the current shell."),
    "--show-completion": (
        "",
        "Show completion for the current shell, to copy it or customize the installation.",
    ),
    "--help": ("-h", "Show this message and exit."),
}


class _PatientConsole(Console):
    def on_broken_pipe(self) -> None:
        """Say nothing to a reader that has gone (``| head``)."""
        silence(self.file)


def print_overview() -> None:
    """Print how ``astra`` is called, its options, and its commands with a line each."""
    width = os.environ.get("TERMINAL_WIDTH")
    console = _PatientConsole(highlight=False, width=int(width) if width else None)
    usage = Text.assemble(("Usage: ", "yellow"), f"{_program()} [OPTIONS] COMMAND [ARGS]...")
    console.print(Padding(usage, 1), style="bold")
    console.print(Padding(ABOUT, (0, 1, 1, 1)))
    options = _table({"style": "bold cyan"}, {"style": "bold green"}, {"ratio": 10})
    for name, (short, does) in OPTIONS.items():
        options.add_row(name, short, does)
    longest = max(map(len, CONTENTS))
    commands = _table({"style": "bold cyan", "no_wrap": True, "width": longest}, {"ratio": 10})
    for name, entry in CONTENTS.items():
        commands.add_row(name, entry.does)
    for title, table in (("Options", options), ("Commands", commands)):
        console.print(Panel(table, border_style="dim", title=title, title_align="left"))
    console.print()


def _table(*columns: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, expand=True, box=None, pad_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(**column)
    return table


def _program() -> str:
    """Say how the program was called, as typer says it."""
    called, main = sys.argv[0], sys.modules["__main__"]
    if os.path.basename(called) == "__main__.py" and main.__package__:
        return f"python -m {main.__package__}"
    return os.path.basename(called)
