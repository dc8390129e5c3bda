"""Pages that `make docs` makes: one for each model, from its columns as data, one that lists them, and the reference.

mkdocs runs it as a hook (see mkdocs.yml). `pages` gives the same without mkdocs. The pages of the reference name
functions and classes; mkdocstrings, as a plugin of mkdocs, puts their signatures and docstrings in.
"""

import importlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")  # no database is asked anything

from astra_models.base import BaseModel
from astra_models.outputs import all_models
from astra_models.pipeline import VERSIONS, PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin

ROOT = Path(__file__).parents[1]
GROUPS = ("Sources", "Spectra", "Results", "Records")
MADE_BY = "What makes it"
REFERENCE = {
    "Running pipelines": (
        "astra_models",
        "astra_models.analysis.task",
        "astra_models.analysis.stream",
        "astra_models.analysis.due",
        "astra_models.analysis.replay",
    ),
    "Writing results": ("astra_models.upsert",),
    "Models": ("astra_models.base", "astra_models.pipeline", "astra_models.spectrum"),
    "Columns and flags": ("astra_models.fields",),
    "Registry": ("astra_models.outputs",),
    "Files in": ("astra_models.ingest",),
    "Files out": ("astra_models.products", "astra_models.products.export", "astra_models.products.summary"),
    "Status": ("astra_models.status", "astra_models.explain"),
    "Database": ("astra_models.database.config", "astra_models.database.retry"),
    "Tables and migrations": (
        "astra_models.schema.tables",
        "astra_models.schema.migration",
        "astra_models.schema.steps",
        "astra_models.schema.steps",
        "astra_models.schema.check",
    ),
    "Versions and configuration": ("astra_models.version", "astra_models.configuration"),
    "Errors": ("astra_models.errors",),
    "Dagster": (
        "astra_orchestration.resources",
        "astra_orchestration.resources.io_manager",
        "astra_orchestration.assets.pipelines",
        "astra_orchestration.assets.products",
        "astra_orchestration.assets.columns",
    ),
    "Sample survey": ("astra_orchestration.sample",),
}
"""The modules of each page of the reference."""


# ---- what there is


def models() -> list[type[BaseModel]]:
    """Give all models that are tables, as they are to be listed."""
    own = {model for model in all_models() if model.__module__.startswith("astra_models.")}
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
    written = {"index.md": home_page(), "contributing.md": moved((ROOT / "CONTRIBUTING.md").read_text())}
    return written | {"models/index.md": list_page(listed, nodes)} | made | reference_pages()


def home_page() -> str:
    """Make the first page of the README."""
    return moved((ROOT / "README.md").read_text())


def moved(text: str) -> str:
    """Mend the links of a page that is not in docs/."""
    text = text.replace("](docs/decisions/)", f"](decisions/{decisions()[0].name})").replace("](docs/", "](")
    return text.replace("](CONTRIBUTING.md)", "](contributing.md)")


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


def reference_pages() -> dict[str, str]:
    """Make the pages of the reference: functions and classes, which mkdocstrings describes."""
    made, seen = {}, set()
    for title, modules in REFERENCE.items():
        named = [
            path for path in dict.fromkeys(each for module in modules for each in public(module)) if path not in seen
        ]
        seen.update(named)
        intro = [first_line(importlib.import_module(module)) for module in modules]
        made[reference_page(title)] = "\n\n".join([f"# {title}", " ".join(intro), *(f"::: {path}" for path in named)])
    return made


def reference_page(title: str) -> str:
    """Give the path of a page of the reference."""
    return f"reference/{title.lower().replace(' ', '-')}.md"


def public(module_name: str) -> Iterator[str]:
    """Give the paths of the public functions and classes that a module shows, except tables, which have pages."""
    module = importlib.import_module(module_name)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == module_name)
    for name in getattr(module, "__all__", None) or own:
        value = getattr(module, name)
        is_table = inspect.isclass(value) and issubclass(value, BaseModel) and value in BaseModel.concrete_models()
        if not name.startswith("_") and (inspect.isroutine(value) or inspect.isclass(value)) and not is_table:
            yield f"{value.__module__}.{value.__qualname__}"


def first_line(module: ModuleType) -> str:
    """Give the first line of a module's docstring."""
    return (module.__doc__ or "").strip().split("\n")[0]


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
    """Add the models, the reference and the decisions to the contents."""
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
    reference = [{title: reference_page(title)} for title in REFERENCE]
    config.nav += [
        {"Models": listed},
        {"Reference": reference},
        {"Decisions": [f"decisions/{path.name}" for path in decisions()]},
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those that are files."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
