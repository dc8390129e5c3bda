"""``astra``: the project from a terminal."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from astra_orchestration.rerun import Rerun

# Each command that needs a database says so itself, by an error.
warnings.filterwarnings("ignore", message="no database is configured")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True, highlight=False)
say = partial(console.print, soft_wrap=True)
complain = partial(errors.print, soft_wrap=True)


class AstraGroup(TyperGroup):
    """Commands whose errors, as far as users can cause them, are one line and not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; exit with 1 if it fails."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not _is_users(error):
                raise
            complain(f"[bold red]error:[/] {_escaped(str(error))}")
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=AstraGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Analyse stellar spectra, and keep the results.",
)
ingest = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Read files into the database.")
app.add_typer(ingest, name="ingest")


def main() -> None:
    """Run the command line."""
    app()


@app.command(epilog="Example: [bold]ASTRA_DATABASE_PATH=astra.db astra init[/]")
def init() -> None:
    """Make the tables that are missing, and the schema."""
    made = _make_tables()
    say(f"{_where()}: " + (f"made {', '.join(made)}" if made else "all tables are there, nothing was made"))


@app.command(epilog="Example: [bold]astra sample --stars 200 --seed 1[/]")
def sample(
    stars: Annotated[int, typer.Option(min=1, help="Number of stars.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same survey.")] = 1,
    folder: Annotated[str, typer.Option(help="Where the files go.")] = "var/sample",
) -> None:
    """Write a small survey of one's own: FITS files of the real formats, with known truth."""
    from astra_orchestration.sample import make_sample

    with _progress("stars", stars) as advance:
        summary = make_sample(folder, stars=stars, seed=seed, progress=advance)
    say(
        f"{summary.folder}: {summary.visits} visits and {summary.co_adds} co-adds of {summary.stars} stars, and "
        f"{len(summary.broken)} files that are broken on purpose "
        f"({'they were there already' if summary.was_there else f'made in {summary.seconds:.1f} s'})",
    )
    say(f"the truth is in {summary.truth}")


@ingest.command("spectra", epilog='Example: [bold]astra ingest spectra "var/sample/**/*.fits"[/]')
def ingest_spectra_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="FITS files, or patterns.")],
) -> None:
    """Make sources and spectra of FITS files; what is there already stays as it is."""
    from astra_models.ingest import ingest_spectra
    from astra_models.source import Source
    from astra_models.spectrum import Spectrum
    from astra_orchestration.assets.spectra import find_files

    _connect(Spectrum, Source)
    paths = find_files(files)
    with _progress("files", len(paths)) as advance:
        report = ingest_spectra(paths, progress=advance)
    console.print(_ingested(report))
    for path, reason in report.refused:
        complain(f"[yellow]refused[/] {_escaped(path)}: {_escaped(reason)}")
    say(f"{report.ingested} of {report.files} files ingested, {len(report.refused)} refused")
    if not report.ingested:
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]astra run corv --sdss-id 54392544 --rerun all[/]")
def run(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline, such as corv.")],
    limit: Annotated[int | None, typer.Option(min=0, help="At most this many spectra.")] = None,
    sdss_id: Annotated[list[int] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    rerun: Annotated[Rerun, typer.Option(help="What is due, only what failed, or everything again.")] = Rerun.due,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Results per transaction.")] = None,
) -> None:
    """Analyse what is due, here in the terminal. The pipeline's asset does the same under Dagster."""
    from astra_models.rejected import RejectedResult
    from astra_orchestration.pipelines import load_pipeline
    from astra_orchestration.results import analyse, write

    task = load_pipeline(pipeline)
    _connect(*task.output_models, *task.spectrum_models, RejectedResult)
    stream = analyse(task, limit=limit, sdss_ids=sdss_id, rerun=rerun.value, batch_size=batch_size)
    if not stream.due:
        say(f"{pipeline}: nothing is due")
        return
    with _progress("spectra", stream.due) as advance:
        report = write(stream, on_progress=lambda progress: advance(progress.done), interval=0.1)
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in ("inserted", "updated", "unchanged", "rejected"))
    say(f"{pipeline}: {stream.due} due, {counts}")
    for reason, count in report.reasons.most_common(5):
        complain(f"[yellow]rejected[/] {count}: {_escaped(reason)}")


@app.command(epilog="Example: [bold]astra status[/]")
def status() -> None:
    """Show which database is used, and what it holds."""
    from astra_orchestration.overview import overview

    _connect()
    say(_where())
    tables, pipelines = overview()
    console.print(_table(("table", "rows"), tables))
    columns = ("pipeline", "due", "results", "of this version", "rejected", "newest version")
    console.print(_table(columns, pipelines))


@app.command(epilog="Example: [bold]astra version[/]")
def version() -> None:
    """Print the installed version, and the integer that results carry."""
    from astra_models.version import installed_v_astra, installed_version

    say(f"astra {installed_version()} (v_astra {installed_v_astra()})")


@app.command(epilog='Example: [bold]astra materialize --spectra "data/*.fits"[/]')
def materialize(
    spectra: Annotated[
        list[str] | None, typer.Option(envvar="ASTRA_SPECTRA", help="Files or patterns, instead of the sample survey.")
    ] = None,
    stars: Annotated[int | None, typer.Option(min=1, help="Size of the sample survey.")] = None,
) -> None:
    """Make the tables, and materialize every asset once, in this process; the Dagster UI shows the run."""
    _make_tables()
    from astra_orchestration.materialize import materialize_everything

    outcomes = materialize_everything(paths=spectra or (), stars=stars, say=_say)
    columns = ("due", "inserted", "updated", "unchanged", "rejected")
    rows = [
        (outcome.asset, *(outcome.counts.get(name, "") for name in columns), _seconds(outcome)) for outcome in outcomes
    ]
    console.print(_table(("asset", *columns, "seconds"), rows))
    if failed := [outcome.asset for outcome in outcomes if outcome.failed]:
        complain(
            f"[bold red]failed:[/] {', '.join(failed)}; `make dev` shows the run in the Dagster UI", soft_wrap=True
        )
        raise typer.Exit(1)
    due = [outcome.counts["due"] for outcome in outcomes if "due" in outcome.counts]
    if due and not any(due):
        say("nothing is due")


@app.command(epilog="Example: [bold]astra ui --port 3001[/]")
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web server.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for everyone.")] = "127.0.0.1",
) -> None:
    """Serve the Dagster UI and its daemon until Ctrl-C, which ends every process that this started."""
    from astra_orchestration.serve import serve

    say("starting the Dagster UI ...")
    code = serve(host, port, lambda address: say(f"Dagster UI: [bold]{address}[/]  (Ctrl-C ends it)"))
    say("the Dagster UI has ended")
    raise typer.Exit(code)


def _is_users(error: Exception) -> bool:
    # By name: when the configuration is wrong, the import that would give the class is what failed.
    return any(base.__name__ == "AstraError" for base in type(error).__mro__)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _connect(*models: Any) -> None:
    """Make sure that the configured database can be used, and is not one that vanishes."""
    from astra_models.base import database
    from astra_models.database.config import is_in_memory
    from astra_models.errors import ConfigurationError
    from astra_orchestration.resources import connect

    if is_in_memory(database.obj):
        raise ConfigurationError(
            "no database is configured; name a SQLite file by `export ASTRA_DATABASE_PATH=var/astra.db`, or a database "
            "in ~/.config/sdss/astra/astra.yml"
        )
    connect(*models)


def _make_tables() -> list[str]:
    _connect()
    from astra_models.database.connection import create_tables
    from astra_orchestration.pipelines import load_pipeline, pipeline_names

    import astra_models.ingest  # noqa: F401  # isort: skip  knows all kinds of spectra

    for name in pipeline_names():
        load_pipeline(name)
    return create_tables()


def _where() -> str:
    from astra_models.base import bound_schema, database
    from astra_models.database.retry import describe

    schema = f", schema {bound_schema()!r}" if bound_schema() else ""
    return _escaped(f"{describe(database)}{schema}")


def _say(asset: str, text: str) -> None:
    say(f"[bold]{asset:<14}[/] {_escaped(text)}")


def _seconds(outcome: Any) -> str:
    if outcome.failed:
        return "[red]failed[/]"
    return "" if outcome.seconds is None else f"{outcome.seconds:.1f}"


def _table(columns: Any, rows: Any) -> Table:
    table = Table()
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def _ingested(report: Any) -> Table:
    rows = [(name, counts.inserted, counts.updated, counts.unchanged) for name, counts in report.tables.items()]
    return _table(("table", "inserted", "updated", "unchanged"), rows)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    """Show a bar; gives a function that is told how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task(what, total=total)
        yield lambda done: bar.update(shown, completed=done)
        bar.update(shown, completed=total)


if __name__ == "__main__":
    sys.exit(main())
