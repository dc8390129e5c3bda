"""docs/external_programs.md: its examples do what it says."""

import re
from pathlib import Path

import numpy as np

from tests.ferre.installing import install_fake, small_grid, star_spectra

PAGE = Path(__file__).parents[3] / "docs" / "external_programs.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(example, **given):
    exec(compile(EXAMPLES[example], str(PAGE), "exec"), given)
    return given


def test_the_program_that_dies_of_an_item(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(0, __name__="example")
    assert found["Doubling"].results == {1: 2, 2: 4, 4: 8}
    assert {item: outcome.state for item, outcome in found["outcomes"].items()} == {
        **dict.fromkeys([1, 2, 4], "finished"),
        13: "died",
    }
    for said in ("`{1: 2, 2: 4, 4: 8}`", "`outcomes[13].state` is `died`"):
        assert said in PAGE.read_text()


def test_a_fit_by_ferre(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    small_grid(tmp_path)
    install_fake(tmp_path)
    truth, spectra = star_spectra(4)
    given = {"names": spectra.names, "start": spectra.start, "flux": spectra.flux, "error": spectra.error}
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = run(1, **given)
    assert np.abs((found["found"].values - truth) / found["found"].errors).max() < 5
    assert np.isfinite(found["models"]).all()
