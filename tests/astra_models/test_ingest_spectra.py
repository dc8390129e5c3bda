import gzip
import itertools
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.io import fits
from spectrum_files import write_mwm_star

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.base import database as bound_database
from astra_models.boss import BossVisitSpectrum
from astra_models.database.revisions import PIXELS
from astra_models.errors import MissingTableError
from astra_models.fits.star_file import FitsFile
from astra_models.ingest import IngestReport, ingest_spectra
from astra_models.ingest.spectra import files as spectra
from astra_models.ingest.spectra import values
from astra_models.mwm import BossCombinedSpectrum
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.sample import SampleSummary, make_sample

MODELS = (Source, Spectrum, *spectra.MODELS)
SINGLE_VISIT = "apStar-r6-2M03290406+3117075.fits"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return make_sample(tmp_path_factory.mktemp("sample"), stars=5, seed=3)


@pytest.fixture
def real_spectra(real_data: Path) -> list[Path]:
    patterns = ("pyhammer/*.fits", "wdtools/*.fits", "apogee_tools/ap[SV]*.fits", "doppler/*.fits")
    return [path for pattern in patterns for path in sorted(real_data.glob(pattern))]


@pytest.fixture
def visits(sample: SampleSummary) -> list[str]:
    return [path for path in sample.files if "/visits/" in path]


@pytest.fixture
def co_adds(sample: SampleSummary) -> list[str]:
    return [path for path in sample.files if "/stars/" in path]


def counts(report: IngestReport, table: str) -> tuple[int, int, int]:
    of_table = report.tables[table]
    return of_table.inserted, of_table.updated, of_table.unchanged


def all_rows() -> dict[str, list[dict[str, Any]]]:
    return {model._meta.table_name: [row.to_dict() for row in model.select().order_by(model.pk)] for model in MODELS}


def changed_copy(original: str | Path, folder: Path, change: Callable[[fits.HDUList], Any], name: str = "") -> Path:
    """Write a copy of a file to which something was done."""
    path = folder / (name or Path(original).name)
    with fits.open(original, memmap=False, lazy_load_hdus=False) as hdus:
        change(hdus)
        hdus.writeto(path, overwrite=True, output_verify="silentfix")
    return path


def set_value(hdu: int, column: str, value: Any) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        hdus[hdu].data[column][0] = value

    return change


def only_reason(path: str | Path) -> str:
    """Ingest one file, which is refused, and give the reason."""
    report = ingest_spectra([path])
    assert len(report.refused) == 1, report
    assert all(model.select().count() == 0 for model in MODELS)
    return report.refused[0][1]


# ---- real files


def test_all_real_spectra_go_in(database: peewee.Database, real_spectra: list[Path]) -> None:
    report = ingest_spectra(real_spectra)

    assert report.refused == []
    assert report.notes == []
    assert (report.files, report.ingested) == (13, 13)
    assert counts(report, "source") == (9, 0, 0)
    assert counts(report, "boss_visit_spectrum") == (6, 0, 0)
    assert counts(report, "apogee_coadded_spectrum_in_ap_star") == (3, 0, 0)
    assert counts(report, "apogee_visit_spectrum_in_ap_star") == (7, 0, 0)
    assert counts(report, "apogee_visit_spectrum") == (4, 0, 0)
    keys = {row.spectrum_pk for model in MODELS[2:] for row in model.select()}
    assert keys == {row.pk for row in Spectrum.select()}
    assert len(keys) == 20


def test_ingesting_again_writes_nothing(database: peewee.Database, real_spectra: list[Path]) -> None:
    ingest_spectra(real_spectra)
    before = all_rows()

    report = ingest_spectra(real_spectra)

    assert report.is_unchanged
    assert counts(report, "boss_visit_spectrum") == (0, 0, 6)
    assert all_rows() == before


def test_the_white_dwarf_of_wdtools(database: peewee.Database, real_data: Path) -> None:
    path = real_data / "wdtools" / "sample_spectrum.fits"

    ingest_spectra([path])

    row = BossVisitSpectrum.get()
    assert (row.release, row.run2d, row.fieldid, row.mjd, row.catalogid) == ("dr12", "v5_7_0", 4455, 55539, -692)
    assert (row.filetype, row.telescope, row.spec_file) == ("spec", "apo25m", "sample_spectrum.fits")
    assert row.path == str(path)
    assert row.snr == pytest.approx(39.77446, rel=1e-6)
    assert row.airtemp is None  # the header has the text 'NaN'
    assert row.airmass is None  # the table's is that of the imaging
    assert row.humidity == pytest.approx(30.9333)
    assert len(row.flux) == len(row.ivar) == len(row.wavelength) == 4619
    source = Source.get()
    assert source.pk == row.source_pk
    assert source.ra == pytest.approx(126.50241636477486, abs=1e-12)
    assert (source.sdss_id, source.catalogid) == (None, -1237660962934489146)


def test_a_legacy_spectrum_with_text_identifiers(database: peewee.Database, real_data: Path) -> None:
    ingest_spectra([real_data / "pyhammer" / "spec-0618-52049-0372.fits"])

    row = BossVisitSpectrum.get()
    assert (row.release, row.run2d, row.fieldid, row.mjd, row.catalogid) == ("dr8", "26", 618, 52049, -372)
    source = Source.get()
    assert source.catalogid == -1237651250974556408
    assert (source.ra, source.dec) == pytest.approx((236.97794, 52.815963))


def test_a_template_has_no_source(database: peewee.Database, real_data: Path, tmp_path: Path) -> None:
    original = real_data / "pyhammer" / "M5_+0.0_Dwarf.fits"
    ingest_spectra([original])
    row = BossVisitSpectrum.get()
    assert (row.release, row.filetype, row.fieldid, row.mjd) == ("template", "template", 0, 0)
    assert row.catalogid < 0
    assert row.source_pk is None
    assert row.snr == pytest.approx(15.306288)
    assert Source.select().count() == 0

    elsewhere = shutil.copy(original, tmp_path)
    report = ingest_spectra([elsewhere])

    assert counts(report, "boss_visit_spectrum") == (0, 1, 0)
    assert BossVisitSpectrum.get().path == str(elsewhere)


def test_the_velocity_of_an_ap_star_is_not_the_shift_of_the_co_add(database: peewee.Database, real_data: Path) -> None:
    ingest_spectra([real_data / "apogee_tools" / "apStar-r6-2M00452143+1634446.fits"])

    row = ApogeeCoaddedSpectrumInApStar.get()
    assert row.v_rad == pytest.approx(6.73279)  # VRAD is 0 in the file
    assert (row.release, row.apred, row.telescope, row.field, row.prefix) == ("dr13", "r6", "apo25m", "120-45", "ap")
    assert (row.n_visits, row.min_mjd, row.max_mjd) == (3, 56587, 56616)
    assert row.spectrum_flags == 131076
    assert row.doppler_teff is None
    source = Source.get()
    assert source.sdss4_apogee_id == row.obj == "2M00452143+1634446"
    assert (source.l, source.b) == pytest.approx((120.824025923, -46.267699611))


def test_an_ap_star_of_one_visit(database: peewee.Database, real_data: Path) -> None:
    ingest_spectra([real_data / "apogee_tools" / SINGLE_VISIT])

    row = ApogeeCoaddedSpectrumInApStar.get()
    assert (row.n_visits, row.min_mjd, row.max_mjd) == (1, 56671, 56671)
    assert row.flux.shape == row.ivar.shape == (8575,)


@pytest.mark.parametrize(
    "name", ["pyhammer/spec-0618-52049-0372.fits", "wdtools/sample_spectrum.fits", "pyhammer/spec-4068-55445-0924.fits"]
)
def test_rows_are_read_as_astropy_reads_them(real_data: Path, name: str) -> None:
    path = str(real_data / name)
    row = FitsFile(path).row(2)
    with fits.open(path, memmap=False) as hdus:
        expected = hdus[2].data[0]
        for column in hdus[2].columns.names:
            value = expected[column]
            if isinstance(value, np.ndarray):
                assert row.get(column) == np.ravel(value).tolist(), column
            elif isinstance(value, str):
                assert row.get(column) == value.strip(), column
            else:
                assert row.get(column) == value, column


def test_headers_are_read_as_astropy_reads_them(real_data: Path) -> None:
    path = str(real_data / "wdtools" / "sample_spectrum.fits")
    header = FitsFile(path).primary
    with fits.open(path) as hdus:
        for keyword in ("TELESCOP", "MJD", "RA", "TEMP", "VACUUM", "COEFF1", "BUNIT", "NAME"):
            assert header[keyword] == hdus[0].header[keyword]


def test_other_real_files_are_refused(memory_database: peewee.Database, real_data: Path, tmp_path: Path) -> None:
    content = sorted((real_data / "apogee_tools").glob("aspcapStar*"))[0].read_bytes()
    without_table = tmp_path / "images.fits"
    without_table.write_bytes(content[: content.index(b"XTENSION= 'BINTABLE'")])
    reason = only_reason(without_table)

    for looked_for in (
        "mwmStar",
        "mwmVisit",
        "apVisit",
        "apStar",
        "aspcapStar",
        "specFull",
        "template",
        "LOGLAM",
        "NVISITS",
        "8575",
    ):
        assert looked_for in reason
    assert "found HDU 0: header only; HDU 1: image of" in reason


# ---- rows are made once, and updated when a file says something else


def test_a_sample_goes_in_once(database: peewee.Database, sample: SampleSummary) -> None:
    first = ingest_spectra(sample.files)
    before = all_rows()
    again = ingest_spectra(sample.files)

    assert counts(first, "source") == (5, 0, 0)
    assert counts(first, "boss_visit_spectrum") == (sample.visits + 2, 0, 0)
    assert counts(first, "boss_combined_spectrum") == (5, 0, 0)
    assert again.is_unchanged
    assert again.refused == first.refused
    assert all_rows() == before


def test_a_rereduced_file_updates_its_row(database: peewee.Database, visits: list[str], tmp_path: Path) -> None:
    path = Path(shutil.copy(visits[0], tmp_path))
    ingest_spectra([path])
    before = BossVisitSpectrum.get()
    changed_copy(visits[0], tmp_path, set_value(2, "SN_MEDIAN_ALL", 77.5))

    report = ingest_spectra([path])

    after = BossVisitSpectrum.get()
    assert counts(report, "boss_visit_spectrum") == (0, 1, 0)
    assert counts(report, "source") == (0, 0, 1)
    assert after.snr == 77.5
    assert after.modified > before.modified
    expected = before.to_dict() | {"snr": 77.5, "modified": after.modified, "revision": PIXELS + 1}
    assert after.to_dict() == expected


def test_a_new_reduction_makes_a_new_row(database: peewee.Database, visits: list[str], tmp_path: Path) -> None:
    newer = changed_copy(visits[0], tmp_path, set_value(2, "RUN2D", "v6_9_9"))

    report = ingest_spectra([visits[0], newer])

    assert counts(report, "boss_visit_spectrum") == (2, 0, 0)
    assert counts(report, "source") == (1, 0, 0)


def test_a_file_named_twice_is_read_once(database: peewee.Database, visits: list[str]) -> None:
    report = ingest_spectra([visits[0], Path(visits[0]), visits[0]])

    assert report.files == 1
    assert counts(report, "boss_visit_spectrum") == (1, 0, 0)


def test_of_two_copies_in_a_batch_the_last_counts(database: peewee.Database, visits: list[str], tmp_path: Path) -> None:
    copy = shutil.copy(visits[0], tmp_path)

    ingest_spectra([visits[0], copy])

    assert [row.path for row in BossVisitSpectrum.select()] == [str(copy)]


@pytest.mark.lesson(23)
def test_a_co_add_without_healpix_is_not_inserted_again(database: peewee.Database, co_adds: list[str]) -> None:
    for _ in range(2):
        ingest_spectra(co_adds[:1])

    row = BossCombinedSpectrum.get()
    assert BossCombinedSpectrum.select().count() == 1
    assert row.healpix is None


def test_small_batches_give_the_same_as_one(database: peewee.Database, sample: SampleSummary) -> None:
    seen: list[int] = []

    report = ingest_spectra(sample.files, batch_size=3, progress=seen.append)

    assert counts(report, "source") == (5, 0, 0)
    assert counts(report, "boss_visit_spectrum") == (sample.visits + 2, 0, 0)
    assert seen[-1] == report.files == len(sample.files)
    assert seen == sorted(seen)
    assert ingest_spectra(sample.files).is_unchanged


def test_no_transaction_is_open_while_files_are_read(
    database: peewee.Database, sample: SampleSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_transactions = []
    read = spectra.read_spectrum_file

    def watched(path: str) -> Any:
        open_transactions.append(bound_database.obj.transaction_depth())
        return read(path)

    monkeypatch.setattr(spectra, "read_spectrum_file", watched)
    ingest_spectra(sample.files, batch_size=4)

    assert set(open_transactions) == {0}


def test_two_ingestions_at_once_make_every_row_once(database: peewee.Database, sample: SampleSummary) -> None:
    def ingest(_: int) -> IngestReport:
        try:
            return ingest_spectra(sample.files, batch_size=2)
        finally:
            database.close()

    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(ingest, range(2)))

    inserted = {name: sum(report.tables[name].inserted for report in reports) for name in spectra.TABLES}
    expected = {"source": 5, "boss_visit_spectrum": sample.visits + 2, "boss_combined_spectrum": 5}
    assert inserted == dict.fromkeys(inserted, 0) | expected
    stored = {model._meta.table_name: model.select().count() for model in MODELS}
    assert stored == inserted | {"spectrum": sample.visits + 7}
    assert [report.refused for report in reports] == [reports[0].refused] * 2


# ---- sources


def test_visits_and_co_add_of_a_star_share_its_source(
    database: peewee.Database, visits: list[str], co_adds: list[str]
) -> None:
    ingest_spectra([*visits, *co_adds])

    for co_add in BossCombinedSpectrum:
        source = Source.get(Source.sdss_id == co_add.sdss_id)
        assert co_add.source_pk == source.pk
        own = BossVisitSpectrum.select().where(BossVisitSpectrum.source_pk == source.pk)
        assert {row.catalogid for row in own} == {source.catalogid}
        assert own.count() == co_add.n_visits


def test_a_later_file_only_fills_in_what_is_missing(
    database: peewee.Database, visits: list[str], co_adds: list[str]
) -> None:
    catalogid = str(fits.getval(co_adds[0], "CAT_ID"))
    ingest_spectra([path for path in visits if catalogid in path])
    before = Source.get()
    assert before.gaia_dr3_source_id is None
    before.dec = -12.5
    before.save()

    report = ingest_spectra(co_adds[:1])

    after = Source.get()
    assert counts(report, "source") == (0, 1, 0)
    assert after.pk == before.pk
    assert after.gaia_dr3_source_id is not None
    assert after.dec == -12.5
    assert after.modified > before.modified


def test_a_legacy_star_on_two_plates_is_one_source(database: peewee.Database, real_data: Path, tmp_path: Path) -> None:
    original = real_data / "pyhammer" / "spec-1123-52882-0065.fits"

    def on_another_plate(hdus: fits.HDUList) -> None:
        for column, value in {"PLATE": 2222, "MJD": 53000, "FIBERID": 65}.items():
            hdus[2].data[column][0] = value

    ingest_spectra([original])
    report = ingest_spectra([changed_copy(original, tmp_path, on_another_plate, "other.fits")])

    assert counts(report, "boss_visit_spectrum") == (1, 0, 0)
    assert counts(report, "source") == (0, 0, 1)


def test_a_source_is_found_by_its_gaia_identifier(database: peewee.Database, co_adds: list[str]) -> None:
    with fits.open(co_adds[0]) as hdus:
        gaia, sdss_id = hdus[0].header["GAIA3_ID"], hdus[0].header["SDSS_ID"]
    known = Source.create(gaia_dr3_source_id=gaia)

    ingest_spectra(co_adds[:1])

    assert Source.get().pk == known.pk
    assert Source.get().sdss_id == sdss_id


def test_sources_that_contradict_each_other_are_not_merged(database: peewee.Database, co_adds: list[str]) -> None:
    with fits.open(co_adds[0]) as hdus:
        gaia, sdss_id = hdus[0].header["GAIA3_ID"], hdus[0].header["SDSS_ID"]
    other = Source.create(gaia_dr3_source_id=gaia, sdss_id=17)

    report = ingest_spectra(co_adds[:1])

    assert report.refused == []
    assert Source.get_by_id(other.pk).to_dict() == other.to_dict()
    new = Source.get(Source.sdss_id == sdss_id)
    assert new.gaia_dr3_source_id is None
    assert BossCombinedSpectrum.get().source_pk == new.pk


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_files_makes_no_difference(
    database: peewee.Database, visits: list[str], tmp_path: Path, order: tuple[int, ...]
) -> None:
    def of_star(sdss_id: int, mjd: int) -> Callable[[fits.HDUList], None]:
        def change(hdus: fits.HDUList) -> None:
            for column, value in {"SDSS_ID": sdss_id, "CATALOGID": 9001, "MJD": mjd}.items():
                hdus[2].data[column][0] = value

        return change

    files = [
        changed_copy(visits[0], tmp_path, of_star(-999, 59_001), "catalogid.fits"),
        write_mwm_star(tmp_path / "sdss_id.fits", {1: {"run2d": "v6_2_1"}}, SDSS_ID=54_001),
        changed_copy(visits[0], tmp_path, of_star(54_001, 59_002), "both.fits"),
    ]
    ingest_spectra([files[i] for i in order])

    assert [(row.sdss_id, row.catalogid) for row in Source] == [(54_001, 9001)]


def test_a_file_that_names_no_source_makes_none(database: peewee.Database, real_data: Path, tmp_path: Path) -> None:
    def without_names(hdus: fits.HDUList) -> None:
        hdus[0].header["PLUG_RA"] = "NaN"
        for column, nothing in {"PLUG_RA": np.nan, "BESTOBJID": "0", "OBJID": 0}.items():
            hdus[2].data[column][0] = nothing

    path = changed_copy(real_data / "pyhammer" / "spec-1123-52882-0065.fits", tmp_path, without_names)
    first, again = ingest_spectra([path]), ingest_spectra([path])

    assert first.refused == []
    [(_, note)] = first.notes
    assert note.startswith("it names no source (sdss_id, ")
    assert again.is_unchanged
    assert (BossVisitSpectrum.get().source_pk, Source.select().count()) == (None, 0)


# ---- kinds that are not among the real files


def write_dr19_ap_star(path: Path, n_visits: int = 2, **cards: Any) -> Path:
    """Write an apStar in the layout of DR19: double precision, 64-bit mask, one row per visit."""
    primary = fits.PrimaryHDU()
    given = {
        "OBJID": "2M00000032+5737103",
        "APRED": "1.3",
        "TELESCOP": "apo25m",
        "STARVER": "59500",
        "HEALPIX": 12_345,
        "SDSS_ID": 54_392_544,
        "NVISITS": n_visits,
        "RA": 0.00135,
        "DEC": 57.61953,
        "SNR": 99.5,
        "VHBARY": -41.25,
        "VERR": 0.0,
        "VSCATTER": 0.31,
        "STARFLAG": -2_147_483_648,
        "RV_TEFF": 4500.0,
        "RV_LOGG": "NaN",
        "N_COMP": 1,
        "JD1": 2_459_500.75,
        "JD2": 2_459_530.75,
    } | cards
    for keyword, value in given.items():
        primary.header[keyword] = value
    shape = (n_visits + 2, 8575)
    images = [fits.ImageHDU(np.ones(shape)) for _ in range(2)]
    images += [fits.ImageHDU(np.zeros(shape, np.int64))] + [fits.ImageHDU(np.zeros(shape)) for _ in range(4)]
    visits = fits.BinTableHDU(np.rec.fromarrays([np.arange(n_visits)], names=["SNR"]))
    fits.HDUList([primary, *images, fits.BinTableHDU(), visits]).writeto(path)
    return path


def test_an_ap_star_of_dr19(database: peewee.Database, tmp_path: Path) -> None:
    ingest_spectra([write_dr19_ap_star(tmp_path / "apStar.fits")])

    row = ApogeeCoaddedSpectrumInApStar.get()
    assert (row.release, row.apred, row.field, row.prefix) == ("sdss5", "1.3", "", "")
    assert (row.v_rad, row.e_v_rad) == (-41.25, None)  # VERR is 0: unused
    assert (row.starver, row.healpix, row.n_components) == (59500, 12345, 1)
    assert (row.doppler_teff, row.doppler_logg) == (4500.0, None)
    assert (row.min_mjd, row.max_mjd) == (59500, 59530)
    assert row.spectrum_flags == 2**31
    assert row.flux.shape == (8575,)
    assert Source.get().sdss_id == 54_392_544


def test_an_ap_star_without_reduction_is_refused(memory_database: peewee.Database, tmp_path: Path) -> None:
    reason = only_reason(write_dr19_ap_star(tmp_path / "apStar.fits", APRED=""))

    assert "looked for OBJID" in reason
    assert "APRED" in reason


def test_the_two_observatories_of_an_mwm_star(database: peewee.Database, co_adds: list[str]) -> None:
    ingest_spectra(co_adds)

    telescopes = {row.telescope for row in BossCombinedSpectrum}
    assert telescopes == {"apo25m", "lco25m"}
    for row in BossCombinedSpectrum:
        assert row.v_astra == 8001  # the file has text
        assert row.flux.shape == (4648,)
        assert row.snr == pytest.approx(np.median(row.flux[row.ivar > 0] * np.sqrt(row.ivar[row.ivar > 0])), rel=1e-4)


def test_sentinels_of_a_visit_are_missing(database: peewee.Database, visits: list[str]) -> None:
    ingest_spectra(visits)

    dwarfs = BossVisitSpectrum.select().where(BossVisitSpectrum.xcsao_v_rad.is_null())
    others = BossVisitSpectrum.select().where(BossVisitSpectrum.xcsao_v_rad.is_null(False))
    assert dwarfs.count() > 0  # NaN or -999 in the files
    assert others.count() > 0
    row = others.first()
    assert (row.release, row.filetype, row.healpix, row.plateid, row.cartid) == ("sdss5", "specFull", None, None, None)
    assert row.dewpoint is None
    assert row.fiber_offset is False
    assert row.delta_ra == [0.0] * row.n_exp
    assert 30 <= row.moon_dist_mean <= 120
    assert Source.get().bp_mag is None


def test_the_signal_to_noise_is_computed_where_a_file_lacks_it(
    database: peewee.Database, visits: list[str], tmp_path: Path
) -> None:
    path = changed_copy(visits[0], tmp_path, set_value(2, "SN_MEDIAN_ALL", np.nan))
    ingest_spectra(visits[:1])
    stated = BossVisitSpectrum.get().snr

    ingest_spectra([path])

    assert BossVisitSpectrum.get().snr == pytest.approx(stated, rel=1e-5)


def test_gzipped_files_go_in(database: peewee.Database, visits: list[str], tmp_path: Path) -> None:
    path = tmp_path / "spec.fits.gz"
    path.write_bytes(gzip.compress(Path(visits[0]).read_bytes()))

    assert ingest_spectra([path]).refused == []
    assert BossVisitSpectrum.get().flux.size > 4000


def test_an_unsigned_identifier_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "table.fits"
    columns = [fits.Column("SPECOBJID", "K", bzero=2**63, array=np.array([2**63 + 12_345], np.uint64))]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)

    assert FitsFile(str(path)).row(1).get("specobjid") == 2**63 + 12_345


# ---- files that can't be ingested


def test_what_is_no_file(memory_database: peewee.Database, tmp_path: Path) -> None:
    assert only_reason(tmp_path / "none.fits") == "there is no such file"
    assert only_reason(tmp_path) == "it is a folder; give the files in it"


def test_what_is_not_fits(memory_database: peewee.Database, sample: SampleSummary) -> None:
    broken = {Path(file.path).name: file.path for file in sample.broken}

    assert only_reason(broken["not-fits.fits"]) == "it is not a FITS file: it doesn't begin with SIMPLE"
    assert only_reason(broken["empty.fits"]) == "it is empty; fetch it again"


def test_what_is_truncated(
    memory_database: peewee.Database, sample: SampleSummary, co_adds: list[str], tmp_path: Path
) -> None:
    broken = {Path(file.path).name: file.path for file in sample.broken}
    cut = tmp_path / "cut.fits"
    cut.write_bytes(Path(co_adds[0]).read_bytes()[:50_000])
    cut_gz = tmp_path / "cut.fits.gz"
    cut_gz.write_bytes(gzip.compress(Path(co_adds[0]).read_bytes())[:1000])

    header = only_reason(broken["truncated-header.fits"])
    assert header == "it is truncated in the header of HDU 0: no END in 1500 bytes; fetch it again"
    pixels = only_reason(broken["truncated-pixels.fits"])
    assert pixels == (
        "the file is truncated in the pixels of HDU 1: with axes of 36 x 4586 that ends at byte 173736, and the file "
        "at 60000; fetch it again"
    )
    assert only_reason(cut).startswith("the file is truncated in the data of HDU")
    assert only_reason(cut_gz).startswith("it is gzipped and damaged")


def test_a_spectrum_that_nothing_is_said_of(
    memory_database: peewee.Database, visits: list[str], tmp_path: Path
) -> None:
    reason = only_reason(changed_copy(visits[0], tmp_path, lambda hdus: hdus.pop(2)))

    assert "looked for a table of one row, SPALL or SPECOBJ, in HDU 2" in reason
    assert "found HDU 0: header only; HDU 1: COADD table of" in reason


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("CATALOGID", -999, "no usable catalogid"),
        ("CATALOGID", 0, "CATALOGID 0"),
        ("FIELD", -1, "no usable fieldid"),
    ],
)
def test_a_visit_without_identifier(
    memory_database: peewee.Database, visits: list[str], tmp_path: Path, column: str, value: int, expected: str
) -> None:
    reason = only_reason(changed_copy(visits[0], tmp_path, set_value(2, column, value)))

    assert expected in reason
    assert "looked for CATALOGID and FIELD and MJD" in reason


def test_an_mwm_star_without_identifier(memory_database: peewee.Database, co_adds: list[str], tmp_path: Path) -> None:
    path = changed_copy(co_adds[0], tmp_path, lambda hdus: hdus[0].header.set("SDSS_ID", -1))

    assert "looked for a positive SDSS_ID in the primary header, found -1" in only_reason(path)


def test_a_number_that_no_column_can_hold(memory_database: peewee.Database, visits: list[str], tmp_path: Path) -> None:
    path = changed_copy(visits[0], tmp_path, lambda hdus: hdus[0].header.set("NSTD", 2**40))

    assert "its n_std is 1099511627776, which a 32-bit column can't hold" in only_reason(path)


def test_a_refused_file_takes_no_other_along(database: peewee.Database, visits: list[str], tmp_path: Path) -> None:
    refused_by_database = changed_copy(
        visits[0], tmp_path, lambda hdus: hdus[0].header.set("HUMIDITY", 1e300), "humid.fits"
    )

    report = ingest_spectra([tmp_path / "none.fits", refused_by_database, *visits[1:]])

    assert [path for path, _ in report.refused] == [str(tmp_path / "none.fits"), str(refused_by_database)]
    assert "humidity" in report.refused[1][1]
    assert counts(report, "boss_visit_spectrum") == (len(visits) - 1, 0, 0)
    assert Spectrum.select().count() == len(visits) - 1


def test_missing_tables_are_no_fault_of_the_files(memory_database: peewee.Database, visits: list[str]) -> None:
    BossVisitSpectrum.drop_table()

    with pytest.raises(MissingTableError, match="boss_visit_spectrum"):
        ingest_spectra(visits)
    assert Source.select().count() == 0


# ---- values


@pytest.mark.parametrize("value", [None, "NaN", "", "nan", -9999, -9999.0, -999.0, float("nan"), "abc", [1.0, 2.0]])
def test_numbers_that_are_missing(value: Any) -> None:
    assert values.number(value) is None


@pytest.mark.parametrize(
    ("convert", "value", "expected"),
    [
        (values.number, " 12.5", 12.5),
        (values.number, np.float32(0.5), 0.5),
        (values.positive, 0.0, None),
        (values.magnitude, 99.9, None),
        (values.magnitude, 17.25, 17.25),
        (values.whole, -1, None),
        (values.whole, "  695908431386667008", 695908431386667008),
        (values.whole, 2.5, None),
        (values.identifier, -999, None),
        (values.identifier, 0, None),
        (values.flags, -1, 0),
        (values.flags, None, 0),
        (values.flags, 2**40, 2**40),
        (values.text, " NaN ", None),
        (values.text, " x ", "x"),
        (values.numbers, "1.0 2.5", [1.0, 2.5]),
        (values.numbers, "", None),
        (values.mean, "10 20", 15.0),
        (values.mean, 10.0, 10.0),
        (values.boolean, 1, True),
        (values.boolean, "T", None),
    ],
)
def test_values(convert: Callable[[Any], Any], value: Any, expected: Any) -> None:
    assert convert(value) == expected
