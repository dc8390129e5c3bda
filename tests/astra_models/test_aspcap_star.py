"""aspcapStar files of SDSS-III and SDSS-IV: results of the survey's own ASPCAP, beside the apStar of the same star."""

import shutil
from pathlib import Path

import numpy as np
import peewee
import pytest
from astropy.io import fits
from astropy.table import Table

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.errors import MissingPixelsError
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.ingest.spectra.aspcap_star import release_of, version_of
from astra_models.ingest.spectra.files import preview_spectra
from astra_models.source import Source
from astra_models.spectrum import Spectrum

DWARF = "2M00452143+1634446"
OTHERS = ("2M03290406+3117075", "2M12132318+3900529")
KEPT = ("path", "snr", "n_visits", "v_rad", "median_e_v_rad", "min_mjd", "max_mjd", "spectrum_flags", "ccfwhm")

pytestmark = [
    pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning"),
    pytest.mark.long_on_each,
]


@pytest.fixture
def apogee(real_data: Path) -> Path:
    return real_data / "apogee_tools"


def aspcap_star(apogee: Path, star: str = DWARF) -> Path:
    return apogee / f"aspcapStar-r6-l30e.2-{star}.fits"


def ap_star(apogee: Path, star: str = DWARF) -> Path:
    return apogee / f"apStar-r6-{star}.fits"


def changed(path: Path, folder: Path, **columns: object) -> Path:
    """Copy a file, with other values in its table of results."""
    copy = folder / path.name
    with fits.open(path) as hdus:
        hdus[0].header["AKWISE"] = 0.0
        table = Table(hdus[4].data)
        for name, value in columns.items():
            if isinstance(value, str):
                table.replace_column(name, [value])
            else:
                table[name] = [value]
        fits.HDUList([*hdus[:4], fits.BinTableHDU(table)]).writeto(copy)
    return copy


def spectra() -> list[dict[str, object]]:
    return list(ApogeeCoaddedSpectrumInApStar.select().order_by(ApogeeCoaddedSpectrumInApStar.obj).dicts())


def test_all_of_a_release(database: peewee.Database, apogee: Path) -> None:
    files = sorted(apogee.glob("aspcapStar-*.fits"))

    report = ingest_spectra(files)

    assert (report.refused, len(files)) == ([], 13)
    assert report.tables["aspcap"].inserted == ASPCAP.select().count() == Spectrum.select().count() == 13
    assert Source.select().count() == 13
    again = ingest_spectra(files)
    assert again.is_unchanged
    assert again.tables["aspcap"].unchanged == 13


def test_its_row(database: peewee.Database, apogee: Path) -> None:
    ingest_spectra([aspcap_star(apogee)])

    row, spectrum, source = ASPCAP.get(), ApogeeCoaddedSpectrumInApStar.get(), Source.get()
    assert (row.spectrum_pk, row.source_pk, spectrum.source_pk) == (spectrum.spectrum_pk, source.pk, source.pk)
    assert (row.v_astra, source.sdss4_apogee_id) == (13, DWARF)
    assert (row.teff, row.logg, row.m_h_atm, row.e_teff, row.fe_h) == (None,) * 5
    found = (row.raw_teff, row.raw_logg, row.raw_v_micro, row.raw_m_h_atm, row.raw_c_m_atm, row.raw_n_m_atm)
    assert found == pytest.approx((2500.6, 1.0209, 10**0.2219545, -2.2223, 0.15378, -0.98104), rel=1e-6)
    assert (row.raw_alpha_m_atm, row.raw_e_teff) == pytest.approx((0.045673, 0.12836**0.5), rel=1e-4)
    assert row.rchi2 == pytest.approx(30.789312)


def test_calibrated_parameters(database: peewee.Database, apogee: Path) -> None:
    ingest_spectra([aspcap_star(apogee, "2M05392474+4038437")])

    row = ASPCAP.get()
    assert (row.teff, row.logg, row.raw_logg) == pytest.approx((2626.7, 3.4521499, 3.4982), rel=1e-6)


def test_its_pixels(database: peewee.Database, apogee: Path) -> None:
    ingest_spectra([aspcap_star(apogee)])
    row = ASPCAP.get()

    flux, error, model = row.normalised_flux, row.e_normalised_flux, row.model_flux

    with fits.open(aspcap_star(apogee)) as hdus:
        there = hdus[2].data != 0
        for array, hdu in ((flux, hdus[1]), (error, hdus[2]), (model, hdus[3])):
            assert array.shape == row.wavelength.shape == (8575,)
            assert (np.isfinite(array) == there).all()
            np.testing.assert_array_equal(array[there], hdu.data[there])
    assert (~there).sum() == 1061
    with pytest.raises(MissingPixelsError, match="an aspcapStar file doesn't have it; it has normalised_flux"):
        _ = row.continuum


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["results last", "results first"])
@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
def test_beside_its_ap_star(database: peewee.Database, apogee: Path, order: tuple[int, int], together: bool) -> None:
    stars = (DWARF, *OTHERS)
    ingest_spectra([ap_star(apogee, star) for star in stars])
    alone = [{name: row[name] for name in KEPT} for row in spectra()]
    for model in (ApogeeCoaddedSpectrumInApStar, ASPCAP):
        model.delete().execute()

    kinds = ([ap_star(apogee, star) for star in stars], [aspcap_star(apogee, star) for star in stars])
    one, other = kinds[order[0]], kinds[order[1]]
    for files in [one + other] if together else [one, other]:
        assert ingest_spectra(files, again=True).refused == []

    assert [{name: row[name] for name in KEPT} for row in spectra()] == alone
    assert ASPCAP.select().count() == Source.select().count() == 3
    assert {row.spectrum_pk for row in ASPCAP.select()} == {row["spectrum_pk"] for row in spectra()}
    assert ApogeeCoaddedSpectrumInApStar.get(obj=DWARF).flux.shape == (8575,)


def test_an_ap_star_stays_known_and_its_revision_the_same(database: peewee.Database, apogee: Path) -> None:
    ingest_spectra([ap_star(apogee)])
    before = spectra()

    ingest_spectra([aspcap_star(apogee)])
    report = ingest_spectra([ap_star(apogee), aspcap_star(apogee)])

    assert (report.known, report.is_unchanged) == (1, True)
    assert spectra() == before


def write_all_star(path: Path) -> dict[str, object]:
    Table(
        {
            "APOGEE_ID": [DWARF],
            "FILE": [f"apStar-r6-{DWARF}.fits"],
            "TELESCOPE": ["apo25m"],
            "FIELD": ["120-45"],
            "TEFF": [2550.0],
            "FE_H": [-0.5],
            "FPARAM": [[2500.6, 1.0, 0.2, -2.2, 0.1, -0.9, 0.0, 0.0, 0.0]],
        }
    ).write(path)
    return {"like": "apogee_allstar", "release": "dr13", "v_astra": "0.0.13"}


@pytest.mark.parametrize("catalogue_first", [True, False])
def test_beside_its_all_star(database: peewee.Database, apogee: Path, tmp_path: Path, catalogue_first: bool) -> None:
    mapping = write_all_star(tmp_path / "allStar.fits")
    if catalogue_first:
        ingest_result_file(tmp_path / "allStar.fits", mapping=mapping)
        with pytest.raises(MissingPixelsError, match="ingest its aspcapStar file"):
            _ = ASPCAP.get().model_flux
        ingest_spectra([aspcap_star(apogee)])
    else:
        ingest_spectra([aspcap_star(apogee)])
        ingest_result_file(tmp_path / "allStar.fits", mapping=mapping)

    (row,) = ASPCAP.select()
    assert Source.select().count() == Spectrum.select().count() == 1
    assert (row.teff, row.fe_h) == (2550.0, -0.5)  # of which the aspcapStar has nothing
    assert row.raw_m_h_atm == pytest.approx(-2.2223 if catalogue_first else -2.2)
    assert np.isfinite(row.model_flux).any()


@pytest.mark.parametrize(("apred", "release"), [("r6", "dr13"), ("r8", "dr14"), ("r12", "dr16"), ("dr17", "dr17")])
def test_the_version_is_that_of_the_release(
    database: peewee.Database, apogee: Path, tmp_path: Path, apred: str, release: str
) -> None:
    report = ingest_spectra([changed(aspcap_star(apogee), tmp_path, FILE=f"apStar-{apred}-{DWARF}.fits")])

    assert report.refused == []
    assert ASPCAP.get().v_astra == int(release[2:])
    assert (ApogeeCoaddedSpectrumInApStar.get().release, ApogeeCoaddedSpectrumInApStar.get().apred) == (release, apred)


def test_without_a_known_release(database: peewee.Database, apogee: Path, tmp_path: Path) -> None:
    path = changed(aspcap_star(apogee), tmp_path, FILE=f"apStar-t9-{DWARF}.fits")

    report = ingest_spectra([path, aspcap_star(apogee)])

    ((refused, reason),) = report.refused
    assert (refused, report.ingested) == (str(path), 1)
    assert "'t9'" in reason
    assert "astra ingest --release" in reason
    assert ingest_spectra([path], release="dr14").refused == []
    assert sorted(row.v_astra for row in ASPCAP.select()) == [13, 14]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_beside_its_ap_star_of_an_unknown_reduction(
    database: peewee.Database, apogee: Path, tmp_path: Path, order: tuple[int, int]
) -> None:
    files = [tmp_path / ap_star(apogee).name, changed(aspcap_star(apogee), tmp_path, FILE=f"apStar-t9-{DWARF}.fits")]
    with fits.open(ap_star(apogee)) as hdus:
        hdus[0].header["APRED"] = "t9"
        hdus.writeto(files[0], output_verify="silentfix")

    for place in order:
        assert ingest_spectra([files[place]], release="dr14").refused == []

    (spectrum,) = spectra()
    assert (spectrum["apred"], spectrum["path"]) == ("t9", str(files[0]))
    assert [(row.spectrum_pk, row.v_astra) for row in ASPCAP.select()] == [(spectrum["spectrum_pk"], 14)]


@pytest.mark.parametrize("release", ["dr14", "sdss5"])
def test_another_release_than_it_is_of(database: peewee.Database, apogee: Path, release: str) -> None:
    ((_, reason),) = ingest_spectra([aspcap_star(apogee)], release=release).refused

    assert f"is that of dr13, and not of '{release}'" in reason


def test_what_is_no_release() -> None:
    for release in ("sdss4", "dr0", "dr41", "dr1", "dr\u0661\u0664"):
        with pytest.raises(ValueError, match=f"'{release}' is no data release"):
            release_of("t9", release)
    assert release_of("t9", "DR15") == "dr15"
    assert version_of("dr15") == 15


def test_the_one_metre_telescope(database: peewee.Database, apogee: Path, tmp_path: Path) -> None:
    ingest_spectra([changed(aspcap_star(apogee), tmp_path, LOCATION_ID=1)])

    assert ApogeeCoaddedSpectrumInApStar.get().telescope == "apo1m"


def test_without_identifier(database: peewee.Database, apogee: Path, tmp_path: Path) -> None:
    ((_, reason),) = ingest_spectra([changed(aspcap_star(apogee), tmp_path, FILE="nothing")]).refused

    assert "it is an aspcapStar without identifier" in reason


@pytest.mark.parametrize("length", [2880, 30_000, 60_000, 95_000, 112_000, 120_000])
def test_a_truncated_one(database: peewee.Database, apogee: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.fits"
    path.write_bytes(aspcap_star(apogee).read_bytes()[:length])

    report = ingest_spectra([path, aspcap_star(apogee, OTHERS[0])])

    assert [refused for refused, _ in report.refused] == [str(path)]
    assert ASPCAP.select().count() == 1


def test_its_pixels_when_the_file_is_gone(database: peewee.Database, apogee: Path, tmp_path: Path) -> None:
    path = tmp_path / "aspcapStar.fits"
    shutil.copy(aspcap_star(apogee), path)
    ingest_spectra([path])
    path.unlink()

    with pytest.raises(MissingPixelsError, match=r"there is no file .*aspcapStar\.fits"):
        _ = ASPCAP.get().normalised_flux


def test_what_it_would_become(apogee: Path) -> None:
    preview = preview_spectra(sorted(apogee.glob("aspcapStar-*.fits")))

    assert preview.rows == {"source": 13, "apogee_coadded_spectrum_in_ap_star": 13, "aspcap": 13}
    assert {"raw_teff", "v_astra", "pwd"} <= preview.columns["aspcap"].keys()


@pytest.mark.sqlite_only(reason="what is read of a file doesn't depend on the database")
def test_damaged_bytes_never_take_another_file_along(database: peewee.Database, apogee: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(18)
    whole = aspcap_star(apogee).read_bytes()
    paths = []
    for number in range(60):
        content = bytearray(whole)
        headers = (0, whole.index(b"XTENSION"), whole.index(b"XTENSION= 'BINTABLE'"))
        for start in headers:
            for place in start + random.integers(0, 2880 * 4, 8):
                content[place] = random.integers(32, 127)
        paths.append(tmp_path / f"{number}.fits")
        paths[-1].write_bytes(content)

    report = ingest_spectra([*paths, aspcap_star(apogee, OTHERS[0])])

    assert report.files == 61
    assert 0 < len(report.refused) < 61
    assert all(reason.isprintable() for _, reason in report.refused)
    assert ApogeeCoaddedSpectrumInApStar.get(obj=OTHERS[0]).source_pk is not None
