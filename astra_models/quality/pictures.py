"""Pictures of a pipeline's table: what an astronomer looks at first.

All are drawn from the bounded sample that `measure` read, and from a few spectra. A picture that a table has no columns
for is left out. A pipeline adds its own by ``@task(plots=...)``.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from astra_models.base import database
from astra_models.database.sql import is_any_of
from astra_models.messages import said
from astra_models.outputs import Pipeline
from astra_models.products.query import snapshot
from astra_models.quality.drawing import INK, LINE, MARKED, POINTS, new_figure, png_of, style
from astra_models.quality.measuring import TableNumbers, main_columns
from astra_models.quality.residuals import draw_residuals
from astra_models.quality.sampling import Rows, draw_keys
from astra_models.quality.thresholds import Thresholds
from astra_models.source import Source
from astra_models.version import version_integer_to_string

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Picture", "draw_pictures", "sky"]

MOST_POINTS = 4_000
MOST_COLUMNS = 4
OUTLIERS = 5
VELOCITIES = ("v_rad", "v_rel", "v_helio")


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes
    ----------
    name : str
        What it shows, such as ``Kiel diagram``.
    png : bytes
        The picture as PNG; empty if it could not be drawn.
    caption : str
        What to know, or do next: Markdown.
    problem : str
        Why it could not be drawn; empty if it was.
    """

    name: str
    png: bytes = b""
    caption: str = ""
    problem: str = ""

    def markdown(self) -> str:
        """Give it as Markdown that needs no other file."""
        if self.problem:
            return f"not drawn: {self.problem}"
        encoded = base64.b64encode(self.png).decode("ascii")
        return f"![{self.name}](data:image/png;base64,{encoded})" + (f"\n\n{self.caption}" if self.caption else "")


Drawn = tuple["Figure", str] | None
"""A figure and its caption; None where there is nothing to draw."""


def draw_pictures(pipeline: Pipeline, numbers: TableNumbers, thresholds: Thresholds) -> Iterator[Picture]:
    """Draw the pictures of a pipeline's table; nothing if there are no rows of the installed version.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline. Functions in its ``plots`` each add a picture: ``plot(figure, rows)`` draws into an empty figure
        columns of up to a few thousand rows, by name, NaN where there is no value.
    numbers : TableNumbers
        What `measure` read of its table.
    thresholds : Thresholds
        The seed of what is drawn by chance.

    Raises
    ------
    MissingExtraError
        If matplotlib, the ``plot`` extra, isn't installed.
    """
    if not len(numbers.current):
        return
    new_figure()  # whether pictures can be drawn at all is said once
    makers: dict[str, Callable[[], Drawn]] = {
        "Kiel diagram": partial(_kiel, numbers),
        "velocities": partial(_velocities, numbers),
        "errors": partial(_errors, pipeline, numbers),
        "residuals": partial(draw_residuals, pipeline, numbers, thresholds.seed),
        "this version against the last": partial(_versions, numbers),
    }
    for plot in plots_of(pipeline):
        name = getattr(plot, "__name__", type(plot).__name__).strip("_").replace("_", " ")
        makers[f"{name} (its own)" if name in makers else name] = partial(_own, plot, numbers)
    for name, maker in makers.items():
        if picture := _made(name, maker):
            yield picture


def plots_of(pipeline: Pipeline) -> tuple[Callable[..., object], ...]:
    """Give the functions that draw a pipeline's own pictures."""
    return tuple(getattr(pipeline, "plots", ()))


def _made(name: str, maker: Callable[[], Drawn]) -> Picture | None:
    try:
        drawn = maker()
        return None if drawn is None else Picture(name, png_of(drawn[0]), drawn[1])
    except Exception as error:  # it may be an author's own function; a picture is no reason to lose a run
        return Picture(name, problem=said(error))


def _own(plot: Callable[..., object], numbers: TableNumbers) -> Drawn:
    figure = new_figure()
    plot(figure, dict(_few(numbers.current).columns))
    caption = (plot.__doc__ or "").strip().split("\n")[0]
    return (figure, caption) if figure.axes else None


# ---- the pictures of every pipeline


def _few(rows: Rows) -> Rows:
    return rows.where(slice(None, None, max(1, -(-len(rows) // MOST_POINTS))))


def _label(numbers: TableNumbers, name: str) -> str:
    unit = getattr(numbers.model._meta.fields.get(name), "unit", None)
    return f"{name} ({unit})" if unit else name


def _finite(rows: Rows, *names: str) -> Rows | None:
    """Give the rows that have a value in each of some columns; None if there are none."""
    if not all(name in rows.columns for name in names):
        return None
    found = rows.where(np.all([np.isfinite(rows.columns[name]) for name in names], axis=0))
    return found if len(found) else None


def _title(numbers: TableNumbers, what: str) -> str:
    table = numbers.model._meta.table_name
    return f"{what}: {table} {version_integer_to_string(numbers.v_astra)}"


def _points(axes: "Axes", numbers: TableNumbers, rows: Rows, x: np.ndarray, y: np.ndarray) -> None:
    flagged = numbers.flagged(rows)
    axes.scatter(x[flagged], y[flagged], s=9, marker="x", linewidths=0.7, color=MARKED, label="flagged", zorder=2)
    axes.scatter(x[~flagged], y[~flagged], s=6, alpha=0.6, linewidths=0, color=POINTS, label="no flag", zorder=3)
    axes.legend(loc="best", fontsize="small", framealpha=0.8, labelcolor=INK)


def _kiel(numbers: TableNumbers) -> Drawn:
    rows = _finite(numbers.current, "teff", "logg")
    if rows is None:
        return None
    rows, figure = _few(rows), new_figure()
    axes = figure.subplots()
    teff, logg = rows.columns["teff"], rows.columns["logg"]
    style(axes, _title(numbers, "Kiel diagram"), _label(numbers, "teff"), _label(numbers, "logg"))
    _points(axes, numbers, rows, teff, logg)
    if teff.min() > 0 and teff.max() > 5 * teff.min():
        axes.set_xscale("log")
    axes.invert_xaxis()
    axes.invert_yaxis()
    return figure, f"{len(rows):,} results; hot stars are to the left, giants above."


def _velocities(numbers: TableNumbers) -> Drawn:
    name = next((name for name in VELOCITIES if name in numbers.columns), "")
    rows = _finite(numbers.current, name)
    if rows is None:
        return None
    figure = new_figure()
    axes = figure.subplots()
    values, flagged = rows.columns[name], numbers.flagged(rows)
    low, high = np.percentile(values, [0.5, 99.5])
    margin = 0.05 * (high - low) or 1.0
    bins = np.linspace(low - margin, high + margin, 61)
    style(axes, _title(numbers, "Velocities"), _label(numbers, name), "results")
    stacked = [values[~flagged], values[flagged]]
    axes.hist(stacked, bins=bins, stacked=True, color=[POINTS, MARKED], label=["no flag", "flagged"])  # type: ignore[arg-type]
    axes.axvline(float(np.median(values)), color=INK, linewidth=1, linestyle="--", label="median")
    axes.legend(loc="best", fontsize="small", labelcolor=INK)
    beyond = int(((values < bins[0]) | (values > bins[-1])).sum())
    return figure, f"{len(rows):,} results, of which {beyond:,} are beyond the axis."


def _errors(pipeline: Pipeline, numbers: TableNumbers) -> Drawn:
    wanted = [name for name in main_columns(numbers.columns) if f"e_{name}" in numbers.columns]
    name = next((f"e_{name}" for name in (*VELOCITIES, *wanted) if name in wanted), "")
    rows = _finite(numbers.current, name)
    if rows is None:
        return None
    rows = _few(rows)
    snr = rows.columns["snr"] if "snr" in rows.columns else _snr_of(pipeline, rows.columns["spectrum_pk"])
    rows = _finite(Rows({**rows.columns, "snr": snr}), "snr", name)
    rows = None if rows is None else rows.where((rows.columns["snr"] > 0) & (rows.columns[name] > 0))
    if rows is None or not len(rows):
        return None
    figure = new_figure()
    axes = figure.subplots()
    style(axes, _title(numbers, "Error against S/N"), "S/N", _label(numbers, name))
    _points(axes, numbers, rows, rows.columns["snr"], rows.columns[name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    return figure, f"{len(rows):,} results. An error that doesn't fall with S/N is no longer that of the noise."


def _snr_of(pipeline: Pipeline, spectrum_pks: np.ndarray) -> np.ndarray:
    found: dict[int, float | None] = {}
    with snapshot():
        for kind in pipeline.spectrum_models:
            if "snr" in kind._meta.sorted_field_names:
                fields = kind._meta.fields
                query = kind.select(kind.spectrum_pk, fields["snr"])
                query = query.where(is_any_of(kind.spectrum_pk, spectrum_pks.tolist()))
                found |= dict(database.execute_sql(*query.sql()).fetchall())
    return np.array([found.get(key) for key in spectrum_pks.tolist()], dtype=float)


def _versions(numbers: TableNumbers) -> Drawn:
    previous = numbers.previous_version
    now, before = numbers.now, numbers.before
    if previous is None or not len(now):
        return None
    both = {name: np.isfinite(now.columns[name]) & np.isfinite(before.columns[name]) for name in numbers.columns}
    names = [name for name in main_columns(numbers.columns) if both[name].any()][:MOST_COLUMNS]
    if not names:
        return None
    old, new = version_integer_to_string(previous), version_integer_to_string(numbers.v_astra)
    n_rows = -(-len(names) // 2)
    figure = new_figure(height=3.0 * n_rows)
    lines: list[str] = []
    figure.suptitle(
        f"{numbers.model._meta.table_name}: {new} against {old}, the same spectra", fontsize="medium", color=INK
    )
    panels = figure.subplots(n_rows, min(2, len(names)), squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        lines += _one_to_one(axes, numbers, name, old, new)
    told = "\n".join(lines) if lines else "No result is far from the one before."
    return figure, f"{len(now):,} spectra with results of both versions. {told}"


def _one_to_one(axes: "Axes", numbers: TableNumbers, name: str, old: str, new: str) -> list[str]:
    """Draw a column against itself one version earlier; give a line on the outliers, marked and named."""
    x, y = numbers.before.columns[name], numbers.now.columns[name]
    finite = np.isfinite(x) & np.isfinite(y)
    keys, x, y = numbers.now.columns["spectrum_pk"][finite], x[finite], y[finite]
    difference = y - x
    centre = np.median(difference)
    spread = 1.4826 * np.median(np.abs(difference - centre)) or 1e-6 * max(1.0, float(np.abs(x).max()))
    far = np.abs(difference - centre) / spread
    worst = np.argsort(-far, kind="stable")[:OUTLIERS]
    worst = worst[far[worst] > 5]
    label = _label(numbers, name)
    style(axes, "", f"{label}, {old}", f"{label}, {new}")
    axes.scatter(x[:MOST_POINTS], y[:MOST_POINTS], s=6, alpha=0.6, linewidths=0, color=POINTS, zorder=2)
    axes.axline((float(np.median(x)), float(np.median(x))), slope=1, color=LINE, linewidth=1)
    axes.scatter(x[worst], y[worst], s=40, facecolors="none", edgecolors=MARKED, zorder=3)
    for i, place in enumerate(worst.tolist(), 1):
        axes.annotate(str(i), (x[place], y[place]), xytext=(5, 3), textcoords="offset points", color=MARKED, size=8)
    if not len(worst):
        return []
    explained = ", ".join(f"{i}: `astra explain --spectrum-pk {key}`" for i, key in enumerate(keys[worst].tolist(), 1))
    return [f"\n- {name} differs most in {explained}"]


# ---- sources


def sky(thresholds: Thresholds | None = None) -> Picture | None:
    """Draw where the sources are on the sky; None if none has a position.

    Raises
    ------
    MissingExtraError
        If matplotlib, the ``plot`` extra, isn't installed.
    """
    thresholds = thresholds or Thresholds()
    with snapshot():
        total = Source.select().count()
        query = Source.select(Source.ra, Source.dec).where(Source.ra.is_null(False), Source.dec.is_null(False))
        if total > MOST_POINTS:
            query = query.where(is_any_of(Source.pk, draw_keys(Source.pk, MOST_POINTS, thresholds.seed)))
        rows = database.execute_sql(*query.sql()).fetchall()
    positions = np.array(rows, dtype=float).reshape(-1, 2)
    positions = positions[np.isfinite(positions).all(axis=1)]
    if not len(positions):
        return None
    new_figure()
    how = f"{len(positions):,} of {total:,} sources" + (" by random keys" if total > MOST_POINTS else "")
    return _made("sky", lambda: _sky(positions, how))


def _sky(positions: np.ndarray, how: str) -> "tuple[Figure, str]":
    figure = new_figure()
    axes = figure.add_subplot(projection="mollweide")
    style(axes, "Sources on the sky", "", "")
    ra = np.radians((positions[:, 0] + 180) % 360 - 180)
    axes.scatter(-ra, np.radians(positions[:, 1]), s=4, alpha=0.6, linewidths=0, color=POINTS)
    axes.set_xticks(np.radians([-120, -60, 0, 60, 120]), ["120°", "60°", "0°", "300°", "240°"])
    return figure, f"{how}; right ascension grows to the left."
