"""Requesting one run of the pipelines that have something to do, whatever made it due.

The tables are asked, never Dagster's records: of what came since the last look, by indexes, and in full when a new
version or other parameters may have made anything due (`astra_models.analysis.news`). Each pipeline has a *cause*: what
its results would be made from now. A run that failed is asked for again for the same cause, three times at most; one
that was cancelled isn't; and none as long as another has the pipeline in hand.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from astra_models.analysis.due import DueCounts, DueReason, newest_version, stored_versions
from astra_models.analysis.news import State, ask, keeps_marks, rows_of_older_patch, set_mark, state_of
from astra_models.errors import MissingTableError, NotSetUpError, ParameterError
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.version import installed_v_astra, version_integer_to_string
from astra_orchestration.assets.pipelines import output_models, pipeline_of
from astra_orchestration.automation.schedules import nightly_job
from astra_orchestration.resources.database import DatabaseResource

__all__ = ["MOST_ATTEMPTS", "version_sensor"]

MOST_ATTEMPTS = 3
VERSION_TAG = "astra/version"
ATTEMPT_TAG = "astra/attempt"
CHANGE_TAG = "astra/change"
DUE_TAG = "astra/due"
CAUSE_TAG = "astra/cause."
PATCH, RELEASE = "patch: rows are updated in place", "minor or major: new rows"
MOST_SECONDS = 20.0
"""After so long, further pipelines are left for the next tick: Dagster ends one that takes longer than a minute."""

UNFINISHED = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED")]


@dataclass(frozen=True)
class Watched:
    """A pipeline under Dagster: its asset's key, the pipeline, the model of its results."""

    key: dg.AssetKey
    pipeline: Pipeline
    model: type[PipelineOutputMixin]

    @property
    def name(self) -> str:
        """The asset's name."""
        return self.key.to_user_string()

    @property
    def cause_tag(self) -> str:
        """The tag of its runs that says for which cause they are."""
        return CAUSE_TAG + ".".join(self.key.path)


@dataclass(frozen=True)
class Work:
    """What is to be asked for."""

    watched: Watched
    state: State
    counts: DueCounts
    attempt: int
    change: str


@dataclass
class Tick:
    """One evaluation: what is to be asked for, and what is to be said."""

    context: dg.SensorEvaluationContext
    installed: int
    under_way: Sequence[dg.DagsterRun]
    work: list[Work] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    remembered: Mapping[str, str] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)
    """The causes for which nothing is due, by pipeline: the cursor, where the database keeps no marks."""
    n_empty: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def version(self) -> str:
        """The installed version."""
        return version_integer_to_string(self.installed)

    def look(self, watched: Watched) -> None:
        """Note whether a pipeline has something to do, or why it isn't asked for."""
        newest = newest_version(watched.model) if watched.model.table_exists() else None
        if newest is None:
            self.n_empty += 1
        elif newest > self.installed:
            self.ahead.append(f"{watched.name} ({version_integer_to_string(newest)})")
        elif time.monotonic() - self.started > MOST_SECONDS:
            self.refusals.append(f"{watched.name}: it is looked at in the next tick, this one has taken long")
        else:
            try:
                self._ask(watched, state_of(watched.pipeline))
            except NotSetUpError:  # its rows are of a file
                self.n_empty += 1
            except (ParameterError, MissingTableError) as error:  # the other pipelines are asked for
                self.refusals.append(f"{watched.name}: {error}")

    def _ask(self, watched: Watched, state: State) -> None:
        if run := _which_has(self.under_way, watched):
            self.refusals.append(f"{watched.name}: the run {run.run_id} is under way")
            return
        filters = dg.RunsFilter(tags={watched.cause_tag: state.cause})
        runs = list(self.context.instance.get_runs(filters, limit=4 * MOST_ATTEMPTS))
        if refusal := _why_not_again(runs, self.version):
            self.refusals.append(f"{watched.name}: {refusal}")
            return
        self.causes[watched.name] = state.cause
        if self.remembered.get(watched.name) == state.cause:
            return
        found = ask(watched.pipeline, state)
        if found is None:
            return
        if found.in_full and not getattr(watched.pipeline, "rerun_on_patch", True):
            self._say_what_is_spared(watched)
        if found.counts.due and not (runs and runs[0].is_success):
            change = _change(found.counts, is_release=found.is_release and self._has_older(watched))
            self.context.log.info(f"{watched.name} at {self.version}: {found.counts}")
            self.work.append(Work(watched, state, found.counts, _attempts(runs) + 1, change))
            del self.causes[watched.name]
            return
        if found.counts.due:
            self.refusals.append(
                f"{watched.name}: the run {runs[0].run_id} succeeded, and left {found.counts}; these are for the next "
                "nightly run"
            )
        set_mark(state)

    def _say_what_is_spared(self, watched: Watched) -> None:
        if n_older := rows_of_older_patch(watched.model, self.installed):
            self.spared.append(f"{watched.name} keeps {n_older:,} rows of an older patch (rerun_on_patch=False)")

    def _has_older(self, watched: Watched) -> bool:
        return any(stored // 1000 != self.installed // 1000 for stored in stored_versions(watched.model))

    def outcome(self, n_watched: int) -> dg.RunRequest | dg.SkipReason:
        """Give the request, or the reason why there is none."""
        for said in (*self.refusals, *self.spared):
            self.context.log.warning(said)
        if self.work:
            return self._request()
        return dg.SkipReason("; ".join(self._why_nothing(n_watched)))

    def _request(self) -> dg.RunRequest:
        causes = {one.watched.cause_tag: one.state.cause for one in self.work}
        digest = hashlib.sha256(repr(sorted(causes.items())).encode()).hexdigest()[:16]
        attempt = max(one.attempt for one in self.work)
        return dg.RunRequest(
            run_key=f"{self.version}:{attempt}:{digest}",
            asset_selection=[one.watched.key for one in self.work],
            tags={
                VERSION_TAG: self.version,
                ATTEMPT_TAG: str(attempt),
                CHANGE_TAG: "; ".join(sorted({one.change for one in self.work})),
                DUE_TAG: " | ".join(f"{one.watched.name}: {one.counts}" for one in self.work),
            }
            | causes,
        )

    def _why_nothing(self, n_watched: int) -> Iterator[str]:
        if self.ahead:
            yield (
                f"{self.version} is installed, which is older than the results of {', '.join(self.ahead)}: nothing is "
                'asked for after a rollback; to replace those results, launch a run with rerun: "all"'
            )
        if self.n_empty == n_watched:
            yield "the tables have no results yet: materialize the pipelines once"
        elif not self.ahead and not self.refusals:
            yield f"all tables are at version {self.version}"
        yield from self.refusals
        yield from self.spared


def version_sensor(assets: Sequence[dg.AssetsDefinition], name: str = "astra_version_sensor") -> dg.SensorDefinition:
    """Make a sensor that watches the tables of some pipelines.

    Parameters
    ----------
    assets : sequence of AssetsDefinition
        Assets made by `pipeline_asset`.
    name : str, optional
        Name of the sensor.
    """
    models: Mapping[dg.AssetKey, type[PipelineOutputMixin]] = output_models(assets)
    watched = [Watched(asset.key, pipeline_of(asset), models[asset.key]) for asset in assets]

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*models),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for new and changed spectra, other pipelines' results, parameters and versions. A "
        "patch release updates rows in place, any other adds new ones, an older version does nothing.",
    )
    def sensor(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.RunRequest | dg.SkipReason:
        database.connect()
        under_way = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        by_cursor = not keeps_marks()
        remembered = _remembered(context.cursor) if by_cursor else {}
        tick = Tick(context, installed_v_astra(), under_way, remembered=remembered)
        for one in watched:
            tick.look(one)
        if by_cursor:
            context.update_cursor(json.dumps({**remembered, **tick.causes}))
        return tick.outcome(len(watched))

    return sensor


def _remembered(cursor: str | None) -> dict[str, str]:
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _which_has(runs: Sequence[dg.DagsterRun], watched: Watched) -> dg.DagsterRun | None:
    """Find the run that has a pipeline in hand: one of ours, the nightly one, or one from the launchpad."""
    for run in runs:
        everything = run.job_name == nightly_job.name or (VERSION_TAG in run.tags and run.asset_selection is None)
        if everything or watched.key in (run.asset_selection or ()):
            return run
    return None


def _why_not_again(runs: Sequence[dg.DagsterRun], version: str) -> str | None:
    """Say why there is to be no further attempt; `runs` are those for the cause, the latest first."""
    if not runs or runs[0].is_success:
        return None
    latest = runs[0]
    if latest.status == dg.DagsterRunStatus.CANCELED:
        return f"the run {latest.run_id} for version {version} was cancelled: re-execute it when it is wanted"
    if _attempts(runs) >= MOST_ATTEMPTS:
        return (
            f"{MOST_ATTEMPTS} runs for version {version} failed, the last of them {latest.run_id}: mend the cause, "
            "then re-execute it"
        )
    return None


def _attempts(runs: Sequence[dg.DagsterRun]) -> int:
    """Count the runs that were asked for; Dagster's own retries belong to one of them."""
    return sum(run.parent_run_id is None for run in runs)


def _change(counts: DueCounts, *, is_release: bool) -> str:
    names = {DueReason.older_patch: PATCH} | ({DueReason.missing: RELEASE} if is_release else {})
    return "; ".join(sorted(names.get(reason, str(reason)) for reason in counts.reasons))
