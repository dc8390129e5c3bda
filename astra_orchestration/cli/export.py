"""``astra export``: rows of a model as a file, or a summary product."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astra_orchestration.cli.answers import give, is_json
from astra_orchestration.cli.completing import model_names, product_names
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    connect_to_configured,
    escaped,
    print_plainly,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from astra_models.base import BaseModel
    from astra_models.products.query import Selection

export_commands = typer.Typer(cls=AstraGroup)

FOLDER_VARIABLE = "ASTRA_PRODUCTS"


@export_commands.command(
    epilog="Examples: [bold]astra export Corv --latest --output corv.ecsv[/]   "
    "[bold]astra export --product astraAllStarASPCAP[/]"
)
def export(
    model: Annotated[
        str | None, typer.Argument(help="A model or its table, such as Corv or source.", autocompletion=model_names)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="The file: .fits, .fits.gz, .parquet, .ecsv, .csv or .vot; - is CSV, printed.",
        ),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option(help="A summary product instead: `--product list` names them.", autocompletion=product_names),
    ] = None,
    output_dir: Annotated[str, typer.Option(envvar=FOLDER_VARIABLE, help="Where products go.")] = "var/products",
    v_astra: Annotated[str | None, typer.Option(help="Only this version's major.minor, such as 0.9.")] = None,
    sdss_id: Annotated[list[int] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    where: Annotated[
        str | None, typer.Option(help="Only rows of which this is true: [italic]teff > 20000 and not flag_bad[/].")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Only these columns, with commas between them.")] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="source", help="Put the columns of each row's source beside it."),
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest result of each spectrum.")] = False,
    limit: Annotated[int | None, typer.Option(min=0, help="At most this many rows.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write rows of a model into a file, or a summary product as the survey publishes it."""
    if (model is None) == (product is None):
        raise typer.BadParameter("give a MODEL and --output, or a --product")
    if product is not None:
        if output or sdss_id or where or columns or beside or latest or limit is not None:
            raise typer.BadParameter("a product is always whole; --v-astra, --output-dir and --overwrite go with it")
        _export_product(product, output_dir, v_astra, overwrite)
        return
    if output is None:
        raise typer.BadParameter("--output says which file to write")
    if output == "-" and is_json():
        raise typer.BadParameter("--output - prints rows as CSV; `astra rows --json` prints them as JSON")
    conditions = {"where": where, "columns": columns, "sdss_ids": sdss_id, "latest": latest, "limit": limit}
    if unknown := set(beside or ()) - {"source"}:
        raise typer.BadParameter(f"--with {', '.join(sorted(unknown))}: only `source` can be put beside rows")
    _export_model(str(model), output, overwrite, bool(beside), v_astra=v_astra, **conditions)


def _selected(model: "type[BaseModel]", is_with_source: bool, conditions: dict[str, object]) -> "Selection":
    from astra_models.products.joins import select_with_source
    from astra_models.products.query import select_model

    select = select_with_source if is_with_source else select_model
    return select(model, **conditions)  # pyright: ignore[reportArgumentType]


def _export_model(name: str, output: str, overwrite: bool, is_with_source: bool, **conditions: object) -> None:
    from astra_models.outputs import model_named
    from astra_models.products.export import export, writer_for

    model = model_named(name)
    if output == "-":
        _print_csv(model, is_with_source, conditions)
        return
    writer_for(output)
    connect_to_configured(model)
    selection = _selected(model, is_with_source, conditions)
    with progress_bar("rows", selection.base.count()) as advance:
        written = export(model, selection, output, overwrite=overwrite, progress=advance)
    give({"file": written.path, "model": model.__name__, "rows": written.rows, "bytes": written.size})
    say(f"{escaped(written.path)}: {written.rows} rows of {model.__name__}, {_megabytes(written.size)}")


def _print_csv(model: "type[BaseModel]", is_with_source: bool, conditions: dict[str, object]) -> None:
    from astra_models.products.export import export

    connect_to_configured(model)
    selection = _selected(model, is_with_source, conditions)
    with tempfile.TemporaryDirectory() as folder:
        written = export(model, selection, Path(folder) / "rows.csv")
        with open(written.path, encoding="utf-8", newline="") as rows:
            for lines in iter(lambda: rows.read(1 << 20), ""):
                print_plainly(lines, end="")


def _export_product(name: str, folder: str, v_astra: str | None, overwrite: bool) -> None:
    from astra_models.products.summary import product_named, products, write_product

    if name == "list":
        give({"products": [{"name": one.name, "description": one.description} for one in products().values()]})
        for product in products().values():
            say(f"[bold]{product.name:<36}[/] {escaped(product.description)}")
        return
    product = product_named(name)
    connect_to_configured(*product.models)
    report = write_product(product, folder, v_astra, overwrite=overwrite)
    written = {"file": report.file.path, "rows": report.file.rows, "bytes": report.file.size}
    give(written | {"sha256": report.file.sha256, "version": report.version, "left_out": report.elsewhere})
    rows = ", ".join(f"{table} {count}" for table, count in report.file.rows.items())
    say(f"{escaped(report.file.path)}: {rows} rows, {_megabytes(report.file.size)}, SHA-256 {report.file.sha256}")
    if report.elsewhere:
        say(f"{report.elsewhere} more results of {report.version} are of other spectra: not in this product")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
