"""Years of runs in Dagster's records, pruned: 10,000 in ``make soak``, a few hundred otherwise."""

import time
from pathlib import Path
from typing import Any

import dagster as dg

from astra_orchestration.automation.pruning import prune_runs
from tests.astra_orchestration.old_runs import copies, real_run, size_of

CHECKOUT = Path(__file__).parents[2]


def test_years_of_runs_are_pruned(tmp_path: Path, full_length: bool, figures: Any) -> None:
    n = 10_000 if full_length else 200
    (tmp_path / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        latest = real_run(instance)
        empty = size_of(tmp_path)
        copies(tmp_path, latest, n, 365)
        full = size_of(tmp_path)
        began = time.monotonic()
        assert prune_runs(instance) == n
        seconds = time.monotonic() - began
        assert [run.run_id for run in instance.get_runs()] == [latest]
        assert instance.get_latest_materialization_event(dg.AssetKey("corv")) is not None
    assert list((tmp_path / "history" / "runs").glob("*-*.db*")) == [tmp_path / "history" / "runs" / f"{latest}.db"]
    assert seconds < 400
    left = size_of(tmp_path)
    figures(f"{n} runs pruned in {seconds:.0f} s; {empty / 1e6:.1f} MB, {full / 1e6:.0f} MB, {left / 1e6:.1f} MB after")
