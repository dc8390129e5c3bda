"""Pieces of HTML for a notebook: tables, and the one way in which something that goes wrong is shown.

A notebook shows an object whenever a cell ends with it. Looking must not raise, take long or tell secrets. No colours
are set, so that it can be read on light and on dark backgrounds.
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, TypeVar

from astra_models.messages import MISTAKES, error_text, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cell", "details", "figure", "nothing_raised", "paragraph", "table"]

LONGEST_CELL = 200

Shown = TypeVar("Shown")


def cell(value: object) -> str:
    """Give a value as text of HTML, escaped and cut at 200 characters."""
    if value is None:
        return "<i>NULL</i>"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(printable(text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + " ..."))


def paragraph(text: str) -> str:
    """Give a paragraph of plain text."""
    return f"<p>{escape(printable(text))}</p>"


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Give a table of values; what is None is NULL."""
    head = "".join(f'<th style="text-align: left">{escape(printable(name))}</th>' for name in heading)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align: left">{cell(value)}</td>' for value in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def details(summary: str, inside: str, opened: bool = False) -> str:
    """Give a part that can be opened and closed; `inside` is HTML already."""
    return f"<details{' open' if opened else ''}><summary>{escape(printable(summary))}</summary>{inside}</details>"


def figure(drawn: "Figure", alt: str) -> str:
    """Give a figure as a picture within the HTML."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=80)
    return (
        f'<img alt="{escape(printable(alt))}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
    )


def nothing_raised(show: Callable[[Shown], str]) -> Callable[[Shown], str]:
    """Make a function that says what went wrong instead of raising it."""

    @wraps(show)
    def shown(given: Shown) -> str:
        try:
            return show(given)
        except MISTAKES as error:
            return paragraph(f"This can't be shown: {error_text(error)}")

    return shown
