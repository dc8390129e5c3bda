"""Which columns say most about a row, and how their values are told: ``teff 15022 ± 35 K``."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite

import peewee

from astra_models.fields import BitField, BytesField, FloatArrayField

__all__ = ["HEADLINES", "IDENTIFIERS", "ON_THE_SKY", "measured_columns", "told", "values_of"]

HEADLINES = ("teff", "logg", "fe_h", "m_h", "v_rad", "dist", "element", "classification", "spectral_type", "sub_type")
"""Columns of a result that are shown, if its model has them; numbers are shown with their errors."""

MOST_OWN_COLUMNS = 6
"""How many columns are shown of a result that has none of these, such as one of another package."""

ON_THE_SKY = ("ra", "dec", "l", "b")
IDENTIFIERS = (
    *("sdss_id", "sdss4_apogee_id", "gaia_dr2_source_id", "gaia_dr3_source_id", "tic_v8_id"),
    *("catalogid", "catalogid21", "catalogid25", "catalogid31", "healpix"),
)


def measured_columns(model: type[peewee.Model], record: Iterable[str]) -> list[str]:
    """Name the columns that are told: the headlines that a model has, or else its first ones.

    Parameters
    ----------
    model : type
        The model.
    record : iterable of str
        Columns that are about the row and not measured.
    """
    fields = model._meta.fields
    named = [name for headline in HEADLINES for name in (headline, f"e_{headline}") if name in fields]
    skipped = set(record)
    others = (
        field.name
        for field in model._meta.sorted_fields
        if field.name not in skipped
        and not isinstance(field, BitField | BytesField | FloatArrayField | peewee.ForeignKeyField)
    )
    return named or [name for name, _ in zip(others, range(MOST_OWN_COLUMNS), strict=False)]


def values_of(row: peewee.Model, names: Iterable[str]) -> dict[str, object]:
    """Give the values of a row's columns as far as they were read and are there: no NULL, no NaN."""
    values = {name: row.__data__.get(name) for name in names}
    return {
        name: value
        for name, value in values.items()
        if value is not None and (not isinstance(value, float) or isfinite(value))
    }


def told(values: Mapping[str, object], units: Mapping[str, str]) -> Iterator[str]:
    """Give each value in words, with its error and unit: errors are columns of the name with ``e_`` before it."""
    for name, value in values.items():
        if name.startswith("e_") and name[2:] in values:
            continue
        words = [name, f"{value:.5g}" if isinstance(value, float) else str(value)]
        if isinstance(error := values.get(f"e_{name}"), int | float):
            words += ["±", f"{float(f'{error:.2g}'):g}"]
        if not (unit := units.get(name, "")).startswith("dex"):  # these go without saying
            words.append(unit)
        yield " ".join(words).rstrip()
