"""A Slurm of two nodes on this computer, for root on Linux: its own folder, keys and ports, and gone in the end.

It has two partitions: jobs of `main` push those of `preemptible` aside. There is no slurmdbd, and no control groups, so
nobody enforces memory.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["PACKAGES", "SlurmCluster", "missing", "running_cluster", "wait_until"]

PACKAGES = "slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
NODES = ("n1", "n2")
# Both schedulers look at the queue every other second; by default, the main one does once a minute.
CONFIGURATION = """\
ClusterName=astra
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=100000
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=2
MinJobAge=300
DefMemPerCPU=256
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs={cpus} RealMemory=16000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs={cpus} RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10
PartitionName=preemptible Nodes=n[1-2] MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1
"""


def missing() -> str | None:
    """Say what a Slurm can't be started for here; None if it can."""
    if os.geteuid() != 0:
        return "a Slurm of its own needs root"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        return f"there is no {', '.join(lacking)}; apt-get install --no-install-recommends {PACKAGES}"
    return None


class SlurmCluster:
    """A running Slurm, asked by its own commands.

    Parameters
    ----------
    folder : Path
        Its configuration, state, logs and munge's key.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands, and give what it prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self, *states: str) -> list[str]:
        """Give the numbers of the jobs in some states, such as ``RUNNING``; in the queue at all if none is given."""
        lines = [line.split() for line in self.ask("squeue", "-h", "-o", "%i %T").splitlines()]
        return [number for number, state in lines if not states or state in states]

    def show(self, job: str) -> dict[str, str]:
        """Give what Slurm knows of a job."""
        words = self.ask("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def idle_nodes(self) -> int:
        """Give how many nodes have nothing to do."""
        return sum(int(word) for word in self.ask("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D").split())

    def clear(self) -> None:
        """End all jobs, and have all nodes take new ones."""
        subprocess.run(["scancel", "-f", "-u", "root"], env=os.environ | self.environment, check=False)
        for node in NODES:
            state = self.ask("sinfo", "-h", "-N", "-p", "main", "-n", node, "-o", "%T").upper()
            if "DRAIN" in state or "DOWN" in state:
                self.ask("scontrol", "update", f"nodename={node}", "state=resume")
        wait_until(lambda: not self.jobs() and self.idle_nodes() == len(NODES), 30, "Slurm isn't idle")


def wait_until(what: Callable[[], object], seconds: float, otherwise: str | Callable[[], str]) -> None:
    """Wait until something is true.

    Raises
    ------
    AssertionError
        If it isn't in time: with `otherwise`, or what that says then.
    """
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise AssertionError(f"{otherwise if isinstance(otherwise, str) else otherwise()} after {seconds:.0f} s")
        time.sleep(0.1)


@contextmanager
def running_cluster(cpus: int = 4) -> Iterator[SlurmCluster]:
    """Start a Slurm, and end it with all that it runs.

    Parameters
    ----------
    cpus : int, optional
        Cores of each node; there may be more than there really are.
    """
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="astra-slurm-", ignore_cleanup_errors=True))
        )
        folder.chmod(0o755)
        controller_port, port_1, port_2 = _free_ports(3)
        for name in ("state", "log", "spool-n1", "spool-n2"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                folder=folder,
                controller_port=controller_port,
                port_1=port_1,
                port_2=port_2,
                cpus=cpus,
            )
        )
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # read even where there are none
        cluster = SlurmCluster(folder)
        _start_munge(folder / "munge", stack)
        configured = ("-f", str(folder / "slurm.conf"))
        _start(stack, folder, "slurmctld", "-D", *configured)
        for node in NODES:
            _start(stack, folder, "slurmd", "-D", "-N", node, *configured)
        wait_until(lambda: _is_ready(cluster), 60, "Slurm doesn't start")
        try:
            yield cluster
        finally:
            cluster.clear()


def _is_ready(cluster: SlurmCluster) -> bool:
    try:
        return cluster.idle_nodes() == len(NODES)
    except (AssertionError, subprocess.TimeoutExpired):
        return False


def _start_munge(folder: Path, stack: ExitStack) -> None:
    folder.mkdir(mode=0o711)
    key = folder / "key"
    key.touch(mode=0o400)
    key.chmod(0o600)
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = [f"--{name}-file={folder / name}" for name in ("key", "pid", "seed", "log")]
    # It minds folders that others may write to, such as /tmp, unless it is forced.
    _start(stack, folder.parent, "munged", "--foreground", "--force", *files, f"--socket={folder / 'socket'}")
    wait_until((folder / "socket").exists, 10, "munge doesn't start")


def _start(stack: ExitStack, folder: Path, *command: str) -> None:
    log = stack.enter_context((folder / "log" / f"{command[0]}.out").open("ab"))
    process = subprocess.Popen(
        command,
        env=os.environ | {"SLURM_CONF": str(folder / "slurm.conf")},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    stack.callback(_end, process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(how_many: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(how_many)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
