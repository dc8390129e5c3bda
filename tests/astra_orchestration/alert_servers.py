"""A mail server and a web server of this computer, for alerts that really leave the process."""

import base64
import email
import email.policy
import http.server
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any


class MailServer(socketserver.ThreadingTCPServer):
    """An SMTP server (RFC 5321) that keeps what it gets.

    Parameters
    ----------
    certificate : Path, optional
        A file with a key and a certificate: STARTTLS is then offered, and a login allowed after it only.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, certificate: Path | None = None):
        super().__init__(("127.0.0.1", 0), _Mail)
        self.got: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.logins: list[str] = []
        self.refused = ""
        self.unknown: set[str] = set()
        self.password = "right"
        self.silent = False
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Mail(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        while self.server.silent:
            time.sleep(0.1)
        self.encrypted = False
        self.say("220 here")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if getattr(self, f"do_{verb.lower()}", self.unknown)(rest) is False:
                return

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def unknown(self, rest: str) -> None:
        self.say("502 what?")

    def do_ehlo(self, rest: str) -> None:
        offers = self.server.context is not None and not self.encrypted
        self.say("250-here", *(["250-STARTTLS"] if offers else []), "250 AUTH PLAIN")

    def do_starttls(self, rest: str) -> None:
        assert self.server.context is not None
        self.say("220 go on")
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)
        self.encrypted = True

    def do_auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
        right = password == self.server.password and (self.encrypted or self.server.context is None)
        self.server.logins.append(user)
        self.say("235 welcome" if right else f"535 wrong: {password}")

    def do_mail(self, rest: str) -> None:
        self.say("250 yes")

    def do_rcpt(self, rest: str) -> None:
        address = rest.partition("<")[2].partition(">")[0]
        known = address not in self.server.unknown
        self.server.recipients += [address] if known else []
        self.say("250 yes" if known else "550 nobody")

    def do_data(self, rest: str) -> None:
        self.say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        text = b"".join(lines)
        if self.server.refused and self.server.refused.encode() in text:
            self.say("554 not this one")
            return
        self.server.got.append(email.message_from_bytes(text, policy=email.policy.default))  # type: ignore[arg-type]
        self.say("250 taken")

    def do_rset(self, rest: str) -> None:
        self.say("250 yes")

    def do_quit(self, rest: str) -> bool:
        self.say("221 bye")
        return False


class HookServer(http.server.ThreadingHTTPServer):
    """A web server that keeps the JSON that is sent to it, and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.delay = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/a-key-of-the-hook"


class _Hook(http.server.BaseHTTPRequestHandler):
    server: HookServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.server.delay)
        if self.server.status == 200:
            self.server.got.append(json.loads(content))
            self.server.headers.append(dict(self.headers))
        self.send_response(self.server.status)
        if self.server.status in (301, 302, 307):
            self.send_header("Location", self.server.address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *said: object) -> None:
        pass


@contextmanager
def served(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
