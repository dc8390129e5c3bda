"""Summary products: the layout that the survey publishes, and every row in its place."""

from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.io import fits

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import NothingToWriteError, OutputExistsError, UnknownProductError
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.products.summary import product_named, products, write_product
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from tests.fits_readers import fitsverify, needs_fitsverify, opened, rows_of

pytestmark = pytest.mark.long_on_each

SHARED = {"release": "dr19", "telescope": "apo25m"}
VISIT = {"plate": "1", "mjd": 59_000, "fiber": 3, "field": "f", "prefix": "ap", "apred": "1.3", "obj": "2M"}
STAR = {"apred": "1.3", "obj": "2M"}
BOSS = {"run2d": "v6", "mjd": 59_001, "fieldid": 7, "catalogid": 70}


@pytest.fixture
def survey(database: peewee.Database) -> dict[str, int]:
    """Store one spectrum of every kind, and one of no kind, of a source; gives their keys by the kind's name."""
    source = Source.create(sdss_id=54_392_544, ra=266.5, catalogid=1, sdss5_target_flags=bytes(57), n_boss_visits=None)
    rows: dict[Any, dict[str, Any]] = {
        BossCombinedSpectrum: {"v_astra": 9000, "sdss_id": 54_392_544, "run2d": "v6", "v_rad": 10.0},
        ApogeeCombinedSpectrum: {"v_astra": 8001, "sdss_id": 54_392_544, **STAR},
        ApogeeCoaddedSpectrumInApStar: {**STAR, "v_rad": 20.0},
        BossVisitSpectrum: {**BOSS, "spec_file": "s", "delta_ra": [1.0, 2.0]},
        ApogeeVisitSpectrum: {**VISIT, "v_rad": 30.0, "jd": 2.4e6},
        BossRestFrameVisitSpectrum: {**BOSS, "v_astra": 9000, "sdss_id": 54_392_544},
        ApogeeRestFrameVisitSpectrum: {**VISIT, "v_astra": 9000, "sdss_id": 54_392_544},
        ApogeeVisitSpectrumInApStar: VISIT,
    }
    keys = {}
    for model, columns in rows.items():
        keys[model.__name__] = key = Spectrum.create().pk
        if "drp_spectrum_pk" in model._meta.fields:
            drp = BossVisitSpectrum if model is BossRestFrameVisitSpectrum else ApogeeVisitSpectrum
            columns = columns | {"drp_spectrum_pk": keys[drp.__name__]}
        model.create(spectrum_pk=key, source_pk=source.pk, **SHARED, **columns)
    return keys | {"none": Spectrum.create().pk}


def analyse(model: Any, keys: dict[str, int], **columns: Any) -> None:
    source = Source.select().first()
    upsert(model, [{"spectrum_pk": key, "source_pk": source.pk, **columns} for key in keys.values()])


def test_results_of_stars_and_of_visits(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(ApogeeNet, survey, v_astra=9000, teff=5000.0)
    stars = write_product("astraAllStarApogeeNet", tmp_path)
    visits = write_product("astraAllVisitApogeeNet", tmp_path)

    assert stars.file.rows == {"BOSS": 1, "APOGEE": 2}
    assert visits.file.rows == {"BOSS": 2, "APOGEE": 3}
    assert (stars.elsewhere, visits.elsewhere) == (6, 4)
    with opened(stars.file.path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "BOSS", "APOGEE"]
        assert hdus["BOSS"].data["spectrum_pk"].tolist() == [survey["BossCombinedSpectrum"]]
        apogee = [survey["ApogeeCombinedSpectrum"], survey["ApogeeCoaddedSpectrumInApStar"]]
        assert hdus["APOGEE"].data["spectrum_pk"].tolist() == apogee
        assert hdus["APOGEE"].data["teff"].tolist() == [5000, 5000]
        assert hdus["APOGEE"].data["ra"].tolist() == [266.5, 266.5]


def test_names_and_provenance(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(ApogeeNet, survey, v_astra=8_001)
    analyse(ApogeeNet, survey, v_astra=9_002)
    newest = write_product("astraallstarapogeenet", tmp_path / "new", run_id="5f1c")
    assert Path(newest.file.path).name == "astraAllStarApogeeNet-0.9.2.fits.gz"
    assert Path(write_product("astraAllStarApogeeNet", tmp_path, "0.8").file.path).name.endswith("-0.8.1.fits.gz")
    with opened(newest.file.path) as hdus:
        header = hdus[0].header
        found = {name: header[name] for name in ("PRODUCT", "PIPELINE", "V_ASTRA", "RUN_ID")}
        assert set(hdus["APOGEE"].data["v_astra"]) == {9002}
        assert header["SOFTWARE"].startswith("astra-orchestration")
        assert header["CREATED"].startswith("20")
    expected = {"PRODUCT": "astraAllStarApogeeNet", "PIPELINE": "ApogeeNet", "V_ASTRA": "0.9.2", "RUN_ID": "5f1c"}
    assert found == expected


def test_an_instrument_without_rows_is_there(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(ApogeeNet, {"star": survey["ApogeeCoaddedSpectrumInApStar"]}, teff=5000.0)
    with opened(write_product("astraAllStarApogeeNet", tmp_path).file.path) as hdus:
        assert (len(hdus["BOSS"].data), len(hdus["APOGEE"].data)) == (0, 1)
        assert "run2d" in hdus["BOSS"].columns.names


def test_columns_of_the_same_name_are_not_lost(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(Corv, survey, v_astra=9000, v_rad=-5.0)
    with opened(write_product("astraAllStarCorv", tmp_path).file.path) as hdus:
        [row] = rows_of(hdus["BOSS"])
        assert (row["v_rad"], row["corv_v_rad"]) == (10.0, -5.0)
        assert (row["v_astra"], row["spectrum_v_astra"]) == (9000, 9000)
        assert len(set(hdus["BOSS"].columns.names)) == len(hdus["BOSS"].columns.names)
    with opened(write_product("astraAllVisitCorv", tmp_path).file.path) as hdus:
        row = rows_of(hdus["BOSS"])[0]
        assert (row["catalogid"], row["spectrum_catalogid"]) == (1, 70)
        assert row["delta_ra"] == [1.0, 2.0]


def test_a_visit_in_an_apstar_has_what_its_reduction_says(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(ApogeeNet, {"visit": survey["ApogeeVisitSpectrumInApStar"]})
    with opened(write_product("astraAllVisitApogeeNet", tmp_path).file.path) as hdus:
        [row] = rows_of(hdus["APOGEE"])
    assert (row["filetype"], row["jd"], row["v_rad"]) == ("apStar", 2.4e6, 30.0)
    assert row["drp_spectrum_pk"] == survey["ApogeeVisitSpectrum"]


def test_results_without_a_source_stay(survey: dict[str, int], tmp_path: Path) -> None:
    upsert(ApogeeNet, [{"spectrum_pk": survey["ApogeeCombinedSpectrum"], "teff": 5000.0}])
    with opened(write_product("astraAllStarApogeeNet", tmp_path).file.path) as hdus:
        [row] = rows_of(hdus["APOGEE"])
    assert (row["source_pk"], row["ra"], row["teff"]) == (None, None, 5000.0)
    assert row["sdss_id"] == 54_392_544  # the spectrum says so


def test_products_of_the_survey(survey: dict[str, int], tmp_path: Path) -> None:
    assert write_product("mwmTargets", tmp_path).file.rows == {"MWM": 1}
    assert write_product("mwmAllStar", tmp_path, "0.9").file.rows == {"BOSS": 1, "APOGEE": 1}
    assert write_product("mwmAllVisit", tmp_path).file.rows == {"BOSS": 1, "APOGEE": 1}
    with opened(tmp_path / "mwmAllVisit-0.9.0.fits.gz") as hdus:
        assert rows_of(hdus["APOGEE"])[0]["v_rad"] == 30.0


def test_the_adopted_results(survey: dict[str, int], tmp_path: Path) -> None:
    source = Source.select().first()
    key = survey["ApogeeCoaddedSpectrumInApStar"]
    columns = {"release": "dr19", "filetype": "apStar", "telescope": "apo25m", "teff": 4000.0}
    MWMBest.create(spectrum_pk=key, source_pk=source.pk, v_astra=9000, **columns)
    with opened(write_product("astraMWMLite", tmp_path).file.path) as hdus:
        [row] = rows_of(hdus[1])
    assert (row["sdss_id"], row["teff"], row["spectrum_pk"]) == (54_392_544, 4000.0, key)


def test_there_is_a_product_of_every_pipeline() -> None:
    names = set(products())
    assert {"mwmTargets", "mwmAllStar", "mwmAllVisit", "astraMWMLite"} <= names
    assert {"astraAllStarASPCAP", "astraAllVisitBossNet", "astraAllStarSlam"} <= names
    assert "astraAllStarMWMBest" not in names


@pytest.mark.parametrize("name", list(products()))
def test_names_of_columns_differ_by_more_than_capitals(memory_database: peewee.Database, name: str) -> None:
    for table in product_named(name).tables(9):
        names = [column.name.lower() for column in table.selection.columns]
        assert sorted(set(names)) == sorted(names)


def test_no_product_without_rows(database: peewee.Database, tmp_path: Path) -> None:
    with pytest.raises(NothingToWriteError, match="there are no rows for astraAllStarCorv of version"):
        write_product("astraAllStarCorv", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_none(memory_database: peewee.Database) -> None:
    with pytest.raises(UnknownProductError, match="did you mean astraAllStarCorv"):
        product_named("astraAllStarKorv")


def test_a_product_is_replaced_only_if_asked(survey: dict[str, int], tmp_path: Path) -> None:
    first = write_product("mwmTargets", tmp_path)
    with pytest.raises(OutputExistsError):
        write_product("mwmTargets", tmp_path)
    Source.create(sdss_id=1)
    assert write_product("mwmTargets", tmp_path, overwrite=True).file.sha256 != first.file.sha256


@needs_fitsverify
def test_fitsverify_finds_nothing_wrong(survey: dict[str, int], tmp_path: Path) -> None:
    for model in (ApogeeNet, Corv):
        analyse(model, survey, v_astra=9000)
    names = ("astraAllStarApogeeNet", "astraAllVisitCorv", "mwmTargets", "mwmAllStar", "mwmAllVisit")
    assert [fitsverify(write_product(name, tmp_path).file.path) for name in names] == [""] * len(names)


PUBLISHED = {
    "mwmAllStar": [
        """
        sdss_id sdss4_apogee_id spectrum_pk source_pk release filetype v_astra run2d telescope min_mjd
        max_mjd n_visits n_good_visits n_good_rvs v_rad xcsao_teff xcsao_meanrxc snr
        gri_gaia_transform_flags zwarning_flags nmf_rchi2
        """,
        """
        apogee_max_mjd source_pk star_pk spectrum_pk release filetype apred apstar obj telescope field
        prefix min_mjd max_mjd n_entries n_visits snr mean_fiber std_fiber spectrum_flags v_rad doppler_teff
        ccfwhm n_components
        """,
    ],
    "mwmAllVisit": [
        """
        spectrum_pk source_pk release filetype run2d mjd fieldid n_exp exptime plateid alt az telescope
        seeing tai_beg fiber_offset f_night_time delta_ra snr zwarning_flags xcsao_v_rad xcsao_teff
        xcsao_rxc
        """,
        """
        spectrum_pk source_pk star_pk visit_pk rv_visit_pk release filetype apred plate telescope fiber mjd
        field prefix reduction obj date_obs jd exptime dithered fps snr spectrum_flags v_rad v_rel e_v_rel
        bc doppler_teff
        """,
    ],
    "astraAllStarApogeeNet": [
        """
        sdss_id spectrum_pk source_pk v_astra run2d task_pk created t_elapsed t_overhead tag teff e_teff
        result_flags flag_warn flag_bad
        """,
        """
        sdss_id source_pk spectrum_pk apred task_pk v_astra created t_elapsed t_overhead tag teff e_teff
        result_flags flag_warn flag_bad
        """,
    ],
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_columns_are_in_the_published_order(survey: dict[str, int], tmp_path: Path, name: str) -> None:
    analyse(ApogeeNet, survey, v_astra=9000)
    with opened(write_product(name, tmp_path).file.path) as hdus:
        for hdu, published in zip(hdus[1:], PUBLISHED[name], strict=True):
            wanted = published.split()
            assert [column for column in hdu.columns.names if column in wanted] == wanted


def test_the_layout_does_not_depend_on_the_rows(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(ApogeeNet, survey, v_astra=9000)
    analyse(ApogeeNet, {"star": survey["ApogeeCoaddedSpectrumInApStar"]}, v_astra=8000)
    layouts = []
    for version in ("0.8", "0.9"):
        with opened(write_product("astraAllStarApogeeNet", tmp_path, version).file.path) as hdus:
            layouts.append([_layout(hdu) for hdu in hdus[1:]])
    assert layouts[0] == layouts[1]


def _layout(hdu: fits.BinTableHDU) -> list[tuple[str, str, Any]]:
    """Names, types and missing values; lengths of text and lists are the rows' own."""
    return [(column.name, column.format.lstrip("0123456789"), column.null) for column in hdu.columns]


def test_conditions_of_flags(survey: dict[str, int], tmp_path: Path) -> None:
    analyse(ApogeeNet, {"a": survey["BossCombinedSpectrum"]}, result_flags=0)
    analyse(ApogeeNet, {"b": survey["ApogeeCombinedSpectrum"]}, result_flags=2**62)
    with opened(write_product("astraAllStarApogeeNet", tmp_path).file.path) as hdus:
        assert not hdus["BOSS"].data["flag_warn"][0]
        assert hdus["APOGEE"].data["flag_warn"].dtype == np.bool_
        assert hdus["APOGEE"].data["flag_warn"][0] == ApogeeNet(result_flags=2**62).flag_warn
