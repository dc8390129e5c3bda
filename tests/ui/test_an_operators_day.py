"""What an operator does with the Dagster UI, in a real browser, with real runs on both databases."""

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.slurm.cluster import wait_until
from tests.ui.page import Page
from tests.ui.station import LOCATION, Station

FILE, MAPPING = "stars.csv", "tables: {Source: {sdss4_apogee_id: star, zgr_teff: t}}"
ALL = ("limit: 1000000000", "limit: 5")
WITHIN_A_MINUTE = 75.0  # seconds; the page looks now and then


@pytest.fixture(scope="session", autouse=True)
def dropped(drop: Callable[[str, str], None]) -> None:
    """Drop a file at once: the sensor looks twice whether it is whole, while other things are tested."""
    drop(f"{FILE}.yaml", MAPPING)
    drop(FILE, "star,t\n2M00000002+7417074,5000\n")


def target_in(text: str) -> str:
    """Give the lines of the launchpad that say which database it is."""
    return text[text.index("target:") : text.index("  engine:")]


def done_and_rejected(station: Station, pipeline: str) -> int:
    return station.count(pipeline) + station.count("rejected_result", f"model = '{pipeline.title()}'")


# ---- launches


def test_five_spectra_on_sqlite(page: Page, station: Station) -> None:
    before = done_and_rejected(station, "corv")
    page.open_launchpad("corv")
    page.replace(ALL)
    page.picture("launchpad")
    page.launch()
    assert page.wait_for_end() == "Success"
    assert done_and_rejected(station, "corv") - before == 5


def test_five_spectra_on_postgresql(page: Page, station: Station) -> None:
    before = station.count("slow")
    page.open_launchpad("slowly")
    page.replace(ALL, (target_in(page.configuration()), f"target: {json.dumps(station.target())}\n"))
    page.launch()
    assert page.wait_for_end() == "Success"
    assert (station.count_in_postgresql("slow"), station.count("slow")) == (5, before)


def test_the_launchpad_says_what_is_wrong_with_a_database(page: Page) -> None:
    page.open_launchpad("corv")
    wrong = "target: {postgres: {dbname: survey, port: '5432'}}\n"
    page.replace((target_in(page.configuration()), wrong), shows="target.postgres.port is text, and is not a number")
    page.picture("launchpad_refused")


def test_a_run_shows_how_far_it_is_and_that_it_succeeded(page: Page) -> None:
    page.open_launchpad("slowly")
    page.replace(("limit: 1000000000", "limit: 12"))
    page.launch()
    page.wait_for_status("Started", 60)
    page.shows("of 12 done")
    page.picture("progress")
    assert page.wait_for_end() == "Success"
    page.shows("12 inserted")


# ---- what came out


@pytest.fixture(scope="session")
def corv(station: Station, session_page: Page) -> None:
    """Analyse some spectra with Corv, then all others, by the button on its page."""
    session_page.open_launchpad("corv")
    session_page.replace(ALL)
    session_page.launch()
    assert session_page.wait_for_end() == "Success"
    session_page.materialize("corv")
    assert session_page.wait_for_end() == "Success"
    assert station.count("corv") > 50


def test_numbers_are_drawn_over_time(page: Page, corv: None) -> None:
    page.open("/assets/corv", "Columns", "Plots")
    page.tab.click("Plots")
    page.shows("median teff (K)", "coverage")
    page.tab.wait_for("document.querySelectorAll('canvas').length > 5")
    page.tab.run("[...document.querySelectorAll('canvas')][0].scrollIntoView({block: 'start'}); 1")
    page.picture("plots")


def test_pictures_are_in_the_materialization(page: Page, corv: None) -> None:
    page.open("/assets/corv?view=events", "Kiel diagram")
    for name in ("Kiel diagram", "velocities", "errors"):
        page.show_markdown(name)
        width = "document.querySelector('[role=dialog] img')"
        page.tab.wait_for(f"{width}?.complete && {width}.naturalWidth > 300")
        page.picture(name.replace(" ", "_").lower())
        page.tab.click("Close", "[role=dialog] button")
        page.tab.wait_for("!document.querySelector('[role=dialog]')")


def test_columns_have_types_units_and_descriptions(page: Page) -> None:
    page.open("/assets/corv", "Columns")
    page.shows("Effective temperature [K]")
    assert re.search(r"\nteff\s+unit: K\s+real\s+Effective temperature \[K\]", page.tab.text())
    page.tab.run("[...document.querySelectorAll('tr')].find(row => row.innerText.startsWith('teff')).scrollIntoView()")
    page.picture("columns")


def test_in_dark(page: Page, corv: None) -> None:
    page.open("/assets/corv", "Columns")
    page.dark()
    page.tab.wait_for("getComputedStyle(document.body).backgroundColor !== 'rgb(255, 255, 255)'")
    page.open("/assets/corv?view=events", "Kiel diagram")
    page.show_markdown("Kiel diagram")
    page.picture("dark")


# ---- checks, and what failed


@pytest.fixture(scope="session")
def rocket(session_page: Page) -> None:
    """Analyse all spectra with Rocket, whose failures are judged strictly here."""
    session_page.materialize("rocket")
    assert session_page.wait_for_end() == "Success"


def test_checks_pass_and_one_fails_with_its_remedy(page: Page, rocket: None) -> None:
    page.open("/assets/rocket?view=checks", "Checks (6)", "coverage")
    assert page.checks() == {
        "coverage": "Succeeded",
        "distribution": "Succeeded",
        "freshness": "Succeeded",
        "integrity": "Succeeded",
        "physical_range": "Succeeded",
        "rejected": "Failed",
    }
    page.tab.click("rejected")
    page.shows("What to do", "what to do", "1 exception", "run again what failed")
    page.picture("check_failed")


def test_the_link_of_a_failed_check_leads_to_a_launchpad_that_is_filled_in(
    page: Page, station: Station, rocket: None
) -> None:
    page.open("/assets/rocket?view=checks", "coverage")
    page.tab.click("rejected")
    page.shows("run again what failed")
    page.follow("a[href*='/jobs/retry_failed/playground']")
    page.tab.wait_for("location.pathname.endsWith('/jobs/retry_failed/playground')")
    page.tab.wait_for("document.querySelector('.CodeMirror') && !document.body.innerText.includes('Checking config')")
    assert page.configuration().split() == ["pipelines:", "-", "rocket", "reasons:", "[]"]
    page.shows("No errors")
    page.picture("retry")
    page.launch("Launch Run", "button")
    assert page.wait_for_end() == "Success"
    numbers = page.numbers("rocket")
    assert (numbers["due"], numbers["rejected"]) == ("1", "1")  # its file is still broken


# ---- runs that end otherwise


def test_a_run_is_terminated(page: Page, station: Station) -> None:
    before = station.count("slow")
    page.open_launchpad("slowly")
    page.replace(("limit: 1000000000", "batch_size: 2"))
    page.launch()
    wait_until(lambda: station.count("slow") > before, 60, "nothing is written")
    page.tab.click("Terminate", "button")
    page.tab.click("Terminate 1 run", "[role=dialog] button")
    assert page.wait_for_end() == "Canceled"
    written = station.count("slow")
    page.open("/assets/slowly?view=events", "Observed")
    page.picture("terminated")
    time.sleep(2)
    assert station.count("slow") == written > before


def test_a_ghost_is_cleared_after_a_power_cut(page: Page, station: Station) -> None:
    page.expected += ["net::ERR_CONNECTION_", "Failed to fetch", "[Network error]"]
    page.open_launchpad("slowly")
    run_id = page.launch()
    page.wait_for_status("Started", 60)
    station.kill()
    assert station.processes() == []
    station.start()
    since = time.monotonic()
    page.open(f"/runs/{run_id}")
    assert page.wait_for_end(WITHIN_A_MINUTE) == "Failure"
    print(f"cleared {time.monotonic() - since:.0f} s after the start")
    page.shows("ended before the run did")
    page.picture("ghost")


# ---- the graph, files, colours


def test_a_dropped_file_is_picked_up(page: Page, station: Station) -> None:
    wait_until(lambda: station.count("source", "zgr_teff = 5000") == 1, 120, "the file isn't ingested")
    page.open("/runs", "result_file")
    page.open("/assets/result_file?view=partitions", FILE)
    page.tab.click(FILE)
    page.shows("View all historical events (1)", "rows per second")
    page.picture("dropped")


def test_the_graph(page: Page, corv: None) -> None:
    page.open("/asset-groups", "sample", "catalogue", "pipelines", "result_files", "products")
    page.picture("groups")
    page.open("/assets/corv?view=lineage", "Graph depth")
    page.tab.wait_for("[...document.querySelectorAll('body *')].some(one => one.innerText === 'astraAllStarCorv')")
    page.tab.wait_for("!document.body.innerText.includes('Loading')")
    page.picture("lineage")


def test_the_code_location_has_one_name(page: Page) -> None:
    page.open("/locations", LOCATION, "Loaded")
