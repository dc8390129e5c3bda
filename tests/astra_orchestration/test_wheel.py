"""What is in the wheel, and works from it: an installed package has no checkout beside it."""

from pathlib import Path
from zipfile import ZipFile

import pytest
from outside import Machine

from astra_models.ingest.tables.shipped import shipped_names, shipped_text


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Give a machine that Astra is installed on from its wheel."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.run("pip install --quiet --no-deps astra-orchestration")
    return machine


def test_the_mappings_are_in_the_wheel(machine: Machine) -> None:
    [wheel] = machine.wheels.glob("astra_orchestration-*.whl")
    folder = "astra_models/ingest/tables/mappings/"

    with ZipFile(wheel) as contents:
        names = {name.removeprefix(folder) for name in contents.namelist() if name.startswith(folder)}

    assert names == {f"{name}.yaml" for name in shipped_names()}


def test_mappings_are_found_by_their_names(machine: Machine) -> None:
    (machine.home / "stars.csv").write_text("sdss_id,ra,dec\n5,1.5,2.5\n")

    listed = machine.run("astra mapping list")
    where = Path(machine.run("python -c 'import astra_models; print(astra_models.__file__)'").strip())

    assert where.is_relative_to(machine.venv)
    for name in shipped_names():
        assert name in listed
        assert machine.run(f"astra mapping show {name}") == shipped_text(name)
    used = "astra init && astra ingest stars.csv --mapping apogee_dr12_hipparcos 2>&1 || true"
    told = " ".join(machine.run(used, ASTRA_DATABASE_PATH=str(machine.home / "astra.db")).split())
    assert "the mapping" in told
    assert "doesn't fit" in told


def test_a_proposal_ingests(machine: Machine) -> None:
    (machine.home / "own.csv").write_text("sdss_id,ra,dec\n5,1.5,2.5\n")

    told = machine.run(
        "astra init && astra mapping guess own.csv > own.yaml && astra ingest own.csv --mapping own.yaml",
        ASTRA_DATABASE_PATH=str(machine.home / "own.db"),
    )

    assert "1 rows" in told or "1 row" in told
