"""Pixels of every kind of spectrum, from files built as the survey builds them, with the traps of their formats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spectrum_files import (
    MISSING,
    N_APOGEE,
    N_BOSS,
    write_apstar,
    write_apvisit,
    write_mwm_star,
    write_mwm_visit,
    write_spec_full,
)

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingPixelsError
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.pixels import error_to_ivar, pixel_arrays, usable_ivar
from astra_models.spectrum import SpectrumMixin

BOSS_VISIT = {"mjd": 59900, "fieldid": 15000, "catalogid": 77, "run2d": "v6_2_1"}
APOGEE_VISIT = {"mjd": 59000, "fiber": 131, "plate": "6561", "field": "120-45", "apred": "1.3", "reduction": ""}


def visit_in_apstar(path: Path, i: int, **columns: Any) -> ApogeeVisitSpectrumInApStar:
    return ApogeeVisitSpectrumInApStar(
        path=str(path), **({"plate": "6561", "mjd": 56580 + i, "fiber": 130 + i, "spectrum_pk": 5} | columns)
    )


@pytest.fixture
def one_of_each(tmp_path: Path) -> list[SpectrumMixin]:
    star = str(write_mwm_star(tmp_path / "mwmStar.fits", {1: {}, 3: {}}))
    visit = str(write_mwm_visit(tmp_path / "mwmVisit.fits", {1: [BOSS_VISIT], 3: [APOGEE_VISIT]}))
    apstar = write_apstar(tmp_path / "apStar.fits")
    return [
        BossVisitSpectrum(path=str(write_spec_full(tmp_path / "spec.fits"))),
        ApogeeVisitSpectrum(path=str(write_apvisit(tmp_path / "apVisit.fits"))),
        visit_in_apstar(apstar, 2),
        ApogeeCoaddedSpectrumInApStar(path=str(apstar)),
        BossCombinedSpectrum(path=star, telescope="apo25m"),
        ApogeeCombinedSpectrum(path=star, telescope="apo25m"),
        BossRestFrameVisitSpectrum(path=visit, telescope="apo25m", **BOSS_VISIT),
        ApogeeRestFrameVisitSpectrum(path=visit, telescope="apo25m", **APOGEE_VISIT),
    ]


def test_every_kind_is_tested(one_of_each: list[SpectrumMixin]) -> None:
    kinds = [model for model in SpectrumMixin.concrete_models() if model.__module__.startswith("astra_models.")]
    assert {type(row) for row in one_of_each} == set(kinds)


@pytest.mark.lesson(54)
def test_all_arrays_of_every_kind(one_of_each: list[SpectrumMixin]) -> None:
    for row in one_of_each:
        shape = row.flux.shape
        for name in pixel_arrays(type(row)):
            array = getattr(row, name)
            assert array.shape == shape, f"{type(row).__name__}.{name}"
            assert array.dtype.isnative
        assert (np.diff(np.ravel(row.wavelength)) > 0).all()
        assert np.isfinite(row.ivar).all()
        assert (row.ivar >= 0).all()
        assert (row.ivar == 0).any()
        np.testing.assert_array_equal(np.isinf(row.e_flux), row.ivar == 0)
        assert (row.e_flux[row.ivar > 0] == 0.5).all()
        assert row.pixel_flags.dtype.kind == "i"


def test_rows_are_not_mixed_up_by_the_order_of_reading(one_of_each: list[SpectrumMixin]) -> None:
    for row in one_of_each:
        names = list(pixel_arrays(type(row)))
        first = {name: np.array(getattr(row, name)) for name in names}
        row.release_pixels()
        for name in reversed(names):
            np.testing.assert_array_equal(getattr(row, name), first[name])


# ---- apVisit


def test_the_chips_of_an_ap_visit_are_turned_round(tmp_path: Path) -> None:
    visit = ApogeeVisitSpectrum(path=str(write_apvisit(tmp_path / "apVisit.fits")))
    assert visit.flux.shape == (3, 4096)
    assert visit.flux[:, 0].tolist() == [10, 20, 30]  # blue, green, red
    np.testing.assert_allclose(visit.wavelength[:, 0], [15143, 15858, 16473])
    np.testing.assert_allclose(visit.wavelength[:, -1], [15811, 16436, 16955])
    assert visit.pixel_flags[2, -1] == 1
    assert np.flatnonzero(visit.pixel_flags).size == 1


@pytest.mark.lesson(54)
def test_unusable_pixels_of_an_ap_visit_have_no_weight(tmp_path: Path) -> None:
    visit = ApogeeVisitSpectrum(path=str(write_apvisit(tmp_path / "apVisit.fits")))
    assert np.argwhere(visit.ivar == 0).tolist() == [[0, 0], [2, 4095]]  # not a number, and 7e6


# ---- apStar


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n_visits", [1, 2, 5])
def test_the_visits_of_an_ap_star(tmp_path: Path, n_visits: int, wide: bool) -> None:
    path = write_apstar(tmp_path / "apStar.fits", n_visits, wide)
    for i in range(1, n_visits + 1):
        visit = visit_in_apstar(path, i)
        good = visit.ivar > 0
        assert set(visit.flux[good]) == {1 if n_visits == 1 else i + 2}
        assert visit.flux.shape == (N_APOGEE,)
        assert visit.flux.dtype == (np.float64 if wide else np.float32)
    co_add = ApogeeCoaddedSpectrumInApStar(path=str(path))
    assert set(co_add.flux[co_add.ivar > 0]) == {1}


@pytest.mark.lesson(54)
@pytest.mark.parametrize("wide", [False, True])
def test_missing_pixels_are_told_by_flux_and_error(tmp_path: Path, wide: bool) -> None:
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(write_apstar(tmp_path / "apStar.fits", wide=wide)))
    missing = np.zeros(N_APOGEE, bool)
    missing[MISSING] = True  # error 1e10
    missing[400:410] = True  # flux 0, an ordinary error, no bit
    np.testing.assert_array_equal(spectrum.ivar == 0, missing)
    assert spectrum.pixel_flags[MISSING].all()
    assert not spectrum.pixel_flags[400:410].any()


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("apVisit-r6-6561-56587-131.fits", {"plate": "6561"}),
        ("asVisit-dr17-6561-56587-131.fits", {"plate": "6561"}),
        ("apVisit-1.3-apo25m-6561-56587-131.fits", {"plate": "6561"}),
        ("apVisit-r6-0061-56587-131.fits", {"plate": "61"}),
        ("apVisit-r12-56587-VESTA.fits", {"plate": "", "reduction": "VESTA"}),
    ],
)
def test_a_visit_is_found_by_the_name_of_its_file(tmp_path: Path, name: str, columns: dict[str, Any]) -> None:
    path = write_apstar(tmp_path / "apStar.fits", n_visits=3, SFILE2=name)
    assert visit_in_apstar(path, 0, mjd=56587, fiber=131, **columns).flux.max() == 4


@pytest.mark.parametrize("wrong", [{"mjd": 50000}, {"fiber": 1}, {"plate": "7000"}])
def test_a_visit_that_is_not_in_the_file_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = write_apstar(tmp_path / "apStar.fits", n_visits=2)
    with pytest.raises(MissingPixelsError, match=r"has no visit of plate .*apVisit-r6-6561-56581-131.fits"):
        assert visit_in_apstar(path, 1, **wrong).flux


def test_rows_that_are_not_two_co_adds_and_the_visits_are_an_error(tmp_path: Path) -> None:
    path = write_apstar(tmp_path / "apStar.fits", n_visits=3, NVISITS=2)
    with pytest.raises(MissingPixelsError, match="has 5 rows for 2 visits"):
        assert visit_in_apstar(path, 1).flux


# ---- BOSS


@pytest.mark.parametrize("upper_case", [True, False])
def test_columns_of_a_spec_file_are_in_either_case(tmp_path: Path, upper_case: bool) -> None:
    visit = BossVisitSpectrum(path=str(write_spec_full(tmp_path / "spec.fits", upper_case=upper_case)))
    assert visit.flux.shape == visit.wresl.shape == visit.pixel_flags.shape == (4600,)


def test_the_grid_of_a_spec_file_is_as_it_is_in_it(tmp_path: Path) -> None:
    visit = BossVisitSpectrum(path=str(write_spec_full(tmp_path / "spec.fits", n_pixels=3834)))
    loglam = (3.5523 + 1e-4 * np.arange(3834)).astype(np.float32)
    np.testing.assert_array_equal(visit.wavelength, 10 ** loglam.astype(np.float64))


# ---- mwmStar, mwmVisit


@pytest.mark.parametrize("key", ["spectrum_pk", "spectrum_pk_id"])
@pytest.mark.parametrize(
    ("model", "telescope", "hdu", "n_pixels"),
    [
        (BossCombinedSpectrum, "apo25m", 1, N_BOSS),
        (BossCombinedSpectrum, "lco25m", 2, N_BOSS),
        (ApogeeCombinedSpectrum, "apo25m", 3, N_APOGEE),
        (ApogeeCombinedSpectrum, "apo1m", 3, N_APOGEE),
        (ApogeeCombinedSpectrum, "lco25m", 4, N_APOGEE),
    ],
)
def test_each_co_add_has_its_table(
    tmp_path: Path, model: Any, telescope: str, hdu: int, n_pixels: int, key: str
) -> None:
    path = str(write_mwm_star(tmp_path / "mwmStar.fits", {hdu: {}}, key=key))
    row = model(path=path, telescope=telescope)
    assert row.flux.shape == row.wavelength.shape == (n_pixels,)
    assert (row.continuum == 2).all()
    assert (row.nmf_rectified_model_flux == 0.5).all()


@pytest.mark.lesson(56)
@pytest.mark.parametrize("telescope", ["apo1m", "magellan", "", None])
@pytest.mark.parametrize("model", [BossCombinedSpectrum, BossRestFrameVisitSpectrum])
def test_a_telescope_without_boss_is_an_error_that_says_so(tmp_path: Path, model: Any, telescope: str | None) -> None:
    row = model(path=str(write_mwm_star(tmp_path / "mwmStar.fits", {1: {}})), telescope=telescope, spectrum_pk=7)
    with pytest.raises(MissingPixelsError, match=f"spectrum_pk 7 has telescope {telescope!r}.* apo25m and lco25m only"):
        assert row.flux


@pytest.mark.lesson(56)
@pytest.mark.parametrize("model", [ApogeeCombinedSpectrum, ApogeeRestFrameVisitSpectrum])
def test_a_telescope_without_apogee_is_an_error_that_says_so(tmp_path: Path, model: Any) -> None:
    row = model(path=str(write_mwm_star(tmp_path / "mwmStar.fits", {3: {}})), telescope="magellan")
    with pytest.raises(MissingPixelsError, match=r"telescope 'magellan'.* apo25m and apo1m and lco25m only"):
        assert row.flux


@pytest.mark.parametrize("model", [BossCombinedSpectrum, ApogeeCombinedSpectrum])
def test_a_table_without_rows_holds_no_data(tmp_path: Path, model: Any) -> None:
    row = model(path=str(write_mwm_star(tmp_path / "mwmStar.fits", {})), telescope="apo25m")
    with pytest.raises(MissingPixelsError, match="holds no data"):
        assert row.flux


def test_flags_that_are_stored_as_floats_are_whole_numbers(tmp_path: Path) -> None:
    row = ApogeeCombinedSpectrum(path=str(write_mwm_star(tmp_path / "mwmStar.fits", {3: {}})), telescope="apo25m")
    assert row.pixel_flags.dtype == np.int64
    assert row.pixel_flags[:3].tolist() == [2**20 + 1, 0, 0]  # the second is not a number


@pytest.mark.lesson(54)
def test_inverse_variances_that_are_none_are_zero(tmp_path: Path) -> None:
    row = BossCombinedSpectrum(path=str(write_mwm_star(tmp_path / "mwmStar.fits", {1: {}})), telescope="apo25m")
    assert row.ivar[:4].tolist() == [0, 0, 0, 4]  # 0, not a number, -1


def test_a_visit_is_the_row_with_its_identifiers(tmp_path: Path) -> None:
    boss = [BOSS_VISIT | {"mjd": 59900 + i} for i in range(3)] + [BOSS_VISIT | {"fieldid": 1}]
    apogee = [APOGEE_VISIT | {"fiber": 131 + i} for i in range(2)] + [APOGEE_VISIT | {"telescope": "apo1m"}]
    path = str(write_mwm_visit(tmp_path / "mwmVisit.fits", {2: boss, 3: apogee}))
    for i, columns in enumerate(boss):
        row = BossRestFrameVisitSpectrum(path=path, telescope="lco25m", **columns)
        assert (set(row.flux), set(row.wresl), row.flux.shape) == ({i + 1}, {1.5}, (N_BOSS,))
    for i, columns in enumerate(apogee):
        row = ApogeeRestFrameVisitSpectrum(path=path, **({"telescope": "apo25m"} | columns))
        assert (set(row.flux), row.flux.shape, row.wavelength.shape) == ({i + 1}, (N_APOGEE,), (N_APOGEE,))


@pytest.mark.parametrize(("mjds", "found"), [([1, 2], 0), ([59900, 59900], 2)])
def test_a_visit_without_a_row_or_with_two_is_an_error(tmp_path: Path, mjds: list[int], found: int) -> None:
    rows = [BOSS_VISIT | {"mjd": mjd} for mjd in mjds]
    path = str(write_mwm_visit(tmp_path / "mwmVisit.fits", {1: rows}))
    with pytest.raises(
        MissingPixelsError, match=f"of the 2 rows .* {found} have mjd 59900, fieldid 15000, catalogid 77"
    ):
        assert BossRestFrameVisitSpectrum(path=path, telescope="apo25m", **BOSS_VISIT).flux


def test_a_co_add_of_several_rows_is_an_error(tmp_path: Path) -> None:
    path = str(write_mwm_visit(tmp_path / "mwmVisit.fits", {1: [BOSS_VISIT, BOSS_VISIT]}))
    with pytest.raises(MissingPixelsError, match="has 2 rows, and no rule says which"):
        assert BossCombinedSpectrum(path=path, telescope="apo25m").flux


# ---- errors and weights


@pytest.mark.lesson(54)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_become_weights_without_a_warning(dtype: Any) -> None:
    error = np.array([2, 0, -0.0, -3, 1e10, 9e9, 1e-30, np.nan, np.inf, -np.inf, 0.5], dtype=dtype)
    before = error.copy()
    ivar = error_to_ivar(error)
    np.testing.assert_array_equal(error, before)
    assert ivar.dtype == dtype
    np.testing.assert_allclose(ivar, [0.25, 0, 0, 0, 0, 1 / 8.1e19, 0, 0, 0, 0, 4], rtol=1e-6)
    flux = np.array([0.0, *np.ones(10)])
    assert error_to_ivar(error, flux)[0] == 0


@pytest.mark.lesson(54)
@pytest.mark.parametrize("bad", [0, -3, 1e-18, np.nan, -np.inf], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weight_does_not_depend_on_the_other_errors(dtype: Any, bad: float) -> None:
    error = np.array([2, 1e10, np.inf, 0.5], dtype=dtype)
    flux = np.array([1, 1, 1, 0], dtype=dtype)
    assert error_to_ivar(error, flux).tolist() == [0.25, 0, 0, 0]
    assert error_to_ivar(np.append(error, dtype(bad)), np.append(flux, dtype(1))).tolist() == [0.25, 0, 0, 0, 0]
    assert error_to_ivar(error[:0], flux[:0]).tolist() == []


def test_whole_numbers_are_errors_too() -> None:
    assert error_to_ivar(np.array([[2, 0], [1, 4]])).tolist() == [[0.25, 0], [1, 0.0625]]


@pytest.mark.lesson(54)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_weights_that_are_none(dtype: Any) -> None:
    good = np.array([0, 1, 2], dtype=dtype)
    assert usable_ivar(good).tolist() == [0, 1, 2]
    if dtype is not np.int32:
        assert usable_ivar(np.array([np.nan, -1, np.inf, 3], dtype=dtype)).tolist() == [0, 0, 0, 3]


# ---- real files


@pytest.mark.parametrize("i", [0, 1, 2])
def test_a_real_ap_visit_and_the_same_visit_in_the_ap_star(real_data: Path, i: int) -> None:
    folder = real_data / "apogee_tools"
    visit = ApogeeVisitSpectrum(path=str(folder / f"apVisit-2M00452143+1634446-{i}.fits"))
    mjd, fiber = [(56587, 131), (56607, 125), (56616, 131)][i]
    star = str(folder / "apStar-r6-2M00452143+1634446.fits")
    resampled = ApogeeVisitSpectrumInApStar(path=star, plate="6561", mjd=mjd, fiber=fiber)
    assert visit.wavelength[:, 0] == pytest.approx([15142.5, 15857, 16472.5], abs=1)
    assert 0.995 < np.mean(visit.ivar > 0) < 1
    # The same light: medians of each chip agree.
    for chip in range(3):
        inside = (resampled.wavelength > visit.wavelength[chip].min()) & (
            resampled.wavelength < visit.wavelength[chip].max()
        )
        inside &= resampled.ivar > 0
        assert np.median(resampled.flux[inside]) == pytest.approx(np.median(visit.flux[chip]), rel=0.03)


def test_a_real_later_ap_visit(real_data: Path) -> None:
    visit = ApogeeVisitSpectrum(path=str(real_data / "doppler" / "apVisit-r13-5095-55844-128.fits"))
    assert visit.flux.shape == visit.ivar.shape == visit.pixel_flags.shape == (3, 4096)
    assert (np.diff(visit.wavelength.ravel()) > 0).all()
