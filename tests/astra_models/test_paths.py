"""Where files are: templates that rows fill, and roots that the configuration says."""

from pathlib import Path
from typing import Any

import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import ConfigurationError, MissingPixelsError
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.spectrum import SpectrumMixin

VISIT = {
    "apred": "1.3",
    "telescope": "apo25m",
    "field": "18956",
    "plate": "1500",
    "mjd": 59900,
    "fiber": 7,
    "prefix": "ap",
}
STAR = {"apred": "1.3", "apstar": "stars", "telescope": "lco25m", "healpix": 28656, "obj": "2M00", "field": "120-45"}
BOSS = {"run2d": "v6_2_1", "fieldid": 15000, "mjd": 59900, "catalogid": 77, "spec_file": "spec-015000-59900-77.fits"}
MWM = {"v_astra": 8001, "sdss_id": 54392544}


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAS_BASE_DIR", "/sas")
    monkeypatch.setenv("MWM_ASTRA", "/astra")


@pytest.mark.parametrize(
    ("row", "path"),
    [
        (
            ApogeeVisitSpectrum(release="sdss5", **VISIT),
            "sas/sdsswork/mwm/apogee/spectro/redux/1.3/visit/apo25m/18956/1500/59900/apVisit-1.3-apo25m-1500-59900-007.fits",
        ),
        (
            ApogeeVisitSpectrum(release="dr17", **VISIT | {"apred": "dr17", "prefix": "as"}),
            "sas/dr17/apogee/spectro/redux/dr17/visit/apo25m/18956/1500/59900/asVisit-dr17-1500-59900-007.fits",
        ),
        (
            ApogeeCoaddedSpectrumInApStar(release="dr19", **STAR),
            "sas/dr19/spectro/apogee/redux/1.3/stars/lco25m/28/28656/apStar-1.3-lco25m-2M00.fits",
        ),
        (
            ApogeeVisitSpectrumInApStar(release="dr17", **STAR | {"prefix": "as"}),
            "sas/dr17/apogee/spectro/redux/1.3/stars/lco25m/120-45/asStar-1.3-2M00.fits",
        ),
        (
            BossVisitSpectrum(release="sdss5", **BOSS),
            "sas/sdsswork/bhm/boss/spectro/redux/v6_2_1/spectra/daily/full/015XXX/015000/59900/spec-015000-59900-77.fits",
        ),
        (
            BossVisitSpectrum(release="sdss5", **BOSS | {"run2d": "v6_1_3", "fieldid": 9500}),
            "sas/sdsswork/bhm/boss/spectro/redux/v6_1_3/spectra/full/009500/59900/spec-015000-59900-77.fits",
        ),
        (
            BossVisitSpectrum(release="sdss5", **BOSS | {"run2d": "v6_2_0", "fieldid": 9500}),
            "sas/sdsswork/bhm/boss/spectro/redux/v6_2_0/spectra/daily/full/009XXX/009500/59900/spec-015000-59900-77.fits",
        ),
        (
            BossVisitSpectrum(release="sdss5", **BOSS | {"run2d": "v6_0_4", "fieldid": 15020}),
            "sas/sdsswork/bhm/boss/spectro/redux/v6_0_4/spectra/full/15020p/59900/spec-015000-59900-77.fits",
        ),
        (
            BossVisitSpectrum(
                release="dr17", **BOSS | {"run2d": "v5_13_2", "fieldid": 618, "spec_file": "spec-0618.fits"}
            ),
            "sas/dr17/eboss/spectro/redux/v5_13_2/spectra/full/0618/spec-0618.fits",
        ),
        (BossCombinedSpectrum(release="dr20", **MWM), "astra/0.8.1/spectra/star/25/44/mwmStar-0.8.1-54392544.fits"),
        (ApogeeCombinedSpectrum(release="dr20", **MWM), "astra/0.8.1/spectra/star/25/44/mwmStar-0.8.1-54392544.fits"),
        (
            BossRestFrameVisitSpectrum(release="sdss5", v_astra=8001, sdss_id=7),
            "astra/0.8.1/spectra/visit/00/07/mwmVisit-0.8.1-7.fits",
        ),
        (
            ApogeeRestFrameVisitSpectrum(release="sdss5", **MWM),
            "astra/0.8.1/spectra/visit/25/44/mwmVisit-0.8.1-54392544.fits",
        ),
    ],
)
def test_rows_fill_the_template_of_their_release(tree: None, row: Any, path: str) -> None:
    assert row.absolute_path == f"/{path}"


def test_every_kind_has_templates() -> None:
    for model in SpectrumMixin.concrete_models():
        if model.__module__.startswith("astra_models."):
            assert model.path_templates, model


def test_a_path_of_the_row_counts_before_the_template(tree: None) -> None:
    assert BossVisitSpectrum(release="sdss5", path="/data/x.fits", **BOSS).absolute_path == "/data/x.fits"


@pytest.mark.lesson(55)
@pytest.mark.parametrize(
    ("row", "variable"),
    [
        (BossVisitSpectrum(release="sdss5", **BOSS), "SAS_BASE_DIR"),
        (BossCombinedSpectrum(release="x", **MWM), "MWM_ASTRA"),
    ],
)
def test_a_root_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, row: Any, variable: str) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match=f"{variable} is not set"):
        assert row.flux


def test_the_root_may_be_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "astra.yml").write_text("products:\n  sas: $SOMEWHERE/sas\n  astra: /products/astra\n")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))
    monkeypatch.setenv("SOMEWHERE", "/elsewhere")
    assert BossVisitSpectrum(release="sdss5", **BOSS).absolute_path.startswith("/elsewhere/sas/sdsswork/")
    assert BossCombinedSpectrum(release="sdss5", **MWM).absolute_path.startswith("/products/astra/0.8.1/")


def test_a_root_that_is_misspelt_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "astra.yml").write_text("products:\n  sass: /x\n")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))
    with pytest.raises(ConfigurationError, match=r"products: .*sass.* sas and astra"):
        assert BossVisitSpectrum(release="sdss5", **BOSS).absolute_path


def test_a_release_without_template_is_an_error(tree: None) -> None:
    with pytest.raises(
        MissingPixelsError, match=r"spectrum_pk 3 has no file.*release 'dr7' is not known \(known: sdss5"
    ):
        assert BossVisitSpectrum(release="dr7", spectrum_pk=3, **BOSS).absolute_path


def test_an_empty_column_that_is_needed_is_named(tree: None) -> None:
    with pytest.raises(MissingPixelsError, match="can't be told without its healpix"):
        assert ApogeeCoaddedSpectrumInApStar(release="sdss5", **STAR | {"healpix": None}).absolute_path
