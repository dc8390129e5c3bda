"""What Dagster costs with our definitions, beside Dagster alone: to import, to answer, to start a run, in events.

Ratios are of rounds in which both take turns, each in a process of its own.

    python benchmarks/orchestration.py [--rounds 3] [--only imports] [--write docs/benchmarks.md]
"""

import argparse
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from _figures import write_figures

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PATIENCE = 120.0  # seconds
BARE = "import dagster as dg\n@dg.asset\ndef one() -> None: ...\n"
LOCATIONS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STEPS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { startTime } } } }"
QUIET = "telemetry: {enabled: false}\n"
RUN = """
import sys, time
import dagster as dg
from astra_orchestration.definitions import defs
with dg.DagsterInstance.local_temp() as instance:
    for _ in range(3):
        started = time.perf_counter()
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("rocket")]
        )
        seconds = time.perf_counter() - started
    assert result.success
    print(seconds, len(instance.all_logs(result.run_id)))
"""


class Figure(NamedTuple):
    """A measured figure: what, its value as text, what it must be, and what it aims at."""

    what: str
    value: str
    must: str
    aim: str

    def __str__(self) -> str:
        cores = len(os.sched_getaffinity(0))
        return f"| {self.what} | {self.value} | {self.must} | {self.aim} | {os.getloadavg()[0]:.1f} | {cores} |"


def imports(rounds: int) -> Iterator[Figure]:
    """Compare the CPU time of importing our definitions with that of importing Dagster."""
    ratios = [cpu_of("import astra_orchestration.definitions") / cpu_of("import dagster") for _ in range(rounds)]
    what = "importing the definitions, CPU time, against `import dagster`"
    yield Figure(what, f"{statistics.median(ratios):.2f}", "< 1.7", "< 1.4")


def answers(rounds: int) -> Iterator[Figure]:
    """Compare the time until `astra ui` answers with that of a bare `dagster dev`."""
    ratios, times = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bare.py").write_text(BARE)
            bare = seconds_to_answer(Path(folder), "dagster", "dev", "-f", "bare.py", "--port")
        with tempfile.TemporaryDirectory() as folder:
            times.append(seconds_to_answer(Path(folder), "astra", "ui", "--port"))
        ratios.append(times[-1] / bare)
    what = "until `astra ui` answers, against `dagster dev` with one asset"
    yield Figure(what, f"{statistics.median(ratios):.2f} ({statistics.median(times):.1f} s)", "< 1.3", "< 1.15")


def nothing_due(rounds: int) -> Iterator[Figure]:
    """Measure a run of one pipeline with nothing due, in process, after the first: its time and its events."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"ASTRA_DATABASE_PATH": str(Path(folder) / "astra.db")}
        run_quietly([str(BIN / "astra"), "init"], environment)
        found = [run_quietly([sys.executable, "-W", "ignore", "-c", RUN], environment).split() for _ in range(rounds)]
    seconds = statistics.median(float(one[-2]) for one in found)
    yield Figure("a run with nothing due, start to end, in process", f"{seconds:.2f} s", "", "")
    yield Figure("its events, checks included", found[-1][-1], "< 60", "< 60")


def launches(rounds: int) -> Iterator[Figure]:
    """Measure the time from a launch in the UI to the first step of its run, and compare it with that of one asset."""
    ratios, times = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bare.py").write_text(BARE)
            bare = seconds_to_first_step(Path(folder), "one", "dagster", "dev", "-f", "bare.py", "--port")
        with tempfile.TemporaryDirectory() as folder:
            run_quietly([str(BIN / "astra"), "init"], {"ASTRA_DATABASE_PATH": str(Path(folder) / "a.db")})
            times.append(seconds_to_first_step(Path(folder), "rocket", "astra", "ui", "--port"))
        ratios.append(times[-1] / bare)
    what = "from a launch to the first step, against one asset under `dagster dev`"
    yield Figure(what, f"{statistics.median(ratios):.2f} ({statistics.median(times):.1f} s)", "", "")


FIGURES: Mapping[str, Callable[[int], Iterator[Figure]]] = {
    function.__name__: function for function in (imports, answers, launches, nothing_due)
}


def cpu_of(code: str) -> float:
    """Give the CPU time of a process that runs some code, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_quietly([sys.executable, "-W", "ignore", "-c", code], {"ASTRA_DATABASE_PATH": ":memory:"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_quietly(command: list[str], environment: Mapping[str, str]) -> str:
    """Run a command, and give what it prints."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "DAGSTER_DISABLE_TELEMETRY": "1", **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def seconds_to_answer(home: Path, program: str, *arguments: str) -> float:
    """Start a UI, and give the seconds until it answers."""
    with answering(home, program, *arguments) as (_, seconds):
        return seconds


def seconds_to_first_step(home: Path, asset: str, program: str, *arguments: str) -> float:
    """Start a UI, launch a run of an asset, and give the seconds from the launch to the start of its step."""
    with answering(home, program, *arguments) as (port, _):
        found = until(lambda: ask(port, LOCATIONS)["repositoriesOrError"].get("nodes"), "the code isn't loaded")
        selector = {
            "repositoryLocationName": found[0]["location"]["name"],
            "repositoryName": found[0]["name"],
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
        }
        began = time.time()
        launched = ask(port, LAUNCH, params={"selector": selector, "runConfigData": {}})["launchRun"]
        if "run" not in launched:
            raise SystemExit(str(launched))

        def first_step() -> float | None:
            steps = ask(port, STEPS, id=launched["run"]["runId"])["runOrError"]["stepStats"]
            return next((step["startTime"] for step in steps if step["startTime"]), None)

        return until(first_step, "the run doesn't start") - began


Found = TypeVar("Found")


def until(what: Callable[[], Found | None], otherwise: str) -> Found:
    """Ask until there is an answer."""
    began = time.perf_counter()
    while not (found := what()):
        if time.perf_counter() > began + PATIENCE:
            raise SystemExit(otherwise)
        time.sleep(0.1)
    return found


@contextmanager
def answering(home: Path, program: str, *arguments: str) -> Iterator[tuple[int, float]]:
    """Start a UI; give its port and the seconds until it answered."""
    (home / "dagster.yaml").write_text(QUIET)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with started([str(BIN / program), *arguments, str(port)], home):
        began = time.perf_counter()
        while not is_answering(port):
            if time.perf_counter() > began + PATIENCE:
                raise SystemExit(f"{program} doesn't answer")
            time.sleep(0.05)
        yield port, time.perf_counter() - began


def ask(port: int, query: str, **variables: object) -> dict[str, Any]:
    """Ask a UI by GraphQL."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json", "Host": f"localhost:{port}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


@contextmanager
def started(command: list[str], home: Path) -> Iterator[None]:
    """Start a program, and end it with all that it started."""
    variables = {"DAGSTER_HOME": str(home), "ASTRA_DATABASE_PATH": str(home / "a.db"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=home,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_answering(port: int) -> bool:
    """Tell whether a UI answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/server_info", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(FIGURES), action="append", help="only this figure")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = ["| figure | measured | must | aim | load average | cores |", f"|{' --- |' * 6}"]
    for name in options.only or FIGURES:
        for figure in FIGURES[name](options.rounds):
            lines.append(str(figure))
            print(figure, flush=True)
    if options.write:
        write_figures(options.write, "orchestration", lines)


if __name__ == "__main__":
    main()
