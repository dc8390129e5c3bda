"""Pipelines, ours and those of other packages: entry points of the group ``astra.pipelines``.

A pipeline's name is read from its package's metadata; the package is imported when the pipeline is used, or its tables
are asked for. A package that can't be imported, or that uses a name of another package, is refused: the reason is
logged once, and raised whenever its pipelines are asked for. Other packages aren't affected.
"""

import copy
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from astra_models import schema
from astra_models.base import BaseModel
from astra_models.columns.many import ManyResults
from astra_models.errors import (
    AstraError,
    PackageClashError,
    PackageImportError,
    TableTakenError,
    UnknownPackageError,
    UnknownPipelineError,
    did_you_mean,
)
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.schema.package import OURS as OUR_PACKAGE
from astra_models.schema.package import Package
from astra_models.spectrum import SpectrumMixin

GROUP = "astra.pipelines"
OURS = (OUR_PACKAGE, "astra_orchestration")

Model = TypeVar("Model", bound=BaseModel)

logger = logging.getLogger(__name__)


@runtime_checkable
class Pipeline(Protocol):
    """What the registry knows of a pipeline; `astra_models.analysis.task.Task` is one.

    Attributes
    ----------
    name : str
        What its entry point is called.
    """

    name: str

    @property
    def spectrum_models(self) -> tuple[type[SpectrumMixin], ...]:
        """The kinds of spectra that it takes."""
        ...

    @property
    def output_models(self) -> tuple[type[PipelineOutputMixin], ...]:
        """The models of its results. A spectrum is due if it has no current result of the first."""
        ...

    def batches(
        self, spectra: Iterable[SpectrumMixin], *, batch_size: int | None = None, **parameters: object
    ) -> Iterator[Sequence[PipelineOutputMixin | ManyResults[Any] | RejectedResult]]:
        """Analyse spectra, and give results and unsaved failures in batches that fit into memory."""
        ...


class _Loaded:
    """What has been imported, in this process: pipelines, or why there is none."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a process that has imported nothing."""
        self.outcomes: dict[EntryPoint, Pipeline | AstraError] = {}
        self.clashes: dict[str, PackageClashError] = {}
        self.logged: set[str] = set()


_loaded = _Loaded()


# ---- pipelines


def pipeline_names() -> list[str]:
    """Give the names of all pipelines, sorted. Nothing is imported: whether each can be used isn't known yet."""
    return sorted(name for name, found in _by_name().items() if len(found) == 1)


def load_pipeline(name: str) -> Pipeline:
    """Import a pipeline's package, and give the pipeline.

    For a pipeline that isn't ours, all packages are imported and their tables compared: results are never written into
    another package's table.

    Parameters
    ----------
    name : str
        The pipeline's name.

    Raises
    ------
    UnknownPipelineError
        If no package has a pipeline of that name.
    PackageImportError
        If its package can't be imported.
    PackageClashError
        If its package uses a name of another one.
    """
    found = _by_name().get(name)
    if found is None:
        known = ", ".join(pipeline_names()) or "none: install the package again, so that its entry points are known"
        hint = did_you_mean(name, _by_name(), "see docs/writing-a-pipeline.md for adding one")
        raise UnknownPipelineError(f"there is no pipeline {name!r} (known: {known}); {hint}")
    if len(found) > 1:
        raise _same_name(name, found)
    [entry] = found
    outcome = _load(entry)
    if not isinstance(outcome, AstraError) and not _is_ours(entry):
        _load_all()
        outcome = _refusals().get(package_of(entry.module), outcome)
    if isinstance(outcome, AstraError):
        raise outcome
    return outcome


def pipelines() -> list[Pipeline]:
    """Give all pipelines that can be used, by name; why the others can't is logged."""
    found = _load_all()
    refused = _refusals()
    return [
        pipeline
        for entry, pipeline in found.items()
        if isinstance(pipeline, Pipeline) and package_of(entry.module) not in refused
    ]


# ---- packages


def packages() -> list[Package]:
    """Give the packages with tables: ours, then those of other pipelines that can be used."""
    _load_all()
    return [_package(name) for name in (OURS[0], *sorted(_imported_packages() - _refusals().keys()))]


def packages_of(models: Iterable[type[BaseModel]]) -> list[Package]:
    """Give our package, and those that the models belong to. Nothing is imported."""
    names = {package_of(model.__module__) for model in models} & _imported_packages()
    return [_package(name) for name in (OURS[0], *sorted(names))]


def package_named(name: str) -> Package:
    """Find a package of pipelines, ours included, by the name that it is imported or installed by.

    Raises
    ------
    UnknownPackageError
        If no such package is installed, or it has no pipelines.
    PackageImportError
        If it can't be imported.
    PackageClashError
        If it uses a name of another one.
    """
    wanted, known = _as_imported(name), set()
    for entry, outcome in _load_all().items():
        package = package_of(entry.module)
        names = {package, entry.dist.name if entry.dist is not None else package}
        known |= names
        if wanted not in map(_as_imported, names):
            continue
        if isinstance(outcome, AstraError):
            raise outcome
        if package in (refused := _refusals()):
            raise refused[package]
        return _package(package)
    raise UnknownPackageError(f"no package {name!r} with pipelines is installed; {did_you_mean(name, sorted(known))}")


def _as_imported(name: str) -> str:
    return folded(name.replace("-", "_").replace(".", "_"))


def forget() -> None:
    """Forget which packages are installed, and what was imported of them: some may have changed since."""
    _find.cache_clear()
    _loaded.forget()


def package_of(module: str) -> str:
    """Name the package that a module belongs to, the same one for all of ours.

    It is the outermost one that isn't a namespace of several distributions.
    """
    parts = module.split(".")
    if parts[0] in OURS:
        return OURS[0]
    for end in range(1, len(parts)):
        name = ".".join(parts[:end])
        found = sys.modules.get(name)
        if found is None or getattr(found, "__file__", None) is not None:
            return name
    return module


def load_packages() -> None:
    """Import all packages of pipelines; why one can't be used is logged, once."""
    _load_all()
    _refusals()


def usable_models(models: Iterable[type[Model]]) -> list[type[Model]]:
    """Leave out the models of packages that are refused. Nothing is imported."""
    unusable = _unusable()
    return [model for model in models if package_of(model.__module__) not in unusable]


def _package(name: str) -> Package:
    module = schema if name == OURS[0] else sys.modules[name]
    folder = Path(str(module.__file__)).with_name("migrations") if hasattr(module, "__path__") else None
    return Package(name, tuple(_models_of(name)), folder)


def _models_of(package: str) -> Iterator[type[BaseModel]]:
    return (model for model in BaseModel.concrete_models() if package_of(model.__module__) == package)


# ---- metadata


def _by_name() -> dict[str, list[EntryPoint]]:
    """Give the entry points by name: one, or those of several packages that can't all have the name."""
    return _find(tuple(sys.path))


@lru_cache(maxsize=1)
def _find(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, {}).setdefault(entry.value, entry)  # installed twice is the same one
    by_name = {}
    for name, several in sorted(found.items()):
        ours = [entry for entry in several.values() if _is_ours(entry)]
        by_name[name] = ours or list(several.values())
        if len(several) > len(by_name[name]) or len(by_name[name]) > 1:
            logger.error("%s", _same_name(name, list(several.values())))
    return by_name


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.split(".")[0] in OURS


def _same_name(name: str, found: list[EntryPoint]) -> PackageClashError:
    return PackageClashError(
        f"the packages {' and '.join(map(_describe, found))} each have a pipeline {name!r}: "
        f"{'ours is used' if any(map(_is_ours, found)) else 'none of them can be used'}; rename one of them in its "
        "pyproject.toml, or uninstall it"
    )


def _describe(entry: EntryPoint) -> str:
    distribution = entry.dist.name if entry.dist is not None else entry.module.split(".")[0]
    return f"{distribution} ({entry.value})"


# ---- importing


def _load_all() -> dict[EntryPoint, Pipeline | AstraError]:
    return {entry: _load(entry) for entries in _by_name().values() if len(entries) == 1 for entry in entries}


def _load(entry: EntryPoint) -> Pipeline | AstraError:
    """Import a pipeline once; a failure is logged, and kept."""
    with _loaded.lock:
        if entry not in _loaded.outcomes:
            _loaded.outcomes[entry] = _import(entry)
        return _loaded.outcomes[entry]


def _import(entry: EntryPoint) -> Pipeline | AstraError:
    try:
        _require_plain_name(entry.name)
        pipeline: object = entry.load()
        if not isinstance(pipeline, Pipeline):
            raise TypeError(  # noqa: TRY301  is told as any other reason
                f"{entry.value} is no pipeline but a {type(pipeline).__name__}: decorate a generator function by "
                "astra_models.task"
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: one package never stops another
        return _table_clash(entry, error) or _failure(entry, error)
    if pipeline.name == entry.name:
        return pipeline
    renamed = copy.copy(pipeline)  # the entry point says what it is called here
    renamed.name = entry.name
    return renamed


def _require_plain_name(name: str) -> None:
    if not name.isidentifier():  # it becomes the key of an asset
        raise ValueError(f"{name!r} is no name for a pipeline: use letters, digits and underscores")


def _failure(entry: EntryPoint, error: BaseException) -> PackageImportError:
    logger.error("the pipeline %r of the package %s can't be used", entry.name, _describe(entry), exc_info=error)
    failure = PackageImportError(
        f"the pipeline {entry.name!r} of the package {_describe(entry)} can't be used: "
        f"{type(error).__name__}: {error}; mend that package, or uninstall it"
    )
    failure.__cause__ = error
    return failure


def _table_clash(entry: EntryPoint, error: BaseException) -> PackageClashError | None:
    """Refuse a package, one of whose models has the table of another package's, and that package unless it is ours."""
    if not isinstance(error, TableTakenError) or package_of(error.module) == package_of(entry.module):
        return None
    own, other = package_of(entry.module), package_of(error.module)
    kept = f"that of {other} is used" if other == OURS[0] else "none of them can be used"
    clash = PackageClashError(f"the packages {own} and {other} have a table of one name, and {kept}: {error}")
    clash.__cause__ = error
    for package in {own, other} - {OURS[0]}:
        _loaded.clashes.setdefault(package, clash)
    return clash


def _imported_packages() -> set[str]:
    """Name the packages, other than ours, of which a pipeline has been imported."""
    imported = (entry.module for entry, found in list(_loaded.outcomes.items()) if isinstance(found, Pipeline))
    return set(map(package_of, imported)) - {OURS[0]}


def _unusable() -> set[str]:
    failed = {
        package_of(entry.module) for entry, found in list(_loaded.outcomes.items()) if isinstance(found, AstraError)
    }
    return (failed - _imported_packages() - {OURS[0]}) | _refusals().keys()


# ---- names that two packages use


def _refusals() -> dict[str, PackageClashError]:
    """Say of each imported package that uses a name of another one why it is refused; ours never is."""
    refused = dict(_loaded.clashes)
    users: dict[str, dict[str, str]] = {}
    for package in (OURS[0], *sorted(_imported_packages())):
        for name, what in _names_of_models(package):
            users.setdefault(name, {}).setdefault(package, what)
    for package, name in _pipelines_named_as_ours(users):
        users[folded(name)].setdefault(package, f"the pipeline {name!r}")
    for several in users.values():
        for package in several.keys() - {OURS[0]} if len(several) > 1 else ():
            refused.setdefault(package, _same_model(several))
    for package, error in refused.items():
        if package not in _loaded.logged:
            _loaded.logged.add(package)
            logger.error("%s", error)
    return refused


def _names_of_models(package: str) -> Iterator[tuple[str, str]]:
    """Give the normalised names of a package's models and tables, each with what it names."""
    for model in _models_of(package):
        yield folded(model.__name__), f"the model {model.__name__}"
        yield folded(model._meta.table_name), f"the table {model._meta.table_name!r}"


def _pipelines_named_as_ours(users: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Give the pipelines, and their packages, that are called as one of our tables and don't fill it."""
    for entry, found in list(_loaded.outcomes.items()):
        if isinstance(found, AstraError) or _is_ours(entry):
            continue
        filled = {folded(model._meta.table_name) for model in found.output_models}
        if OURS[0] in users.get(folded(entry.name), {}) and folded(entry.name) not in filled:
            yield package_of(entry.module), entry.name


def _same_model(users: dict[str, str]) -> PackageClashError:
    told = " and ".join(f"{package} ({what})" for package, what in users.items())
    kept = f"that of {OURS[0]} is used" if OURS[0] in users else "none of them can be used"
    return PackageClashError(f"the packages {told} use one name, and {kept}: rename one, or uninstall its package")


def folded(name: str) -> str:
    """Normalise the name of a model, table or pipeline: capitals, underscores and blanks around it don't count."""
    return name.strip().lower().replace("_", "")
