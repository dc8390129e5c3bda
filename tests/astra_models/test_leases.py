"""Nobody does the same work twice: leases on spectra, claimed, renewed, given back, lost, and left by the dead."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import peewee
import pytest

from astra_models import base, task
from astra_models.analysis import leases as leases_module
from astra_models.analysis.leases import Leases, now
from astra_models.analysis.stream import analyse, write, write_batches
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.host import has_ended, host_name, identity, this_process
from astra_models.lease import Lease
from astra_models.rocket import Rocket
from astra_models.version import installed_v_astra
from tests import fragile

pytestmark = pytest.mark.long_on_each


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store a hundred spectra."""
    return make_spectra(100)


def run_of(keys: Iterable[int]) -> Leases:
    """Give leases of a run that has claimed some spectra."""
    mine = Leases(Rocket, installed_v_astra())
    mine.claim(list(keys), list, are_consecutive=True)
    return mine


def expire() -> None:
    Lease.update(expires=now() - 1).execute()


def of_another_process() -> None:
    """Make all leases those of a process of another computer."""
    Lease.update(host="elsewhere").execute()


# ---- claiming


def test_a_spectrum_that_another_run_has_in_hand_is_left_out(spectra: list[Any]) -> None:
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    first = run_of(keys[:40])
    second = Leases(Rocket, installed_v_astra())
    claim = second.claim(keys, list, are_consecutive=True)
    assert (claim.keys, claim.left_out, claim.suspects) == (keys[40:], keys[:40], set())
    first.close()
    second.close()
    assert not Lease.select().exists()


def test_what_another_run_has_done_meanwhile_is_not_done_again(spectra: list[Any]) -> None:
    late = analyse(fragile.fragile)  # its list is made before the other run writes
    early = write(analyse(fragile.fragile))
    report = write(late)
    assert (early.inserted, report.rows, late.due, late.expected) == (100, 0, 100, 0)
    late.require_answered(report)


def test_two_runs_share_the_work(spectra: list[Any]) -> None:
    first = analyse(fragile.fragile, batch_size=10)
    batches = write_batches(first)
    next(batches)  # it has some spectra in hand, and is still at work
    second = analyse(fragile.fragile)
    shares = [write(second).inserted, sum(report.inserted for report, _ in batches) + 10]
    assert sum(shares) == 100 == Rocket.select().count() and min(shares) > 0
    assert second.work is not None and second.work.elsewhere == 100 - 10 - shares[0]
    assert not Lease.select().exists()


def test_leases_of_other_tables_and_versions_do_not_matter(spectra: list[Any], monkeypatch: Any) -> None:
    run_of([spectra[0].spectrum_pk])
    Lease.update(model="Corv").execute()
    run_of([spectra[0].spectrum_pk])
    Lease.update(v_astra_major_minor=1).where(Lease.model == "Rocket").execute()
    assert write(analyse(fragile.fragile)).inserted == 100


def test_a_range_or_a_list_of_keys(spectra: list[Any]) -> None:
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    run_of(keys[:10])
    other = Leases(Rocket, installed_v_astra())
    other.claim(keys[5:30:5], list, are_consecutive=False)
    first, second = Lease.select().order_by(Lease.pk)
    assert first.listed() is None and second.listed() == keys[10:30:5]


def test_a_database_in_memory_has_no_leases(memory_database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(3)
    assert not Leases(Rocket, installed_v_astra()).kept
    assert write(analyse(fragile.fragile)).inserted == 3


def test_a_schema_without_the_table_is_used_without_leases(spectra: list[Any]) -> None:
    Lease.drop_table()
    try:
        assert write(analyse(fragile.fragile)).inserted == 100
    finally:
        Lease.create_table()


# ---- renewing and losing


def test_a_lease_is_renewed_while_its_run_works(spectra: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(leases_module, "SECONDS", 0.4)
    mine = run_of([spectrum.spectrum_pk for spectrum in spectra])
    before = Lease.get().expires
    assert not threading.Event().wait(1.0)
    assert Lease.get().expires > before + 500
    mine.close()
    assert not Lease.select().exists()


def test_one_that_expired_and_that_nobody_took_is_still_its_holders(spectra: list[Any]) -> None:
    stream = analyse(fragile.fragile, batch_size=10)
    batches = write_batches(stream)
    next(batches)
    expire()
    assert sum(report.inserted for report, _ in batches) == 90


def test_what_another_run_took_over_is_not_written(spectra: list[Any], caplog: Any) -> None:
    stream = analyse(fragile.fragile, batch_size=10)
    batches = write_batches(stream)
    next(batches)
    of_another_process()
    expire()
    taken = write(analyse(fragile.fragile, limit=30))
    rest = sum(report.inserted for report, _ in batches)
    assert "another run has taken over" in caplog.text
    counts = Counter(row.pipeline_run_pk for row in Rocket.select())
    assert sorted(counts.values()) == [30, 70] and (taken.inserted, rest) == (30, 60)


# ---- the dead


def test_a_process_that_has_ended_is_known(database: peewee.Database) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = identity(child.pid)
    assert process is not None and not has_ended(host_name(), process)
    assert not has_ended(host_name(), this_process())
    child.communicate(b"\n")
    assert has_ended(host_name(), process)
    assert not has_ended("another computer", process)
    number, _, rest = this_process().partition(" ")
    assert has_ended(host_name(), f"{number} 1 {rest.split()[1]}"), "another process of the same number"


def leave_lease(keys: list[int]) -> None:
    """Leave a lease, as a run does that is killed."""
    run_of(keys)
    Lease.update(process="999999999 1 boot").execute()


def test_what_a_dead_run_had_in_hand_is_done_in_a_child_process(spectra: list[Any]) -> None:
    leave_lease([spectrum.spectrum_pk for spectrum in spectra[20:25]])
    assert write(analyse(fragile.fragile)).inserted == 100
    here = {row.spectrum_pk for row in Rocket.select() if row.tag == this_process().split()[0]}
    assert {spectrum.spectrum_pk for spectrum in spectra} - here == {one.spectrum_pk for one in spectra[20:25]}
    assert not Lease.select().exists()


def test_a_pipeline_that_no_child_can_import_does_them_itself(spectra: list[Any]) -> None:
    @task
    def local(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=1)

    leave_lease([spectrum.spectrum_pk for spectrum in spectra[20:25]])
    stream = analyse(local)
    report = write(stream)
    assert (report.inserted, stream.answered(report)) == (100, 100)
    assert not Lease.select().exists()


def test_a_part_of_what_a_dead_run_had_in_hand_stays_suspect(spectra: list[Any]) -> None:
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    leave_lease(keys[:50])
    mine = Leases(Rocket, installed_v_astra())
    assert mine.claim(keys[:20], list, are_consecutive=True).suspects == set(keys[:20])
    assert mine.claim(keys[20:70], list, are_consecutive=True).suspects == set(keys[20:50])
    assert Lease.select().where(Lease.holder != mine.holder).count() == 0


def test_the_poison_spectrum_ends_one_run(spectra: list[Any]) -> None:
    poison = spectra[30].spectrum_pk
    BossVisitSpectrum.update(mjd=fragile.EXITS).where(BossVisitSpectrum.spectrum_pk == poison).execute()
    script = (
        "from astra_models.analysis.job import *; import pickle, sys; pickle.load(sys.stdin.buffer).load()\n"
        "from astra_models.analysis.stream import *; from tests.fragile import fragile; write(analyse(fragile))"
    )
    ended = subprocess.run([sys.executable, "-c", script], input=_packed_job(), capture_output=True, check=False)
    assert ended.returncode == 7, ended.stderr.decode()
    report = write(analyse(fragile.fragile))
    assert dict(report.reasons) == {"crash: the process that analysed it ended itself (exit code 7)": 1}
    assert Rocket.select().count() == 99 and not Lease.select().exists()


def _packed_job() -> bytes:
    import pickle

    from astra_models.analysis.engine import job_of

    return pickle.dumps(job_of(fragile.fragile, {}))


# ---- many at once


def test_processes_at_once_do_each_spectrum_once(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(3_000)
    script = (
        "from astra_models.analysis.job import *; import pickle, sys; pickle.load(sys.stdin.buffer).load()\n"
        "from astra_models.analysis.stream import *; from tests.fragile import fragile\n"
        "stream = analyse(fragile, batch_size=50); print(write(stream).inserted, stream.work.elsewhere)"
    )
    job = _packed_job()
    runs = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write(job)
        run.stdin.close()
        run.stdin = None
    inserted = [int(run.communicate()[0].split()[0]) for run in runs]
    assert sum(inserted) == 3_000 == Rocket.select().count(), "rows are inserted once, and never updated"
    assert not Lease.select().exists()
    assert base.database.obj is not None


def test_a_run_that_is_given_up_lets_its_leases_expire(spectra: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(leases_module, "SECONDS", 0.4)
    mine = run_of([spectrum.spectrum_pk for spectrum in spectra])
    [thread] = [one for one in threading.enumerate() if one.name == "astra-leases"]
    del mine
    thread.join(5)
    assert not thread.is_alive()


def test_leases_are_renewed_where_they_are_though_models_are_bound_elsewhere(
    spectra: list[Any], monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setattr(leases_module, "SECONDS", 0.4)
    mine = run_of([spectrum.spectrum_pk for spectrum in spectra])
    before, here, schema = Lease.get().expires, base.database.obj, base.bound_schema()
    base.bind(sqlite_database(tmp_path / "other.db"))
    threading.Event().wait(0.6)
    base.bind(here, schema)
    assert Lease.get().expires > before
    mine.close()
