"""What the database holds: rows per table, and per pipeline what is due, done and rejected."""

from typing import Any

__all__ = ["overview"]

Rows = list[tuple[Any, ...]]


def overview() -> tuple[Rows, Rows]:
    """Count what is in the bound database.

    Returns
    -------
    tables : list of tuple
        Name and number of rows of the source and spectrum tables that are there.
    pipelines : list of tuple
        Name, spectra due, results, results of the installed major.minor version, rejected ones of it, newest version.
    """
    from astra_models.database.connection import existing_tables, require_tables
    from astra_models.ingest.spectra import MODELS
    from astra_models.rejected import RejectedResult
    from astra_models.source import Source
    from astra_models.spectrum import Spectrum
    from astra_orchestration.pipelines import load_pipeline, pipeline_names

    require_tables(Source, Spectrum, RejectedResult)
    there = existing_tables()
    models = [model for model in (Source, Spectrum, *MODELS) if model._meta.table_name in there]
    tables = [(model._meta.table_name, model.select().count()) for model in models]
    tasks = [(name, load_pipeline(name)) for name in pipeline_names()]
    return tables, [(name, *_of(task)) for name, task in tasks if task.output_models[0]._meta.table_name in there]


def _of(task: Any) -> tuple[Any, ...]:
    from astra_models.rejected import RejectedResult
    from astra_models.selection import count_due, newest_version
    from astra_models.version import installed_v_astra, version_integer_to_string

    model = task.output_models[0]
    of_version = model.v_astra_major_minor == installed_v_astra() // 1000
    rejected = (RejectedResult.model == model.__name__) & (RejectedResult.v_astra == installed_v_astra())
    newest = newest_version(model)
    return (
        sum(count_due(model, kind) for kind in task.spectrum_models),
        model.select().count(),
        model.select().where(of_version).count(),
        RejectedResult.select().where(rejected).count(),
        "none" if newest is None else version_integer_to_string(newest),
    )
