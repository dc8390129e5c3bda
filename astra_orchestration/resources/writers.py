"""How many runs may write to the database at once."""

import os

import dagster as dg

from astra_models.base import database
from astra_models.database.sql import is_postgresql
from astra_models.errors import ConfigurationError

__all__ = ["RUNS_VARIABLE", "WRITERS", "let_runs_share"]

WRITERS = "astra_database"
"""The concurrency pool that bounds how many runs write to the database at once."""
RUNS_VARIABLE = "ASTRA_RUNS_AT_ONCE"
ON_POSTGRESQL = 4


def let_runs_share(instance: dg.DagsterInstance) -> None:
    """Admit several runs to the pool if the configured database is PostgreSQL; they share the work by leases.

    SQLite has one writer at a time: there the instance's default, one run, stays. A limit that the operator has set
    (``dagster instance concurrency set``) stays, too. It has to be set before the first run: two that start at once
    would both find the pool without a limit.

    Raises
    ------
    ConfigurationError
        If ``ASTRA_RUNS_AT_ONCE`` is no positive number.
    """
    storage = instance.event_log_storage
    if not is_postgresql(database) or not storage.supports_global_concurrency_limits:
        return
    if any(pool.name == WRITERS and not pool.from_default for pool in storage.get_pool_limits()):
        return
    storage.set_concurrency_slots(WRITERS, _runs_at_once())


def _runs_at_once() -> int:
    given = os.environ.get(RUNS_VARIABLE) or str(ON_POSTGRESQL)
    if not given.isdecimal() or not int(given):
        raise ConfigurationError(f"{RUNS_VARIABLE} is not a positive number of runs; leave it out for {ON_POSTGRESQL}")
    return int(given)
