"""What is to be told of a run that failed: read from its events in Dagster."""

from collections.abc import Iterable, Sequence

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import JobFailureData
from dagster_shared.error import SerializableErrorInfo

from astra_models.messages import error_text, storable
from astra_orchestration.alerts.secrets import without_secrets
from astra_orchestration.alerts.settings import AlertSettings
from astra_orchestration.alerts.text import Alert

__all__ = ["alert_of_failure", "cause_of"]

_Said = tuple[str, str, str, str, str]
"""Kind, subject, what, why and remedy."""

SHOWN = 500
MOST_NAMED = 5
AGAIN = "Dagster takes it up again by itself, once: wait for that run. If it fails, too: "
CHECK_FAILED = "DagsterAssetCheckFailedError"
EXITED = "unexpectedly exited"
SAYS_NOTHING = "This run has been marked as failed from outside"
WILL_RETRY_TAG = "dagster/will_retry"
READ = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.ENGINE_EVENT,
}


def alert_of_failure(instance: dg.DagsterInstance, run_id: str, settings: AlertSettings) -> Alert:
    """Write what is to be told of a failed run. Whatever can't be read, there is an alert.

    Parameters
    ----------
    instance : DagsterInstance
        Dagster's records.
    run_id : str
        The run.
    settings : AlertSettings
        Where the UI is.
    """
    try:
        run = instance.get_run_by_id(run_id)
        if run is not None:
            return _Failure(run, _events(instance, run_id)).alert(settings)
    except Exception as error:  # records may be of any kind, and somebody has to be told all the same
        why = without_secrets(f"its records can't be read: {error_text(error, SHOWN)}")
        return _bare(run_id, settings, why)
    return _bare(run_id, settings, "its records are deleted")


def _events(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=READ)
    return [entry.get_dagster_event() for entry in entries if entry.is_dagster_event]


def _bare(run_id: str, settings: AlertSettings, why: str) -> Alert:
    return Alert(
        kind="run_died",
        subject=f"a run failed ({run_id[:8]})",
        what=f"run {run_id} failed",
        why=why,
        what_to_do="open the run in the UI",
        run_id=run_id,
        url=settings.page_of(run_id),
    )


class _Failure:
    """A failed run, and what its events say."""

    def __init__(self, run: dg.DagsterRun, events: Sequence[dg.DagsterEvent]):
        self.run = run
        failed = _of_type(events, dg.DagsterEventType.STEP_FAILURE)
        self.steps = {event.step_key: event.step_failure_data.error for event in failed if event.step_key}
        written = _of_type(events, dg.DagsterEventType.ASSET_MATERIALIZATION)
        self.stored = {event.asset_key.to_user_string() for event in written if event.asset_key}
        self.checks = _failed_checks(_of_type(events, dg.DagsterEventType.ASSET_CHECK_EVALUATION))
        self.ends = _of_type(events, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ENGINE_EVENT)
        self.by_check = {step for step, error in self.steps.items() if error and _named(error, CHECK_FAILED)}

    def alert(self, settings: AlertSettings) -> Alert:
        """Give what is told of the run, without secrets."""
        kind, subject, what, why, remedy = self._said()
        again = self.run.tags.get(WILL_RETRY_TAG, "").lower() == "true"
        return Alert(
            kind=kind,
            subject=subject,
            what=what,
            why=without_secrets(why),
            what_to_do=("Dagster takes it up again by itself, once: wait for that run. Else: " if again else "")
            + remedy,
            pipelines=self.pipelines(),
            run_id=self.run.run_id,
            url=settings.page_of(self.run.run_id),
        )

    def pipelines(self) -> list[str]:
        """Give what failed, or what the run was for if it died before that was known."""
        checked = {check.asset_key.to_user_string() for check in self.checks} if self._only_checks() else set()
        selected = {key.to_user_string() for key in self.run.asset_selection or ()}
        return sorted(checked or set(self.steps) or selected - self.stored or selected)

    def _only_checks(self) -> bool:
        return bool(self.by_check) and self.by_check == set(self.steps)

    def _said(self) -> _Said:
        named = _listed(self.pipelines()) or self.run.job_name
        if self._only_checks():
            return self._check(named)
        if self.steps:
            return self._step(named)
        return self._death(named)

    def _check(self, named: str) -> _Said:
        checks = _listed([check.check_name for check in self.checks]) or "a check"
        whose = {check.asset_key.to_user_string() for check in self.checks} or self.by_check
        stored = "the rows are stored" if whose <= self.stored else "it isn't known whether the rows are stored"
        described = [f"{check.check_name}: {check.description}" for check in self.checks if check.description]
        return (
            "check_failed",
            f"{named}: only a check failed ({checks})",
            f"{stored}; a check that blocks says no, so the run is called failed, and products that need it wait",
            " | ".join(described) or f"{checks} didn't pass",
            f"look at the check's page ({checks}); when its cause is mended, materialize {named} again",
        )

    def _step(self, named: str) -> _Said:
        why = " | ".join(f"{step}: {cause_of(error)}" for step, error in list(self.steps.items())[:MOST_NAMED])
        others = f"; also a check failed: {_listed([c.check_name for c in self.checks])}" if self.checks else ""
        return (
            "step_failed",
            f"{named} failed",
            f"run {self.run.run_id} of {self.run.job_name} failed in {named}; what was written before is stored"
            + others,
            why,
            "mend the cause, then launch it again: it analyses what is still due",
        )

    def _death(self, named: str) -> _Said:
        return (
            "run_died",
            f"a run of {named} died",
            f"run {self.run.run_id} of {self.run.job_name} ended without an error of its own; what it wrote is stored",
            _last_words(self.ends),
            "look at memory, disk and power of the computer that it ran on, then launch it again",
        )


def _of_type(events: Iterable[dg.DagsterEvent], *kinds: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    return [event for event in events if event.event_type in kinds]


def _failed_checks(events: Iterable[dg.DagsterEvent]) -> list[AssetCheckEvaluation]:
    """Give the checks that failed: those that block, if any did."""
    found = [event.asset_check_evaluation_data for event in events]
    failed = [check for check in found if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR]
    return [check for check in failed if check.blocking] or failed


def _last_words(events: Iterable[dg.DagsterEvent]) -> str:
    """Say why a run ended: whoever noticed it wrote that down, and several may have."""
    found = []
    for event in events:
        data = event.event_specific_data  # none if the run was called failed from outside
        if isinstance(data, JobFailureData) and data.error is not None:
            return cause_of(data.error)
        if event.message and (event.event_type == dg.DagsterEventType.RUN_FAILURE or EXITED in event.message):
            found.append(event.message)
    told = [words for words in dict.fromkeys(found) if not words.startswith(SAYS_NOTHING)]
    return storable(" | ".join(told or found), SHOWN) or "Dagster says no more"


def _named(error: SerializableErrorInfo, name: str) -> bool:
    return error.cls_name == name or (error.cause is not None and _named(error.cause, name))


def cause_of(error: SerializableErrorInfo | None) -> str:
    """Give what a failure comes from, in one line: the first error that isn't one of Dagster's wrappers."""
    if error is None:
        return "no error is known"
    while error.cause is not None and (
        (error.cls_name or "").startswith("Dagster") or error.message.startswith("dagster._")
    ):
        error = error.cause
    return storable(error.message.strip(), SHOWN)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    left_out = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + left_out
