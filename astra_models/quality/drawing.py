"""How pictures are drawn and packed: small PNG files on a ground of their own.

matplotlib is imported when one is drawn: it is an extra, and slow to load.
"""

import io
from typing import TYPE_CHECKING

from astra_models.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LARGEST", "new_figure", "png_of", "style"]

LARGEST = 150_000
"""Bytes that a picture has at most; Dagster keeps it in the log of its run."""
WIDTH, HEIGHT = 6.4, 4.2  # inches
RESOLUTIONS = (110, 80, 55, 35)  # dots per inch: the first that is small enough
COLOURS = 96
GROUND, INK, GRID = "#fbfaf7", "#1d1d1f", "#d8d5cc"
"""Paper and ink: the picture brings its own ground, so that it is legible on a dark page as on a light one."""
POINTS, MARKED, LINE = "#1f5f99", "#c2410c", "#8a8577"


def new_figure(height: float = HEIGHT) -> "Figure":
    """Make an empty figure of the usual width, which no window and no global state knows of.

    Raises
    ------
    MissingExtraError
        If matplotlib, the ``plot`` extra, isn't installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "pictures need matplotlib; install it with `pip install astra-orchestration[plot]`"
        ) from error
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=GROUND)
    FigureCanvasAgg(figure)
    return figure


def style(axes: "Axes", title: str, x: str, y: str) -> None:
    """Label axes, and give them the colours of all pictures."""
    axes.set_title(title, fontsize="medium", color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_facecolor(GROUND)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize="small")


def png_of(figure: "Figure") -> bytes:
    """Draw a figure as PNG of at most `LARGEST` bytes, at a lower resolution if it has to be.

    Raises
    ------
    ValueError
        If it is too large at any resolution.
    """
    content = b""
    for resolution in RESOLUTIONS:
        content = _drawn(figure, resolution)
        if len(content) <= LARGEST:
            return content
    raise ValueError(
        f"the picture has {len(content):,} bytes even at {RESOLUTIONS[-1]} dpi; draw fewer or smaller things"
    )


def _drawn(figure: "Figure", resolution: int) -> bytes:
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    # A figure of an author's own may be transparent, or have a ground that isn't ours.
    figure.savefig(drawn, format="png", dpi=resolution, facecolor=GROUND)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(COLOURS).save(packed, format="PNG", optimize=True)
    return packed.getvalue()
