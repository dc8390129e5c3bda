"""No password in what Slurm and Dask keep or show, keys that only their user can read, and no open door."""

import http.client
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import peewee
import psutil
import pytest

from astra_models import base
from astra_models.analysis.stream import analyse, write
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_orchestration.engines.clusters import Local
from astra_orchestration.engines.on_workers import OnWorkers
from tests import fragile
from tests.slurm.cluster import SlurmCluster
from tests.slurm.test_engine import ONE_BACK_END, Engines, Meanwhile

CANARY, OF_ENVIRONMENT = "canary-7f3b-in-settings", "canary-c04d-in-environment"
DEBUG = "export DASK_LOGGING__DISTRIBUTED=debug"


@pytest.fixture
def with_password(database: peewee.Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bind the PostgreSQL database again, with a password, and have others in the environment; the server takes any."""
    before = base.database.obj, bound_schema()
    parameters: dict[str, Any] = dict(before[0].connect_params) | {"password": CANARY}
    monkeypatch.setenv("SURVEY_URL", f"postgresql://astra:{CANARY}@example/astra")
    monkeypatch.setenv("PGPASSWORD", OF_ENVIRONMENT)
    monkeypatch.setenv("ASTRA_SURVEY_PASSWORD", OF_ENVIRONMENT)
    bind(postgresql_database(before[0].database, **parameters), before[1])
    yield
    base.database.close()
    bind(*before)


def places_of_canaries(slurm: SlurmCluster, shared: Path) -> list[str]:
    """Look for the passwords in files, in what Slurm tells, in Dask's configuration, and in jobs' environments."""
    canaries = (CANARY.encode(), OF_ENVIRONMENT.encode())
    texts: dict[str, bytes] = {"dask.config": repr(dask.config.config).encode()}
    for job in slurm.jobs():
        texts[f"scontrol show job {job}"] = slurm.ask("scontrol", "-d", "show", "job", job).encode()
        texts[f"the script of {job}"] = slurm.ask("scontrol", "write", "batch_script", job, "-").encode()
    for folder in (slurm.folder, shared):
        texts |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for worker in workers_of(shared):
        texts[f"the environment of {worker.pid}"] = repr(worker.environ()).encode()
        texts[f"the command of {worker.pid}"] = repr(worker.cmdline()).encode()
    assert any("the script of" in name for name in texts) and any(name.endswith(".err") for name in texts)
    assert any("the environment of" in name for name in texts) and any("/job." in name for name in texts), list(texts)
    return [name for name, text in texts.items() if any(canary in text for canary in canaries)]


def workers_of(shared: Path) -> list[psutil.Process]:
    """Give the processes that Slurm started for runs with this folder, their children included."""
    nannies = [one for one in psutil.process_iter(["cmdline"]) if str(shared) in " ".join(one.info["cmdline"] or [])]
    return [process for nanny in nannies for process in (nanny, *nanny.children())]


@pytest.mark.postgresql_only(reason="SQLite has no passwords")
def test_no_password_is_kept_or_shown(
    database: peewee.Database,
    with_password: None,
    make_spectra: Any,
    slurm: SlurmCluster,
    on_slurm: Engines,
    shared: Path,
    caplog: Any,
) -> None:
    spectra = make_spectra(200)
    BossVisitSpectrum.update(mjd=fragile.EXITS).where(BossVisitSpectrum.pk == spectra[20].pk).execute()
    BossVisitSpectrum.update(mjd=fragile.SLOW).where(BossVisitSpectrum.pk > spectra[100].pk).execute()
    stream = analyse(fragile.fragile, engine=on_slurm(prologue=[DEBUG]))
    found: list[str] = []
    with Meanwhile(stream, lambda: found.extend(places_of_canaries(slurm, shared)), after=60):
        write(stream)
    assert found == []
    assert Rocket.select().count() == 199 and [row.reason for row in RejectedResult.select()] == ["crash"]
    logs = [path.read_text() for path in shared.rglob("*.err")]
    assert logs and not any(canary in text for text in [caplog.text, *logs] for canary in (CANARY, OF_ENVIRONMENT))


def answers_plainly(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 600
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def open_doors(workers: list[psutil.Process]) -> list[tuple[int, str, int]]:
    """Give the ports of the run and its workers that other computers can reach, and that answer without encryption."""
    doors = []
    for process in [psutil.Process(), *workers]:
        for connection in process.net_connections("inet"):
            address = connection.laddr
            if connection.status != psutil.CONN_LISTEN or address.ip in ("127.0.0.1", "::1"):
                continue
            host = "127.0.0.1" if address.ip in ("0.0.0.0", "::") else address.ip
            if answers_plainly(host, address.port):
                doors.append((process.pid, *address))
    return doors


@ONE_BACK_END
@pytest.mark.parametrize("kind", ["slurm", "local"])
def test_keys_are_private_and_nothing_is_open_to_others(
    database: peewee.Database, make_spectra: Any, on_slurm: Engines, shared: Path, kind: str
) -> None:
    make_spectra(200)
    seen: dict[str, Any] = {}

    def look() -> None:
        for folder in shared.iterdir():
            seen["folder"] = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
            seen["keys"] = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder / "keys").iterdir()}
        workers = workers_of(shared) or psutil.Process().children(recursive=True)
        seen["workers"] = len(workers)
        seen["doors"] = open_doors(workers)

    engine = on_slurm() if kind == "slurm" else OnWorkers(Local(workers=2))
    stream = analyse(fragile.naps, parameters={"seconds": 0.05}, engine=engine)
    with Meanwhile(stream, look, after=50):
        write(stream)
    assert seen["doors"] == [] and seen["workers"] >= 2
    if kind == "slurm":
        assert seen["folder"] == {0o700}
        assert seen["keys"] == {"ca_file": 0o600, "cert": 0o600, "key": 0o600}
