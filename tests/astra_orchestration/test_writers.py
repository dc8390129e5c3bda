"""How many runs may write at once: one on SQLite, several on PostgreSQL, and what the operator says before all."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.errors import ConfigurationError
from astra_orchestration.resources.writers import WRITERS, let_runs_share

SETTINGS = {"concurrency": {"pools": {"default_limit": 1, "granularity": "run"}}}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Give an instance with the pools of our dagster.yaml."""
    with dg.instance_for_test(overrides=SETTINGS) as made:
        yield made


def limit(instance: dg.DagsterInstance) -> int | None:
    pools = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    return pools.get(WRITERS)


def test_runs_share_the_work_where_the_database_has_several_writers(
    database: peewee.Database, instance: dg.DagsterInstance
) -> None:
    let_runs_share(instance)
    assert limit(instance) == (4 if isinstance(database, peewee.PostgresqlDatabase) else None)


@pytest.mark.postgresql_only(reason="on SQLite no limit is set")
def test_the_operator_says_how_many(database: peewee.Database, instance: dg.DagsterInstance, monkeypatch: Any) -> None:
    monkeypatch.setenv("ASTRA_RUNS_AT_ONCE", "9")
    let_runs_share(instance)
    assert limit(instance) == 9
    instance.event_log_storage.set_concurrency_slots(WRITERS, 2)
    let_runs_share(instance)
    assert limit(instance) == 2
    instance.event_log_storage.delete_concurrency_limit(WRITERS)
    monkeypatch.setenv("ASTRA_RUNS_AT_ONCE", "none")
    with pytest.raises(ConfigurationError, match="ASTRA_RUNS_AT_ONCE is not a positive number"):
        let_runs_share(instance)
