"""The web server's door, tried by pages in a real browser."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.astra_orchestration.chromium import CHROMIUM, Browser, browser
from tests.astra_orchestration.served import Answer, Served, served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="sends attacks by Chromium, which is not installed here")

QUIET = 0.3  # seconds without a further answer


class Page(BaseHTTPRequestHandler):
    """An empty page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium, for which all names of evil.example are this machine."""
    with browser("--host-resolver-rules=MAP *.evil.example 127.0.0.1, MAP evil.example 127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module", params=["with the door", "without it"])
def ui(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, bool]]:
    guarded = request.param == "with the door"
    with served(tmp_path_factory.mktemp("dagster"), guarded=guarded) as running:
        yield running, guarded


def form(kind: str, where: str = "ADDRESS", field: str = "a") -> str:
    return f"""
        const frame = document.body.appendChild(document.createElement('iframe')); frame.name = 'MARK';
        const form = document.body.appendChild(document.createElement('form'));
        Object.assign(form, {{method: 'POST', action: '{where}', enctype: '{kind}', target: 'MARK'}});
        form.innerHTML = '<input name=\\"{field}\\" value=1>'; form.submit();"""


def fetch(options: str, where: str = "ADDRESS") -> str:
    return f"await fetch('{where}', {{{options}}}).catch(() => 0);"


TEXT_AS_JSON = "method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain; application/json'}"
REPORT = "UI/report_asset_materialization/MARK"
# name: JavaScript, and whether it lands without the door
ATTACKS: dict[str, tuple[str, bool]] = {
    "image": ("new Image().src = 'ADDRESS';", True),
    "script": ("document.body.appendChild(document.createElement('script')).src = 'ADDRESS';", True),
    "frame": ("document.body.appendChild(document.createElement('iframe')).src = 'ADDRESS';", False),  # GraphiQL
    "fetch": (fetch("mode: 'no-cors'"), True),
    "fetch with cors": (fetch(""), True),
    "form": (form("application/x-www-form-urlencoded"), True),
    "form_in_parts": (form("multipart/form-data"), True),
    "form_of_text": (form("text/plain"), True),
    "form_of_json": (form("text/plain", "UI/graphql", '{"query":"MUTATION","a":"'), False),
    "post_text": (fetch("method: 'POST', mode: 'no-cors', body: 'x'"), True),
    "post_nothing": (fetch("method: 'POST', mode: 'no-cors'"), True),
    "json_as_text": (
        fetch(f"{TEXT_AS_JSON}, body: BODY", "UI/graphql"),
        True,
    ),
    "json": (fetch("method: 'POST', headers: {'Content-Type': 'application/json'}, body: BODY", "UI/graphql"), False),
    "beacon": ("navigator.sendBeacon('ADDRESS', 'x');", True),
    "beacon_json": ("navigator.sendBeacon('UI/graphql', new Blob([BODY], {type: 'application/json'}));", False),
    "report": (fetch("method: 'POST', mode: 'no-cors'", REPORT), True),
    "report_untyped": (fetch("method: 'POST', mode: 'no-cors', body: new Blob(['{}'])", REPORT), True),
    "report_beacon": (f"navigator.sendBeacon('{REPORT}');", True),
    "no_origin_to_tell": (fetch("method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer'"), True),
    "null_origin": (
        """const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts';
        frame.srcdoc = "<script>fetch('ADDRESS', {method: 'POST', mode: 'no-cors'})<\\/script>";
        document.body.appendChild(frame);""",
        True,
    ),
}  # fmt: skip


OPENS_WEBSOCKET = """new Promise(done => { const socket = new WebSocket('ws://HOST/graphql', 'graphql-ws');
    socket.onopen = () => done('open'); socket.onerror = () => done('refused'); })"""


def settled(ui: Served, before: int, patience: float = 15.0) -> list[Answer]:
    """Wait for the answers to some attacks, and give them."""
    until, seen = time.monotonic() + patience, before
    while time.monotonic() < until:
        time.sleep(QUIET)
        if len(ui.answers) == seen > before:
            break
        seen = len(ui.answers)
    return ui.answers[before:]


def filled(script: str, ui: Served, mark: str) -> str:
    """Give the script of an attack, with the address of the UI and what is to be changed."""
    address = f"http://127.0.0.1:{ui.port}"
    script = script.replace("ADDRESS", f"{address}{ui.address(mark)}").replace("UI", address)
    script = script.replace("BODY", f"JSON.stringify({{query: '{ui.mutation(mark)}'}})")
    return script.replace("MUTATION", ui.mutation(mark).replace('"', '\\\\"')).replace("MARK", mark)


@pytest.mark.parametrize("site", ["evil.example", "127.0.0.1"])
def test_a_page_of_another_site_changes_nothing(
    site: str, ui: tuple[Served, bool], chromium: Browser, elsewhere: int
) -> None:
    """Its scripts, forms, images and frames are answered by a refusal; without the door most of them land."""
    running, guarded = ui
    marks = {name: f"{name}_{site.replace('.', '_')}" for name in ATTACKS}
    tab = chromium.tab()
    tab.open(f"http://{site}:{elsewhere}/")
    before = len(running.answers)

    for name, (script, _) in ATTACKS.items():
        tab.run(f"(async () => {{ {filled(script, running, marks[name])} }})()")

    answers = settled(running, before)
    for answer in answers:
        print(site, "guarded" if guarded else "bare", *answer)
    landed = {name for name in ATTACKS if running.changed(marks[name])}
    assert landed == (set() if guarded else {name for name, (_, lands) in ATTACKS.items() if lands})
    if guarded:
        assert len(answers) >= len(ATTACKS)
        assert {answer.status for answer in answers} == {403}
    tab.do("Page.close")


@pytest.mark.parametrize("site", ["evil.example", "127.0.0.1"])
def test_a_page_of_another_site_opens_no_websocket(
    site: str, ui: tuple[Served, bool], chromium: Browser, elsewhere: int
) -> None:
    running, guarded = ui
    tab = chromium.tab()
    tab.open(f"http://{site}:{elsewhere}/")

    assert tab.run(OPENS_WEBSOCKET.replace("HOST", f"127.0.0.1:{running.port}")) == ("refused" if guarded else "open")
    assert running.answers[-1] == Answer("WS", "/graphql?", 403 if guarded else 101)
    tab.do("Page.close")


def test_a_name_that_is_bound_to_this_machine_later_gets_nothing(ui: tuple[Served, bool], chromium: Browser) -> None:
    """For the browser the page and the UI are one site then: only the name tells them apart."""
    running, guarded = ui
    tab, site = chromium.tab(), f"evil.example:{running.port}"
    tab.open(f"http://{site}/server_info")
    before = len(running.answers)

    post = f"""fetch('/graphql', {{method: 'POST', headers: {{'Content-Type': 'application/json'}},
        body: JSON.stringify({{query: '{running.mutation("rebound")}'}})}}).then(answer => answer.status)"""
    said = [tab.run("fetch('/graphql?query={version}').then(answer => answer.status)"), tab.run(post)]
    said.append(tab.run(OPENS_WEBSOCKET.replace("HOST", site)))

    assert said == ([403, 403, "refused"] if guarded else [200, 200, "open"])
    assert [answer.status for answer in running.answers[before:]] == ([403] * 3 if guarded else [200, 200, 101])
    assert running.changed("rebound") == (not guarded)
    tab.do("Page.close")


def test_a_page_of_another_site_can_not_show_the_ui_in_a_frame(
    ui: tuple[Served, bool], chromium: Browser, elsewhere: int
) -> None:
    running, guarded = ui
    tab = chromium.tab()
    tab.open(f"http://127.0.0.1:{elsewhere}/")

    tab.run(f"""new Promise(done => {{ const frame = document.createElement('iframe'); frame.onload = () => done(1);
        frame.src = 'http://127.0.0.1:{running.port}/server_info'; document.body.append(frame); }})""")

    [frame] = tab.do("Page.getFrameTree")["frameTree"]["childFrames"]
    assert frame["frame"]["url"].startswith("chrome-error:" if guarded else f"http://127.0.0.1:{running.port}")
    tab.do("Page.close")


def test_a_link_of_another_site_leads_to_the_ui_and_changes_nothing(
    ui: tuple[Served, bool], chromium: Browser, elsewhere: int
) -> None:
    running, guarded = ui
    for path, status in (("/runs", 200), (running.address("followed"), 403 if guarded else 200)):
        tab = chromium.tab()
        tab.open(f"http://evil.example:{elsewhere}/")
        before = len(running.answers)
        tab.run(f"location.href = `http://127.0.0.1:{running.port}{path}`; 1")
        settled(running, before)
        assert running.answers[before].status == status
        tab.do("Page.close")
    assert not running.changed("followed")  # the bare server shows a page with the mutation in it, to click on
