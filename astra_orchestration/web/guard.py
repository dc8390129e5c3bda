"""The door of the web server: a page of another site, open in an operator's browser, changes nothing through it.

Dagster's web server runs whatever reaches it, and a browser sends it requests for any page. What tells a page's
request from the UI's own is what a page can't choose: the name that the browser asked for (``Host``), the page that
asks (``Origin``), and whether the browser has to ask for permission first (JSON has to, forms and text don't).
A request without an Origin is a program's, and passes.
"""

import ipaddress
import logging
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from astra_models.errors import ConfigurationError

__all__ = ["LOCAL_NAMES", "Guard", "checked_names"]

logger = logging.getLogger(__name__)

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_QUERY = 20_000  # tokens of a query in an address
LINES_LOGGED = 100
SHOWN = 100  # characters of what a stranger sent

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_JSON = "application/json"
_BODY_TYPES = (_JSON, "application/graphql")  # what Dagster reads a query from

# A page may not show the UI in a frame, where a click meant for the page would start a run, nor load answers as parts.
_NO_FRAMES = ("content-security-policy", "frame-ancestors 'self'")
_HEADERS = {
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Refusal(NamedTuple):
    """Why a request isn't let in."""

    status: int
    reason: str


class Authority(NamedTuple):
    """A host and its port, as in a ``Host`` header."""

    name: str
    port: int | None


class Guard:
    """ASGI middleware that refuses what a page of another site can send.

    Parameters
    ----------
    app : ASGI application
        Who gets the requests that are let in.
    allowed_hosts : collection of str
        Names by which browsers may call this server, besides `LOCAL_NAMES`; see `checked_names`.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str] = ()):
        self.app = app
        self.allowed_hosts = frozenset(allowed_hosts)
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it with the reason why not."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif (refusal := self.refusal(scope)) is None:
            await self.app(scope, receive, _with_headers(send))
        else:
            self._log(refusal)
            closed = WebSocketClose(code=1008, reason="refused")
            said = PlainTextResponse(f"refused: {refusal.reason}\n", refusal.status)
            answer = closed if scope["type"] == "websocket" else said
            await answer(scope, receive, _with_headers(send))

    def refusal(self, scope: Scope) -> Refusal | None:
        """Say why a request isn't let in, or None if it is."""
        path = str(scope["path"]).lower()
        return (
            self._wrong_host(scope)
            or self._wrong_origin(scope)
            or _part_of_a_page(scope)
            or (_wrong_graphql(scope) if "graphql" in path else None)
            or (_wrong_report(scope) if "report_asset" in path else None)
        )

    def _wrong_host(self, scope: Scope) -> Refusal | None:
        hosts = _headers(scope, "host")
        if len(hosts) != 1:
            return Refusal(400, f"a request has one Host header, and this one has {len(hosts)}")
        authority = _authority(hosts[0])
        if authority is not None and authority.name in LOCAL_NAMES | self.allowed_hosts:
            return None
        known = ", ".join(sorted(LOCAL_NAMES | self.allowed_hosts))
        return Refusal(
            403,
            f"the Host {_shown(hosts[0])} is none of {known}; if it is a name of this server, start it with "
            "--allow-host NAME",
        )

    def _wrong_origin(self, scope: Scope) -> Refusal | None:
        origins = _headers(scope, "origin")
        host = _authority(_headers(scope, "host")[0])
        if not origins:
            return None
        if len(origins) == 1 and host is not None and self._is_own(origins[0], host):
            return None
        return Refusal(
            403,
            f"the page {' and '.join(map(_shown, origins))} isn't this server's; if its name is to be trusted, start "
            "the server with --allow-host NAME",
        )

    def _is_own(self, origin: str, host: Authority) -> bool:
        scheme, separator, rest = origin.partition("://")
        page = _authority(rest) if separator and scheme in DEFAULT_PORTS else None
        if page is None:
            return False
        default = DEFAULT_PORTS[scheme]
        same = (page.name, page.port or default) == (host.name, host.port or default)
        return same or page.name in self.allowed_hosts

    def _log(self, refusal: Refusal) -> None:
        """Log every refusal once: a page that keeps trying doesn't fill the disk."""
        if refusal.reason in self._logged or len(self._logged) > LINES_LOGGED:
            return
        self._logged.add(refusal.reason)
        logger.warning("refused a request: %s", refusal.reason)
        if len(self._logged) > LINES_LOGGED:
            logger.warning("further refusals aren't logged")


def checked_names(names: Iterable[str]) -> list[str]:
    """Check and normalize the names that ``--allow-host`` gives.

    Parameters
    ----------
    names : iterable of str
        Names or addresses, such as ``astra.example.org``, without a port.

    Raises
    ------
    ConfigurationError
        If one is no such name.
    """
    checked = []
    for name in names:
        authority = _authority(f"[{name}]" if name.count(":") > 1 and "[" not in name else name)
        if authority is None or authority.port is not None:
            raise ConfigurationError(
                f"--allow-host {_shown(name)}: give the name alone, such as astra.example.org, without scheme, port, "
                "path or pattern"
            )
        checked.append(authority.name)
    return checked


def _part_of_a_page(scope: Scope) -> Refusal | None:
    """Refuse what a browser says that another site's page asks for, except that a link to the UI may be followed."""
    # Browsers send no Origin with images, scripts and forms that use GET.
    site, mode = (_headers(scope, f"sec-fetch-{name}") for name in ("site", "mode"))
    followed = mode == ["navigate"] and scope.get("method") in ("GET", "HEAD")
    if _headers(scope, "origin") or followed or not {"cross-site", "same-site"} & set(site):
        return None
    return Refusal(403, "a page of another site asks for this as a part of itself")


def _wrong_graphql(scope: Scope) -> Refusal | None:
    for name, query in QueryParams(scope.get("query_string", b"")).multi_items():
        if name == "query" and not _only_queries(query):
            return Refusal(
                403,
                "an address may hold a GraphQL query, and nothing that changes something; send that by POST, as "
                "application/json",
            )
    # Dagster looks for the type anywhere in the header; a browser sends `text/plain; application/json` unasked.
    for given in _headers(scope, "content-type"):
        if any(kind in given.lower() for kind in _BODY_TYPES) and _essence(given) not in _BODY_TYPES:
            return Refusal(415, f"the content type {_shown(given)} isn't {_JSON}")
    return None


def _only_queries(text: str) -> bool:
    """Tell whether a GraphQL document is readable, and has no operation but queries."""
    try:
        document = parse(text, max_tokens=LONGEST_QUERY)
    except (GraphQLError, RecursionError):
        return False
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return all(node.operation is OperationType.QUERY for node in operations)


def _wrong_report(scope: Scope) -> Refusal | None:
    kinds = _headers(scope, "content-type")
    if [_essence(kind) for kind in kinds] == [_JSON]:
        return None
    said = " and ".join(map(_shown, kinds)) or "none"
    return Refusal(415, f"a report about an asset needs the content type {_JSON}, and this one has {said}")


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _headers(scope: Scope, wanted: str) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted.encode()]


def _authority(text: str) -> Authority | None:
    """Read a host and its port; None if it is anything else, such as one with a user's name."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    address, name, digits = match.groups()
    if address is not None:
        try:
            name = ipaddress.IPv6Address(address).compressed
        except ValueError:
            return None
    port = None if digits is None else int(digits)
    return Authority(name.lower().removesuffix("."), port)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.append(*_NO_FRAMES)  # beside the page's own policy
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
