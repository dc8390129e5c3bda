"""What a model's columns have to be, checked when its class is made.

A mistake in a model shows where it is made, and not once a file is written or a query calls a column.
"""

import warnings
from collections.abc import Iterator

import peewee

from astra_models.errors import ModelError
from astra_models.fields.flags import BitField, Flag
from astra_models.fields.plain import DescribedField, FloatArrayField
from astra_models.pixels.arrays import pixel_arrays

__all__ = ["KNOWN_UNITS", "check_columns", "check_names"]

# Importing astropy.units takes longer than importing all our models, so only other units are parsed.
KNOWN_UNITS = frozenset(
    {
        *("", "%", "1 / (m3 s)", "1e-17 erg / (Angstrom s cm2)", "1e34 Angstrom2 s2 cm4 / erg2", "Angstrom", "K"),
        *("arcsec", "byte", "d", "deg", "deg_C", "dex", "dex(cm / s2)", "dex(km / s)", "km / s", "mJy", "mag", "mas"),
        *("mas / yr", "mbar", "ms", "nmgy", "ns", "pc", "s", "solMass", "solRad"),
    }
)
"""The units of our own columns, which `astropy.units` is known to read."""

_NUMBERS = (
    *(peewee.IntegerField, peewee.BigIntegerField, peewee.SmallIntegerField),
    *(peewee.FloatField, peewee.DoubleField, peewee.DecimalField, FloatArrayField),
)
_COLUMN_OR_FLAG = (peewee.Field, Flag)


def check_names(model: type[peewee.Model]) -> None:
    """Make sure that no column or flag hides an attribute that the model inherits, such as ``select``.

    Raises
    ------
    ModelError
        If one does.
    """
    inherited = set().union(*map(vars, model.__mro__[1:]))
    for name, value in vars(model).items():
        if isinstance(value, _COLUMN_OR_FLAG) and name in inherited and (owner := _owner(model, name)):
            kind = "flag" if isinstance(value, Flag) else "column"
            raise ModelError(
                f"{model.__name__}.{name}: a {kind} can't have this name, which queries and rows need "
                f"({owner.__name__}.{name}); choose another, such as {model.__name__.lower()}_{name}"
            )


def check_columns(model: type[peewee.Model]) -> None:
    """Make sure that every number has a unit, and that `astropy.units` reads all units.

    Keys, flags and times need no unit, nor do booleans and text.

    Raises
    ------
    ModelError
        If a number has no unit, or a unit can't be read.
    """
    for name, unit, is_number, is_foreign in _described(model):
        own = f"peewee's own {type(model._meta.fields[name]).__name__}" if is_foreign else ""
        if own and isinstance(model._meta.fields[name], peewee.BitField):
            raise ModelError(f"{model.__name__}.{name} is {own}; import it from astra_models.fields, which knows flags")
        if unit is None and is_number:
            raise ModelError(
                f"{model.__name__}.{name} is a number and has no unit, nor does the glossary know its name; say "
                'unit="km / s" or whatever it is, unit="" if it has no dimension'
                + (f" (it is {own}, which takes none: import its type from astra_models.fields)" if own else "")
            )
        if unit is not None and (problem := _problem(unit)) is not None:
            raise ModelError(
                f"{model.__name__}.{name}: astropy can't read the unit {unit!r}{problem}; write it as astropy.units "
                'does, such as "km / s" or "1e-17 erg / (Angstrom s cm2)", or "" if it has no dimension'
            )


def _owner(model: type[peewee.Model], name: str) -> type | None:
    """Give the base whose attribute a column would hide; columns may be declared again."""
    for base in model.__mro__[1:]:
        inherited = vars(base).get(name)
        if name in vars(base) and not isinstance(inherited, peewee.FieldAccessor | peewee.Field | Flag | None):
            return base
    return None


def _described(model: type[peewee.Model]) -> Iterator[tuple[str, object, bool, bool]]:
    """Give name and unit of each column and pixel array, whether it needs a unit, and whether it can have none."""
    for field in model._meta.sorted_fields:
        is_number = isinstance(field, _NUMBERS) and not (field.primary_key or isinstance(field, BitField))
        is_foreign = not isinstance(field, DescribedField) and (is_number or isinstance(field, peewee.BitField))
        yield field.name, getattr(field, "unit", None), is_number, is_foreign
    for name, array in pixel_arrays(model).items():
        yield name, array.unit, False, False


def _problem(unit: object) -> str | None:
    """Give why astropy can't read a unit, and None if it can."""
    if not isinstance(unit, str):
        return f", which is of type {type(unit).__name__} and not text"
    if unit in KNOWN_UNITS:
        return None
    from astropy import units

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", units.UnitsWarning)
            units.Unit(unit)
    except ValueError as error:
        _, _, hint = str(error).partition("Did you mean ")
        return f" (did you mean {hint.partition('?')[0]}?)" if hint else ""
    return None
