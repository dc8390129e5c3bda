"""The summary products as assets: files made of what the pipelines' assets filled their tables with.

Each follows its pipeline by an automation condition, which `automation.product_sensor` looks at.
"""

import os
from collections.abc import Iterable
from typing import Any

import dagster as dg
from pydantic import Field

from astra_models.analysis.stream import Pace
from astra_models.columns.headings import column_type
from astra_models.errors import NothingToWriteError
from astra_models.products.lineage import origins_of
from astra_models.products.query import OutColumn
from astra_models.products.summary import FOLDER, Product, ProductReport, product_named, products, write_product
from astra_models.spectrum import SpectrumMixin
from astra_orchestration.assets.columns import code_of, keys_by_table
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.identity import metadata_of_database

__all__ = ["FOLDER_VARIABLE", "ProductConfig", "product_asset", "product_assets"]

FOLDER_VARIABLE = "ASTRA_PRODUCTS"
GROUP = "products"
FOLLOWS = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
"""When a product is written again: what it is made of is new, and isn't known to be wrong."""
MISSING = dg.AutomationCondition.any_deps_missing()


class ProductConfig(dg.Config):
    """Where a product goes, and what is in it."""

    folder: str = Field(
        default="",
        description=f"Where files are written. If empty, where the environment variable {FOLDER_VARIABLE} says, or "
        f"{FOLDER}",
    )
    v_astra: str | None = Field(
        default=None, description="The version whose major.minor the results are of; the newest there is by default"
    )


def product_assets(upstream: Iterable[dg.AssetsDefinition | dg.AssetSpec]) -> list[dg.AssetsDefinition]:
    """Make the assets of all summary products.

    Parameters
    ----------
    upstream : iterable of AssetsDefinition or AssetSpec
        The assets that there are. Which table each fills is in their metadata.

    Returns
    -------
    list of dagster.AssetsDefinition
        They need the resource ``database``.
    """
    keys = keys_by_table(upstream)
    return [product_asset(product, keys) for product in products().values()]


def product_asset(product: Product, keys: dict[str, dg.AssetKey]) -> dg.AssetsDefinition:
    """Make the asset of a product; `keys` are those of the assets that fill each table."""
    followed = {keys[table]: model for model in product.followed if (table := model._meta.table_name) in keys}
    kinds = [key for key, model in followed.items() if issubclass(model, SpectrumMixin)]
    name = product.name

    @dg.asset(
        name=name,
        group_name=GROUP,
        kinds={"fits", "file"},
        owners=["team:astra"],
        description=product.description,
        deps=list(followed),
        metadata=code_of(product.tables),
        automation_condition=_follows(kinds),
    )
    def written(
        context: dg.AssetExecutionContext, config: ProductConfig, database: DatabaseResource
    ) -> dg.MaterializeResult:
        wanted = product_named(name)
        database.connect(*wanted.models)
        pace = Pace()
        try:
            report = write_product(
                wanted,
                config.folder or os.environ.get(FOLDER_VARIABLE) or FOLDER,
                config.v_astra,
                run_id=context.run.run_id,
                overwrite=True,
                progress=lambda rows: context.log.info(f"{rows} rows") if pace.is_due() else None,
            )
        except NothingToWriteError as error:
            context.log.warning(str(error))
            metadata = {"dagster/row_count": 0, "why there is no file": str(error)}
        else:
            metadata = _metadata(report) | _columns(report.columns, keys)
        return dg.MaterializeResult(metadata=metadata_of_database(context.instance, context.asset_key, metadata))

    return written


def _follows(kinds: list[dg.AssetKey]) -> dg.AutomationCondition[Any]:
    """Make the condition of a product of all kinds of spectra: it doesn't wait for those that there are none of."""
    if not kinds:
        return FOLLOWS
    return FOLLOWS.replace(MISSING, MISSING.ignore(dg.AssetSelection.assets(*kinds)))


def _columns(columns: Iterable[OutColumn], keys: dict[str, dg.AssetKey]) -> dict[str, Any]:
    """Say which columns a product has, and which columns of which tables each is from."""
    by_name: dict[str, dg.TableColumn] = {}
    found: dict[str, list[dg.TableColumnDep]] = {}
    for column in columns:
        tags = {"unit": column.unit} if column.unit else {}
        by_name.setdefault(column.name, dg.TableColumn(column.name, column_type(column.field), tags=tags))
        for table, origin in origins_of(column):
            if table in keys and (dep := dg.TableColumnDep(keys[table], origin)) not in found.setdefault(
                column.name, []
            ):
                found[column.name].append(dep)
    return {
        "dagster/column_schema": dg.TableSchema(columns=list(by_name.values())),
        "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=found),
    }


def _metadata(report: ProductReport) -> dict[str, Any]:
    rows = {f"{table} rows": count for table, count in report.file.rows.items()}
    return {
        "path": dg.MetadataValue.path(os.path.abspath(report.file.path)),
        "dagster/row_count": sum(report.file.rows.values()),
        **rows,
        "megabytes": round(report.file.size / 1e6, 3),
        "bytes": report.file.size,
        "version": report.version,
        "sha256": report.file.sha256,
        "results of other spectra": report.elsewhere,
    }
