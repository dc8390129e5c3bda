"""What an import of ours brings along, in a process of its own and outside of any folder that is configured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(program: str, folder: Path, *options: str) -> str:
    """Run a program where nothing is configured; give what it prints. It has nothing to say on standard error."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module", ["astra_orchestration.pipelines.corv.fit", "astra_orchestration.pipelines.white_dwarfs.fit"]
)
def test_fitting_a_spectrum_needs_no_database_and_warns_of_none(module: str, tmp_path: Path) -> None:
    python(f"from {module} import fit_spectrum", tmp_path, "-W", "error")


def test_a_database_in_memory_is_warned_of_when_it_is_used(tmp_path: Path) -> None:
    program = """
import warnings
from astra_models.source import Source
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    Source.create_table()
    Source.create(sdss_id=1)
print([str(one.message)[:26] for one in warned], Source.select().count())
"""
    assert python(program, tmp_path) == "['no database is configured,'] 1\n"


def test_the_package_alone_imports_no_tables(tmp_path: Path) -> None:
    program = """
import sys
import astra_models, astra_models.version, astra_models.errors
version = astra_models.version.installed_version()
print(astra_models.__version__ == version, {"numpy", "peewee", "yaml"} & {*sys.modules})
print(set(astra_models.__all__) <= set(dir(astra_models)), hasattr(astra_models, "nothing"))
"""
    assert python(program, tmp_path) == "True set()\nTrue False\n"


@pytest.mark.parametrize(
    "before", ["", "from astra_models.task import Task", "import astra_models.task", "from astra_models import corv"]
)
def test_task_is_the_decorator_whatever_was_imported_before(before: str, tmp_path: Path) -> None:
    program = f"{before}\nimport astra_models\nfrom astra_models import task\n"
    program += "from astra_models.analysis.task import task as same\nprint(task is same is astra_models.task)"
    assert python(program, tmp_path) == "True\n"


@pytest.mark.parametrize("name", ["near", "coord", "spectra", "results"])
def test_a_source_knows_what_modules_above_it_give_it(name: str, tmp_path: Path) -> None:
    program = f"from astra_models.source import Source\nprint(type(Source.{name}).__name__)"
    assert python(program, tmp_path) == ("function\n" if name == "near" else "property\n")


def test_all_of_our_models_are_there_for_who_asks(tmp_path: Path) -> None:
    program = """
import pkgutil, sys
from importlib import import_module
from astra_models.base import BaseModel
print("astra_models.corv" in sys.modules)
known = {model.__name__ for model in BaseModel.concrete_models()}
for module in pkgutil.walk_packages(import_module("astra_models").__path__, "astra_models."):
    if "migrations" not in module.name and "adbc_process" not in module.name:
        import_module(module.name)
print({"Corv", "Lease"} <= known, {model.__name__ for model in BaseModel.concrete_models()} - known)
"""
    assert python(program, tmp_path) == "False\nTrue set()\n"


def test_a_table_of_ours_is_refused_to_another_package_that_comes_first(tmp_path: Path) -> None:
    program = """
from astra_models.base import BaseModel
from astra_models.errors import TableTakenError
try:
    class Corv(BaseModel):
        pass
except TableTakenError as error:
    print(error.module)
"""
    assert python(program, tmp_path) == "astra_models.corv\n"


def test_a_module_can_be_asked_for_as_an_attribute(tmp_path: Path) -> None:
    assert python("import astra_models\nprint(astra_models.corv.Corv.__name__)", tmp_path) == "Corv\n"
