"""``astra new``: the beginning of a package of one's own."""

import importlib.util
import keyword
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.terminal import AsJson, AstraGroup, escaped, say

TEMPLATES = files("astra_orchestration.cli") / "templates" / "pipeline"
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "package/__init__.py": "{name}/__init__.py",
    "package/model.py": "{name}/model.py",
    "package/pipeline.py": "{name}/pipeline.py",
    "tests/test_pipeline.py": "tests/test_{name}.py",
}
"""The templates, and where in the new package each goes."""

new_commands = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Begin a package of one's own.")


@new_commands.callback()
def _group() -> None:
    """Begin a package of one's own."""  # with a callback, typer wants the command's name although it is the only one


@new_commands.command(epilog="Example: [bold]astra new pipeline line_depth --in ~/pipelines[/]")
def pipeline(
    name: Annotated[str, typer.Argument(help="Its name: of the pipeline, its package and its table.")],
    folder: Annotated[Path, typer.Option("--in", help="The folder in which a folder of that name is made.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a package with a pipeline that works, to change: model, generator, tests."""
    require_free_name(name)
    root = (folder.expanduser() / name).absolute()
    written = write_package(name, root)
    give({"folder": root, "files": written})
    say(f"{escaped(str(root))}: wrote {escaped(', '.join(written))}")
    say(f"next: [bold]cd {escaped(str(root))}[/], [bold]pip install -e '.\\[test]'[/], [bold]pytest[/]")


def require_free_name(name: str) -> None:
    """Make sure that a pipeline, its package, model and table can have a name.

    Raises
    ------
    PipelineNameError
        If it is no name in Python, or something else has it.
    """
    from astra_models.errors import PipelineNameError

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        proposed = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
        hint = f", such as {proposed}" if proposed and not keyword.iskeyword(proposed) else ""
        raise PipelineNameError(
            f"{name!r} can't be the name of a pipeline, for a package and a function are called by it: take lower-case "
            f"letters, digits and underscores{hint}"
        )
    for owner in _owners(name):
        raise PipelineNameError(f"{name!r} is the name of {owner} already; take another, such as my_{name}")


def write_package(name: str, root: Path) -> list[str]:
    """Write a package with a pipeline that works.

    Parameters
    ----------
    name : str
        The pipeline's name.
    root : Path
        Its folder, which isn't there yet or is empty.

    Returns
    -------
    list of str
        The files, relative to `root`.

    Raises
    ------
    OutputExistsError
        If there is something in the folder.
    """
    from astra_models.errors import OutputExistsError
    from astra_models.version import installed_version

    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise OutputExistsError(
            f"{root} is there already, and nothing is overwritten; remove it, or choose another --in"
        )
    values = {"name": name, "model": model_name(name), "version": installed_version()}
    written = {target.format(name=name): _template(source) for source, target in FILES.items()}
    for target, template in written.items():
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(template.substitute(values))
    return list(written)


def model_name(name: str) -> str:
    """Give the name of a pipeline's model: ``LineDepth`` of ``line_depth``."""
    return "".join(word.capitalize() for word in name.split("_"))


def _template(source: str) -> Template:
    return Template((TEMPLATES / f"{source}.template").read_text(encoding="utf-8"))


def _owners(name: str) -> Iterator[str]:
    """Say what has a name already: a pipeline, a model and its table, a module."""
    from astra_models.outputs import all_models, pipeline_names
    from astra_models.outputs.entry_points import folded

    if folded(name) in map(folded, pipeline_names()):
        yield "a pipeline"
    for model in all_models():
        if folded(name) in (folded(model.__name__), folded(model._meta.table_name)):
            yield f"a table, that of {model.__module__}.{model.__name__}"
    if importlib.util.find_spec(name) is not None:
        yield "an installed package or module"
