"""Arrays of The Cannon's results: an npz file of ours; the pickles that sdss/astra leaves are never opened."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from astra_models.errors import MissingPixelsError
from astra_models.intermediate import write_arrays
from astra_models.the_cannon import ALL_LABELS, TheCannon

KEYS = {"spectrum_pk": 1_234_567, "source_pk": 54_321, "v_astra": 8_001}
PLACE = "0.8.1/pipelines/TheCannon/43/21/54321-1234567"
ARRAYS = {"model_flux": np.arange(3.0), "continuum": np.full(3, 2.0), "correlation": np.eye(len(ALL_LABELS))}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path))
    return tmp_path


def test_arrays_come_back_as_they_were_written(root: Path) -> None:
    write_arrays(TheCannon(**KEYS).absolute_path, **ARRAYS)

    row = TheCannon(**KEYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(getattr(row, name), values)
    assert row.wavelength[0] == pytest.approx(10**4.179)
    assert [path.name for path in (root / PLACE).parent.iterdir()] == ["54321-1234567.npz"]


def test_a_pickle_is_never_opened(root: Path) -> None:
    path = root / f"{PLACE}.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps((np.ones(3), np.ones(3))))
    with pytest.raises(MissingPixelsError, match=r"model_flux: there is no file .*54321-1234567\.npz"):
        _ = TheCannon(**KEYS).model_flux


def test_a_pickle_with_the_name_of_an_npz_file_is_refused(root: Path) -> None:
    path = root / f"{PLACE}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps((np.ones(3), np.ones(3))))
    with pytest.raises(MissingPixelsError, match="can't read arrays"):
        _ = TheCannon(**KEYS).continuum


def test_objects_are_neither_written_nor_read(root: Path) -> None:
    path = root / f"{PLACE}.npz"
    with pytest.raises(ValueError, match="array of objects"):
        write_arrays(path, model_flux=np.array([{}], dtype=object))
    path.parent.mkdir(parents=True)
    np.savez(path, model_flux=np.array([{}], dtype=object))
    with pytest.raises(MissingPixelsError, match="can't read arrays"):
        _ = TheCannon(**KEYS).model_flux


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04"])
def test_a_damaged_file_is_an_error(root: Path, content: bytes) -> None:
    path = root / f"{PLACE}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(MissingPixelsError, match="can't read arrays"):
        _ = TheCannon(**KEYS).model_flux


def test_an_array_that_the_file_lacks_is_named(root: Path) -> None:
    write_arrays(root / f"{PLACE}.npz", continuum=np.ones(3))
    with pytest.raises(MissingPixelsError, match=r"correlation: .* it has continuum"):
        _ = TheCannon(**KEYS).covariance


def test_covariances_are_in_the_units_of_the_labels(root: Path) -> None:
    correlation = np.full((len(ALL_LABELS), len(ALL_LABELS)), np.nan)
    correlation[:2, :2] = [[1, 0.5], [0.5, 1]]
    write_arrays(root / f"{PLACE}.npz", correlation=correlation)

    found = TheCannon(**KEYS, raw_e_teff=100.0, raw_e_logg=0.2).covariance

    assert found[:2, :2] == pytest.approx(np.array([[10_000, 10], [10, 0.04]]))
    assert np.isnan(found[2:]).all()
