"""Per-pixel arrays: read when first used, never replaced once set, and errors that name what is missing."""

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import AstraError, ConfigurationError, MissingPixelsError
from astra_models.fields import FloatField, LogLambdaArrayAccessor, PixelArray
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pixels import pixel_arrays


@pytest.fixture
def file(tmp_path: Path, write_spec_file: Any) -> Path:
    """Write a spec file of 50 pixels: flux 1 to 2, ivar 4."""
    return write_spec_file(tmp_path / "spec.fits")


@pytest.fixture
def visit(file: Path) -> BossVisitSpectrum:
    """Give a visit, not stored, of that file."""
    return BossVisitSpectrum(path=str(file), spectrum_pk=17)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- reading


def test_arrays_are_read_from_the_file(visit: BossVisitSpectrum) -> None:
    np.testing.assert_allclose(visit.flux, np.linspace(1, 2, 50), rtol=1e-6)
    np.testing.assert_array_equal(visit.ivar, np.full(50, 4))
    np.testing.assert_allclose(visit.wavelength, 10 ** (3.5523 + 1e-4 * np.arange(50)), rtol=1e-6)
    assert visit.pixel_flags.dtype == np.int32
    assert visit.flux.dtype == np.float32
    assert visit.wavelength.dtype == np.float64


def test_columns_may_be_in_upper_case(tmp_path: Path, write_spec_file: Any) -> None:
    visit = BossVisitSpectrum(path=str(write_spec_file(tmp_path / "new.fits", upper_case=True)))
    assert visit.flux.shape == visit.wavelength.shape == (50,)


def test_arrays_are_in_native_byte_order_and_may_be_changed(visit: BossVisitSpectrum) -> None:
    for name in ("flux", "ivar", "wavelength", "pixel_flags"):
        assert getattr(visit, name).dtype.isnative
    visit.flux[0] = 42
    assert visit.flux[0] == 42


def test_a_compressed_file_is_read_as_well(tmp_path: Path, file: Path) -> None:
    compressed = tmp_path / "spec.fits.gz"
    with fits.open(file) as hdus:
        hdus.writeto(compressed)
    assert BossVisitSpectrum(path=str(compressed)).flux.shape == (50,)


@pytest.mark.lesson(51)
def test_only_what_belongs_together_is_read(tmp_path: Path) -> None:
    path = tmp_path / "apStar.fits"
    images = [fits.ImageHDU(np.full((3, 8575), value, dtype=">f4")) for value in (1, 0.5, 0)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    with path.open("r+b") as opened:
        opened.truncate(path.stat().st_size - 100_000)  # into the third image
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(path))
    assert set(spectrum.flux) == {1}
    assert set(spectrum.ivar) == {4}
    assert set(spectrum._pixels_read) == {"flux", "ivar"}
    with pytest.raises(MissingPixelsError, match="pixel_flags: can't read HDU 3"):
        assert spectrum.pixel_flags


@pytest.mark.lesson(51)
def test_a_file_is_opened_once_for_flux_ivar_and_wavelength(visit: BossVisitSpectrum, file: Path) -> None:
    flux = visit.flux
    file.unlink()
    assert visit.ivar.shape == visit.wavelength.shape == (50,)
    assert visit.flux is flux


@pytest.mark.lesson(51)
def test_files_are_closed(visit: BossVisitSpectrum) -> None:
    before = open_files()
    assert visit.flux.any()
    assert open_files() == before


@pytest.mark.lesson(51)
@pytest.mark.parametrize("damage", ["hdu", "column", "truncated", "no FITS"])
def test_files_are_closed_when_reading_fails(tmp_path: Path, write_spec_file: Any, damage: str) -> None:
    path = damaged(tmp_path, write_spec_file, damage)
    before = open_files()
    with pytest.raises(MissingPixelsError):
        assert BossVisitSpectrum(path=str(path)).flux
    assert open_files() == before


@pytest.mark.lesson(51)
def test_arrays_can_be_released_and_are_read_again(visit: BossVisitSpectrum) -> None:
    visit.ivar = np.zeros(50)
    first = visit.flux
    visit.release_pixels()
    assert visit.flux is not first
    np.testing.assert_array_equal(visit.flux, first)
    assert not visit.ivar.any()


def test_a_logarithmic_grid_is_computed_and_needs_no_file() -> None:
    star = BossCombinedSpectrum()
    assert star.wavelength.shape == (4648,)
    np.testing.assert_allclose(star.wavelength[[0, -1]], [10**3.5523, 10 ** (3.5523 + 0.4647)])
    apogee = ApogeeCoaddedSpectrumInApStar()
    assert apogee.wavelength.shape == (8575,)
    np.testing.assert_allclose(apogee.wavelength[[0, -1]], [15100.80, 16999.81], atol=0.01)


@pytest.mark.parametrize(("telescope", "value"), [("apo25m", 1), ("lco25m", 2)])
def test_a_star_has_one_hdu_per_observatory(tmp_path: Path, telescope: str, value: int) -> None:
    path = str(write_star_file(tmp_path / "mwmStar.fits"))
    star = BossCombinedSpectrum(path=path, telescope=telescope)
    assert star.flux.shape == (10,)
    assert set(star.flux) == {value}


def write_star_file(path: Path) -> Path:
    def table(value: float) -> fits.BinTableHDU:
        arrays = [np.full((1, 10), value, dtype=">f4") for _ in range(2)]
        return fits.BinTableHDU.from_columns(
            [fits.Column(name, "10E", array=array) for name, array in zip(("flux", "ivar"), arrays, strict=True)]
        )

    fits.HDUList([fits.PrimaryHDU(), table(1), table(2)]).writeto(path)
    return path


@pytest.mark.parametrize("telescope", ["apo1m", None])
def test_a_star_of_another_telescope_is_an_error_that_says_so(tmp_path: Path, telescope: str | None) -> None:
    star = BossCombinedSpectrum(path=str(write_star_file(tmp_path / "star.fits")), telescope=telescope, spectrum_pk=9)
    with pytest.raises(MissingPixelsError, match=f"spectrum_pk 9 has telescope {telescope!r}.*apo25m and lco25m"):
        assert star.flux


# ---- APOGEE errors to inverse variance


@pytest.mark.lesson(54)
@pytest.mark.parametrize(("n_rows"), [1, 3])
def test_unusable_pixels_have_no_inverse_variance(tmp_path: Path, n_rows: int) -> None:
    error = np.array([2, 0, 1e10, np.nan, np.inf, -1, 7e11], dtype=">f4")
    error = error if n_rows == 1 else np.vstack([error] + [np.ones(7, dtype=">f4")] * (n_rows - 1))
    images = [fits.ImageHDU(np.ones_like(error)), fits.ImageHDU(error), fits.ImageHDU(np.zeros_like(error))]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "apStar.fits")
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(tmp_path / "apStar.fits"))
    np.testing.assert_array_equal(spectrum.ivar, [0.25, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(spectrum.e_flux, [2] + [np.inf] * 6)


# ---- what the user has set


@pytest.mark.lesson(47)
def test_what_the_user_sets_is_never_replaced_by_reading(visit: BossVisitSpectrum) -> None:
    visit.flux = np.full(50, 42.0)
    assert visit.ivar.shape == (50,)
    assert set(visit.flux) == {42}


@pytest.mark.lesson(47)
def test_what_was_read_can_be_set(visit: BossVisitSpectrum) -> None:
    ivar = visit.ivar
    visit.flux = visit.flux * 2
    np.testing.assert_allclose(visit.flux, np.linspace(2, 4, 50), rtol=1e-6)
    assert visit.ivar is ivar


@pytest.mark.lesson(47)
def test_arrays_may_be_given_to_the_constructor() -> None:
    visit = BossVisitSpectrum(flux=np.ones(3), ivar=np.ones(3), wavelength=np.arange(3))
    assert visit.flux.sum() == 3
    with pytest.raises(MissingPixelsError, match="has no file: its 'path' is not set"):
        assert visit.pixel_flags


@pytest.mark.lesson(47)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_keep_what_the_user_set(visit: BossVisitSpectrum, duplicate: Any) -> None:
    visit.flux = np.full(50, 42.0)
    other = duplicate(visit)
    assert other.ivar.shape == (50,)
    assert set(other.flux) == {42}
    assert (other.path, other.spectrum_pk) == (visit.path, 17)


@pytest.mark.lesson(47)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_setting_an_array_of_a_copy_leaves_the_original_alone(visit: BossVisitSpectrum, duplicate: Any) -> None:
    other = duplicate(visit)
    other.flux = np.zeros(50)
    assert visit.flux.any()
    assert not other.flux.any()


def test_two_spectra_have_arrays_of_their_own(file: Path) -> None:
    one, two = BossVisitSpectrum(path=str(file)), BossVisitSpectrum(path=str(file))
    one.flux = np.zeros(50)
    assert two.flux.any()


def test_pixels_are_no_columns() -> None:
    assert not {"flux", "ivar", "wavelength"} & set(BossVisitSpectrum._meta.fields)
    visit = BossVisitSpectrum(flux=np.ones(3))
    assert "flux" not in visit.to_dict()


# ---- what is missing


def damaged(folder: Path, write_spec_file: Any, damage: str) -> Path:
    path = folder / "damaged.fits"
    if damage == "hdu":
        fits.HDUList([fits.PrimaryHDU()]).writeto(path)
    elif damage == "empty hdu":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU()]).writeto(path)
    elif damage == "column":
        write_spec_file(path, flux=None)
    elif damage == "truncated":
        write_spec_file(path, n_pixels=5000)
        with path.open("r+b") as opened:
            opened.truncate(40_000)
    elif damage == "truncated header":
        write_spec_file(path)
        with path.open("r+b") as opened:
            opened.truncate(4000)
    elif damage == "no FITS":
        path.write_text("This is not a FITS file.\n" * 100)
    elif damage == "empty file":
        path.touch()
    elif damage == "folder":
        path.mkdir()
    return path


@pytest.mark.lesson(48)
@pytest.mark.lesson(49)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("no file", r"flux: there is no file"),
        ("hdu", r"has no HDU 1; it has 1: 'PRIMARY'"),
        ("empty hdu", r"HDU 1 .* holds no data"),
        ("column", r"has no column 'flux'; it has loglam, ivar"),
        ("truncated", r"flux: can't read HDU 1"),
        ("truncated header", r"flux: can.t read|has no HDU 1"),
        ("no FITS", r"flux: can't read"),
        ("empty file", r"flux: can't read"),
        ("folder", r"flux: can't read"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, write_spec_file: Any, damage: str, says: str) -> None:
    path = damaged(tmp_path, write_spec_file, damage)
    with pytest.raises(MissingPixelsError, match=says) as missing:
        assert BossVisitSpectrum(path=str(path)).flux
    assert str(path) in str(missing.value)


def test_missing_pixels_are_a_lookup_error() -> None:
    assert issubclass(MissingPixelsError, LookupError)
    assert issubclass(MissingPixelsError, AstraError)


@pytest.mark.lesson(48)
def test_a_missing_column_does_not_hide_the_others(tmp_path: Path, write_spec_file: Any) -> None:
    visit = BossVisitSpectrum(path=str(write_spec_file(tmp_path / "old.fits", wresl=None)))
    assert visit.flux.shape == (50,)
    with pytest.raises(MissingPixelsError, match="no column 'wresl'"):
        assert visit.wresl


@pytest.mark.lesson(55)
def test_a_path_may_hold_variables_and_an_unset_one_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visit = BossVisitSpectrum(path="$SAS_BASE_DIR/spec.fits")
    with pytest.raises(ConfigurationError, match="SAS_BASE_DIR is not set"):
        assert visit.flux
    monkeypatch.setenv("SAS_BASE_DIR", str(file.parent))
    assert visit.absolute_path == str(file)
    assert visit.flux.shape == (50,)


# ---- on models


@pytest.mark.lesson(50)
def test_arrays_are_inherited(file: Path) -> None:
    class Resampled(BossVisitSpectrum):
        shift = FloatField(null=True, unit="Angstrom")

    assert set(pixel_arrays(Resampled)) == set(pixel_arrays(BossVisitSpectrum))
    row = Resampled(path=str(file))
    assert row.flux.shape == row.wavelength.shape == (50,)
    row.flux = np.zeros(50)
    assert not row.flux.any()


@pytest.mark.lesson(50)
def test_an_inherited_array_can_be_replaced(file: Path) -> None:
    class OnGrid(BossVisitSpectrum):
        wavelength = PixelArray(
            accessor_class=LogLambdaArrayAccessor, accessor_kwargs={"crval": 3.5, "cdelt": 1e-4, "naxis": 50}
        )

    row = OnGrid(path=str(file))
    assert row.wavelength[0] == 10**3.5
    assert row.flux.shape == (50,)


@pytest.mark.lesson(53)
def test_arrays_need_no_source_code(file: Path) -> None:
    names: dict[str, Any] = {"Base": BossVisitSpectrum, "PixelArray": PixelArray, "__name__": "made"}
    exec("class Made(Base):\n    sky = PixelArray(ext=1, column_name='wresl')\n", names)
    assert set(names["Made"](path=str(file)).sky) == {1.5}


def test_every_array_of_every_model_has_a_unit_and_a_description() -> None:
    from astropy.units import Unit

    for model in BaseModel.concrete_models():
        if not model.__module__.startswith("astra_models."):
            continue
        for name, array in pixel_arrays(model).items():
            assert array.help_text, f"{model.__name__}.{name}"
            assert array.unit is not None, f"{model.__name__}.{name}"
            Unit(array.unit)


def test_the_class_gives_the_array_itself() -> None:
    assert isinstance(BossVisitSpectrum.flux, PixelArray)
    assert BossVisitSpectrum.flux.unit == "1e-17 erg / (Angstrom s cm2)"
