"""Dagster's web server in this process, behind our door or without it, over records of its own."""

import socket
import threading
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from astra_orchestration.web.server import GuardedWebserver

PATIENCE = 30.0  # seconds


class Answer(NamedTuple):
    """What the server said to one request."""

    method: str
    address: str
    status: int


class Served:
    """A running web server, and what it was asked and did."""

    def __init__(self, port: int, instance: dg.DagsterInstance):
        self.port = port
        self.instance = instance
        self.answers: list[Answer] = []

    def mutation(self, mark: str) -> str:
        """Give a GraphQL mutation whose effect `changed` sees."""
        return f'mutation {{ setConcurrencyLimit(concurrencyKey: "{mark}", limit: 3) }}'

    def address(self, mark: str) -> str:
        """Give the path with that mutation in it."""
        return f"/graphql?query={quote(self.mutation(mark))}"

    def changed(self, mark: str) -> bool:
        """Tell whether something with this mark was changed."""
        limits = self.instance.event_log_storage.get_concurrency_keys()
        return mark in limits or self.instance.get_latest_materialization_event(dg.AssetKey(mark)) is not None


@contextmanager
def served(folder: Path, *, guarded: bool = True, allowed_hosts: Collection[str] = ()) -> Iterator[Served]:
    """Serve the UI of an instance without code, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"telemetry": {"enabled": False}, "nux": {"enabled": False}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of websockets, about itself
        with (
            dg.DagsterInstance.local_temp(str(folder), overrides=quiet) as instance,
            WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context,
        ):
            seen = Served(port, instance)
            server = GuardedWebserver(context, "", allowed_hosts) if guarded else DagsterWebserver(context)
            config = uvicorn.Config(
                recorded(server.create_asgi_app(), seen), port=port, log_level="error", timeout_graceful_shutdown=1
            )
            running = uvicorn.Server(config)
            thread = threading.Thread(target=running.run)
            thread.start()
            try:
                until = time.monotonic() + PATIENCE
                while not running.started:
                    assert time.monotonic() < until, "the web server doesn't start"
                    time.sleep(0.02)
                yield seen
            finally:
                running.should_exit = True
                thread.join()


def recorded(app: ASGIApp, seen: Served) -> ASGIApp:
    """Note every answer; that to a websocket is 101 if it was taken, and 403 if not."""
    statuses = {"websocket.accept": 101, "websocket.close": 403}

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        said = []

        async def note(message: Message) -> None:
            status = message.get("status") or statuses.get(message["type"])
            if status and not said and "favicon" not in scope["path"]:  # a browser asks for it when it likes
                said.append(status)
                address = f"{scope['path']}?{unquote(scope['query_string'].decode())}"
                seen.answers.append(Answer(scope.get("method", "WS"), address, status))
            await send(message)

        await app(scope, receive, note)

    return noting
