"""The model of a cluster: what it says where the answer is known."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("cluster_model")


def test_one_worker_takes_the_sum_of_what_everything_costs(model: ModuleType) -> None:
    costs = replace(model.Costs(), setup=3.0)
    outcome = model.simulate(1, 1000, 0.5, costs)
    on_worker = 3.0 + 1000 * (0.5 + costs.read + costs.spectrum)
    assert on_worker < outcome.seconds < on_worker * 1.01, "the run's process works while the worker does"
    assert outcome.efficiency == pytest.approx(500 / outcome.seconds)


def test_any_number_of_workers_can_not_be_faster_than_the_writer(model: ModuleType) -> None:
    costs = replace(model.Costs(), claim=0.0, task=0.0, row=1e-3, files=0.0, setup=0.0)
    outcome = model.simulate(5_000, 200_000, 0.01, costs)
    assert outcome.seconds == pytest.approx(200_000 * 1e-3, rel=0.02)
    assert outcome.bottleneck == "writer" and outcome.writer > 0.97


def test_short_chunks_keep_the_scheduler_busy(model: ModuleType) -> None:
    costs = replace(model.Costs(), seconds_per_chunk=1.0, setup=0.0)
    outcome = model.simulate(1_000, 200_000, 1.0, costs)
    assert outcome.bottleneck == "scheduler"
    assert outcome.seconds == pytest.approx(200_000 * (costs.claim + costs.task + costs.row), rel=0.05)
    longer = model.simulate(1_000, 200_000, 1.0, replace(costs, seconds_per_chunk=30.0))
    assert longer.seconds < outcome.seconds / 3


def test_files_come_no_faster_than_the_file_system_gives_them(model: ModuleType) -> None:
    costs = replace(model.Costs(), files=1e-3, claim=0.0, task=0.0, row=0.0)
    outcome = model.simulate(500, 100_000, 0.05, costs)
    assert outcome.bottleneck == "file system" and outcome.seconds == pytest.approx(100, rel=0.2)


def test_runs_that_share_take_the_load_off_the_scheduler(model: ModuleType) -> None:
    one = model.simulate(4_000, 1_000_000, 1.0, model.Costs())
    four = model.simulate(4_000, 1_000_000, 1.0, model.Costs(), runs=4)
    assert one.bottleneck == "scheduler" and four.seconds < one.seconds / 2


@pytest.mark.parametrize("workers", [10, 1_000])
def test_what_is_left_after_many_chunks_goes_on_as_before(
    model: ModuleType, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.simulate(workers, 100_000, 20.0, model.Costs())
    monkeypatch.setattr(model, "MOST_CHUNKS", 20_000)
    assert model.simulate(workers, 100_000, 20.0, model.Costs()).seconds == pytest.approx(whole.seconds, rel=0.02)


def test_it_says_what_was_measured(model: ModuleType) -> None:
    """Measured: 600 spectra of 50 ms by 1 and 2 sleeping workers, from the first result to the last."""
    costs = replace(model.Costs(), read=0.0, files=0.0, setup=0.0)
    for workers, per_second in ((1, 19.6), (2, 39.0)):
        assert 600 / model.simulate(workers, 600, 0.05, costs).seconds == pytest.approx(per_second, rel=0.03)


def test_it_makes_a_table_and_a_plot(model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SPECTRA", 20_000)
    monkeypatch.setattr(model, "WORKERS", (10, 100))
    lines = list(model.forecasts(model.Costs()))
    assert len(lines) == 2 + 2 * len(model.SECONDS)
    model.plot(tmp_path / "images" / "cluster.svg", model.Costs())
    assert 1_000 < (tmp_path / "images" / "cluster.svg").stat().st_size < 150_000
