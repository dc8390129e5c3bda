"""Taking secrets out of text that leaves this computer: an exception of somebody else's code may hold anything."""

import os
import re
from collections.abc import Iterator

from astra_models.base import database

__all__ = ["without_secrets"]

HIDDEN = "[hidden]"
SHORTEST = 4
"""A shorter value would be found in ordinary words."""

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|WEBHOOK|ACCESS_?KEY", re.IGNORECASE
)
_NO_VALUE = re.compile(r"[A-Z][A-Z0-9_]*")  # of a variable that names another one
_IN_ADDRESS = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'\"]+@")
_ASSIGNED = re.compile(
    r"(\b\w*(?:password|passwd|passphrase|secret|token|api_?key)\w*['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,;&)]+)",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Give text without passwords.

    Left out are the values of environment variables whose names say that they are secret, the password of the bound
    database, the user part of addresses, and what is assigned to a name such as ``password``.

    Parameters
    ----------
    text : str
        Any text.
    """
    for secret in sorted(set(_known()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _ASSIGNED.sub(rf"\1{HIDDEN}", _IN_ADDRESS.sub(rf"\1{HIDDEN}@", text))


def _known() -> Iterator[str]:
    for name, value in os.environ.items():
        named = name.endswith("_ENV") and _NO_VALUE.fullmatch(value)
        if _SECRET_NAME.search(name) and len(value) >= SHORTEST and not named:
            yield value
    password = getattr(database.obj, "connect_params", {}).get("password")
    if isinstance(password, str) and len(password) >= SHORTEST:
        yield password
