"""How often to say how far something has come."""

import time

__all__ = ["Pace"]


class Pace:
    """Tells when the next report of progress is due: every few seconds, and ever more rarely in a long run.

    A run's reports are kept, so there must not be many.

    Parameters
    ----------
    interval : float, optional
        Seconds between the first reports; later ones are a twentieth of the time that has passed apart. With 0, every
        report is due.
    """

    def __init__(self, interval: float = 3.0):
        self.interval = interval
        self.started = self.reported = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def is_due(self) -> bool:
        """Tell whether it is time for a report, and if so take it as made."""
        now = time.monotonic()
        if self.interval and now - self.reported < max(self.interval, (now - self.started) / 20):
            return False
        self.reported = now
        return True
