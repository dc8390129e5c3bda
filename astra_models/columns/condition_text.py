"""Conditions as text: ``teff > 10000 and (snr >= 20 or not flag_low_snr) and release in ('sdss5', 'dr17')``.

Names are columns and flags of known tables, and values are bound: nothing of the text gets into SQL. The words are
those of SQL: comparisons, ``and``, ``or``, ``not``, parentheses, ``is null``, ``in``, ``between``, ``like``, and sums.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import peewee
from playhouse.hybrid import hybrid_property

from astra_models.errors import AstraError, SelectionError, did_you_mean
from astra_models.fields.flags import BitField
from astra_models.messages import shown

GRAMMAR = "write conditions such as: snr > 50 and fe_h is not null and not flag_low_snr"
DEEPEST = 50
LONGEST = 10_000

Model = type[peewee.Model]
Combine = Callable[[Any, Any], Any]
"""An operator of Python, which peewee's expressions have, too."""

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<text>'(?:[^'\x00]|'')*'|"(?:[^"\x00]|"")*")
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?)
    |(?P<sign><=|>=|!=|<>|==|[=<>()+\-*/,&|~])
    )""",
    re.VERBOSE,
)

_COMPARED: dict[str, Combine] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
}
_ADDED: dict[str, Combine] = {"+": operator.add, "-": operator.sub}
_MULTIPLIED: dict[str, Combine] = {
    "*": operator.mul,
    "/": lambda a, b: a / peewee.fn.NULLIF(b, 0),  # one database raises, the other one gives NULL
}
_WORDS = frozenset({"and", "or", "not", "is", "null", "in", "between", "like", "true", "false"})
_TAKES = {"number": "a number", "text": "text in quotes", "moment": "a time in quotes", "boolean": "true or false"}
_SAME_AS = {"&": "and", "|": "or", "~": "not"}


def read_condition(text: str, models: Sequence[Model]) -> peewee.ColumnBase:
    """Make a condition of text.

    Parameters
    ----------
    text : str
        The condition.
    models : sequence of type
        The tables that a query joins. A name is looked for in the first, then in the next; ``corv.teff`` names the
        table.

    Raises
    ------
    SelectionError
        If it can't be read, a name is no column of these tables (the nearest one is said), or a value is none of its
        column's kind.
    """
    if len(text) > LONGEST:
        raise SelectionError(f"a condition has at most {LONGEST:,} characters, and this one has {len(text):,}")
    return _Reader(text, models).read()


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


class _Operand(NamedTuple):
    """A side of a comparison: an expression or a value, and what it is: number, text, moment, boolean, list."""

    expression: Any
    kind: str
    field: peewee.Field | None = None
    is_value: bool = False


class _Reader:
    """One condition, read by descent: each method reads what binds closer than what called it."""

    def __init__(self, text: str, models: Sequence[Model]):
        self.text, self.models = text, models
        self.tokens = list(self._split())
        self.next, self.depth = 0, 0

    def read(self) -> peewee.ColumnBase:
        """Give the condition that the whole text is."""
        condition = self._any_of()
        if self.next < len(self.tokens):
            raise self._unreadable()
        return condition

    # ---- words and signs

    def _split(self) -> Iterator[_Token]:
        place, text = 0, self.text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._unreadable_from(place)
            kind = str(found.lastgroup)
            start, place = found.start(kind), found.end()
            yield _Token(kind, found[kind], start)

    def _word(self) -> str:
        """Give the next token as a word of the grammar or a sign; empty text if it is something else, or the end."""
        if self.next == len(self.tokens):
            return ""
        token = self.tokens[self.next]
        if token.kind == "sign":
            return _SAME_AS.get(token.text, token.text)
        word = token.text.lower()
        return word if token.kind == "word" and word in _WORDS else ""

    def _take(self, *words: str) -> str:
        """Take the next token if it is one of some words or signs; empty text if not."""
        word = self._word()
        if word not in words or not word:
            return ""
        self.next += 1
        return word

    def _require(self, word: str) -> None:
        if not self._take(word):
            raise self._unreadable()

    def _unreadable(self) -> SelectionError:
        return self._unreadable_from(self.tokens[self.next].place if self.next < len(self.tokens) else len(self.text))

    def _unreadable_from(self, place: int) -> SelectionError:
        rest = self.text[place:].strip()
        where = f"from {shown(rest[:20])} on" if rest else "to its end"
        return SelectionError(f"the condition {shown(self.text)} can't be read {where}; {GRAMMAR}")

    # ---- conditions

    def _any_of(self) -> peewee.ColumnBase:
        self.depth += 1
        if self.depth > DEEPEST:
            raise SelectionError(f"a condition has at most {DEEPEST} parentheses in each other")
        parts = [self._all_of()]
        while self._take("or"):
            parts.append(self._all_of())
        self.depth -= 1
        return reduce(operator.or_, parts)

    def _all_of(self) -> peewee.ColumnBase:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return reduce(operator.and_, parts)

    def _one(self) -> peewee.ColumnBase:
        negated = False
        while self._take("not"):
            negated = not negated
        start = self.next
        condition = self._in_parentheses(start) if self._take("(") else self._comparison()
        return ~condition if negated else condition

    def _in_parentheses(self, start: int) -> peewee.ColumnBase:
        """Read what begins with a parenthesis: a condition, or a sum that is compared."""
        depth = self.depth
        try:
            condition = self._any_of()
            self._require(")")
        except SelectionError as error:
            return self._sum_instead(start, depth, error)
        if self._word() in {*_COMPARED, *_ADDED, *_MULTIPLIED, "is", "in", "between"}:
            return self._sum_instead(start, depth, self._unreadable())
        return condition

    def _sum_instead(self, start: int, depth: int, error: SelectionError) -> peewee.ColumnBase:
        furthest = self.next
        self.next, self.depth = start, depth
        try:
            return self._comparison()
        except SelectionError as other:
            raise (other if self.next > furthest else error) from None

    def _comparison(self) -> peewee.ColumnBase:
        left = self._sum()
        if sign := self._take(*_COMPARED):
            return self._compared(sign, left, self._sum())
        if self._take("is"):
            negated = bool(self._take("not"))
            self._require("null")
            return _expression(left).is_null(not negated)
        negated = bool(self._take("not"))
        if self._take("in"):
            condition = _expression(left).in_(self._list(left))
        elif self._take("between"):
            low = self._bound(left, self._sum())
            self._require("and")
            condition = _expression(left).between(low, self._bound(left, self._sum()))
        elif self._take("like"):
            condition = self._like(left)
        elif left.kind == "boolean" and not left.is_value and not negated:
            return left.expression
        else:
            raise self._unreadable()
        return ~condition if negated else condition

    def _compared(self, sign: str, left: _Operand, right: _Operand) -> peewee.ColumnBase:
        if left.is_value and right.is_value:
            raise SelectionError(f"in {shown(self.text)}, two values are compared, and no column; {GRAMMAR}")
        if left.is_value:
            return _COMPARED[sign](_sent(self._bound(right, left)), right.expression)
        return _COMPARED[sign](left.expression, self._bound(left, right))

    def _list(self, left: _Operand) -> list[peewee.Node | bool]:
        self._require("(")
        values = [self._bound(left, self._sum())]
        while self._take(","):
            values.append(self._bound(left, self._sum()))
        self._require(")")
        return values

    def _like(self, left: _Operand) -> peewee.ColumnBase:
        pattern = self._sum()
        if left.kind != "text" or pattern.kind != "text" or not pattern.is_value:
            raise SelectionError(
                f"in {shown(self.text)}, like takes a column of text, and a pattern in quotes: '2M00%'"
            )
        return peewee.Expression(left.expression, peewee.OP.ILIKE, _sent(pattern.expression))

    # ---- sides of comparisons

    def _sum(self) -> _Operand:
        return self._chain(self._product, _ADDED)

    def _product(self) -> _Operand:
        return self._chain(self._side, _MULTIPLIED)

    def _chain(self, part: Callable[[], _Operand], signs: dict[str, Combine]) -> _Operand:
        left = part()
        while sign := self._take(*signs):
            right = part()
            for side in (left, right):
                if side.kind != "number":
                    what = f"{_called(side)} is {side.kind}"
                    raise SelectionError(f"in {shown(self.text)}, {sign} takes numbers, and {what}")
            left = _Operand(signs[sign](_as_number(left), _as_number(right)), "number")
        return left

    def _side(self) -> _Operand:
        if self._take("-"):
            value = self._side()
            if value.kind != "number":
                raise self._unreadable()
            if value.is_value:
                return value._replace(expression=-value.expression)
            return _Operand(peewee.Value(0) - value.expression, "number")
        if self._take("+"):
            return self._side()
        if self._take("("):
            self.depth += 1
            if self.depth > DEEPEST:
                raise SelectionError(f"a condition has at most {DEEPEST} parentheses in each other")
            inner = self._sum()
            self._require(")")
            self.depth -= 1
            return inner
        if word := self._take("true", "false"):
            return _Operand(word == "true", "boolean", is_value=True)
        if self.next == len(self.tokens) or self._word():
            raise self._unreadable()
        token = self.tokens[self.next]
        self.next += 1
        return self._named(token.text) if token.kind == "word" else _value(token)

    def _named(self, name: str) -> _Operand:
        table, _, column = name.rpartition(".")
        models = [model for model in self.models if not table or model._meta.table_name == table]
        if not models:
            names = [str(model._meta.table_name) for model in self.models]
            raise SelectionError(f"{shown(table)} is none of these tables; {did_you_mean(table[:80], names)}")
        for model in models:
            if field := model._meta.fields.get(column):
                return _Operand(field, _kind_of(field), field)
            if column in _conditions_of(model):
                return _Operand(getattr(model, column), "boolean")
        names = [name for model in models for name in (*model._meta.fields, *_conditions_of(model))]
        tables = ", ".join(str(model._meta.table_name) for model in models)
        raise SelectionError(f"{shown(column)} is no column or flag of {tables}; {did_you_mean(column[:80], names)}")

    def _bound(self, side: _Operand, other: _Operand) -> peewee.Node | bool:
        """Give what a side is compared with, as it is sent."""
        takes_text = side.kind in ("text", "moment")
        if side.kind == "list" or other.kind == "list":
            raise SelectionError(f"in {shown(self.text)}, a column of lists or bytes can't be compared; {GRAMMAR}")
        if not other.is_value:
            if side.kind != other.kind:
                raise SelectionError(
                    f"in {shown(self.text)}, {_called(side)} is {side.kind}, and {_called(other)} {other.kind}"
                )
            return other.expression
        if side.kind == "boolean" and other.kind == "number" and other.expression in (0, 1):
            return bool(other.expression)
        if other.kind != ("text" if takes_text else side.kind):
            wanted = _TAKES[side.kind]
            raise SelectionError(f"{_called(side)} is compared with {shown(other.expression)}, and takes {wanted}")
        if side.kind == "number":
            return _as_number(other)
        try:
            return _sent(side.field.db_value(other.expression)) if side.field is not None else other.expression
        except (AstraError, ValueError) as error:
            raise SelectionError(f"{_called(side)} can't be {shown(other.expression)}: {error}") from error


def _sent(value: object) -> peewee.ColumnBase:
    """Make a parameter that is sent as it is: a column's own converter would round 0.5 to a whole number."""
    return value if isinstance(value, peewee.ColumnBase) else peewee.Value(value, converter=False)


def _expression(side: _Operand) -> peewee.ColumnBase:
    if side.is_value:
        raise SelectionError(f"{shown(side.expression)} is a value, and no column; {GRAMMAR}")
    return side.expression


def _as_number(side: _Operand) -> peewee.ColumnBase:
    return _sent(side.expression) if side.is_value else side.expression


def _called(side: _Operand) -> str:
    if side.field is not None:
        return str(side.field.name)
    return shown(side.expression) if side.is_value else "a part of it"


def _value(token: _Token) -> _Operand:
    if token.kind == "text":
        quote = token.text[0]
        return _Operand(token.text[1:-1].replace(quote * 2, quote), "text", is_value=True)
    is_whole = re.fullmatch(r"\d{1,18}", token.text)
    return _Operand(int(token.text) if is_whole else float(token.text), "number", is_value=True)


def _kind_of(field: peewee.Field) -> str:
    while isinstance(field, peewee.ForeignKeyField):
        field = field.rel_field
    if isinstance(field, peewee.BooleanField):
        return "boolean"
    if isinstance(field, peewee.IntegerField | peewee.FloatField | peewee.DoubleField):
        return "number"
    if isinstance(field, peewee.DateTimeField):
        return "moment"
    return "text" if isinstance(field, peewee.TextField | peewee.CharField) else "list"


def _conditions_of(model: Model) -> list[str]:
    """Name what is true or false of a row beside its columns: flags, and properties such as ``flag_bad``."""
    flags = [name for field in model._meta.sorted_fields if isinstance(field, BitField) for name in field.flags]
    hybrids = [
        name
        for base in model.__mro__
        for name, found in vars(base).items()
        if isinstance(found, hybrid_property) and name.startswith("flag_")
    ]
    return [*flags, *hybrids]
