"""Conditions on a training set as text: ``snr > 50 and logg < 3.5 and not flag_low_snr``.

They are read by a grammar of a few words. Names become columns of known tables, and values are bound: nothing of the
text gets into SQL.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import peewee

from astra_models.base import BaseModel
from astra_models.errors import did_you_mean
from astra_models.fields.flags import BitField
from astra_models.messages import shown

from .polynomial import CannonError

GRAMMAR = "write conditions such as: snr > 50 and fe_h is not null and not flag_low_snr"

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<text>'[^'\x00]*'|"[^"\x00]*")
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign><=|>=|!=|<>|==|=|<|>)
    )""",
    re.VERBOSE,
)

_SIGNS: dict[str, Callable[[Any, Any], peewee.Expression]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
}


_NUMBERS = (peewee.IntegerField, peewee.FloatField, peewee.ForeignKeyField)


class _Token(NamedTuple):
    kind: str
    text: str


def read_conditions(text: str, models: Sequence[type[BaseModel]]) -> peewee.ColumnBase:
    """Make a condition of text.

    Parameters
    ----------
    text : str
        Comparisons, ``name is null``, ``name is not null``, ``flag_...`` and ``not flag_...``, joined by ``and``.
    models : sequence of type
        The tables that a query joins. A name is looked for in the first, then in the next.

    Raises
    ------
    CannonError
        If it can't be read, or a name is no column of these tables.
    """
    tokens = list(_tokens(text))
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token.kind == "word" and token.text.lower() == "and":
            parts.append([])
        else:
            parts[-1].append(token)
    return reduce(operator.and_, (_condition(part, text, models) for part in parts))


def _tokens(text: str) -> Iterator[_Token]:
    place, text = 0, text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise CannonError(
                f"the condition {shown(text)} can't be read from {shown(text[place:][:20])} on; {GRAMMAR}"
            )
        place = found.end()
        yield _Token(str(found.lastgroup), found[str(found.lastgroup)])


def _condition(part: list[_Token], text: str, models: Sequence[type[BaseModel]]) -> peewee.ColumnBase:
    words = [token.text.lower() if token.kind == "word" else "" for token in part]
    kinds = [token.kind for token in part]
    if kinds == ["word"]:
        return _flag(part[0].text, models)
    if kinds == ["word", "word"] and words[0] == "not":
        return ~_flag(part[1].text, models)
    if kinds[:1] == ["word"] and words[1:] in (["is", "null"], ["is", "not", "null"]):
        return _column(part[0].text, models).is_null(len(words) == 3)
    if kinds in (["word", "sign", "number"], ["word", "sign", "text"]):
        field = _column(part[0].text, models)
        return _SIGNS[part[1].text](field, _value(field, part[2]))
    raise CannonError(f"the condition {shown(text)} can't be read; {GRAMMAR}")


def _value(field: peewee.Field, token: _Token) -> object:
    is_text = isinstance(field, peewee.TextField | peewee.CharField)
    if is_text != (token.kind == "text"):
        wanted = "text in quotes" if is_text else "a number"
        raise CannonError(f"{field.name} is compared with {shown(token.text)}, and takes {wanted}")
    if token.kind == "text":
        return token.text[1:-1]
    if isinstance(field, peewee.BooleanField) and token.text in ("0", "1"):
        return token.text == "1"
    if not isinstance(field, _NUMBERS):
        raise CannonError(f"{field.name} can't be compared with {shown(token.text)}: it is no number; {GRAMMAR}")
    is_whole = isinstance(field, peewee.IntegerField) and re.fullmatch(r"[+-]?\d{1,18}", token.text)
    # What is sent is a number of SQL, as the column's own converter would round 0.5 to a whole number.
    return peewee.Value(int(token.text) if is_whole else float(token.text), converter=False)


def _column(name: str, models: Sequence[type[BaseModel]]) -> Any:
    for model in models:
        if name in model._meta.fields:
            return model._meta.fields[name]
    names = [name for model in models for name in model._meta.fields]
    raise CannonError(f"{shown(name)} is no column of {_called(models)}; {did_you_mean(name[:80], names)}")


def _flag(name: str, models: Sequence[type[BaseModel]]) -> Any:
    flags = [flag for model in models for field in _bit_fields(model) for flag in field.flags]
    for model in models:
        if any(name in field.flags for field in _bit_fields(model)):
            return getattr(model, name)
    raise CannonError(f"{shown(name)} is no flag of {_called(models)}; {did_you_mean(name[:80], flags)}")


def _bit_fields(model: type[BaseModel]) -> list[BitField]:
    return [field for field in model._meta.sorted_fields if isinstance(field, BitField)]


def _called(models: Sequence[type[BaseModel]]) -> str:
    return ", ".join(str(model._meta.table_name) for model in models)
