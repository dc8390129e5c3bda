"""What all commands share in a terminal: their group, tables, progress bars, and the configured database."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.table import Table
from typer.core import TyperGroup

from astra_orchestration.cli.answers import answer, begin
from astra_orchestration.cli.consoles import (
    AsJson,
    IntoFile,
    complain,
    console,
    errors,
    escaped,
    print_plainly,
    say,
    silence,
)
from astra_orchestration.cli.ending import finished, with_whole_answer
from astra_orchestration.cli.exit_codes import FAILED
from astra_orchestration.cli.interrupts import note_progress
from astra_orchestration.cli.streams import why_unwritten
from astra_orchestration.cli.wrong_values import guard

__all__ = [
    "AsJson",
    "AstraGroup",
    "IntoFile",
    "complain",
    "connect_to_configured",
    "console",
    "errors",
    "escaped",
    "flush_output",
    "make_tables",
    "named_as_pipeline",
    "print_plainly",
    "progress_bar",
    "require_configured",
    "rows_bar",
    "run_bar",
    "say",
    "silence",
    "table",
    "used_database",
    "where",
]

if TYPE_CHECKING:
    from astra_models.analysis.stream import Progress
    from astra_models.base import BaseModel

CountedOf = Callable[[int, int], None]
"""Takes how many are done, and how many there are."""

# Each command that needs a database says so itself, by an error. The commands import `astra_models` where they use it:
# so ``astra --help`` is fast, and a wrong configuration is an error of one line.
warnings.filterwarnings("ignore", message="no database is configured")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


def flush_output() -> None:
    """Write what is still buffered, if there is somebody to read it; exit with 1 if it can't be written."""
    for stream in (sys.stdout, sys.stderr):
        if why := why_unwritten(stream):
            complain(f"[bold red]error:[/] {why}")
            raise SystemExit(FAILED)


class AstraGroup(TyperGroup):
    """Commands that show errors which users can cause as one line, without a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what is before the command; what is wrong in it is said as what is wrong after it."""
        if ctx.parent is not None or ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        begin(args)
        note_progress(0, 0, "")
        return finished(lambda: super(AstraGroup, self).parse_args(ctx, args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and remember which it is."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None:
            answer().words.append(name)
            guard(command)
        return name, command, rest

    def invoke(self, ctx: Any) -> object:
        """Run a command; if it fails, exit with the code of `astra_orchestration.cli.exit_codes`."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        return finished(lambda: with_whole_answer(lambda: super(AstraGroup, self).invoke(ctx)))


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


def named_as_pipeline(model: str) -> str:
    """Give the name of a model's table, which is what its pipeline is called; of one that isn't here, its own."""
    from astra_models import outputs
    from astra_models.errors import SelectionError

    with suppress(SelectionError):
        return str(outputs.model_named(model)._meta.table_name)
    return model


def used_database() -> dict[str, object]:
    """Name the configured database, for programs."""
    from astra_models.base import bound_schema, database
    from astra_models.database.retry import describe

    return {"database": describe(database), "schema": bound_schema()}


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
    with Progress(*columns, console=errors, disable=not errors.shows_progress) as bar:
        shown = bar.add_task(what, total=total)

        def advance(done: int) -> None:
            note_progress(done, total, what)
            bar.update(shown, completed=done)

        note_progress(0, total, what)
        yield advance
        note_progress(0, 0, what)
        bar.update(shown, completed=total)


@contextmanager
def run_bar(total: int) -> "Iterator[Callable[[Progress], None]]":
    """Show a progress bar of a run, with its rate and its workers; gives the function that is told of progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("spectra"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, TimeRemainingColumn(), console=errors, disable=not errors.shows_progress) as bar:
        shown = bar.add_task("", total=total)

        def advance(progress: "Progress") -> None:
            note_progress(progress.done, total, "spectra")
            text = f"{progress.per_second:.1f} per second"
            if progress.usage is not None and progress.usage.peak_memory:
                memory = max(progress.usage.peak_memory.values()) / 1e6
                text += f", {progress.usage.workers} workers of at most {memory:.0f} MB"
            bar.update(shown, completed=progress.done, description=text)

        note_progress(0, total, "spectra")
        yield advance
        note_progress(0, 0, "spectra")
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
    with Progress(*columns, console=errors, transient=True, disable=not errors.shows_progress) as bar:
        checking = bar.add_task(f"checking {what}", total=None, unit="MB", size=1_000_000)
        rows = bar.add_task(what, total=None, visible=False, start=False, unit="rows", size=1)

        def checked(done: int, total: int) -> None:
            bar.update(checking, completed=done, total=total)
            if done == total:
                bar.update(checking, visible=False)
                bar.update(rows, visible=True)
                bar.start_task(rows)

        def written(done: int, total: int) -> None:
            note_progress(done, total, f"rows of {what}" if what != "rows" else what)
            bar.update(rows, completed=done, total=total)

        yield checked, written
        note_progress(0, 0, what)
