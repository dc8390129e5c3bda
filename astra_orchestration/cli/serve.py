"""The Dagster UI as a child that is ended with everything it started.

``dagster dev`` starts a web server, a daemon and a code server, and doesn't end them when it is ended itself. So it
gets a process group of its own, and the whole group is ended.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from astra_models.errors import ConfigurationError, PortTakenError

__all__ = ["require_dagster_home", "serve"]

DEFINITIONS = "astra_orchestration.definitions"
DAGSTER_DEV = ("-m", "dagster", "dev", "--module-name", DEFINITIONS, "--log-level", "error")
WITHOUT_ADVICE = {"DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore:Function `dev_command`"}
GRACE = 10.0  # seconds to end in order
PAUSE = 0.2  # seconds between two looks
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(host: str, port: int, on_ready: Callable[[str], None]) -> int:
    """Run the UI and its daemon until they end, or this process is told to.

    Parameters
    ----------
    host, port
        Where the UI listens.
    on_ready : callable
        Called with the UI's address once it answers.

    Returns
    -------
    int
        The exit code: 0 if it was ended by Ctrl-C, SIGTERM or the closing of the terminal.

    Raises
    ------
    ConfigurationError
        If ``DAGSTER_HOME`` isn't set.
    PortTakenError
        If something else listens there.
    """
    require_dagster_home()
    _require_free_port(host, port)
    address = f"http://{host}:{port}"
    command = [sys.executable, *DAGSTER_DEV, "--host", host, "--port", str(port)]
    before = {number: signal.signal(number, _interrupt) for number in ENDING_SIGNALS}
    child = subprocess.Popen(command, start_new_session=True, env=os.environ | WITHOUT_ADVICE)
    try:
        if _wait_until_ready(child, address):
            on_ready(address)
        return child.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        _end_group(child)
        for number, handler in before.items():
            signal.signal(number, handler)


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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} of {host} can't be used ({error.strerror}); choose another: `astra ui --port {port + 1}` "
                f"or `make run PORT={port + 1}`"
            ) from error


def _wait_until_ready(child: subprocess.Popen[bytes], address: str) -> bool:
    while child.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(PAUSE)
    return False


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started, in order if they can, by force if they don't."""
    for number, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        until = time.monotonic() + patience
        while _is_alive(child) and time.monotonic() < until:
            time.sleep(PAUSE)
    child.wait()


def _is_alive(child: subprocess.Popen[bytes]) -> bool:
    child.poll()
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True
