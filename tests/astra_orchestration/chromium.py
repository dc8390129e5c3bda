"""Chromium without a window, driven by its DevTools protocol."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=1400,900",
)
PATIENCE = 60.0  # seconds


class Tab:
    """A page in the browser."""

    def __init__(self, browser: "Browser", session: str):
        self._browser = browser
        self._session = session

    def do(self, method: str, **parameters: Any) -> Any:
        """Run a command of the protocol, and give its result."""
        return self._browser.do(method, self._session, **parameters)

    def open(self, address: str) -> None:
        """Go to a page, and wait until it is loaded or was refused."""
        self.do("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript, wait for what it promises, and give its value."""
        result = self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script: str, patience: float = PATIENCE) -> Any:
        """Evaluate JavaScript until it gives something true."""
        until = time.monotonic() + patience
        while not (value := self.run(script)):
            assert time.monotonic() < until, f"{script}\n{self.run('document.body && document.body.innerText')}"
            time.sleep(0.1)
        return value

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG file."""
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))


class Browser:
    """A running browser."""

    def __init__(self, connection: ClientConnection):
        self._connection = connection
        self._numbers = itertools.count(1)

    def do(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Run a command of the protocol, and give its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._connection.recv(timeout=PATIENCE))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def tab(self) -> Tab:
        """Open an empty page."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        return Tab(self, self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])


@contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """Run Chromium, with an empty profile and further arguments."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="astra-chromium-", ignore_cleanup_errors=True) as profile:
        child = subprocess.Popen(
            [CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}", *arguments, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            where = Path(profile) / "DevToolsActivePort"
            until = time.monotonic() + PATIENCE
            while not (where.exists() and len(where.read_text().splitlines()) == 2):
                assert child.poll() is None and time.monotonic() < until, "Chromium doesn't start"
                time.sleep(0.1)
            port, path = where.read_text().splitlines()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as connection:
                yield Browser(connection)
        finally:
            child.terminate()
            child.wait(PATIENCE)
