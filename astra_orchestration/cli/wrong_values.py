"""What is wrong with the value of an option, in the words of who typed it."""

import typer

NUMBERS = {"int_": "no whole number", "float_": "no number", "finite_": "not finite"}


def in_plain_words(error: typer.BadParameter) -> typer.BadParameter:
    """Give the error with a message that names the value, where typer has only what pydantic says."""
    causes = getattr(error.__cause__, "errors", None)
    if causes is None:
        return error
    kind, value = str(causes()[0]["type"]), causes()[0]["input"]
    for begins, what in NUMBERS.items():
        if kind.startswith(begins):
            return typer.BadParameter(f"{value!r} is {what}", ctx=error.ctx, param=error.param)
    return error
