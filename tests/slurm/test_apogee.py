"""The Cannon and ASPCAP's stages on a real Slurm: the rows that one process gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models.analysis.stream import analyse, write
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.rejected import RejectedResult
from astra_models.the_cannon import TheCannon
from astra_orchestration.engines.on_workers import OnWorkers
from astra_orchestration.pipelines.the_cannon import the_cannon
from astra_orchestration.pipelines.the_cannon.training_run import train_to_file
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.apogee.configuration import write_configuration
from astra_orchestration.sample.apogee.grids import make_grids
from tests.ferre.installing import install_fake
from tests.ferre.stages import TABLES, forget, run, stored

pytestmark = pytest.mark.sqlite_only(reason="what is written is compared elsewhere")

Engines = Callable[..., OnWorkers]


def require_same(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> None:
    assert len(there) == len(here) > 0
    for row, other in zip(there, here, strict=True):
        assert {name: (value, other[name]) for name, value in row.items() if not is_same(value, other[name])} == {}


def is_same(value: object, other: object) -> bool:
    """Compare to the last digit of single precision, in which matrices of other shapes are rounded otherwise."""
    if isinstance(value, float) and isinstance(other, float):
        return value == pytest.approx(other, rel=1e-5, abs=1e-7, nan_ok=True)
    return value == other


def test_aspcap_stages_on_two_nodes(database: peewee.Database, tmp_path: Path, on_slurm: Engines) -> None:
    make_sample(tmp_path / "sample", stars=1, apogee_stars=6)
    make_grids(tmp_path / "grids")
    ferre = install_fake(tmp_path / "bin")
    configuration = write_configuration(tmp_path / "grids", str(ferre), name=f"{tmp_path.name}.yml")
    ingest_spectra([str(path) for path in sorted((tmp_path / "sample" / "apogee" / "apStar").glob("*.fits"))])
    run(configuration, tmp_path / "here")
    here = [stored(table) for table in TABLES]
    forget()
    run(configuration, tmp_path / "there", on_slurm())
    assert [row.message for row in RejectedResult.select()] == []
    for table, rows in zip(TABLES, here, strict=True):
        require_same(stored(table), rows)
    assert not list((tmp_path / "there").rglob("unfinished.json"))


def test_the_cannon_labels_on_two_nodes(
    database: peewee.Database, tmp_path: Path, on_slurm: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "products"))
    apogee = Path(make_sample(tmp_path / "sample", stars=1, apogee_stars=60).folder) / "apogee"
    ingest_spectra(sorted(map(str, apogee.glob("*/*.fits"))))
    [labels] = apogee.glob("astraAllStarASPCAP*")
    ingest_result_file(str(labels))
    train_to_file(tmp_path / "model.npz")
    write(analyse(the_cannon, parameters={"model": str(tmp_path / "model.npz")}))
    here = stored(TheCannon)
    TheCannon.delete().execute()
    write(analyse(the_cannon, parameters={"model": str(tmp_path / "model.npz")}, engine=on_slurm()))
    assert [row.message for row in RejectedResult.select()] == []
    require_same(stored(TheCannon), here)
    assert TheCannon.get().model_flux.shape == (8575,)
