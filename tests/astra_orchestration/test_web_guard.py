"""The web server's door, tried with crafted requests: a page gets nothing done, the UI and programs do."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from astra_models.errors import ConfigurationError
from astra_orchestration.web.guard import Guard, checked_names
from tests.astra_orchestration.served import Served, served

JSON = "Content-Type: application/json"
TEXT = "Content-Type: text/plain"
FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The UI behind the door, which browsers may also call astra.example.org."""
    with served(tmp_path_factory.mktemp("dagster"), allowed_hosts=["astra.example.org"]) as ui:
        yield ui


def ask(
    ui: Served, line: str, *headers: str, body: str | bytes = b"", host: str | None = "localhost"
) -> tuple[int, str]:
    """Send a request to the last byte as it is given; give the status and everything else that came back."""
    body = body.encode() if isinstance(body, str) else body
    given = list(headers) + ([f"Host: {host}"] if host is not None else [])
    text = "\r\n".join([f"{line} HTTP/1.1", *given, f"Content-Length: {len(body)}", "Connection: close", "", ""])
    with socket.create_connection(("127.0.0.1", ui.port), timeout=20) as connection:
        connection.sendall(text.encode("latin-1") + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("latin-1")
    return int(answer.split(" ", 2)[1]), answer


def in_body(ui: Served, mark: str) -> str:
    return json.dumps({"query": ui.mutation(mark)})


# ---- what changes something


def address(mark: str, path: str = "/graphql") -> str:
    return f"{path}?query=mutation%7BsetConcurrencyLimit(concurrencyKey:%22{mark}%22,limit:3)%7D"


QUERY = "query=%7Bversion%7D"
ATTACKS: dict[str, tuple[str, list[str], str]] = {
    "get": (f"GET {address('get')}", [], ""),
    "get with a body": (f"GET {address('x')}", [JSON], '{"query": "{version}"}'),
    "head": (f"HEAD {address('x')}", [], ""),
    "get for a page": (f"GET {address('x')}", ["Accept: text/html"], ""),
    "form": (f"POST {address('x')}", [FORM], "a=1"),
    "form in parts": (f"POST {address('x')}", ["Content-Type: multipart/form-data; boundary=x"], "--x--"),
    "text": (f"POST {address('x')}", [TEXT], "a"),
    "no type": (f"POST {address('x')}", [], ""),
    "json": (f"POST {address('x')}", [JSON], '{"query": "{version}"}'),
    "put": (f"PUT {address('x')}", [JSON], ""),
    "overridden method": (f"POST {address('x')}", [FORM, "X-HTTP-Method-Override: GET", "X-HTTP-Method: GET"], ""),
    "second query": (f"GET /graphql?{QUERY}&{address('x').split('?')[1]}", [], ""),
    "first query": (f"GET {address('x')}&{QUERY}", [], ""),
    "two operations": (f"GET {address('x')}%0Aquery+a%7Bversion%7D&operationName=a", [], ""),
    "subscription": ("GET /graphql?query=subscription%7BlocationStateChangeEvents%7B__typename%7D%7D", [], ""),
    "escaped name": (f"GET {address('x').replace('query=', 'qu%65ry=')}", [], ""),
    "escaped path": (f"GET {address('x', '/gr%61phql')}", [], ""),
    "slash behind": (f"GET {address('x', '/graphql/')}", [], ""),
    "slashes before": (f"GET {address('x', '//graphql')}", [], ""),
    "line end": (f"GET {address('x', '/graphql%0A')}", [], ""),
    "up and down": (f"GET {address('x', '/a/../graphql')}", [], ""),
    "whole address": (f"GET http://localhost{address('x')}", [], ""),
    "whole other address": (f"GET http://evil.example{address('x')}", [], ""),
    "commas": (f"GET {address('x').replace('mutation', ',,%23%0A%EF%BB%BFmutation')}", [], ""),
    "no grammar": ("GET /graphql?query=mutation", [], ""),
    "deep": ("GET /graphql?query=" + "%7Ba" * 5000, [], ""),
    "json as text": ("POST /graphql", [f"{TEXT}; application/json"], "BODY"),
    "json as text, in capitals": ("POST /graphql", ["Content-Type: Text/Plain;a=application/json"], "BODY"),
    "graphql as text": ("POST /graphql", [f"{TEXT}; application/graphql"], "MUTATION"),
    "json as form": ("POST /graphql", [f"{FORM}; application/json"], "BODY"),
    "report": ("POST /report_asset_materialization/MARK", [], ""),
    "report by form": ("POST /report_asset_materialization/MARK", [FORM], ""),
    "report by text": ("POST /report_asset_materialization/MARK", [TEXT], "{}"),
    "report of json as text": ("POST /report_asset_materialization/MARK", [f"{TEXT};application/json"], "{}"),
    "report of two types": ("POST /report_asset_materialization/MARK", [JSON, TEXT], "{}"),
    "report of a check": ("POST /report_asset_check/MARK?check_name=a&passed=true", [], ""),
    "report of an observation": ("POST /report_asset_observation/MARK", [], ""),
    "report to an escaped path": ("POST /report%5Fasset_materialization/MARK", [], ""),
}  # fmt: skip


def attack(ui: Served, name: str) -> tuple[int, str]:
    mark = mark_of(name)
    line, headers, body = ATTACKS[name]
    line = line.replace("%22x%22", f"%22{mark}%22").replace("%22get%22", f"%22{mark}%22").replace("MARK", mark)
    body = body.replace("BODY", in_body(ui, mark)).replace("MUTATION", ui.mutation(mark))
    return ask(ui, line, *headers, body=body)


def mark_of(name: str) -> str:
    return name.replace(" ", "_").replace(",", "")


def test_these_attacks_are_attacks(tmp_path: Path) -> None:
    """Without the door more than half of them change something; the others are near misses."""
    with served(tmp_path, guarded=False) as bare:
        for name in ATTACKS:
            attack(bare, name)
        landed = {name for name in ATTACKS if bare.changed(mark_of(name))}

    assert len(landed) >= 20
    assert landed >= {"get", "form", "form in parts", "text", "no type", "escaped path", "line end", "json as text"}
    assert landed >= {"whole other address", "overridden method", "report", "report to an escaped path"}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_a_page_can_send_unasked_changes_nothing(ui: Served, name: str) -> None:
    """Even without an Origin: the address and the type of a request are enough to refuse it."""
    status, answer = attack(ui, name)

    assert status in (400, 403, 404, 405, 415), answer
    assert not ui.changed(mark_of(name))
    if status in (403, 415) and not name.startswith("head"):
        assert "refused: " in answer


@pytest.mark.parametrize(
    "headers",
    [
        ["Origin: http://evil.example"],
        ["Origin: http://localhost:1"],
        ["Origin: http://localhost"],
        ["Origin: http://127.0.0.1:PORT"],
        ["Origin: https://localhost.evil.example:PORT"],
        ["Origin: http://localhost:PORT@evil.example"],
        ["Origin: http://localhost:PORT/evil"],
        ["Origin: http://localhost:PORT.evil.example"],
        ["Origin: null"],
        ["Origin: NULL"],
        ["Origin:"],
        ["Origin: file://"],
        ["Origin: localhost:PORT"],
        ["Origin: chrome-extension://abcdef"],
        ["Origin: http://localhost:PORT http://evil.example"],
        ["Origin: http://localhost:PORT", "Origin: http://evil.example"],
        ["Origin: http://evil.example", "Origin: http://localhost:PORT"],
        ["Origin: http://astra.example.org.evil.example"],
        ["Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"],
        ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
    ],
)  # fmt: skip
def test_a_page_that_is_not_the_uis_own_is_refused(ui: Served, headers: list[str]) -> None:
    headers = [header.replace("PORT", str(ui.port)) for header in headers]
    status, answer = ask(ui, "POST /graphql", JSON, *headers, body=in_body(ui, "origin"), host=f"localhost:{ui.port}")

    assert status == 403
    assert "refused: " in answer
    assert not ui.changed("origin")


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("localhost:PORT", []),
        ("localhost:PORT", ["Origin: http://localhost:PORT"]),
        ("127.0.0.1:PORT", ["Origin: http://127.0.0.1:PORT"]),
        ("[::1]:PORT", ["Origin: http://[::1]:PORT"]),
        ("localhost:8080", ["Origin: http://localhost:8080"]),  # a tunnel
        ("localhost", ["Origin: http://localhost"]),
        ("localhost", ["Origin: http://localhost:80"]),
        ("localhost", ["Origin: https://localhost:443"]),
        ("LocalHost.:PORT", ["Origin: http://localhost:PORT"]),
        ("astra.example.org", ["Origin: https://astra.example.org"]),
        ("astra.example.org:3000", []),
        ("localhost:PORT", ["Origin: https://astra.example.org"]),  # behind a server that sends its own Host
        ("localhost:PORT", ["Origin: http://localhost:PORT", "Sec-Fetch-Site: same-origin"]),
    ],
)
def test_the_ui_and_programs_get_things_done(ui: Served, host: str, headers: list[str]) -> None:
    host, *headers = (text.replace("PORT", str(ui.port)) for text in (host, *headers))
    mark = f"own {host} {len(ui.answers)}"
    status, answer = ask(ui, "POST /graphql", JSON, *headers, body=json.dumps({"query": ui.mutation(mark)}), host=host)

    assert status == 200, answer
    assert ui.changed(mark)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:3000",
        "localhost@evil.example",
        "user:localhost@evil.example",
        "localhost:3000@evil.example",
        "evil.example#localhost",
        "localhost/",
        "localhost..",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "[::2]",
        "[::1",
        "::1",
        "localhost:",
        "localhost:abc",
        "localhost, evil.example",
        "astra.example.org.evil.example",
        "xastra.example.org",
        "",
        " ",
        "\xe4",
    ],
)
@pytest.mark.parametrize("line", ["GET /", "GET /server_info", "GET /graphql?query=%7Bversion%7D", "GET /logs/a/b.out"])
def test_another_name_of_the_host_is_refused(ui: Served, host: str, line: str) -> None:
    status, answer = ask(ui, line, host=host)
    assert status in (400, 403)
    assert "dagster" not in answer.lower()


@pytest.mark.parametrize("hosts", [[], ["localhost", "evil.example"], ["evil.example", "localhost"], ["localhost"] * 2])
def test_a_request_has_one_host(ui: Served, hosts: list[str]) -> None:
    assert ask(ui, "GET /server_info", *(f"Host: {host}" for host in hosts), host=None)[0] == 400


def test_a_browser_that_asks_for_permission_gets_none(ui: Served) -> None:
    asks = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
    for origin in ("http://evil.example", f"http://localhost:{ui.port}"):
        status, answer = ask(ui, "OPTIONS /graphql", f"Origin: {origin}", *asks, host=f"localhost:{ui.port}")
        assert status in (403, 405)
        assert "access-control" not in answer.lower()


def test_queries_may_stand_in_an_address(ui: Served) -> None:
    for line in ("GET /graphql?query=%7Bversion%7D", "POST /graphql?query=query+a%7Bversion%7D&operationName=a"):
        status, answer = ask(ui, line)
        assert status == 200
        assert '"version"' in answer


def test_a_report_as_json_is_taken(ui: Served) -> None:
    assert ask(ui, "POST /report_asset_materialization/reported", JSON, body="{}")[0] == 200
    assert ui.changed("reported")


def test_a_link_from_another_page_may_be_followed(ui: Served) -> None:
    came = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Accept: text/html")
    assert ask(ui, "GET /runs", *came)[0] == 200


@pytest.mark.parametrize("line", ["GET /", "GET /runs", "GET /server_info", "GET /favicon.png", "GET /nowhere.js"])
def test_no_answer_can_be_a_part_of_another_page(ui: Served, line: str) -> None:
    _, answer = ask(ui, line)
    headers = answer.split("\r\n\r\n")[0].lower()
    assert "content-security-policy: frame-ancestors 'self'" in headers
    assert "x-frame-options: sameorigin" in headers
    assert "cross-origin-resource-policy: same-origin" in headers
    assert headers.count("x-content-type-options: nosniff") == 1


def test_the_pages_own_policy_stays(ui: Served) -> None:
    _, answer = ask(ui, "GET /")
    assert "script-src 'nonce-" in answer


# ---- websockets


def open_websocket(ui: Served, host: str, origin: str | None, path: str = "/graphql") -> Any:
    address, headers = f"ws://{host}{path}", {} if origin is None else {"Origin": origin}
    protocols = [Subprotocol("graphql-ws")]
    with (
        socket.create_connection(("127.0.0.1", ui.port)) as connection,
        connect(address, sock=connection, additional_headers=headers, subprotocols=protocols, proxy=None) as opened,
    ):
        opened.send(json.dumps({"type": "connection_init"}))
        return json.loads(opened.recv(timeout=10))


@pytest.mark.parametrize(
    ("host", "origin", "path"),
    [
        ("localhost", "http://evil.example", "/graphql"),
        ("localhost", "null", "/graphql"),
        ("localhost", "http://localhost:1", "/graphql"),
        ("evil.example", "http://evil.example", "/graphql"),
        ("evil.example", None, "/graphql"),
        ("localhost", None, address("x")),
    ],
)
def test_a_websocket_of_another_page_is_refused(ui: Served, host: str, origin: str | None, path: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        open_websocket(ui, host, origin, path)


@pytest.mark.parametrize("origin", [None, "http://localhost", "https://astra.example.org"])
def test_a_websocket_of_the_ui_or_a_program_is_opened(ui: Served, origin: str | None) -> None:
    assert open_websocket(ui, "localhost", origin) == {"type": "connection_ack"}


# ---- what Dagster would keep

CANARY = "Tr0ub4dor-3xY"
WRONG = {"resources": {"database": {"config": {"target": {"postgres": {"dbname": "survey", "password": CANARY}}}}}}
DECLARED = {"params": "($params: LaunchBackfillParams!)", "config": "($config: RunConfigData)"}
WRITTEN = '{resources: {database: {config: {target: {postgres: {dbname: "survey", password: "CANARY"}}}}}}'


def backfill(params: str, variables: dict[str, Any]) -> str:
    """Give the body of a request for a backfill, with its parameters written or as variables."""
    declared = "".join(DECLARED[name] for name in variables)
    query = f"mutation {declared} {{ launchPartitionBackfill(backfillParams: {params}) {{ __typename }} }}"
    return json.dumps({"query": query, "variables": variables})


@pytest.mark.parametrize(
    ("params", "variables"),
    [
        ("$params", {"params": {"runConfigData": WRONG}}),
        ("$params", {"params": {"runConfigData": json.dumps(WRONG)}}),
        ("$params", {"params": {"runConfigData": yaml.safe_dump(WRONG)}}),
        ("{runConfigData: $config}", {"config": WRONG}),
        ("{runConfigData: $config}", {"config": json.dumps(WRONG)}),
        (f"{{runConfigData: {json.dumps(json.dumps(WRONG))}}}", {}),
        (f"{{runConfigData: {WRITTEN.replace('CANARY', CANARY)}}}", {}),
        (f'{{runConfigData: """{json.dumps(WRONG)}"""}}', {}),
    ],
)
def test_a_backfill_is_not_kept_with_a_password(ui: Served, params: str, variables: dict[str, Any]) -> None:
    status, answer = ask(ui, "POST /graphql", JSON, body=backfill(params, variables))
    assert status == 400
    assert "passwords aren't configured" in answer
    assert CANARY not in answer


def test_the_launchpad_is_told_what_is_wrong_with_a_database_while_it_is_typed(ui: Served) -> None:
    """In the form of its own question's answer: to an error it would wait for ever."""
    question = """query PreviewConfigQuery($runConfigData: RunConfigData!) {
        isPipelineConfigValid(pipeline: {}, runConfigData: $runConfigData, mode: "default") { __typename } }"""
    asked = {"query": question, "variables": {"runConfigData": WRONG}, "operationName": "PreviewConfigQuery"}
    status, answer = ask(ui, "POST /graphql", JSON, body=json.dumps(asked))
    assert status == 200
    [error] = json.loads(answer.partition("\r\n\r\n")[2] or answer)["data"]["isPipelineConfigValid"]["errors"]
    assert "passwords aren't configured" in error["message"]
    assert [entry["fieldName"] for entry in error["stack"]["entries"]][-1] == "target"
    assert CANARY not in answer


def test_a_backfill_with_other_settings_reaches_dagster(ui: Served) -> None:
    config = {"resources": {"database": {"config": {"target": {"sqlite": {"path": "a.db"}}}}}, "ops": {"a": 1}}
    _, answer = ask(ui, "POST /graphql", JSON, body=backfill("$params", {"params": {"runConfigData": config}}))
    assert "launchPartitionBackfill" in answer


@pytest.mark.parametrize(
    "body", ['{"query": 5}', '{"query": "{version}", "variables": [1]}', "[]", "[{}]", "5", "{}", "{"]
)
def test_what_is_no_request_is_answered(ui: Served, body: str) -> None:
    assert ask(ui, "POST /graphql", JSON, body=body)[0] in (200, 400, 500)
    assert ask(ui, "GET /server_info")[0] == 200


# ---- the names that are allowed


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Astra.Example.ORG", "astra.example.org"),
        ("10.0.0.7", "10.0.0.7"),
        ("::2", "::2"),
        ("[::2]", "::2"),
        ("a.", "a"),
    ],
)
def test_an_allowed_name_is_normalized(given: str, name: str) -> None:
    assert checked_names([given]) == [name]


@pytest.mark.parametrize(
    "given", ["", "*", "*.example.org", "https://a.org", "a.org:3000", "a.org/x", "u@a.org", "a b"]
)
def test_what_is_no_name_is_not_allowed(given: str) -> None:
    with pytest.raises(ConfigurationError, match="give the name alone"):
        checked_names([given])


text = st.text(st.characters(max_codepoint=255), max_size=30)
hostlike = st.one_of(
    text, st.from_regex(r"[a-z0-9.:@/\[\]#?%-]{0,30}", fullmatch=True), st.sampled_from(["localhost", "127.0.0.1"])
)


@settings(max_examples=300, deadline=None)
@given(host=hostlike, origin=st.none() | hostlike | hostlike.map(lambda name: f"http://{name}"), path=text, query=text)
def test_the_door_has_an_answer_to_everything(host: str, origin: str | None, path: str, query: str) -> None:
    headers = [(b"host", host.encode("latin-1"))] + ([(b"origin", origin.encode("latin-1"))] if origin else [])
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": headers}

    refusal = Guard(None).refusal(scope)  # type: ignore[arg-type]

    name = host.lower().rsplit(":", 1)[0].removesuffix(".") if not host.startswith("[") else "::1"
    assert refusal is not None or name in ("localhost", "127.0.0.1", "::1")


def test_refusals_are_logged_once_and_without_what_a_terminal_obeys(
    ui: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        ask(ui, "GET /", host="evil\x1b[2J.example")
        ask(ui, "GET /", host="logged.example")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("astra_orchestration.web")]
    assert sum("logged.example" in line for line in said) == 1
    assert not any("\x1b" in line for line in said)
