"""What a command says: to people in sentences and tables, to programs (``--json``) in one document of one form.

While ``--json`` is given, sentences that would go to standard output are kept, and become the ``messages`` of the
document; those of standard error are printed there, too. ``docs/json.md`` describes the form; its JSON Schema is
``answer.schema.json``, beside this module.
"""

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime
from typing import IO, Any, Literal

__all__ = [
    "FORMAT",
    "Answer",
    "answer",
    "begin",
    "give",
    "into_file",
    "is_json",
    "output",
    "plain",
    "rows_follow",
    "write_file",
]

FORMAT = "astra/1"
"""Name and number of the form. The number grows when a key goes or means something else, not when one is added."""

Level = Literal["note", "warning", "error"]


@dataclass
class Answer:
    """The answer of the command under way.

    Parameters
    ----------
    as_json : bool
        Whether it is for a program.
    words : list of str
        The command, without ``astra``.
    data : object
        What it found or did.
    messages : list of dict
        Level and text of each sentence.
    is_of_rows : bool
        Whether standard output has rows instead, one after the other.
    file : str or None
        The file that it goes into.
    text : StringIO or None
        What people would read, if it goes into a file.
    """

    as_json: bool = False
    words: list[str] = field(default_factory=list)
    data: object = None
    messages: list[dict[str, str]] = field(default_factory=list)
    is_of_rows: bool = False
    file: str | None = None
    text: io.StringIO | None = None

    def hear(self, level: Level, text: str) -> None:
        """Keep a sentence, as it is without its colours."""
        if plain := " ".join(text.split()):
            self.messages.append({"level": level, "text": plain})

    def document(self, exit_code: int) -> str:
        """Write the document."""
        from astra_models.version import installed_version

        content = {
            "format": FORMAT,
            "astra": str(installed_version()),
            "command": " ".join(self.words),
            "exit_code": exit_code,
            "data": plain(self.data),
            "messages": self.messages,
        }
        return json.dumps(content, indent=2, allow_nan=False)


_current = Answer()


def begin(arguments: Sequence[str]) -> Answer:
    """Begin the answer of a command, from the words after ``astra``."""
    global _current
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    _current = Answer(as_json="--json" in options)
    return _current


def answer() -> Answer:
    """Give the answer of the command under way."""
    return _current


def is_json() -> bool:
    """Tell whether the answer is for a program."""
    return _current.as_json


def give(data: object) -> None:
    """Say what the command found or did: an object of plain values, moments and dataclasses."""
    _current.data = data


def rows_follow() -> None:
    """Say that rows are printed instead of the document."""
    _current.is_of_rows = True


def into_file(path: str | None) -> None:
    """Have the answer go into a file, when it is whole; ``-`` and None are standard output.

    Raises
    ------
    OutputExistsError
        If there is a file.
    """
    if path in (None, "-"):
        return
    from astra_models.products.fits.file import refuse_existing

    refuse_existing(path, overwrite=False)
    _current.file, _current.text = path, io.StringIO()


def write_file(path: str, text: str) -> None:
    """Write a file, which is under its name only when it is whole."""
    from astra_models.products.fits.file import replacing

    with replacing(path) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)


def output() -> IO[str]:
    """Give where what people read goes."""
    return _current.text or sys.stdout


def plain(value: Any) -> Any:
    """Make of a value what JSON knows: a number that is none becomes None, bytes hexadecimal, moments ISO 8601."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return _of_other_kind(value)


def _of_other_kind(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return plain(float(value)) if hasattr(value, "as_integer_ratio") else str(value)
