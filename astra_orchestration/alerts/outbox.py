"""What is still to be delivered, and by which adapter: kept in a sensor's cursor as keys, from which alerts are made.

An adapter that can't deliver doesn't hold up the others, and an alert that can't be delivered doesn't hold up those
behind it: what was tried least comes first. After three days it is given up, and that is logged.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from astra_models.messages import error_text, one_line
from astra_orchestration.alerts.adapters import Adapter, DeliveryError
from astra_orchestration.alerts.secrets import without_secrets
from astra_orchestration.alerts.text import Alert

__all__ = ["Outbox"]

MOST_WAITING = 500
MOST_AT_ONCE = 20
SECONDS_AT_ONCE = 25.0
"""For all adapters, which work side by side: Dagster ends a tick after a minute."""
KEPT_SECONDS = 3 * 86_400.0


@dataclass
class Letter:
    """One alert on its way by one adapter.

    Parameters
    ----------
    key : str
        What it is made from.
    since : float
        When it was put in, in seconds since 1970.
    attempts : int
        How often it couldn't be delivered.
    """

    key: str
    since: float
    attempts: int = 0


@dataclass
class Outbox:
    """What waits, by the names of adapters."""

    waiting: dict[str, list[Letter]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    sent: int = 0

    @classmethod
    def from_json(cls, kept: object) -> "Outbox":
        """Read what `as_json` gave; anything else is an empty one."""
        waiting = {}
        for name, letters in kept.items() if isinstance(kept, dict) else ():
            try:
                waiting[str(name)] = [Letter(str(key), float(since), int(tries)) for key, since, tries in letters]
            except (TypeError, ValueError):
                continue
        return cls(waiting)

    def as_json(self) -> Mapping[str, object]:
        """Give what waits, for a cursor."""
        return {
            name: [[letter.key, letter.since, letter.attempts] for letter in letters]
            for name, letters in self.waiting.items()
            if letters
        }

    @property
    def left(self) -> int:
        """How many deliveries are still to be made."""
        return sum(map(len, self.waiting.values()))

    def put(self, keys: Iterable[str], adapters: Collection[Adapter]) -> None:
        """Put in what is to be told by every adapter; what an adapter had that is no more is dropped."""
        keys, now = list(keys), time.time()
        names = [adapter.name for adapter in adapters]
        before, self.waiting = self.waiting, {}
        for name in names:
            letters = [*before.get(name, ()), *(Letter(key, now) for key in keys)]
            alive = [letter for letter in letters if now - letter.since < KEPT_SECONDS]
            dropped = len(letters) - len(alive) + max(0, len(alive) - MOST_WAITING)
            if dropped:
                self.problems.append(f"{name}: {dropped} alerts are given up, as they can't be delivered")
            self.waiting[name] = alive[-MOST_WAITING:]

    def deliver(self, adapters: Sequence[Adapter], make: Callable[[str], Alert]) -> None:
        """Deliver what can be delivered; the rest waits.

        Parameters
        ----------
        adapters : sequence of Adapter
            The ways out. They work side by side, each until it fails.
        make : callable
            Gives the alert of a key.
        """
        chosen = {adapter.name: _first(self.waiting.get(adapter.name, ())) for adapter in adapters}
        alerts = {key: make(key) for key in {letter.key for letters in chosen.values() for letter in letters}}
        rounds = [Round(adapter, chosen[adapter.name], alerts) for adapter in adapters if chosen[adapter.name]]
        until = time.monotonic() + SECONDS_AT_ONCE
        for one in rounds:
            one.start()
        for one in rounds:
            one.join(max(0.0, until - time.monotonic()))
            self._note(one)

    def _note(self, one: "Round") -> None:
        delivered, failed, reason = one.outcome()
        self.sent += len(delivered)
        left = [letter for letter in self.waiting[one.adapter.name] if letter not in delivered]
        if failed is not None:
            failed.attempts += 1
            self.problems.append(f"{reason}; {len(left)} alerts wait, and are tried again at the next tick")
        self.waiting[one.adapter.name] = left


class Round(threading.Thread):
    """Delivers by one adapter until it fails: a thread, as no server's patience is to be relied on."""

    def __init__(self, adapter: Adapter, letters: Sequence[Letter], alerts: Mapping[str, Alert]):
        super().__init__(name=f"alerts by {adapter.name}", daemon=True)
        self.adapter = adapter
        self._letters = letters
        self._alerts = alerts
        self._lock = threading.Lock()
        self._given_up = False
        self._delivered: list[Letter] = []
        self._now: Letter | None = None
        self._reason = ""

    def run(self) -> None:
        """Deliver one after the other."""
        for letter in self._letters:
            with self._lock:
                if self._given_up:
                    return
                self._now = letter
            try:
                self.adapter.send(self._alerts[letter.key])
            except DeliveryError as error:
                self._reason = str(error)
                return
            except Exception as error:  # whatever an adapter raises, the alert isn't delivered
                self._reason = f"{self.adapter.name}: {without_secrets(one_line(error_text(error, 200)))}"
                return
            with self._lock:
                self._delivered.append(letter)
                self._now = None

    def outcome(self) -> tuple[list[Letter], Letter | None, str]:
        """Give what was delivered, what failed if anything did, and why; nothing is begun from now on."""
        with self._lock:
            self._given_up = True
            late = f"{self.adapter.name}: nothing came of it within {SECONDS_AT_ONCE:.0f} s"
            return list(self._delivered), self._now, self._reason or late


def _first(letters: Sequence[Letter]) -> list[Letter]:
    return sorted(letters, key=lambda letter: letter.attempts)[:MOST_AT_ONCE]
