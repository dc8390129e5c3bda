"""Starting workers: on this computer, by Slurm, or those of a scheduler that runs already."""

import logging
import multiprocessing.spawn
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from astra_models.analysis.isolation import Limits
from astra_models.errors import ConfigurationError, MissingExtraError, WorkerError
from astra_models.messages import error_text
from astra_orchestration.engines.quiet import quiet_about_losses
from astra_orchestration.engines.shared_folder import SharedFolder, dead_runs, make_folder, tidy
from astra_orchestration.engines.slurm_jobs import SlurmWatch, Submissions, ask_slurm, make_cluster

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

__all__ = ["Address", "Bounded", "Cluster", "Local", "Slurm", "Workers"]

DASHBOARD = "127.0.0.1:0"
"""Where Dask shows what goes on: unencrypted, so for users of this computer only."""
WORKER_PROCESS = "Dask Worker process"
WORKER_ENVIRONMENT = {"ASTRA_DATABASE_PATH": ":memory:"}
"""A worker uses the run's database, which comes with each chunk, and not what is configured where it runs."""
SETTINGS: dict[str, Any] = {
    # What was in a worker's hands when it died is looked at by us: in a child process, so that it kills no other.
    "distributed.scheduler.allowed-failures": 0,
    # What waits stays with the scheduler: a worker that dies takes only what it has in hand along.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.admin.log-format": "%(name)s: %(message)s",
}
OF_WORKERS: dict[str, Any] = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # It looks at what each worker does a hundred times in a second, and takes a share of the core for that.
    "distributed.worker.profile.enabled": False,
    # Dask has each array of over 64 kB given back to the system at once, and fetched anew: Corv takes twice as long.
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": None,
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
    },
}
"""Settings of worker processes, wherever they are started."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """Workers that are there, or on their way.

    Parameters
    ----------
    client : distributed.Client
        The connection to them.
    number : int
        How many there are to be.
    marks : Path
        A folder that they and this process share.
    check : callable, optional
        Raises `WorkerError` if there are none, and never will be. It is called now and then.
    """

    client: "Client"
    number: int
    marks: Path
    check: Callable[[], None] = lambda: None


def setting(default: Any, about: str) -> Any:
    """Declare a setting of an engine, which the command line, the launchpad and configuration files take alike."""
    return field(default=default, metadata={"about": about})


Carry = Literal["keys", "rows", "pixels"]


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """What bounds a spectrum's analysis, in a process that isn't the run's own."""

    seconds_per_spectrum: float | None = setting(
        None, "The longest that a spectrum may take; 20 times the slowest one so far, and at least 600, if not given"
    )
    megabytes: int | None = setting(None, "The most memory that a process may have")

    @property
    def limits(self) -> Limits:
        """What a spectrum may take."""
        return Limits(self.seconds_per_spectrum, None if self.megabytes is None else self.megabytes * 1_000_000)


@dataclass(frozen=True, kw_only=True)
class Cluster(Bounded):
    """What all kinds of workers have in common."""

    name: ClassVar[str]
    carry: Carry = setting(
        "keys", "What is sent to workers: keys of spectra, if they reach the database; else rows, or rows and pixels"
    )

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """Start the workers, and end them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Local(Cluster):
    """Workers on this computer."""

    name = "local"
    workers: int | None = setting(None, "How many; as many as there are cores if not given")

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """Start the workers, and end them."""
        with _dask(), tempfile.TemporaryDirectory(prefix="astra-workers-") as folder:
            from distributed import LocalCluster

            number = self.workers or len(os.sched_getaffinity(0))
            with _closing(
                LocalCluster(
                    n_workers=number,
                    threads_per_worker=1,
                    memory_limit=self.limits.memory or 0,
                    security=_security(),
                    host="127.0.0.1",
                    dashboard_address=DASHBOARD,
                    worker_dashboard_address=DASHBOARD,
                    local_directory=folder,
                    env=WORKER_ENVIRONMENT,
                    silence_logs=logging.ERROR,
                    protocol="tls://",
                ),
                number,
                Path(folder) / "marks",
            ) as workers:
                yield workers


@dataclass(frozen=True, kw_only=True)
class Slurm(Cluster):
    """Workers that Slurm starts."""

    name = "slurm"
    shared_temp_directory: str = setting("", "A folder that this computer and the nodes share, for keys and marks")
    jobs: int = setting(1, "How many jobs")
    cores: int = setting(1, "Cores of a job; each is a worker")
    memory: str = setting("2GB", "Memory of a job")
    walltime: str = setting("08:00:00", "The longest that a job may run, as HH:MM:SS")
    queue: str | None = setting(None, "The partition")
    account: str | None = setting(None, "Whose account pays")
    prologue: Sequence[str] = setting((), "Lines of the job script before the worker starts, such as `module load ...`")
    directives: Sequence[str] = setting((), "Further #SBATCH options, such as `--nice=100`")
    interface: str | None = setting(None, "The network interface of this computer that nodes can reach")
    python: str | None = setting(None, "The Python of the nodes, if it isn't this one")

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """Have Slurm start the workers, and end them."""
        parent = self._folder()
        lifetime = _lifetime(_seconds(self.walltime))
        with _dask():
            if shutil.which("sbatch") is None:
                raise WorkerError(
                    "there is no sbatch on this computer, so Slurm can't be asked for workers; run where it is, or "
                    "choose the engine `local`"
                )
            _tidy(parent)
            with make_folder(parent) as folder:
                cluster, submissions = self._cluster(folder, lifetime)
                watch = SlurmWatch(cluster, submissions, folder.name, folder.logs)
                # Not scale(): that wouldn't replace a job that is lost.
                cluster.adapt(minimum_jobs=self.jobs, maximum_jobs=self.jobs)
                with _closing(cluster, self.jobs * self.cores, folder.marks, watch.check) as workers:
                    yield workers

    def _cluster(self, folder: SharedFolder, lifetime: list[str]) -> "tuple[SLURMCluster, Submissions]":
        settings = {
            "queue": self.queue,
            "account": self.account,
            "cores": self.cores,
            "processes": self.cores,
            "memory": self.memory,
            "walltime": self.walltime,
            "python": self.python or sys.executable,
            "interface": self.interface,
            "shared_temp_directory": str(folder.keys),
            "local_directory": "/tmp",
            "log_directory": str(folder.logs),
            "job_name": folder.name,
            "job_script_prologue": [
                *self.prologue,
                *(f"export {name}={value}" for name, value in _worker_environment().items()),
            ],
            # A job that was requeued would come back beside the one that has replaced it.
            "job_extra_directives": ["--no-requeue", *self.directives],
            "worker_extra_args": [*lifetime, "--no-dashboard", "--dashboard-address", DASHBOARD],
            "security": _security_of(folder),
            "protocol": "tls://",
            "scheduler_options": {"dashboard_address": DASHBOARD},
            "silence_logs": logging.ERROR,
        }
        try:
            return make_cluster(settings)
        except ImportError as error:
            raise _no_dask() from error

    def _folder(self) -> Path:
        if not self.shared_temp_directory:
            raise ConfigurationError(
                "the engine `slurm` needs `shared_temp_directory`: a folder that this computer and the nodes share"
            )
        folder = Path(self.shared_temp_directory).expanduser()
        if not folder.is_dir():
            raise ConfigurationError(f"shared_temp_directory: there is no folder {folder}; make it first")
        return folder


@dataclass(frozen=True, kw_only=True)
class Address(Cluster):
    """The workers of a scheduler that runs already. Its encryption is as Dask's configuration says."""

    name = "address"
    address: str = setting("", "Where the scheduler is, such as tls://node:8786")
    marks: str | None = setting(None, "A folder that its workers and this computer share")

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """Connect to the scheduler."""
        with _dask(), tempfile.TemporaryDirectory(prefix="astra-workers-") as folder:
            from distributed import Client

            try:
                client = Client(self.address, timeout="10s", set_as_default=False)
            except (OSError, ValueError, TimeoutError) as error:
                raise WorkerError(
                    f"there is no scheduler of Dask at {self.address}: {error_text(error)}; start one, or mend the "
                    "address"
                ) from error
            with client:
                number = max(1, len(client.nthreads()))  # pyright: ignore[reportArgumentType]
                yield Workers(client, number, Path(self.marks or folder), partial(self._require_scheduler, client))

    def _require_scheduler(self, client: "Client") -> None:
        if client.status != "running":
            raise WorkerError(
                f"the scheduler of Dask at {self.address} has gone ({client.status}); what was written is kept: start "
                "one, and run again for the rest"
            )


@contextmanager
def _dask() -> Iterator[None]:
    """Make sure that Dask is there, and set what this engine needs."""
    try:
        import dask.config
        import distributed  # noqa: F401
    except ImportError as error:
        raise _no_dask() from error
    with dask.config.set(SETTINGS | OF_WORKERS), _without_script(), quiet_about_losses():
        yield


@contextmanager
def _without_script() -> Iterator[None]:
    """Keep new processes of Dask from running the script of this one: pipelines are imported from their modules.

    That script may have no ``if __name__ == "__main__"``, or import what workers don't need.
    """
    prepare = multiprocessing.spawn.get_preparation_data

    def prepared(name: str) -> dict[str, object]:
        data = prepare(name)
        if name.startswith(WORKER_PROCESS):
            data = {key: value for key, value in data.items() if not key.startswith("init_main")}
        return data

    multiprocessing.spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        multiprocessing.spawn.get_preparation_data = prepare


def _worker_environment() -> dict[str, str]:
    """Give the variables of workers that aren't started by this process: `OF_WORKERS`, as Dask reads them, too."""
    of_dask = {
        "DASK_" + name.upper().replace(".", "__").replace("-", "_"): shlex.quote(repr(value))
        for name, value in OF_WORKERS.items()
    }
    return WORKER_ENVIRONMENT | of_dask


def _no_dask() -> MissingExtraError:
    return MissingExtraError("workers are Dask's; install it with: pip install 'astra-orchestration[cluster]'")


@contextmanager
def _closing(cluster: object, number: int, marks: Path, check: Callable[[], None] = lambda: None) -> Iterator[Workers]:
    from distributed import Client

    with cluster, Client(cluster, set_as_default=False) as client:  # pyright: ignore[reportGeneralTypeIssues]
        marks.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield Workers(client, number, marks, check)


def _security() -> object:
    """Make keys for the connections of one run: whoever isn't of it can neither listen nor send code."""
    from distributed.security import Security

    return Security.temporary()


def _security_of(folder: SharedFolder) -> object:
    """Make keys for the connections of one run, in files that its workers can read."""
    from distributed.security import Security

    temporary = Security.temporary()
    texts = {"ca_file": temporary.tls_ca_file, **temporary.get_tls_config_for_role("worker")}
    files = folder.write_keys({name: text for name, text in texts.items() if name in ("ca_file", "cert", "key")})
    roles = {
        f"tls_{role}_{name}": files[name] for role in ("client", "scheduler", "worker") for name in ("cert", "key")
    }
    return Security(require_encryption=True, tls_ca_file=files["ca_file"], **roles)


def _tidy(parent: Path) -> None:
    """End and remove what runs that were killed left behind: jobs that wait, keys of their encryption, and marks."""
    ended = dead_runs(parent)
    for folder in ended:
        if folder.keys.exists():
            ask_slurm("scancel", "--me", f"--name={folder.name}")
    tidy(ended)


def _lifetime(seconds: float) -> list[str]:
    """Have workers end themselves, between chunks and one after the other, before Slurm ends them."""
    return ["--lifetime", f"{0.8 * seconds:.0f}s", "--lifetime-stagger", f"{0.1 * seconds:.0f}s"]


def _seconds(walltime: str) -> float:
    try:
        parts = [int(part) for part in walltime.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3:
        raise ConfigurationError(f"walltime {walltime!r} isn't written as HH:MM:SS, such as 08:00:00")
    return 3600 * parts[0] + 60 * parts[1] + parts[2]
