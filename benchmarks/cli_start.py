"""What starting the command line costs, in CPU time of ``import peewee, numpy``; and how long ``astra status`` takes.

A small survey is made and analysed in part. Then commands are called as processes of their own, in turns; user and
system time of each are added up, and figures are medians over the rounds. With ``--spectra``, tables of that many
spectra and results of two pipelines are filled by the database itself, and ``astra status`` is timed on them: before
anything was counted, counting, and afterwards.

    python benchmarks/cli_start.py [--rounds 11] [--spectra 10000000] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

from _figures import write_figures
from selection import fill_tables
from upsert import bound

from astra_models.base import database
from astra_models.database.sql import is_postgresql
from astra_models.outputs import packages
from astra_models.schema.migration import init

ROOT = Path(__file__).parents[1]
UNIT = "import peewee, numpy"
PREPARED = ("init", "sample --stars 20 --folder sample", "ingest 'sample/**/*.fits'", "run rocket --limit 20")
COMMANDS = {
    "--help": 0.8,
    "--version": 0.8,
    "status": 3.2,
    "query 'select count(*) from source'": 4.0,
    "rows rocket": 4.0,
    "explain 101000000": 4.0,
}
"""Commands, and the most that they may cost."""


def program(arguments: str) -> list[str]:
    """Give the words of a command."""
    return [sys.executable, "-c", f"import sys, shlex; sys.argv = ['astra', *shlex.split({arguments!r})]\n" + START]


START = "from astra_orchestration.cli.start import main; main()"


def call(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Call a program; give its CPU time and the time that went by, in seconds."""
    started = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - started


def surroundings(**variables: str) -> dict[str, str]:
    """Give an environment in which modules are compiled once, as an installation has them."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT)} | variables


def measure_starts(rounds: int) -> Iterator[str]:
    """Call the commands on a small survey, and give the rows of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder, environment = Path(name), surroundings(ASTRA_DATABASE_PATH="astra.db")
        for command in (
            "init",
            "sample --stars 20 --folder sample",
            "ingest 'sample/**/*.fits'",
            "run rocket --limit 20",
        ):
            subprocess.run(program(command), cwd=folder, env=environment, capture_output=True)  # some files are broken
        programs = {UNIT: [sys.executable, "-c", UNIT]} | {command: program(command) for command in COMMANDS}
        taken: dict[str, list[float]] = {command: [] for command in programs}
        for turn in range(rounds + 1):
            for command, words in programs.items():
                seconds, _ = call(words, folder, environment)
                if turn:  # the first one compiles
                    taken[command].append(seconds)
        unit = statistics.median(taken[UNIT])
        for command, times in taken.items():
            seconds = statistics.median(times)
            named = f"`{command}`" if command == UNIT else f"`astra {command}`"
            wanted = f"{COMMANDS[command]:.1f}" if command in COMMANDS else ""
            yield f"| {named} | {1e3 * seconds:.0f} ms | {seconds / unit:.2f} | {wanted} |"


def measure_status(backend: str, n_spectra: int) -> Iterator[str]:
    """Time ``astra status`` on large tables, and give the rows of the table."""
    with bound(backend), tempfile.TemporaryDirectory() as name:
        init(packages())
        fill_tables(n_spectra, wide=False)
        folder, environment = Path(name), surroundings(**where(Path(name)))
        database.close()
        for what, command in (
            ("nothing counted yet", "status"),
            ("counting", "status --exact"),
            ("what was counted", "status"),
        ):
            cpu, seconds = call(program(command), folder, environment)
            yield f"| `astra {command}`, {n_spectra:,} spectra, {backend}: {what} | {seconds:.1f} s | {cpu:.2f} s | |"


def where(folder: Path) -> dict[str, str]:
    """Say to another process where the bound database is."""
    target = database.obj
    if not is_postgresql(target):
        return {"ASTRA_DATABASE_PATH": str(target.database)}
    settings = {key: target.connect_params[key] for key in ("host", "port", "user") if key in target.connect_params}
    lines = [f"  {name}: {value}\n" for name, value in (settings | {"dbname": target.database}).items()]
    path = folder / "astra.yml"
    path.write_text("database:\n" + "".join(lines))
    return {"ASTRA_CONFIG_PATH": str(path)}


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--spectra", type=int, default=0)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [f"| command | CPU time | times `{UNIT}` | at most |", "|" + " --- |" * 4]
    lines += measure_starts(options.rounds)
    if options.spectra:
        lines += ["", "| command | time | of this CPU time of the command | |", "|" + " --- |" * 4]
        for backend in options.backend or ["postgresql", "sqlite"]:
            lines += measure_status(backend, options.spectra)
    print("\n".join(lines))
    if options.write:
        write_figures(options.write, "cli_start", lines)


if __name__ == "__main__":
    main()
