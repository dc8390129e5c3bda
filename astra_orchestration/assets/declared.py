"""An asset for every table without one of its own: its results come in files, or with those of another table.

They are declared so that the graph is complete: what they are made from, which columns they have, and what uses them. A
model that a pipeline computes has the pipeline's asset instead.
"""

import inspect
from collections.abc import Iterable

import dagster as dg

from astra_models.base import BaseModel
from astra_models.outputs import MADE_FROM
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin
from astra_orchestration.assets.columns import keys_by_table, makers_by_table, table_metadata
from astra_orchestration.resources.io_manager import MODEL_METADATA


def declared_assets(defined: Iterable[dg.AssetsDefinition]) -> list[dg.AssetSpec]:
    """Declare the tables that have no asset of their own.

    Parameters
    ----------
    defined : iterable of AssetsDefinition
        The assets that there are. Which table each fills is in their metadata.

    Returns
    -------
    list of dagster.AssetSpec
        One for each model in `outputs.MADE_FROM` without an asset among `defined`.
    """
    defined = list(defined)
    keys, makers = keys_by_table(defined), makers_by_table(defined)
    missing = [model for model in MADE_FROM if model._meta.table_name not in keys]
    keys |= {model._meta.table_name: dg.AssetKey(model._meta.table_name) for model in missing}
    return [
        _declared(
            model, [keys[source._meta.table_name] for source in MADE_FROM[model]], makers.get(model._meta.table_name)
        )
        for model in missing
    ]


def _declared(model: type[BaseModel], deps: list[dg.AssetKey], maker: dg.AssetKey | None) -> dg.AssetSpec:
    is_spectra = issubclass(model, SpectrumMixin)
    metadata = table_metadata(model)
    if issubclass(model, PipelineOutputMixin):  # what takes its results gets them from the table
        metadata |= {MODEL_METADATA: model.__name__, "dagster/io_manager_key": "pipeline_results"}
    fed = f"Fed by {'catalogue' if is_spectra else 'result'} files: nothing here computes it."
    if maker is not None:
        fed = f"Filled by `{maker.to_user_string()}`, with its own results."
    return dg.AssetSpec(
        key=model._meta.table_name,
        deps=deps if maker is None else [*deps, maker],
        group_name="catalogue" if is_spectra else "result_files",
        kinds={"file", "table"},
        owners=["team:astra"],
        description=f"{inspect.cleandoc(model.__doc__ or '')}\n\n{fed}",
        metadata=metadata,
    )
