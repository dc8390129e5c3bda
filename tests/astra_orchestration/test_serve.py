"""The Dagster UI as processes: it answers, runs a materialization, tells no password, and leaves nothing behind."""

import contextlib
import http
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from astra_models import base
from astra_models.base import bind
from astra_models.database.config import sqlite_database
from astra_models.errors import PortTakenError, ServerEndedError
from astra_models.rocket import Rocket
from astra_orchestration.cli import serve as serving
from astra_orchestration.cli.serve import ENDING_SIGNALS, Processes, browsable, serve
from tests.astra_orchestration.chromium import CHROMIUM, browser

ROOT = Path(__file__).parents[2]
ASTRA = Path(sys.executable).with_name("astra")
PATIENCE = 60.0  # seconds

LAUNCH = """mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message stack } ... on RunConfigValidationInvalid { errors { message } } } }"""
STATUS = """query ($runId: ID!) { runOrError(runId: $runId) { ... on Run { status } } }"""
COUNTS = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""


RUNS = """{ runsOrError(limit: 99) { ... on Runs { results { runConfigYaml tags { key value }
  eventConnection(limit: 500) { events { __typename ... on MessageEvent { message } ... on ExecutionStepFailureEvent {
  error { message stack cause { message stack } errorChain { error { message stack } } } } } } } } } }"""
INSTANCE = "{ instance { info daemonHealth { allDaemonStatuses { daemonType lastHeartbeatErrors { message } } } } }"
RESOURCES = """{ repositoriesOrError { ... on RepositoryConnection { nodes { allTopLevelResourceDetails {
  name description configFields { name description defaultValueAsJson } configuredValues { key value } } } } } }"""
LATEST_RUN = "{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }"

HEARS = """window.heard = []; const Plain = WebSocket; window.WebSocket = class extends Plain {
  constructor(...given) { super(...given); this.addEventListener('message', it => window.heard.push(it.data)); } };"""
CLICKS = """(() => {{ const found = [...document.querySelectorAll('button')].find(
  it => it.innerText.trim() === '{text}' && !it.disabled); if (found) found.click(); return !!found; }})()"""

CANARY = "Tr0ub4dor-3xY"
URL = f"postgresql://astra:{CANARY}@127.0.0.1:1/survey"
PASSWORDS = {
    "PGPASSWORD": CANARY,
    "ASTRA_SURVEY_PASSWORD": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "ASTRA_DATABASE_HOSTS": "127.0.0.1",
}
CONFIGURATION = f"database: {{dbname: survey, host: 127.0.0.1, port: 1, user: astra, password: {CANARY}}}\n"


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with passwords in every place where they may be, and everything that is written."""
    folder = tmp_path_factory.mktemp("operator")
    (folder / "secret").mkdir()
    for name, text in (("astra.yml", CONFIGURATION), ("pgpass", f"127.0.0.1:*:*:*:{CANARY}\n")):
        (folder / "secret" / name).write_text(text)
        (folder / "secret" / name).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """The settings of a small survey that is ingested and waits for its analysis."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    variables = {
        "ASTRA_DATABASE_PATH": str(folder / "astra.db"),
        "ASTRA_CONFIG_PATH": str(folder / "secret" / "astra.yml"),
        "PGPASSFILE": str(folder / "secret" / "pgpass"),
        "DAGSTER_HOME": str(home),
        "HOME": str(folder),
    }
    environment = os.environ | variables | PASSWORDS
    for command in (
        ["init"],
        ["sample", "--stars", "2", "--folder", "sample"],
        ["ingest", "spectra", "sample/visits/*.fits"],
    ):
        subprocess.run([ASTRA, *command], cwd=folder, env=environment, check=True, capture_output=True, timeout=100)
    return environment


@pytest.fixture(scope="module")
def ui(port: int, environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A UI that answers; what it says is in a file."""
    with (folder / "said.txt").open("wb") as said:
        child = subprocess.Popen(
            [ASTRA, "ui", "--port", str(port)],
            cwd=folder,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        wait_for(lambda: f"http://127.0.0.1:{port}" in (folder / "said.txt").read_text())
        yield child
        if child.poll() is None:
            child.terminate()
            child.wait(PATIENCE)


def ask(
    port: int, query: str, *, path: str = "/graphql", headers: Mapping[str, str] | None = None, **variables: Any
) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return json.load(error)["data"]  # Dagster's way to tell of an error in the code server


def wait_for(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.2)
    return found


def processes_of(home: str) -> list[str]:
    """Name the processes, zombies aside, that were started with this DAGSTER_HOME."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"DAGSTER_HOME={home}".encode() in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mine and command:
            found.append(command)
    return found


# The tests up to that of Ctrl-C use one UI, in this order.


def test_the_ui_runs_a_materialization(ui: subprocess.Popen[bytes], port: int, environment: dict[str, str]) -> None:
    assert materialize_in_ui(port, limit=3) == {"due": 3, "inserted": 3, "dagster/row_count": 3}
    before = base.database.obj, base.bound_schema()
    bind(sqlite_database(environment["ASTRA_DATABASE_PATH"]))
    assert [row.v_astra for row in Rocket.select()] == [9000] * 3
    base.database.close()
    bind(*before)


def materialize_in_ui(port: int, limit: int) -> dict[str, int]:
    """Do what a click on "Materialize" does, with a limit from the launchpad; give some of the counts."""
    launched = launch(port, {"ops": {"rocket": {"config": {"limit": limit}}}})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert status_of(port, launched["run"]["runId"]) == "SUCCESS"
    [materialization] = ask(port, COUNTS, key={"path": ["rocket"]})["assetOrError"]["assetMaterializations"]
    counts = {entry["label"]: entry.get("intValue") for entry in materialization["metadataEntries"]}
    return {name: counts[name] for name in ("due", "inserted", "dagster/row_count")}


def launch(port: int, config: Any) -> Any:
    selector = {
        "repositoryLocationName": "astra_orchestration.definitions",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["rocket"]}],
    }
    return ask(port, LAUNCH, params={"selector": selector, "runConfigData": config})["launchRun"]


def status_of(port: int, run_id: str) -> str:
    return wait_for(lambda: finished(ask(port, STATUS, runId=run_id)["runOrError"]["status"]))


def finished(status: str) -> str | None:
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None


def test_other_pages_are_refused(ui: subprocess.Popen[bytes], port: int) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask(port, "{version}", headers=headers)


@pytest.mark.skipif(CHROMIUM is None, reason="clicks in Chromium, which is not installed here")
def test_an_operator_materializes_in_the_browser_and_watches(ui: subprocess.Popen[bytes], port: int) -> None:
    with browser() as chromium:
        tab = chromium.tab()
        tab.do("Page.enable")
        tab.do("Page.addScriptToEvaluateOnNewDocument", source=HEARS)
        tab.open(f"http://127.0.0.1:{port}/assets/rocket")
        tab.wait_for(CLICKS.format(text="Materialize"))
        tab.wait_for(CLICKS.format(text="Confirm"))  # that upstream assets were never materialized
        tab.wait_for("document.body.innerText.includes('Launched run')")
        [run] = ask(port, LATEST_RUN)["runsOrError"]["results"]
        tab.open(f"http://127.0.0.1:{port}/runs/{run['runId']}")
        tab.wait_for("document.body.innerText.includes('RUN_SUCCESS')")
        heard = tab.run("window.heard.join()")
    assert '"connection_ack"' in heard
    assert "pipelineRunLogs" in heard


@pytest.mark.parametrize(
    "target",
    [
        URL,
        {"postgres": URL},
        {"postgres": {"dbname": "survey", "password": CANARY}},
        {"postgres": {"dbname": URL}},
        {"postgres": {"dbname": "survey", "port": CANARY}},
        {"postgres": {"dbname": "survey", "host": f"astra:{CANARY}@127.0.0.1"}},
        {"postgres": {"dbname": "survey", "user": f"astra:{CANARY}"}},
        {"postgres": {"dbname": "survey", "password_env": CANARY}},
        {"postgres": {"dbname": "survey", "password_env": "AWS_SECRET_ACCESS_KEY"}},
        {"postgres": {"dbname": "survey", "user": {"env": "AWS_SECRET_ACCESS_KEY"}}},
        {"sqlite": {"path": URL}},
        {"sqlite": {"path": "a.db", "pragmas": {"key": f"'{CANARY}'"}}},
    ],
)
def test_no_run_is_launched_with_a_password_in_its_settings(
    target: Any, ui: subprocess.Popen[bytes], port: int
) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        launch(port, {"resources": {"database": {"config": {"target": target}}}})
    said = refused.value.read().decode()
    assert "target" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"host": "evil.example", "password_env": "ASTRA_SURVEY_PASSWORD"}, "a host that nobody has configured"),
        ({"host": "evil.example"}, "the password of PGPASSWORD isn't sent to a host that nobody has configured"),
    ],
)
def test_no_run_is_launched_that_would_send_a_password_to_a_stranger(
    section: dict[str, Any], says: str, ui: subprocess.Popen[bytes], port: int
) -> None:
    target = {"postgres": {"dbname": "survey", "port": 1} | section}
    answer = launch(port, {"resources": {"database": {"config": {"target": target}}}})
    assert answer["__typename"] == "PythonError"
    assert says in answer["message"]


def test_a_run_with_a_password_fails_without_telling_it(ui: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    target = {"dbname": "survey", "host": "127.0.0.1", "port": 1, "user": "astra"}
    target["password_env"] = "ASTRA_SURVEY_PASSWORD"
    launched = launch(port, {"resources": {"database": {"config": {"target": {"postgres": target}}}}})
    assert status_of(port, launched["run"]["runId"]) == "FAILURE"

    shown = [launched, *(ask(port, query) for query in (RUNS, INSTANCE, RESOURCES))]
    assert "can't be used" in json.dumps(shown)
    assert CANARY not in json.dumps(shown)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc, which only Linux has")
def test_a_sensor_may_take_longer_than_the_minute_that_dagster_gives_it(
    ui: subprocess.Popen[bytes], environment: dict[str, str]
) -> None:
    note = json.loads((Path(environment["DAGSTER_HOME"]) / "astra-ui.json").read_text())
    daemon = Path("/proc", note["children"]["daemon"].split()[0], "environ").read_text()
    variables = dict(line.split("=", 1) for line in daemon.split("\0") if "=" in line)
    asked = "from dagster._grpc.utils import default_sensor_grpc_timeout; print(default_sensor_grpc_timeout())"
    said = subprocess.run([sys.executable, "-c", asked], env=variables, capture_output=True, text=True, check=True)
    assert int(said.stdout) == 900


def test_a_code_server_that_is_killed_comes_back_and_runs_are_launched(
    ui: subprocess.Popen[bytes], port: int, environment: dict[str, str], folder: Path
) -> None:
    note = json.loads((Path(environment["DAGSTER_HOME"]) / "astra-ui.json").read_text())
    time.sleep(serving.SOON)  # one that ends sooner after its start wouldn't come back
    os.kill(int(note["children"]["code server"].split()[0]), signal.SIGKILL)
    wait_for(lambda: "is started again; runs go on" in (folder / "said.txt").read_text())

    def is_launched() -> bool:
        launched = launch(port, {"ops": {"rocket": {"config": {"limit": 0}}}})
        return launched["__typename"] == "LaunchRunSuccess" and status_of(port, launched["run"]["runId"]) == "SUCCESS"

    wait_for(is_launched)


def test_ctrl_c_ends_every_process(ui: subprocess.Popen[bytes], environment: dict[str, str], folder: Path) -> None:
    assert len(processes_of(environment["DAGSTER_HOME"])) >= 4

    ui.send_signal(signal.SIGINT)

    assert ui.wait(PATIENCE) == 0
    assert wait_for(lambda: not processes_of(environment["DAGSTER_HOME"]), 5)
    assert (folder / "said.txt").read_text().endswith("the Dagster UI has ended\n")


@pytest.mark.parametrize(
    ("variables", "commands"),
    [
        ({"ASTRA_DATABASE_PATH": ""}, ["status", "run rocket"]),
        ({"ASTRA_DATABASE_PATH": URL}, ["init"]),
        ({"ASTRA_DATABASE_TIMEZONE": CANARY, "ASTRA_DATABASE_PATH": ""}, ["status"]),
        ({"ASTRA_CONFIG_PATH": URL, "ASTRA_DATABASE_PATH": ""}, ["status"]),
        ({"text": f"database: {URL}\n", "ASTRA_DATABASE_PATH": ""}, ["status"]),
        (
            {"text": f"database: {{dbname: survey, host: 'astra:{CANARY}@127.0.0.1'}}\n", "ASTRA_DATABASE_PATH": ""},
            ["status"],
        ),
        ({"text": f"database:\n  password: *{CANARY}\n", "ASTRA_DATABASE_PATH": ""}, ["status"]),
    ],
)
def test_commands_fail_without_telling_a_password(
    variables: dict[str, str], commands: list[str], environment: dict[str, str], folder: Path
) -> None:
    environment = environment | variables
    if "text" in variables:
        wrong = folder / "secret" / "wrong.yml"
        wrong.write_text(variables["text"])
        environment["ASTRA_CONFIG_PATH"] = str(wrong)
    for command in commands:
        done = subprocess.run([ASTRA, *command.split()], cwd=folder, env=environment, capture_output=True, timeout=100)
        assert done.returncode == 1, done
        assert b"error:" in done.stderr
        assert CANARY.encode() not in done.stdout + done.stderr


def test_no_password_was_written_anywhere(
    ui: subprocess.Popen[bytes], environment: dict[str, str], folder: Path
) -> None:
    """Not by Dagster (runs, events, logs, snapshots), not by a command, and not by the UI's processes."""
    files = [path for path in folder.rglob("*") if path.is_file() and "secret" not in path.parts]
    assert {"said.txt", "runs.db", "index.db", "dagster.yaml", "astra.db"} <= {path.name for path in files}
    assert any(path.suffix in (".err", ".out") for path in files)

    told = [str(path) for path in files if CANARY.encode() in path.read_bytes()]
    told += [f"{path}: {where}" for path in files if path.suffix == ".db" for where in packed_in(path)]
    assert not told


def packed_in(path: Path) -> Iterator[str]:
    """Name the columns of a SQLite file in which the password is, compressed."""
    connection = sqlite3.connect(path)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        rows = connection.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in rows.description]
        for row in rows:
            for name, value in zip(names, row, strict=True):
                with contextlib.suppress(zlib.error):
                    if isinstance(value, bytes) and CANARY.encode() in zlib.decompress(value):
                        yield f"{table}.{name}"
    connection.close()


# ---- processes that end together

SLEEPS = ("-c", "import time; time.sleep(100)")
CHILD = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(101)'])"
HAS_CHILD = ("-c", f"import subprocess, sys, time; {CHILD}; time.sleep(100)")
ENDS = ("-c", "import time; time.sleep(0.5); raise SystemExit(7)")


def test_when_one_process_ends_all_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        with (
            pytest.raises(ServerEndedError, match=r"the daemon .* has ended by itself \(exit code 7\)"),
            Processes() as all_of_them,
        ):
            all_of_them.start("code server", *HAS_CHILD)
            wait_for(lambda: len(processes_of(str(tmp_path))) == 2)
            all_of_them.start("daemon", *ENDS)
            all_of_them.wait_until(lambda: False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert wait_for(lambda: not processes_of(str(tmp_path)), 5)


HAS_CHILD_AND_ENDS = ("-c", "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1)")


def test_one_that_comes_back_is_started_again_and_the_first_one_s_children_end_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(serving, "SOON", 0.5)
    said: list[str] = []
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        with Processes(say=said.append) as all_of_them:
            all_of_them.start("code server", *HAS_CHILD_AND_ENDS, comes_back=True)
            all_of_them.wait_until(lambda: len(said) == 2)
            assert len(processes_of(str(tmp_path))) >= 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert said[0] == (
        "the code server of the Dagster UI has ended by itself (exit code 0), and is started again; runs go on"
    )
    assert wait_for(lambda: not processes_of(str(tmp_path)), 5)


def test_one_that_ends_at_once_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        with pytest.raises(ServerEndedError, match=r"the code server .*exit code 7"), Processes() as all_of_them:
            all_of_them.start("code server", *ENDS, comes_back=True)
            all_of_them.wait_until(lambda: False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- the web server alone


@pytest.fixture
def web(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``astra web``, with no code to show, and read-only."""
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    options = [
        "--workspace",
        "workspace.yaml",
        "--read-only",
        "--allow-host",
        "astra.example.org",
        "--path-prefix",
        "/astra",
    ]
    child = subprocess.Popen(
        [ASTRA, "web", "--port", str(port), *options], cwd=tmp_path, env=os.environ | {"DAGSTER_HOME": str(tmp_path)}
    )
    wait_for(lambda: _connects(port))
    yield child
    child.kill()
    child.wait()


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_web_server_alone_has_the_same_door(web: subprocess.Popen[bytes], port: int) -> None:
    limit = 'mutation { setConcurrencyLimit(concurrencyKey: "a", limit: 3) }'

    assert ask(port, "{version}", path="/astra/graphql", headers={"Host": "astra.example.org"})["version"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(port, "{version}", path="/astra/graphql", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(port, "{version}", path=f"/astra/graphql?query={quote(limit)}")
    assert ask(port, limit, path="/astra/graphql") is None

    web.terminate()
    assert web.wait(PATIENCE) == 0


# ---- where it listens


@pytest.mark.parametrize(
    ("host", "names", "address"),
    [
        ("127.0.0.1", [], "http://127.0.0.1:3000"),
        ("0.0.0.0", [], "http://127.0.0.1:3000"),
        ("::", [], "http://[::1]:3000"),
        ("::1", [], "http://[::1]:3000"),
        ("0.0.0.0", ["astra.example.org"], "http://astra.example.org:3000"),
        ("localhost", ["astra.example.org"], "http://localhost:3000"),
    ],
)
def test_the_address_that_is_said_is_one_that_a_browser_gets_in_by(host: str, names: list[str], address: str) -> None:
    assert browsable(host, 3000, names) == address


def test_a_port_that_is_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"port {port} of 127.0.0.1 can't be used .*make run PORT={port + 1}"):
            serve("127.0.0.1", port, lambda address: None)
