"""Ingestion of APOGEE visits, and of what Astra itself made: visits at rest and co-adds of both instruments."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peewee
import pytest
from astropy.io import fits
from spectrum_files import write_apstar, write_apvisit, write_mwm_star, write_mwm_visit

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.ingest import ingest_spectra
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.source import Source

BOSS_VISITS = [
    {"run2d": "v6_2_1", "mjd": 59900 + i, "fieldid": 15000, "catalogid": 77, "snr": 5.0 + i, "fiber_offset": True}
    | {"delta_ra": [0.5, -0.5, float("nan")]}
    for i in range(2)
]
APOGEE_VISITS = [
    {
        "apred": "1.3",
        "plate": "6561",
        "fiber": 131 + i,
        "mjd": 59000 + i,
        "field": "120-45",
        "prefix": "ap",
        "jd": 2.5e6,
    }
    | {"date_obs": "2020-05-31T05:06:52.142", "snr": 50.0, "v_rad": 7.1, "dithered": True}
    for i in range(2)
]


@pytest.fixture
def mwm_visit(tmp_path: Path) -> Path:
    return write_mwm_visit(tmp_path / "mwmVisit.fits", {1: BOSS_VISITS, 4: APOGEE_VISITS}, key="spectrum_pk_id")


def test_an_ap_visit(database: peewee.Database, real_data: Path) -> None:
    path = real_data / "apogee_tools" / "apVisit-2M00452143+1634446-0.fits"

    report = ingest_spectra([path])

    assert report.refused == []
    row = ApogeeVisitSpectrum.get()
    key = tuple(getattr(row, name) for name in row.natural_key)
    assert key == ("dr13", "r6", 56587, "6561", "apo25m", "4476", 131, "ap", "")
    assert row.date_obs == datetime(2013, 10, 22, 5, 6, 52, 142000, tzinfo=UTC)
    assert (row.jd, row.n_frames, row.exptime) == pytest.approx((2456587.73637, 8, 2002.04))
    assert row.flag_bright_neighbor
    assert row.flux.shape == (3, 4096)
    assert Source.get().sdss4_apogee_id == row.obj == "2M00452143+1634446"


def test_the_first_guess_of_a_velocity_is_not_kept(database: peewee.Database, real_data: Path) -> None:
    ingest_spectra([real_data / "apogee_tools" / "apVisit-2M00452143+1634446-0.fits"])

    row = ApogeeVisitSpectrum.get()
    assert (row.v_rad, row.v_rel, row.doppler_teff) == (None, None, None)
    assert row.bc == pytest.approx(-6.4667478)


def test_a_later_ap_visit(database: peewee.Database, real_data: Path) -> None:
    ingest_spectra([real_data / "doppler" / "apVisit-r13-5095-55844-128.fits"])

    row = ApogeeVisitSpectrum.get()
    assert (row.apred, row.plate, row.field, row.fiber) == ("r12", "5095", "N188", 128)


def test_an_ap_visit_of_sdss5_without_a_table(database: peewee.Database, tmp_path: Path) -> None:
    ingest_spectra(
        [write_apvisit(tmp_path / "apVisit.fits", "SDSS-V", APRED="1.3", FIELD="18956", SDSS_ID=5, PLATE="15")]
    )

    row = ApogeeVisitSpectrum.get()
    assert (row.release, row.apred, row.field, row.plate, row.mjd) == ("sdss5", "1.3", "18956", "15", 56587)
    assert Source.get().sdss_id == 5


def test_visits_of_an_ap_star_refer_to_their_own_files(database: peewee.Database, real_data: Path) -> None:
    files = sorted((real_data / "apogee_tools").glob("ap[SV]*2M00452143*.fits"))
    assert len(files) == 4

    first = ingest_spectra(files)
    again = ingest_spectra(files)

    assert again.is_unchanged
    assert first.tables["source"].inserted == 1
    rows = list(ApogeeVisitSpectrumInApStar.select().order_by(ApogeeVisitSpectrumInApStar.mjd))
    assert [(row.plate, row.mjd, row.fiber) for row in rows] == [
        ("6561", 56587, 131),
        ("6561", 56607, 125),
        ("6561", 56616, 131),
    ]
    visits = {row.spectrum_pk: row.mjd for row in ApogeeVisitSpectrum}
    assert [visits[row.drp_spectrum_pk] for row in rows] == [row.mjd for row in rows]
    co_add = ApogeeCoaddedSpectrumInApStar.get()
    assert not any((row.flux == co_add.flux).all() for row in rows)


def test_visits_of_an_ap_star_go_in_without_their_own_files(database: peewee.Database, tmp_path: Path) -> None:
    path = write_apstar(tmp_path / "apStar.fits", n_visits=3)

    ingest_spectra([path])

    rows = list(ApogeeVisitSpectrumInApStar.select().order_by(ApogeeVisitSpectrumInApStar.mjd))
    assert [row.drp_spectrum_pk for row in rows] == [None] * 3
    assert [row.flux.max() for row in rows] == [3, 4, 5]


def test_both_instruments_of_an_mwm_star(database: peewee.Database, tmp_path: Path) -> None:
    boss = {"run2d": "v6_2_1", "n_visits": 4}
    apogee = {"apred": "1.3", "obj": "2M00", "n_visits": 2, "v_rad": 7.5, "doppler_teff": 4800.0}
    path = write_mwm_star(tmp_path / "mwmStar.fits", {2: boss, 3: apogee})

    report = ingest_spectra([path])

    assert report.refused == report.notes == []
    assert ingest_spectra([path]).is_unchanged
    assert (BossCombinedSpectrum.get().telescope, BossCombinedSpectrum.get().n_visits) == ("lco25m", 4)
    row = ApogeeCombinedSpectrum.get()
    assert (row.release, row.v_astra, row.sdss_id, row.apred, row.obj) == ("dr20", 8001, 54392544, "1.3", "2M00")
    assert (row.telescope, row.n_visits, row.v_rad, row.doppler_teff) == ("apo25m", 2, 7.5, 4800)
    assert row.flux.shape == (8575,)
    assert Source.select().count() == 1


def test_the_one_metre_telescope_shares_a_table(database: peewee.Database, tmp_path: Path) -> None:
    path = write_mwm_star(tmp_path / "mwmStar.fits", {3: {"telescope": "apo1m", "apred": "1.3"}})

    ingest_spectra([path])

    assert ApogeeCombinedSpectrum.get().telescope == "apo1m"


def test_visits_of_an_mwm_visit(database: peewee.Database, mwm_visit: Path) -> None:
    report = ingest_spectra([mwm_visit])

    assert report.refused == []
    assert ingest_spectra([mwm_visit]).is_unchanged
    boss = list(BossRestFrameVisitSpectrum.select().order_by(BossRestFrameVisitSpectrum.mjd))
    assert [(row.mjd, row.snr, row.telescope, row.v_astra) for row in boss] == [
        (59900, 5, "apo25m", 8001),
        (59901, 6, "apo25m", 8001),
    ]
    assert (boss[0].delta_ra, boss[0].fiber_offset, boss[0].in_stack) == ([0.5, -0.5], True, None)
    assert [row.flux[0] for row in boss] == [1, 2]
    apogee = list(ApogeeRestFrameVisitSpectrum.select().order_by(ApogeeRestFrameVisitSpectrum.mjd))
    assert [(row.mjd, row.fiber, row.telescope) for row in apogee] == [(59000, 131, "lco25m"), (59001, 132, "lco25m")]
    assert apogee[0].date_obs == datetime(2020, 5, 31, 5, 6, 52, 142000, tzinfo=UTC)
    assert [row.flux[0] for row in apogee] == [1, 2]


def test_a_visit_at_rest_refers_to_the_visit_itself(
    database: peewee.Database, mwm_visit: Path, make_spectra: Any
) -> None:
    same = {"run2d": "v6_2_1", "mjd": 59900, "fieldid": 15000}
    (other_release,) = make_spectra(1, release="sdss5", **same)
    BossVisitSpectrum.update(catalogid=77).execute()
    ingest_spectra([mwm_visit])
    linked = {row.mjd: row.drp_spectrum_pk for row in BossRestFrameVisitSpectrum}
    assert linked == {59900: other_release.spectrum_pk, 59901: None}

    (same_release,) = make_spectra(1, release="dr20", **same)
    BossVisitSpectrum.update(catalogid=77).execute()
    ingest_spectra([mwm_visit])
    linked = {row.mjd: row.drp_spectrum_pk for row in BossRestFrameVisitSpectrum}
    assert linked == {59900: same_release.spectrum_pk, 59901: None}


def test_each_version_of_astra_has_rows_of_its_own(database: peewee.Database, tmp_path: Path) -> None:
    files = [
        write_mwm_visit(tmp_path / f"{version}.fits", {1: [row | {"v_astra": version} for row in BOSS_VISITS]})
        for version in ("0.8.1", "0.9.0")
    ]

    ingest_spectra(files)

    assert sorted(row.v_astra for row in BossRestFrameVisitSpectrum) == [8001, 8001, 9000, 9000]


@pytest.mark.parametrize("write", [write_mwm_star, write_mwm_visit])
def test_a_file_without_identifier_is_refused(memory_database: peewee.Database, tmp_path: Path, write: Any) -> None:
    report = ingest_spectra([write(tmp_path / "file.fits", {}, SDSS_ID=-1)])

    [(_, reason)] = report.refused
    assert "without identifier" in reason
    assert "found -1" in reason


def test_a_truncated_mwm_visit_is_refused(memory_database: peewee.Database, mwm_visit: Path) -> None:
    with mwm_visit.open("r+b") as opened:
        opened.truncate(mwm_visit.stat().st_size - 200_000)

    [(_, reason)] = ingest_spectra([mwm_visit]).refused
    assert "truncated in the table of HDU 4" in reason
    assert BossRestFrameVisitSpectrum.select().count() == 0


def test_an_ap_visit_that_says_nothing_is_refused(memory_database: peewee.Database, tmp_path: Path) -> None:
    path = write_apvisit(tmp_path / "apVisit.fits")
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["PLATE"]

    [(_, reason)] = ingest_spectra([path]).refused
    assert "an apVisit without usable plate" in reason
