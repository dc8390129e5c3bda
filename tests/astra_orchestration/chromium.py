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
SHOWN = 2000
"""Characters of a page that a failed test shows."""
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

# The innermost element that shows a text and can be clicked: where its middle is, once it has stopped to move.
MIDDLE = """(async () => {
    const wanted = TEXT, inside = SELECTOR;
    const shown = element => (element.innerText ?? element.textContent ?? '').trim();
    const fits = element => wanted === null || shown(element) === wanted;
    const all = [...document.querySelectorAll(inside)].filter(fits);
    const found = all.filter(element => !all.some(other => other !== element && element.contains(other)));
    for (const element of found) {
        element.scrollIntoView({block: 'nearest', inline: 'nearest'});
        const before = element.getBoundingClientRect();
        await new Promise(done => setTimeout(done, 100));
        const box = element.getBoundingClientRect();
        const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
        const there = document.elementFromPoint(x, y);
        const is_still = before.x === box.x && before.y === box.y;
        const is_off = element.closest('button')?.disabled || element.closest('[aria-disabled=true]');
        if (is_still && !is_off && box.width && there && (element.contains(there) || there.contains(element)))
            return [x, y];
    }
    return null;
})()"""


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
            assert time.monotonic() < until, f"{script}\n{str(self.text())[-SHOWN:]}"
            time.sleep(0.1)
        return value

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG file."""
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))

    def watch(self) -> None:
        """Have the browser tell what pages complain of, for `complaints`."""
        self.do("Runtime.enable")
        self.do("Log.enable")

    def complaints(self) -> list[str]:
        """Give the errors of pages since `watch`: uncaught ones, those of the console, and requests that failed."""
        self.run("1")
        events = [event for event in self._browser.events if event.get("sessionId") == self._session]
        return [said for event in events if event["method"] in COMPLAINTS and (said := _complaint(event["params"]))]

    def click(self, text: str | None = None, inside: str = "body *", patience: float = PATIENCE) -> None:
        """Click on the element that shows a text, as soon as there is one, or on one that a CSS selector finds."""
        script = MIDDLE.replace("TEXT", json.dumps(text)).replace("SELECTOR", json.dumps(inside))
        x, y = self.wait_for(script, patience)
        self.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for what in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: str, number: int, *modifiers: str) -> None:
        """Press a key, such as ``"a", "KeyA", 65, "Control"``."""
        held = sum({"Alt": 1, "Control": 2, "Shift": 8}[modifier] for modifier in modifiers)
        for what in ("rawKeyDown", "keyUp"):
            self.do(
                "Input.dispatchKeyEvent", type=what, key=key, code=code, windowsVirtualKeyCode=number, modifiers=held
            )

    def type(self, text: str) -> None:
        """Write a text where the cursor is."""
        self.do("Input.insertText", text=text)

    def wait_for_text(self, text: str, patience: float = PATIENCE) -> None:
        """Wait until a page shows a text."""
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})", patience)

    def text(self) -> str:
        """Give what the page shows, as text."""
        return self.run("document.body && document.body.innerText")


def _complaint(told: dict[str, Any]) -> str:
    """Give the text of an event that tells of an error; nothing of another one."""
    if details := told.get("exceptionDetails"):
        return str(details.get("exception", {}).get("description") or details["text"])
    if entry := told.get("entry"):
        return f"{entry['text']} {entry.get('url', '')}" if entry["level"] == "error" else ""
    if told.get("type") not in ("error", "assert"):
        return ""
    return " ".join(str(one.get("value") or one.get("description")) for one in told["args"])


class Browser:
    """A running browser."""

    def __init__(self, connection: ClientConnection):
        self._connection = connection
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

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
            if "method" in answer:
                self.events.append(answer)

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
