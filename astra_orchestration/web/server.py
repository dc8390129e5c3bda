"""Dagster's web server with a door, as a process of its own."""

import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Collection
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget, WorkspaceLoadTarget
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse

from astra_models.errors import ConfigurationError
from astra_orchestration.resources.writers import let_runs_share
from astra_orchestration.web.guard import Guard
from astra_orchestration.web.launches import check_launch, refusal_of

__all__ = ["DEFINITIONS", "GuardedWebserver", "serve_web"]

DEFINITIONS = "astra_orchestration.definitions"
POLL_RATE = 2000  # milliseconds between two looks of the UI
STATEMENT_TIMEOUT = 15_000  # milliseconds, for statements to Dagster's own records
POOL_RECYCLE, POOL_OVERFLOW = 3600, 20  # seconds, connections: as dagster-webserver sets them
GRACE = 3  # seconds that open connections get to end


class GuardedWebserver(DagsterWebserver[WorkspaceProcessContext, WorkspaceRequestContext]):
    """Dagster's web server behind a `Guard`.

    Parameters
    ----------
    context : WorkspaceProcessContext
        Dagster's instance and its code locations.
    path_prefix : str, optional
        Under which path everything is, such as ``/astra``.
    allowed_hosts : collection of str, optional
        See `Guard`.
    """

    def __init__(self, context: WorkspaceProcessContext, path_prefix: str = "", allowed_hosts: Collection[str] = ()):
        self._allowed_hosts = allowed_hosts
        super().__init__(context, path_prefix, POLL_RATE)

    def build_middleware(self) -> list[Middleware]:
        """Give what every request passes, the door first."""
        return [Middleware(Guard, allowed_hosts=self._allowed_hosts), *super().build_middleware()]

    async def execute_graphql_request(
        self, request: Request, query: str, variables: dict[str, Any] | None, operation_name: str | None
    ) -> JSONResponse:
        """Run an operation, unless it would have Dagster keep a password."""
        try:
            check_launch(query, variables)
        except ConfigurationError as error:
            if answer := refusal_of(error, operation_name):
                return JSONResponse(answer)
            return JSONResponse({"data": None, "errors": [{"message": str(error)}]}, HTTPStatus.BAD_REQUEST)
        return await super().execute_graphql_request(request, query, variables, operation_name)


def serve_web(
    host: str,
    port: int,
    on_ready: Callable[[], None],
    *,
    workspace: Path | None = None,
    path_prefix: str = "",
    read_only: bool = False,
    allowed_hosts: Collection[str] = (),
) -> None:
    """Serve the UI until this process is told to end.

    Parameters
    ----------
    host, port
        Where it listens.
    on_ready : callable
        Called when it is about to listen.
    workspace : Path, optional
        A workspace file that says where the code servers are; a code server of its own is started if not given.
    path_prefix : str, optional
        Under which path everything is, such as ``/astra``.
    read_only : bool, optional
        Whether nothing can be launched or changed.
    allowed_hosts : collection of str, optional
        Names by which browsers may call this server, besides those of this machine.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        on_ready()
        yield

    target: WorkspaceLoadTarget = ModuleTarget(DEFINITIONS, None, working_directory=None, location_name=DEFINITIONS)
    if workspace is not None:
        target = WorkspaceFileTarget([str(workspace)])
    # uvicorn ends in order, and then raises the signal again: the code server that may have been started ends, too.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.set_wakeup_fd(-1)  # that takes a while, and is not to be cut short
    with contextlib.suppress(KeyboardInterrupt), DagsterInstance.get() as instance:
        let_runs_share(instance)
        instance.optimize_for_webserver(STATEMENT_TIMEOUT, POOL_RECYCLE, POOL_OVERFLOW)
        with WorkspaceProcessContext(instance, target, version=__version__, read_only=read_only) as context:
            app = GuardedWebserver(context, path_prefix, allowed_hosts).create_asgi_app(lifespan=lifespan)
            uvicorn.run(
                app, host=host, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=GRACE
            )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
