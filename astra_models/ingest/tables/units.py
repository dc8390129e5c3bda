"""Units that files give their columns, and what numbers in them have to be multiplied by for ours.

The survey's files name units loosely. What can't be read, and what only says that a number is logarithmic, is taken as
the unit of our column; a unit of another kind than ours is refused, for then the column isn't what its name says.
"""

import warnings
from functools import lru_cache
from typing import NamedTuple

SPELLINGS = {
    "log10(cm/s^2)": "dex(cm / s2)",
    "log(cgs)": "dex(cm / s2)",
    "Vega nMgy": "nmgy",
    "Vega": "mag",
    "C": "deg_C",
    "A": "Angstrom",
    "Angstroms": "Angstrom",
    "arcsecond": "arcsec",
    "degrees": "deg",
    "millibar": "mbar",
    "M_sun": "solMass",
    "R_sun": "solRad",
    "particles m^-3 s^-1": "1 / (m3 s)",
}
"""What the files say, and how `astropy.units` says it (docs/differences.md lists those of the models)."""

MISLABELLED = {("eqw_percentiles_", "mA"), ("_flags", "dex"), ("_rchi2", "dex")}
"""Parts of names, and units that published files give such columns and that are not theirs."""

_LOGARITHMIC = ("dex", "")


class UnitMatch(NamedTuple):
    """What numbers are multiplied by (None: refused), and a remark where it isn't plain."""

    factor: float | None
    note: str | None = None


@lru_cache(maxsize=4096)
def match_units(column: str, theirs: str | None, ours: str | None) -> UnitMatch:
    """Compare the unit of a file's column with that of ours.

    Parameters
    ----------
    column : str
        Name of the column.
    theirs : str or None
        The unit that the file gives.
    ours : str or None
        Unit of our column, as `astropy.units` reads it.
    """
    if not theirs or any(part in column and theirs == unit for part, unit in MISLABELLED):
        return UnitMatch(1.0)
    their_unit, our_unit = _unit(SPELLINGS.get(theirs, theirs)), _unit(ours or "")
    if their_unit is None:
        return UnitMatch(1.0, f"the unit {theirs!r} of {column} can't be read; taken as {ours or 'none'!r}")
    if their_unit == our_unit or (_is_logarithmic(their_unit) and _is_logarithmic(our_unit)):
        return UnitMatch(1.0)
    factor = _factor(their_unit, our_unit)
    if factor is None:
        return UnitMatch(None, f"its unit {theirs!r} is of another kind than {ours or 'no unit'!r}")
    note = f"{column} is converted from {theirs!r} to {ours!r}" if factor != 1 else None
    return UnitMatch(factor, note)


def _unit(text: str) -> object:
    from astropy import units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", units.UnitsWarning)
        try:
            return units.Unit(text)
        except (ValueError, TypeError):
            return None


def _is_logarithmic(unit: object) -> bool:
    """Tell whether numbers in a unit are logarithms, or none of any unit: nothing tells these apart reliably."""
    from astropy import units

    return isinstance(unit, units.DexUnit) or str(unit) in _LOGARITHMIC


def _factor(theirs: object, ours: object) -> float | None:
    from astropy import units

    if not isinstance(theirs, units.UnitBase) or not isinstance(ours, units.UnitBase):
        return None
    try:
        return float(theirs.to(ours))  # pyright: ignore[reportArgumentType]  of no value, it is a number
    except units.UnitConversionError:
        return None
