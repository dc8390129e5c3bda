"""Assets that are declared in a ``defs.yaml``, without Python, for Dagster's components.

A file such as::

    type: astra_orchestration.components.Pipeline
    attributes:
      task: brightness.pipeline:brightness
      parameters: {lowest_snr: 5}
      schedule: "30 4 * * *"
      checks: [coverage, integrity, "brightness.checks:plausible"]
      thresholds: {min_coverage: 0.9}

below the folder of definitions of a project makes an asset of the pipeline. See ``docs/components.md``.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from astra_models.analysis.task import Task
from astra_models.errors import AstraError, ConfigurationError, did_you_mean
from astra_models.outputs import pipelines
from astra_models.quality import CHECKS, Check, Thresholds
from astra_models.quality.thresholds import changed_thresholds
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.incumbent import incumbent
from astra_orchestration.resources import EngineResource, shared_resources

__all__ = ["Incumbent", "Pipeline", "find_checks", "find_task"]


class Pipeline(dg.Component, dg.Model, dg.Resolvable):
    """An asset of a pipeline: its parameters, schedule, engine, and the checks of its table."""

    task: str = Field(description="The pipeline's name, or where it is: `package.module:function`")
    name: str | None = Field(default=None, description="The asset's key; the function's name if not given")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Values of the pipeline's parameters in this deployment"
    )
    engine: dict[str, Any] | None = Field(
        default=None, description="Where it is called, such as {local: {workers: 8}}; unless the launchpad says"
    )
    schedule: str | None = Field(default=None, description="When it runs, as cron has it, in UTC; it is on")
    group: str = Field(default="pipelines", description="The group of the asset; `pipelines` run every night")
    owners: list[str] = Field(default_factory=lambda: ["team:astra"], description="Who is asked about it")
    keep_good: bool = Field(
        default=False, description="Whether a result without any measured value leaves a better one in place"
    )

    checks: bool | list[str] = Field(
        default=True,
        description="Which checks its table gets: all, none (false), or those of these names; one of your own is "
        "`package.module:CHECK`",
    )
    thresholds: dict[str, Any] = Field(
        default_factory=dict,
        description="When they fail, such as {min_coverage: 0.9}; they go before those of the configuration",
    )

    def find(self) -> Task[Any]:
        """Find the pipeline, with its parameters.

        Raises
        ------
        ConfigurationError
            If there is none.
        """
        task = find_task(self.task)
        return task.with_defaults(**self.parameters) if self.parameters else task

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Make the asset, its schedule, and the resources that it needs."""
        del context
        try:
            task = self.find()
            engine = None if self.engine is None else EngineResource(engine=self.engine)
            checks = self.checks if isinstance(self.checks, bool) else find_checks(self.checks)
            _require_thresholds(self.thresholds, task)
        except (AstraError, ValidationError) as error:
            raise dg.DagsterInvalidDefinitionError(str(error)) from error
        name = self.name or task.name
        asset = pipeline_asset(
            task,
            name=name,
            group=self.group,
            owners=self.owners,
            keep_good=self.keep_good,
            engine=engine,
            checks=checks,
            thresholds=self.thresholds,
        )
        return dg.Definitions(assets=[asset], resources=shared_resources(), schedules=_schedules(name, self.schedule))


class Incumbent(Pipeline):
    """An asset of a generator of the survey's own Astra, which is installed where this is loaded."""

    task: str = Field(description="Where it is: `astra.pipelines.bossnet:bossnet`")
    spectra: list[str] | None = Field(
        default=None, description="Our kinds of spectra that it takes, if neither its annotation nor its query says so"
    )
    results: list[str] | None = Field(
        default=None, description="Our models of its results, if its return annotation doesn't say so"
    )
    all_spectra: bool = Field(
        default=False, description="Whether it takes all spectra of the kind, and not those that its query selects"
    )
    root: str | None = Field(default=None, description="The folder that $MWM_ASTRA is while it runs")
    environment: dict[str, str] = Field(
        default_factory=dict, description="Further environment variables while it is imported and runs"
    )
    pickles: bool = Field(default=False, description="Whether it may open pickles, which can run any code")
    version: str | None = Field(default=None, description="Its version; that of its package if not given")

    def find(self) -> Task[Any]:
        """Make the task."""
        everything: dict[str, Any] = {"where": None} if self.all_spectra else {}
        return incumbent(
            self.task,
            name=self.name,
            spectra=self.spectra,
            results=self.results,
            parameters=self.parameters,
            root=self.root,
            environment=self.environment,
            pickles=self.pickles,
            version=self.version,
            **everything,
        )


def find_task(name: str) -> Task[Any]:
    """Find a pipeline by its name, or by where it is.

    Parameters
    ----------
    name : str
        Such as ``corv``, or ``package.module:function``.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if ":" in name:
        found = _imported("task", name)
    else:
        known = {pipeline.name: pipeline for pipeline in pipelines()}
        found = known.get(name)
        if found is None:
            raise ConfigurationError(f"there is no pipeline {name!r}; {did_you_mean(name, known)}")
    if not isinstance(found, Task):
        raise ConfigurationError(f"{name!r} is no task; name a generator that is decorated by astra_models.task")
    return found


def find_checks(names: Sequence[str]) -> list[Check]:
    """Find checks by their names, or by where they are.

    Parameters
    ----------
    names : sequence of str
        Such as ``coverage``, or ``package.module:CHECK``.

    Raises
    ------
    ConfigurationError
        If there is none, or two have the same name.
    """
    known = {check.name: check for check in CHECKS}
    found: dict[str, Check] = {}
    for name in names:
        check = _imported("check", name) if ":" in name else known.get(name)
        if check is None and ":" not in name:
            raise ConfigurationError(f"there is no check {name!r}; {did_you_mean(name, known)}")
        if not isinstance(check, Check):
            raise ConfigurationError(f"{name!r} is no check; name an astra_models.quality.Check")
        if check.name in found:
            raise ConfigurationError(f"two checks are called {check.name!r}; leave one out, or rename it")
        found[check.name] = check
    return list(found.values())


def _imported(what: str, name: str) -> object:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ConfigurationError(
            f"the {what} {name!r} can't be imported: {error}; install its package where Dagster's code server runs"
        ) from error


def _require_thresholds(given: Mapping[str, Any], task: Task[Any]) -> None:
    """Make sure that thresholds are some, and that their ranges are of columns of the pipeline's table."""
    thresholds = changed_thresholds(Thresholds(), f"thresholds of {task.name}", given)
    columns = task.output_models[0]._meta.fields
    for name in thresholds.ranges:
        if name not in columns:
            raise ConfigurationError(
                f"thresholds of {task.name}: ranges: there is no column {name!r}; {did_you_mean(name, columns)}"
            )


def _schedules(name: str, cron: str | None) -> list[dg.ScheduleDefinition]:
    if cron is None:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{name}_schedule",
            target=dg.AssetSelection.assets(name),
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Runs {name} on what is due, as its defs.yaml says.",
        )
    ]
