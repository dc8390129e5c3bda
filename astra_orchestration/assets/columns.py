"""A table's columns as Dagster shows them: types, units, descriptions, constraints."""

import dagster as dg
import peewee

from astra_models.columns.headings import column_type
from astra_models.fields import BitField


def column_schema(model: type[peewee.Model]) -> dg.TableSchema:
    """Describe the columns of a model's table.

    Parameters
    ----------
    model : type
        A model whose fields have ``unit`` and ``help_text``.

    Returns
    -------
    dagster.TableSchema
        One column per field. Units are in the tag ``unit``, as `astropy.units` reads them.
    """
    return dg.TableSchema(columns=[_column(field) for field in model._meta.sorted_fields])


def _column(field: peewee.Field) -> dg.TableColumn:
    unit = getattr(field, "unit", None)
    return dg.TableColumn(
        name=field.column_name,
        type=column_type(field),
        description=_description(field),
        constraints=dg.TableColumnConstraints(nullable=field.null, unique=bool(field.unique or field.primary_key)),
        tags={"unit": unit} if unit else {},
    )


def _description(field: peewee.Field) -> str | None:
    """Say what a column holds, with its unit or its flags."""
    if unit := getattr(field, "unit", None):
        return f"{field.help_text or field.name} [{unit}]"
    if not isinstance(field, BitField) or not field.flags:
        return field.help_text
    flags = [f"`{name}` ({flag.help_text})" if flag.help_text else f"`{name}`" for name, flag in field.flags.items()]
    return f"{field.help_text or 'Flags'}: {', '.join(flags)}"
