"""Our reader of plain FITS files against astropy's; and recipes, which read without parsing."""

import gzip
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spectrum_files import write_apstar, write_apvisit, write_mwm_star, write_mwm_visit, write_spec_full

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingPixelsError
from astra_models.fits.arrays import DamagedFileError, FitsReader, NotPlainError
from astra_models.pixels.arrays import group_of

COLUMN_TYPES = ["u1", ">i2", ">i4", ">i8", ">f4", ">f8"]


def compare_with_astropy(path: Path) -> int:
    """Compare all images and columns of numbers, and give how many there were."""
    compared = 0
    with fits.open(path, memmap=False) as hdus, FitsReader(str(path)) as reader:
        for number, hdu in enumerate(hdus):
            ours = reader.hdu(number)
            if isinstance(hdu, fits.BinTableHDU):
                compared += sum(same_column(ours, hdu, column) for column in hdu.columns)
            elif hdu.data is not None and hdu.data.size:
                image = ours.image()
                np.testing.assert_array_equal(image, hdu.data)
                assert image.dtype.isnative
                assert image.flags.c_contiguous
                if image.ndim > 1:
                    np.testing.assert_array_equal(ours.image(-1 + len(image)), hdu.data[-1])
                compared += 1
    return compared


def same_column(ours: Any, hdu: Any, column: Any) -> bool:
    is_first = next(name for name in hdu.columns.names if name.upper() == column.name.upper()) == column.name
    if not len(hdu.data) or not is_first:
        return False
    try:
        values = ours.column(column.name.upper())
    except NotPlainError:
        assert (
            any(code in column.format for code in "LXCMPQ")
            or column.bzero
            or column.bscale
            or column.dim
            or "0" in column.format
        )
        return False
    expected = np.asarray(hdu.data[column.name])
    if values.dtype.kind == "S":
        values = np.char.rstrip(np.char.decode(values, "latin-1"))
        expected = np.char.rstrip(expected.astype(str))
    np.testing.assert_array_equal(np.reshape(values, expected.shape), expected)
    row = ours.column(column.name.upper(), len(hdu.data) - 1)
    np.testing.assert_array_equal(np.ravel(row), np.ravel(ours.column(column.name.upper())[-1]))
    return True


# ---- against astropy


def test_all_real_files(real_data: Path) -> None:
    files = sorted(real_data.rglob("*.fits"))
    assert sum(compare_with_astropy(path) for path in files) > 500


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_apstar(path, n_visits=4),
        lambda path: write_apstar(path, n_visits=1, wide=True),
        write_apvisit,
        write_spec_full,
        lambda path: write_mwm_star(path, {1: {}, 4: {}}),
        lambda path: write_mwm_visit(path, {2: [{}, {}], 3: [{}] * 3}),
    ],
    ids=["apStar", "apStar of one visit", "apVisit", "specFull", "mwmStar", "mwmVisit"],
)
def test_files_of_the_survey(tmp_path: Path, write: Any) -> None:
    assert compare_with_astropy(write(tmp_path / "file.fits")) > 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_plain_file(tmp_path: Path, data: st.DataObject) -> None:
    hdus: list[Any] = [fits.PrimaryHDU(_image(data) if data.draw(st.booleans()) else None)]
    for i in range(data.draw(st.integers(0, 4))):
        name = f"HDU{i}"
        hdus.append(_table(data, name) if data.draw(st.booleans()) else fits.ImageHDU(_image(data), name=name))
    for hdu in hdus:
        for i in range(data.draw(st.integers(0, 40))):
            hdu.header[f"CARD{i}"] = (i, "a comment that says END" if i % 3 else "")
    path = tmp_path / "any.fits"
    fits.HDUList(hdus).writeto(path, overwrite=True, checksum=data.draw(st.booleans()))
    compare_with_astropy(path)


def _image(data: st.DataObject) -> np.ndarray:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 100, shape)
    return values.astype(data.draw(st.sampled_from(COLUMN_TYPES)))


def _table(data: st.DataObject, name: str) -> fits.BinTableHDU:
    n_rows = data.draw(st.integers(0, 20))
    kinds = [
        (f"C{i}", data.draw(st.sampled_from([*COLUMN_TYPES, "S3"])), data.draw(st.sampled_from([(), (1,), (7,)])))
        for i in range(data.draw(st.integers(1, 6)))
    ]
    rows = np.zeros(n_rows, kinds)
    for column, kind, shape in kinds:
        rows[column] = np.arange(n_rows * int(np.prod(shape))).reshape(n_rows, *shape).astype(kind)
    return fits.BinTableHDU(rows, name=name)


# ---- what it leaves to astropy, and damage


@pytest.mark.parametrize("number", [3, "COADD", -1])
def test_what_is_no_hdu(tmp_path: Path, number: Any) -> None:
    path = tmp_path / "file.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones(3))]).writeto(path)
    with FitsReader(str(path)) as reader, pytest.raises(NotPlainError):
        reader.hdu(number)


@pytest.mark.parametrize("cards", [{"BZERO": 2**31}, {"BSCALE": 2.0}, {"BLANK": 7}])
def test_a_scaled_image_is_left_to_astropy(tmp_path: Path, cards: dict[str, Any]) -> None:
    path = tmp_path / "file.fits"
    hdu = fits.ImageHDU(np.ones((3, 4), dtype=">i4"))
    fits.HDUList([fits.PrimaryHDU(), hdu, fits.ImageHDU(np.ones(5))]).writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[1].header.update(cards)
    with FitsReader(str(path)) as reader:
        with pytest.raises(NotPlainError):
            reader.hdu(1).image()
        assert reader.hdu(2).image().tolist() == [1] * 5


def test_an_unsigned_column_is_left_to_astropy(tmp_path: Path) -> None:
    path = tmp_path / "file.fits"
    rows = np.zeros(3, [("flux", ">f4"), ("or_mask", "u4"), ("ivar", ">f4")])
    rows["or_mask"] = 2**31 + 5
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows)]).writeto(path)
    with FitsReader(str(path)) as reader:
        assert reader.hdu(1).column("FLUX").tolist() == [0, 0, 0]
        with pytest.raises(NotPlainError):
            reader.hdu(1).column("OR_MASK")
    assert BossVisitSpectrum(path=str(path)).pixel_flags.tolist() == [2**31 + 5] * 3


def test_a_compressed_image_is_left_to_astropy(tmp_path: Path) -> None:
    path = tmp_path / "file.fits"
    images = [fits.CompImageHDU(np.full((3, 8575), value, dtype=np.float32)) for value in (5, 0.5)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(path))
    np.testing.assert_allclose(spectrum.flux, 5, rtol=1e-4)
    np.testing.assert_allclose(spectrum.ivar, 4, rtol=1e-3)


@pytest.mark.parametrize("cut", [100, 3000, 6000, 9000, 15_000, 40_000])
def test_a_truncated_file_is_no_surprise(tmp_path: Path, cut: int) -> None:
    path = write_spec_full(tmp_path / "spec.fits", n_pixels=1500)
    with path.open("r+b") as opened:
        opened.truncate(cut)
    with FitsReader(str(path)) as reader, pytest.raises(NotPlainError):
        reader.hdu(1).column("FLUX")


def test_columns_that_do_not_fill_a_row_are_damage(tmp_path: Path) -> None:
    path = write_spec_full(tmp_path / "spec.fits")
    path.write_bytes(path.read_bytes().replace(b"TFORM9  = 'E       '", b"TFORM9  = '2E      '", 1))
    with (
        FitsReader(str(path)) as reader,
        pytest.raises(DamagedFileError, match="columns have 40 bytes, and its rows 36"),
    ):
        reader.hdu(1)
    with pytest.raises(LookupError, match="can't read HDU 1"):
        assert BossVisitSpectrum(path=str(path)).flux


def test_headers_of_garbage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.fits"
    for content in (b"", b"SIMPLE  =" * 1000, os.urandom(10_000), b"SIMPLE  =".ljust(2880) + b"END".ljust(2880)):
        path.write_bytes(content)
        with FitsReader(str(path)) as reader, pytest.raises(NotPlainError):
            reader.hdu(1)


# ---- recipes


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Forget all recipes, and note which files are parsed."""
    parsed: list[str] = []
    original = FitsReader.__init__

    def noting(reader: FitsReader, path: str) -> None:
        parsed.append(Path(path).name)
        original(reader, path)

    monkeypatch.setattr(FitsReader, "__init__", noting)
    for model in (BossVisitSpectrum, ApogeeCoaddedSpectrumInApStar):
        group_of(model, "flux").forget()
    return parsed


def test_files_that_are_alike_are_parsed_once(tmp_path: Path, groups: list[str]) -> None:
    for i in range(5):
        path = write_spec_full(tmp_path / f"{i}.fits", n_pixels=4600 + 20 * i)
        spectrum = BossVisitSpectrum(path=str(path))
        assert spectrum.flux.shape == spectrum.ivar.shape == spectrum.wavelength.shape == (4600 + 20 * i,)
        np.testing.assert_array_equal(spectrum.flux, fits.getdata(path, 1)["FLUX"])
        np.testing.assert_array_equal(spectrum.ivar, fits.getdata(path, 1)["IVAR"])
    assert groups == ["0.fits"]


def test_a_much_longer_file_is_parsed(tmp_path: Path, groups: list[str]) -> None:
    for i, n_pixels in enumerate((500, 4600, 700)):
        path = write_spec_full(tmp_path / f"{i}.fits", n_pixels=n_pixels)
        np.testing.assert_array_equal(BossVisitSpectrum(path=str(path)).flux, fits.getdata(path, 1)["FLUX"])
    assert groups == ["0.fits", "1.fits"]


def test_each_layout_has_its_recipe(tmp_path: Path, groups: list[str]) -> None:
    for i in range(12):
        path = write_apstar(tmp_path / f"{i}.fits", n_visits=1 + i % 4, wide=i % 4 == 2)
        spectrum = ApogeeCoaddedSpectrumInApStar(path=str(path))
        np.testing.assert_array_equal(spectrum.flux, np.atleast_2d(fits.getdata(path, 1))[0])
        assert set(spectrum.ivar) == {0, 4}
    assert groups == [f"{i}.fits" for i in range(4)]


def test_an_hdu_that_was_put_in_between_is_noticed(tmp_path: Path, groups: list[str]) -> None:
    path = write_apstar(tmp_path / "apStar.fits")
    assert ApogeeCoaddedSpectrumInApStar(path=str(path)).flux.max() == 1
    with fits.open(path, memmap=False) as hdus:
        hdus.insert(1, fits.ImageHDU(np.full((5, 8575), 7, dtype=">f4")))
        hdus.writeto(tmp_path / "other.fits")
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(tmp_path / "other.fits"))
    assert set(spectrum.flux) == {7}
    assert groups == ["apStar.fits", "other.fits"]


def test_an_empty_hdu_in_place_of_a_part_of_the_first_header_is_noticed(tmp_path: Path, groups: list[str]) -> None:
    cards = [("HISTORY", f"step {i}") for i in range(40)]  # a second block of the primary header
    image = fits.ImageHDU(np.full(8575, 3, dtype=">f4"))
    others = [fits.ImageHDU(np.full(8575, 0.5, dtype=">f4")), fits.ImageHDU(np.zeros(8575, dtype=">i2"))]
    long, short = tmp_path / "long.fits", tmp_path / "short.fits"
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(cards)), image, *others]).writeto(long)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(), image, *others]).writeto(short)
    assert long.stat().st_size == short.stat().st_size
    assert set(ApogeeCoaddedSpectrumInApStar(path=str(long)).flux) == {3}
    with pytest.raises(MissingPixelsError, match="HDU 1"):
        assert ApogeeCoaddedSpectrumInApStar(path=str(short)).flux
    assert groups == ["long.fits", "short.fits"]


def test_a_truncated_file_that_is_alike_is_an_error(tmp_path: Path, groups: list[str]) -> None:
    path = write_apstar(tmp_path / "apStar.fits")
    assert ApogeeCoaddedSpectrumInApStar(path=str(path)).flux.any()
    for cut in (4000, 9000, 20_000, 200_000):
        copy = tmp_path / f"{cut}.fits"
        shutil.copy(path, copy)
        with copy.open("r+b") as opened:
            opened.truncate(cut)
        with pytest.raises(LookupError, match=f"{cut}.fits"):
            assert ApogeeCoaddedSpectrumInApStar(path=str(copy)).flux.any()


def test_a_compressed_file_after_a_plain_one(tmp_path: Path, groups: list[str]) -> None:
    path = write_apstar(tmp_path / "apStar.fits")
    plain = ApogeeCoaddedSpectrumInApStar(path=str(path))
    assert plain.flux.any()
    (tmp_path / "apStar.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    compressed = ApogeeCoaddedSpectrumInApStar(path=str(tmp_path / "apStar.fits.gz"))
    np.testing.assert_array_equal(compressed.flux, plain.flux)
    np.testing.assert_array_equal(compressed.ivar, plain.ivar)


def test_what_is_read_stays_when_the_next_file_is_read(tmp_path: Path) -> None:
    rows = [BossVisitSpectrum(path=str(write_spec_full(tmp_path / f"{n}.fits", n))) for n in (4600, 4601)]
    first = [rows[0].flux.copy(), rows[0].ivar.copy(), rows[0].wavelength.copy()]
    assert rows[1].flux.any()
    for kept, now in zip(first, (rows[0].flux, rows[0].ivar, rows[0].wavelength), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_threads_read_at_the_same_time(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    paths = [write_spec_full(tmp_path / f"{i}.fits", 3000) for i in range(8)]
    for i, path in enumerate(paths):
        with fits.open(path, mode="update") as hdus:
            hdus[1].data["FLUX"] = i

    def read(i: int) -> bool:
        spectrum = BossVisitSpectrum(path=str(paths[i % 8]))
        return bool((spectrum.flux == i % 8).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(3000)))
