"""The Dagster UI as people see it, in Chromium. It takes Chromium; ``make test-ui`` runs these tests."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.astra_orchestration.chromium import CHROMIUM, Browser, browser
from tests.ui.page import Page
from tests.ui.station import Station

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "var" / "ui"

# They take minutes, and a browser: the ordinary run leaves them out.
collect_ignore_glob = [] if os.environ.get("ASTRA_UI") == "1" else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where there is no browser."""
    for item in items:
        if CHROMIUM is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="shows the UI in Chromium, which is not installed here"))


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory, postgresql: dict[str, str]) -> Iterator[Station]:
    """Give a computer with a small survey in a SQLite file and in PostgreSQL, no results yet, and the UI."""
    made = Station(tmp_path_factory.mktemp("station"), postgresql)
    try:
        made.prepare()
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give a browser, for all tests."""
    with browser("--hide-scrollbars", "--force-device-scale-factor=1") as running:
        yield running


@pytest.fixture
def page(station: Station, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Give a page of the browser that has to be without complaints in the end, and leaves a picture if a test fails."""
    page = Page(chromium, station.address, PICTURES)
    yield page
    page.picture(re.sub(r"\W+", "_", request.node.name).strip("_") + "_end")
    complaints = page.complaints()
    page.close()
    assert complaints == []


@pytest.fixture(scope="session")
def session_page(station: Station, chromium: Browser) -> Page:
    """Give a page for what tests have in common."""
    return Page(chromium, station.address, PICTURES)


@pytest.fixture(scope="session")
def drop(station: Station) -> Callable[[str, str], None]:
    """Give a function that puts a file into the watched folder."""

    def put(name: str, content: str) -> None:
        (station.dropped / name).write_text(content)

    return put
