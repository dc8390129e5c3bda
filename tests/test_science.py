"""`make science`: what it needs, says and writes. Its measurements are tried in small with each pipeline's tests."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from science import truth
from science.frame import DATA_VARIABLE, Data, Figure, find_data
from science.report import between, common_table, row, write

ROOT = Path(__file__).parents[1]


def test_without_a_grid_it_says_in_a_sentence_what_is_missing(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "ASTRA_DATABASE_PATH": ":memory:"}
    home |= {"ASTRA_DATA": "", DATA_VARIABLE: ""}
    done = subprocess.run(
        [sys.executable, "-m", "science", "--only", "corv"],
        cwd=ROOT,
        env=os.environ | home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "There is no grid of DA models: run `astra grids fetch da`" in done.stdout


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match=f"give the folder of the data by --data or {DATA_VARIABLE}"):
        find_data(tmp_path / "nowhere", None, 10)


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    grid = tmp_path / "warwick_da" / "da_grid.npz"
    grid.parent.mkdir()
    grid.touch()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    data = find_data(None, None, 10)
    assert data.grid == grid
    assert (
        data.missing
        == f"{tmp_path} has no koester_da, wdtools, pyhammer, annieslasso, apogee_tools: what needs them was left out."
    )
    assert not Data(tmp_path, grid).path("koester_da")


def test_figures_of_other_pipelines_stay(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- figures: science -->\n<!-- end of figures: science -->\nb\n")
    corv = Figure("Corv", "velocity", "own", "0.1", "0.0", True, "total")
    other = Figure("Snow White", "class", "own", "", "97 %")
    write(page, "science", common_table(page, [corv, other]))
    write(page, "science", common_table(page, [Figure("Corv", "velocity", "own", "0.1", "0.3", False)]))
    assert between(page, "science").count("Snow White") == 1
    assert "| 0.3 | **no** |" in between(page, "science")
    assert "| 0.0 | yes |" not in between(page, "science")
    assert page.read_text().startswith("a\n")
    assert page.read_text().endswith("\nb\n")
    assert row(other)[-1] == "reported"
    write(page, "science", common_table(page, [Figure("Corv", "velocity", "a grid that is here", "0.1", "0.2", False)]))
    assert "| 0.3 | **no** |" in between(page, "science"), "its truth wasn't measured again"
    with pytest.raises(SystemExit, match="figures: else"):
        write(page, "else", "")


def test_the_truth_shares_nothing_with_the_pipelines():
    assert "import astra" not in Path(truth.__file__).read_text()
    assert "from astra" not in Path(truth.__file__).read_text()


def test_a_truth_has_the_noise_that_it_says():
    random = np.random.default_rng(1)
    flux = np.linspace(2.0, 1.0, truth.PIXELS.size)
    seen = truth.expose(flux, 20, random)
    good = seen.ivar > 0
    pulls = (seen.flux - flux / np.median(flux))[good] * np.sqrt(seen.ivar[good])
    assert abs(pulls.mean()) < 0.1
    assert pulls.std() == pytest.approx(1, abs=0.05)
    assert np.mean(~good) == pytest.approx(0.01, abs=0.007)
    lines = good & (truth.PIXELS > 3900) & (truth.PIXELS < 6750)
    assert np.median((seen.flux * np.sqrt(seen.ivar))[lines]) == pytest.approx(20, rel=0.05)
