"""Text about a value of any kind: never longer than asked for, always storable, and never an exception.

Values come from pipelines. Their ``repr`` may raise, end the process, give megabytes, or hold what a terminal obeys and
a database refuses.
"""

import reprlib

__all__ = ["FOREIGN_ERRORS", "name_of_type", "said", "shown", "storable"]

FOREIGN_ERRORS = (Exception, SystemExit, GeneratorExit)
"""What another's method may raise when it is called for a value; Ctrl-C isn't its own."""

SHOWN = 60
LARGEST_SHOWN_INTEGER = 256  # bits; Python refuses to write those of over 4,300 digits

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = 8
_short.maxstring = _short.maxother = 1_000


def shown(value: object, most: int = SHOWN) -> str:
    """Describe a value on one line, as its ``repr`` where that can be had.

    Parameters
    ----------
    value : object
        Anything.
    most : int, optional
        The longest that the text may be, in characters.
    """
    try:
        text = _described(value, most)
    except FOREIGN_ERRORS as error:
        text = f"<{name_of_type(value)} whose repr raises {name_of_type(error)}>"
    return storable(text, most)


def said(error: BaseException, most: int = 500) -> str:
    """Give what an exception says, on one line, after its type unless that is one of ours or says nothing."""
    try:
        text = str(error)
    except FOREIGN_ERRORS as another:
        text = f"its message can't be had: {name_of_type(another)}"
    told = isinstance(error, TypeError | ValueError | OverflowError) and text
    return storable(text if told else f"{name_of_type(error)}: {text}", most)


def storable(text: str, most: int) -> str:
    """Give text on one line that every database takes and no terminal obeys.

    Parameters
    ----------
    text : str
        The text. Characters that can't be printed are escaped, white space is made one blank.
    most : int
        The longest that the result may be, in characters; what is longer ends in dots.
    """
    line = " ".join(text[: 2 * most + 2].split())
    if not line.isprintable():
        line = "".join(map(_escaped, line[: most + 1]))
    return line if len(line) <= most and len(text) <= 2 * most + 2 else f"{line[: most - 3]}..."


def name_of_type(value: object) -> str:
    """Give the name of a value's type, whatever its metaclass says."""
    return type.__dict__["__name__"].__get__(type(value))


def _described(value: object, most: int) -> str:
    kind = type(value)
    if issubclass(kind, int) and int.bit_length(value) > LARGEST_SHOWN_INTEGER:  # pyright: ignore[reportArgumentType]
        return f"<{name_of_type(value)} of {int.bit_length(value)} bits>"  # pyright: ignore[reportArgumentType]
    if kind in (str, bytes):
        return repr(value[: most + 1])  # pyright: ignore[reportIndexIssue]
    return _short.repr(value) if kind in (list, tuple, dict, set, frozenset) else repr(value)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
