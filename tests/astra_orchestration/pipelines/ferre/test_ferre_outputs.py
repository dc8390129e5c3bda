"""What FERRE wrote: fixed and exponent format, what it couldn't fit, junk, half lines, lines without names."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_orchestration.pipelines.ferre.matching import Input, Layout, match_lines
from astra_orchestration.pipelines.ferre.outputs import (
    Row,
    Tail,
    parse_fluxes,
    read_fluxes,
    read_lines,
    read_row,
    split_flux_line,
    split_row,
)
from astra_orchestration.pipelines.ferre.version import Version, version_in

RECORDED = Path(__file__).parents[3] / "ferre" / "recorded"
NAMES = {f"{i}_{1000 + i}_{2000 + i}_0_None".encode() for i in range(12)}


def rows(path):
    found = [split_row(line, 4, NAMES) for line in read_lines(path)]
    return {split[0].decode(): read_row(split[1], 4) for split in found if split is not None}


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
@pytest.mark.parametrize("covprint", [0, 1])
def test_recorded_rows_of_good_and_bad_spectra(version, covprint):
    found = rows(RECORDED / f"{version}-bad_spectra_covprint{covprint}.txt")
    assert len(found) == 12
    failed = {int(name.split("_")[0]) for name, row in found.items() if not row.is_good}
    assert failed == {0, 1}  # all zero, all negative
    assert np.isnan(found["0_1000_2000_0_None"].values).all()
    # Without a usable error in it, or with a spike, there are values, and no errors.
    assert {i for i in range(2, 12) if np.isnan(found[f"{i}_{1000 + i}_{2000 + i}_0_None"].errors).any()} == {3, 4}
    row = found["2_1002_2002_0_None"]
    assert row.values == pytest.approx([0.567, -1.308, 3.573, 5065.4], rel=1e-3)
    assert row.errors == pytest.approx([0.0204, 0.0141, 0.0997, 18.17], rel=0.05)
    assert (row.snr, row.rchi2) == pytest.approx((99.19, 0.99916), rel=2e-3)


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
def test_covariances_that_do_not_belong_to_the_errors_are_not_taken(version):
    found = rows(RECORDED / f"{version}-bad_spectra_covprint1.txt")
    with_covariance = {int(name.split("_")[0]) for name, row in found.items() if np.isfinite(row.covariance).all()}
    assert with_covariance == {2, 5, 6, 7, 8, 9, 10, 11}
    row = found["2_1002_2002_0_None"]
    np.testing.assert_allclose(np.sqrt(np.diag(row.covariance)), row.errors, rtol=1e-3)
    assert row.covariance[0, 2] == pytest.approx(-1.5445e-3, rel=1e-3)


def test_several_threads_write_in_an_order_of_their_own():
    numbers = [int(name.split("_")[0]) for name in rows(RECORDED / "4.8.8-threads2.txt")]
    assert numbers == [0, 1, 2, 3, 4, 6, 7, 8, 5, 9, 10, 11]


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
def test_the_version_is_what_it_prints(version):
    assert str(version_in((RECORDED / f"{version}-banner.txt").read_bytes())) == version


def test_what_is_no_ferre_has_no_version():
    assert version_in(b"ferret v1.2.3") is None
    assert version_in(b" f e r r e   v4.8\n") == Version(4, 8, 0)


ROW = b" a_1   1.0  2.0  0.1  0.2  0.0  99.0  0.01"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"a_1",
        b" a_1 1.0 2.0 0.1 0.2 0.0 99.0",
        ROW + b" 1.0",
        ROW.replace(b"a_1", b"unknown"),
        b"1.0  2.0  0.1  0.2  0.0  99.0  0.01",
        b"\x00\xff\xfe garbage",
    ],
)
def test_what_is_no_whole_row_of_a_known_name_is_no_row(line):
    assert split_row(line, 2, {b"a_1"}) is None


def test_stars_and_words_stand_for_no_number():
    _, numbers = split_row(b"a  1.0 ******* NaN 0.2 0.0 Infinity 0.01", 2, {b"a"})
    row = read_row(numbers, 2)
    assert row.values[0] == 1.0 and np.isnan(row.values[1]) and np.isnan(row.errors[0]) and row.errors[1] == 0.2
    assert not row.is_good


@pytest.mark.parametrize("failed", ["-999.999", "-1.0000E+03", "-9999.000", "-1.0D+03"])
def test_all_that_ferre_writes_for_a_failed_fit(failed):
    row = read_row([failed.encode()] * 4 + [b"0.0", b"99.0", failed.encode()], 2)
    assert not row.is_good and np.isnan([*row.values, *row.errors, row.rchi2]).all() and row.snr == 99.0


def test_on_the_edge_the_error_is_zero_and_the_fit_is_good():
    row = read_row(b"0.75 5000.0 0.000 12.0 0.0 99.0 0.01".split(), 2)
    assert row.is_good and row.errors.tolist() == [0.0, 12.0]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_line_breaks_the_reader_of_rows(line):
    for whole in (line, b"a " + line, ROW + line):
        split = split_row(whole, 2, {b"a", b"a_1"})
        if split is not None:
            read_row(split[1], 2)


def fortran(values, decimals=5):
    return b"".join(b"%*.*E" % (decimals + 8, decimals, value) for value in values)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-30), min_size=1, max_size=20),
    st.integers(2, 9),
    st.integers(0, 2),
)
def test_columns_are_read_as_loadtxt_reads_them(values, decimals, cut):
    line = fortran(values, decimals)[cut if values[0] >= 0 else 0 :]
    expected = np.array(line.split(), dtype=float)
    np.testing.assert_allclose(parse_fluxes(line, len(values)), expected, rtol=5e-16, atol=0)
    np.testing.assert_allclose(parse_fluxes(line.strip(), len(values)), expected, rtol=5e-16, atol=0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["1.5", "-2.25", "3.0E+05", "1.25D-03", "0.5-101", "7"]), min_size=1, max_size=9))
def test_numbers_in_any_format_are_read(words):
    values = [float(w.replace("D", "e").replace("0.5-101", "0.5e-101")) for w in words]
    np.testing.assert_allclose(parse_fluxes("  ".join(words).encode(), len(words)), values, rtol=1e-15)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.integers(1, 9))
def test_no_line_breaks_the_reader_of_fluxes(line, n_pixels):
    found = parse_fluxes(line, n_pixels)
    assert found is None or found.shape == (n_pixels,)


def test_a_word_among_the_columns_is_no_number():
    line = bytearray(fortran([1.0, 2.0, 3.0, 4.0]))
    line[26:39] = b"        *****"
    np.testing.assert_array_equal(parse_fluxes(bytes(line), 4), [1, 2, np.nan, 4])
    assert parse_fluxes(bytes(line), 5) is None


def test_lines_of_fluxes_may_have_a_name_or_none():
    numbers = fortran([1.0, 2.0])
    assert split_flux_line(b" 3_1_2 " + numbers, {b"3_1_2"})[0] == b"3_1_2"
    assert split_flux_line(numbers, {b"3_1_2"}) == (None, numbers)
    assert split_flux_line(b" of_another " + numbers, {b"3_1_2"})[0] == b"of_another"


def test_a_file_is_read_as_it_grows_in_whole_lines(tmp_path):
    tail = Tail(tmp_path / "out")
    assert tail.lines() == []
    with (tmp_path / "out").open("wb") as file:
        for written, whole in ((b"a 1\nb", [b"a 1"]), (b" 2", []), (b"\n", [b"b 2"]), (b"c\nd\n", [b"c", b"d"])):
            file.write(written)
            file.flush()
            assert tail.lines() == whole
    (tmp_path / "out").write_bytes(b"new\n")
    assert tail.lines() == [b"new"]


def test_junk_without_end_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("astra_orchestration.pipelines.ferre.outputs._MOST", 100)
    (tmp_path / "log").write_bytes(b"x" * 950 + b"\nnext\n")
    tail = Tail(tmp_path / "log")
    found = [tail.lines() for _ in range(12)]
    assert found[-2:] == [[], []] and found[9][1:] == [b"next"] and len(found[9][0]) <= 200


def test_fluxes_are_found_by_name_and_missing_ones_are_nan(tmp_path):
    (tmp_path / "f").write_bytes(
        b"b " + fortran([3, 4]) + b"\nx 1 2\na " + fortran([1, 2]) + b"\nc 1\nd " + fortran([5, 6])
    )
    found = read_fluxes(tmp_path / "f", ["a", "b", "c", "d"], 2)
    np.testing.assert_array_equal(found, [[1, 2], [3, 4], [np.nan] * 2, [np.nan] * 2])


LAYOUT = Layout((slice(0, 60), slice(60, 120)), 4, 2, False, 2)


def a_case(n=12, layout=LAYOUT, seed=0):
    """Spectra, their rows, and the lines of FERRE's files, in the order of the rows."""
    random = np.random.default_rng(seed)
    inputs, rows, rectified, models = {}, {}, [], []
    x = np.concatenate([np.linspace(-1, 1, 60)] * 2)
    for i in range(n):
        model = 1 - 0.4 * random.random(120)
        continuum = 1 if layout.order is None else np.polynomial.chebyshev.chebval(x, [50, *random.normal(0, 4, 4)])
        flux = model * (1 + random.normal(0, 0.01, 120)) * continuum
        error = 0.01 * flux
        flux = np.array([float(f"{f:.4e}") for f in flux])
        inputs[f"n{i}"] = Input(flux, error)
        chi2 = (((flux / continuum - model) / (error / continuum)) ** 2).sum() / (120 - layout.n_free + 1)
        rows[f"n{i}"] = Row(np.ones(2), np.ones(2), 100.0, chi2, np.ones((2, 2)))
        rectified.append(fortran(flux / continuum))
        models.append(fortran(model))
    return inputs, rows, rectified, models


def match(*arguments):
    """Match lines, and put what is found piece by piece together."""
    rectified, models = {}, {}
    for found in match_lines(*arguments):
        rectified |= found.rectified
        models |= found.models
    return rectified, models


def matched(inputs, rows, rectified, models, layout=LAYOUT):
    flux, model = match(rows, rectified, models, inputs.__getitem__, layout)
    return {n: rectified.index(line) for n, line in flux.items()}, {n: models.index(line) for n, line in model.items()}


RIGHT = {f"n{i}": i for i in range(12)}


def test_lines_in_the_order_of_the_rows():
    assert matched(*a_case()) == (RIGHT, RIGHT)


@pytest.mark.parametrize("order", [4, None])
def test_lines_in_any_order_are_told_by_what_is_in_them(order):
    layout = Layout(LAYOUT.chips, order, 2, False, 2)
    inputs, rows, rectified, models = a_case(layout=layout)
    random = np.random.default_rng(4)
    by_flux, by_model = random.permutation(12), random.permutation(12)
    flux, model = matched(inputs, rows, [rectified[i] for i in by_flux], [models[i] for i in by_model], layout)
    assert {n: by_flux[i] for n, i in flux.items()} == RIGHT
    assert {n: by_model[i] for n, i in model.items()} == RIGHT


def test_with_a_mask_the_nearest_model_is_taken():
    inputs, rows, rectified, models = a_case()
    layout = Layout(LAYOUT.chips, 4, 2, True, 2)
    assert matched(inputs, rows, rectified, models[::-1], layout)[1] == {n: 11 - i for n, i in RIGHT.items()}


def test_a_line_of_another_spectrum_is_never_taken():
    inputs, rows, rectified, models = a_case()
    strangers = a_case(seed=9)
    rectified[4], models[7] = strangers[2][4], strangers[3][7]
    flux, model = matched(inputs, rows, rectified, models)
    assert flux == {n: i for n, i in RIGHT.items() if i != 4}
    assert set(RIGHT) - set(model) == {"n4", "n7"} and all(model[n] == RIGHT[n] for n in model)


def test_one_lost_line_does_not_shift_the_rest():
    inputs, rows, rectified, models = a_case()
    del rectified[2], models[2]
    layout = Layout(LAYOUT.chips, 4, 2, False, 1)
    flux, model = match(rows, rectified, models, inputs.__getitem__, layout)
    whole = a_case()
    assert "n2" not in flux and "n2" not in model
    assert flux == {n: whole[2][i] for n, i in RIGHT.items() if n != "n2"}
    assert model == {n: whole[3][i] for n, i in RIGHT.items() if n != "n2"}


def test_one_lost_model_does_not_shift_the_rest():
    inputs, rows, rectified, models = a_case()
    models = [*models[:2], *models[3:], models[0]]
    layout = Layout(LAYOUT.chips, 4, 2, False, 1)
    _, model = match(rows, rectified, models, inputs.__getitem__, layout)
    assert model == {n: a_case()[3][i] for n, i in RIGHT.items() if n != "n2"}


@pytest.mark.parametrize("n_threads", [1, 3])
def test_thousands_of_lines_need_few_at_once(n_threads):
    inputs, rows, rectified, models = a_case(300)
    order = np.arange(300)
    if n_threads > 1:
        order = np.argsort(order + np.random.default_rng(0).uniform(0, 6, 300))
    lost = {70, 71, 200}
    served = []

    def serve(lines):
        for number, i in enumerate(order):
            if i not in lost:
                served.append(number)
                yield lines[i]

    layout = Layout(LAYOUT.chips, 4, 2, False, n_threads)
    flux, model, most = {}, {}, 0
    for found in match_lines(rows, serve(rectified), serve(models), inputs.__getitem__, layout):
        flux |= found.rectified
        model |= found.models
        most = max(most, len(served) // 2 - len(model))
    expected = {f"n{i}": rectified[i] for i in range(300) if i not in lost}
    assert flux == expected and set(model) == set(expected)
    assert all(model[name] == models[int(name[1:])] for name in model)
    assert most < 12


def test_names_are_believed():
    inputs, rows, rectified, models = a_case()
    lines = [b"n%d " % i + line for i, line in enumerate(rectified)]
    flux, _ = match(rows, lines[::-1], models, inputs.__getitem__, LAYOUT)
    assert flux == {n: rectified[i] for n, i in RIGHT.items()}


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
@pytest.mark.parametrize(
    "case", ["params_covprint1", "params_covprint0", "threads2", "bad_spectra_covprint1", "killed_unbuffered"]
)
def test_recorded_lines_find_their_spectra(real_data, version, case):
    folder = real_data / "ferre_recorded" / version / case
    found = rows(folder / "parameter.output")
    flux, error = (np.loadtxt(folder / name) for name in ("flux.input", "e_flux.input"))
    layout = Layout((slice(0, 100), slice(100, 200), slice(200, 300)), 4, 4, False, 2)
    place = lambda name: int(name.split("_")[0])  # noqa: E731
    rectified, models = (read_lines(folder / f"rectified_{kind}.output") for kind in ("flux", "model_flux"))
    lines, model_lines = match(found, rectified, models, lambda n: Input(flux[place(n)], error[place(n)]), layout)
    # The runs with one thread say what belongs to whom.
    one = real_data / "ferre_recorded" / version / ("bad_spectra_covprint1" if "bad" in case else "params_covprint1")
    right = np.loadtxt(one / "rectified_flux.output"), np.loadtxt(one / "rectified_model_flux.output")
    for name, line in lines.items():
        np.testing.assert_allclose(parse_fluxes(line, 300), right[0][place(name)], rtol=2e-4)
    for name, line in model_lines.items():
        np.testing.assert_allclose(parse_fluxes(line, 300), right[1][place(name)], rtol=2e-3)
    usable = {
        name
        for name, row in found.items()
        if row.is_good and place(name) not in ((3, 4, 5, 6) if "bad" in case else ())
    }
    assert usable <= set(lines) and usable <= set(model_lines)


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
def test_all_recorded_files_are_read(real_data, version):
    for path in sorted((real_data / "ferre_recorded" / version).glob("*/*.output")):
        lines = read_lines(path)
        if "parameter" in path.name:
            assert len(rows(path)) == len(lines), path
        else:
            parsed = [parse_fluxes(line, 300) for line in lines]
            assert all(p is not None for p in parsed), path
            if parsed:
                np.testing.assert_allclose(np.array(parsed), np.loadtxt(path, ndmin=2), rtol=5e-16, err_msg=str(path))
