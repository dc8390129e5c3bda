"""How alerts leave this deployment: environment variables of Dagster's code server.

Passwords aren't among them: ``ASTRA_ALERT_SMTP_PASSWORD_ENV`` names the variable that has it. A wrong setting switches
off its own adapter and no other; no error repeats a value, which may be a misplaced password.
"""

import os
import re
import shlex
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from astra_models.errors import ConfigurationError
from astra_orchestration.alerts.adapters import Adapter, CommandAdapter, MailAdapter, WebhookAdapter

__all__ = ["HOW_TO_CONFIGURE", "AlertSettings", "alert_settings"]

MAIL_TO, MAIL_FROM = "ASTRA_ALERT_MAIL_TO", "ASTRA_ALERT_MAIL_FROM"
SMTP_HOST, SMTP_PORT, SMTP_SECURITY = "ASTRA_ALERT_SMTP_HOST", "ASTRA_ALERT_SMTP_PORT", "ASTRA_ALERT_SMTP_SECURITY"
SMTP_USER, SMTP_PASSWORD_ENV = "ASTRA_ALERT_SMTP_USER", "ASTRA_ALERT_SMTP_PASSWORD_ENV"
WEBHOOK, COMMAND, UI = "ASTRA_ALERT_WEBHOOK", "ASTRA_ALERT_COMMAND", "ASTRA_UI_ADDRESS"
DEFAULT_PASSWORD_ENV = "ASTRA_ALERT_SMTP_PASSWORD"

PORTS = {"starttls": 587, "tls": 465, "none": 25}
LOCAL = ("localhost", "127.0.0.1", "::1")
HOW_TO_CONFIGURE = (
    f"nobody is told: set {MAIL_TO} with {SMTP_HOST}, {WEBHOOK} or {COMMAND} in the environment of Dagster's code "
    "server (docs/operating.md, Being told)"
)

_ADDRESS = re.compile(r"[^\s@,<>\"]+@[^\s@,<>\"]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class AlertSettings:
    """Where alerts go.

    Parameters
    ----------
    adapters : sequence of Adapter
        Those that are configured.
    problems : sequence of str
        What is wrong with the others.
    ui : str
        The UI's address without a slash at its end; empty if it isn't known.
    """

    adapters: Sequence[Adapter]
    problems: Sequence[str]
    ui: str = ""

    def why_nobody_is_told(self) -> str | None:
        """Say why there is no adapter, and what to do; None if there is one."""
        return None if self.adapters else "; ".join([*self.problems, HOW_TO_CONFIGURE])

    def page_of(self, run_id: str) -> str:
        """Give the address of a run's page; its path if the UI's address isn't known."""
        return f"{self.ui}/runs/{run_id}"


def alert_settings(environment: Mapping[str, str] | None = None) -> AlertSettings:
    """Read the settings of alerts.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Environment variables; those of this process if not given.
    """
    given = {
        name: value.strip() for name, value in (os.environ if environment is None else environment).items() if value
    }
    adapters: list[Adapter] = []
    problems = []
    for variable, make in ((MAIL_TO, _mail), (WEBHOOK, _webhook), (COMMAND, _command)):
        if not given.get(variable):
            continue
        try:
            adapters.append(make(given))
        except ConfigurationError as error:
            problems.append(str(error))
    return AlertSettings(adapters, problems, given.get(UI, "").rstrip("/"))


def _mail(given: Mapping[str, str]) -> MailAdapter:
    recipients = given[MAIL_TO].replace(",", " ").split()
    sender = given.get(MAIL_FROM, recipients[0] if recipients else "")
    for name, addresses in ((MAIL_TO, recipients), (MAIL_FROM, [sender])):
        if not addresses or not all(map(_ADDRESS.fullmatch, addresses)):
            raise ConfigurationError(f"{name} has to be mail addresses such as astra@example.org")
    host = given.get(SMTP_HOST)
    if not host:
        raise ConfigurationError(f"{MAIL_TO} is set, and {SMTP_HOST} isn't: give the name of the mail server")
    security = given.get(SMTP_SECURITY, "none" if host in LOCAL else "starttls").lower()
    if security not in PORTS:
        raise ConfigurationError(f"{SMTP_SECURITY} has to be one of {', '.join(PORTS)}")
    user = given.get(SMTP_USER)
    if user and security == "none" and host not in LOCAL:
        raise ConfigurationError(
            f"{SMTP_SECURITY} is none, and would send the password of {SMTP_USER} readable by everybody: set it to "
            "starttls or tls"
        )
    return MailAdapter(host, _port(given, PORTS[security]), sender, recipients, security, user, _password_env(given))


def _password_env(given: Mapping[str, str]) -> str | None:
    if not given.get(SMTP_USER):
        return None
    name = given.get(SMTP_PASSWORD_ENV, DEFAULT_PASSWORD_ENV)
    if not _VARIABLE.fullmatch(name) or not given.get(name):
        raise ConfigurationError(
            f"{SMTP_USER} is set, and there is no password: {SMTP_PASSWORD_ENV} names the environment variable that "
            f"has it ({DEFAULT_PASSWORD_ENV} if it isn't set)"
        )
    return name


def _port(given: Mapping[str, str], default: int) -> int:
    text = given.get(SMTP_PORT, str(default))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ConfigurationError(f"{SMTP_PORT} has to be a number from 1 to 65535")
    return int(text)


def _webhook(given: Mapping[str, str]) -> WebhookAdapter:
    url = given[WEBHOOK]
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) and url.isascii()
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in url):
        raise ConfigurationError(f"{WEBHOOK} has to be an address such as https://chat.example.org/hooks/KEY")
    return WebhookAdapter(url)


def _command(given: Mapping[str, str]) -> CommandAdapter:
    try:
        words = shlex.split(given[COMMAND])
    except ValueError:
        words = []
    if not words:
        raise ConfigurationError(f"{COMMAND} has to be a program and its arguments, quoted as in a shell")
    return CommandAdapter(words)
