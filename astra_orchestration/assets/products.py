"""The summary products as assets: files made of what the pipelines' assets filled their tables with.

Each follows its pipeline by an automation condition, which `automation.product_sensor` looks at.
"""

import os
from collections.abc import Iterable
from typing import Any

import dagster as dg
from pydantic import Field

from astra_models.analysis.stream import Pace
from astra_models.errors import NothingToWriteError
from astra_models.products.summary import FOLDER, Product, ProductReport, product_named, products, write_product
from astra_orchestration.assets.columns import keys_by_table
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.identity import metadata_of_database

__all__ = ["FOLDER_VARIABLE", "ProductConfig", "product_asset", "product_assets"]

FOLDER_VARIABLE = "ASTRA_PRODUCTS"
GROUP = "products"
FOLLOWS = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
"""When a product is written again: what it is made of is new, and isn't known to be wrong."""


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
    tables = (model._meta.table_name for model in product.followed)
    name = product.name

    @dg.asset(
        name=name,
        group_name=GROUP,
        kinds={"fits", "file"},
        owners=["team:astra"],
        description=product.description,
        deps=[keys[table] for table in tables if table in keys],
        automation_condition=FOLLOWS,
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
            metadata = _metadata(report)
        return dg.MaterializeResult(metadata=metadata_of_database(context.instance, context.asset_key, metadata))

    return written


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
