"""``astra leases``: who has what in hand, and freeing it; the options of ``astra run`` about engines."""

from pathlib import Path
from typing import Any

import peewee
import pytest
from typer.testing import CliRunner

from astra_models.analysis.leases import Leases
from astra_models.boss import BossVisitSpectrum
from astra_models.lease import Lease
from astra_models.rocket import Rocket
from astra_models.version import installed_v_astra
from astra_orchestration.cli.main import app


def astra(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


@pytest.fixture
def held(database: peewee.Database, make_spectra: Any) -> Leases:
    """Give a run that has five of ten spectra in hand."""
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(10)]
    BossVisitSpectrum.update(path="/nowhere/none.fits").execute()
    leases = Leases(Rocket, installed_v_astra(), run_id="5f1c2a00")
    leases.claim(keys[:5], list, are_consecutive=True)
    return leases


def test_what_is_in_hand_is_shown_and_freed(held: Leases) -> None:
    shown = astra("leases").output
    assert all(word in shown for word in ("rocket", "1 to 5", held.holder[:8], "5f1c2a00"))
    assert astra("leases", "--release", "0000").exit_code == 1
    assert "1 leases freed" in astra("leases", "--release", "5f1c").output
    assert not Lease.select().exists()
    assert "no run has anything in hand" in astra("leases").output


def test_a_run_says_what_it_left_to_others(held: Leases) -> None:
    done = astra("run", "rocket", "--rerun", "all")
    assert "5 were taken by other runs" in done.output, done.output


def test_an_engine_that_there_is_not_is_wrong_usage(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(1)
    done = astra("run", "rocket", "--engine", "slurn")
    assert done.exit_code == 2 and "there is no engine 'slurn'; did you mean slurm" in done.output


def test_a_forecast_by_the_last_runs(database: peewee.Database, make_spectra: Any, tmp_path: Path) -> None:
    from astra_models.analysis.stream import analyse, write
    from tests.fragile import naps

    make_spectra(20)
    assert astra("run", "rocket", "--dry-run").output == "rocket: 20 due: 20 new\n"
    write(analyse(naps, limit=10, parameters={"seconds": 0.02}))
    from astra_models.analysis.forecast import forecast, seconds_per_spectrum

    each = seconds_per_spectrum("naps")
    assert each is not None and 0.02 <= each < 1
    assert "with 4 workers" in (forecast(naps, 1_000_000, 4) or "")
