"""The Dagster UI as processes that end together: a code server, Dagster's daemon, and a web server behind a door.

``dagster dev`` starts the same, but its web server takes requests from any page, and it doesn't end what it started
when it is ended itself. Each process gets a group of its own, so that what it starts ends with it.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from astra_models.errors import ConfigurationError, PortTakenError, ServerEndedError
from astra_models.host import identity
from astra_models.messages import error_text
from astra_orchestration.cli.running import OwnNote, noted

__all__ = ["browsable", "require_dagster_home", "require_free_port", "serve"]

DEFINITIONS = "astra_orchestration.definitions"
CODE_SERVER = ("-m", "dagster", "code-server", "start", "--module-name", DEFINITIONS, "--log-level", "warning")
DAEMON = ("-m", "dagster._daemon", "run", "--log-level", "error", "--code-server-log-level", "warning")
WEB_SERVER = ("-m", "astra_orchestration.cli", "web", "--quiet")
WITHOUT_TELEMETRY = {"DAGSTER_DISABLE_TELEMETRY": "1"}
PATIENT = {"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "900"}
"""Dagster gives up a sensor after a minute. What is due among ten million spectra takes longer, when all is asked."""
WORKSPACE = """load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""
CODE = "code server"
SOON = 10.0  # seconds after its start in which a process that ends won't do better the next time
GRACE = 10.0  # seconds to end in order
RUNS_END_WITHIN = 120.0  # seconds in which runs have ended, once they are told to
PAUSE = 0.2  # seconds between two looks
LONGEST_SOCKET = 100  # characters of a socket's path that every system takes
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def serve(
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    *,
    read_only: bool = False,
    allowed_hosts: Collection[str] = (),
    wait_for_runs: float = 0.0,
    say: Callable[[str], None] = print,
) -> int:
    """Run the UI and its daemon until one of their processes ends, or this process is told to.

    Parameters
    ----------
    host, port
        Where the UI listens.
    on_ready : callable
        Called with the UI's address once it answers.
    read_only : bool, optional
        Whether nothing can be launched or changed in the UI.
    allowed_hosts : collection of str, optional
        Names by which browsers may call the UI, besides those of this machine.
    wait_for_runs : float, optional
        How long runs may go on when this is to end, in seconds; then they are told to end.
    say : callable, optional
        Called with what becomes of runs then.

    Returns
    -------
    int
        The exit code: 0, for it was ended by Ctrl-C, SIGTERM or the closing of the terminal.

    Raises
    ------
    ConfigurationError
        If ``DAGSTER_HOME`` isn't set.
    AlreadyRunningError
        If another process serves the UI of this ``DAGSTER_HOME``, or left processes behind.
    PortTakenError
        If something else listens there.
    ServerEndedError
        If one of the processes ended by itself. The code server is started again.
    """
    home = require_dagster_home()
    address = browsable(host, port, allowed_hosts)
    options = [f"--allow-host={name}" for name in allowed_hosts] + ["--read-only"] * read_only
    with (
        _ending_signals(),
        noted(home, address, ends_within=wait_for_runs + RUNS_END_WITHIN) as note,
        _private_folder() as folder,
        Processes(note, say) as processes,
    ):
        require_free_port(host, port)
        try:
            code = folder / "code"
            workspace = folder / "workspace.yaml"
            workspace.write_text(WORKSPACE.format(socket=code, location=DEFINITIONS))
            reads = ("--workspace", str(workspace))
            processes.start(CODE, *CODE_SERVER, "--socket", str(code), comes_back=True)
            processes.wait_until(lambda: _listens(code))
            processes.start("daemon", *DAEMON, *reads)
            processes.start("web server", *WEB_SERVER, *reads, "--host", host, "--port", str(port), *options)
            processes.wait_until(lambda: _answers(host, port))
            on_ready(address)
            processes.wait_until(lambda: False)
        except KeyboardInterrupt:
            _end_runs(processes, wait_for_runs, say)
    return 0


def _end_runs(processes: "Processes", wait: float, say: Callable[[str], None]) -> None:
    """Start no more runs, and end those that are under way; being told again to end cuts it short."""
    import dagster as dg  # only here: it takes a second

    from astra_orchestration.launching.stopping import end_runs

    try:
        processes.end("daemon")
        with dg.DagsterInstance.get() as instance:
            try:
                end_runs(instance, wait, say)
            except KeyboardInterrupt:
                end_runs(instance, 0.0, say)
    except KeyboardInterrupt:
        say("runs are cut off; what they have written is kept")
    except (dg.DagsterError, OSError) as error:
        say(f"nothing can be found out about runs, so they are cut off: {error_text(error)}")


class Processes:
    """Processes that end together: when one has ended, and when the context is left.

    Parameters
    ----------
    note : OwnNote, optional
        Where they are noted.
    say : callable, optional
        Called with what an operator should know.
    """

    def __init__(self, note: OwnNote | None = None, say: Callable[[str], None] = print) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: list[subprocess.Popen[bytes]] = []
        self._coming_back: dict[str, tuple[float, Sequence[str]]] = {}
        self._note = note
        self._say = say

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self.end()

    def start(self, name: str, *arguments: str, comes_back: bool = False) -> None:
        """Start a Python process, in a process group of its own; one that comes back is started again if it dies."""
        if comes_back:
            self._coming_back[name] = time.monotonic(), arguments
        child = self._children[name] = subprocess.Popen(
            [sys.executable, *arguments],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            env=PATIENT | os.environ | WITHOUT_TELEMETRY,
        )
        if self._note is not None:
            self._note.add(name, identity(child.pid) or str(child.pid))

    def wait_until(self, what: Callable[[], bool]) -> None:
        """Wait until something is true.

        Raises
        ------
        ServerEndedError
            If a process ends before.
        """
        while not what():
            for name, child in list(self._children.items()):
                if (code := child.poll()) is not None and not self._comes_back(name, child, _how(code)):
                    raise ServerEndedError(
                        f"the {name} of the Dagster UI has ended by itself ({_how(code)}), and the others were ended "
                        "too; its last lines are above. Results that were written stay: start it again"
                    )
            if self._note is not None:
                self._note.touch()
            time.sleep(PAUSE)

    def _comes_back(self, name: str, child: "subprocess.Popen[bytes]", how: str) -> bool:
        """Start a process again that has ended, unless it does so soon after each start."""
        if name not in self._coming_back:
            return False
        began, arguments = self._coming_back[name]
        if time.monotonic() < began + SOON:
            return False
        self._say(f"the {name} of the Dagster UI has ended by itself ({how}), and is started again; runs go on")
        self._ended.append(child)  # what it started may be there, and ends with the others
        self.start(name, *arguments, comes_back=True)
        return True

    def end(self, *names: str) -> None:
        """End processes, or all, and whatever they started: in order if they can, by force if they don't."""
        children = [child for name, child in self._children.items() if not names or name in names]
        if not names:
            children += self._ended
        for number, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, 1.0)):
            until = time.monotonic() + patience
            for child in children:
                _send(child, number)
            while _is_any_alive(children) and time.monotonic() < until:
                time.sleep(PAUSE)
        for child in children:
            child.wait()


def _is_any_alive(children: "Collection[subprocess.Popen[bytes]]") -> bool:
    for child in children:
        child.poll()
    return any(_send(child, 0) for child in children)


def require_dagster_home() -> Path:
    """Give the folder that Dagster keeps its records in.

    Raises
    ------
    ConfigurationError
        If ``DAGSTER_HOME`` isn't an existing folder, given as an absolute path.
    """
    home = Path(os.environ.get("DAGSTER_HOME", ""))
    if not home.is_absolute() or not home.is_dir():
        raise ConfigurationError(
            f"DAGSTER_HOME is {str(home)!r}, not the absolute path of a folder; use `make run` or `make dev`, which "
            "set it, or make a folder with a copy of dagster.yaml in it and export its path"
        )
    return home


def require_free_port(host: str, port: int) -> None:
    """Make sure that a port can be listened on.

    Raises
    ------
    PortTakenError
        If it can't.
    """
    try:
        [family, kind, protocol, _, address], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise PortTakenError(
            f"port {port} of {host} can't be used ({error.strerror}); choose another: `astra ui --port {port + 1}` "
            f"or `make run PORT={port + 1}`"
        ) from error


def browsable(host: str, port: int, allowed_hosts: Collection[str] = ()) -> str:
    """Give an address by which the web server's door lets a browser in."""
    named = host in EVERYWHERE and allowed_hosts
    name = next(iter(allowed_hosts)) if named else EVERYWHERE.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


@contextmanager
def _ending_signals() -> Iterator[None]:
    """Let every signal that asks a process to end do what Ctrl-C does."""
    before = {number: signal.signal(number, _interrupt) for number in ENDING_SIGNALS}
    watched = signal.set_wakeup_fd(-1)  # ending the processes takes a while, and is not to be cut short
    try:
        yield
    finally:
        signal.set_wakeup_fd(watched)
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Give a folder that nobody else can look into: who reaches the code server's socket can launch runs."""
    roomy = len(tempfile.gettempdir()) < LONGEST_SOCKET - len("/astra-ui-12345678/code")
    with tempfile.TemporaryDirectory(prefix="astra-ui-", dir=None if roomy else "/tmp") as folder:
        yield Path(folder)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=5)
    try:
        connection.request("GET", "/server_info", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _send(child: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a process and whatever it started; False if none of them is there any more."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
