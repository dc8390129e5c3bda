"""A spectrum in a notebook: its values, and a small plot where its pixels can be read and matplotlib is there."""

from typing import Any

from astra_models.errors import AstraError
from astra_models.notebook.html import figure, nothing_raised, paragraph
from astra_models.notebook.rows import row_text, values_html

__all__ = ["drawn", "spectrum_html"]

WIDTH, HEIGHT = 9, 2.2  # inches


@nothing_raised
def spectrum_html(row: Any) -> str:
    """Give a row of a kind of spectra as HTML, or of `Spectrum`, as the row of its kind."""
    if hasattr(type(row), "resolve"):
        if row.pk is None:
            return paragraph(row_text(row)[1:-1])
        row = row.resolve()
    return paragraph(row_text(row)[1:-1]) + drawn(row) + values_html(row)


def drawn(row: Any) -> str:
    """Plot a spectrum's flux over wavelength, as HTML; if that can't be done, say why."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return paragraph("no plot: matplotlib isn't installed; pip install 'astra-orchestration[plot]'")
    picture = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    try:
        row.plot(picture.subplots())
    except (AstraError, OSError, ValueError) as error:
        return paragraph(f"no plot: {error}")
    return figure(picture, f"flux over wavelength of {row_text(row)[1:-1]}")
