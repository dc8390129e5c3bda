"""Grids of the sample survey for FERRE: what is in them, and that the stars' spectra fit to them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from astra_orchestration.pipelines.ferre.grid import Grid, read_grid
from astra_orchestration.sample import SampleSummary, make_sample
from astra_orchestration.sample.apogee.grids import make_grids
from astra_orchestration.sample.apogee.light import observe, resolution_of
from astra_orchestration.sample.apogee.lines import CHIPS, log_wavelengths, model_flux, pixels_of_element
from astra_orchestration.sample.apogee.stars import draw_apogee_star

SMALL = ["GKd_b", "GKd_bs", "GKd_d", "GKd_ds", "GKg_b", "GKg_bs", "GKg_d", "GKg_ds"]
ORDER = ("METALS", "O Mg Si S Ca Ti", "C", "N", "LOGG", "TEFF")
AS_LABELS = [5, 4, 0, 1, 2, 3]
PERSISTENCE = 512 | 1024 | 2048


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return make_sample(tmp_path_factory.mktemp("sample"), stars=1, seed=1, aspcap=True)


@pytest.fixture(scope="module")
def grids(sample: SampleSummary) -> dict[str, Grid]:
    return {Path(path).stem: read_grid(path) for path in sample.grids}


def pixels_of(grid: Grid) -> np.ndarray:
    """Give the number of each of a grid's pixels among an apStar's."""
    found = (np.log10(grid.wavelength) - 4.179) / 6e-6
    np.testing.assert_allclose(found, np.round(found), atol=1e-5)
    return np.round(found).astype(int)


def labels_at(grid: Grid, *node: int) -> np.ndarray:
    """Give labels of the line model at a node."""
    values = [low + i * step for low, i, step in zip(grid.lower, node, grid.steps, strict=True)]
    return np.array(values)[AS_LABELS]


def interpolated(grid: Grid, place: np.ndarray) -> np.ndarray:
    """Interpolate by cubic polynomials through four nodes of each dimension."""
    flux = np.asarray(grid.models(), dtype=float)
    for value, low, step, n in zip(place, grid.lower, grid.steps, grid.n_points, strict=True):
        first = min(max(int((value - low) / step) - 1, 0), n - 4)
        x = (value - low) / step - first
        weights = [np.prod([(x - j) / (i - j) for j in range(4) if j != i]) for i in range(4)]
        flux = np.tensordot(weights, flux[first : first + 4], axes=1)
    return flux


# ---- files


def test_there_are_giants_and_dwarfs_two_line_spread_functions_and_both_telescopes(grids: dict[str, Grid]) -> None:
    assert sorted(grids) == sorted([*SMALL, "GKg_b_7514"])
    for name in SMALL:
        grid = grids[name]
        assert grid.labels == ORDER
        assert grid.n_points == (4, 4, 4, 4, 4, 5)
        assert [chip.n_pixels for chip in grid.chips] == [127, 104, 83]
        assert 6e6 < grid.models_path.stat().st_size < 7e6
        telescope = "lco25m" if name.endswith("s") else "apo25m"
        assert grid.resolution == pytest.approx(resolution_of(telescope, name[4]))


def test_giants_and_dwarfs_overlap(grids: dict[str, Grid]) -> None:
    giants, dwarfs = grids["GKg_b"], grids["GKd_b"]

    assert (giants.lower[4], giants.upper[4]) == pytest.approx((0.5, 3.8))
    assert (dwarfs.lower[4], dwarfs.upper[4]) == pytest.approx((2.9, 5.3))
    assert dwarfs.lower[5] < giants.upper[5]


def test_one_grid_has_all_pixels_of_the_three_chips(grids: dict[str, Grid]) -> None:
    full = grids["GKg_b_7514"]

    assert full.labels == ("METALS", "O Mg Si S Ca Ti", "LOGG", "TEFF")
    assert [(round(c.start, 6), c.step, c.n_pixels) for c in full.chips] == [
        (4.180476, 6e-6, 3028),
        (4.200510, 6e-6, 2495),
        (4.217064, 6e-6, 1991),
    ]
    expected = np.concatenate([np.arange(first, first + n) for first, n in CHIPS])
    np.testing.assert_array_equal(pixels_of(full), expected)


@pytest.mark.parametrize("name", ["GKg_b", "GKd_ds"])
def test_a_pixel_of_a_grid_is_one_of_an_ap_star(grids: dict[str, Grid], name: str) -> None:
    grid = grids[name]
    resolution = resolution_of("lco25m" if name.endswith("s") else "apo25m", name[4])

    for node in ((0, 0, 0, 0, 0, 0), (3, 1, 2, 0, 1, 4)):
        whole = model_flux(labels_at(grid, *node), log_wavelengths(), resolution)[0]
        np.testing.assert_allclose(grid.models()[node], whole[pixels_of(grid)], atol=1e-6)


def test_masks_have_a_weight_for_each_pixel(sample: SampleSummary, grids: dict[str, Grid]) -> None:
    for folder, grid in (("masks", grids["GKg_b"]), ("masks_7514", grids["GKg_b_7514"])):
        masks = {path.stem: np.loadtxt(path) for path in (Path(sample.folder) / "aspcap" / folder).glob("*.mask")}
        assert set(masks) == {"C", "N", "Mg", "Fe", "Al"}
        for element, weights in masks.items():
            assert weights.shape == (grid.n_pixels,)
            expected = pixels_of_element(np.log10(grid.wavelength), element)
            np.testing.assert_array_equal(weights, expected)
            assert 15 <= np.count_nonzero(weights) < 0.25 * grid.n_pixels
        for first, second in pairwise(("N", "Mg", "Fe", "Al")):
            assert not np.any(masks[first] * masks[second])


def test_grids_are_made_once_and_stay_when_the_stars_change(sample: SampleSummary, tmp_path: Path) -> None:
    made = make_sample(tmp_path, stars=1, seed=2)
    assert made.grids == []
    first = make_sample(tmp_path, stars=1, seed=2, aspcap=True)
    times = {path: Path(path).stat().st_mtime_ns for path in first.grids}

    again = make_sample(tmp_path, stars=1, seed=3, aspcap=True)

    assert first.was_there
    assert len(times) == 9
    assert {path: Path(path).stat().st_mtime_ns for path in again.grids} == times
    same = [Path(path).relative_to(tmp_path) for path in again.grids]
    assert all((Path(sample.folder) / path).read_bytes() == (tmp_path / path).read_bytes() for path in same)


def test_grids_that_lack_a_file_are_made_again(sample: SampleSummary, tmp_path: Path) -> None:
    whole = Path(sample.folder) / "aspcap"
    make_grids(tmp_path)

    for gone in ("GKg_d/GKg_d.unf", "masks/Al.mask"):
        (tmp_path / gone).unlink()
        make_grids(tmp_path)

        assert (tmp_path / gone).read_bytes() == (whole / gone).read_bytes()


# ---- do the stars fit to them?


@pytest.mark.parametrize("name", ["GKg_b", "GKd_d"])
def test_interpolating_a_grid_gives_the_model(grids: dict[str, Grid], name: str) -> None:
    grid = grids[name]
    random = np.random.default_rng(5)
    lower, upper = np.array(grid.lower), np.array(grid.upper)

    for place in lower + (upper - lower) * random.uniform(0.1, 0.9, (8, 6)):
        model = model_flux(place[AS_LABELS], np.log10(grid.wavelength), grid.resolution or 0)[0]
        error = interpolated(grid, place) - model
        assert np.std(error) < 4e-4
        assert np.abs(error).max() < 0.004


def test_every_star_is_within_a_grid_of_its_telescope_and_fibre(grids: dict[str, Grid]) -> None:
    for number in range(60):
        star = draw_apogee_star(1, number)
        suffix = star.lsf + ("s" if star.telescope == "lco25m" else "")
        place = np.array([star.m_h, star.alpha_m, star.c_m, star.n_m, star.logg, star.teff])
        inside = [
            np.all(place > np.array(grids[f"{kind}_{suffix}"].lower) + np.array(grids[f"{kind}_{suffix}"].steps) / 8)
            and np.all(
                place < np.array(grids[f"{kind}_{suffix}"].upper) - np.array(grids[f"{kind}_{suffix}"].steps) / 8
            )
            for kind in ("GKg", "GKd")
        ]
        assert any(inside), star


def test_the_truth_comes_back_from_the_pixels_of_a_small_grid(grids: dict[str, Grid]) -> None:
    pulls = np.array([pulls_of(number, pixels_of(grids["GKg_b"])) for number in range(60)])

    width = pulls.std(axis=0)
    assert pulls.shape == (60, 6)
    assert np.all((width > 0.75) & (width < 1.25)), width
    assert 0.9 < pulls.std() < 1.1
    assert np.abs(pulls.mean(axis=0)).max() < 0.5


def pulls_of(number: int, pixels: np.ndarray) -> np.ndarray:
    """Fit the six labels to a star's pixels, by its known continuum; give deviations over errors."""
    star = draw_apogee_star(1, number)
    seen = observe(1, star)
    good = pixels[(seen.by_pixel.error < 1e10)[pixels] & (seen.by_pixel.mask & PERSISTENCE == 0)[pixels]]
    flux, error = ((part / seen.continuum)[good] for part in (seen.by_pixel.flux, seen.by_pixel.error))
    pixel_positions, resolution = log_wavelengths()[good], resolution_of(star.telescope, star.lsf)
    steps = np.diag([5.0, 0.01, 0.005, 0.005, 0.005, 0.005])
    labels, truth = np.array(star.labels), np.array(star.labels)
    covariance = np.zeros((6, 6))
    for _ in range(3):
        model = model_flux(np.vstack([labels, labels + steps, labels - steps]), pixel_positions, resolution)
        by_label = (model[1:7] - model[7:]) / (2 * np.diag(steps)[:, None]) / error
        covariance = np.linalg.inv(by_label @ by_label.T)
        labels = labels + covariance @ by_label @ ((flux - model[0]) / error)
    return (labels - truth) / np.sqrt(np.diag(covariance))
