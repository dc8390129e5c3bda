"""Texts of exceptions and of values, as they can be stored, logged and printed. Nothing here raises.

Text that others made may be anything: an exception whose ``__str__`` raises, a ``repr`` of 50 MB, a NUL that PostgreSQL
refuses, a lone surrogate that no file takes, a control sequence that a terminal obeys.
"""

import itertools
import linecache
import re
import reprlib
import traceback
from collections.abc import Iterator
from types import TracebackType

__all__ = [
    "MISTAKES",
    "SHOWN",
    "error_text",
    "name_of_type",
    "one_line",
    "presentable",
    "printable",
    "safe_text",
    "said",
    "shown",
    "storable",
    "traceback_text",
]

LONGEST_TEXT = 2000
LONGEST_TRACEBACK = 10_000
LONGEST_SOURCE_LINE = 200
FRAMES = 20
CHAINED = 5
SHOWN = 60
LARGEST_SHOWN_INTEGER = 256  # bits; Python refuses to write those of over 4,300 digits
BEGINNING = 0.8  # the share of a shortened text that is of its beginning

MISTAKES = (Exception, SystemExit, GeneratorExit)
"""What code raises when it fails, and what a value's own methods may raise. Ctrl-C is none of these."""

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = 8
_short.maxstring = _short.maxother = 1_000

_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Control characters, lone surrogates, and what is invisible or changes the direction of text."""


def printable(text: str) -> str:
    """Escape control characters, lone surrogates, and what is invisible or changes the direction of text.

    Line breaks and tabs stay. An escape looks as in a Python string.
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def safe_text(value: object, longest: int = LONGEST_TEXT) -> str:
    """Give ``str(value)`` shortened and escaped; if that raises, say so.

    Parameters
    ----------
    value : object
        Anything.
    longest : int, optional
        About how many characters are kept; of a longer text, the beginning and the end.
    """
    text = _as_text(value)
    if len(text) > longest:
        beginning = int(longest * BEGINNING)
        left_out = f" [... {len(text) - longest} characters ...] "
        text = text[:beginning] + left_out + text[len(text) - (longest - beginning) :]
    shown = printable(text)
    # Escapes take up to ten characters each.
    return shown if len(shown) <= 2 * longest else shown[: 2 * longest] + " [...]"


def error_text(error: BaseException, longest: int = LONGEST_TEXT) -> str:
    """Give the name of an exception's class and its message, shortened and escaped."""
    name, message = _class_name(error), safe_text(error, longest)
    return f"{name}: {message}" if message else name


def one_line(text: str) -> str:
    """Give text as one line: for logs, where a line break could pretend to be another entry."""
    return " ".join(text.split())


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
    except MISTAKES as error:
        text = f"<{name_of_type(value)} whose repr raises {name_of_type(error)}>"
    return storable(text, most)


def said(error: BaseException, most: int = 500) -> str:
    """Give what an exception says, on one line, after its type unless that is one of ours or says nothing."""
    try:
        text = str(error)
    except MISTAKES as another:
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


def traceback_text(error: BaseException, skip: int = 0) -> str:
    """Give the last 20 frames of an exception and of those that it came from, as text of at most 10,000 characters.

    Parameters
    ----------
    error : BaseException
        The exception.
    skip : int, optional
        How many frames of the caller to leave out at the beginning.
    """
    try:
        parts = list(_chain(error, skip))
    except MISTAKES as failure:  # an exception's attributes may be anything
        parts = [f"(no traceback: {_class_name(failure)})\n"]
    text = "".join(reversed(parts)) + error_text(error, LONGEST_TEXT // 4)
    return text if len(text) <= LONGEST_TRACEBACK else "[...]\n" + text[-LONGEST_TRACEBACK + 6 :]


def presentable(error: BaseException) -> BaseException:
    """Give an exception that can be shown by whoever prints tracebacks: the same one, unless its text is unsafe.

    Otherwise it is another one that has the same traceback, and a text that is shortened and escaped.
    """
    try:
        names = [f"{type(one).__name__}: {one}" for one in _linked(error)]
        text = "".join([*names, *traceback.format_exception(error)])
    except MISTAKES:  # its text raises
        text = "\0"
    if issubclass(type(error), Exception) and len(text) <= 10 * LONGEST_TRACEBACK and printable(text) == text:
        return error
    return UnprintableError(error_text(error)).with_traceback(error.__traceback__)


class UnprintableError(Exception):
    """Stands for an exception that can't be shown as it is; says its class and message, shortened and escaped."""


def _as_text(value: object) -> str:
    try:
        text = str(value)
        return str.__getitem__(text, slice(0, str.__len__(text)))  # of a class derived from str, a plain one
    except MISTAKES as failure:
        return f"({_class_name(value)}, whose text can't be made: {_class_name(failure)})"


def _class_name(value: object) -> str:
    # Not `type(value).__name__`, which a metaclass may have replaced.
    name = type.__dict__["__name__"].__get__(type(value))
    return printable(name[:LONGEST_SOURCE_LINE])


def _linked(error: BaseException) -> list[BaseException]:
    """Give an exception and all that are shown with it."""
    linked: dict[int, BaseException] = {}
    found: list[BaseException | None] = [error]
    while found:
        one = found.pop()
        if one is not None and id(one) not in linked:
            linked[id(one)] = one
            found += [one.__cause__, one.__context__]
    return list(linked.values())


def _chain(error: BaseException, skip: int) -> Iterator[str]:
    """Give the frames of an exception and of those before it, the latest first, until there are enough."""
    left, seen = FRAMES, set()
    current: BaseException | None = error
    for number in range(CHAINED):
        if current is None or id(current) in seen or left <= 0:
            return
        seen.add(id(current))
        if number:
            yield f"{error_text(current, LONGEST_SOURCE_LINE)}\n\nwhich led to:\n"
        frames = _frames(current.__traceback__, skip if not number else 0)
        yield "".join(frames[-left:])
        left -= len(frames)
        earlier = None if current.__suppress_context__ else current.__context__
        current = earlier if current.__cause__ is None else current.__cause__


def _frames(innermost: TracebackType | None, skip: int) -> list[str]:
    walked = itertools.islice(traceback.walk_tb(innermost), skip, None)
    last: list[tuple[str, int, str]] = []
    for frame, line in walked:
        last.append((frame.f_code.co_filename, line, frame.f_code.co_name))
        del last[:-FRAMES]
    return [_frame_text(*place) for place in last]


def _frame_text(path: str, line: int, function: str) -> str:
    try:
        source = linecache.getline(path, line).strip()
    except MISTAKES:  # whatever loads the source
        source = ""
    place = f'  File "{safe_text(path, LONGEST_SOURCE_LINE)}", line {line}, in {safe_text(function, 100)}\n'
    return place + (f"    {safe_text(source, LONGEST_SOURCE_LINE)}\n" if source else "")


def _described(value: object, most: int) -> str:
    kind = type(value)
    if issubclass(kind, int) and int.bit_length(value) > LARGEST_SHOWN_INTEGER:  # pyright: ignore[reportArgumentType]
        return f"<{name_of_type(value)} of {int.bit_length(value)} bits>"  # pyright: ignore[reportArgumentType]
    if kind in (str, bytes):
        return repr(value[: most + 1])  # pyright: ignore[reportIndexIssue]
    return _short.repr(value) if kind in (list, tuple, dict, set, frozenset) else repr(value)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
