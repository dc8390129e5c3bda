"""A real Slurm for the tests of this folder. It takes root, and packages of Debian; ``make test-slurm`` runs them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from astra_orchestration.engines.clusters import Slurm
from astra_orchestration.engines.on_workers import OnWorkers
from tests.slurm.cluster import SlurmCluster, missing, running_cluster

CHECKOUT = Path(__file__).parents[2]

# They take minutes, and a Slurm: the ordinary run leaves them out.
collect_ignore_glob = [] if os.environ.get("ASTRA_SLURM") == "1" else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where no Slurm can be started."""
    reason = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=f"Slurm: {reason}"))


@pytest.fixture(scope="session")
def whole_slurm() -> Iterator[SlurmCluster]:
    """Give a Slurm of two nodes."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def slurm(whole_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """Give a Slurm that has nothing to do; this process's commands are sent to it."""
    whole_slurm.clear()
    for name, value in whole_slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    yield whole_slurm
    whole_slurm.clear()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Give a folder that the nodes see, too."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def on_slurm(slurm: SlurmCluster, shared: Path) -> Callable[..., OnWorkers]:
    """Give a function that makes an engine of two jobs with a worker each."""

    def make(**settings: Any) -> OnWorkers:
        return OnWorkers(Slurm(**{"shared_temp_directory": str(shared), "jobs": 2, "memory": "1GB"} | settings))

    return make
