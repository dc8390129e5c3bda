"""Results into tables, and tables into assets downstream.

Batches are taken one at a time and written each in a transaction of its own, so that memory stays bounded and a run
that is killed has lost at most the batch that was open.
"""

import time
from typing import Any

import dagster as dg
import numpy as np
import peewee

from astra_models.analysis.stream import ResultStream, write
from astra_models.errors import ResultTypeError
from astra_models.fields import FloatField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.version import installed_v_astra, installed_version
from astra_orchestration.resources.database import DatabaseResource

__all__ = ["PipelineResultIOManager", "ResultStream", "as_table", "pipeline_result_io_manager"]

MODEL_METADATA = "astra/model"
REASONS_SHOWN = 5
COUNTS = ("inserted", "updated", "unchanged", "kept", "rejected", "superseded")


class PipelineResultIOManager(dg.IOManager):
    """Upserts what an asset returns; gives assets downstream a query, or a table.

    An asset returns a `ResultStream`, or a list of results. Another takes it as a `peewee.ModelSelect`, which reads
    nothing until it is iterated, or as an `astropy.table.Table` with units; both hold the results of the installed
    major.minor version.

    Parameters
    ----------
    database : DatabaseResource, optional
        Where the tables are; by default as the configuration files say.
    """

    def __init__(self, database: DatabaseResource | None = None):
        self.database = database or DatabaseResource()

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write what an asset returned, and report the counts as metadata of its materialization.

        Raises
        ------
        ResultTypeError
            If it is neither a `ResultStream` nor a list of results.
        """
        stream = _as_stream(obj, context)
        self.database.connect(*stream.models, RejectedResult)
        started = time.monotonic()
        report = write(stream, run_id=context.run_id, on_progress=lambda progress: context.log.info(str(progress)))
        seconds = time.monotonic() - started
        if report.rows:
            context.log.info(f"{_counts(report)} in {seconds:.1f} s")
        context.add_output_metadata(_metadata(stream, report, seconds))

    def load_input(self, context: dg.InputContext) -> Any:
        """Give the results of the installed major.minor version, as what the input's annotation asks for.

        Raises
        ------
        ResultTypeError
            If the annotation asks for something else.
        """
        upstream = context.upstream_output
        model = output_model((upstream.definition_metadata if upstream else {}).get(MODEL_METADATA))
        self.database.connect(model)
        query = current_results(model)
        wanted = context.dagster_type.typing_type
        if wanted in (Any, peewee.ModelSelect, peewee.Query):
            return query
        if getattr(wanted, "__name__", "") in ("Table", "QTable"):
            return as_table(query, wanted)
        raise ResultTypeError(
            f"{context.asset_key.to_user_string()} can be loaded as peewee.ModelSelect or astropy.table.Table, not as "
            f"{getattr(wanted, '__name__', wanted)}; change the annotation of the input"
        )


@dg.io_manager(
    required_resource_keys={"database"},
    description="Upserts results into their table; loads them as a query or a table.",
)
def pipeline_result_io_manager(context: dg.InitResourceContext) -> PipelineResultIOManager:
    """Make the IO manager on the run's own ``database`` resource, whatever the launchpad made of it."""
    return PipelineResultIOManager(context.resources.database)


def current_results(model: type[PipelineOutputMixin]) -> Any:
    """Select a model's results of the installed major.minor version."""
    return model.select().where(model.v_astra_major_minor == installed_v_astra() // 1000)


def as_table(query: peewee.ModelSelect, kind: Any = None) -> Any:
    """Read a query of whole rows into a table with units and descriptions.

    Parameters
    ----------
    query : peewee.ModelSelect
        Of all columns of one model.
    kind : type, optional
        `astropy.table.Table` (the default) or a class derived from it.

    Returns
    -------
    astropy.table.Table
        ``n_results`` rows; NULL is masked, times are ISO 8601 text in UTC.
    """
    from astropy.table import Table

    fields = query.model._meta.sorted_fields
    columns = list(zip(*query.tuples(), strict=True)) or [()] * len(fields)
    table = {field.name: _column(field, values) for field, values in zip(fields, columns, strict=True)}
    return (kind or Table)(table, meta={"table": query.model._meta.table_name})


def _column(field: Any, values: tuple[Any, ...]) -> Any:
    from astropy.table import Column, MaskedColumn

    dtype, blank = _storage(field)
    missing = np.array([value is None for value in values], dtype=bool)
    filled = [blank if value is None else value for value in values]
    if dtype is str:
        filled = [value.isoformat() if hasattr(value, "isoformat") else str(value) for value in filled]
    data = np.array(filled, dtype=dtype)
    described = {"unit": field.unit or None, "description": field.help_text}
    return MaskedColumn(data, mask=missing, **described) if missing.any() else Column(data, **described)


def _storage(field: peewee.Field) -> tuple[Any, Any]:
    """Give the NumPy type of a column, and what stands under the mask."""
    if isinstance(field, peewee.BooleanField):
        return bool, False
    if isinstance(field, peewee.FloatField):
        return (np.float32 if isinstance(field, FloatField) else np.float64), np.nan
    if isinstance(field, peewee.IntegerField | peewee.ForeignKeyField):
        return np.int64, 0
    return str, ""


def _as_stream(obj: Any, context: dg.OutputContext) -> ResultStream:
    if isinstance(obj, ResultStream):
        return obj
    if isinstance(obj, list) and obj and all(isinstance(row, peewee.Model) for row in obj):
        return ResultStream([obj], list(dict.fromkeys(type(row) for row in obj)))
    raise ResultTypeError(
        f"{context.asset_key.to_user_string()} returned {type(obj).__name__}, not a ResultStream or a list of results"
    )


def output_model(name: Any) -> type[PipelineOutputMixin]:
    """Find an output model by the name that its asset carries as metadata.

    Raises
    ------
    ResultTypeError
        If there is none.
    """
    for model in PipelineOutputMixin.concrete_models():
        if model.__name__ == name:
            return model
    raise ResultTypeError(
        f"no output model is named {name!r}; an asset that isn't made by pipeline_asset says which is its own by the "
        f"metadata {MODEL_METADATA!r}"
    )


def _counts(report: Any) -> str:
    counts = {name: getattr(report, name) for name in COUNTS}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _metadata(stream: ResultStream, report: Any, seconds: float) -> dict[str, Any]:
    model = stream.models[0]
    metadata: dict[str, Any] = {} if stream.due is None else {"due": stream.due}
    metadata |= {name: getattr(report, name) for name in COUNTS}
    if report.reasons:
        metadata["reasons"] = dg.MetadataValue.md(_reasons(report.reasons))
    return metadata | {
        "seconds": round(seconds, 3),
        "rows per second": round(report.rows / max(seconds, 1e-9), 1),
        "version": installed_version(),
        "v_astra": installed_v_astra(),
        "narrowed": stream.narrowed,
        "dagster/table_name": qualified_name(model),
        "dagster/row_count": model.select().count(),
    }


def qualified_name(model: type[peewee.Model]) -> str:
    """Give a table's name, after its schema if it has one."""
    schema = model._meta.schema
    return f"{schema}.{model._meta.table_name}" if schema else model._meta.table_name


def _reasons(reasons: Any) -> str:
    lines = ["| results | reason |", "| ---: | --- |"]
    lines += [f"| {count} | {_one_line(reason)} |" for reason, count in reasons.most_common(REASONS_SHOWN)]
    if len(reasons) > REASONS_SHOWN:
        lines.append(f"| {sum(reasons.values()) - sum(n for _, n in reasons.most_common(REASONS_SHOWN))} | others |")
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:300]
