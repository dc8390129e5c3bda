"""Pictures of tables as metadata of a materialization: Markdown that holds a small PNG.

matplotlib is imported when one is drawn. Nothing here can lose a run: what isn't drawn is a warning in the run's log.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from astra_models.errors import MissingExtraError
from astra_models.messages import said
from astra_models.outputs import Pipeline
from astra_models.quality import TableNumbers, Thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Log", "figure_metadata", "picture_metadata", "sky_metadata"]


class Log(Protocol):
    """Where a run's log goes."""

    def warning(self, msg: object, /) -> None:
        """Write a warning."""
        ...


def picture_metadata(pipeline: Pipeline, numbers: TableNumbers, thresholds: Thresholds, log: Log) -> dict[str, Any]:
    """Draw the pictures of a pipeline's table, for the metadata of its materialization."""
    from astra_models.quality.pictures import draw_pictures

    return _metadata(lambda: draw_pictures(pipeline, numbers, thresholds), pipeline.name, log)


def sky_metadata(log: Log) -> dict[str, Any]:
    """Draw where the sources are on the sky, for the metadata of their table."""
    from astra_models.quality.pictures import sky

    return _metadata(lambda: filter(None, [sky()]), "source", log)


def figure_metadata(name: str, draw: "Callable[[Figure], object]", log: Log) -> dict[str, Any]:
    """Draw one picture into an empty figure, for the metadata of a materialization."""

    def drawn() -> "Iterator[Any]":
        from astra_models.quality.drawing import new_figure, png_of
        from astra_models.quality.pictures import Picture

        figure = new_figure()
        draw(figure)
        yield Picture(name, png_of(figure), (draw.__doc__ or "").strip())

    return _metadata(drawn, name, log)


def _metadata(draw: "Callable[[], Iterable[Any]]", name: str, log: Log) -> dict[str, Any]:
    found: dict[str, Any] = {}
    started = time.monotonic()
    try:
        for picture in draw():
            if picture.problem:
                log.warning(f"{name}: no picture of {picture.name}: {picture.problem}")
            found[picture.name] = dg.MetadataValue.md(picture.markdown())
    except MissingExtraError as error:
        found["pictures"] = str(error)
    except Exception as error:  # the rows are in: a picture is no reason to lose the run
        log.warning(f"{name}: its pictures can't be drawn: {said(error)}")
        found["pictures"] = f"not drawn: {said(error)}"
    return found | {"seconds of pictures": round(time.monotonic() - started, 3)}
