"""What the bits of a column of flags mean, as text for headers and descriptions."""

import peewee

from astra_models.fields import BitField
from astra_models.products.query import OutColumn


def bits_of(field: peewee.Field) -> dict[str, tuple[int, str]]:
    """Give the flags of a column: by name, the number of the bit, from 0, and what it means. None if it has no flags.

    Parameters
    ----------
    field : peewee.Field
        The column.
    """
    if not isinstance(field, BitField):
        return {}
    found = {name: (flag.value.bit_length() - 1, flag.help_text or "") for name, flag in field.flags.items()}
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def meaning_of_bits(field: peewee.Field) -> str:
    """Say what the bits of a column mean: ``0 flag_low_snr (S/N below 3), 1 ...``; empty if it has no flags."""
    told = (f"{bit} {name}" + (f" ({text})" if text else "") for name, (bit, text) in bits_of(field).items())
    return ", ".join(told)


def described(column: OutColumn) -> str:
    """Say what a column holds, and what its bits mean if it has flags."""
    bits = meaning_of_bits(column.field)
    return f"{column.description or column.name}; bits: {bits}" if bits else column.description
