"""What is wrong with the value of an option, in the words of who typed it."""

import typer

NUMBERS = {"int_": "no whole number", "float_": "no number", "finite_": "not finite"}
LIMITS = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}


def in_plain_words(error: typer.BadParameter) -> typer.BadParameter:
    """Give the error with a message that names the value, where typer has only what pydantic says."""
    causes = getattr(error.__cause__, "errors", None)
    if causes is None:
        return error
    cause = causes()[0]
    value, limits = cause["input"], cause.get("ctx", {})
    wrong = [what for begins, what in NUMBERS.items() if str(cause["type"]).startswith(begins)]
    wrong += [f"out of range: it has to be {words} {limits[name]}" for name, words in LIMITS.items() if name in limits]
    return typer.BadParameter(f"{value!r} is {wrong[0]}", ctx=error.ctx, param=error.param) if wrong else error
