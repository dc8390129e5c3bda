"""A worker whose first connection is refused, while others of its run have reached the database before."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from astra_models.analysis.analyst import Found
from astra_models.analysis.engine import job_of
from astra_models.analysis.isolation import Limits
from astra_models.base import bind
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database
from astra_models.errors import DatabaseUnavailableError
from astra_orchestration.engines import tasks
from astra_orchestration.engines.tasks import Order
from tests import fragile


@pytest.mark.parametrize("is_patient", [True, False])
def test_a_database_that_others_have_reached_is_waited_for(
    postgresql_target: dict[str, Any],
    parameters: dict[str, Any],
    make_spectra: Any,
    server: Any,
    tmp_path: Path,
    monkeypatch: Any,
    is_patient: bool,
) -> None:
    monkeypatch.setattr(tasks, "SECONDS_BETWEEN_TRIES", 0.2)
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(5)]
    bind(postgresql_database(**parameters))  # as a new process has it: nothing was ever connected
    job = job_of(fragile.fragile, {})
    assert job is not None
    order = Order(job, BossVisitSpectrum, keys, None, Limits(), 0.0, tmp_path / "marks", 1, is_patient=is_patient)
    server.stop()
    back = threading.Thread(target=lambda: (time.sleep(2), server.start()))
    back.start()
    try:
        if is_patient:
            [found] = tasks.analyse(order.pack())
            assert Found.unpack(found).answered == 5
        else:
            with pytest.raises(DatabaseUnavailableError):
                tasks.analyse(order.pack())
    finally:
        back.join()


def test_a_password_of_the_environment_goes_with_the_job_and_is_not_shown(
    postgresql_target: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary")
    job = job_of(fragile.fragile, {})
    assert job is not None and job.database is not None
    assert job.database.options["password"] == "canary" and "canary" not in f"{job!r} {job.database!r}"
