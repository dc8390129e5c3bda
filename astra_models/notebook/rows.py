"""A row as one line of text and as HTML, and a model as HTML."""

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import peewee

from astra_models.columns.headings import categories, column_table, flag_table, pixel_array_table
from astra_models.fields import BitField
from astra_models.messages import printable
from astra_models.notebook.html import cell, details, nothing_raised, paragraph, table
from astra_models.notebook.main_columns import IDENTIFIERS, ON_THE_SKY, measured_columns, told, values_of
from astra_models.version import version_integer_to_string

__all__ = ["ShownAs", "flags_set", "model_html", "row_html", "row_text", "values_html"]

LONGEST_TEXT = 160
MOST_FLAGS = 3
_BREAKS = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})
OF_SPECTRA = ("release", "obj", "telescope", "field", "plate", "mjd", "fiber", "catalogid", "snr")
"""Columns that say which spectrum a row is, for those that don't say what was measured."""


class ShownAs:
    """What a notebook asks for HTML: of a row, its values; of a model, its columns.

    Parameters
    ----------
    row_shown : callable
        Gives the HTML of a row.
    """

    def __init__(self, row_shown: Callable[[Any], str]):
        self.row_shown = row_shown

    def __get__(self, row: peewee.Model | None, model: type[peewee.Model] | None = None) -> Callable[[], str]:
        # IPython takes it of a class only if it is a bound method.
        return MethodType(model_html, model) if row is None else MethodType(self.row_shown, row)


def row_text(row: peewee.Model) -> str:
    """Give a row's key and main values, on one line, from what was read of it; no database is asked.

    Parameters
    ----------
    row : BaseModel
        Any row, stored or not.

    Returns
    -------
    str
        Such as ``<Corv 2: spectrum_pk 17, version 0.9.0, teff 15022 ± 35 K, logg 7.92 ± 0.01>``.
    """
    key = row.get_id()
    parts = ", ".join(_parts(row))
    name = type(row).__name__ + (" (not stored)" if key is None else f" {key}")
    text = printable(f"{name}: {parts}" if parts else name).translate(_BREAKS)
    return f"<{text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + ' ...'}>"


def _parts(row: peewee.Model) -> Iterator[str]:
    data = row.__data__
    if data.get("spectrum_pk") is not None:
        yield f"spectrum_pk {data['spectrum_pk']}"
    if data.get("v_astra") is not None:
        yield f"version {_version(data['v_astra'])}"
    yield from told(_main_values(row), _units(type(row)))
    flags = [name.removeprefix("flag_") for name in flags_set(row)]
    if flags:
        more = f" and {len(flags) - MOST_FLAGS} more" if len(flags) > MOST_FLAGS else ""
        yield f"flags: {', '.join(flags[:MOST_FLAGS])}{more}"


def _version(v_astra: object) -> str:
    try:
        return version_integer_to_string(v_astra)  # type: ignore[arg-type]  # it may be anything, until it is stored
    except (TypeError, ValueError):
        return str(v_astra)


def _main_values(row: peewee.Model) -> dict[str, object]:
    fields = row._meta.fields
    named = [*IDENTIFIERS[:-1], *ON_THE_SKY[:2]] if "ra" in fields and "sdss_id" in fields else OF_SPECTRA
    known = {name: value for name, value in values_of(row, named).items() if value != ""}
    if known and not getattr(type(row), "made_from", ()):
        return known
    key = getattr(row._meta.primary_key, "name", "")
    skipped = {*getattr(row, "record_columns", ()), *getattr(row, "upsert_key", ()), key}
    return values_of(row, measured_columns(type(row), skipped)) or known


def _units(model: type[peewee.Model]) -> dict[str, str]:
    return {name: getattr(field, "unit", None) or "" for name, field in model._meta.fields.items()}


def flags_set(row: peewee.Model) -> Iterator[str]:
    """Name the flags that are set in what was read of a row; bits without a name are told as a number."""
    for name, field in row._meta.fields.items():
        bits = row.__data__.get(name)
        if not isinstance(field, BitField) or not isinstance(bits, int):
            continue
        named = {flag: bit.value for flag, bit in field.flags.items() if bits & bit.value}
        yield from named
        if unnamed := bits & ~sum(named.values()):
            yield f"{name} {unnamed:#x}"


@nothing_raised
def row_html(row: peewee.Model) -> str:
    """Give a row as HTML: its line of text, and all its values under their headings, with units and descriptions."""
    return paragraph(row_text(row)[1:-1]) + values_html(row)


def values_html(row: peewee.Model) -> str:
    """Give the values of a row that were read and aren't NULL, in parts that can be opened."""
    headings = categories(type(row))
    parts = []
    for heading in dict.fromkeys(headings.values()):
        names = [name for name, of in headings.items() if of == heading and row.__data__.get(name) is not None]
        fields = [row._meta.fields[name] for name in names]
        rows = [
            (field.name, row.__data__[field.name], getattr(field, "unit", None) or "", field.help_text or "")
            for field in fields
        ]
        if rows:
            parts.append(details(heading, table(("column", "value", "unit", "description"), rows)))
    flags = list(flags_set(row))
    return "".join(parts) + (paragraph(f"flags: {', '.join(flags)}") if flags else "")


@nothing_raised
def model_html(model: type[peewee.Model]) -> str:
    """Give a model as HTML: what a row of it is, its columns with units, its flags, its pixel arrays."""
    if getattr(model, "abstract", True):
        return paragraph(f"{model.__name__}: a base of other models, without a table of its own")
    summary = (model.__doc__ or "").strip().split("\n")[0]
    columns: Any = column_table(model)
    flags, arrays = flag_table(model), pixel_array_table(model)
    parts = [
        f"<p><b>{cell(model.__name__)}</b>, table <code>{cell(model._meta.table_name)}</code>: {cell(summary)}</p>"
    ]
    for heading in dict.fromkeys(columns["category"]):
        some = columns[columns["category"] == heading]["name", "type", "unit", "description"]
        parts.append(details(f"{heading} ({len(some)} columns)", table(some.colnames, some.iterrows())))
    for title, one in (("flags", flags), ("pixel arrays", arrays)):
        if len(one):
            parts.append(details(f"{len(one)} {title}", table(one.colnames, one.iterrows())))
    return "".join(parts)
