"""The parameters of a pipeline: what may be set for a run, by its generator's signature.

A parameter with an annotation and a default is configuration: an option of ``astra run``, a field of the launchpad,
and a part of what each result was made by. Others can be given by a direct call only.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astra_models.analysis.parameter_types import TYPES, ParameterType, parameter_type
from astra_models.errors import AstraError, ParameterError, TaskError, did_you_mean
from astra_models.messages import shown

__all__ = ["COMMAND_NAMES", "REQUIRED", "Parameter", "description_of", "option_of", "read_parameters"]

REQUIRED = inspect.Parameter.empty
"""The default of a parameter that has none."""

COMMAND_NAMES = frozenset(
    {
        *("pipeline", "limit", "sdss_id", "sdss_ids", "rerun", "reason", "batch_size", "min_answered", "keep_good"),
        *("engine", "workers", "dry_run", "keep", "help", "as_json"),
    }
)
"""What ``astra run`` and the launchpad call their own options and fields (a test compares)."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline.

    Attributes
    ----------
    pipeline, name : str
        The pipeline's name, and the parameter's.
    type : ParameterType or None
        What it takes; None if nothing is said, and anything goes.
    default : object
        Its value if none is given; `REQUIRED` if there is none.
    environment : str or None
        The environment variable that counts before the default.
    has_effect : bool
        Whether results depend on it.
    description : str
        What the docstring says of it, in one line.
    resolve : callable or None
        Says which value is used where one is given, or none: the file that a name stands for.
    files : callable or None
        Says which further files a file names; results depend on them, too.
    """

    pipeline: str
    name: str
    type: ParameterType | None
    default: object = REQUIRED
    environment: str | None = None
    has_effect: bool = True
    description: str = ""
    resolve: Callable[[object], object] | None = None
    files: Callable[[Path], Iterable[Path]] | None = None

    @property
    def is_configuration(self) -> bool:
        """Whether it can be set by ``astra run`` and in the launchpad; else only a direct call can give it."""
        return self.type is not None and self.default is not REQUIRED

    @property
    def option(self) -> str:
        """The option of ``astra run``: ``--n-iterations`` for ``n_iterations``."""
        return option_of(self.name)

    @property
    def without_option(self) -> str | None:
        """The option that says false, None, or a list of nothing: ``--no-n-iterations``; None if there is none."""
        if self.type is None:
            return None
        if self.type.is_flag or self.type.container or (self.type.optional and not self.environment):
            return f"--no-{self.option[2:]}"
        return None

    @property
    def none_option(self) -> str | None:
        """The option that says None where `without_option` says something else; None if there is none."""
        if self.type is None or not self.type.optional or self.environment:
            return None
        return f"--none-{self.option[2:]}" if self.type.is_flag or self.type.container else self.without_option

    @property
    def options(self) -> tuple[str, ...]:
        """All options of ``astra run`` that set it."""
        return tuple(dict.fromkeys(o for o in (self.option, self.without_option, self.none_option) if o))

    def check(self, value: object) -> object:
        """Give a value as the pipeline gets it.

        Raises
        ------
        ParameterError
            If it is of another type.
        """
        if self.type is None:
            return value
        try:
            return self.type.check(value)
        except ParameterError as error:
            raise ParameterError(f"{self.pipeline}: the parameter {self.name} takes {self.type}, and {error}") from None

    def resolved(self, value: object) -> object:
        """Give the value that is used where this one is given.

        Raises
        ------
        ParameterError
            If there is none.
        """
        if self.resolve is None:
            return value
        try:
            return self.check(self.resolve(value))
        except ParameterError:
            raise
        except AstraError as error:
            raise ParameterError(f"{self.pipeline}: the parameter {self.name}: {error}") from error

    def named_by(self, path: Path) -> tuple[Path, ...]:
        """List the further files that a file names.

        Raises
        ------
        ParameterError
            If that can't be found out.
        """
        if self.files is None:
            return ()
        try:
            return tuple(self.files(path))
        except ParameterError:
            raise
        except AstraError as error:
            raise ParameterError(f"{self.pipeline}: the parameter {self.name}: {error}") from error

    def from_text(self, text: str) -> object:
        """Read its value, or one of its list, from text.

        Raises
        ------
        ParameterError
            If the text says no value of its type.
        """
        if self.type is None:
            raise ParameterError(f"{self.pipeline}: the parameter {self.name} can't be given as text")
        try:
            return self.type.from_text(text)
        except ParameterError as error:
            raise ParameterError(f"{self.pipeline}: the parameter {self.name} takes {self.type}, and {error}") from None

    def from_environment(self, environment: Mapping[str, str]) -> object:
        """Read its value from its environment variable; `REQUIRED` if that isn't set, or empty.

        Raises
        ------
        ParameterError
            If the variable says no value of its type.
        """
        text = environment.get(self.environment) if self.environment else None
        if not text:
            return REQUIRED
        try:
            return self.from_text(text)
        except ParameterError as error:
            raise ParameterError(f"{error} (from the environment variable {self.environment})") from None


def option_of(name: str) -> str:
    """Name the option of a parameter: ``--n-iterations`` for ``n_iterations``."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def read_parameters(
    function: Callable[..., object],
    hints: Mapping[str, object],
    *,
    reserved: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
    without_effect: Sequence[str] = (),
    resolve: Mapping[str, Callable[[object], object]] | None = None,
    files: Mapping[str, Callable[[Path], Iterable[Path]]] | None = None,
) -> dict[str, Parameter]:
    """Read the parameters of a pipeline from its generator's signature: all but the first, which are the spectra.

    Parameters
    ----------
    function : callable
        The generator function.
    hints : mapping
        Its annotations, resolved.
    reserved : collection of str, optional
        Names that it can't use.
    environment : mapping of str to str, optional
        Environment variables by the parameters that they set.
    without_effect : sequence of str, optional
        Parameters that no result depends on.
    resolve : mapping of str to callable, optional
        For some parameters, the function that says which value is used where one is given, or None.
    files : mapping of str to callable, optional
        For some parameters, the function that says which further files the file of its value names.

    Returns
    -------
    dict
        The parameters by their names, in order, without ``*args`` and ``**kwargs``.

    Raises
    ------
    TaskError
        If a name is taken, a type is none of those that there are, or a default isn't of its parameter's type.
    """
    environment, resolve, files = environment or {}, resolve or {}, files or {}
    described = _descriptions(inspect.getdoc(function) or "")
    name = function.__name__
    declared = list(inspect.signature(function).parameters.values())[1:]
    _require_free((parameter.name for parameter in declared), {*reserved, *COMMAND_NAMES}, name)
    parameters = {
        one.name: Parameter(
            name,
            one.name,
            _type_of(name, one, hints),
            list(one.default) if type(one.default) is list else one.default,  # a generator may change its own
            environment.get(one.name),
            one.name not in without_effect,
            described.get(one.name, ""),
            resolve.get(one.name),
            files.get(one.name),
        )
        for one in declared
        if one.kind not in _VARIADIC
    }
    _require_known(name, "environment", environment, parameters)
    _require_known(name, "without_effect", without_effect, parameters)
    _require_known(name, "resolve", resolve, parameters)
    _require_known(name, "files", files, parameters)
    for one in declared:
        if one.kind is inspect.Parameter.POSITIONAL_ONLY and parameters[one.name].is_configuration:
            raise TaskError(f"{name}: its parameter {one.name!r} can't be given by name; write it behind the `/`")
    for parameter in parameters.values():
        _require_default(parameter)
        _require_variable(parameter)
    _require_different_options(parameters.values())
    return parameters


def _require_free(names: Iterable[str], taken: Collection[str], pipeline: str) -> None:
    options = {option_of(name): name for name in taken}
    for name in names:
        if name in taken or option_of(name) in options:
            raise TaskError(
                f"{pipeline}: its parameter {name!r} would never get a value: the task or `astra run` itself uses the "
                f"name {name if name in taken else options[option_of(name)]!r}; rename the parameter"
            )


def _type_of(pipeline: str, parameter: inspect.Parameter, hints: Mapping[str, object]) -> ParameterType | None:
    """Give what a parameter takes; None if its annotation says nothing, or only a direct call can give it."""
    hint = hints.get(parameter.name)
    if hint in (None, Any, object):
        return None
    try:
        return parameter_type(hint)
    except ParameterError as error:
        if parameter.default is REQUIRED:
            return None
        raise TaskError(
            f"{pipeline}: the annotation of its parameter {parameter.name!r} is none that can be set for a run: "
            f"{error}. Write one of {TYPES}; or Any, if only a direct call is to give it"
        ) from None


def _require_known(pipeline: str, setting: str, names: Collection[str], known: Collection[str]) -> None:
    if isinstance(names, str):
        raise TaskError(f"{pipeline}: {setting}={shown(names)} is text; write {setting}=[{shown(names)}]")
    for name in names:
        if name not in known:
            hint = did_you_mean(str(name)[:80], known)
            raise TaskError(f"{pipeline}: {setting} names {shown(name)}, which is no parameter of it; {hint}")


def _require_default(parameter: Parameter) -> None:
    if not parameter.is_configuration:
        return
    try:
        parameter.check(parameter.default)
    except ParameterError as error:
        hint = f"; write `{parameter.name}: ... | None = None`" if parameter.default is None else ""
        raise TaskError(f"{error}: that is its default{hint}") from None
    if parameter.name.startswith("_"):
        raise TaskError(
            f"{parameter.pipeline}: the name of its parameter {parameter.name!r} begins with an underscore, and can't "
            "be an option of `astra run`; rename it"
        )


def _require_variable(parameter: Parameter) -> None:
    if parameter.environment is None:
        return
    if not isinstance(parameter.environment, str) or not VARIABLE.fullmatch(parameter.environment):
        raise TaskError(
            f"{parameter.pipeline}: {shown(parameter.environment)}, for its parameter {parameter.name!r}, is no name "
            "of an environment variable"
        )
    if not parameter.is_configuration or (parameter.type and parameter.type.container):
        raise TaskError(
            f"{parameter.pipeline}: the environment variable {parameter.environment} can't give its parameter "
            f"{parameter.name!r}, which has no type or no default, or takes a list"
        )


def _require_different_options(parameters: Iterable[Parameter]) -> None:
    users: dict[str, Parameter] = {}
    for parameter in parameters:
        for option in parameter.options if parameter.is_configuration else ():
            if (other := users.setdefault(option, parameter)) is not parameter:
                raise TaskError(
                    f"{parameter.pipeline}: its parameters {other.name!r} and {parameter.name!r} would share the "
                    f"option {option} of `astra run`; rename one"
                )


# ---- descriptions


def description_of(parameter: Parameter) -> str:
    """Describe a parameter in a line: what the docstring says, its environment variable, and whether it matters."""
    parts = [parameter.description]
    if parameter.environment:
        parts.append(f"Without it, the environment variable {parameter.environment} counts.")
    if not parameter.has_effect:
        parts.append("Results don't depend on it.")
    return " ".join(part for part in parts if part)


def _descriptions(docstring: str) -> dict[str, str]:
    """Read what a docstring's section of parameters says of each, as numpydoc writes it."""
    section = re.search(r"^Parameters\n-{3,}\n(.*?)(?=^\w[\w ]*\n-{3,}|\Z)", docstring, re.MULTILINE | re.DOTALL)
    described: dict[str, list[str]] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line and not line[0].isspace():
            names = [name.strip(" *") for name in line.split(":")[0].split(",")]
        else:
            for name in names:
                described.setdefault(name, []).append(line.strip())
    return {name: " ".join(filter(None, lines)) for name, lines in described.items()}
