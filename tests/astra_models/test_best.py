"""The adopted result: one per source and major.minor version, whichever spectrum it is of."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import peewee
import pytest

import astra_models
from astra_models.base import bound_schema
from astra_models.best import MWMBest
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.upsert import upsert

FILE = {"release": "sdss5", "filetype": "mwmStar", "telescope": "apo25m"}


def best(spectrum: Any, **columns: Any) -> dict[str, Any]:
    return FILE | {"source_pk": spectrum.source_pk, "spectrum_pk": spectrum.spectrum_pk} | columns


def stored() -> list[tuple[Any, ...]]:
    rows = MWMBest.select().order_by(MWMBest.source_pk, MWMBest.v_astra)
    return [(row.source_pk, row.spectrum_pk, row.v_astra, row.teff) for row in rows]


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any, source: Source) -> list[Any]:
    """Give two spectra of one source."""
    return [make_spectra(1, sources=[source.pk])[0] for _ in range(2)]


@pytest.mark.lesson(18)
def test_the_module_can_be_imported_by_itself(tmp_path: Path) -> None:
    environment = {
        "ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"),
        "PYTHONPATH": str(Path(astra_models.__file__).parents[1]),
        "HOME": str(tmp_path),
    }
    program = "from astra_models.best import MWMBest; print(len(MWMBest._meta.fields), MWMBest(teff=5000).teff)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert run.stdout.split() == ["206", "5000"]


@pytest.mark.lesson(18)
def test_the_table_can_be_made_and_used(spectra: list[Any]) -> None:
    MWMBest.drop_table()
    MWMBest.create_table()
    MWMBest.from_spectrum(spectra[0], **FILE, teff=4500, flag_al_h_warn_teff=True, p_da=0.5).save()
    row = MWMBest.get()
    assert (row.teff, row.al_h_flags, row.p_da, row.field) == (4500, 2**10, 0.5, "")


def test_its_key_is_the_source_and_version(database: peewee.Database) -> None:
    keys = [index.columns for index in database.get_indexes("mwm_best", bound_schema()) if index.unique]
    assert ["source_pk", "v_astra_major_minor"] in keys
    assert not [columns for columns in keys if "spectrum_pk" in columns]


@pytest.mark.lesson(18)
def test_a_later_choice_replaces_the_one_before(spectra: list[Any]) -> None:
    one, two = spectra
    assert upsert(MWMBest, [best(one, teff=4500, v_astra=8_000)]).inserted == 1
    (before,) = MWMBest.select()
    report = upsert(MWMBest, [best(two, teff=4600, v_astra=8_001)])
    assert (report.inserted, report.updated) == (0, 1)
    assert stored() == [(one.source_pk, two.spectrum_pk, 8_001, 4600)]
    assert (MWMBest.get().task_pk, MWMBest.get().created) == (before.task_pk, before.created)


def test_two_choices_in_a_batch_are_one_row(spectra: list[Any]) -> None:
    report = upsert(MWMBest, [best(spectrum, teff=teff) for spectrum, teff in zip(spectra, (1.0, 2.0), strict=True)])
    assert (report.inserted, report.superseded) == (1, 1)
    assert MWMBest.get().teff == 2.0


def test_a_spectrum_may_be_the_best_of_several_versions(spectra: list[Any]) -> None:
    upsert(MWMBest, [best(spectra[0], v_astra=8_000), best(spectra[0], v_astra=9_000)])
    assert [row[2] for row in stored()] == [8_000, 9_000]
    assert [row.v_astra for row in MWMBest.latest()] == [9_000]


def test_a_result_without_a_source_is_refused(spectra: list[Any]) -> None:
    report = upsert(MWMBest, [best(spectra[0]), best(spectra[1]) | {"source_pk": None}])
    assert (report.inserted, report.rejected) == (1, 1)
    assert RejectedResult.get().spectrum_pk == spectra[1].spectrum_pk


def test_flags_of_the_abundances_are_aspcaps(spectra: list[Any]) -> None:
    upsert(MWMBest, [best(spectra[0], ce_h_flags=2**4 | 2**11, zwarning_flags=2**9)])
    row = MWMBest.get()
    assert (row.flag_ce_h_upper_limit_t5, row.flag_ce_h_warn_m_h, row.flag_ce_h_warn_teff) == (True, True, False)
    assert row.flag_no_data
    assert MWMBest.select().where(MWMBest.flag_ce_h_warn_m_h).count() == 1
