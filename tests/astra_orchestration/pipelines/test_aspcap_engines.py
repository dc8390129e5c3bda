"""ASPCAP on workers of this computer: the same rows as in process, and no two workers in one folder."""

from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.ferre import FerreChemicalAbundances
from astra_models.ingest import ingest_spectra
from astra_models.rejected import RejectedResult
from astra_orchestration.engines.clusters import Local
from astra_orchestration.engines.on_workers import OnWorkers
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.apogee.configuration import write_configuration
from astra_orchestration.sample.apogee.grids import make_grids
from tests.ferre.installing import install_fake
from tests.ferre.stages import TABLES, forget, run, stored

pytestmark = pytest.mark.long_on_each

N_SPECTRA = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    make_sample(folder / "sample", stars=1, apogee_stars=N_SPECTRA)
    make_grids(folder / "grids")
    return folder


@pytest.fixture
def configuration(made: Path, tmp_path: Path) -> Path:
    ferre = install_fake(tmp_path / "bin")
    return write_configuration(made / "grids", str(ferre), name=f"{tmp_path.name}.yml")


def ingest(made: Path) -> None:
    ingest_spectra([str(path) for path in sorted((made / "sample" / "apogee" / "apStar").glob("*.fits"))])
    assert ApogeeCoaddedSpectrumInApStar.select().count() == N_SPECTRA


def test_workers_give_the_same_rows_each_in_folders_of_its_own(
    database: peewee.Database, made: Path, configuration: Path, tmp_path: Path
) -> None:
    ingest(made)
    run(configuration, tmp_path / "here")
    here = [stored(table) for table in TABLES]
    assert [len(rows) for rows in here] == [N_SPECTRA, N_SPECTRA, N_SPECTRA * 5, N_SPECTRA]
    forget()
    run(configuration, tmp_path / "there", OnWorkers(Local(workers=2)))
    assert RejectedResult.select().count() == 0
    for table, rows in zip(TABLES, here, strict=True):
        unlike = [
            (table, row["spectrum_pk"], name, value, other[name])
            for row, other in zip(rows, stored(table), strict=True)
            for name, value in row.items()
            if value != other[name]
        ]
        assert unlike == []
    for table in TABLES:
        workers_of: dict[str, set[int]] = {}
        for row in table.select():
            workers_of.setdefault(row.pwd, set()).add(row.spectrum_pk)
        assert len(workers_of) > 1
        assert sum(map(len, workers_of.values())) == N_SPECTRA
    assert not list((tmp_path / "there").rglob("unfinished.json"))
    assert ASPCAP.get().model_flux.shape == (8575,)


@pytest.mark.sqlite_only(reason="workers don't use the database")
@pytest.mark.parametrize("carry", ["rows", "pixels"])
def test_workers_without_the_database_do_it_too(
    database: peewee.Database, made: Path, configuration: Path, tmp_path: Path, carry: Any
) -> None:
    ingest(made)
    run(configuration, tmp_path / "work", OnWorkers(Local(workers=2, carry=carry)))
    assert RejectedResult.select().count() == 0
    assert ASPCAP.select().where(ASPCAP.raw_teff.is_null(False)).count() == N_SPECTRA
    assert FerreChemicalAbundances.select().count() == N_SPECTRA * 5
