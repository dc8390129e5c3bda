"""The ways by which an alert leaves: mail by SMTP, a webhook, a command.

Each waits for a bounded time, and raises `DeliveryError` with a reason that can be logged: it names hosts and programs,
never a password, the path of a webhook (which is one), or what a server answered at length.
"""

import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from http.client import HTTPException, HTTPMessage
from typing import IO, Protocol

from astra_models.errors import AstraError
from astra_models.messages import storable
from astra_orchestration.alerts.secrets import without_secrets
from astra_orchestration.alerts.text import Alert

__all__ = ["Adapter", "CommandAdapter", "DeliveryError", "MailAdapter", "WebhookAdapter"]

SECONDS = 10.0
"""For each answer of a server, and for a command."""
SHOWN = 200


class DeliveryError(AstraError, ConnectionError):
    """An alert that couldn't be delivered."""


class Adapter(Protocol):
    """A way to tell somebody."""

    @property
    def name(self) -> str:
        """Under this name, what couldn't be delivered waits for the next attempt."""
        ...

    def send(self, alert: Alert) -> None:
        """Deliver an alert.

        Raises
        ------
        DeliveryError
            If it can't be delivered now.
        """
        ...


@dataclass(frozen=True)
class MailAdapter:
    """Mail by SMTP.

    Parameters
    ----------
    host, port
        The mail server.
    sender : str
        Address in ``From``.
    recipients : sequence of str
        Addresses in ``To``.
    security : {"starttls", "tls", "none"}
        How the connection is encrypted.
    user : str, optional
        Who logs in.
    password_env : str, optional
        Name of the environment variable that has the password. It is read when a mail is sent.
    """

    host: str
    port: int
    sender: str
    recipients: Sequence[str]
    security: str = "starttls"
    user: str | None = None
    password_env: str | None = None
    name: str = field(default="mail", init=False)

    def send(self, alert: Alert) -> None:
        """Send the text to all recipients; refused by some of them only, it is delivered."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = alert.title, self.sender, ", ".join(self.recipients)
        message["Date"], message["Auto-Submitted"] = formatdate(), "auto-generated"
        message.set_content(alert.text)
        try:
            with self._connected() as server:
                server.send_message(message, self.sender, list(self.recipients))
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"mail by {self._server}: {_answer(error.smtp_code, error.smtp_error)}") from None
        except smtplib.SMTPRecipientsRefused as error:
            [code, answer] = next(iter(error.recipients.values()))
            raise DeliveryError(
                f"mail by {self._server}: all recipients are refused, {_answer(code, answer)}"
            ) from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise DeliveryError(f"mail by {self._server}: {_reason(error)}") from None

    @property
    def _server(self) -> str:
        return f"{self.host}:{self.port}"

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        try:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.user is not None:
                server.login(self.user, self._password())
        except BaseException:
            server.close()
            raise
        return server

    def _password(self) -> str:
        password = os.environ.get(self.password_env or "")
        if not password:
            raise DeliveryError(f"mail by {self._server}: the environment variable {self.password_env} has no password")
        return password


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An alert that is sent elsewhere isn't delivered: a redirected POST becomes a GET without its content."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none."""


@dataclass(frozen=True)
class WebhookAdapter:
    """JSON by HTTP POST.

    Parameters
    ----------
    url : str
        Where it goes. It may hold a key, so only its host is ever shown.
    """

    url: str = field(repr=False)
    name: str = field(default="webhook", init=False)

    def send(self, alert: Alert) -> None:
        """Send the alert; delivered is what is answered by a status from 200 to 299."""
        request = urllib.request.Request(
            self.url,
            data=json.dumps(alert.as_json()).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "astra-alerts"},
            method="POST",
        )
        host = urllib.parse.urlsplit(self.url).hostname
        try:
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=SECONDS):
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise DeliveryError(f"webhook at {host}: it answers {error.code}") from None
        except urllib.error.URLError as error:
            reason = error.reason if isinstance(error.reason, Exception) else error
            raise DeliveryError(f"webhook at {host}: {_reason(reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise DeliveryError(f"webhook at {host}: {_reason(error)}") from None


@dataclass(frozen=True)
class CommandAdapter:
    """A command that gets the text on its standard input.

    Parameters
    ----------
    words : sequence of str
        The program and its arguments; no shell reads them.
    """

    words: Sequence[str] = field(repr=False)
    name: str = field(default="command", init=False)

    def send(self, alert: Alert) -> None:
        """Run the command; delivered is what it ends with 0 for."""
        program = self.words[0]
        # Files, and no pipes: what the command leaves running would keep those open.
        with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as complaints:
            text.write(alert.text.encode())
            text.seek(0)
            try:
                process = subprocess.Popen(
                    self.words, stdin=text, stdout=subprocess.DEVNULL, stderr=complaints, start_new_session=True
                )
            except (OSError, ValueError) as error:
                raise DeliveryError(f"command {program}: {_reason(error)}") from None
            code = _ended(process)
            if code is None:
                raise DeliveryError(f"command {program}: it didn't end within {SECONDS:.0f} s, and was killed")
            if code != 0:
                complaints.seek(0)
                said = without_secrets(complaints.read(10_000).decode(errors="replace"))
                raise DeliveryError(f"command {program}: it ended with {code}: {storable(said, SHOWN)}".rstrip(": "))


def _ended(process: "subprocess.Popen[bytes]") -> int | None:
    """Wait for a process; None if it had to be killed, with what it had started."""
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def _answer(code: int, text: object) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return f"it answers {code} {storable(without_secrets(shown), SHOWN)}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | socket.timeout):
        return f"no answer within {SECONDS:.0f} s"
    return storable(without_secrets(f"{type(error).__name__}: {error}"), SHOWN)
