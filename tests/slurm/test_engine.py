"""Pipelines called by workers that a real Slurm starts: each row once, whatever becomes of a job."""

import threading
from collections.abc import Callable
from typing import Any

import peewee
import pytest

from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.lease import Lease
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_orchestration.engines.on_workers import OnWorkers
from tests import fragile
from tests.slurm.cluster import SlurmCluster, wait_until

UNLIKE = {"task_pk", "created", "modified", "t_elapsed", "t_overhead", "pipeline_run_pk", "tag"}
ONE_BACK_END = pytest.mark.sqlite_only(reason="what is written is compared elsewhere")

Engines = Callable[..., OnWorkers]


def stored() -> list[dict[str, Any]]:
    rows = Rocket.select().order_by(Rocket.spectrum_pk).dicts()
    return [{name: value for name, value in row.items() if name not in UNLIKE} for row in rows]


def require_each_once(n: int) -> None:
    assert [row.spectrum_pk for row in Rocket.select(Rocket.spectrum_pk).order_by(Rocket.spectrum_pk)] == [
        row.spectrum_pk for row in BossVisitSpectrum.select().order_by(BossVisitSpectrum.spectrum_pk)
    ]
    assert Rocket.select().count() == n
    assert not RejectedResult.select().exists(), [row.message for row in RejectedResult.select()]
    assert not Lease.select().exists()


class Meanwhile:
    """Does something in a thread while a stream is written, once some spectra are done."""

    def __init__(self, stream: Any, what: Callable[[], None], after: int):
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._do, args=(stream, what, after))

    def _do(self, stream: Any, what: Callable[[], None], after: int) -> None:
        try:
            wait_until(lambda: stream.taken >= after, 60, "nothing is done")
            what()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


def test_jobs_give_what_the_run_itself_would(database: peewee.Database, make_spectra: Any, on_slurm: Engines) -> None:
    spectra = make_spectra(200)
    for place, mjd in ((3, fragile.RAISES), (7, fragile.SAYS_NOTHING)):
        key = spectra[place].spectrum_pk
        BossVisitSpectrum.update(mjd=mjd).where(BossVisitSpectrum.spectrum_pk == key).execute()
    write(analyse(fragile.fragile))
    rows, failures = stored(), list(RejectedResult.select(RejectedResult.message, RejectedResult.spectrum_pk).tuples())
    Rocket.delete().execute()
    RejectedResult.delete().execute()
    stream = analyse(fragile.fragile, engine=on_slurm(cores=2, jobs=1))
    report = write(stream)
    assert report.inserted == 198 and stored() == rows
    assert sorted(RejectedResult.select(RejectedResult.message, RejectedResult.spectrum_pk).tuples()) == sorted(
        failures
    )
    assert stream.usage is not None and stream.usage.workers == 2 and not Lease.select().exists()


@ONE_BACK_END
def test_jobs_have_the_settings_of_workers(database: peewee.Database, make_spectra: Any, on_slurm: Engines) -> None:
    make_spectra(4)
    profile = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"
    for variable, said in (("MALLOC_TRIM_THRESHOLD_", "unset"), ("OMP_NUM_THREADS", "1"), (profile, "False")):
        write(analyse(fragile.tells, engine=on_slurm(jobs=1), parameters={"variable": variable}))
        assert {row.tag for row in Rocket.select()} == {said}
        Rocket.delete().execute()


@ONE_BACK_END
def test_a_cancelled_job_is_replaced(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines, caplog: Any
) -> None:
    make_spectra(400)
    stream = analyse(fragile.naps, parameters={"seconds": 0.05}, engine=on_slurm())
    with Meanwhile(stream, lambda: slurm.ask("scancel", slurm.jobs("RUNNING")[0]) and None, after=50):
        write(stream)
    require_each_once(400)
    said = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert [record for record in said if "a worker was lost" in record.getMessage()]
    assert not [record for record in said if record.name.startswith("distributed")]
