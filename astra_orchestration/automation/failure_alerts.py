"""A sensor that starts nothing: it tells people of every run that failed, also of those that died.

Runs of other code locations of the instance are told of, too. The cursor has the time up to which failures are known,
those just before it by name (clocks of computers differ), and what couldn't be delivered yet.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

__all__ = ["failure_alert_sensor"]

INTERVAL = 30  # seconds
AT_FIRST = 86_400.0
"""Seconds: failures that long before the first evaluation are told of."""
OVERLAP = 900.0
"""Seconds by which clocks may differ, and an event may be late."""
PAGE = 500


@dg.sensor(
    name="failure_alert_sensor",
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of every run that failed: by mail, a webhook or a command, as the environment says.",
)
def failure_alert_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Tell of what failed since the last evaluation, and of what couldn't be told then."""
    # Only here: mail and encryption would cost every import of the definitions.
    from astra_orchestration.alerts.failures import alert_of_failure
    from astra_orchestration.alerts.outbox import Outbox
    from astra_orchestration.alerts.settings import alert_settings

    settings = alert_settings()
    for problem in settings.problems:
        context.log.error(problem)
    if why := settings.why_nobody_is_told():
        return dg.SkipReason(why)
    kept = _remembered(context.cursor)
    seen, told = float(kept.get("seen") or 0), dict(kept.get("told") or {})
    box = Outbox.from_json(kept.get("waiting"))
    failed = _failures(context.instance, seen - OVERLAP if seen else time.time() - AT_FIRST)
    new = [run_id for run_id in failed if run_id not in told]
    box.put(new, settings.adapters)
    box.deliver(settings.adapters, lambda run_id: alert_of_failure(context.instance, run_id, settings))
    for problem in box.problems:
        context.log.error(problem)
    seen = max([seen, time.time() - OVERLAP if not seen else 0.0, *failed.values()])
    told = {run_id: when for run_id, when in (told | failed).items() if when >= seen - 2 * OVERLAP}
    cursor = {"seen": seen, "told": told, "waiting": box.as_json()}
    said = [*settings.problems, *box.problems, f"{len(new)} new failures, {box.sent} alerts delivered"]
    return dg.SensorResult(skip_reason="; ".join(said), cursor=json.dumps(cursor, separators=(",", ":")))


def _failures(instance: dg.DagsterInstance, after: float) -> dict[str, float]:
    """Give the runs that failed after a time, and when, the earliest first."""
    wanted = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_timestamp=after)
    found: dict[str, float] = {}
    cursor = None
    while True:
        page = instance.fetch_run_status_changes(wanted, limit=PAGE, cursor=cursor, ascending=True)
        found |= {record.run_id: record.timestamp for record in page.records}
        if not page.has_more:
            return found
        cursor = page.cursor


def _remembered(cursor: str | None) -> Mapping[str, Any]:
    try:
        kept = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}
