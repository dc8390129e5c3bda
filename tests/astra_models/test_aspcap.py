"""ASPCAP: its flags, and model fluxes from the text files of FERRE. The Payne's files beside them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.apogee import APOGEE_GRID
from astra_models.aspcap import ABUNDANCES, ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import ConfigurationError, MissingPixelsError
from astra_models.pixels import pixel_arrays
from astra_models.pixels.ferre import CHIPS, on_all_pixels
from astra_models.the_payne import ThePayne

N_FITTED = 7514
N_PIXELS = 8575
GRID = "apo25m_a_GKg"
NAMES = {17: "1_9_17_0_NULL", 99: "0_8_99_0_NULL", 5: "2_7_5_0_NULL"}  # as FERRE left them: not in the input's order
FITTED = np.r_[CHIPS]


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f" {line}\n" for line in lines))


def line_of(values: np.ndarray, name: str = "") -> str:
    return " ".join([name, *(f"{value:.6e}" for value in values)]).strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of FERRE's files with three spectra, of which 17 is the second of the input."""
    params = tmp_path / "params" / GRID
    ramp = np.linspace(1, 2, N_FITTED)
    for kind, values in {"model_flux": 3 * ramp, "rectified_model_flux": ramp, "rectified_flux": ramp}.items():
        lines = [line_of(values * (1 if pk == 17 else 7), name) for pk, name in NAMES.items()]
        write(params / f"{kind}.output", lines)
    write(params / "flux.input", [line_of(np.full(N_FITTED, index)) for index in (0.0, 12.0, 100.0)])
    abundance = tmp_path / "abundances" / GRID
    for element in ("Al", "C_12_13"):
        lines = [line_of(np.full(N_FITTED, float(pk)), name) for pk, name in NAMES.items()]
        write(abundance / element / "rectified_model_flux.output", lines)
    return tmp_path


def result(folder: Path, spectrum_pk: int = 17, **columns: Any) -> ASPCAP:
    return ASPCAP(spectrum_pk=spectrum_pk, pwd=str(folder), short_grid_name=GRID, ferre_index=1, **columns)


# ---- pixels of FERRE


def test_model_flux_and_continuum_are_found_by_the_name_of_the_line(folder: Path) -> None:
    row = result(folder)
    ramp = np.linspace(1, 2, N_FITTED)
    assert row.model_flux.shape == row.continuum.shape == row.wavelength.shape == (N_PIXELS,)
    np.testing.assert_allclose(row.model_flux[~np.isnan(row.model_flux)], 3 * ramp, rtol=1e-6)
    fitted = row.continuum[~np.isnan(row.continuum)]
    np.testing.assert_allclose(fitted, 12 / (3 * ramp), rtol=1e-5)
    np.testing.assert_allclose(fitted * 3 * ramp, 12, rtol=1e-5)


def test_pixels_are_where_the_chips_are() -> None:
    pixels = on_all_pixels(np.arange(N_FITTED, dtype=float))
    assert np.flatnonzero(~np.isnan(pixels)).tolist() == [i for chip in CHIPS for i in range(chip.start, chip.stop)]
    starts = APOGEE_GRID["crval"] + APOGEE_GRID["cdelt"] * np.array([chip.start for chip in CHIPS])
    np.testing.assert_allclose(starts, [4.180476, 4.20051, 4.217064], atol=1e-6)
    assert pixels[CHIPS[2].stop - 1] == N_FITTED - 1


HEADER = """&SYNTH
 MULTI = 2  NPIX = 5  N_OF_DIM = 1  LOGW = 1
/
&SYNTH NPIX = 2  WAVE = 4.180476 1.2e-5 /
&SYNTH
 npix = 3, wave = 4.2005101 1.2E-05
/
"""


def test_pixels_are_those_of_the_grids_header(folder: Path) -> None:
    params = folder / "params" / GRID
    for kind, values in {
        "model_flux": [1, 2, 3, 4, 5],
        "rectified_model_flux": [1] * 5,
        "rectified_flux": [1] * 5,
    }.items():
        write(params / f"{kind}.output", [line_of(np.array(values), "1_9_17_0_NULL")])
    write(params / "flux.input", [line_of(np.full(5, 9.0)), line_of(np.full(5, 10.0))])
    (params / "grid.hdr").write_text(HEADER)
    row = result(folder)
    assert np.flatnonzero(np.isfinite(row.model_flux)).tolist() == [246, 248, 3585, 3587, 3589]
    assert row.model_flux[[246, 248, 3585, 3587, 3589]].tolist() == [1, 2, 3, 4, 5]
    assert row.continuum[[246, 3589]].tolist() == [10, 2]
    element = folder / "abundances" / GRID / "Al"
    write(element / "rectified_model_flux.output", [line_of(np.arange(5), "1_9_17_0_NULL")])
    (element / "grid.hdr").write_text(HEADER)
    assert result(folder).model_flux_al_h[3589] == 4


def test_pixels_beyond_those_of_an_apstar_are_left_out() -> None:
    pixels = on_all_pixels(np.array([1.0, 2.0, 3.0]), np.array([-1, 8574, 8575]))
    assert np.flatnonzero(np.isfinite(pixels)).tolist() == [8574]


def test_a_damaged_header_of_the_grid_is_named(folder: Path) -> None:
    (folder / "params" / GRID / "grid.hdr").write_text("&SYNTH NPIX = 5 WAVE = 4.18 6e-6 /")
    with pytest.raises(MissingPixelsError, match=r"grid.hdr' isn't the header of a grid: LOGW = 0, linear"):
        _ = result(folder).model_flux
    (folder / "params" / GRID / "grid.hdr").write_text("")
    with pytest.raises(MissingPixelsError, match="it has no block &SYNTH"):
        _ = result(folder).model_flux


def test_model_fluxes_of_abundances(folder: Path) -> None:
    row = result(folder)
    assert np.nanmax(row.model_flux_al_h) == np.nanmin(row.model_flux_al_h) == 17
    assert np.nanmax(row.model_flux_c_12_13) == 17
    assert np.count_nonzero(np.isfinite(row.model_flux_al_h)) == N_FITTED


def test_an_abundance_that_was_not_fitted_has_no_model(folder: Path) -> None:
    assert np.isnan(result(folder).model_flux_v_h).all()
    assert np.isnan(result(folder, spectrum_pk=404).model_flux_al_h).all()


def test_every_abundance_has_its_model_flux() -> None:
    arrays = pixel_arrays(ASPCAP)
    ours = {"wavelength", "model_flux", "continuum", *(f"model_flux_{name}" for name in ABUNDANCES)}
    assert arrays.keys() == ours | {"normalised_flux", "e_normalised_flux"}
    elements = {name: array.accessor.element for name, array in arrays.items() if name.startswith("model_flux_")}
    assert elements["model_flux_al_h"] == "Al"
    assert elements["model_flux_c_12_13"] == "C_12_13"
    assert elements["model_flux_n_h"] == "N"


def test_the_folder_may_hold_a_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRE_FOLDER", str(folder))
    row = ASPCAP(spectrum_pk=17, pwd="$FERRE_FOLDER", short_grid_name=GRID)
    assert row.absolute_path == str(folder)
    assert np.nanmax(row.model_flux_al_h) == 17
    with pytest.raises(ConfigurationError, match="FERRE_ELSEWHERE is not set"):
        _ = ASPCAP(spectrum_pk=17, pwd="$FERRE_ELSEWHERE", short_grid_name=GRID).model_flux


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPixelsError, match="model_flux: the result of spectrum_pk 17 has no pwd"):
        _ = ASPCAP(spectrum_pk=17).model_flux
    with pytest.raises(MissingPixelsError, match="have no line of spectrum_pk 404"):
        _ = result(folder, spectrum_pk=404).continuum
    with pytest.raises(MissingPixelsError, match=r"continuum: there is no file .*model_flux\.output"):
        _ = result(tmp_path / "elsewhere").continuum
    assert not hasattr(result(folder), "no_such_array")


@pytest.mark.parametrize(
    ("line", "message"),
    [("1_9_17_0_NULL 1.0 2.0", "a line of 2 pixels instead of 7514"), ("1_9_17_0_NULL *** 1.0", "isn't all numbers")],
)
def test_a_damaged_file_is_named(folder: Path, line: str, message: str) -> None:
    write(folder / "params" / GRID / "model_flux.output", [line])
    with pytest.raises(MissingPixelsError, match=message):
        _ = result(folder).model_flux


def test_arrays_can_be_set_and_released(folder: Path) -> None:
    row = result(folder)
    row.model_flux_v_h = np.ones(3)
    _ = row.model_flux
    row.release_pixels()
    assert row.model_flux_v_h.sum() == 3


# ---- flags


def test_a_result_that_is_not_to_be_used(database: peewee.Database, make_spectra: Any) -> None:
    flags = {"good": 0, "warned": 2**5, "failed": 2**0, "logg at edge": 2**8, "fast": 2**22}
    spectra = make_spectra(len(flags))
    for spectrum, (tag, bits) in zip(spectra, flags.items(), strict=True):
        ASPCAP.from_spectrum(spectrum, tag=tag, result_flags=bits).save()
    bad = {row.tag for row in ASPCAP.select().where(ASPCAP.flag_bad)}
    assert bad == {"failed", "logg at edge", "fast"} == {row.tag for row in ASPCAP.select() if row.flag_bad}
    warned = {row.tag for row in ASPCAP.select().where(ASPCAP.flag_warn)}
    assert warned == flags.keys() - {"good"} == {row.tag for row in ASPCAP.select() if row.flag_warn}


def test_flags_of_an_abundance(spectrum: BossVisitSpectrum) -> None:
    ASPCAP.from_spectrum(spectrum, flag_ce_h_upper_limit_t2=True, flag_ce_h_censored_high_teff=True).save()
    row = ASPCAP.get()
    assert (row.ce_h_flags, row.al_h_flags, row.flag_ce_h_warn_teff) == (2**1 | 2**5, 0, False)
    assert ASPCAP.select().where(ASPCAP.flag_ce_h_upper_limit_t2 & (ASPCAP.al_h_flags == 0)).count() == 1
    assert not hasattr(ASPCAP, "flag_al_h_upper_limit_t1")


# ---- The Payne


def test_models_of_the_payne(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path))
    file = tmp_path / "0.8.1" / "pipelines/ThePayne/intermediate/45/67/1234567.pkl"
    file.parent.mkdir(parents=True)
    continuum, rectified = np.full((1, N_PIXELS), 100.0), np.linspace(0, 1, N_PIXELS).reshape(1, -1)
    file.write_bytes(pickle.dumps((continuum, rectified)))
    row = ThePayne(spectrum_pk=1_234_567, source_pk=54_321, v_astra=8_001)
    np.testing.assert_array_equal(row.model_flux, 100 * np.linspace(0, 1, N_PIXELS))
    np.testing.assert_array_equal(row.continuum, continuum[0])
    assert row.wavelength[0] == pytest.approx(10**4.179)
