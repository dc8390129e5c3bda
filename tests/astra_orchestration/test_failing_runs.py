"""Runs of pipelines that fail in odd ways: what the command line and Dagster say of them."""

import re
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest
from typer.testing import CliRunner, Result

from astra_models import task
from astra_models.base import bind
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.cli.main import app
from astra_orchestration.resources import resources_for
from tests.other_packages import run_astra

Visits = Callable[..., list[BossVisitSpectrum]]

PIPELINE = '''
"""A pipeline that does what its environment says."""

import os
import sys
from collections.abc import Iterable

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from odd.models import Odd


@task
def odd(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Odd]:
    """Behave oddly."""
    for spectrum in spectra:
        {behaviour}
        yield Odd.from_spectrum(spectrum, peak=5000.0)
'''


@pytest.fixture
def behave(install: Callable[..., Path], memory_database: peewee.Database) -> Callable[[str], Path]:
    """Give a function that installs the pipeline ``odd``, which does something at each spectrum before its result."""

    def write(behaviour: str) -> Path:
        files = {"pipeline.py": PIPELINE.format(behaviour=behaviour)}
        return install("odd", pipeline="odd", model="Odd", files=files)

    return write


@pytest.fixture
def run_odd(behave: Callable[[str], Path], tmp_path: Path, make_spectra: Visits) -> Callable[..., Result]:
    """Give a function that runs ``odd`` from the command line, on some spectra in a file."""

    def run(behaviour: str, n_spectra: int, *options: str) -> Result:
        behave(behaviour)
        bind(sqlite_database(str(tmp_path / "astra.db")))
        assert CliRunner().invoke(app, ["init"]).exit_code == 0
        make_spectra(n_spectra)
        return CliRunner().invoke(app, ["run", "odd", *options])

    return run


def last_lines(done: Result) -> tuple[str, str]:
    """Give the last lines of the standard output, and of the standard error."""
    return done.stdout.strip().splitlines()[-1], (done.stderr.strip().splitlines() or [""])[-1]


EVERY_THIRD = "if spectrum.spectrum_pk % 3: raise ValueError('no fit')"


def test_a_run_says_in_its_last_line_how_many_were_answered(run_odd: Callable[..., Result]) -> None:
    done = run_odd("if spectrum.spectrum_pk == 5: continue", 25)
    assert done.exit_code == 0
    assert last_lines(done)[0] == ("odd: 25 due, 24 inserted, 0 updated, 0 unchanged, 1 rejected; 24 of 25 answered")


def test_a_run_that_answered_all_says_no_more(run_odd: Callable[..., Result]) -> None:
    done = run_odd("pass", 25)
    assert (done.exit_code, last_lines(done)[0]) == (0, "odd: 25 due, 25 inserted, 0 updated, 0 unchanged, 0 rejected")


@pytest.mark.parametrize(("options", "exit_code"), [((), 1), (("--min-answered", "0.2"), 0)])
def test_a_run_that_answered_too_few_fails(run_odd: Callable[..., Result], options: Any, exit_code: int) -> None:
    done = run_odd(EVERY_THIRD, 30, *options)
    assert done.exit_code == exit_code
    printed, complained = last_lines(done)
    assert printed.endswith("10 of 30 answered")
    assert ("error: only 10 of 30 spectra that were due have a result" in complained) == bool(exit_code)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("return", "odd gave no result for any of 30 spectra"),
        ("continue", "odd gave no result for any of 30 spectra"),
        ("raise SystemExit(0)", "odd raised on all 30 spectra that it was given"),
    ],
)
def test_a_run_without_any_result_fails_and_marks_nothing(
    run_odd: Callable[..., Result], behaviour: str, message: str
) -> None:
    done = run_odd(behaviour, 30)
    assert done.exit_code == 1
    assert f"error: {message}" in done.stderr
    assert RejectedResult.select().count() == 0


def test_results_that_were_not_asked_for_are_said_and_listed(run_odd: Callable[..., Result]) -> None:
    done = run_odd("spectrum.spectrum_pk = 1", 25)
    assert done.exit_code == 1
    assert last_lines(done)[0].endswith("24 rejected; 1 of 25 answered")
    assert "rejected 24: contract: not taken, or answered already" in done.stderr
    listed = CliRunner().invoke(app, ["rejected", "--reason", "contract"])
    assert "24 in all" in listed.output


def test_a_run_whose_pipeline_leaves_the_program_goes_on(
    behave: Callable[[str], Path], tmp_path: Path, make_spectra: Visits
) -> None:
    site = behave("if spectrum.spectrum_pk == 41: sys.exit()").parent
    path = tmp_path / "astra.db"
    bind(sqlite_database(str(path)))
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    make_spectra(120)
    done = run_astra(["run", "odd"], site, ASTRA_DATABASE_PATH=str(path))
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (
        0,
        "odd: 120 due, 119 inserted, 0 updated, 0 unchanged, 1 rejected; 119 of 120 answered",
    )
    with sqlite3.connect(path) as connection:
        [(key, message)] = connection.execute("SELECT spectrum_pk, message FROM rejected_result").fetchall()
    connection.close()
    assert (key, message) == (41, "SystemExit")


# ---- what a terminal is sent


@pytest.fixture
def hostile(run_odd: Callable[..., Result]) -> Result:
    """Run a pipeline whose exceptions have control sequences in them."""
    return run_odd(r"if spectrum.spectrum_pk < 3: raise ValueError('\x1b[2J\x9b1m\x00\udc80')", 5)


def test_no_control_sequence_of_an_exception_is_sent_to_a_terminal(hostile: Result) -> None:
    assert hostile.exit_code == 0
    for options in ([], ["--traceback"]):
        listed = CliRunner().invoke(app, ["rejected", *options])
        assert listed.exit_code == 0, listed.output
        for text in (hostile.output, listed.output):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        assert r"ValueError: \x1b[2J\x9b1m\x00\udc80" in listed.output


def test_nor_is_one_that_an_older_release_stored(run_odd: Callable[..., Result]) -> None:
    run_odd("pass", 1)
    RejectedResult.create(model="Odd\x1b[1m", reason="exception", message="\x1b[2J" + "x" * 10**6, run_id="\x1b[3m")
    listed = CliRunner().invoke(app, ["rejected"])
    assert "\x1b" not in listed.output
    assert len(listed.output) < 20_000


def test_the_traceback_of_a_failure_is_shown(hostile: Result) -> None:
    shown = CliRunner().invoke(app, ["rejected", "--traceback", "--limit", "1"]).output
    assert re.search(r'odd/pipeline.py", line \d+, in odd\n    if spectrum.spectrum_pk < 3: raise ValueError', shown)
    assert "1 of 2 shown" in shown


def test_a_failure_without_a_traceback_shows_its_message(run_odd: Callable[..., Result]) -> None:
    run_odd("if spectrum.spectrum_pk == 2: continue", 3)
    assert "odd gave no result" in CliRunner().invoke(app, ["rejected", "--traceback"]).output


# ---- under Dagster


@task
def poor(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Fail on two of three spectra."""
    for spectrum in spectra:
        if spectrum.spectrum_pk % 3:
            raise ValueError("no fit")
        yield Rocket.from_spectrum(spectrum)


@pytest.mark.sqlite_only(reason="what a run is told does not depend on the database")
@pytest.mark.parametrize(("config", "succeeds"), [(None, False), ({"min_answered": 0.3}, True)])
def test_an_asset_that_answered_too_few_fails(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits, config: Any, succeeds: bool
) -> None:
    make_spectra(30)
    result = dg.materialize(
        [pipeline_asset(poor)],
        resources=resources_for(target),
        run_config={} if config is None else {"ops": {"poor": {"config": config}}},
        raise_on_error=False,
    )
    assert result.success is succeeds
    if succeeds:
        [event] = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
        assert (metadata["due"].value, metadata["answered"].value) == (30, 10)
    else:
        [failure] = result.get_step_failure_events()
        details = failure.step_failure_data.user_failure_data
        assert details is not None
        assert (details.description or "").startswith("only 10 of 30 spectra that were due have a result")
        assert details.metadata["inserted"].value == 10
    assert Rocket.select().count() == 10
