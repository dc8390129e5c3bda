"""The model spectrum of a row: as it was fitted, or one sentence on what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import AstraError, ModelSpectrumError
from astra_models.ingest import ingest_spectra
from astra_models.rocket import Rocket
from astra_orchestration.pipelines.corv import corv
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family
from astra_orchestration.pipelines.white_dwarfs.pixels import LINE_WINDOWS
from astra_orchestration.pipelines.white_dwarfs.registry import add_grid, find_grid
from astra_orchestration.sample import make_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    made = make_sample(tmp_path_factory.mktemp("sample"), stars=1, seed=5)
    return [path for path in made.files if "/visits/" in path][:2]


@pytest.fixture
def star(database, sample, tmp_path, monkeypatch):
    """Ingest a visit of the sample, and one whose file doesn't say that it is of the sample."""
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    real = tmp_path / Path(sample[1]).name
    real.write_bytes(
        Path(sample[1]).read_bytes().replace(b"ORIGIN  = 'astra sample survey'", b"ORIGIN  = 'somewhere else     '")
    )
    ingest_spectra([sample[0], str(real)])
    return tmp_path


def run(**parameters):
    report = write(analyse(corv, parameters={"all_spectra": True} | parameters))
    assert (report.inserted, report.rejected) == (2, 0)
    return list(Corv.select().order_by(Corv.spectrum_pk))


def write_grid(path, factor=1.0):
    family = balmer_family()
    few = {"teff": family.teff[::5], "logg": family.logg[::4], "flux": family.flux[::5, ::4] * factor}
    np.savez(path, wavelength=family.wavelength, resolution=0, **few)
    return path


def reduced_chi2(found, n_parameters):
    kept = np.isfinite(found.residuals) & ~found.clipped
    return np.sum(found.residuals[kept] ** 2) / (np.count_nonzero(kept) - n_parameters)


def test_the_model_of_a_row_is_the_one_that_was_fitted(star):
    for row in run():
        spectrum = BossVisitSpectrum.get(spectrum_pk=row.spectrum_pk)
        found = row.model_spectrum()
        assert found.model_flux.shape == spectrum.flux.shape and np.array_equal(found.wavelength, spectrum.wavelength)
        np.testing.assert_array_equal(row.model_flux, found.model_flux)
        inside = [(found.wavelength >= first) & (found.wavelength <= last) for first, _, last in LINE_WINDOWS.values()]
        assert np.array_equal(np.isfinite(found.model_flux), np.any(inside, axis=0))
        assert found.windows == {name: (first, last) for name, (first, _, last) in LINE_WINDOWS.items()}
        assert reduced_chi2(found, 2 * len(LINE_WINDOWS) + 3) == pytest.approx(row.rchi2, rel=0.02)


def test_a_row_without_temperature_has_the_model_of_its_velocity(star):
    of_sample, of_star = run()
    assert of_star.teff is None and of_star.flag_no_model_grid and of_sample.teff is not None
    assert reduced_chi2(of_star.model_spectrum(), 13) == pytest.approx(of_star.rchi2, rel=0.02)


def test_outliers_are_told(star):
    row = run()[0]
    spectrum = BossVisitSpectrum.get(spectrum_pk=row.spectrum_pk)
    place = int(np.argmin(np.abs(spectrum.wavelength - 4862.7)))
    spectrum.flux = spectrum.flux.copy()
    spectrum.flux[place] += 100 * spectrum.e_flux[place]
    found = corv.model_spectrum(row, spectrum)
    assert found.clipped[place] and found.clipped.sum() <= 5
    np.testing.assert_allclose(found.model_flux, row.model_flux, rtol=1e-3)


def test_the_grid_is_found_by_its_content_wherever_it_is(star, monkeypatch):
    own = write_grid(star / "own.npz")
    row = run(grid=str(own))[1]
    assert row.template_grid.startswith("own ")
    before = row.model_flux  # where the run had it
    moved = own.rename(star / "moved.npz")
    with pytest.raises(
        ModelSpectrumError, match=r"was made with the grid 'own' whose SHA-256 begins with [0-9a-f]{12}, "
    ):
        row.plot()
    monkeypatch.setenv("ASTRA_CORV_GRID", str(moved))
    np.testing.assert_array_equal(row.model_flux, before)
    monkeypatch.delenv("ASTRA_CORV_GRID")
    add_grid("another", moved)
    np.testing.assert_array_equal(row.model_flux, before)
    assert find_grid("another").label.split()[1] == row.template_grid.split()[1]
    write_grid(moved, 2.0)  # another grid under this path
    with pytest.raises(ModelSpectrumError, match=r"it isn't here; fetch it .*or register it"):
        _ = row.model_flux


def test_rows_without_a_model_say_why(star):
    [row, _] = run()
    row.v_rad = None
    with pytest.raises(ModelSpectrumError, match=r"corv 1 \(spectrum_pk 1\) has no velocity"):
        _ = row.model_flux
    row.v_rad, row.template_grid = 10.0, None
    with pytest.raises(ModelSpectrumError, match="doesn't say which grid of models it was made with"):
        _ = row.model_flux
    Path(BossVisitSpectrum.get(spectrum_pk=2).path).unlink()
    with pytest.raises(AstraError, match=r"\.fits"):
        _ = Corv.get(spectrum_pk=2).model_flux


def test_a_row_is_plotted(star, tmp_path):
    row = run()[0]
    figure = row.plot()
    panels = figure.axes
    assert [axes.get_title() for axes in panels[:5]] == ["H-epsilon", "H-delta", "H-gamma", "H-beta", "H-alpha"]
    assert len(panels) == 10 and f"{row.teff:.0f} K" in figure.get_suptitle()
    figure.savefig(tmp_path / "corv.png")
    plt.close(figure)
    assert (tmp_path / "corv.png").stat().st_size > 20_000


def test_only_tables_with_models_have_them(database):
    assert not hasattr(Rocket, "model_flux")


def test_nothing_of_matplotlib_is_loaded_before_a_plot():
    code = "import sys; import astra_orchestration.pipelines.corv; assert 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
