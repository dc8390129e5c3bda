"""Pixel arrays of results: where their files are, what is read from them, and what is refused."""

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from astra_models.errors import ConfigurationError, MissingPixelsError
from astra_models.fields import FloatField, PixelArray
from astra_models.intermediate import IntermediateOutputMixin, PickledArrayAccessor
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite

N_PIXELS = 4648
KEYS = {"spectrum_pk": 1_234_567, "v_astra": 8_001}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty product root."""
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path))
    return tmp_path


def write_model_flux(path: Path, flux: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(flux)]).writeto(path)


def write_pickle(path: Path, content: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


def slam_file(root: Path) -> Path:
    return root / "0.8.1/pipelines/slam/45/67/1234567.pkl"


# ---- where files are


def test_the_path_follows_from_the_row(root: Path) -> None:
    assert SnowWhite(**KEYS).intermediate_output_path == "$MWM_ASTRA/0.8.1/pipelines/snow_white/45/67/1234567.fits"
    assert Slam(**KEYS).absolute_path == str(slam_file(root))
    assert SnowWhite(spectrum_pk=7, v_astra=9_000).absolute_path == str(
        root / "0.9.0/pipelines/snow_white/00/07/7.fits"
    )


def test_a_folder_that_is_named_by_the_number_of_the_version_is_found(root: Path) -> None:
    write_model_flux(root / "8001/pipelines/snow_white/45/67/1234567.fits", np.ones(N_PIXELS))
    assert SnowWhite(**KEYS).model_flux.sum() == N_PIXELS
    write_model_flux(root / "0.8.1/pipelines/snow_white/45/67/1234567.fits", np.zeros(N_PIXELS))
    assert SnowWhite(**KEYS).model_flux.sum() == 0


def test_the_root_may_be_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MWM_ASTRA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    configuration = tmp_path / ".config/sdss/astra/astra.yml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"products:\n  astra: {tmp_path / 'products'}\n")
    assert Slam(**KEYS).absolute_path == str(slam_file(tmp_path / "products"))


def test_a_root_that_is_not_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MWM_ASTRA", raising=False)
    for row, name in ((SnowWhite(**KEYS), "model_flux"), (Slam(**KEYS), "continuum")):
        with pytest.raises(ConfigurationError, match="MWM_ASTRA is not set"):
            getattr(row, name)


# ---- what is read


def test_a_model_of_a_white_dwarf_is_read(root: Path) -> None:
    flux = np.linspace(1, 2, N_PIXELS).astype(">f8")
    write_model_flux(Path(SnowWhite(**KEYS).absolute_path), flux)
    row = SnowWhite(**KEYS)
    np.testing.assert_array_equal(row.model_flux, flux)
    assert row.model_flux.dtype.isnative
    assert row.wavelength.shape == row.model_flux.shape
    assert row.wavelength[0] == pytest.approx(10**3.5523)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_model_of_an_m_dwarf_is_read_together_with_its_continuum(root: Path, protocol: int) -> None:
    continuum, rectified = np.full((1, N_PIXELS), 4.0), np.linspace(0.5, 1, N_PIXELS)
    write_pickle(slam_file(root), (continuum, rectified), protocol)
    row = Slam(**KEYS)
    np.testing.assert_array_equal(row.model_flux, 4 * rectified)
    slam_file(root).unlink()
    np.testing.assert_array_equal(row.continuum, continuum[0])


def test_what_the_user_has_set_stays(root: Path) -> None:
    write_pickle(slam_file(root), (np.ones(3), np.ones(3)))
    row = Slam(**KEYS)
    row.continuum = np.full(3, 7.0)
    assert row.model_flux.tolist() == [1, 1, 1]
    assert row.continuum.tolist() == [7, 7, 7]
    row.release_pixels()
    assert row.continuum.tolist() == [7, 7, 7]


def test_a_copy_has_its_own_arrays(root: Path) -> None:
    write_pickle(slam_file(root), (np.ones(3), np.ones(3)))
    row = Slam(**KEYS)
    row.continuum = np.zeros(3)
    other = copy.copy(row)
    other.continuum = np.ones(3)
    other.teff = 3_000.0
    assert (row.continuum.tolist(), row.teff) == ([0, 0, 0], None)
    assert pickle.loads(pickle.dumps(row)).spectrum_pk == KEYS["spectrum_pk"]


# ---- what is refused


def test_a_file_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(MissingPixelsError, match=r"continuum: there is no file .*1234567\.pkl"):
        _ = Slam(**KEYS).continuum
    with pytest.raises(MissingPixelsError, match=r"model_flux: there is no file .*1234567\.fits"):
        _ = SnowWhite(**KEYS).model_flux


class Attack:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_something_is_refused(root: Path) -> None:
    target = root / "made"
    write_pickle(slam_file(root), (Attack(target), np.ones(3)))
    with pytest.raises(MissingPixelsError, match=r"can't read arrays from .*mkdir"):
        _ = Slam(**KEYS).continuum
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps((np.ones(5), np.ones(5)))[:60]])
def test_a_damaged_pickle_is_an_error(root: Path, content: bytes) -> None:
    write_pickle(slam_file(root), None)
    slam_file(root).write_bytes(content)
    with pytest.raises(MissingPixelsError, match="may be damaged"):
        _ = Slam(**KEYS).continuum


@pytest.mark.parametrize("content", [None, 1, np.ones(3), (np.ones(3), np.ones(4)), {"continuum": np.ones(3)}])
def test_a_pickle_of_something_else_is_an_error(root: Path, content: Any) -> None:
    write_pickle(slam_file(root), content)
    with pytest.raises(MissingPixelsError, match="doesn't hold what Slam writes"):
        _ = Slam(**KEYS).model_flux


def test_results_without_pixels_hold_none() -> None:
    row = Slam(**KEYS)
    assert not {"_pixels_read", "_pixels_raw"} & vars(row).keys()


def test_a_result_of_ones_own_has_pixels(root: Path) -> None:
    class MyFit(IntermediateOutputMixin):
        intermediate_path = "$MWM_ASTRA/{version}/my_fit/{group}/{spectrum_pk}.pkl"
        teff = FloatField(null=True)
        residual = PixelArray(
            accessor_class=PickledArrayAccessor, accessor_kwargs={"unpack": lambda it: {"residual": it}}
        )

    write_pickle(root / "0.8.1/my_fit/45/67/1234567.pkl", np.arange(3))
    assert MyFit(**KEYS).residual.tolist() == [0, 1, 2]
