r"""Text as FITS can hold it: printable ASCII, without blanks at its end.

What FITS can't hold is written as Python writes it in a string literal: ``\xe9``, ``\u03b1``, ``\n``; a backslash is
doubled, and a blank at the end is ``\x20``. So ``value.encode("ascii").decode("unicode_escape")`` gives the text back.
"""

import re

PLAIN = re.compile(r"[ -\[\]-~]*(?<! )")
"""Text that is written as it is."""

NOT_PLAIN_ON_POSTGRESQL = r"[^ -\[\]-~]| $"
NOT_PLAIN_ON_SQLITE = ("*[^ -~]*", "*\\*", "* ")


def escape(text: str) -> bytes:
    """Make printable ASCII of any text."""
    if PLAIN.fullmatch(text):
        return text.encode("ascii")
    escaped = text.encode("unicode_escape")
    return escaped[:-1] + rb"\x20" if escaped.endswith(b" ") else escaped


def unescape(value: str | bytes) -> str:
    """Give the text back that `escape` was given."""
    ascii_only = value if isinstance(value, bytes) else value.encode("ascii")
    return ascii_only.decode("unicode_escape")
