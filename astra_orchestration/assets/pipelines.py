"""An asset for every pipeline, made from its annotated generator.

The annotations say what the pipeline takes and gives, the docstring what it does, the output model what its columns
are: `pipeline_asset` hands all that to Dagster, and adds the run configuration that narrows a run.
"""

import inspect
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from pydantic import Field

from astra_models.analysis.due import Rerun, needs_of
from astra_models.analysis.recipe import HasParameters, warnings_of
from astra_models.analysis.stream import MIN_ANSWERED, ResultStream, analyse
from astra_models.errors import NotSetUpError, TaskError
from astra_models.outputs import Pipeline, pipelines
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products.summary import products
from astra_models.quality import CHECKS, Check
from astra_models.rejected import RejectedResult
from astra_models.version import installed_version
from astra_orchestration.assets.columns import code_of, table_metadata, tables_filled_besides
from astra_orchestration.assets.parameters import parameters_in, say_if_redone, with_parameters
from astra_orchestration.checks.looking import Look, check_specs, nothing_to_look_at
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.engine import EngineResource
from astra_orchestration.resources.io_manager import MODEL_METADATA, NOT_SET_UP, WITHOUT_EVENT, output_model
from astra_orchestration.resources.writers import WRITERS

__all__ = [
    "PipelineRunConfig",
    "Rerun",
    "all_pipeline_assets",
    "is_pipeline_asset",
    "output_models",
    "pipeline_asset",
    "pipeline_of",
]

logger = logging.getLogger(__name__)

OTHER_ASSETS = ("sample_survey", "sample_labels", "catalogue", "result_file")
"""Our assets that are neither tables nor files of results. No pipeline can have their names."""


TRAINED_BY = {"the_cannon": ("the_cannon_model",)}
"""Assets of models that pipelines use, if they have been trained on the survey's own stars."""

NO_LIMIT = 1_000_000_000
"""More than all spectra. The launchpad leaves out what is None, and the limit is to be seen there."""
_pipelines: "WeakKeyDictionary[object, Pipeline]" = WeakKeyDictionary()
"""The pipelines of assets, by what an asset shares with its copies."""


RAN_LAST_NIGHT = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
"""A night was left out, or two. It tells that runs come, and not that data do: a run with nothing due counts."""


class PipelineRunConfig(dg.Config):
    """What narrows a run of a pipeline. Left as it is, everything that is due is analysed."""

    limit: int | None = Field(default=NO_LIMIT, ge=0, description="Analyse at most this many spectra")
    sdss_ids: list[int] | None = Field(default=[], description="Only spectra of these sources; empty: of all")
    rerun: Rerun = Field(
        default=Rerun.due,
        description="`due`: no result of this version, or an outdated one; `failed`: what failed; `all`: everything",
    )
    reason: str | None = Field(
        default=None, description="With `failed`: only what is listed for this reason, such as `timeout`"
    )
    keep: bool = Field(
        default=False,
        description="Leave the results of this run alone although they were made with other parameters than the "
        "deployment's; else they are done again with those, by the sensor or the next nightly run",
    )
    batch_size: int | None = Field(default=None, ge=1, description="Results per transaction")
    min_answered: float = Field(
        default=MIN_ANSWERED,
        ge=0,
        le=1,
        description="The run fails if a smaller share of what is due (20 or more) has a result in the end",
    )


def pipeline_asset(
    task: Pipeline,
    *,
    name: str | None = None,
    group: str = "pipelines",
    kinds: Iterable[str] = ("python", "table"),
    owners: Sequence[str] = ("team:astra",),
    pipeline_version: str | None = None,
    deps: Sequence[dg.AssetKey | dg.AssetsDefinition | str] = (),
    keep_good: bool = False,
    engine: EngineResource | None = None,
    checks: bool | Sequence[Check] = True,
    thresholds: Mapping[str, object] | None = None,
) -> dg.AssetsDefinition:
    """Make an asset of a pipeline.

    Parameters
    ----------
    task : Pipeline
        A generator function decorated by `astra_models.task`.
    name : str, optional
        The asset's key; the function's name if not given.
    group, kinds, owners : optional
        How Dagster groups and labels it.
    pipeline_version : str, optional
        The version of the asset's code beside Astra's; the pipeline's own if not given.
    deps : sequence, optional
        Assets upstream other than the spectra and results that the pipeline takes.
    keep_good : bool, optional
        Whether a result without any measured value leaves a better one in place.
    engine : EngineResource, optional
        Where it is called, unless the launchpad chooses another one.
    checks : bool or sequence of Check, optional
        Whether, or by which checks, the table is checked in the same step, once the results are written: by default
        all of `astra_models.quality`. Without checks, a direct call of the asset gives the `ResultStream` itself.
    thresholds : mapping of str to object, optional
        Thresholds of the checks, over those of the configuration.

    Returns
    -------
    dagster.AssetsDefinition
        It needs the resources ``database``, ``engine`` and ``pipeline_results``, see
        `astra_orchestration.resources.resources_for`.
    """
    model = task.output_models[0]
    own_engine = engine
    run_config = with_parameters(PipelineRunConfig, task)
    if pipeline_version is None:
        pipeline_version = task.version if isinstance(task, HasParameters) else "1"
    key = dg.AssetKey([name or task.name])
    made = (CHECKS if checks else ()) if isinstance(checks, bool) else tuple(checks)

    @dg.asset(
        key=key,
        group_name=group,
        kinds=set(kinds),
        owners=list(owners),
        description=_description(task),
        code_version=f"{installed_version()}-{pipeline_version}",
        metadata={
            **table_metadata(model),
            **_code_of(task),
            **tables_filled_besides(task.output_models),
            MODEL_METADATA: model.__name__,
        },
        deps=[*_upstream(task), *deps],
        io_manager_key="pipeline_results",
        pool=WRITERS,
        freshness_policy=RAN_LAST_NIGHT,
        check_specs=check_specs(key, made) or None,
    )
    def results(
        context: dg.AssetExecutionContext,
        config: run_config,  # pyright: ignore[reportInvalidTypeForm]  made for the pipeline
        database: DatabaseResource,
        engine: EngineResource,
    ):  # Dagster takes no annotation but a tuple where there are checks, which are outputs to it
        chosen = engine if own_engine is None or engine.is_chosen else own_engine
        try:
            stream = _stream(task, config, database, chosen, keep_good)
        except NotSetUpError as error:
            if len(context.job_def.asset_layer.selected_asset_keys) == 1:
                raise
            return _left_out(context, task, key, made, str(error))
        say_if_redone(context.log, task, parameters_in(config, task), keep=config.keep)
        context.log.info(f"{stream.due} spectra are due" if stream.due else "nothing is due")
        for warning in warnings_of(task, parameters_in(config, task)) if stream.due else ():
            context.log.warning(warning)
        if not made:
            return stream
        return _checked(stream, Look(task, key, context.log, parameters_in(config, task), made, thresholds))

    _pipelines[results.node_def] = task
    return results


def pipeline_of(asset: dg.AssetsDefinition) -> Pipeline:
    """Give the pipeline that an asset was made of by `pipeline_asset`.

    Raises
    ------
    TaskError
        If it wasn't.
    """
    if not is_pipeline_asset(asset):
        raise TaskError(f"the asset {asset.key.to_user_string()} isn't one that pipeline_asset has made")
    return _pipelines[asset.node_def]


def is_pipeline_asset(asset: dg.AssetsDefinition) -> bool:
    """Tell whether an asset was made by `pipeline_asset`."""
    return asset.is_executable and asset.node_def in _pipelines


def _stream(
    task: Pipeline, config: Any, database: DatabaseResource, engine: EngineResource, keep_good: bool
) -> ResultStream[PipelineOutputMixin]:
    needed = (need.model for need in needs_of(task))
    database.connect(*task.output_models, *task.spectrum_models, *needed, RejectedResult)
    stream = analyse(
        task,
        limit=None if config.limit == NO_LIMIT else config.limit,
        sdss_ids=config.sdss_ids or None,
        rerun=config.rerun,
        batch_size=config.batch_size,
        keep_good=keep_good,
        parameters=parameters_in(config, task),
        min_answered=config.min_answered,
        reason=config.reason,
        engine=engine.make(),
    )
    stream.keep = config.keep
    return stream


def _checked(stream: ResultStream[PipelineOutputMixin], look: Look) -> Iterator[dg.Output[Any] | dg.AssetCheckResult]:
    """Have the stream written, then give the checks: Dagster goes on with a generator when its output is stored."""
    stream.on_written = look.metadata
    yield dg.Output(stream)
    yield from look.results()


def _left_out(
    context: dg.AssetExecutionContext, task: Pipeline, key: dg.AssetKey, checks: Sequence[Check], why: str
) -> dg.Output[Any] | Iterator[dg.Output[Any] | dg.AssetCheckResult]:
    """Say that a pipeline isn't set up. Its output is given all the same, or assets downstream would be skipped."""
    context.log.info(f"not set up here, so nothing is done: {why}")
    context.log_event(dg.AssetObservation(key, description=f"not set up here: {why}", metadata={NOT_SET_UP: why}))
    nothing = dg.Output(ResultStream((), task.output_models, due=0), metadata={WITHOUT_EVENT: True})
    return _unchecked(nothing, key, checks) if checks else nothing


def _unchecked(
    nothing: dg.Output[Any], key: dg.AssetKey, checks: Sequence[Check]
) -> Iterator[dg.Output[Any] | dg.AssetCheckResult]:
    yield nothing
    yield from nothing_to_look_at(key, checks, "not set up here")


def _code_of(task: Pipeline) -> dict[str, Any]:
    function = getattr(task, "function", None)
    return code_of(function) if inspect.isfunction(function) else {}


def _upstream(task: Pipeline) -> list[dg.AssetKey]:
    """Give the assets of what a pipeline takes, by its annotation: spectra, and other pipelines' results."""
    needed = [need.model for need in needs_of(task)]
    makers = {model: maker.name for maker in (pipelines() if needed else ()) for model in maker.output_models}
    results = (makers.get(model) or model._meta.table_name for model in needed)
    return [dg.AssetKey(str(name)) for name in (*(kind._meta.table_name for kind in task.spectrum_models), *results)]


def _description(task: Pipeline) -> str:
    """Take the docstring up to its first section: its underlined headings would be shown as titles."""
    return re.split(r"\n\w[\w ]*\n-{3,}", inspect.cleandoc(task.__doc__ or ""))[0].strip()


def output_models(assets: Iterable[dg.AssetsDefinition]) -> dict[dg.AssetKey, type[PipelineOutputMixin]]:
    """Give the output models of assets made by `pipeline_asset`, by the assets' keys."""
    return {asset.key: output_model(asset.metadata_by_key[asset.key][MODEL_METADATA]) for asset in assets}


@cache
def all_pipeline_assets() -> tuple[dg.AssetsDefinition, ...]:
    """Make the assets of all pipelines that can be used: ours, and those of other packages."""
    taken = {*OTHER_ASSETS, *products()}
    assets: list[dg.AssetsDefinition] = []
    for pipeline in pipelines():
        if pipeline.name in taken:
            logger.error("the pipeline %r has no asset: one of ours has that name; rename it", pipeline.name)
        else:
            assets.append(pipeline_asset(pipeline, deps=TRAINED_BY.get(pipeline.name, ())))
    return tuple(assets)
