"""What FERRE is given: numbers as savetxt writes them, no pixel that hangs it, names that tell spectra apart."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from astra_orchestration.pipelines.ferre.fluxes import write_fluxes
from astra_orchestration.pipelines.ferre.inputs import (
    SpectraError,
    check_names,
    format_lines,
    format_parameters,
    sanitize,
)

IN_RANGE = st.floats(1e-35, 1e35) | st.floats(-1e35, -1e-35) | st.just(0.0)


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(np.float64, (2, 7), elements=IN_RANGE))
def test_numbers_are_those_of_savetxt(values):
    lines = format_lines(values)
    expected = io.BytesIO()
    np.savetxt(expected, values, fmt="%.4e")
    ours = np.array(b"".join(lines).split(), dtype=float)
    theirs = np.array(expected.getvalue().split(), dtype=float)
    # A tie in the fifth digit may go either way.
    np.testing.assert_allclose(ours, theirs, rtol=1.001e-4)
    assert np.mean(ours == theirs) > 0.9
    np.testing.assert_allclose(ours, values.ravel(), rtol=5.01e-5)


def test_the_text_is_that_of_savetxt_for_ordinary_fluxes():
    values = np.random.default_rng(3).lognormal(3, 2, (20, 500)) * np.array([[1], [-1]]).repeat(10, 0).reshape(20, 1)
    expected = io.BytesIO()
    np.savetxt(expected, values, fmt="%.4e")
    assert [line.split() for line in format_lines(values)] == [
        line.split() for line in expected.getvalue().splitlines()
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0.0000e+00"),
        (9.99996, b"1.0000e+01"),
        (99999.5, b"1.0000e+05"),
        (1e10, b"1.0000e+10"),
        (-1.25e-7, b"-1.2500e-07"),
        (1e300, b"1.0000e+35"),
        (1e-300, b"0.0000e+00"),
        (1e-35, b"1.0000e-35"),
    ],
)
def test_numbers_at_the_edges(value, text):
    assert format_lines(np.array([[value]]))[0].split() == [text]


def test_numbers_never_touch_whatever_their_sign():
    line = format_lines(np.array([[1.0, -1.0, -2.5, 3.0]]))[0]
    assert line.split() == [b"1.0000e+00", b"-1.0000e+00", b"-2.5000e+00", b"3.0000e+00"]


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(np.float32, (2, 6), elements=st.floats(width=32)),
    arrays.arrays(np.float32, (2, 6), elements=st.floats(width=32)),
)
def test_no_pixel_is_left_that_ferre_cannot_read(flux, error):
    clean_flux, clean_error, bad = sanitize(flux, error)
    for clean in (clean_flux, clean_error):
        assert np.isfinite(clean).all() and np.abs(clean).max() <= 1e15
    assert (clean_error >= 0).all()
    assert (clean_flux[bad] == 1e-4).all() and (clean_error[bad] == 1e10).all()
    np.testing.assert_array_equal(clean_flux[~bad], flux[~bad])
    text = np.array(b"".join(format_lines(clean_flux)).split(), dtype=np.float32)
    assert np.isfinite(text).all()


def test_what_came_in_is_not_changed():
    flux, error = np.array([[1.0, np.nan]]), np.array([[1e30, 0.1]])
    sanitize(flux, error)
    assert np.isnan(flux[0, 1]) and error[0, 0] == 1e30


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", "b c"], r"1 names can't be given to FERRE, such as 'b c'"),
        ([""], r"1 to 100 ASCII characters"),
        (["é"], r"such as 'é'"),
        (["x" * 101], r"1 to 100"),
        (["a", "b", "a"], r"the name 'a' is there twice"),
        (["a\n"], r"without blanks, commas, slashes and quotes"),
        (["a/b"], r"such as 'a/b'"),
        (["a,b"], r"such as 'a,b'"),
    ],
)
def test_names_that_ferre_would_mix_up(names, says):
    with pytest.raises(SpectraError, match=says):
        check_names(names)


def test_starting_values_keep_their_name_whatever_their_size():
    lines = format_parameters(["x" * 100, "b"], np.array([[1.5, -1e6], [0.25, 3999.123456]]))
    assert [line.split() for line in lines] == [
        [b"x" * 100, b"1.500000", b"-1000000.000000"],
        [b"b", b"0.250000", b"3999.123456"],
    ]


def spectra(n=40, n_pixels=30):
    random = np.random.default_rng(1)
    return [f"s{i}" for i in range(n)], random.lognormal(0, 1, (n, n_pixels)), random.lognormal(-3, 1, (n, n_pixels))


def test_fluxes_are_written_once_for_all_fits_that_read_them(tmp_path):
    names, flux, error = spectra()
    first = write_fluxes(tmp_path, names, flux, error)
    written = (tmp_path / "flux.input").stat()
    assert write_fluxes(tmp_path, names, flux, error) == first
    assert (tmp_path / "flux.input").stat().st_ino == written.st_ino
    np.testing.assert_allclose(np.loadtxt(tmp_path / "flux.input"), flux, rtol=5.1e-5)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "e_flux.input"), error, rtol=5.1e-5)


@pytest.mark.parametrize("change", ["flux", "error", "names", "truncated", "index"])
def test_fluxes_are_written_anew_when_anything_changed(tmp_path, change):
    names, flux, error = spectra()
    write_fluxes(tmp_path, names, flux, error)
    if change == "flux":
        flux[3, 3] += 1
    elif change == "error":
        error[3, 3] += 1
    elif change == "names":
        names[3] = "other"
    elif change == "truncated":
        text = (tmp_path / "flux.input").read_bytes()
        (tmp_path / "flux.input").write_bytes(text[:-20])
    else:
        (tmp_path / "flux.index").write_text("nonsense\n")
    files = write_fluxes(tmp_path, names, flux, error)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "flux.input"), flux, rtol=5.1e-5)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "e_flux.input"), error, rtol=5.1e-5)
    assert [entry.name for entry in files.entries] == names


def test_some_of_the_lines_can_be_had_in_any_order(tmp_path):
    names, flux, error = spectra()
    flux[7] *= -1  # the lines of block and file are of different lengths
    files = write_fluxes(tmp_path, names, flux, error)
    (tmp_path / "some").mkdir()
    files.copy_lines([39, 7, 0], tmp_path / "some")
    np.testing.assert_allclose(np.loadtxt(tmp_path / "some" / "flux.input"), flux[[39, 7, 0]], rtol=5.1e-5)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "some" / "e_flux.input"), error[[39, 7, 0]], rtol=5.1e-5)


def test_the_same_lines_are_copied_once(tmp_path):
    names, flux, error = spectra()
    files = write_fluxes(tmp_path, names, flux, error)
    written = {}
    for folder in ("one", "two", "other"):
        (tmp_path / folder).mkdir()
        files.copy_lines([1, 2] if folder == "other" else [0, 3], tmp_path / folder, written)
    inodes = [(tmp_path / folder / "flux.input").stat().st_ino for folder in ("one", "two", "other")]
    assert inodes[0] == inodes[1] != inodes[2]


def test_a_run_that_reads_the_old_fluxes_goes_on_reading_them(tmp_path):
    names, flux, error = spectra()
    files = write_fluxes(tmp_path, names, flux, error)
    (tmp_path / "running").mkdir()
    files.copy_lines(range(40), tmp_path / "running")
    write_fluxes(tmp_path, names, flux * 2, error)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "running" / "flux.input"), flux, rtol=5.1e-5)


def test_shapes_that_do_not_fit_are_told(tmp_path):
    names, flux, error = spectra()
    with pytest.raises(SpectraError, match=r"40 names, fluxes of shape \(40, 29\) and errors of shape \(40, 30\)"):
        write_fluxes(tmp_path, names, flux[:, :29], error)
