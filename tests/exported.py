"""Rows of a model with values of every kind, and what is in its table: to see what an export brings back."""

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import peewee

from astra_models import base
from astra_models.base import BaseModel
from astra_models.columns.typed import BOOLEAN, BYTES, FLOAT32, FLOATS, INT32, INT64, MOMENT, TEXT
from astra_models.fields import BitField, GeneratedField
from astra_models.ingested import IngestedFile
from astra_models.products.joins import with_source
from astra_models.products.query import kind_read, select_model
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum

N_ROWS = 7
TEXTS = ["007", '\u03b1 Cen, "A"', "1e5", "a, b", "true", "it's \\x20", "nan", "ünïcode"]
KEYS = {"pk", "source_pk", "spectrum_pk", "task_pk", "drp_spectrum_pk", "modified", "source_modified"}


def a_value(field: peewee.Field, rng: np.random.Generator, row: int) -> Any:
    """Make a value of a column: a third of those that may be NULL are."""
    if field.null and rng.random() < 0.33 and not field.unique:
        return None
    kind = kind_read(field)
    if isinstance(field, BitField):
        return int(1 << 62 | int(rng.integers(0, 1 << 40)))
    if kind is INT32:
        return int(rng.integers(1, 1 << 20)) + (row << 20)
    if kind is INT64:
        return int(rng.integers(1, 1 << 40)) + (row << 45)
    if kind is BOOLEAN:
        return bool(rng.integers(2))
    if kind is MOMENT:
        return datetime(2024, 2, 3, tzinfo=UTC) + timedelta(microseconds=int(rng.integers(1 << 45)))
    if kind is TEXT:
        return f"{TEXTS[int(rng.integers(len(TEXTS)))]}{row}" if field.unique else TEXTS[int(rng.integers(len(TEXTS)))]
    if kind is FLOATS:
        return rng.normal(size=1 + int(rng.integers(4))).astype(np.float32)
    if kind is BYTES:
        return bytes(rng.integers(1, 255, 5, dtype=np.uint8))
    number = rng.normal() * 10.0 ** int(rng.integers(-20, 20))
    return float(np.float32(number)) if kind is FLOAT32 else number


def store(model: type[BaseModel], n: int, **given: list[Any]) -> None:
    rng = np.random.default_rng(zlib.crc32(model.__name__.encode()))
    for row in range(n):
        values = {
            field.name: a_value(field, rng, row)
            for field in model._meta.sorted_fields
            if not isinstance(field, peewee.AutoField | peewee.ForeignKeyField | GeneratedField)
        }
        model.insert({**values, **{name: column[row] for name, column in given.items()}}).execute()


def fill(model: type[BaseModel]) -> None:
    """Store some rows of a model, with what they belong to."""
    store(Source, N_ROWS, sdss_id=list(range(1000, 1000 + N_ROWS)))
    sources = [pk for (pk,) in Source.select(Source.pk).order_by(Source.pk).tuples()]
    if model is Source:
        return
    spectra = [Spectrum.create(spectrum_flags=0).pk for _ in range(N_ROWS)]
    given: dict[str, list[Any]] = {"source_pk": sources}
    if "spectrum_pk" in model._meta.fields:
        given["spectrum_pk"] = spectra
    if "v_astra" in model._meta.fields:
        given["v_astra"] = [9001] * N_ROWS
    given |= {name: [None] * N_ROWS for name in getattr(model, "made_from", ()) if name in model._meta.fields}
    store(model, N_ROWS, **given)


def contents(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Give the rows of a model with those of their sources, without keys of sequences."""
    selection = with_source(model, select_model(model))
    kept = [
        column
        for column in selection.columns
        if column.name not in KEYS | {"revision"} | set(getattr(model, "made_from", ()))
    ]
    rows = base.database.execute(selection.select(*[column.selected for column in kept]))
    found = [{c.name: told(c.field.python_value(value)) for c, value in zip(kept, row, strict=True)} for row in rows]
    return sorted(found, key=lambda row: row["source_sdss_id" if "source_sdss_id" in row else "sdss_id"])


def told(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(float(one) for one in value)
    return bytes(value) if isinstance(value, memoryview) else value


def changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Give one example per column of what isn't as it was."""
    assert len(before) == len(after)
    pairs = list(zip(before, after, strict=True))
    return {name: (a[name], b[name]) for a, b in pairs for name in a if a[name] != b[name]}


def empty(model: type[BaseModel]) -> None:
    for one in (model, Spectrum, Source, IngestedFile, RejectedResult):
        one.delete().execute()
