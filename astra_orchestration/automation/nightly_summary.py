"""A sensor that starts nothing: once a day it tells what was done, due and rejected since the last summary.

The numbers are asked of the table ``pipeline_run``, which every run writes, also those from a terminal; failed runs of
Dagster's records. The cursor has the end of the last summary, and the periods that couldn't be told yet.
"""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from astra_models.pipeline_run import PipelineRun
from astra_orchestration.resources.database import DatabaseResource

__all__ = ["nightly_summary_sensor"]

HOUR_VARIABLE = "ASTRA_SUMMARY_HOUR"
HOUR = 12
"""UTC. The nightly schedule starts at 4."""


@dg.sensor(
    name="nightly_summary_sensor",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Tells once a day, at {HOUR}:00 UTC ({HOUR_VARIABLE}), what each pipeline did, and what failed.",
)
def nightly_summary_sensor(
    context: dg.SensorEvaluationContext, database: DatabaseResource
) -> dg.SensorResult | dg.SkipReason:
    """Tell what happened since the last summary, once the hour has come."""
    # Only here: mail and encryption would cost every import of the definitions.
    from astra_orchestration.alerts.outbox import Outbox
    from astra_orchestration.alerts.settings import alert_settings
    from astra_orchestration.alerts.summary import summary_alert

    settings = alert_settings()
    if why := settings.why_nobody_is_told():
        return dg.SkipReason(why)
    now = time.time()
    kept = _remembered(context.cursor)
    until = _last_hour(now)
    since = float(kept.get("until") or until - 86_400.0)
    box = Outbox.from_json(kept.get("waiting"))
    is_due = until > since
    box.put([f"{since:.0f}:{until:.0f}"] if is_due else [], settings.adapters)
    if not box.left:
        following = datetime.fromtimestamp(until + 86_400, UTC)
        return dg.SkipReason(f"the next summary is due at {following:%Y-%m-%d %H:%M} UTC")

    def connect() -> None:
        database.connect(PipelineRun)

    box.deliver(settings.adapters, lambda period: summary_alert(context.instance, connect, period, settings))
    for problem in box.problems:
        context.log.error(problem)
    cursor = {"until": until if is_due else since, "waiting": box.as_json()}
    said = [*settings.problems, *box.problems, f"{box.sent} summaries delivered"]
    return dg.SensorResult(skip_reason="; ".join(said), cursor=json.dumps(cursor))


def _last_hour(now: float) -> float:
    """Give the latest time at which a summary was due."""
    moment = datetime.fromtimestamp(now, UTC)
    due = moment.replace(hour=_hour(), minute=0, second=0, microsecond=0)
    return (due if due <= moment else due - timedelta(days=1)).timestamp()


def _hour() -> int:
    text = os.environ.get(HOUR_VARIABLE, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) < 24 else HOUR


def _remembered(cursor: str | None) -> Mapping[str, Any]:
    try:
        kept = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}
