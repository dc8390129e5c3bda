"""Pages that `make docs` makes: one for each model, from its columns as data, and one that lists them.

mkdocs runs it as a hook (see mkdocs.yml). `pages` gives the same without mkdocs.
"""

import importlib
import os
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")  # no database is asked anything

import astra_models
from astra_models.base import BaseModel
from astra_models.pipeline import VERSIONS, PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin

ROOT = Path(__file__).parents[1]
GROUPS = ("Sources", "Spectra", "Results", "Records")
MADE_BY = "What makes it"


# ---- what there is


def models() -> list[type[BaseModel]]:
    """Give all models that are tables, as they are to be listed."""
    for module in pkgutil.iter_modules(astra_models.__path__, "astra_models."):
        importlib.import_module(module.name)
    own = {model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")}
    return sorted(own, key=lambda model: (GROUPS.index(group(model)), model is not Spectrum, model.__name__.lower()))


def group(model: type[BaseModel]) -> str:
    """Tell which of the groups a model is of."""
    if model is Source:
        return "Sources"
    if issubclass(model, Spectrum | SpectrumMixin):
        return "Spectra"
    return "Results" if issubclass(model, PipelineOutputMixin) else "Records"


def assets() -> dict[str, Any]:
    """Give the nodes of the asset graph, by the tables that they fill."""
    from astra_orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    return {node.metadata["dagster/table_name"]: node for node in nodes if "dagster/table_name" in node.metadata}


# ---- pages


def pages() -> dict[str, str]:
    """Make all pages: paths below docs/, and their Markdown."""
    listed, nodes = models(), assets()
    made = {f"models/{model._meta.table_name}.md": model_page(model, nodes) for model in listed}
    return {"index.md": home_page(), "models/index.md": list_page(listed, nodes)} | made


def home_page() -> str:
    """Make the first page of the README, whose links start elsewhere."""
    text = (ROOT / "README.md").read_text()
    return text.replace("](docs/decisions/)", f"](decisions/{decisions()[0].name})").replace("](docs/", "](")


def decisions() -> list[Path]:
    """Give the records of decisions."""
    return sorted((ROOT / "docs" / "decisions").glob("*.md"))


def list_page(listed: Sequence[type[BaseModel]], nodes: dict[str, Any]) -> str:
    """List all models, with what a row of each is about."""
    lines = ["# Models", "", "Every table of the database. Its page has the columns, their units, and the flags.", ""]
    for name in GROUPS:
        lines += [f"## {name}", ""]
        rows = [
            (
                f"[{model.__name__}]({model._meta.table_name}.md)",
                summary(model),
                len(model._meta.sorted_fields),
                len(model.flag_table()),
            )
            for model in listed
            if group(model) == name
        ]
        lines += [*table(("model", "a row is", "columns", "flags"), rows, numbers=2), ""]
    return "\n".join(lines)


def model_page(model: type[BaseModel], nodes: dict[str, Any]) -> str:
    """Describe a model: its key, what makes it, its columns under their headings, its flags and pixel arrays."""
    lines = [f"# {model.__name__}", "", description(model), "", *table(("", ""), facts(model, nodes)), ""]
    lines += ["## Columns", ""]
    columns = model.column_table()
    for heading in dict.fromkeys(columns["category"]):
        rows = [
            (f"`{row['name']}`", row["type"], unit(row["unit"]), row["description"], "yes" if row["nullable"] else "")
            for row in columns[columns["category"] == heading]
        ]
        lines += [f"### {heading}", "", *table(("column", "type", "unit", "description", "may be NULL"), rows), ""]
    lines += flag_section(model)
    lines += pixel_section(model)
    return "\n".join(lines)


def flag_section(model: type[BaseModel]) -> list[str]:
    """List the flags of each bit field."""
    flags = model.flag_table()
    lines = ["## Flags", ""] if len(flags) else []
    for column in dict.fromkeys(flags["column"]):
        rows = [(row["bit"], f"`{row['name']}`", row["description"]) for row in flags[flags["column"] == column]]
        lines += [f"### `{column}`", "", *table(("bit", "flag", "set when"), rows), ""]
    return lines


def pixel_section(model: type[BaseModel]) -> list[str]:
    """List the pixel arrays."""
    arrays = model.pixel_array_table()
    if not len(arrays):
        return []
    rows = [(f"`{row['name']}`", unit(row["unit"]), row["description"]) for row in arrays]
    words = "They are read from the spectrum's file when they are first used, and are no columns of the table."
    return ["## Pixel arrays", "", words, "", *table(("array", "unit", "description"), rows), ""]


# ---- parts of pages


def facts(model: Any, nodes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say where a model is, what its rows are kept by, and which asset makes it."""
    yield "Table", f"`{model._meta.table_name}`"
    yield "In Python", f"`from {model.__module__} import {model.__name__}`"
    yield "Primary key", f"`{model._meta.primary_key.name}`"
    for key in unique_keys(model):
        yield "Unique", ", ".join(f"`{name}`" for name in key)
    if hasattr(model, "latest"):
        kept = [name for name in model.upsert_key if name not in VERSIONS]
        yield "`latest()` gives one row per", ", ".join(f"`{name}`" for name in kept)
    if node := nodes.get(model._meta.table_name):
        yield MADE_BY, made_by(node)
        yield "From", ", ".join(upstream(node, nodes))


def unique_keys(model: Any) -> list[tuple[str, ...]]:
    """Give the unique keys beside the primary one."""
    keys = [(field.name,) for field in model._meta.sorted_fields if field.unique]
    keys += [tuple(columns) for columns, is_unique in model._meta.indexes if is_unique]
    written = [re.fullmatch(r"UNIQUE \((.*)\)", constraint.sql) for constraint in model._meta.constraints or ()]
    return keys + [tuple(found[1].split(", ")) for found in written if found]


def made_by(node: Any) -> str:
    """Name the asset, and say whether the project computes it."""
    name = f"asset `{node.key.to_user_string()}`"
    return name if node.is_materializable else f"{name}, fed by result files"


def upstream(node: Any, nodes: dict[str, Any]) -> list[str]:
    """Name the assets that an asset takes from, as links where they have a page."""
    tables = {other.key: table_name for table_name, other in nodes.items()}
    named = [(key, key.to_user_string()) for key in sorted(node.parent_keys)]
    return [f"[{name}]({tables[key]}.md)" if key in tables else f"`{name}`" for key, name in named] or ["files"]


def description(model: Any) -> str:
    """Give a model's docstring, as Markdown."""
    text = re.sub(r"``(.+?)``", r"`\1`", "\n".join(line.strip() for line in (model.__doc__ or "").splitlines()))
    return text.strip()


def summary(model: Any) -> str:
    """Give the first sentence of a model's docstring."""
    return description(model).split("\n\n")[0].split("\n")[0]


def unit(spelling: str) -> str:
    """Spell a unit as it is printed."""
    from astropy.units import Unit

    return Unit(spelling).to_string("unicode") if spelling else ""


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]], numbers: int = 0) -> list[str]:
    """Make a table, of which the last `numbers` columns are aligned to the right."""
    rule = ["---"] * (len(heading) - numbers) + ["---:"] * numbers
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (heading, rule, *rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


# ---- what mkdocs calls


def on_config(config: Any) -> Any:
    """Add the models and the decisions to the contents."""
    listed: list[Any] = ["models/index.md"]
    for name in GROUPS:
        listed.append(
            {
                name: [
                    {model.__name__: f"models/{model._meta.table_name}.md"}
                    for model in models()
                    if group(model) == name
                ]
            }
        )
    config.nav += [{"Models": listed}, {"Decisions": [f"decisions/{path.name}" for path in decisions()]}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those that are files."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
