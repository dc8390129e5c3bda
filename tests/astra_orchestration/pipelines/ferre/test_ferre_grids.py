"""Grids: headers in all the freedom of a namelist, models of the right size, errors that say what is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models.errors import MissingFileError
from astra_models.pixels.namelists import fortran_number, read_namelists
from astra_orchestration.pipelines.ferre.grid import Chip, GridError, read_grid, write_grid

LABELS = ("METALS", "LOGG", "TEFF")
LOWER, STEPS, N_POINTS = (-1.0, 1.0, 4000.0), (0.5, 1.5, 250.0), (2, 3, 4)
CHIPS = (Chip(4.180476, 6e-6, 5), Chip(4.200510, 6e-6, 7))


def models():
    return np.random.default_rng(0).random((*N_POINTS, 12), dtype=np.float32)


def test_what_is_written_is_read(tmp_path):
    made = models()
    grid = write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, made, resolution=22500.0)
    assert grid == read_grid(tmp_path / "g.hdr")
    assert (grid.labels, grid.n_points, grid.lower, grid.steps, grid.chips) == (LABELS, N_POINTS, LOWER, STEPS, CHIPS)
    assert (grid.n_dim, grid.n_pixels, grid.resolution) == (3, 12, 22500.0)
    assert grid.upper == (-0.5, 4.0, 4750.0)
    assert grid.nodes("TEFF").tolist() == [4000.0, 4250.0, 4500.0, 4750.0]
    assert grid.wavelength[[0, 5]] == pytest.approx([10**4.180476, 10**4.200510], rel=1e-12)
    np.testing.assert_array_equal(grid.models(), made)
    assert (tmp_path / "g.unf").read_bytes() == made.astype("<f4").tobytes()


def test_a_grid_is_named_by_its_header_its_models_or_neither(tmp_path):
    grid = write_grid(tmp_path / "p_apst.v2", LABELS, LOWER, STEPS, CHIPS, models())
    assert grid.path.name == "p_apst.v2.hdr"
    for name in ("p_apst.v2", "p_apst.v2.unf", "p_apst.v2.hdr"):
        assert read_grid(tmp_path / name) == grid


def test_one_chip_needs_no_further_block(tmp_path):
    grid = write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS[:1], models()[..., :5], resolution=None)
    assert grid.chips == CHIPS[:1] and grid.resolution is None
    assert (tmp_path / "g.hdr").read_text().count("&SYNTH") == 1


def test_a_header_in_all_the_freedom_of_a_namelist(tmp_path):
    write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models())
    (tmp_path / "g.hdr").write_text(
        "made on a Tuesday, it's said\n"
        "&synth\n\tn_of_dim=3, Label(3)\t=\"TEFF\"\n LABEL(1)='METALS' , ! don't / stop\n label(2) = 'LOGG'\n"
        " N_P = 2\n   3,\n  4\n LLIMITS=-1.d0 1. 4.0D+03 STEPS = 5.0e-1\n1.5 250\n ID='a/b ''c'''\n"
        " MULTI=2 NPIX=12 LOGW=1\n/\n"
        "$Synth WAVE=4.180476,6.e-6, npix=5 LOGW = 1 $END\n"
        "&SYNTH\r\n npix = 7\r\n wave = 4.200510 6e-6\r\n logw=1 resolution = 2*22500.\r\n/\r\n"
    )
    grid = read_grid(tmp_path / "g.hdr")
    assert (grid.labels, grid.n_points, grid.lower, grid.steps, grid.chips) == (LABELS, N_POINTS, LOWER, STEPS, CHIPS)
    assert grid.resolution == 22500.0


def test_steps_of_the_natural_logarithm_become_those_of_log10(tmp_path):
    write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models())
    text = (tmp_path / "g.hdr").read_text().replace("LOGW = 1", "LOGW = 2")
    (tmp_path / "g.hdr").write_text(text)
    assert read_grid(tmp_path / "g.hdr").chips[0].start == pytest.approx(4.180476 / np.log(10))


def test_a_compressed_grid_has_the_pixels_of_its_chips(tmp_path):
    write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models())
    text = (tmp_path / "g.hdr").read_text().replace(" NPIX = 12\n", " NPIX = 4\n NPCA = 2 2\n")
    (tmp_path / "g.hdr").write_text(text)
    assert read_grid(tmp_path / "g.hdr").n_pixels == 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((" /\n", "\n"), r"block &SYNTH has no end"),
        (("N_P = 2 3 4", "N_P = 2 3"), r"N_P should have 3 numbers, and has 2 3"),
        (("N_P = 2 3 4", "N_P = 2 3 many"), r"N_P = 2 3 many aren't all numbers"),
        (("N_P = 2 3 4", "N_P = 2 3 4.5"), r"whole numbers are needed for counts"),
        (("N_P = 2 3 4", "N_P = 2 3 0"), r"N_P has to be 1 or more"),
        (("STEPS = 0.5", "STEPS = NaN"), r"STEPS = NaN.*finite numbers"),
        (("STEPS = 0.5", "STEPS = -0.5"), r"STEPS over 0"),
        (("LABEL(2) = 'LOGG'", "LABEL(2) = 'TEFF'"), r"LABEL has to name each of 3 dimensions"),
        (("MULTI = 2", "MULTI = 4"), r"MULTI = 4, and 2 further blocks follow"),
        (("NPIX = 7", "NPIX = 8"), r"NPIX of the first block is 12, and its chips have 13 pixels"),
        (("NPIX = 7", "NPIX = 0"), r"a chip of 0 pixels"),
        (("LOGW = 1", "LOGW = 0"), r"LOGW = 0, linear wavelengths; only log10"),
        (("WAVE", "WAVES"), r"WAVE should have 2 numbers, and has none"),
        (("&SYNTH", "&OTHER"), r"isn't the header of a grid: it has no block &SYNTH"),
        (("N_P = 2 3 4", "N_P = 2 3 9"), r"g.unf has 1152 bytes instead of 2592, .*copy the grid again"),
        (("N_P = 2", "N_P(99999999) = 2"), r"an index of 99999999"),
    ],
)
def test_a_header_that_is_wrong_is_told_by_name_value_and_remedy(tmp_path, change, says):
    write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models())
    text = (tmp_path / "g.hdr").read_text()
    assert change[0] in text
    (tmp_path / "g.hdr").write_text(text.replace(*change))
    with pytest.raises(GridError, match=says) as error:
        read_grid(tmp_path / "g.hdr")
    assert "g.hdr" in str(error.value) and "\n" not in str(error.value)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"there is no grid .*none.hdr"):
        read_grid(tmp_path / "none.hdr")
    write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models())
    (tmp_path / "g.unf").unlink()
    with pytest.raises(MissingFileError, match=r"g.unf is missing"):
        read_grid(tmp_path / "g.hdr")
    (tmp_path / "folder.hdr").mkdir()
    with pytest.raises(GridError, match=r"folder.hdr can't be read"):
        read_grid(tmp_path / "folder.hdr")


def test_models_that_do_not_fit_are_not_written(tmp_path):
    with pytest.raises(GridError, match=r"models of shape \(2, 3, 12\) don't fit to 3 labels"):
        write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models()[..., 0, :])
    bad = models()
    bad[1, 1, 1, 1] = np.nan
    with pytest.raises(GridError, match=r"1 numbers of the models aren't finite"):
        write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, bad)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_dimension_is_told_with_the_known_ones(tmp_path):
    grid = write_grid(tmp_path / "g.hdr", LABELS, LOWER, STEPS, CHIPS, models())
    with pytest.raises(GridError, match=r"no dimension 'VSINI': it has METALS, LOGG, TEFF"):
        grid.axis("VSINI")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_no_text_breaks_the_reader_of_namelists(text):
    for whole in (text, f"&SYNTH {text}\n/\n"):
        try:
            groups = read_namelists(whole, "synth")
        except ValueError:
            continue
        assert all(isinstance(value, str) for group in groups for values in group.values() for value in values)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("eEdD"))
def test_numbers_are_read_as_fortran_writes_them(number, letter):
    assert fortran_number(f"{number:.16e}".replace("e", letter)) == number


def test_exponents_of_three_digits_have_no_letter():
    assert (fortran_number("1.5-101"), fortran_number("-2.25+120")) == (1.5e-101, -2.25e120)


def test_the_recorded_grid_is_read(real_data):
    grid = read_grid(real_data / "ferre_recorded" / "grid" / "small.hdr")
    assert grid.labels == ("O Mg Si S Ca Ti", "METALS", "LOGG", "TEFF")
    assert (grid.n_points, grid.upper) == ((4, 4, 4, 5), (0.75, 0.0, 4.0, 6000.0))
    assert [chip.n_pixels for chip in grid.chips] == [100, 100, 100]


def test_writing_the_recorded_grid_gives_its_models_to_the_byte(real_data, tmp_path):
    recorded = read_grid(real_data / "ferre_recorded" / "grid" / "small.hdr")
    grid = write_grid(
        tmp_path / "g.hdr", recorded.labels, recorded.lower, recorded.steps, recorded.chips, recorded.models()
    )
    assert grid.models_path.read_bytes() == recorded.models_path.read_bytes()
    assert not re.search("[^\x00-\x7f]", Path(grid.path).read_text())
