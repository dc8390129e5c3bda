"""What the page about engines says is so: engines, settings, numbers, and what a run says."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest
import yaml
from typer.testing import CliRunner

from astra_models.analysis import isolation, leases, work
from astra_models.analysis.stream import analyse, write
from astra_models.analysis.usage import RunUsage, Usage
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import CRASH, MEMORY, TIMEOUT
from astra_orchestration.cli.main import app
from astra_orchestration.engines import on_workers
from astra_orchestration.engines.choosing import ENGINES, configured_engine
from astra_orchestration.engines.clusters import Address, Cluster, Local, Slurm
from astra_orchestration.engines.on_workers import OnWorkers
from astra_orchestration.resources import EngineResource
from tests import fragile

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "cluster.md").read_text()


def table(heading: str) -> list[str]:
    """Give the first column of a table."""
    [rows] = re.findall(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)


def block(language: str, place: int = 0) -> Any:
    return yaml.safe_load(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[place])


def cluster_of(engine: object) -> Cluster:
    assert isinstance(engine, OnWorkers)
    return engine.cluster


def test_the_page_has_all_engines_settings_and_reasons() -> None:
    assert table("engine") == list(ENGINES)
    assert table("setting") == [field.name for field in fields(Cluster)]
    assert table("reason") == [CRASH, TIMEOUT, MEMORY]


def test_the_shown_configuration_and_commands_give_the_engines_that_they_are_said_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "astra.yml"
    config.write_text(yaml.safe_dump(block("yaml")))
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(config))
    assert cluster_of(configured_engine()) == Local(workers=6)
    assert cluster_of(configured_engine(workers=8)) == Local(workers=8)
    slurm = cluster_of(configured_engine("slurm", workers=40))
    assert isinstance(slurm, Slurm)
    assert (slurm.jobs, slurm.cores, slurm.walltime, slurm.queue) == (40, 16, "12:00:00", "astro")
    assert cluster_of(configured_engine("address", address="tls://node:8786")) == Address(address="tls://node:8786")


def test_the_shown_settings_of_the_launchpad_are_accepted() -> None:
    shown = block("yaml", 1)["resources"]["engine"]["config"]["engine"]
    with dg.build_resources({"engine": EngineResource(engine=shown)}) as resources:
        assert cluster_of(resources.engine.make()) == Local(workers=8)


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert (work.SECONDS, work.MOST_SECONDS, work.MOST_SPECTRA, work.MOST_BYTES) == (10, 30, 10_000, 16_000_000)
    assert (work.SECONDS_TO_SEND, on_workers.CHUNKS_PER_WORKER, leases.SECONDS) == (0.02, 2, 60)
    assert (isolation.LEAST_DEADLINE, isolation.SLOWER_THAN_SLOWEST) == (600, 20)
    for words in (
        "some ten seconds (30 with a thousand",
        "at most 10,000 spectra",
        "at most 16 MB",
        "20 times",
        "10 minutes",
    ):
        assert words in PAGE
    assert "two chunks for each worker" in PAGE.replace("\n", " ")


def test_the_last_line_of_a_run_is_like_the_shown_one() -> None:
    usage = RunUsage("local", 2)
    slowest = [(0.21, 17), (0.2, 4), (0.11, 9)]
    usage.add(Usage("node1", 1, 20.6, 0.5, 92_000_000, slowest))
    assert usage.summary(10.73) in PAGE
    usage.lost_workers = 1
    assert "1 workers were lost" in usage.summary(10.73)


def test_a_forecast_is_for_so_many_workers(database: peewee.Database, make_spectra: Callable) -> None:
    make_spectra(20)
    write(analyse(fragile.naps, limit=10, parameters={"seconds": 0.01}))
    PipelineRun.update(pipeline="rocket").execute()
    said = CliRunner().invoke(app, ["run", "rocket", "--workers", "8", "--dry-run"]).output
    assert "20 due" in said and "with 8 workers" in said


@pytest.mark.parametrize("image", re.findall(r"\]\((images/[\w.]+)\)", PAGE))
def test_pictures_are_there_small_and_have_a_background_of_their_own(image: str) -> None:
    path = DOCS / image
    assert path.stat().st_size < 150_000
    assert re.search(r'fill(="|: ?)#ffffff', path.read_text()), "dark letters on the page's dark background"
