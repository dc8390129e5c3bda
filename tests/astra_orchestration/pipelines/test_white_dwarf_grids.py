"""Template grids: what they hold, which files give one, and what is said about files that don't."""

import dataclasses
import pickle

import numpy as np
import pytest

from astra_models.errors import AstraError
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family, da_flux
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateError, TemplateGrid

H_ALPHA, H_BETA = 6564.6, 4862.7
WAVELENGTH = np.arange(3800.0, 6900.0, 0.5)
TEFF, LOGG = (10_000.0, 14_000.0, 20_000.0), (7.5, 8.0, 8.5)


def depth(teff, logg, centre, offset=0.0):
    """Depth of a line, relative to the flux well outside."""
    inside, *outside = da_flux(np.array([centre + offset, centre - 140, centre + 140]), teff, logg)
    return 1 - inside / np.mean(outside)


def arrays():
    flux = [[da_flux(WAVELENGTH, teff, logg) for logg in LOGG] for teff in TEFF]
    return {"teff": np.array(TEFF), "logg": np.array(LOGG), "wavelength": WAVELENGTH, "flux": np.array(flux)}


@pytest.fixture
def npz(tmp_path):
    def write(**changes):
        content = {key: value for key, value in (arrays() | changes).items() if value is not None}
        np.savez(tmp_path / "grid.npz", **content)
        return tmp_path / "grid.npz"

    return write


@pytest.fixture
def koester(tmp_path):
    """A folder of models as text, in air like the published ones, with names that say nothing."""
    folder = tmp_path / "models"
    folder.mkdir()
    for number, (teff, logg) in enumerate((t, g) for t in TEFF for g in LOGG):
        write_model(folder / f"model{number}.txt", teff, logg)
    (folder / "README").write_text("Models from somewhere.\n")
    return folder


def write_model(path, teff, logg, in_air=True, first=3790.0, last=6910.0):
    axis = np.arange(first, last, 0.5)
    flux = da_flux(axis * (1.000277 if in_air else 1.0), teff, logg)
    lines = [
        "# Koester WD models",
        f"# teff = {teff:g} K (value for ...)",
        f"# logg = {logg:g} log(cm/s2)",
        "#",
    ]
    lines += [f" {w:10.3f}\t {f:.5e}\t" for w, f in zip(axis, flux, strict=True)]
    path.write_text("\n".join([*lines, "#time:0.05"]) + "\n")


def core_of_h_alpha(grid):
    near = np.abs(grid.wavelength - H_ALPHA) < 10
    return grid.wavelength[near][np.argmin(grid.flux[1, 1, near])]


def test_balmer_lines_are_strongest_near_12500_kelvin():
    for centre in (H_ALPHA, H_BETA):
        assert depth(12_500, 8, centre) > max(depth(7000, 8, centre), depth(35_000, 8, centre)) + 0.1


def test_gravity_widens_the_wings():
    assert depth(12_500, 8.8, H_BETA, offset=40) > 1.3 * depth(12_500, 7.4, H_BETA, offset=40)


def test_analytic_flux_takes_any_shape_and_order():
    forward = da_flux(WAVELENGTH, 12_000, 8)
    assert np.all(forward > 0)
    np.testing.assert_array_equal(da_flux(WAVELENGTH[::-1], 12_000, 8), forward[::-1])
    assert da_flux(WAVELENGTH.reshape(2, -1), 12_000, 8).shape == (2, WAVELENGTH.size // 2)


def test_hotter_stars_are_bluer():
    blue, red = (da_flux(np.array([4550.0, 7000.0]), teff, 8) for teff in (30_000, 8000))
    assert blue[0] / blue[1] > 1.5 * red[0] / red[1]


@pytest.mark.parametrize(("teff", "logg"), [(6900, 7.1), (9333, 8.61), (12_345, 7.9), (33_000, 8.03)])
def test_family_gives_the_analytic_flux_between_its_nodes(teff, logg):
    axis = np.log10(np.linspace(3900, 6800, 5001))
    ratio = balmer_family().evaluate(axis, np.log10(teff), logg).flux / da_flux(10**axis, teff, logg)
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=2e-4)


@pytest.mark.parametrize("nodes", [(2, 2), (3, 3), (20, 9)])
def test_derivatives_agree_with_differences(nodes):
    family = balmer_family()
    grid = TemplateGrid(
        family.teff[: nodes[0]],
        family.logg[: nodes[1]],
        family.wavelength,
        family.flux[: nodes[0], : nodes[1]],
    )
    axis, step = np.log10(np.linspace(3900, 6800, 400)), 1e-6
    point = (np.mean(np.log10(grid.teff[:2])), grid.logg[0] + 0.07)
    values = grid.evaluate(axis, *point)
    for number, derivative in enumerate(values[1:]):
        move = step * np.eye(3)[number]
        up = grid.evaluate(axis + move[0], point[0] + move[1], point[1] + move[2]).flux
        down = grid.evaluate(axis - move[0], point[0] - move[1], point[1] - move[2]).flux
        np.testing.assert_allclose(derivative, (up - down) / (2 * step), atol=1e-4 * np.abs(derivative).max())


def test_templates_are_convolved_to_the_instrument():
    axis = np.log10(np.linspace(6500, 6630, 300))
    sharp, dull = (
        TemplateGrid(**arrays(), resolution=resolution).evaluate(axis, np.log10(14_000), 8).flux
        for resolution in (None, 500.0)
    )
    assert dull.min() > 1.03 * sharp.min()
    assert dull.sum() == pytest.approx(sharp.sum(), rel=2e-3)
    assert abs(int(dull.argmin()) - int(sharp.argmin())) <= 1


def test_a_grid_does_not_change():
    given = arrays()
    grid = TemplateGrid(**given)
    given["flux"][:] = 1
    assert np.ptp(grid.flux) > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.teff = given["teff"]
    with pytest.raises(ValueError, match="read-only"):
        grid.flux[0] = 0


def test_npz_gives_its_arrays_and_the_default_resolution(npz):
    grid = load_grid(npz())
    for name, values in arrays().items():
        np.testing.assert_array_equal(getattr(grid, name), values)
    assert grid.resolution == 1900


@pytest.mark.parametrize(("stored", "expected"), [(2500.0, 2500.0), (0, None)])
def test_npz_may_say_its_resolution(npz, stored, expected):
    assert load_grid(npz(resolution=stored)).resolution == expected


def test_npz_in_air_is_converted(npz):
    grid = load_grid(npz(medium="air"))
    assert np.interp(6562.79, WAVELENGTH, grid.wavelength) == pytest.approx(6564.61, abs=0.01)
    assert np.interp(4861.32, WAVELENGTH, grid.wavelength) == pytest.approx(4862.68, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logg": None, "flux": None}, "logg, flux are missing; found teff, wavelength"),
        ({"teff": np.array([10_000.0, 20_000, 14_000])}, "teff is not finite, positive and increasing"),
        ({"teff": np.array([10_000.0, 10_000, 14_000])}, "remove repeated values"),
        ({"teff": np.array([0, 10_000.0, 14_000])}, "teff is not finite, positive"),
        ({"logg": np.array([7.5, 8.0, np.nan])}, "logg is not finite and increasing"),
        ({"logg": np.array([8.0])}, r"logg has shape \(1,\).*at least 2"),
        ({"wavelength": WAVELENGTH[:-1]}, r"flux has shape \(3, 3, 6200\).*\(3, 3, 6199\)"),
        ({"wavelength": WAVELENGTH[::-1]}, "wavelength is not finite, positive and increasing"),
        ({"flux": np.zeros((3, 3, WAVELENGTH.size))}, "flux is not finite and positive at 55800 of 55800"),
        ({"flux": np.full((3, 3, WAVELENGTH.size), np.inf)}, "cut the wavelengths"),
        ({"flux": np.full((3, 3, WAVELENGTH.size), "bright")}, "flux doesn't hold numbers"),
        ({"medium": "water"}, "medium is 'water'; it can be 'vacuum' or 'air'"),
        ({"resolution": -5.0}, r"resolution is -5\.0; give the positive resolving power"),
        ({"resolution": np.array([1.0, 2.0])}, "resolution has 2 values"),
    ],
)
def test_a_wrong_npz_is_refused_by_name_value_and_remedy(npz, changes, message):
    path = npz(**changes)
    with pytest.raises(TemplateError, match=message) as caught:
        load_grid(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, AstraError)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_nothing_is_unpickled(npz, tmp_path):
    with pytest.raises(TemplateError, match="without object arrays"):
        load_grid(npz(flux=np.array([Bomb()], dtype=object)))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(TemplateError, match="can't be read as an npz file of plain numbers"):
        load_grid(tmp_path / "pickle.npz")


@pytest.mark.parametrize("kept", [0, 10, 1000, 200_000])
def test_a_truncated_npz_is_an_error(npz, kept):
    path = npz()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TemplateError, match="can't be read as an npz file"):
        load_grid(path)


def test_a_damaged_npz_is_an_error(npz):
    path = npz()
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(TemplateError, match="can't be read as an npz file"):
        load_grid(path)


def test_a_single_array_is_not_a_grid(tmp_path):
    np.save(tmp_path / "grid.npy", np.ones(5))
    with pytest.raises(TemplateError, match="are missing; found a single array"):
        load_grid(tmp_path / "grid.npy")


def test_a_missing_path_names_parameter_and_variable(tmp_path):
    with pytest.raises(TemplateError, match=r"no template grid at .*nowhere.*ASTRA_CORV_GRID"):
        load_grid(tmp_path / "nowhere")


def test_koester_files_are_known_by_their_comments_and_brought_to_vacuum(koester):
    grid = load_grid(koester)
    np.testing.assert_array_equal(grid.teff, TEFF)
    np.testing.assert_array_equal(grid.logg, LOGG)
    assert core_of_h_alpha(grid) == pytest.approx(H_ALPHA, abs=0.3)
    expected = da_flux(grid.wavelength, 14_000, 8)
    np.testing.assert_allclose(grid.flux[1, 1], expected, rtol=3e-3)


def test_koester_files_already_in_vacuum_are_left_there(koester):
    for number, (teff, logg) in enumerate((t, g) for t in TEFF for g in LOGG):
        write_model(koester / f"model{number}.txt", teff, logg, in_air=False)
    assert core_of_h_alpha(load_grid(koester)) == pytest.approx(H_ALPHA, abs=0.3)


def test_an_incomplete_grid_names_the_missing_models(koester):
    (koester / "model4.txt").unlink()
    with pytest.raises(TemplateError, match=r"1 of 9 models \(teff, logg\) are missing: \(14000 K, 8\)"):
        load_grid(koester)


def test_a_model_given_twice_is_an_error(koester):
    write_model(koester / "again.txt", 14_000, 8)
    with pytest.raises(TemplateError, match="a second spectrum of teff 14000 K, logg 8"):
        load_grid(koester)


def test_a_folder_without_models_says_what_it_looked_for(tmp_path):
    (tmp_path / "README").write_text("nothing\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(TemplateError, match="has no model spectrum: no file with comment lines"):
        load_grid(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# logg", "# gravity", "no `# logg = ...` in its comment lines"),
        ("# teff", "# temperature", "no `# teff = ...` in its comment lines"),
        ("5000.000", "5000,000", "a row is not wavelength and flux"),
    ],
)
def test_a_damaged_model_is_refused(koester, old, new, message):
    path = koester / "model0.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TemplateError, match=message) as caught:
        load_grid(koester)
    assert "model0.txt" in str(caught.value)


def test_a_model_cut_short_is_refused(koester):
    lines = (koester / "model3.txt").read_text().splitlines()
    (koester / "model3.txt").write_text("\n".join(lines[: len(lines) // 2]))
    with pytest.raises(TemplateError, match=r"model3\.txt.*don't span H-alpha.*cut short"):
        load_grid(koester)


def test_a_model_with_negative_flux_is_refused(koester):
    path = koester / "model0.txt"
    path.write_text(path.read_text().replace("\t ", "\t -"))
    with pytest.raises(TemplateError, match="flux is not finite and positive"):
        load_grid(koester)


def test_real_koester_models(real_data):
    grid = load_grid(real_data / "koester_da")
    np.testing.assert_array_equal(grid.teff, [8000, 12_000, 20_000])
    np.testing.assert_array_equal(grid.logg, [7.5, 8, 8.5])
    assert core_of_h_alpha(grid) == pytest.approx(H_ALPHA, abs=0.1)
