"""Which grid Corv measures with, which spectra it takes, and what it says where it can't give a temperature."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from astra_models.analysis.stream import analyse, count_work, write
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import ParameterError
from astra_models.fits.star_file import FitsFile
from astra_models.ingest import ingest_spectra
from astra_models.pipeline_run import PipelineRun
from astra_models.snow_white import SnowWhite
from astra_models.upsert import upsert
from astra_models.version import installed_v_astra
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.pipelines.corv import corv
from astra_orchestration.pipelines.white_dwarfs.choosing import SAMPLE_CARD, is_of_sample
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family
from astra_orchestration.pipelines.white_dwarfs.registry import add_grid, find_grid
from astra_orchestration.resources import resources_for
from astra_orchestration.sample import make_sample

pytestmark = pytest.mark.long_on_each

CARD = re.compile(rb"ORIGIN  = 'astra sample survey'.{49}")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Give the files of four visits of the sample survey's white dwarfs."""
    made = make_sample(tmp_path_factory.mktemp("sample"), stars=2, seed=5)
    return [path for path in made.files if "/visits/" in path][:4]


@pytest.fixture
def real(sample, tmp_path):
    """Give the same light in files that don't say they are the sample's."""
    files = []
    for path in sample:
        content, n_cards = CARD.subn(b"ORIGIN  = 'SDSS    '".ljust(80), Path(path).read_bytes())
        assert n_cards == 1
        files.append(str(tmp_path / Path(path).name))
        Path(files[-1]).write_bytes(content)
    return files


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))


def write_grid(path, factor=1.0):
    """Write the built-in family as a user's own grid, at a scale that changes its checksum and nothing else."""
    family = balmer_family()
    few = {"teff": family.teff[::5], "logg": family.logg[::4], "flux": family.flux[::5, ::4] * factor}
    np.savez(path, wavelength=family.wavelength, resolution=0, **few)
    return path


def run(**parameters):
    stream = analyse(corv, parameters={"all_spectra": True} | parameters)
    report = write(stream)
    assert report.rejected == 0
    return stream.due


def classify(classes):
    rows = [
        {"spectrum_pk": key, "v_astra": installed_v_astra(), "classification": name} for key, name in classes.items()
    ]
    assert upsert(SnowWhite, rows).rejected == 0


# ---- with and without a grid


def test_files_of_the_sample_say_so(sample, real):
    assert all(FitsFile(path, 1).hdus[0].header[SAMPLE_CARD[0]] == SAMPLE_CARD[1] for path in sample)
    for of_sample, of_star in zip(sample, real, strict=True):
        assert is_of_sample(BossVisitSpectrum(path=of_sample)) and not is_of_sample(BossVisitSpectrum(path=of_star))
    assert not is_of_sample(BossVisitSpectrum(path="/nowhere.fits"))
    assert not is_of_sample(BossVisitSpectrum())


def test_the_sample_is_measured_with_the_built_in_family_and_without_a_flag(database, sample):
    ingest_spectra(sample)
    assert run() == 4
    for row in Corv.select():
        assert row.template_grid == "built-in"
        assert not row.flag_no_model_grid and not row.flag_v_rad_without_grid
        assert row.teff > 6000 and row.logg > 7


def test_a_real_star_gets_a_velocity_alone_and_flags_without_a_grid(database, sample, real):
    ingest_spectra(sample)
    run()
    velocities = {row.spectrum_pk: row.v_rad for row in Corv.select()}
    for path in real:  # the same spectra, no longer said to be of the sample
        BossVisitSpectrum.update(path=path).where(BossVisitSpectrum.path.endswith(Path(path).name)).execute()
    write(analyse(corv, parameters={"all_spectra": True}, rerun="all"))
    for row in Corv.select():
        assert row.template_grid == "built-in"
        assert row.flag_no_model_grid and row.flag_v_rad_without_grid
        assert row.v_rad == pytest.approx(velocities[row.spectrum_pk]) and row.e_v_rad > 0
        measured = (row.teff, row.e_teff, row.raw_e_teff, row.logg, row.e_logg, row.raw_e_logg)
        others = (row.initial_teff, row.initial_logg, row.other_teff, row.other_logg, row.other_rchi2)
        assert {*measured, *others} == {None}


def test_without_a_velocity_there_is_no_flag_of_it(database, real):
    ingest_spectra(real[:1])
    spectrum = BossVisitSpectrum.get()
    spectrum.flux = np.full(spectrum.wavelength.size, 1.0)
    spectrum.ivar = np.full(spectrum.wavelength.size, 100.0)
    [row] = corv([(spectrum, None)], write_to_database=False)
    assert (row.v_rad is None or np.isnan(row.v_rad)) and row.flag_no_lines
    assert row.flag_no_model_grid and not row.flag_v_rad_without_grid


def test_that_there_is_no_grid_is_said_once_a_run(database, target, real, tmp_path):
    ingest_spectra(real)
    asset = pipeline_asset(corv)
    for grid, n_warnings in (("built-in", 1), (str(write_grid(tmp_path / "own.npz")), 0)):
        config = {"ops": {"corv": {"config": {"all_spectra": True, "grid": grid}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([asset], instance=instance, run_config=config, resources=resources_for(target))
            logged = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == 30]
        assert sum("no grid of model atmospheres" in message for message in logged) == n_warnings
        assert result.success


# ---- which grid


def test_a_registered_grid_is_the_default_and_makes_older_results_due(database, real, tmp_path):
    ingest_spectra(real)
    assert [run(), run()] == [4, 0]
    add_grid("da", write_grid(tmp_path / "first.npz"))
    assert str(count_work(corv, parameters={"all_spectra": True})) == "4 due: 4 parameters changed"
    assert [run(), run()] == [4, 0]
    first = find_grid("da")
    assert {row.template_grid for row in Corv.select()} == {f"da {first.sha256[:12]}"}
    assert not any(row.flag_no_model_grid or row.teff is None for row in Corv.select())
    [made] = PipelineRun.select().order_by(PipelineRun.pk.desc()).limit(1)
    assert json.loads(made.parameters)["grid"] == first.path
    assert json.loads(made.model_files) == {first.path: first.sha256}

    add_grid("da", write_grid(tmp_path / "second.npz", 2.0), replace=True)
    assert [run(), run()] == [4, 0]
    assert {row.template_grid for row in Corv.select()} == {f"da {find_grid('da').sha256[:12]}"} != {first.label}


def test_the_same_grid_elsewhere_makes_nothing_due(database, real, tmp_path):
    ingest_spectra(real[:1])
    add_grid("mine", write_grid(tmp_path / "own.npz"))
    assert run(grid="mine") == 1
    (tmp_path / "copy.npz").write_bytes((tmp_path / "own.npz").read_bytes())
    assert run(grid=str(tmp_path / "copy.npz")) == run(grid=str(tmp_path / "own.npz")) == run(grid="mine") == 0
    assert Corv.get().template_grid == find_grid("mine").label


def test_a_grid_that_is_not_registered_has_the_name_of_its_file(database, real, tmp_path, monkeypatch):
    ingest_spectra(real[:1])
    monkeypatch.setenv("ASTRA_CORV_GRID", str(write_grid(tmp_path / "atmospheres.npz")))
    run()
    assert re.fullmatch("atmospheres [0-9a-f]{12}", Corv.get().template_grid)
    assert run(grid="built-in") == 1  # which goes before the variable
    assert Corv.get().template_grid == "built-in"


def test_a_damaged_grid_stops_a_run_before_it_begins(database, real, tmp_path):
    ingest_spectra(real[:1])
    add_grid("da", write_grid(tmp_path / "da.npz"))
    write_grid(tmp_path / "da.npz", 3.0)
    with pytest.raises(ParameterError, match=r"corv: the parameter grid: the grid 'da' can't be used: .*checksum"):
        run()
    assert Corv.select().count() == 0


# ---- which spectra


def test_it_takes_what_snow_white_calls_da(database, sample):
    ingest_spectra(sample)
    keys = sorted(row.spectrum_pk for row in BossVisitSpectrum.select())
    assert str(count_work(corv)) == "0 due; 4 wait for another pipeline's result"
    classify(dict(zip(keys, ("DA", "DA:", "DA/DB", "not a white dwarf"), strict=True)))
    stream = analyse(corv)
    write(stream)
    assert sorted(row.spectrum_pk for row in Corv.select()) == keys[:2]
    assert run(all_spectra=True) == 2  # the others, as the results don't depend on it
    assert Corv.select().count() == 4


def test_another_process_takes_the_grid_that_the_run_has(tmp_path, monkeypatch):
    built_in = corv.recipe(grid="built-in")
    assert built_in.values["grid"] is None
    add_grid("da", write_grid(tmp_path / "da.npz"))
    monkeypatch.setenv("ASTRA_CORV_GRID", str(tmp_path / "da.npz"))
    assert corv.recipe().values["grid"] == tmp_path / "da.npz"
    again = corv.recipe_as_used(built_in.values)
    assert (again.values, again.digest) == (built_in.values, built_in.digest)


def test_what_waits_and_what_is_left_out_is_explained_in_the_terminal(tmp_path, sample, monkeypatch):
    environment = os.environ | {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"), "COLUMNS": "200"}

    def astra(*words):
        command = [sys.executable, "-W", "ignore", "-m", "astra_orchestration.cli", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    astra("init")
    astra("ingest", "spectra", sample[0])
    assert "corv: nothing is due; 1 wait for another pipeline's result" in astra("run", "corv")
    assert "it needs a result of SnowWhite of" in astra("explain", "--spectrum-pk", "1")
    with sqlite3.connect(tmp_path / "astra.db") as connection:
        columns = "spectrum_pk, v_astra, created, modified, tag, classification, result_flags"
        now = "2026-01-01 00:00:00"
        connection.execute(
            f"INSERT INTO snow_white ({columns}) VALUES (1, ?, ?, ?, '', 'DB', 0)", (installed_v_astra(), now, now)
        )
    connection.close()
    explained = " ".join(astra("explain", "--spectrum-pk", "1").split())
    assert "left out" in explained and "Those that Snow White calls DA or DA:" in explained
