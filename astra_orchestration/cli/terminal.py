"""What all commands share in a terminal: how they print, how their errors look, and the configured database."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from astra_orchestration.cli.exit_codes import FAILED, INTERRUPTED, TERMINATED, code_of
from astra_orchestration.cli.interrupts import ENDED, Terminated
from astra_orchestration.cli.wrong_values import in_plain_words

if TYPE_CHECKING:
    from astra_models.analysis.stream import Progress
    from astra_models.base import BaseModel

CountedOf = Callable[[int, int], None]
"""Takes how many are done, and how many there are."""

# Each command that needs a database says so itself, by an error. The commands import `astra_models` where they use it:
# so ``astra --help`` is fast, and a wrong configuration is an error of one line.
warnings.filterwarnings("ignore", message="no database is configured")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

# As in `astra_models.messages`, which can't be imported to say that the configuration is wrong.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")


class PatientConsole(Console):
    """A console whose reader may go away (``| head``): the work goes on, without a word."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True
        silence(self.file)


def silence(stream: IO[str]) -> None:
    """Lead a stream that nobody reads into nothing."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def flush_output() -> None:
    """Write what is still buffered, if there is somebody to read it; exit with 1 if it can't be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)
        except OSError as error:
            silence(stream)
            complain(f"[bold red]error:[/] the output can't be written: {error.strerror}")
            raise SystemExit(FAILED) from error


def print_plainly(text: str, end: str = "\n") -> None:
    """Print text for programs as it is, on lines of any length."""
    try:
        sys.stdout.write(f"{text}{end}")
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)


console = PatientConsole(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120)
errors = PatientConsole(stderr=True, highlight=False, emoji=False)
say = partial(console.print, soft_wrap=True)
complain = partial(errors.print, soft_wrap=True)


class AstraGroup(TyperGroup):
    """Commands that show errors which users can cause as one line, without a traceback."""

    def invoke(self, ctx: Any) -> object:
        """Run a command; if it fails, exit with the code of `astra_orchestration.cli.exit_codes`."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except typer.BadParameter as error:
            raise in_plain_words(error) from error
        except Exception as error:
            known = error if is_user_error(error) else explained(error)
            if known is None:
                raise
            complain(f"[bold red]error:[/] {escaped(str(known))}")
            raise typer.Exit(code_of(known)) from error
        except KeyboardInterrupt as stop:
            complain(ENDED)
            raise typer.Exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from stop


def explained(error: Exception) -> Exception | None:
    """Give the error that names what disk or network did, if it was they."""
    if not isinstance(error, OSError) and not any(base.__name__ == "PeeweeException" for base in type(error).__mro__):
        return None
    from astra_models.base import database
    from astra_models.database.causes import explained

    return explained(database, error)


def is_user_error(error: Exception) -> bool:
    """Tell whether an error is one that a user can cause."""
    # By name: when the configuration is wrong, the import that would give the class is what failed.
    return any(base.__name__ == "AstraError" for base in type(error).__mro__)


def escaped(text: str) -> str:
    """Give text that rich prints as it is, but for what a terminal would obey: that is shown as in a Python string."""
    from rich.markup import escape

    return escape(OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text))


def connect_to_configured(*models: "type[BaseModel]") -> None:
    """Make sure that a database is configured, isn't in memory, and can be used."""
    from astra_models.outputs.opening import connect

    require_configured()
    connect(*models)


def require_configured() -> None:
    """Make sure that a database is configured, and isn't in memory."""
    from astra_models.base import database
    from astra_models.database.config import is_in_memory
    from astra_models.errors import ConfigurationError

    if is_in_memory(database.obj):
        raise ConfigurationError(
            "no database is configured; name a SQLite file by `export ASTRA_DATABASE_PATH=var/astra.db`, or a database "
            "in ~/.config/sdss/astra/astra.yml"
        )


def make_tables() -> list[str]:
    """Make the tables of all kinds of spectra and of all pipelines, as far as they are missing; name them."""
    connect_to_configured()
    from astra_models.outputs import packages
    from astra_models.schema.migration import init

    return init(packages())


def where() -> str:
    """Name the configured database."""
    from astra_models.base import bound_schema, database
    from astra_models.database.retry import describe

    schema = f", schema {bound_schema()!r}" if bound_schema() else ""
    return escaped(f"{describe(database)}{schema}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Make a table of a first column of names and further ones of numbers."""
    table = Table()
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar; gives the function that sets how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task(what, total=total)
        yield lambda done: bar.update(shown, completed=done)
        bar.update(shown, completed=total)


@contextmanager
def run_bar(total: int) -> "Iterator[Callable[[Progress], None]]":
    """Show a progress bar of a run, with its rate and its workers; gives the function that is told of progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("spectra"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, TimeRemainingColumn(), console=console) as bar:
        shown = bar.add_task("", total=total)

        def advance(progress: "Progress") -> None:
            text = f"{progress.per_second:.1f} per second"
            if progress.usage is not None and progress.usage.peak_memory:
                memory = max(progress.usage.peak_memory.values()) / 1e6
                text += f", {progress.usage.workers} workers of at most {memory:.0f} MB"
            bar.update(shown, completed=progress.done, description=text)

        yield advance
        bar.update(shown, completed=total)


@contextmanager
def rows_bar(what: str) -> Iterator[tuple[CountedOf, CountedOf]]:
    """Show a progress bar with the speed.

    Gives two functions that set how much is done, and of how much: bytes of a file that are checked, and rows.
    """
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            unit, size = task.fields["unit"], task.fields["size"]
            speed = task.finished_speed or task.speed
            done = "" if task.total is None else f"{task.completed / size:,.0f} of {task.total / size:,.0f} {unit}"
            return Text(done if speed is None else f"{done}, {speed / size:,.0f} {unit}/s")

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        checking = bar.add_task(f"checking {what}", total=None, unit="MB", size=1_000_000)
        rows = bar.add_task(what, total=None, visible=False, start=False, unit="rows", size=1)

        def checked(done: int, total: int) -> None:
            bar.update(checking, completed=done, total=total)
            if done == total:
                bar.update(checking, visible=False)
                bar.update(rows, visible=True)
                bar.start_task(rows)

        yield checked, lambda done, total: bar.update(rows, completed=done, total=total)
