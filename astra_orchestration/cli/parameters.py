"""The parameters of a pipeline as options of ``astra run``.

Which options there are is known when the pipeline is named: the command is made then, of the one without.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from astra_orchestration.cli.terminal import AstraGroup, escaped

if TYPE_CHECKING:
    from astra_models.analysis.parameter_types import ParameterType
    from astra_models.analysis.parameters import Parameter

__all__ = ["GroupWithParameters", "parameters_given"]

COMMAND = "run"
GIVEN = "astra.parameters"


class GroupWithParameters(AstraGroup):
    """Commands, of which ``run`` has options for the parameters of the pipeline that it is told."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and what it is given; that of a pipeline has the pipeline's options."""
        name, command, rest = super().resolve_command(ctx, args)
        if name == COMMAND and (pipeline := _pipeline_named(command, rest)) is not None:
            command = _with_options(command, pipeline)
        return name, command, rest


def parameters_given(context: typer.Context) -> Mapping[str, object]:
    """Give the values of the pipeline's parameters that the command line has."""
    return context.meta.get(GIVEN, {})


def _pipeline_named(command: Any, arguments: Sequence[str]) -> str | None:
    """Find the pipeline's name: the first argument that is no option, and no option's value as far as that is known."""
    from astra_models.outputs import pipeline_names

    with_value = {option for one in command.params if not getattr(one, "is_flag", True) for option in one.opts}
    positional, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith("-"):
            positional.append(argument)
        skip = argument in with_value and not skip
    names = pipeline_names()
    return next((one for one in positional if one in names), positional[0] if positional else None)


def _with_options(command: Any, pipeline: str) -> Any:
    """Make a command that has options for a pipeline's parameters, too."""
    from astra_models.analysis.recipe import HasParameters
    from astra_models.outputs import load_pipeline

    loaded = load_pipeline(pipeline)
    if not isinstance(loaded, HasParameters) or not loaded.parameters:
        return command
    taken = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    options = [o for one in loaded.parameters.values() if one.is_configuration for o in _options(one, taken)]
    direct = [one.name for one in loaded.parameters.values() if not one.is_configuration]
    told = f"\n\nOnly a direct call can give {', '.join(direct)}." if direct else ""
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_show_locals=False)
    make = alone.command(command.name, help=f"{command.help}{told}", epilog=command.epilog)
    make(_joined(inspect.unwrap(command.callback), options))
    return typer.main.get_command(alone)


@dataclass(frozen=True)
class _Option:
    """An option that says something of a parameter: its value, or ("none", "empty", "flag") one that needs no text."""

    parameter: "Parameter"
    says: str
    name: str
    hint: object

    @property
    def argument(self) -> str:
        """The name under which the command line keeps the option's value."""
        return f"{self.says}_of_{self.parameter.name}"

    def value(self, given: object) -> object:
        """Give the parameter's value that was meant.

        Raises
        ------
        typer.BadParameter
            If it is of another type: that is wrong usage.
        """
        from astra_models.errors import ParameterError

        if self.says in ("none", "empty"):
            return None if self.says == "none" else []
        if self.says == "flag":
            return given
        try:
            if isinstance(given, str):
                return self.parameter.from_text(given)
            return [self.parameter.from_text(text) for text in cast("list[str]", given)]
        except ParameterError as error:
            raise typer.BadParameter(str(error), param_hint=self.name) from error


def _options(parameter: "Parameter", taken: Collection[str]) -> Iterator[_Option]:
    """Give the options of a parameter."""
    from astra_models.analysis.parameters import description_of
    from astra_models.errors import TaskError

    if clash := sorted(set(taken).intersection(parameter.options)):
        raise TaskError(
            f"{parameter.pipeline}: its parameter {parameter.name!r} would take the option {clash[0]} from "
            f"`astra {COMMAND}`; rename it"
        )
    kind = cast("ParameterType", parameter.type)
    panel = f"Parameters of {parameter.pipeline}"
    described = escaped(description_of(parameter)) or None
    default = _default(parameter)
    if kind.is_flag:
        name = f"{parameter.option}/{parameter.without_option}"
        option = typer.Option(name, help=described, show_default=default, rich_help_panel=panel)
        yield _Option(parameter, "flag", parameter.option, Annotated[bool | None, option])
    else:
        many = "May be repeated." if kind.container else ""
        option = typer.Option(
            parameter.option,
            metavar=f"<{kind}>",
            help=" ".join(filter(None, (described, many))) or None,
            show_default=default,
            rich_help_panel=panel,
        )
        hint = list[str] | None if kind.container else str | None
        yield _Option(parameter, "value", parameter.option, Annotated[hint, option])
    if parameter.none_option:
        option = typer.Option(parameter.none_option, help=f"Set {parameter.name} to None.", rich_help_panel=panel)
        yield _Option(parameter, "none", parameter.none_option, Annotated[bool, option])
    if kind.container and parameter.without_option:
        option = typer.Option(
            parameter.without_option, help=f"Set {parameter.name} to an empty list.", rich_help_panel=panel
        )
        yield _Option(parameter, "empty", parameter.without_option, Annotated[bool, option])


def _default(parameter: "Parameter") -> str | bool:
    """Give the default as the help shows it; False if there is nothing to show."""
    kind, default = cast("ParameterType", parameter.type), parameter.check(parameter.default)
    if default is None:
        return False
    texts = [kind.to_text(item) for item in (default if isinstance(default, list | tuple) else [default])]
    return ", ".join(texts) or "an empty list"


def _joined(function: Callable[..., object], options: Sequence[_Option]) -> Callable[..., object]:
    """Make a function that takes what another one takes, and options; what these give is in the context."""
    signature = inspect.signature(function, eval_str=True)
    context_name = next(one.name for one in signature.parameters.values() if one.annotation is typer.Context)

    def command(**values: object) -> object:
        given: dict[str, object] = {}
        for option in options:
            value = values.pop(option.argument)
            if value is None or (value is False and option.says != "flag"):
                continue
            name = option.parameter.name
            if name in given:
                raise typer.BadParameter(f"{name} is given twice, with different meanings", param_hint=option.name)
            given[name] = option.value(value)
        cast("typer.Context", values[context_name]).meta[GIVEN] = given
        return function(**values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(
            one.argument, keyword, default=False if one.says in ("none", "empty") else None, annotation=one.hint
        )
        for one in options
    ]
    joined = [*(one.replace(kind=keyword) for one in signature.parameters.values()), *more]
    command.__signature__ = signature.replace(parameters=joined)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {one.name: one.annotation for one in joined}
    command.__doc__ = function.__doc__
    return command
