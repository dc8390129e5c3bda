"""``astra query`` and ``astra rows``: looking into the database without changing it."""

import sys
from itertools import chain
from typing import Annotated

import typer

from astra_orchestration.cli.completing import model_names
from astra_orchestration.cli.printed_rows import format_asked, print_rows
from astra_orchestration.cli.terminal import AstraGroup, connect_to_configured, require_configured

query_commands = typer.Typer(cls=AstraGroup)

AsCsv = Annotated[bool, typer.Option("--csv", help="As CSV, with a header.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON: an array with an object for each row.")]
AsTable = Annotated[bool, typer.Option("--table", help="As a table, which is the default.")]
Output = Annotated[str | None, typer.Option("--output", "-o", help="Into this file; - is standard output.")]
Limit = Annotated[
    int | None, typer.Option(min=0, help="At most this many rows; of a table on the terminal, 50 if not given.")
]


@query_commands.command(
    epilog='Examples: [bold]astra query "select spectrum_pk, teff from corv where teff > 20000" --csv[/]   '
    "[bold]astra query - < question.sql[/]"
)
def query(
    sql: Annotated[str, typer.Argument(help="One statement that selects; - reads it from standard input.")],
    limit: Limit = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="The longest that it may take.")] = 60,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    as_table: AsTable = False,
    output: Output = None,
) -> None:
    """Ask the database in SQL. The connection can't change anything."""
    from astra_models.products.asking import asked, require_one_question

    form = format_asked(as_csv, as_json, as_table)
    statement = _read_question() if sql == "-" else sql
    require_one_question(statement)
    require_configured()
    with asked(statement, seconds) as answer:
        print_rows(answer.names, chain.from_iterable(answer.batches), form, output, limit)


def _read_question() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"standard input has no text in UTF-8: {error.reason} at byte {error.start}"
        ) from error


@query_commands.command(
    epilog='Example: [bold]astra rows corv --where "teff > 20000 and not flag_low_snr" --columns spectrum_pk,teff[/]'
)
def rows(
    model: Annotated[
        str, typer.Argument(help="A model or its table, such as Corv or source.", autocompletion=model_names)
    ],
    where: Annotated[
        str | None, typer.Option(help="Only rows of which this is true: [italic]teff > 20000 and not flag_bad[/].")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Only these columns, with commas between them.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest result of each spectrum.")] = False,
    v_astra: Annotated[str | None, typer.Option(help="Only this version's major.minor, such as 0.9.")] = None,
    sdss_id: Annotated[list[int] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    limit: Limit = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    as_table: AsTable = False,
    output: Output = None,
) -> None:
    """Show rows of a model."""
    from astra_models.notebook.main_columns import measured_columns
    from astra_models.outputs import model_named
    from astra_models.products.query import read_rows, select_model, snapshot

    form = format_asked(as_csv, as_json, as_table)
    wanted = model_named(model)
    connect_to_configured(wanted)
    selection = select_model(
        wanted, where=where, columns=columns, v_astra=v_astra, sdss_ids=sdss_id, latest=latest, limit=limit
    )
    fields = [column.field for column in selection.columns]
    with snapshot():
        found = chain.from_iterable(read_rows(selection.ordered(*fields)))
        values = ([field.python_value(value) for field, value in zip(fields, row, strict=True)] for row in found)
        first = () if columns else ("spectrum_pk", "sdss_id", *measured_columns(wanted, ()), "result_flags")
        print_rows([column.name for column in selection.columns], values, form, output, limit, first)
