"""Pictures of spectra of every kind."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from spectrum_files import write_apstar, write_apvisit, write_mwm_star

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingExtraError
from astra_models.mwm import BossCombinedSpectrum


@pytest.fixture(autouse=True)
def no_figures_left_behind() -> Iterator[None]:
    yield
    plt.close("all")


def visit(n: int = 100, **arrays: Any) -> BossVisitSpectrum:
    given = {"wavelength": np.linspace(4000, 5000, n), "flux": np.ones(n), "ivar": np.ones(n)} | arrays
    return BossVisitSpectrum(spectrum_pk=17, **given)


def labels(ax: Any) -> list[str]:
    return [line.get_label() for line in ax.lines]


def test_an_ap_visit_has_a_panel_for_each_chip(tmp_path: Path) -> None:
    figure = ApogeeVisitSpectrum(path=str(write_apvisit(tmp_path / "apVisit.fits")), spectrum_pk=5).plot()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 3
    limits = [ax.get_xlim() for ax in figure.axes]
    np.testing.assert_allclose(limits, [(15143, 15811), (15858, 16436), (16473, 16955)])
    assert [np.nanmedian(ax.lines[0].get_ydata()) for ax in figure.axes] == [10, 20, 30]
    assert [len(ax.patches) for ax in figure.axes] == [0, 0, 1]  # one pixel of the red chip has a bit
    figure.canvas.draw()


def test_three_chips_may_share_given_axes(tmp_path: Path) -> None:
    figure, ax = plt.subplots()
    spectrum = ApogeeVisitSpectrum(path=str(write_apvisit(tmp_path / "apVisit.fits")))
    assert spectrum.plot(ax) is figure
    assert len(ax.lines) == 3


def test_continuum_and_model_of_a_co_add_are_plotted_over_its_flux(tmp_path: Path) -> None:
    path = str(write_mwm_star(tmp_path / "mwmStar.fits", {1: {}}))
    (ax,) = BossCombinedSpectrum(path=path, telescope="apo25m").plot().axes
    assert labels(ax) == ["flux", "continuum", "model"]
    assert np.nanmax(ax.lines[1].get_ydata()) == 2
    assert np.nanmax(ax.lines[2].get_ydata()) == 1  # continuum 2, times the rectified model 0.5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["flux", "continuum", "model"]


def test_a_model_may_be_given() -> None:
    (ax,) = visit().plot(model_flux=np.full(100, 0.9), continuum=np.full(100, 1.1)).axes
    assert labels(ax) == ["flux", "continuum", "model"]


def test_flagged_pixels_are_shaded() -> None:
    flags = np.zeros(100, int)
    flags[[0, 1, 50, 99]] = 4
    (ax,) = visit(pixel_flags=flags).plot().axes
    edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    step = 1000 / 99
    np.testing.assert_allclose(
        edges, [(4000, 4000 + 1.5 * step), (4000 + 49.5 * step, 4000 + 50.5 * step), (5000 - step / 2, 5000)]
    )
    assert not visit(pixel_flags=flags).plot(flags=False).axes[0].patches


def test_a_spectrum_without_flags_is_plotted_without_shades() -> None:
    assert not visit().plot().axes[0].patches


def test_pixels_without_weight_are_left_out_and_do_not_stretch_the_axis() -> None:
    flux, ivar = np.ones(100), np.ones(100)
    flux[10], ivar[10] = 1e6, 0
    flux[20] = np.nan
    (ax,) = visit(flux=flux, ivar=ivar).plot().axes
    assert np.flatnonzero(np.isnan(ax.lines[0].get_ydata())).tolist() == [10, 20]
    assert ax.get_ylim()[1] < 10


def test_a_spectrum_without_any_good_pixel_is_plotted() -> None:
    visit(ivar=np.zeros(100)).plot().canvas.draw()


def test_axes_say_unit_and_frame(tmp_path: Path) -> None:
    (ax,) = visit().plot().axes
    assert ax.get_xlabel() == "Vacuum wavelength, observed [Å]"
    assert "erg" in ax.get_ylabel()
    assert "10^{-17}" in ax.get_ylabel()
    assert "spectrum_pk 17" in ax.get_title()
    (ax,) = ApogeeCoaddedSpectrumInApStar(path=str(write_apstar(tmp_path / "apStar.fits"))).plot().axes
    assert ax.get_xlabel() == "Vacuum wavelength, at rest [Å]"


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"astra-orchestration\[plot\]"):
        visit().plot()


def test_matplotlib_and_specutils_are_not_imported_by_the_models() -> None:
    code = (
        "import sys, astra_models.mwm, astra_models.pixels.plot; print({'matplotlib', 'specutils'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (ApogeeVisitSpectrum, "apogee_tools/apVisit-2M00452143+1634446-0.fits"),
        (ApogeeCoaddedSpectrumInApStar, "apogee_tools/apStar-r6-2M03290406+3117075.fits"),
        (BossVisitSpectrum, "wdtools/sample_spectrum.fits"),
        (BossVisitSpectrum, "pyhammer/M5_+0.0_Dwarf.fits"),
    ],
)
def test_real_spectra_can_be_drawn(real_data: Path, model: Any, name: str) -> None:
    figure = model(path=str(real_data / name)).plot()
    figure.canvas.draw()
    assert figure.axes[0].lines
