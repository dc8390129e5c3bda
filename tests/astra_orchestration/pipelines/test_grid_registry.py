"""Grids by name: fetched from a wheel or registered where they are, found again, and refused once they are damaged."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from astra_orchestration.cli.main import app
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateError
from astra_orchestration.pipelines.white_dwarfs.registry import (
    BUILT_IN,
    add_grid,
    find_by_digest,
    find_grid,
    grids,
    grids_folder,
    label_of,
    resolve_grid,
)
from astra_orchestration.pipelines.white_dwarfs.warwick import FOLDER, GRIDS, FetchError, fetch, read_wheel
from tests.answers import data_of

PIP_HOME = os.environ.get("HOME", "")
"""Where the configuration of this machine's pip is; the tests themselves have an empty home."""

TEFFS = (3750.0, 4000.0, 8000.0, 12_000.0)
WAVELENGTHS = np.sort(np.append(np.arange(3400.0, 9700.0, 4.0), 3648.0))  # one is there twice
NODES = {"da": (7.0, 7.5, 8.0, 8.5, 9.0), "da_low_gravity": (5.0, 5.5, 6.0, 6.5)}
FETCH = "import sys; from astra_orchestration.pipelines.white_dwarfs.warwick import fetch; fetch(*sys.argv[1:])"


def eddington_flux(teff, logg):
    """Give H_nu of a made-up model: a black body's slope, with a Balmer line."""
    line = 1 - 0.5 * np.exp(-0.5 * ((WAVELENGTHS - 6562.8) / (10 + logg)) ** 2)
    return 1e-5 * (teff / 1e4) ** 4 * (WAVELENGTHS / 5500.0) ** -1.6 * line


def model_file(logg):
    """Write models as the wheel has them: also an exponent without an E."""
    rows = [f" {WAVELENGTHS.size}"]
    rows += [" ".join(f"{value:9.2f}" for value in WAVELENGTHS[i : i + 10]) for i in range(0, WAVELENGTHS.size, 10)]
    for teff in TEFFS:
        rows.append(f" Effective temperature = {teff:10.1f}  gravity = {10**logg:10.3E}  y =  0.000E+00")
        written = [f"{value:.5E}" for value in eddington_flux(teff, logg)]
        written[0] = "1.00000-102"
        rows += [" ".join(written[i : i + 6]) for i in range(0, len(written), 6)]
    return "\n".join(rows) + "\n"


@pytest.fixture
def wheel(tmp_path):
    """Give a function that writes a wheel like the real one, with some files left out or other content."""

    def write(name="corv-0.2-py3-none-any.whl", **changed):
        path = tmp_path / name
        files = {f"{logg * 100:.0f}_3D": model_file(logg) for several in NODES.values() for logg in several}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("corv/__init__.py", "raise SystemExit('run')\n")
            for file, content in (files | changed).items():
                if content is not None:
                    archive.writestr(f"{FOLDER}/{file.removeprefix('f')}", content)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    return write


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Give the user's folder of grids, which isn't there yet."""
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    return tmp_path / "data/grids"


def arrays_in(path):
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def astra(*words):
    return CliRunner().invoke(app, ["grids", *map(str, words)])


# ---- fetching


def test_a_wheel_becomes_two_registered_grids(wheel, data):
    found = fetch(*wheel())

    assert [(grid.name, Path(grid.path)) for grid in found] == [(name, data / f"{name}.npz") for name in GRIDS]
    assert sorted(path.name for path in data.iterdir()) == sorted(f"{n}.{s}" for n in GRIDS for s in ("json", "npz"))
    for grid in found:
        assert grid == find_grid(grid.name) and grid.problem() is None
        content = arrays_in(grid.path)
        teff = [teff for teff in TEFFS if teff >= GRIDS[grid.name].lowest_teff]
        inside = np.unique(WAVELENGTHS[(WAVELENGTHS >= 3500) & (WAVELENGTHS <= 9500)])
        assert content["teff"].tolist() == teff and content["logg"].tolist() == list(NODES[grid.name])
        assert content["wavelength"].tolist() == inside.tolist() and str(content["medium"]) == "air"
        expected = [
            [np.interp(inside, *np.array([WAVELENGTHS, eddington_flux(t, g)])) for g in NODES[grid.name]] for t in teff
        ]
        # erg/s/cm2/Angstrom: 4 pi H_nu c / lambda^2
        expected = 4 * np.pi * np.array(expected) * 2.99792458e18 / inside**2
        np.testing.assert_allclose(content["flux"], expected, rtol=1e-5)
        assert load_grid(grid.path).wavelength[0] > inside[0]  # in vacuum now


def test_the_bytes_of_a_grid_follow_from_the_models_alone(wheel, data, monkeypatch):
    first = [grid.sha256 for grid in fetch(*wheel())]
    monkeypatch.setenv("ASTRA_DATA", str(data.parent / "another"))
    assert [grid.sha256 for grid in fetch(*wheel("again.whl"))] == first


def test_a_grid_that_is_there_is_not_fetched_again(wheel, data, monkeypatch):
    before = fetch(*wheel())
    monkeypatch.setattr(sys, "executable", "/bin/false")  # no pip could be run
    assert fetch() == before


def test_a_damaged_grid_is_noticed_and_mended(wheel, data):
    file, sha256 = wheel()
    [grid, _] = fetch(file, sha256)
    whole = Path(grid.path).read_bytes()
    Path(grid.path).write_bytes(whole[:-100] + bytes(100))

    with pytest.raises(TemplateError, match=r"'da' can't be used: .*another checksum.*`astra grids fetch da`"):
        resolve_grid(None)
    with pytest.raises(TemplateError, match="another checksum"):  # by its path, too
        resolve_grid(Path(grid.path))
    listed = astra("list")
    assert listed.exit_code == 1 and "can't be used: da:" in listed.stderr
    fetch(file, sha256)
    assert Path(grid.path).read_bytes() == whole and resolve_grid(None) == Path(grid.path)


def test_programs_are_told_of_grids(wheel, data):
    fetched = fetch(*wheel())
    listed = data_of(astra("list", "--json"), "grids list")["grids"]
    assert [(grid["name"], grid["problem"]) for grid in listed] == sorted((grid.name, None) for grid in fetched)
    [added] = data_of(astra("add", "own", fetched[0].path, "--source", "here", "--json"), "grids add")["grids"]
    assert (added["name"], added["source"], added["sha256"]) == ("own", "here", fetched[0].sha256)


def test_a_lost_file_is_noticed(wheel, data):
    [grid, _] = fetch(*wheel())
    os.remove(grid.path)
    with pytest.raises(TemplateError, match=r"da\.npz isn't there; fetch it again"):
        resolve_grid(None)


def test_another_wheel_is_refused(wheel, data):
    file, _ = wheel()
    said = astra("fetch", "da", "--from", file)
    assert said.exit_code == 1 and "has SHA-256" in said.stderr and "not 1caa0d70" in said.stderr.replace("\n", " ")
    assert not data.exists()


@pytest.mark.parametrize("left", [0, 10, 2000])
def test_a_truncated_wheel_is_refused(wheel, data, left):
    file, sha256 = wheel()
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(FetchError, match="damaged or another file"):
        fetch(file, sha256)
    with pytest.raises(TemplateError, match="can't be unpacked"):
        read_wheel(file.read_bytes())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"800_3D": None}, r"the wheel has no corv/models/warwick_da/800_3D; is it of corv 0.2\?"),
        ({"800_3D": ""}, "800_3D doesn't begin with a number of wavelengths"),
        ({"800_3D": "this is text\n"}, "800_3D doesn't begin with a number of wavelengths"),
        ({"800_3D": model_file(8.0).rsplit(" ", 5)[0]}, "800_3D has .* fluxes of 12000 K, and .* belong there"),
        ({"800_3D": model_file(8.0).replace("E-", "X-")}, "800_3D: its fluxes of 3750 K aren't numbers"),
        ({"800_3D": model_file(7.5)}, "800_3D has models of logg 7.5, as another file"),
        ({"650_3D": model_file(6.5).replace("8000.0 ", "8500.0 ")}, "such as that of teff 8000 K, logg 6.5"),
        ({"800_3D": model_file(8.0).replace("6560.00", "6561.00")}, "800_3D has other wavelengths than 700_3D"),
    ],
)
def test_a_wheel_with_other_files_is_refused(wheel, data, changed, told):
    with pytest.raises(TemplateError, match=told):
        fetch(*wheel(**changed))
    assert not data.exists()


def test_what_is_no_file_is_refused(data, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.whl"):
        said = astra("fetch", "da", "--from", path)
        assert said.exit_code == 1 and "is no file; give the wheel corv 0.2" in said.stderr.replace("\n", " ")


def test_two_at_once_leave_whole_grids(wheel, data):
    file, sha256 = wheel()
    several = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", FETCH, str(file), sha256]) for _ in range(3)]
    assert [process.wait(120) for process in several] == [0, 0, 0]
    assert [(grid.name, grid.problem()) for grid in grids()] == [("da", None), ("da_low_gravity", None)]
    assert len(list(data.iterdir())) == 4


@pytest.mark.parametrize("kind", ["read only", "a file"])
def test_a_folder_that_cannot_be_written_to_is_named(wheel, monkeypatch, tmp_path, kind):
    named = tmp_path / "named"
    if kind == "a file":
        named.write_text("no folder")
    elif os.geteuid() == 0:  # whom no mode keeps from writing
        named = Path("/proc/self")
    else:
        named.mkdir(stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setenv("ASTRA_DATA", str(named))
    with pytest.raises(OSError, match=r"can't be written .*; make the folder writable, or .* ASTRA_DATA"):
        fetch(*wheel())


def test_the_real_wheel_gives_the_reference_grids(real_data, data, tmp_path):
    file = download(tmp_path)
    said = astra("fetch", "da", "--from", file)
    assert said.exit_code == 0, said.output
    for name, reference in (("da", "da_grid"), ("da_low_gravity", "da_low_gravity")):
        mine, theirs = arrays_in(find_grid(name).path), arrays_in(real_data / f"warwick_da/{reference}.npz")
        assert sorted(mine) == sorted(theirs)
        assert all(np.array_equal(mine[array], theirs[array]) for array in theirs)


def test_pip_fetches_it(data, tmp_path, monkeypatch):
    download(tmp_path)
    monkeypatch.setenv("HOME", PIP_HOME)
    said = astra("fetch", "da")
    assert said.exit_code == 0, said.output
    assert [(grid.name, grid.problem()) for grid in grids()] == [("da", None), ("da_low_gravity", None)]
    assert "corv" not in sys.modules


def download(folder):
    words = ["download", "--no-deps", "--only-binary", ":all:", "--retries", "0", "--timeout", "15", "corv==0.2"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "-d", folder], env=os.environ | {"HOME": PIP_HOME}, capture_output=True
    )
    if done.returncode:
        pytest.skip("pip's package index can't be reached from here, or doesn't have corv 0.2")
    return folder / "corv-0.2-py3-none-any.whl"


def test_without_an_index_it_says_what_to_do(data, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    said = astra("fetch", "da")
    assert said.exit_code == 1 and "pip can't download corv==0.2" in said.stderr
    assert "--from corv-0.2-py3-none-any.whl" in said.stderr.replace("\n", " ")
    assert "secret" not in said.output
    assert not data.exists()


# ---- registering


def test_a_grid_of_ones_own_is_found_by_its_name(wheel, data, tmp_path):
    own = tmp_path / "own.npz"
    own.write_bytes(Path(fetch(*wheel())[1].path).read_bytes())
    said = astra("add", "low", own, "--source", "a friend")
    assert said.exit_code == 0, said.output
    assert resolve_grid("low") == resolve_grid(Path("low")) == own
    assert find_grid("low").source == "a friend"
    assert "low" in astra("list").stdout
    assert label_of(own) == find_grid("low").label == f"low {find_grid('low').sha256[:12]}"
    assert find_by_digest(find_grid("low").sha256[:12]).sha256 == find_grid("low").sha256


def test_a_name_keeps_its_grid(wheel, data):
    first, second = fetch(*wheel())
    add_grid("mine", first.path)
    add_grid("mine", first.path)
    with pytest.raises(TemplateError, match="'mine' is the name of another grid already"):
        add_grid("mine", second.path)
    add_grid("mine", second.path, replace=True)
    assert find_grid("mine").sha256 == second.sha256


@pytest.mark.parametrize("name", ["", "built-in", "a b", "../da", ".hidden", "x" * 41, "da.npz"])
def test_names_that_cannot_be(wheel, data, name):
    grid = fetch(*wheel())[0]
    with pytest.raises(TemplateError, match="take 1 to 40 letters"):
        add_grid(name, grid.path)


def test_what_is_no_grid_is_not_registered(data, tmp_path):
    (tmp_path / "text.npz").write_text("no grid")
    for path in ("text.npz", "nowhere.npz"):
        assert astra("add", "mine", tmp_path / path).exit_code == 1
    assert not data.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"path": "/x", "sha256": "12"}', "{"])
def test_a_note_that_cannot_be_read_is_named(data, content):
    data.mkdir(parents=True)
    (data / "da.json").write_text(content)
    with pytest.raises(TemplateError, match=r"da\.json .*; remove it, and run `astra grids fetch da`"):
        resolve_grid(None)


def test_nothing_registered_means_the_built_in_family(data):
    assert resolve_grid(None) is resolve_grid(Path(BUILT_IN)) is None
    assert "no grid is registered" in astra("list").stdout
    assert list(grids()) == []


def test_a_folder_is_a_grid_too(wheel, data, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    axis = np.arange(6450.0, 6680.0, 0.5)
    for teff in (8000, 12000):
        for logg in (7.5, 8.0):
            line = 1 - 0.6 * np.exp(-0.5 * ((axis - 6562.8) / (10 + logg + teff / 1e4)) ** 2)
            rows = "\n".join(f"{w:.2f} {f:.5e}" for w, f in zip(axis, line, strict=True))
            (folder / f"{teff}_{logg}").write_text(f"# teff = {teff} K\n# logg = {logg}\n{rows}\n")
    grid = add_grid("koester", folder)
    assert resolve_grid("koester") == folder and label_of(folder) == grid.label
    (folder / "8000_8.0").write_text("changed")
    with pytest.raises(TemplateError, match=r"`astra grids add koester .* --replace`"):
        resolve_grid("koester")


# ---- where grids are


def test_where_grids_are(monkeypatch, tmp_path):
    home = Path(os.environ["HOME"])
    assert grids_folder() == home / ".local/share/astra/grids"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert grids_folder() == tmp_path / "xdg/astra/grids"
    monkeypatch.setenv("ASTRA_DATA", "~/elsewhere")
    assert grids_folder() == home / "elsewhere/grids"


def test_a_note_says_where_a_grid_is_from(wheel, data):
    fetch(*wheel())
    note = json.loads((data / "da.json").read_text())
    assert note["source"] == "corv==0.2, corv/models/warwick_da" and len(note["sha256"]) == 64
