"""Every asset, once, in this process: what ``make run`` does before it serves the UI.

The run is recorded in the Dagster instance like any other, so that the UI shows it.
"""

import logging
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster._core.execution import compute_logs

from astra_orchestration.cli.serve import require_dagster_home
from astra_orchestration.launching.local_runs import process_tags
from astra_orchestration.resources.identity import by_plain_names
from astra_orchestration.resources.io_manager import NOT_SET_UP

__all__ = ["Outcome", "count_outcomes", "materialize_everything"]

OUR_ERRORS = "astra_models.errors."
CANNON, CANNON_MODEL = dg.AssetKey("the_cannon"), dg.AssetKey("the_cannon_model")
COUNTS = ("due", "inserted", "updated", "unchanged", "kept", "rejected")


@dataclass(frozen=True)
class Outcome:
    """What became of an asset.

    Attributes
    ----------
    asset : str
        Its key.
    counts : dict of str to int
        ``due``, ``inserted``, ``updated``, ``unchanged``, ``kept``, ``rejected``, as far as they apply.
    seconds : float or None
        How long it took; None if it was not materialized.
    failed : bool
        Whether it was not materialized.
    not_set_up : bool
        Whether it lacks what it needs here: then it has nothing to do, and hasn't failed.
    """

    asset: str
    counts: Mapping[str, int]
    seconds: float | None
    failed: bool = False
    not_set_up: bool = False


def materialize_everything(
    *,
    paths: Sequence[str] = (),
    stars: int | None = None,
    apogee_stars: int | None = None,
    say: Callable[[str, str], None] = lambda asset, text: None,
) -> list[Outcome]:
    """Materialize all assets but the summary products, and record that in the Dagster instance of ``DAGSTER_HOME``.

    Parameters
    ----------
    paths : sequence of str, optional
        Files and patterns to ingest instead of the sample survey, which is then not made.
    stars, apogee_stars : int, optional
        Size of the sample survey.
    say : callable, optional
        Called with an asset's name and what it has to say.

    Returns
    -------
    list of Outcome
        One per asset, upstream ones first.

    Raises
    ------
    ConfigurationError
        If ``DAGSTER_HOME`` isn't set.
    KeyboardInterrupt
        If the run was interrupted.
    """
    from astra_orchestration.assets.spectra import catalogue
    from astra_orchestration.definitions import defs

    require_dagster_home()
    _keep_interrupts_from_copiers()
    loud = dg.Definitions.merge(defs, dg.Definitions(loggers={"console": _logger(say)}))
    config: dict[str, Any] = {"loggers": {"console": {"config": {}}}, "ops": {}}
    selection = dg.AssetSelection.all().materializable() - dg.AssetSelection.groups("products", "training")
    if paths:
        selection -= dg.AssetSelection.groups("sample")
        config["ops"]["catalogue"] = {"config": {"paths": list(paths)}}
    elif sizes := {name: n for name, n in (("stars", stars), ("apogee_stars", apogee_stars)) if n is not None}:
        config["ops"]["sample_survey"] = {"config": sizes}
    job = loud.resolve_implicit_global_asset_job_def()
    graph = loud.resolve_asset_graph()
    # A partition is a file or a part of something, and none was asked for.
    wanted = {key for key in selection.resolve(graph) if not graph.get(key).is_partitioned}
    learning = CANNON in wanted
    wanted -= {CANNON}
    done: dict[dg.AssetKey, Mapping[str, dg.MetadataValue]] = {}

    def run(keys: Iterable[dg.AssetKey], run_config: Mapping[str, Any]) -> None:
        with dg.DagsterInstance.get() as instance:
            result = job.execute_in_process(
                run_config=run_config,
                instance=instance,
                asset_selection=list(keys),
                raise_on_error=False,
                tags=process_tags(),
            )
        if any(map(_is_interrupt, result.all_events)):
            raise KeyboardInterrupt
        for event in result.get_asset_materialization_events():
            if event.asset_key is not None:
                done[event.asset_key] = event.materialization.metadata
        # Of an empty table of spectra, and of a pipeline that isn't set up, there is nothing else.
        for event in result.get_asset_observation_events():
            metadata = event.asset_observation_data.asset_observation.metadata
            if event.asset_key is not None and (event.asset_key in catalogue.keys or NOT_SET_UP in metadata):
                done.setdefault(event.asset_key, metadata)

    run(wanted, config)
    # What there is to learn from is known when the files have been read.
    if learning and (more := _cannon_assets(say)):
        wanted |= more
        run(more, {name: values for name, values in config.items() if name != "ops"})
    return [_outcome(key, done.get(key)) for key in graph.toposorted_asset_keys if key in wanted]


def _keep_interrupts_from_copiers() -> None:
    """Have Ctrl-C in a terminal, which is for all its processes, spare those by which Dagster copies what steps print.

    They end with the step, or when this process has gone; one of each two would show a traceback before.
    """
    apart = SimpleNamespace(Popen=partial(subprocess.Popen, process_group=0))
    compute_logs.subprocess = apart  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]


def _cannon_assets(say: Callable[[str, str], None]) -> set[dg.AssetKey]:
    """Choose what is made of The Cannon: its model, if there is none and there are labels; and its results."""
    from astra_models.errors import AstraError
    from astra_models.outputs import load_pipeline
    from astra_orchestration.pipelines.the_cannon.finding import is_trained
    from astra_orchestration.pipelines.the_cannon.labelled import why_too_few

    try:
        load_pipeline(CANNON.to_user_string())
        if is_trained():
            return {CANNON}
        reason = why_too_few()
    except AstraError as error:
        reason = str(error)
    if reason is None:
        return {CANNON_MODEL, CANNON}
    say(CANNON.to_user_string(), f"left out: no model has been trained, and there is nothing to learn from: {reason}")
    return set()


def count_outcomes(outcomes: Sequence[Outcome]) -> tuple[int, list[str]]:
    """Count what is stored now, and say how much was refused: files (which all tables of spectra count) and results."""
    landed = sum(outcome.counts.get(name, 0) for outcome in outcomes for name in ("inserted", "updated", "unchanged"))
    files = max((outcome.counts.get("rejected", 0) for outcome in outcomes if "due" not in outcome.counts), default=0)
    refused = [f"{files} {'file' if files == 1 else 'files'}"] if files else []
    of_results = [(outcome.asset, outcome.counts["rejected"]) for outcome in outcomes if "due" in outcome.counts]
    return landed, refused + [f"{count} of {asset}" for asset, count in of_results if count]


def _outcome(key: dg.AssetKey, metadata: Mapping[str, dg.MetadataValue] | None) -> Outcome:
    if metadata is None:
        return Outcome(key.to_user_string(), {}, None, failed=True)
    if NOT_SET_UP in metadata:
        return Outcome(key.to_user_string(), {}, None, not_set_up=True)
    values = by_plain_names(metadata)
    counts = {name: values[name] for name in COUNTS if name in values}
    return Outcome(key.to_user_string(), counts, values.get("seconds"))


def _logger(say: Callable[[str, str], None]) -> dg.LoggerDefinition:
    """Make a logger that passes on messages of assets, and failures, but not Dagster's events of its steps."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta = getattr(record, "dagster_meta", {})
            event = getattr(record, "dagster_event", None) or meta.get("dagster_event")
            if event is None:
                say(meta.get("step_key") or "", meta.get("orig_message") or record.getMessage())
            elif event.is_step_failure:
                say(event.step_key or "", _cause(event))

    @dg.logger(config_schema={})
    def console(context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("astra.console", level=logging.INFO)
        logger.addHandler(Handler())
        return logger

    return console


def _is_interrupt(event: dg.DagsterEvent) -> bool:
    """Tell whether an event is the end of a run by Ctrl-C or SIGTERM, which Dagster doesn't pass on."""
    if event.event_type == dg.DagsterEventType.PIPELINE_CANCELED:
        return True
    if event.event_type != dg.DagsterEventType.PIPELINE_FAILURE:
        return False
    reason = event.job_failure_data.failure_reason
    return reason is not None and reason.name == "UNEXPECTED_TERMINATION"


def _cause(event: dg.DagsterEvent) -> str:
    """Give the error that a step failed by, without those that wrap it: ours if there is one, or else the first."""
    error = event.step_failure_data.error
    if error is None:
        return "failed"
    while error.cause is not None and not error.message.startswith(OUR_ERRORS):
        error = error.cause
    return f"failed: {error.message.strip()}"
