"""``astra mapping``: mappings of tables, those that come with the project and proposals for others."""

from typing import Annotated

import typer

from astra_orchestration.cli.answers import give, into_file, is_json
from astra_orchestration.cli.completing import mapping_names
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    complain,
    console,
    escaped,
    print_plainly,
    table,
)

mapping_commands = typer.Typer(
    cls=AstraGroup, no_args_is_help=True, help="Mappings of tables: propose one, list and show those of the project."
)


@mapping_commands.command("guess", epilog="Example: [bold]astra mapping guess stars.csv -o stars.yaml[/]")
def guess(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table: FITS, VOTable, ECSV, CSV or other text.")],
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Format of a table of text, such as no_header.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Names of its columns, with commas between them.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="CHARACTER", help="What is between its columns.")] = None,
    as_json: AsJson = False,
    into: IntoFile = None,
) -> None:
    """Propose a mapping for a table, as YAML with reasons; complete it, and ingest with `--mapping`.

    Nothing is written but the proposal.
    """
    from astra_models.ingest.tables.guessing import guess_mapping
    from astra_models.ingest.tables.opening import kind_without_mapping
    from astra_models.ingest.tables.reading import reader_options

    into_file(into)
    given: dict[str, object] = {}
    if format_ is not None:
        given["format"] = format_
    if columns is not None:
        given["columns"] = [name.strip() for name in columns.split(",")]
    if delimiter is not None:
        given["delimiter"] = delimiter
    proposal = guess_mapping(file, reader_options(given) if given else None)
    if not given and (kind := kind_without_mapping(file)):
        complain(
            f"{escaped(file)} is known without a mapping ({escaped(kind)}): [bold]astra ingest[/] takes it as it is"
        )
    _print(proposal)


@mapping_commands.command("list", epilog="Example: [bold]astra mapping list[/]")
def list_mappings(as_json: AsJson = False) -> None:
    """List the mappings that come with the project; `--mapping` takes their names."""
    from astra_models.ingest.tables.mapping import load_mapping
    from astra_models.ingest.tables.shipped import shipped_names

    found = [(name, load_mapping(name)) for name in shipped_names()]
    rows = [(name, mapping.name, ", ".join(model.__name__ for model in mapping.models)) for name, mapping in found]
    give(
        {
            "mappings": [
                {"name": name, "for": mapping.name, "tables": [model._meta.table_name for model in mapping.models]}
                for name, mapping in found
            ]
        }
    )
    console.print(table(["name", "for", "tables"], rows))


@mapping_commands.command("show", epilog="Example: [bold]astra mapping show apogee_dr12_hipparcos[/]")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a mapping of the project.", autocompletion=mapping_names)
    ],
    as_json: AsJson = False,
    into: IntoFile = None,
) -> None:
    """Show a mapping that comes with the project, as YAML."""
    from astra_models.ingest.tables.mapping import MappingError
    from astra_models.ingest.tables.shipped import shipped_text

    into_file(into)
    try:
        text = shipped_text(name)
    except LookupError as error:
        raise MappingError(str(error.args[0])) from error
    _print(text)


def _print(text: str) -> None:
    give({"yaml": text})
    if not is_json():
        print_plainly(text, end="")
