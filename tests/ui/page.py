"""A page of the Dagster UI, and what an operator does there."""

import json
import time
from contextlib import suppress
from pathlib import Path

from tests.astra_orchestration.chromium import Browser

EDITOR = "document.querySelector('.CodeMirror').CodeMirror"
MOVES = 0.7  # seconds in which pages come to rest
# What Dagster's own pages complain of, whatever they show; a request that is cut off when a page is left is one.
OF_DAGSTER = ("net::ERR_ABORTED",)
ENDED = ("Success", "Failure", "Canceled")


class Page:
    """A page.

    Parameters
    ----------
    browser : Browser
        The browser.
    address : str
        Where the UI is.
    pictures : Path
        Where pictures go.
    """

    def __init__(self, browser: Browser, address: str, pictures: Path):
        self.tab = browser.tab()
        self.tab.watch()
        self.address = address
        self.pictures = pictures
        self.expected = list(OF_DAGSTER)
        self.size(1400, 900)

    def size(self, width: int, height: int) -> None:
        """Give the window a size, in pixels."""
        self.tab.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, path: str, *shown: str) -> None:
        """Go to a page, and wait until it shows some texts."""
        self.tab.open(self.address + path)
        self.shows(*shown)

    def shows(self, *texts: str, patience: float = 30.0) -> None:
        """Wait until the page shows some texts."""
        for text in texts:
            self.tab.wait_for_text(text, patience)

    def picture(self, name: str) -> Path:
        """Leave a picture of what is seen, once it is at rest."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        time.sleep(MOVES)
        path = self.pictures / f"{name}.png"
        self.tab.screenshot(path)
        return path

    def complaints(self) -> list[str]:
        """Give the errors of the pages since this one was opened."""
        return [said for said in self.tab.complaints() if not any(known in said for known in self.expected)]

    def close(self) -> None:
        """Close it."""
        self.tab.do("Page.close")

    # ---- what an operator does

    def open_launchpad(self, asset: str) -> None:
        """Open the launchpad of an asset."""
        self.open(f"/assets/{asset}", "Description")
        self.tab.wait_for(f"{self._button('Materialize')} && !{self._button('Materialize')}.disabled")
        self._choose("Open launchpad", "button:has([aria-label=arrow_drop_down])")
        self.tab.wait_for(f"document.querySelector('.CodeMirror') && {EDITOR}.getValue().includes('ops')")

    def _choose(self, item: str, menu: str) -> None:
        """Choose from a menu, which closes by itself if what it belongs to is drawn anew."""
        for patience in (3, 3, 3, 20):
            self.tab.click(None, menu)
            with suppress(AssertionError):
                return self.tab.click(item, patience=patience)
        raise AssertionError(f"no {item} in\n{self.tab.text()}")

    @staticmethod
    def _button(text: str) -> str:
        return f"[...document.querySelectorAll('button')].find(one => one.innerText.trim() === {json.dumps(text)})"

    def configuration(self) -> str:
        """Give what stands in the launchpad."""
        return self.tab.run(f"{EDITOR}.getValue()")

    def replace(self, *pairs: tuple[str, str], shows: str = "No errors") -> None:
        """Replace texts in the launchpad, and wait for what it says to that."""
        text = self.configuration()
        for before, after in pairs:
            assert before in text, text
            text = text.replace(before, after)
        self.tab.run(f"{EDITOR}.setValue({json.dumps(text)})")
        self.tab.wait_for("!document.body.innerText.includes('Checking config')")
        self.shows(shows)

    def launch(self, button: str = "Materialize", inside: str = "[role=dialog] button") -> str:
        """Launch from the launchpad, and give the run's id: its page is shown then."""
        self.tab.click(button, inside)
        self.tab.wait_for("/^.runs.[0-9a-f-]{36}$/.test(location.pathname)")
        return self.tab.run("location.pathname.split('/')[2]")

    def materialize(self, asset: str) -> str:
        """Launch an asset as it is, by the button on its page, and give the run's id: its page is shown then."""
        self.open(f"/assets/{asset}", "Description")
        self.tab.click("Materialize", "button")
        self.tab.click("View", patience=20)
        self.tab.wait_for("/^.runs.[0-9a-f-]{36}$/.test(location.pathname)")
        return self.tab.run("location.pathname.split('/')[2]")

    def status(self) -> str:
        """Give the status that the page of a run shows."""
        return self.tab.run(
            "[...document.querySelectorAll('body *')].map(one => one.innerText?.trim())"
            f".find(text => {json.dumps([*ENDED, 'Started', 'Starting', 'Queued', 'Canceling'])}.includes(text)) ?? ''"
        )

    def wait_for_end(self, patience: float = 90.0) -> str:
        """Wait until the page of a run shows that it has ended, and give how."""
        until = time.monotonic() + patience
        while (status := self.status()) not in ENDED:
            assert time.monotonic() < until, f"{status}\n{self.tab.text()}"
            time.sleep(0.2)
        return status

    def checks(self) -> dict[str, str]:
        """Give the checks that the page of an asset lists, with how they ended."""
        self.tab.wait_for("/Succeeded|Failed/.test(document.body.innerText)")
        lines = [line.strip() for line in self.tab.text().splitlines() if line.strip()]
        endings = ("Succeeded", "Failed", "Warning", "Not evaluated")
        return {lines[number - 1]: line for number, line in enumerate(lines) if line in endings}

    def show_markdown(self, name: str) -> None:
        """Open a text that is in the metadata of an event."""
        row = f"[...document.querySelectorAll('tr')].find(row => row.cells[0]?.innerText.trim() === {json.dumps(name)})"
        self.tab.wait_for(f"!!{row}")
        self.tab.run(f"{row}.scrollIntoView({{block: 'center'}}); {row}.dataset.wanted = 'yes'; 1")
        self.tab.click("[Show Markdown]", "tr[data-wanted] *")
        self.tab.wait_for("!!document.querySelector('[role=dialog]')")
        self.tab.run(f"delete {row}.dataset.wanted; 1")

    def follow(self, link: str) -> None:
        """Click on a link, which may open a window of its own: it is shown here then."""
        self.tab.run(f"document.querySelector({json.dumps(link)}).target = '_self'; 1")
        self.tab.click(None, link)

    def dark(self) -> None:
        """Have the page drawn for a desktop with dark windows: the UI follows the system's setting."""
        self.tab.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def wait_for_status(self, wanted: str, patience: float = 30.0) -> None:
        """Wait until the page of a run shows a status."""
        until = time.monotonic() + patience
        while (status := self.status()) != wanted:
            assert time.monotonic() < until, f"{status}, not {wanted}"
            time.sleep(0.1)

    def numbers(self, asset: str) -> dict[str, str]:
        """Give the metadata of an asset's latest event."""
        self.open(f"/assets/{asset}?view=events", "Metadata")
        rows = "[...document.querySelectorAll('tr')].map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        return {name: value for name, value, *_ in self.tab.wait_for(f"{rows}.length > 5 && {rows}")}
