"""A sensor that starts nothing: it tells people of ticks that fail, and of daemons that don't beat or report errors.

It can't tell of its own end, or of that of the daemon which evaluates it: ``astra watch`` does, from outside.
"""

import json
import time

import dagster as dg

__all__ = ["look_at_ticks", "tick_alert_sensor"]

INTERVAL = 60  # seconds


def look_at_ticks(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Tell of what is wrong since the last evaluation, and of what couldn't be told then."""
    # Only here: mail and encryption would cost every import of the definitions.
    from astra_orchestration.alerts.settings import alert_settings
    from astra_orchestration.alerts.troubles import failing_ticks, remembered, silent_daemons, tell

    settings = alert_settings()
    if why := settings.why_nobody_is_told():
        return dg.SkipReason(why)
    now = time.time()
    found = [*silent_daemons(context.instance, now), *failing_ticks(context.instance, now)]
    kept, problems, sent = tell(found, remembered(context.cursor), settings, now)
    for said in (*(trouble.subject for trouble in found), *problems):
        context.log.error(said)
    said = [*settings.problems, *problems, f"{len(found)} troubles, {sent} alerts delivered"]
    return dg.SensorResult(skip_reason="; ".join(said), cursor=json.dumps(kept, separators=(",", ":")))


tick_alert_sensor = dg.sensor(
    name="tick_alert_sensor",
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of sensors and schedules whose ticks fail, and of daemons that are silent or report errors.",
)(look_at_ticks)
