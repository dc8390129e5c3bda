"""Results into tables, and tables into assets downstream.

Batches are taken one at a time and written each in a transaction of its own, so that memory stays bounded and a run
that is killed has lost at most the batch that was open.
"""

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg
import peewee
from dagster._core.events import DagsterEvent

from astra_models.analysis.stream import Pace, Progress, ResultStream, write
from astra_models.errors import ResultTypeError, SelectionError, UnansweredError
from astra_models.outputs import output_model_named
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products import to_table
from astra_models.products.query import of_version
from astra_models.rejected import RejectedResult
from astra_models.upsert import UpsertReport
from astra_models.version import installed_v_astra, installed_version
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.identity import metadata_of_database

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["PipelineResultIOManager", "ResultStream", "pipeline_result_io_manager"]

MODEL_METADATA = "astra/model"
NOT_SET_UP = "not set up"
"""Metadata of the observation of a pipeline that isn't set up: what it needs."""
WITHOUT_EVENT = "__source_asset_observation__"
"""Metadata of an output that Dagster makes no materialization of; its own assets that are only observed have it."""
REASONS_SHOWN = 5
SECONDS_TO_OBSERVATION = 60.0
MOST_OBSERVATIONS = 5
COUNTS = ("inserted", "updated", "unchanged", "kept", "rejected", "superseded")


class PipelineResultIOManager(dg.IOManager):
    """Upserts what an asset returns; gives assets downstream a query, or a table.

    An asset returns a `ResultStream`, or a list of results. Another takes it as a `peewee.ModelSelect`, which reads
    nothing until it is iterated, or as an `astropy.table.Table` or ``QTable`` as `products.to_table` makes it; all
    hold the results of the installed major.minor version.

    Parameters
    ----------
    database : DatabaseResource, optional
        Where the tables are; by default as the configuration files say.
    instance : DagsterInstance, optional
        Where earlier materializations are.
    """

    def __init__(self, database: DatabaseResource | None = None, instance: dg.DagsterInstance | None = None):
        self.database = database or DatabaseResource()
        self.instance = instance

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write what an asset returned, and report the counts as metadata of its materialization.

        Of an output that is to be no materialization nothing is written.

        Raises
        ------
        ResultTypeError
            If it is neither a `ResultStream` nor a list of results.
        dagster.Failure
            If too few of the spectra that were due have a result.
        """
        if WITHOUT_EVENT in (context.output_metadata or {}):
            return
        stream = _as_stream(obj, context)
        self.database.connect(*stream.models, RejectedResult)
        try:
            metadata = self._write(context, stream)
        except dg.Failure:  # it has all counts
            raise
        except BaseException:
            self._observe_what_was_written(context, stream)
            raise
        context.add_output_metadata(metadata_of_database(self.instance, context.asset_key, metadata))

    def _write(self, context: dg.OutputContext, stream: ResultStream[PipelineOutputMixin]) -> dict[str, Any]:
        """Write a stream, look at the table, and give the metadata of both."""
        started = time.monotonic()
        report = write(stream, run_id=context.run_id, on_progress=_Reporter(context, self.instance))
        seconds = time.monotonic() - started
        if report.rows:
            context.log.info(f"{_counts(report)} in {seconds:.1f} s")
        if stream.expected and (answered := stream.answered(report)) < stream.expected:
            context.log.info(f"{answered} of {stream.expected} answered")
        if stream.work is not None and stream.work.elsewhere:
            context.log.info(f"{stream.work.elsewhere} more are in the hands of other runs (`astra leases`)")
        if stream.usage is not None and stream.usage.peak_memory:
            context.log.info(stream.usage.summary(seconds))
        metadata = _metadata(stream, report, seconds)
        try:
            stream.require_answered(report)
        except UnansweredError as error:
            raise dg.Failure(str(error), metadata=metadata, allow_retries=False) from error
        if stream.on_written is not None:
            metadata |= stream.on_written(report)
        return metadata

    def _observe_what_was_written(self, context: dg.OutputContext, stream: ResultStream[PipelineOutputMixin]) -> None:
        """Leave an observation of what a run wrote that doesn't come to its end, as when it is terminated."""
        if not stream.written.rows:
            return
        counts: dict[str, Any] = {name: getattr(stream.written, name) for name in COUNTS}
        metadata = metadata_of_database(self.instance, context.asset_key, {"due": stream.due} | counts)
        said = f"the run ended before all was done; written and kept: {_counts(stream.written)}"
        observation = dg.AssetObservation(asset_key=context.asset_key, description=said, metadata=metadata)
        try:
            # What log_event is given is dropped with the step that fails; making an event stores it at once.
            DagsterEvent.asset_observation(context.step_context, observation)
        except dg.DagsterInvariantViolationError:  # a context that somebody made, without a step
            context.log_event(observation)

    def load_input(self, context: dg.InputContext) -> "peewee.ModelSelect[PipelineOutputMixin] | Table":
        """Give the results of the installed major.minor version, as what the input's annotation asks for.

        Raises
        ------
        ResultTypeError
            If the annotation asks for something else.
        """
        upstream = context.upstream_output
        model = output_model((upstream.definition_metadata if upstream else {}).get(MODEL_METADATA))
        self.database.connect(model)
        installed, wanted = installed_v_astra(), context.dagster_type.typing_type
        if wanted in (Any, peewee.ModelSelect, peewee.Query):
            return model.select().where(of_version(model, installed))
        if getattr(wanted, "__name__", "") in ("Table", "QTable"):
            return wanted(to_table(model, v_astra=installed), copy=False)
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
    return PipelineResultIOManager(context.resources.database, context.instance)


class _Reporter:
    """Reports progress in a run's log, and now and then as an observation of the asset."""

    def __init__(self, context: dg.OutputContext, instance: dg.DagsterInstance | None):
        self._context = context
        self._instance = instance
        self._observations = Pace(SECONDS_TO_OBSERVATION, growth=4)
        self._left = MOST_OBSERVATIONS
        self._says_dashboard = True

    def __call__(self, progress: Progress) -> None:
        self._context.log.info(str(progress))
        if self._says_dashboard and progress.usage is not None and progress.usage.dashboard:
            self._says_dashboard = False
            self._context.log.info(f"Dask shows its workers at {progress.usage.dashboard}")
        if self._left and self._observations.is_due():
            self._left -= 1
            key = self._context.asset_key
            metadata = {"done": progress.done, "rows per second": round(progress.per_second, 1)}
            metadata = metadata_of_database(self._instance, key, metadata)
            self._context.log_event(dg.AssetObservation(asset_key=key, description=str(progress), metadata=metadata))


def _as_stream(obj: object, context: dg.OutputContext) -> ResultStream[PipelineOutputMixin]:
    if isinstance(obj, ResultStream):
        return obj
    if isinstance(obj, list) and obj and all(isinstance(row, PipelineOutputMixin) for row in obj):
        return ResultStream([obj], list(dict.fromkeys(type(row) for row in obj)))
    raise ResultTypeError(
        f"{context.asset_key.to_user_string()} returned {type(obj).__name__}, not a ResultStream or a list of results"
    )


def output_model(name: object) -> type[PipelineOutputMixin]:
    """Find an output model by the name that its asset carries as metadata.

    Raises
    ------
    ResultTypeError
        If there is none.
    """
    try:
        return output_model_named(str(name))
    except SelectionError as error:
        raise ResultTypeError(
            f"{error}. An asset that isn't made by pipeline_asset names its model in the metadata {MODEL_METADATA!r}"
        ) from error


def _counts(report: UpsertReport) -> str:
    counts = {name: getattr(report, name) for name in COUNTS}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _metadata(stream: ResultStream[PipelineOutputMixin], report: UpsertReport, seconds: float) -> dict[str, Any]:
    model = stream.models[0]
    metadata: dict[str, Any] = {}
    if stream.due is not None:
        metadata = {"due": stream.due, "answered": stream.answered(report)}
    metadata |= {name: getattr(report, name) for name in COUNTS}
    if report.reasons:
        metadata["reasons"] = dg.MetadataValue.md(_reasons(report.reasons))
    if stream.usage is not None:
        metadata |= {"workers": stream.usage.workers, "core-seconds": round(stream.usage.core_seconds, 1)}
        if stream.usage.peak_memory:
            metadata["memory of a worker (MB)"] = round(max(stream.usage.peak_memory.values()) / 1e6)
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


def _reasons(reasons: Counter[str]) -> str:
    lines = ["| results | reason |", "| ---: | --- |"]
    lines += [f"| {count} | {one_line(reason)} |" for reason, count in reasons.most_common(REASONS_SHOWN)]
    if len(reasons) > REASONS_SHOWN:
        lines.append(f"| {sum(reasons.values()) - sum(n for _, n in reasons.most_common(REASONS_SHOWN))} | others |")
    return "\n".join(lines)


def one_line(text: str) -> str:
    """Put text into one cell of a table in Markdown."""
    return " ".join(text.split()).replace("|", "\\|")[:300]
