"""What is wrong with the machinery itself: ticks that fail, daemons that don't beat, code that nobody looks at.

Each trouble is told when it begins, and once a day as long as it lasts. One that comes and goes, such as a sensor that
fails now and then, is the same trouble until it has been well for an hour.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

from astra_models.messages import error_text, storable
from astra_orchestration.alerts.failures import cause_of
from astra_orchestration.alerts.outbox import Outbox
from astra_orchestration.alerts.secrets import without_secrets
from astra_orchestration.alerts.settings import AlertSettings
from astra_orchestration.alerts.text import Alert

__all__ = [
    "Trouble",
    "all_troubles",
    "failing_ticks",
    "remembered",
    "silent_daemons",
    "silent_locations",
    "tell",
    "told_by_sensor",
    "unreadable",
]

SILENT_SECONDS = 300.0
"""A daemon beats every 30 s; a sensor that is on ticks every minute or so."""
WELL_SECONDS = 3600.0
REMINDER_SECONDS = 86_400.0
FORGOTTEN_SECONDS = 3 * 86_400.0
"""A tick that failed longer ago is of a schedule that is no more, or has waited for its next time since."""
SHOWN = 500
SENSOR = "tick_alert_sensor"
ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong.

    Parameters
    ----------
    key : str
        The same as long as it is the same trouble.
    kind : str
        ``tick_failed``, ``daemon_failed``, ``daemon_silent``, ``location_silent`` or ``records_unreadable``.
    subject, what, why, what_to_do : str
        As in `Alert`; `why` without secrets.
    page : str
        The path of the page in the UI where it is seen.
    """

    key: str
    kind: str
    subject: str
    what: str
    why: str
    what_to_do: str
    page: str

    def alert(self, settings: AlertSettings) -> Alert:
        """Give what is told of it."""
        return Alert(self.kind, self.subject, self.what, self.why, self.what_to_do, url=settings.ui + self.page)


def all_troubles(instance: dg.DagsterInstance, now: float) -> list[Trouble]:
    """Look for all of them. Records that can't be read are a trouble, too.

    Parameters
    ----------
    instance : DagsterInstance
        Dagster's records.
    now : float
        The time, in seconds since 1970.
    """
    try:
        return [*silent_daemons(instance, now), *silent_locations(instance, now), *failing_ticks(instance, now)]
    except Exception as error:  # they may be kept anywhere, and somebody has to be told all the same
        return [unreadable(error)]


def unreadable(error: Exception) -> Trouble:
    """Give the trouble that Dagster's records can't be read."""
    return Trouble(
        "records",
        "records_unreadable",
        "Dagster's records can't be read",
        "nothing is known of runs, ticks and daemons",
        without_secrets(error_text(error, SHOWN)),
        "see to Dagster's database; if it is lost: `astra restore FOLDER --only dagster --force`",
        "/deployment",
    )


# ---- ticks


def failing_ticks(instance: dg.DagsterInstance, now: float) -> Iterator[Trouble]:
    """Give a trouble for each sensor and schedule whose last tick failed, or one of the last hour."""
    for state in _switched_on(instance):
        failed = _failed_tick(instance, state, now)
        if failed is not None:
            yield _of_tick(state, failed)


def _failed_tick(instance: dg.DagsterInstance, state: InstigatorState, now: float) -> InstigatorTick | None:
    wanted = state.instigator_origin_id, state.selector_id
    last = instance.get_ticks(*wanted, limit=1, statuses=ENDED, after=now - FORGOTTEN_SECONDS)
    if last and last[0].status == TickStatus.FAILURE:
        return last[0]
    recent = instance.get_ticks(*wanted, limit=1, statuses=[TickStatus.FAILURE], after=now - WELL_SECONDS)
    return recent[0] if recent else None


def _of_tick(state: InstigatorState, tick: InstigatorTick) -> Trouble:
    kind = "schedule" if state.instigator_type.value == "SCHEDULE" else "sensor"
    location = state.origin.repository_origin.code_location_origin.location_name
    when = datetime.fromtimestamp(tick.timestamp, UTC)
    return Trouble(
        f"tick {location} {state.name}",
        "tick_failed",
        f"the {kind} {state.name} fails",
        f"its tick of {when:%Y-%m-%d %H:%M:%S} UTC raised an error, so it started nothing",
        without_secrets(cause_of(tick.error)),
        f"mend the cause; what the tick would have started is asked for by the next one{_of_schedule(kind)}",
        f"/automation/{location}/{kind}s/{state.name}",
    )


def _of_schedule(kind: str) -> str:
    return ", which may be a day away: launch its job by hand" if kind == "schedule" else ""


def _switched_on(instance: dg.DagsterInstance) -> list[InstigatorState]:
    return [state for state in instance.all_instigator_state() if state.is_running]


# ---- daemons, and the code server


def silent_daemons(instance: dg.DagsterInstance, now: float) -> Iterator[Trouble]:
    """Give a trouble for the daemons that don't beat, and one for each that beats and reports errors."""
    beats = instance.get_daemon_heartbeats()
    silent = {}
    for name in sorted(instance.get_required_daemon_types()):
        beat = beats.get(name)
        if beat is None or now - beat.timestamp > SILENT_SECONDS:
            silent[name] = "never" if beat is None else f"{datetime.fromtimestamp(beat.timestamp, UTC):%Y-%m-%d %H:%M}"
        elif beat.errors:
            yield Trouble(
                f"daemon {name}",
                "daemon_failed",
                f"the daemon reports errors ({name})",
                f"{name} beats, and its last round failed",
                without_secrets(cause_of(beat.errors[0])),
                "see the daemon's log and the code server's",
                "/health",
            )
    if silent:
        yield Trouble(
            "daemon silent",
            "daemon_silent",
            "the daemon doesn't beat",
            f"no sensor, schedule or queue works: {', '.join(silent)}",
            "last beat: " + ", ".join(sorted(set(silent.values()))),
            "start it again: `systemctl restart astra-daemon`, or `astra ui`; its log says why it ended",
            "/health",
        )


def silent_locations(instance: dg.DagsterInstance, now: float) -> Iterator[Trouble]:
    """Give a trouble for each code location of which no sensor ticks any more although some are on."""
    latest: dict[str, float] = {}
    for state in _switched_on(instance):
        data = state.sensor_instigator_data
        if data is not None:
            location = state.origin.repository_origin.code_location_origin.location_name
            latest[location] = max(latest.get(location, 0.0), data.last_tick_timestamp or 0.0)
    for location, moment in latest.items():
        if SILENT_SECONDS < now - moment < FORGOTTEN_SECONDS:
            yield Trouble(
                f"location {location}",
                "location_silent",
                f"no sensor of {location} ticks",
                "sensors are on, and none was evaluated",
                f"last tick: {datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC",
                "the daemon is down, or can't load the code: see Deployment in the UI, and the code server's log",
                "/deployment",
            )


# ---- telling


def tell(
    troubles: Iterable[Trouble], kept: Mapping[str, object], settings: AlertSettings, now: float
) -> tuple[dict[str, object], list[str], int]:
    """Tell of troubles that are new, of those that have lasted for another day, and of what couldn't be told before.

    Parameters
    ----------
    troubles : iterable of Trouble
        What is wrong now.
    kept : mapping
        What the last call gave; empty at first.
    settings : AlertSettings
        Who is told.
    now : float
        The time, in seconds since 1970.

    Returns
    -------
    tuple of dict, list of str and int
        What is to be kept for the next call, what couldn't be delivered and why, and how many alerts were delivered.
    """
    by_key = {trouble.key: trouble for trouble in troubles}
    before = kept.get("told")
    told = {key: float(when) for key, when in (before if isinstance(before, dict) else {}).items() if key in by_key}
    new = [trouble for key, trouble in by_key.items() if now - told.get(key, 0.0) >= REMINDER_SECONDS]
    box = Outbox.from_json(kept.get("waiting"))
    box.put([json.dumps(asdict(_short(trouble))) for trouble in new], settings.adapters)
    box.deliver(settings.adapters, lambda letter: Trouble(**json.loads(letter)).alert(settings))
    told |= {trouble.key: now for trouble in new}
    return {"told": told, "waiting": box.as_json()}, list(box.problems), box.sent


def _short(trouble: Trouble) -> Trouble:
    return Trouble(**{name: storable(value, SHOWN) for name, value in asdict(trouble).items()})


def remembered(text: str | None) -> Mapping[str, object]:
    """Read what `tell` gave, as JSON; anything else is nothing."""
    try:
        kept = json.loads(text or "{}")
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


def told_by_sensor(instance: dg.DagsterInstance, now: float) -> bool:
    """Tell whether `tick_alert_sensor` tells of ticks and daemons: its last tick was lately, and was well."""
    for state in _switched_on(instance):
        if state.name != SENSOR:
            continue
        last: Sequence[InstigatorTick] = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1, statuses=ENDED, after=now - SILENT_SECONDS
        )
        if last and last[0].status != TickStatus.FAILURE:
            return True
    return False
