"""Types that a pipeline's parameters may have: which values they take, and how these are written as text.

There are few, so that each can be an option of a command, a field of a form and a word in a record of a run: int,
float, str, bool, Path, Literal, lists of these, and None. Two values are the same if they are written the same.
"""

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, TypeGuard

import numpy as np

from astra_models.errors import ParameterError
from astra_models.messages import shown

__all__ = ["TYPES", "ParameterType", "Scalar", "parameter_type"]

Scalar = int | float | str | bool | Path | None

TYPES = "int, float, str, bool, Path, Literal, lists of these, each with None or without"
MOST_BITS = 1024
"""Bits of the largest integer: no larger one is a float, and Python refuses to print one of 4,300 digits."""

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class ParameterType:
    """What a parameter takes.

    Attributes
    ----------
    scalar : type or None
        ``int``, ``float``, ``str``, ``bool`` or ``Path``; None if there are only choices.
    choices : tuple
        The values of a ``Literal``.
    container : type or None
        ``list`` or ``tuple`` if it takes several values.
    optional : bool
        Whether it may be None.
    """

    scalar: type[int | float | str | bool | Path] | None
    choices: tuple[int | str | bool, ...] = ()
    container: type[list[object]] | type[tuple[object, ...]] | None = None
    optional: bool = False

    @property
    def is_flag(self) -> bool:
        """Whether it is a bool, neither a list nor a choice."""
        return self.scalar is bool and not self.choices and self.container is None

    def __str__(self) -> str:
        parts = [] if self.scalar is None else [self.scalar.__name__]
        text = " or ".join([*parts, *map(shown, self.choices)])
        if self.container is not None:
            text = f"list of {text}"
        return f"{text} or None" if self.optional else text

    def check(self, value: object) -> object:
        """Give a value as the pipeline gets it.

        An int becomes a float where that is wanted, text a Path, and NumPy's scalars Python's; nothing else is
        converted.

        Raises
        ------
        ParameterError
            If it is of another type.
        """
        if value is None and self.optional:
            return None
        if self.container is None:
            return self._one(value)
        if isinstance(value, np.ndarray) and value.ndim == 1 and not isinstance(value, np.ma.MaskedArray):
            value = value.tolist()
        if not isinstance(value, list | tuple):
            raise ParameterError(f"{shown(value)} is not a {self}")
        return self.container(self._one(item) for item in value)

    def from_text(self, text: str) -> Scalar:
        """Read a value, or one of a list, from text.

        Raises
        ------
        ParameterError
            If the text says no value of the type.
        """
        for choice in self.choices:
            if text == str(choice):
                return choice
        if self.scalar is None:
            raise ParameterError(f"{shown(text)} is not {' or '.join(shown(str(choice)) for choice in self.choices)}")
        return self._scalar_from_text(text)

    def to_text(self, value: object) -> str:
        """Write a value, or one of a list, as text that `from_text` reads."""
        return str(value).lower() if isinstance(value, bool) and value not in self.choices else str(value)

    def _scalar_from_text(self, text: str) -> Scalar:
        if self.scalar is bool:
            if text.lower() not in WORDS:
                raise ParameterError(f"{shown(text)} is neither true nor false")
            return WORDS[text.lower()]
        if self.scalar is int or self.scalar is float:
            try:
                return self._one(self.scalar(text))
            except ValueError:
                what = "a whole number" if self.scalar is int else "a number"
                raise ParameterError(f"{shown(text)} is not {what}") from None
        return self._one(text)

    def _one(self, value: object) -> Scalar:
        if isinstance(value, np.generic) or (type(value) is np.ndarray and value.ndim == 0):
            value = value.item()
        for choice in self.choices:
            if type(choice) is type(value) and choice == value:
                return choice
        if self.scalar is not None:
            found = _CHECKS[self.scalar](value)
            if found is not None:
                return found
        one = ParameterType(self.scalar, self.choices, optional=self.optional and self.container is None)
        raise ParameterError(f"{shown(value)} is not {one}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and int.bit_length(value) <= MOST_BITS


def _as_int(value: object) -> int | None:
    return int.__index__(value) if _is_whole(value) else None


def _as_float(value: object) -> float | None:
    if isinstance(value, float):
        return float.__float__(value)
    if not _is_whole(value):
        return None
    try:
        number = int.__float__(value)
    except OverflowError:
        return None
    return number if number == int.__index__(value) else None  # never another number than the one that was given


def _as_text(value: object) -> str | None:
    return str.__str__(value) if isinstance(value, str) else None


def _as_bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _as_path(value: object) -> Path | None:
    text = str(value) if isinstance(value, PurePath) else _as_text(value)
    if not text or "\0" in text:
        return None
    try:
        return Path(text).expanduser()
    except RuntimeError:  # the home of somebody whom nobody knows
        return None


_CHECKS = {int: _as_int, float: _as_float, str: _as_text, bool: _as_bool, Path: _as_path}


# ---- annotations


def parameter_type(hint: object) -> ParameterType:
    """Read a type from a parameter's annotation.

    Raises
    ------
    ParameterError
        If it is none of those that a parameter may have, or text couldn't say which value is meant.
    """
    found = _read(hint)
    texts = [str(choice) for choice in found.choices]
    if len(set(texts)) < len(texts):
        raise ParameterError("two of its choices are the same as text")
    if found.scalar is not None and found.choices:
        alone = ParameterType(found.scalar)
        for text in texts:
            try:
                alone.from_text(text)
            except ParameterError:
                continue
            raise ParameterError(f"as text, its choice {shown(text)} is a {alone}, too")
    return found


def _read(hint: object) -> ParameterType:
    hint = getattr(hint, "__value__", hint)  # `type X = ...`
    if hint in (int, float, str, bool, Path):
        return ParameterType(typing.cast("type[int | float | str | bool | Path]", hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return _choices(arguments)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple and arguments[1:] != (...,):
        raise ParameterError("a tuple of a certain length is none of the types that there are")
    if origin in (list, tuple, Sequence):
        one = _read(arguments[0])
        if one.container is not None or one.optional:
            raise ParameterError("a list may hold neither lists nor None")
        return ParameterType(one.scalar, one.choices, tuple if origin is tuple else list)
    raise ParameterError(f"{shown(hint)} is none of the types that there are")


def _choices(values: tuple[object, ...]) -> ParameterType:
    choices = [value for value in values if value is not None]
    if not choices or not all(isinstance(value, int | str) and type(value) in (int, str, bool) for value in choices):
        raise ParameterError("the choices of a Literal are text, whole numbers, true and false")
    return ParameterType(None, tuple(typing.cast("list[int | str | bool]", choices)), optional=None in values)


def _union(members: tuple[object, ...]) -> ParameterType:
    found = [_read(member) for member in members if member is not types.NoneType]
    optional = types.NoneType in members or any(one.optional for one in found)
    if len(found) == 1:
        [one] = found
        return ParameterType(one.scalar, one.choices, one.container, optional)
    if any(one.container for one in found):
        raise ParameterError("a list can be joined to None only")
    scalars = {one.scalar for one in found} - {None}
    for general, special in ((float, int), (Path, str)):  # what takes the one takes the other
        if scalars == {general, special}:
            scalars = {general}
    if len(scalars) > 1:
        raise ParameterError("of several types, text couldn't say which one is meant")
    choices = tuple(choice for one in found for choice in one.choices)
    return ParameterType(next(iter(scalars), None), choices, optional=optional)
