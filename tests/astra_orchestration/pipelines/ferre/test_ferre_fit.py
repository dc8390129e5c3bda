"""Fits by a stand-in for FERRE that really fits: truth comes back, whatever goes wrong with some of the spectra."""

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astra_models.aspcap import ASPCAP
from astra_orchestration.external.errors import InterruptedRunError, ProgramError
from astra_orchestration.pipelines.ferre.control import Settings, SettingsError, fit_control, model_control
from astra_orchestration.pipelines.ferre.fit import Program, Request, Spectra, fit, fit_all, model_fluxes
from astra_orchestration.pipelines.ferre.folders import rows_of
from astra_orchestration.pipelines.ferre.grid import read_grid
from astra_orchestration.pipelines.ferre.inputs import SpectraError
from astra_orchestration.pipelines.ferre.outputs import read_fluxes, read_row
from astra_orchestration.pipelines.ferre.version import Version
from tests.ferre.installing import CHIPS, LABELS, install_fake, line_flux, small_grid, star_spectra

ALL_FREE = Settings(LABELS)
OUTPUTS = ("rectified_flux.output", "rectified_model_flux.output")
N = 12


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A grid, the truth of some spectra, the spectra, and what an undisturbed fit of them gives."""
    folder = tmp_path_factory.mktemp("survey")
    grid = small_grid(folder)
    truth, spectra = star_spectra(N)
    return grid, truth, spectra, fit(Program(install_fake(folder)), grid, spectra, ALL_FREE, folder / "fit")


def fluxes(folder, names=None):
    names = names or [f"{i}_{1000 + i}_{2000 + i}_0_None" for i in range(N)]
    return [read_fluxes(Path(folder) / name, names, 300) for name in OUTPUTS]


def n_started(path):
    return len(path.read_text().splitlines())


def test_truth_comes_back(tmp_path):
    grid = small_grid(tmp_path)
    truth, spectra = star_spectra(60, seed=3)
    found = fit(Program(install_fake(tmp_path)), grid, spectra, ALL_FREE, tmp_path / "fit")
    assert set(found.state) == {"good"}
    pulls = (found.values - truth) / found.errors
    assert np.all((pulls.std(axis=0) > 0.7) & (pulls.std(axis=0) < 1.25)), pulls.std(axis=0)
    assert np.all(np.abs(pulls.mean(axis=0)) < 0.4)
    assert found.rchi2.mean() == pytest.approx(1, abs=0.1) and found.snr == pytest.approx(100, rel=0.02)
    np.testing.assert_allclose(np.sqrt(np.einsum("ijj->ij", found.covariance)), found.errors, rtol=1e-3)
    assert found.load_seconds > 0 and np.nansum(found.seconds) > 0


def test_lines_of_all_spectra_have_their_names(survey):
    _, _, spectra, found = survey
    rectified, models = fluxes(found.folder)
    assert np.isfinite(rectified).all() and np.isfinite(models).all()
    assert np.sqrt(np.mean((rectified / models - 1) ** 2)) == pytest.approx(0.01, rel=0.1)
    assert [line.split()[0] for line in (found.folder / "parameter.output").read_text().splitlines()] == spectra.names


BAD = "7_1007_2007_0_None"
INNOCENT = [i for i in range(N) if i != 7]


@pytest.mark.parametrize(
    ("kind", "state", "version"),
    [
        ("hang", "timed_out", "5.1.1"),
        ("die", "died", "4.8.8"),
        ("quit", "died", "5.1.1"),
        ("junk", "died", "5.1.1"),
        ("lost", "died", "4.8.8"),
        ("fail", "failed", "4.8.8"),
    ],
)
def test_one_bad_spectrum_costs_no_other(survey, tmp_path, kind, state, version):
    grid, _, spectra, expected = survey
    program = Program(install_fake(tmp_path, version=version, **{kind: "^7_"}), seconds_per_spectrum=1.0)
    found = fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    assert found.state[7] == state and set(found.state[INNOCENT]) == {"good"}
    assert np.isnan(found.values[7]).all() and np.isnan(found.covariance[7]).all() and np.isnan(found.rchi2[7])
    np.testing.assert_array_equal(found.values[INNOCENT], expected.values[INNOCENT])
    np.testing.assert_array_equal(found.covariance[INNOCENT], expected.covariance[INNOCENT])
    for ours, theirs in zip(fluxes(found.folder), fluxes(expected.folder), strict=True):
        np.testing.assert_array_equal(ours[INNOCENT], theirs[INNOCENT])
    assert set(found.messages) == (set() if state == "failed" else {BAD})
    assert (found.folder / "logs").is_dir() and not list((found.folder / "attempts").iterdir())


def test_what_hangs_or_dies_once_is_fitted(survey, tmp_path):
    grid, _, spectra, expected = survey
    (tmp_path / "once").mkdir()
    fake = install_fake(tmp_path, hang="^2_", die="^5_|^6_", once=tmp_path / "once")
    found = fit(Program(fake, seconds_per_spectrum=1.0), grid, spectra, ALL_FREE, tmp_path / "fit")
    assert set(found.state) == {"good"}
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    "how",
    [
        {"names": 1},
        {"order": "shuffled"},
        {"order": "reversed", "names": 1},
        {"status": 0},
        {"version": "4.8.8"},
    ],
)
def test_all_ways_of_writing_the_same(survey, tmp_path, how):
    grid, _, spectra, expected = survey
    found = fit(Program(install_fake(tmp_path, **how)), grid, spectra, ALL_FREE, tmp_path / "fit")
    np.testing.assert_array_equal(found.values, expected.values)
    for ours, theirs in zip(fluxes(found.folder), fluxes(expected.folder), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fixed_format_has_fewer_digits(survey, tmp_path):
    grid, _, spectra, expected = survey
    found = fit(Program(install_fake(tmp_path, fixed=1)), grid, spectra, ALL_FREE, tmp_path / "fit")
    np.testing.assert_allclose(found.values, expected.values, atol=6e-4, rtol=1e-4)


def test_several_threads_whose_files_have_orders_of_their_own(survey, tmp_path):
    grid, _, spectra, expected = survey
    settings = replace(ALL_FREE, n_threads=3)
    found = fit(Program(install_fake(tmp_path, order="apart")), grid, spectra, settings, tmp_path / "fit")
    np.testing.assert_array_equal(found.values, expected.values)
    for ours, theirs in zip(fluxes(found.folder), fluxes(expected.folder), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_several_processes_share_a_fit(survey, tmp_path):
    grid, _, spectra, expected = survey
    program = Program(install_fake(tmp_path, die="^3_", calls=tmp_path / "calls"), processes=2)
    found = fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    assert found.state[3] == "died" and np.count_nonzero(found.state == "good") == N - 1
    np.testing.assert_array_equal(np.delete(found.values, 3, axis=0), np.delete(expected.values, 3, axis=0))


def test_pixels_that_ferre_cannot_read_are_left_out(survey, tmp_path):
    grid, truth, spectra, expected = survey
    flux, error = spectra.flux.copy(), spectra.error.copy()
    flux[0, :5], flux[1, 7], error[1, 9] = np.nan, np.inf, np.nan
    flux[2, 20], flux[3, 3] = 4e38, -np.inf
    flux[4] = np.nan
    error[5, 10:20] = 0.0
    found = fit(
        Program(install_fake(tmp_path, version="4.8.8"), seconds_per_spectrum=5.0),
        grid,
        replace(spectra, flux=flux, error=error),
        ALL_FREE,
        tmp_path / "fit",
    )
    assert found.state.tolist() == ["good"] * 4 + ["failed"] + ["good"] * (N - 5)
    assert np.abs((found.values - truth) / found.errors)[[0, 1, 2, 3, 5]].max() < 5
    np.testing.assert_array_equal(found.values[6:], expected.values[6:])


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
def test_what_is_fixed_stays_and_what_is_tied_follows(survey, tmp_path, version):
    grid, _, spectra, _ = survey
    alpha, metals = LABELS[:2]
    settings = Settings((metals,), ties={alpha: (metals, -1.0)})
    found = fit(Program(install_fake(tmp_path, version=version)), grid, spectra, settings, tmp_path / "fit")
    moved = found.values - spectra.start
    np.testing.assert_allclose(moved[:, 2:], 0, atol=0.06)  # TEFF has five digits
    inside = np.abs(found.values[:, 0]) < 0.74
    assert inside.any() and np.abs(moved[:, 1]).max() > 0.05
    np.testing.assert_allclose(moved[inside, 0], -moved[inside, 1], atol=2e-4)
    assert np.isfinite(found.errors[inside, 1]).all() and np.isnan(found.errors[:, [0, 2, 3]]).all()


def test_without_a_continuum_fluxes_stay_as_they_are(survey, tmp_path):
    grid, truth, spectra, _ = survey
    flat = line_flux(CHIPS, truth)
    noise = np.random.default_rng(8).normal(0, 0.01, flat.shape)
    level = replace(spectra, flux=flat + noise, error=np.full_like(flat, 0.01))
    found = fit(Program(install_fake(tmp_path)), grid, level, replace(ALL_FREE, continuum=None), tmp_path / "fit")
    assert np.abs((found.values - truth) / found.errors).max() < 5
    np.testing.assert_allclose(fluxes(found.folder)[0], level.flux, rtol=1e-4)


def test_a_mask_leaves_only_its_pixels(survey, tmp_path):
    grid, _, spectra, expected = survey
    mask = np.zeros(300)
    mask[:150] = 1
    np.savetxt(tmp_path / "half.mask", mask, fmt="%.1f")
    settings = replace(ALL_FREE, mask=tmp_path / "half.mask")
    found = fit(Program(install_fake(tmp_path)), grid, spectra, settings, tmp_path / "fit")
    assert np.nanmedian(found.errors / expected.errors) > 1.2
    assert all(np.isfinite(lines).all() for lines in fluxes(found.folder))


def species(spectra, folder):
    """Several fits of the same spectra."""
    return [
        Request(spectra, Settings(LABELS[:1]), folder / "Mg"),
        Request(spectra, Settings(LABELS[1:2], ties={LABELS[0]: (LABELS[1], -1.0)}), folder / "Fe"),
        Request(spectra, Settings(LABELS[2:]), folder / "rest"),
    ]


def test_many_fits_share_one_process_and_one_file_of_fluxes(survey, tmp_path):
    grid, _, spectra, _ = survey
    program = Program(install_fake(tmp_path, calls=tmp_path / "calls"))
    assert program.version == Version(5, 1, 1)
    requests = species(spectra, tmp_path)
    together = fit_all(program, grid, requests, tmp_path)
    assert n_started(tmp_path / "calls") == 2  # once for its version
    assert [found.folder for found in together] == [tmp_path / name for name in ("Mg", "Fe", "rest")]
    assert not (tmp_path / "Mg" / "flux.input").exists()
    logs = list(tmp_path.glob("*/logs/*.log"))
    assert len(logs) == 3 and all(log.read_text().count("next object") == 3 * N for log in logs)
    for request, found in zip(requests, together, strict=True):
        alone = fit(program, grid, request.spectra, request.settings, tmp_path / f"alone-{request.folder.name}")
        np.testing.assert_array_equal(found.values, alone.values)
        for ours, theirs in zip(fluxes(found.folder), fluxes(alone.folder), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_hang_among_many_fits_costs_each_of_them_one_spectrum(survey, tmp_path):
    grid, _, spectra, _ = survey
    program = Program(install_fake(tmp_path, hang="^4_", calls=tmp_path / "calls"), seconds_per_spectrum=0.8)
    for found in fit_all(program, grid, species(spectra, tmp_path), tmp_path):
        assert found.state.tolist() == ["timed_out" if i == 4 else "good" for i in range(N)]
    # Its version; three times all that is left, and the culprit alone; what is left then.
    assert n_started(tmp_path / "calls") == 1 + 3 * 2 + 1


def test_a_folder_is_that_of_one_fit(survey, tmp_path):
    grid, _, spectra, _ = survey
    request = Request(spectra, ALL_FREE, tmp_path)
    with pytest.raises(ProgramError, match=r"is in use: another fit is running there"):
        fit_all(Program(install_fake(tmp_path / "bin")), grid, [request, request])


def test_what_is_done_is_not_done_again(survey, tmp_path):
    grid, _, spectra, _ = survey
    program = Program(install_fake(tmp_path, calls=tmp_path / "calls"))
    first = fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    started = n_started(tmp_path / "calls")
    again = fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    assert n_started(tmp_path / "calls") == started
    for name in ("values", "errors", "covariance", "snr", "rchi2", "seconds", "state"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert again.load_seconds == first.load_seconds


def test_only_what_changed_is_done_again(survey, tmp_path):
    grid, _, spectra, _ = survey
    program = Program(install_fake(tmp_path))
    fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    flux, start = spectra.flux.copy(), spectra.start.copy()
    flux[3] *= 1 + 0.02 * np.sin(np.arange(300))
    start[5] = grid.lower
    changed = replace(spectra, flux=flux, start=start)
    logs = set((tmp_path / "fit" / "logs").iterdir())
    found = fit(program, grid, changed, ALL_FREE, tmp_path / "fit")
    (log,) = set((tmp_path / "fit" / "logs").iterdir()) - logs
    assert log.read_text().count("next object") == 2
    whole = fit(program, grid, changed, ALL_FREE, tmp_path / "whole")
    np.testing.assert_array_equal(found.values, whole.values)
    for ours, theirs in zip(fluxes(tmp_path / "fit"), fluxes(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = fit(program, grid, changed, replace(ALL_FREE, continuum=3), tmp_path / "fit")
    assert not np.array_equal(other.values, found.values)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_fit_in_a_thread_ends_when_it_is_asked_to_and_keeps_what_is_finished(survey, tmp_path, processes):
    grid, _, spectra, expected = survey
    stop = threading.Event()
    slow = Program(install_fake(tmp_path, sleep=0.15), processes=processes, stopped=stop.is_set)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fit, slow, grid, spectra, ALL_FREE, tmp_path / "fit")
        until = time.monotonic() + 60
        while not any(path.stat().st_size for path in (tmp_path / "fit").glob("attempts/*/parameter.output")):
            assert time.monotonic() < until and not running.done()
            time.sleep(0.02)
        stop.set()
        with pytest.raises(InterruptedRunError, match=r"the run was asked to end"):
            running.result(10)
    kept = len(rows_of(tmp_path / "fit" / "parameter.output", 4, spectra.names))
    assert 1 <= kept < N
    found = fit(Program(install_fake(tmp_path)), grid, spectra, ALL_FREE, tmp_path / "fit")
    np.testing.assert_array_equal(found.values, expected.values)


RUN = """
import sys
from pathlib import Path
from astra_orchestration.pipelines.ferre.control import Settings
from astra_orchestration.pipelines.ferre.fit import Program, fit
from astra_orchestration.pipelines.ferre.grid import read_grid
from tests.ferre.installing import LABELS, star_spectra
program, header, folder = map(Path, sys.argv[1:])
fit(Program(program), read_grid(header), star_spectra(12)[1], Settings(LABELS), folder)
"""


@pytest.mark.parametrize("names", [0, 1])
def test_a_killed_run_goes_on_from_what_is_on_disk(survey, tmp_path, names):
    grid, _, spectra, expected = survey
    fake = install_fake(tmp_path, sleep=0.15, names=names)
    arguments = [sys.executable, "-W", "ignore", "-c", RUN, str(fake), str(grid.path), str(tmp_path / "fit")]
    run = subprocess.Popen(arguments)
    try:
        until = time.monotonic() + 60
        while len(written := list((tmp_path / "fit").glob("attempts/*/parameter.output"))) == 0 or (
            len(rows_of(written[0], 4, spectra.names)) < 4
        ):
            assert time.monotonic() < until and run.poll() is None
            time.sleep(0.02)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    time.sleep(0.2)
    logs = set((tmp_path / "fit" / "logs").iterdir())
    assert "quit: Run ended" not in next(iter(logs)).read_text()  # FERRE ended with the run
    found = fit(Program(install_fake(tmp_path, names=names)), grid, spectra, ALL_FREE, tmp_path / "fit")
    (log,) = set((tmp_path / "fit" / "logs").iterdir()) - logs
    assert 1 <= log.read_text().count("next object") <= N - 4
    np.testing.assert_array_equal(found.values, expected.values)
    for ours, theirs in zip(fluxes(found.folder), fluxes(expected.folder), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_half_a_line_of_a_killed_run_is_not_gone_on_with(survey, tmp_path):
    grid, _, spectra, expected = survey
    program = Program(install_fake(tmp_path))
    fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    for name in ("parameter.output", *OUTPUTS):
        path = tmp_path / "fit" / name
        path.write_bytes(path.read_bytes()[:-30])
    found = fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")
    np.testing.assert_array_equal(found.values, expected.values)
    for ours, theirs in zip(fluxes(found.folder), fluxes(expected.folder), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_models_that_are_not_normalised(survey, tmp_path):
    grid, truth, spectra, _ = survey
    parameters = truth.copy()
    parameters[3, 1] = np.nan
    parameters[4] = np.array(grid.upper) + 1  # goes to the edge
    found = model_fluxes(Program(install_fake(tmp_path)), grid, spectra.names, parameters, tmp_path)
    assert np.isnan(found[3]).all()
    right = [i for i in range(N) if i not in (3, 4)]
    np.testing.assert_allclose(found[right], line_flux(CHIPS, truth[right]), atol=3e-3)
    np.testing.assert_allclose(found[4], grid.models()[-1, -1, -1, -1], atol=3e-3)
    lines = (tmp_path / "model_flux.output").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [name for i, name in enumerate(spectra.names) if i != 3]


@pytest.mark.parametrize("names", [0, 1])
def test_a_model_that_hangs_costs_no_other(survey, tmp_path, names):
    grid, truth, spectra, _ = survey
    program = Program(install_fake(tmp_path, hang="^2_", names=names), seconds_per_spectrum=0.8)
    found = model_fluxes(program, grid, spectra.names, truth, tmp_path)
    assert np.isnan(found[2]).all() and np.isfinite(np.delete(found, 2, axis=0)).all()
    np.testing.assert_allclose(found[5:], line_flux(CHIPS, truth[5:]), atol=3e-3)


def test_paths_stay_within_the_limits_whatever_the_root_is_called(survey, tmp_path):
    grid, _, spectra, expected = survey
    root = tmp_path / "it's a “root” of $HOME; with = / strange, names".replace("/", "-") / ("x" * 200) / ("y" * 200)
    root.mkdir(parents=True)
    for path in (grid.path, grid.models_path):
        shutil.copy(path, root)
    np.savetxt(root / "all.mask", np.ones(300), fmt="%.1f")
    settings = replace(ALL_FREE, mask=root / "all.mask")
    far = fit(Program(install_fake(root)), read_grid(root / grid.path.name), spectra, settings, root / "fit")
    np.testing.assert_allclose(far.values, expected.values, rtol=1e-6)
    models = model_fluxes(Program(root / "ferre.x"), read_grid(root / grid.path.name), ["a"], far.values[:1], root)
    assert np.isfinite(models).all()


def test_what_is_no_ferre_is_said_so(survey, tmp_path):
    grid, _, spectra, _ = survey
    (tmp_path / "ferre.x").write_text("#!/bin/sh\necho 'cannot open shared object file: libgfortran.so.5'\nexit 127\n")
    (tmp_path / "ferre.x").chmod(0o755)
    lacks = r"ferre.x doesn't run as FERRE: it ended with status 127 and printed cannot open shared.*libgfortran.so.5"
    with pytest.raises(ProgramError, match=lacks):
        fit(Program(tmp_path / "ferre.x"), grid, spectra, ALL_FREE, tmp_path / "fit")
    with pytest.raises(ProgramError, match=r"there is no program .*none.x; configure where it is"):
        fit(Program(tmp_path / "none.x"), grid, spectra, ALL_FREE, tmp_path / "fit")


def test_a_build_that_prints_no_version_gets_a_control_file_that_both_take(survey, tmp_path):
    grid, _, spectra, _ = survey
    fake = install_fake(tmp_path / "inner")
    (tmp_path / "ferre.x").write_text(f"#!/bin/sh\n'{fake}' \"$@\" > /dev/null 2>&1\n")
    (tmp_path / "ferre.x").chmod(0o755)
    program = Program(tmp_path / "ferre.x")
    assert str(program.version) == "unknown"
    found = fit(program, grid, spectra, Settings(LABELS[:1]), tmp_path / "fit")
    assert set(found.state) == {"good"}


def test_a_program_that_says_nothing_is_watched_by_its_outputs(survey, tmp_path):
    grid, _, spectra, expected = survey
    fake = install_fake(tmp_path / "inner", hang="^3_", sleep=0.05)
    (tmp_path / "ferre.x").write_text(f"#!/bin/sh\nexec '{fake}' \"$@\" > /dev/null 2>&1\n")
    (tmp_path / "ferre.x").chmod(0o755)
    found = fit(Program(tmp_path / "ferre.x", seconds_per_spectrum=1.0), grid, spectra, ALL_FREE, tmp_path / "fit")
    assert found.state.tolist() == ["timed_out" if i == 3 else "good" for i in range(N)]
    np.testing.assert_array_equal(np.delete(found.values, 3, axis=0), np.delete(expected.values, 3, axis=0))


@pytest.mark.parametrize("scale", [1e-15, 1e8])
def test_fluxes_of_any_unit(survey, tmp_path, scale):
    grid, _, spectra, expected = survey
    flux, error = spectra.flux * scale, spectra.error * scale
    flux[:, 5] = np.nan
    other = replace(spectra, flux=flux, error=error)
    found = fit(Program(install_fake(tmp_path)), grid, other, ALL_FREE, tmp_path / "fit")
    assert np.abs((found.values - expected.values) / expected.errors).max() < 1
    assert all(np.isfinite(lines).any(axis=1).all() for lines in fluxes(found.folder))


def test_a_grid_that_is_never_read_is_given_up(survey, tmp_path):
    grid, _, spectra, _ = survey
    program = Program(install_fake(tmp_path, load="never"), seconds_to_load=0.6)
    with pytest.raises(
        ProgramError, match=r"ferre.x ended by a limit \(loading\) before it began; its log is .*grid.hdr"
    ):
        fit(program, grid, spectra, ALL_FREE, tmp_path / "fit")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"free": ()}, r"free has to name one dimension or more"),
        ({"free": ("TEFF", "TEFF")}, r"each once"),
        ({"free": ("TEF",)}, r"small.hdr has no dimension 'TEF': did you mean TEFF"),
        ({"free": ("TEFF",), "ties": {"LOGG": ("METALS", -1.0)}}, r"'LOGG' can't follow 'METALS'"),
        ({"free": ("TEFF", "LOGG"), "ties": {"LOGG": ("TEFF", -1.0)}}, r"what follows can't be free"),
        ({"interpolation": 4}, r"'O Mg Si S Ca Ti' has 4 nodes; choose an order from 1 to 3"),
        ({"interpolation": 0}, r"choose an order from 1 to 3"),
        ({"n_threads": 0}, r"n_threads = 0 and continuum = 4"),
        ({"mask": Path("/no/such.mask")}, r"the mask /no/such.mask can't be read: No such file"),
    ],
)
def test_settings_that_ferre_would_refuse_are_told_before_it_starts(survey, tmp_path, change, says):
    grid, _, spectra, _ = survey
    with pytest.raises(SettingsError, match=says):
        fit(Program(tmp_path / "unused"), grid, spectra, replace(ALL_FREE, **change), tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


def test_a_mask_of_another_grid_is_told(survey, tmp_path):
    grid, _, spectra, _ = survey
    np.savetxt(tmp_path / "m", np.ones(299))
    with pytest.raises(SettingsError, match=r"has 299 weights, and small.hdr has 300 pixels"):
        fit(Program(tmp_path / "x"), grid, spectra, replace(ALL_FREE, mask=tmp_path / "m"), tmp_path / "fit")


def test_spectra_of_another_grid_are_told(survey, tmp_path):
    grid, _, spectra, _ = survey
    with pytest.raises(SpectraError, match=r"small.hdr has 4 dimensions and 300 pixels; .*\(12, 299\)"):
        fit(
            Program(install_fake(tmp_path)),
            grid,
            replace(spectra, flux=spectra.flux[:, 1:]),
            ALL_FREE,
            tmp_path / "fit",
        )


def test_no_spectra_need_no_program(survey, tmp_path):
    grid, _, _, _ = survey
    none = Spectra([], np.empty((0, 4)), np.empty((0, 300)), np.empty((0, 300)))
    assert fit(Program(install_fake(tmp_path)), grid, none, ALL_FREE, tmp_path / "fit").values.shape == (0, 4)


@pytest.mark.parametrize("names", [0, 1])
def test_pixels_are_read_from_the_row_of_a_result(survey, tmp_path, names):
    grid, _, spectra, _ = survey
    program = Program(install_fake(tmp_path, names=names))
    folder = tmp_path / "params" / "small"
    found = fit(program, grid, spectra, ALL_FREE, folder)
    model_fluxes(program, grid, spectra.names, found.values, folder)
    fit(program, grid, spectra, Settings(LABELS[:1]), tmp_path / "abundances" / "small" / "Mg", folder)
    row = ASPCAP(spectrum_pk=2007, pwd=str(tmp_path), short_grid_name="small")
    fitted = np.isfinite(row.model_flux)
    inside = slice(0, 290)  # the last chip is longer than an apStar
    assert np.abs(np.log10(row.wavelength[fitted] / grid.wavelength[inside])).max() <= 3.01e-6
    np.testing.assert_allclose(row.model_flux[fitted], line_flux(CHIPS, found.values[7:8])[0][inside], atol=3e-3)
    scatter = spectra.flux[7][inside] / (row.model_flux * row.continuum)[fitted] - 1
    assert np.sqrt(np.mean(scatter**2)) == pytest.approx(0.01, rel=0.15)
    assert np.count_nonzero(np.isfinite(row.model_flux_mg_h)) == 290


FILES = {"SYNTHFILE(1)": "grid.hdr", "PFILE": "0/it's"}


def lines(text):
    return dict(re.findall(r"^ (\S+) = (.*)$", text, re.MULTILINE))


def test_a_control_file_says_what_was_recorded(survey, real_data):
    grid = survey[0]
    for version, case, free in (
        (Version(5, 1, 1), "params_covprint1", LABELS),
        (Version(4, 8, 8), "params_covprint1", LABELS),
        (Version(5, 1, 1), "alpha_free_rest_fixed", LABELS[:1]),
        (Version(4, 8, 8), "alpha_free_rest_fixed", LABELS[:1]),
    ):
        recorded = lines((real_data / "ferre_recorded" / str(version) / case / "input.nml").read_text())
        ours = lines(fit_control(grid, Settings(free), version, {}))
        files = {"SYNTHFILE(1)", *(f"{kind}FILE" for kind in ("P", "OF", "ER", "OP", "F", "SF"))}
        assert {key: value for key, value in recorded.items() if key not in files | {"F_SORT"}} == ours


def test_a_control_file_ends_with_a_line(survey):
    text = fit_control(survey[0], ALL_FREE, Version(5, 1, 1), FILES)
    assert text.startswith(" &LISTA\n") and text.endswith("\n /\n") and "F_SORT" not in text
    assert lines(text)["PFILE"] == "'0/it''s'"
    assert model_control(survey[0], 3, FILES).endswith("\n /\n")


def test_paths_that_are_too_long_for_ferre_are_told(survey):
    with pytest.raises(SettingsError, match=r"FERRE takes paths of up to 300 ASCII characters"):
        fit_control(survey[0], ALL_FREE, Version(5, 1, 1), {"PFILE": "x" * 301})


@pytest.mark.parametrize("version", ["4.8.8", "5.1.1"])
@pytest.mark.parametrize("case", ["params_covprint1", "alpha_free_rest_fixed", "model_at_nov0"])
def test_the_stand_in_answers_as_the_real_program_did(real_data, tmp_path, version, case):
    recorded = real_data / "ferre_recorded"
    shutil.copytree(recorded / version / case, tmp_path / "v" / "case", ignore=shutil.ignore_patterns("*.output"))
    (tmp_path / "grid").symlink_to(recorded / "grid")
    folder = tmp_path / "v" / "case"
    folder.chmod(0o755)
    fake = install_fake(tmp_path, version=version)
    assert subprocess.run([fake, "input.nml"], cwd=folder, capture_output=True, check=False).returncode == 1
    names = [f"{i}_{1000 + i}_{2000 + i}_0_None" for i in range(12)]
    if case != "model_at_nov0":
        ours, theirs = (
            {name: read_row(numbers, 4) for name, (_, numbers) in rows_of(where / "parameter.output", 4, names).items()}
            for where in (folder, recorded / version / case)
        )
        for name in names:
            free = theirs[name].errors > 0
            pulls = (ours[name].values - theirs[name].values)[free] / theirs[name].errors[free]
            assert np.abs(pulls).max() < (3 if case == "alpha_free_rest_fixed" else 1.5), name
        rectified = [np.loadtxt(where / "rectified_flux.output") for where in (folder, recorded / version / case)]
        np.testing.assert_allclose(*rectified, atol=2e-5)
    models = [np.loadtxt(where / "rectified_model_flux.output") for where in (folder, recorded / version / case)]
    np.testing.assert_allclose(*models, atol=0.015)


@pytest.mark.parametrize(
    ("version", "case"), [("5.1.1", "f_sort_refused"), ("5.1.1", "unknown_keyword"), ("4.8.8", "unknown_keyword")]
)
def test_the_stand_in_refuses_as_the_real_program_did(real_data, tmp_path, version, case):
    recorded = real_data / "ferre_recorded" / version / case
    shutil.copy(recorded / "input.nml", tmp_path)
    done = subprocess.run(
        [install_fake(tmp_path, version=version), "input.nml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == int((recorded / "exit_status.txt").read_text())
    assert re.search(r"Cannot match namelist object name \w+", done.stderr)[0] in (recorded / "stderr.txt").read_text()


def test_the_stand_in_wants_ties_as_version_5_does(survey, tmp_path):
    control = fit_control(survey[0], Settings(LABELS[:1]), Version(4, 8, 8), {"SYNTHFILE(1)": "grid.hdr"})
    (tmp_path / "input.nml").write_text(control)
    done = subprocess.run([install_fake(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "ntie + nov" in done.stdout
