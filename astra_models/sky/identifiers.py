"""Sources found by the identifiers that a table has."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import peewee

from astra_models.base import database
from astra_models.database.sql import is_any_of, is_postgresql, rows_of
from astra_models.errors import SelectionError, did_you_mean
from astra_models.messages import shown
from astra_models.source import Source

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["IDENTIFIERS", "Identified", "identified", "identifier_columns"]

IDENTIFIERS = (
    *("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "tic_v8_id"),
    *("catalogid", "catalogid31", "catalogid25", "catalogid21"),
)
"""Columns of `Source` that name a source, the strongest first."""


class Identified(NamedTuple):
    """A row of a table, the source that an identifier of it names, and its weaker identifiers that name another."""

    row: int
    source_pk: int
    by: str
    conflicts: tuple[str, ...] = ()


def identifier_columns(table: "Table", wanted: Mapping[str, str] | bool) -> dict[str, str]:
    """Find the columns of a table that are identifiers: by identifier, the strongest first.

    Raises
    ------
    SelectionError
        If a column isn't there, or something is no identifier.
    """
    if wanted is False:
        return {}
    if wanted is True:
        lower = {name.lower(): name for name in reversed(table.colnames)}
        return {name: lower[name] for name in IDENTIFIERS if name in lower}
    if not isinstance(wanted, Mapping):
        raise SelectionError(
            f"identifiers are given as {{'Gaia': 'gaia_dr3_source_id'}}, by the table's columns, not {shown(wanted)}"
        )
    for column, identifier in wanted.items():
        if column not in table.colnames:
            raise SelectionError(f"the table has no column {shown(column)}; {did_you_mean(column, table.colnames)}")
        if identifier not in IDENTIFIERS:
            raise SelectionError(
                f"{shown(identifier)} is no identifier of a source; {did_you_mean(identifier, IDENTIFIERS)}"
            )
    columns: dict[str, str] = {}
    for column, identifier in wanted.items():
        if (other := columns.setdefault(identifier, column)) != column:
            raise SelectionError(f"{identifier} is one column, and {shown(other)} and {shown(column)} are given")
    return {name: columns[name] for name in IDENTIFIERS if name in columns}


def identified(table: "Table", named: Mapping[str, str]) -> list[Identified]:
    """Look rows up by their identifiers: the strongest that names a source counts, and others that disagree are kept.

    Parameters
    ----------
    table : astropy.table.Table
        The table.
    named : mapping of str to str
        What `identifier_columns` gives.
    """
    found: dict[int, Identified] = {}
    for identifier, column in named.items():
        field = Source._meta.fields[identifier]
        is_text = isinstance(field, peewee.TextField)
        values: Any = table[column]
        given = list(_values(values, is_text))
        lookup = _text_keys if is_text else _integer_keys
        sources: dict[Any, list[int]] = {}
        for value, source_pk in lookup(field, list({value for _, value in given})):
            sources.setdefault(value, []).append(source_pk)
        for row, value in given:
            keys = sources.get(value)
            if keys is None:
                continue
            before = found.setdefault(row, Identified(row, min(keys), identifier))  # the first of several, as catalogid
            if before.source_pk not in keys:
                found[row] = before._replace(conflicts=(*before.conflicts, identifier))
    return [found[row] for row in sorted(found)]


def _values(column: np.ndarray, is_text: bool) -> Iterator[tuple[int, Any]]:
    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.zeros(len(column), bool)
    for row, (value, missing) in enumerate(zip(np.asarray(column).tolist(), mask, strict=True)):
        known = None if missing else _folded(value) if is_text else _integer(value)
        if known:
            yield row, known


def _folded(value: object) -> str:
    """Give text without blanks, in small letters."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(text.split()).lower()


def _integer(value: object) -> int | None:
    """Give a positive integer of 64 bits, if a value is one: 0 and -1 stand for none in catalogues."""
    try:
        integer = int(value.strip() if isinstance(value, str) else value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    is_whole = not isinstance(value, float) or (value == integer and abs(value) <= 2**53)
    return integer if is_whole and 0 < integer < 2**63 else None


def _integer_keys(field: peewee.Field, values: list[int]) -> Iterator[tuple[int, int]]:
    if values:
        yield from rows_of(Source.select(field, Source.pk).where(is_any_of(field, values)))


def _text_keys(field: peewee.Field, values: list[str]) -> Iterator[tuple[str, int]]:
    folded = peewee.fn.LOWER(peewee.fn.REPLACE(field, " ", ""))
    if is_postgresql(database):
        array = peewee.Value(values, converter=list, unpack=False)
        listed: peewee.Node = peewee.fn.ANY(peewee.NodeList((array, peewee.SQL("::text[]"))))
        condition = peewee.Expression(folded, "=", listed, flat=True)
    else:
        each = peewee.fn.json_each(peewee.Value(json.dumps(values), converter=str, unpack=False))
        condition = folded.in_(peewee.NodeList((peewee.SQL("(SELECT value FROM"), each, peewee.SQL(")"))))
    if values:
        yield from rows_of(Source.select(folded, Source.pk).where(condition))
