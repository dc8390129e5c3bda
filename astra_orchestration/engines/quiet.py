"""Dask's errors about workers that were lost: nothing is lost by that, and the run says it in a warning of its own."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["quiet_about_losses"]

LOGGERS = ("distributed.scheduler", "distributed.client")
ABOUT_LOSSES = (
    "Couldn't gather",
    "Task %s marked as failed because %d workers died",
    "Removing worker",
    "Failed to reconnect to scheduler",
)


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is shown: all but those of lost connections are."""
        return not str(record.msg).startswith(ABOUT_LOSSES)


@contextmanager
def quiet_about_losses() -> Iterator[None]:
    """Leave out what Dask logs of lost workers, while it lasts."""
    leave_out = _Filter()
    with ExitStack() as stack:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(leave_out)
            stack.callback(logging.getLogger(name).removeFilter, leave_out)
        yield
