"""A report of counts in a notebook."""

from collections.abc import Mapping

from astra_models.notebook.html import paragraph, table

__all__ = ["report_html"]


def report_html(counts: Mapping[str, int], seconds: float, reasons: Mapping[str, int]) -> str:
    """Give counts of rows as HTML, and why some were rejected.

    Parameters
    ----------
    counts : mapping of str to int
        What became of rows, and of how many.
    seconds : float
        How long it took.
    reasons : mapping of str to int
        Why rows were rejected, and how many.
    """
    shown = table(list(counts), [list(counts.values())]) + paragraph(f"{sum(counts.values())} rows in {seconds:.3g} s")
    return shown + (table(("rejected", "why"), [(n, why) for why, n in reasons.items()]) if reasons else "")
