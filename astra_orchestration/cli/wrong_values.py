"""What is wrong with the value of an option, in the words of who typed it."""

import functools
from pathlib import PurePath
from typing import Any

import typer

from astra_orchestration.cli.answers import answer

__all__ = ["guard", "in_plain_words", "said_of_usage", "shortened"]

NUMBERS = {"int_": "no whole number", "float_": "no number", "finite_": "not finite", "string_": "no text in UTF-8"}
LIMITS = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}
LARGEST = 2**63 - 1
"""The largest whole number that a database holds."""
SHOWN = 80
LONGEST = 600


def said_of_usage(error: Any) -> str:
    """Say in one line what is wrong with what was typed, and where to look."""
    plain = in_plain_words(error) if isinstance(error, typer.BadParameter) else error
    words = " ".join(plain.format_message().split())
    if near := getattr(error, "possibilities", None):
        words = f"{plain.message}; did you mean {' or '.join(sorted(near))}?"
    words = shortened(words, LONGEST).removeprefix("Invalid value: ").replace(". Did you mean", "; did you mean")
    if words[1:2].islower():
        words = words[0].lower() + words[1:]
    where = " ".join(["astra", *answer().words])
    between = "" if words.endswith("?") else ";"
    return f"{words.rstrip('.')}{between} `{where} --help` shows what can be given"


def in_plain_words(error: typer.BadParameter) -> typer.BadParameter:
    """Give the error with a message that names the value, where typer has only what pydantic says."""
    causes = getattr(error.__cause__, "errors", None)
    if causes is None:
        return error
    cause = causes()[0]
    value, limits = cause["input"], cause.get("ctx", {})
    if cause["type"] == "value_error":  # what a choice says, which pydantic begins with words of its own
        return typer.BadParameter(str(limits["error"]), ctx=error.ctx, param=error.param)
    wrong = [what for begins, what in NUMBERS.items() if str(cause["type"]).startswith(begins)]
    wrong += [f"out of range: it has to be {words} {limits[name]}" for name, words in LIMITS.items() if name in limits]
    if not wrong:
        return error
    return typer.BadParameter(f"{shortened(repr(value), SHOWN)} is {wrong[0]}", ctx=error.ctx, param=error.param)


def shortened(text: str, longest: int) -> str:
    """Give text with its middle left out, if it is longer."""
    return text if len(text) <= longest else f"{text[: longest * 2 // 3]}...{text[-longest // 4 :]}"


def guard(command: Any) -> None:
    """Have a command refuse what no option takes, before it does anything: see `_what_is_wrong`."""
    function = command.callback
    if function is None or hasattr(function, "is_guarded"):
        return

    @functools.wraps(function)
    def guarded(**values: Any) -> object:
        for parameter in command.params:
            given = values.get(parameter.name)
            for one in given if isinstance(given, list | tuple) else [given]:
                if (wrong := _what_is_wrong(one, parameter.default)) is not None:
                    raise typer.BadParameter(wrong, param=parameter)
        return function(**values)

    guarded.is_guarded = True  # pyright: ignore[reportAttributeAccessIssue]
    command.callback = guarded


def _what_is_wrong(value: object, default: object) -> str | None:
    """Say why a value can't be meant: no database holds it, or it is what an unset variable of a shell leaves."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"'{shortened(str(value), SHOWN)}' is too large for any database"
    if isinstance(value, str | PurePath):
        text = str(value)
        if text == "" and default != "":
            return "'' is empty; leave it out, or say what is meant"
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"{shortened(repr(text), SHOWN)} is no text in UTF-8"
    return None
