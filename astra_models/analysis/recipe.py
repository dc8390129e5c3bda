"""What results are made by: a pipeline's version, and its parameters as they were used.

Two recipes are the same if their digests are. A file counts by its content and not by its name, so that a grid may be
moved; a folder counts by the names and contents of its files.
"""

import errno
import hashlib
import inspect
import json
import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from astra_models.analysis.parameter_types import MOST_BITS
from astra_models.analysis.parameters import REQUIRED, Parameter
from astra_models.errors import NotSetUpError, ParameterError, did_you_mean
from astra_models.messages import shown
from astra_models.outputs import Pipeline

__all__ = [
    "HasParameters",
    "Recipe",
    "content_digest",
    "is_set_up",
    "make_recipe",
    "recipe_of",
    "require_known",
    "warnings_of",
]

MOST_CHARACTERS = 100_000
MOST_FILES = 100_000
DEEPEST = 3
SETTLED = 2.0
"""Seconds after which a file's size and times tell a later change; file systems count time in steps."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Recipe:
    """A pipeline's version, and its parameters for one run.

    Attributes
    ----------
    pipeline, version : str
        The pipeline's name, and its own version.
    values : mapping of str to object
        The parameters as they are used: those that were given, else their environment variables, else their defaults.
    """

    pipeline: str
    version: str
    values: Mapping[str, object]
    _parameters: Mapping[str, Parameter]
    _bound: inspect.BoundArguments

    def arguments(self) -> tuple[tuple[object, ...], dict[str, object]]:
        """Give the positional and the keyword arguments that follow the spectra, with lists of their own."""

        def own(value: object) -> object:
            return list(value) if type(value) is list else value

        return tuple(map(own, self._bound.args)), {name: own(value) for name, value in self._bound.kwargs.items()}

    def as_json(self) -> str:
        """Give all values as JSON, in order of their names, in ASCII: the same text for the same values.

        Paths start from the root. What JSON has no number for is written as ``{"float": "nan"}``, and a value that
        can't be written (a direct call may give any object) by its type, as ``{"object": "module.Type"}``.
        """
        return _written({name: self._plain(name, value) for name, value in self.values.items()})

    @cached_property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the files and folders that parameters with an effect name, and of those that these name, by path.

        They are read when this is first asked for, and again only if they have changed.

        Raises
        ------
        ParameterError
            If one isn't there, or can't be read.
        """
        return {path_text(path): _sha256(parameter, path) for parameter, path in (*self._paths(), *self._named())}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the version and of what results depend on, as 64 hexadecimal digits."""
        values = {name: self._content(name, value) for name, value in self.values.items() if self._has_effect(name)}
        return hashlib.sha256(_written({"version": self.version, "parameters": values}).encode("ascii")).hexdigest()

    def require_files(self) -> None:
        """Make sure that the files and folders which parameters with an effect name are there.

        Raises
        ------
        ParameterError
            If one isn't.
        """
        for parameter, path in self._paths():
            _status(parameter, path)
        for parameter, path in self._named():
            _status(parameter, path)

    def _has_effect(self, name: str) -> bool:
        return name not in self._parameters or self._parameters[name].has_effect

    def _paths(self) -> Iterator[tuple[Parameter, Path]]:
        for name, value in self.values.items():
            if name in self._parameters and self._has_effect(name):
                for item in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(item, Path):
                        yield self._parameters[name], item

    def _named(self) -> Iterator[tuple[Parameter, Path]]:
        for parameter, path in self._paths():
            yield from ((parameter, named) for named in parameter.named_by(path))

    def _content(self, name: str, value: object) -> Json:
        """Give a value as JSON, paths by what they name."""
        if isinstance(value, list | tuple):
            return [self._content(name, item) for item in value]
        if isinstance(value, Path) and name in self._parameters:
            content: dict[str, Json] = {"sha256": self.files[path_text(value)]}
            named: list[Json] = [self.files[path_text(path)] for path in self._parameters[name].named_by(value)]
            if named:
                content["named"] = named
            return content
        return self._plain(name, value)

    def _plain(self, name: str, value: object) -> Json:
        """Give a value as JSON, paths by where they are."""
        parameter = self._parameters.get(name)
        is_default = parameter is not None and value is parameter.default
        return _plain(value, "default object" if is_default else "object")


def _plain(value: object, otherwise: str, depth: int = 0) -> Json:
    if value is None or isinstance(value, bool) or type(value) is str:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is int and value.bit_length() <= MOST_BITS:
        return value
    if isinstance(value, Path):
        return path_text(value)
    if isinstance(value, list | tuple) and depth < DEEPEST:
        return [_plain(item, otherwise, depth + 1) for item in value]
    return {otherwise: f"{type(value).__module__}.{type(value).__qualname__}"}


def path_text(path: Path) -> str:
    """Give a path from the root, so that it is the same from every folder."""
    return os.path.abspath(path)


def _written(value: Json) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)


@runtime_checkable
class HasParameters(Protocol):
    """A pipeline that can be set for a run; `astra_models.analysis.task.Task` is one."""

    name: str
    version: str
    parameters: Mapping[str, Parameter]

    def recipe(self, /, *args: object, **given: object) -> Recipe:
        """Say what results are made by."""
        ...

    def recipe_as_used(self, values: Mapping[str, object]) -> Recipe:
        """Say again what results are made by, from the values of a recipe."""
        ...


@runtime_checkable
class HasWarnings(Protocol):
    """A pipeline that may say what to know before a run; `astra_models.analysis.task.Task` is one."""

    def warnings(self, /, **given: object) -> tuple[str, ...]:
        """Say what to know before a run."""
        ...


# ---- making one


def recipe_of(pipeline: Pipeline, given: Mapping[str, object] | None = None) -> Recipe | None:
    """Give the recipe of a run of a pipeline; None for one that doesn't know of parameters.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    given : mapping of str to object, optional
        Values of its parameters; the others have their defaults.

    Raises
    ------
    ParameterError
        If a name is unknown, a value is of another type, one is missing, or a file that one names isn't there.
    """
    if isinstance(pipeline, HasParameters):
        return pipeline.recipe(**given or {})
    require_known(pipeline.name, given or {}, {})
    return None


def is_set_up(pipeline: Pipeline) -> bool:
    """Tell whether a pipeline has what it needs to run here, as far as it says so by `NotSetUpError`."""
    try:
        recipe_of(pipeline)
    except NotSetUpError:
        return False
    except ParameterError:  # something is wrong with what it has
        return True
    return True


def warnings_of(pipeline: Pipeline, given: Mapping[str, object] | None = None) -> tuple[str, ...]:
    """Give what a pipeline warns of before a run with some values of its parameters.

    Raises
    ------
    ParameterError
        As `recipe_of` does.
    """
    return pipeline.warnings(**given or {}) if isinstance(pipeline, HasWarnings) else ()


def make_recipe(
    pipeline: str,
    version: str,
    function: Callable[..., object],
    parameters: Mapping[str, Parameter],
    given: tuple[tuple[object, ...], Mapping[str, object]],
    *,
    as_used: bool = False,
) -> Recipe:
    """Make a recipe of what a call gives.

    Parameters
    ----------
    pipeline, version : str
        The pipeline's name, and its own version.
    function : callable
        Its generator function.
    parameters : mapping
        Its parameters, from `read_parameters`.
    given : tuple
        The positional arguments after the spectra, and the keyword arguments.
    as_used : bool, optional
        Whether these are the values of another recipe, to be taken as they are: no environment variable counts.

    Raises
    ------
    ParameterError
        If a name is unknown, a value is of another type, one is missing, or a file that one names isn't there.
    """
    signature = inspect.signature(function)
    declared = list(signature.parameters.values())[1:]
    signature = signature.replace(parameters=declared)
    args, keywords = given
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in declared):
        require_known(pipeline, keywords, parameters)
    try:
        bound = signature.bind_partial(*args, **keywords)
    except TypeError as error:
        raise ParameterError(f"{pipeline}: {error}") from None
    value_of = _value_as_used if as_used else _value
    values = {name: value_of(parameter, bound.arguments) for name, parameter in parameters.items()}
    others = {one.name: bound.arguments[one.name] for one in declared if one.name in bound.arguments.keys() - values}
    bound.arguments = {one.name: (values | others)[one.name] for one in declared if one.name in values | others}
    for one in declared:  # what is taken by *args is a list among the values, by **kwargs values of their own
        if one.name in others:
            values |= others[one.name] if one.kind is inspect.Parameter.VAR_KEYWORD else {one.name: others[one.name]}
    recipe = Recipe(pipeline, version, values, parameters, bound)
    if len(recipe.as_json()) > MOST_CHARACTERS:
        raise ParameterError(
            f"{pipeline}: the parameters are longer than {MOST_CHARACTERS:,} characters as text; put what is long into "
            "a file, and give its path"
        )
    recipe.require_files()
    return recipe


def require_known(pipeline: str, names: Iterable[str], parameters: Mapping[str, Parameter]) -> None:
    """Make sure that a pipeline has parameters of some names.

    Raises
    ------
    ParameterError
        If it hasn't, with the nearest name.
    """
    for name in names:
        if name not in parameters:
            hint = did_you_mean(name[:80], parameters)
            raise ParameterError(f"{pipeline} has no parameter {shown(name)}; {hint}")


def _value_as_used(parameter: Parameter, given: Mapping[str, object]) -> object:
    return parameter.check(given[parameter.name]) if parameter.name in given else _value(parameter, given)


def _value(parameter: Parameter, given: Mapping[str, object]) -> object:
    value = given.get(parameter.name, REQUIRED)
    if value is REQUIRED or (value is None and parameter.environment):
        value = parameter.from_environment(os.environ)
        if value is REQUIRED:
            value = parameter.default
    if value is REQUIRED:
        raise ParameterError(
            f"{parameter.pipeline}: the parameter {parameter.name} has no value: it has no default, so give it in a "
            "direct call, or write a default into the pipeline's signature"
        )
    value = value if value is parameter.default and parameter.type is None else parameter.check(value)
    return parameter.resolved(value)


# ---- files


_known: dict[tuple[str, int, int, int, int], str] = {}


def _status(parameter: Parameter, path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(parameter, path, error) from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ParameterError(f"{_names(parameter, path)}, which is neither a file nor a folder")
    return status


def _unreadable(parameter: Parameter, path: Path, error: Exception) -> ParameterError:
    if isinstance(error, FileNotFoundError):
        return ParameterError(f"{_names(parameter, path)}, which isn't there")
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return ParameterError(f"{_names(parameter, path)}, which can't be read: {why}")


def _names(parameter: Parameter, path: Path) -> str:
    variable = f" (or the environment variable {parameter.environment})" if parameter.environment else ""
    return f"{parameter.pipeline}: the parameter {parameter.name}{variable} names {shown(str(path))}"


def content_digest(path: Path) -> str:
    """Hash a file's content, or the names and contents of all files in a folder: SHA-256, 64 hexadecimal digits.

    Raises
    ------
    OSError
        If something can't be read, or there are too many files.
    """
    if not path.is_dir():
        return _sha256_of_file(path)
    total = hashlib.sha256()
    for file in sorted(_files_below(path)):
        relative = os.fsencode(file.relative_to(path))
        total.update(b"%d:%b%b\n" % (len(relative), relative, _sha256_of_file(file).encode("ascii")))
    return total.hexdigest()


def _sha256(parameter: Parameter, path: Path) -> str:
    _status(parameter, path)
    try:
        return content_digest(path)
    except OSError as error:
        raise _unreadable(parameter, path, error) from error


def _files_below(folder: Path) -> list[Path]:
    """List a folder's files; links to folders are followed, each folder once."""
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        files += [file for file in (Path(root, one) for one in names) if file.is_file()]
        if len(files) > MOST_FILES:
            raise OSError(errno.EFBIG, f"it has more than {MOST_FILES:,} files")
    return files


def _sha256_of_file(path: Path) -> str:
    """Hash a file; again only if its path, size, times or inode have changed."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = (str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if key in _known:
            return _known[key]
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    unchanged = (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == key[1:4]
    if unchanged and time.time() - max(after.st_mtime, after.st_ctime) > SETTLED:
        _known[key] = digest
    return digest
