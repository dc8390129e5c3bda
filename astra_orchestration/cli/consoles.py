"""The two streams of a command: what is said to people, and how it looks on a terminal, in a file and in a pipe."""

import os
import re
import sys
from functools import partial
from typing import IO, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from astra_orchestration.cli.answers import answer, output
from astra_orchestration.cli.streams import in_utf8, silence

__all__ = [
    "AsJson",
    "IntoFile",
    "PatientConsole",
    "complain",
    "complain_as_error",
    "console",
    "errors",
    "escaped",
    "new_console",
    "print_plainly",
    "say",
    "silence",
]

# As in `astra_models.messages`, which can't be imported to say that the configuration is wrong.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")


class PatientConsole(Console):
    """A console whose reader may go away (``| head``): the work goes on, without a word.

    While the answer is for a program, sentences become its messages, and standard output has nothing else.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print for people, and remember sentences for programs."""
        current = answer()
        if current.as_json:
            if objects and isinstance(objects[0], str):
                current.hear("warning" if self.stderr else "note", Text.from_markup(objects[0], emoji=False).plain)
            if not self.stderr:
                return
        super().print(*objects, **options)

    @property
    def file(self) -> IO[str]:
        """Where it prints: the file that the answer goes into, if there is one."""
        return super().file if self.stderr or answer().text is None else output()

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    @property
    def shows_progress(self) -> bool:
        """Whether a line can be written again and again: on a terminal that knows how."""
        return self.is_terminal and not self.is_dumb_terminal and not answer().as_json

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True
        silence(self.file)


def print_plainly(text: str, end: str = "\n") -> None:
    """Print text for programs as it is, on lines of any length."""
    stream = in_utf8(output())
    try:
        stream.write(f"{text}{end}")
        stream.flush()
    except BrokenPipeError:
        silence(stream)


def new_console(stderr: bool) -> PatientConsole:
    """Make a console: plain text where ``NO_COLOR`` is set, and of a fixed width where it isn't a terminal's."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stderr or stream.isatty() else 120
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return PatientConsole(stderr=stderr, highlight=False, emoji=False, width=width, color_system=colours)


console = new_console(stderr=False)
errors = new_console(stderr=True)
say = partial(console.print, soft_wrap=True)
complain = partial(errors.print, soft_wrap=True)


def complain_as_error(message: str, *, is_error: bool = True) -> None:
    """Say in one line why a command ends; programs hear of it by the one who calls this."""
    words = " ".join(message.split())
    begin = "[bold red]error:[/] " if is_error else ""
    super(PatientConsole, errors).print(f"{begin}{escaped(words)}", soft_wrap=True)


AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs, of one form for all commands.")]
"""The option of every command that tells something."""
IntoFile = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Into this new file; - is standard output.")
]
"""The option of commands whose answer one may want to keep."""


def escaped(text: str) -> str:
    """Give text that rich prints as it is, but for what a terminal would obey: that is shown as in a Python string."""
    from rich.markup import escape

    return escape(OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text))
