"""Packages of pipelines, as others write them: a folder with modules and metadata, which a path makes installed."""

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from astra_models.outputs import entry_points as registry

ROOT = Path(__file__).parents[1]

PIPELINE = '''
"""Where a spectrum is brightest."""

from collections.abc import Iterable

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from {package}.models import {model}


@task
def {pipeline}(spectra: Iterable[BossVisitSpectrum]) -> Iterable[{model}]:
    """Find the brightest pixel."""
    for spectrum in spectra:
        yield {model}.from_spectrum(spectrum, {values})
'''

MODELS = '''
"""The table of what is found."""

from astra_models.fields import BitField, BigIntegerField, DoubleField, FloatField, IntegerField, TextField
from astra_models.pipeline import PipelineOutputMixin


class {model}(PipelineOutputMixin):
    """Brightest pixels."""

    peak = FloatField(null=True, unit="Angstrom", help_text="Wavelength of the brightest pixel")
    result_flags = BitField()
    flag_edge = result_flags.flag(2**0, "The brightest pixel is the first or the last one")
'''


def write_package(
    folder: Path,
    package: str = "brightest",
    *,
    pipeline: str = "brightest",
    model: str = "BrightestPixel",
    values: str = "peak=5000.0",
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write a package with one pipeline into a folder that is to be on the path.

    Parameters
    ----------
    folder : Path
        The folder.
    package, pipeline, model : str
        Names of the package, its pipeline and its model.
    values : str
        What the pipeline gives of each spectrum, as keyword arguments.
    files : mapping, optional
        Other contents of the package's files, by their names.

    Returns
    -------
    Path
        The package's own folder.
    """
    names = {"package": package, "pipeline": pipeline, "model": model, "values": values}
    contents = {
        "__init__.py": '"""A package of pipelines."""\n',
        "models.py": MODELS.format(**names),
        "pipeline.py": PIPELINE.format(**names),
    } | dict(files or {})
    own = folder / package
    own.mkdir(parents=True)
    for name, content in contents.items():
        (own / name).write_text(content)
    write_metadata(folder, package, {pipeline: f"{package}.pipeline:{pipeline}"})
    return own


def write_metadata(folder: Path, package: str, entry_points: Mapping[str, str]) -> None:
    """Write what makes a package an installed one, with the entry points of its pipelines."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[astra.pipelines]", *lines, ""]))


def forget_packages(*packages: str) -> None:
    """Let packages be imported again, and the metadata of all be read again."""
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]
    importlib.invalidate_caches()
    registry.forget()


def run_python(program: str, *folders: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a process of its own, to which the packages in some folders are installed."""
    return _run([sys.executable, "-c", dedent(program)], folders, environment)


def run_astra(arguments: list[str], *folders: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own, to which the packages in some folders are installed."""
    return _run([sys.executable, "-m", "astra_orchestration.cli", *arguments], folders, environment)


def _run(
    command: list[str], folders: tuple[Path, ...], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    settings = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COLUMNS": "200"}
    settings |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, env=settings, timeout=300)
