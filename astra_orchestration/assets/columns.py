"""A table's columns as Dagster shows them: types, units, descriptions, constraints."""

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg
import peewee

from astra_models.columns.headings import column_type
from astra_models.fields import BitField

TABLE_NAME = "dagster/table_name"
CODE = "dagster/code_references"

FILLED_BESIDES = "tables filled besides"
"""Metadata: tables that the asset's pipeline fills with its results besides the asset's own, separated by spaces."""


def column_schema(model: type[peewee.Model]) -> dg.TableSchema:
    """Describe the columns of a model's table. Units are in the tag ``unit``, as `astropy.units` reads them."""
    return dg.TableSchema(columns=[_column(field) for field in model._meta.sorted_fields])


def table_metadata(model: type[peewee.Model]) -> dict[str, Any]:
    """Give the metadata of an asset that fills a model's table: the table's name and columns, and where its code is."""
    return {
        "dagster/column_schema": column_schema(model),
        TABLE_NAME: model._meta.table_name,
        **code_of(model),
    }


def code_of(made_by: type | Callable[..., Any]) -> dict[str, Any]:
    """Give the metadata by which the UI says where an asset's code is: the line of a function, or a class's module.

    Nothing is read for it, as Dagster's `with_source_code_references` does: what is imported knows where it is from.
    """
    code = getattr(made_by, "__code__", None)
    path = getattr(sys.modules.get(made_by.__module__), "__file__", None) if code is None else code.co_filename
    if path is None:  # of somebody's prompt
        return {}
    line = 1 if code is None else code.co_firstlineno
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # our Dagster is of one version
        reference = dg.LocalFileCodeReference(file_path=path, line_number=line, label=made_by.__qualname__)
        return {CODE: dg.CodeReferencesMetadataValue(code_references=[reference])}


def tables_filled_besides(models: Sequence[type[peewee.Model]]) -> dict[str, str]:
    """Give the metadata of an asset whose pipeline fills other tables than its own: the first model's."""
    names = " ".join(str(model._meta.table_name) for model in models[1:])
    return {FILLED_BESIDES: names} if names else {}


def makers_by_table(assets: Iterable[dg.AssetsDefinition]) -> dict[str, dg.AssetKey]:
    """Give the key of the asset whose pipeline fills a table besides its own."""
    specs = [spec for asset in assets for spec in asset.specs]
    return {table: spec.key for spec in specs for table in spec.metadata.get(FILLED_BESIDES, "").split()}


def keys_by_table(assets: Iterable[dg.AssetsDefinition | dg.AssetSpec]) -> dict[str, dg.AssetKey]:
    """Give the key of the asset that fills each table."""
    specs = [spec for asset in assets for spec in ([asset] if isinstance(asset, dg.AssetSpec) else asset.specs)]
    return {spec.metadata[TABLE_NAME]: spec.key for spec in specs if TABLE_NAME in spec.metadata}


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
