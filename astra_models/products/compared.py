"""What changed from one version to another: the rows that both have, their differences, and the flags.

Both results of a spectrum come from the same pixels, so their errors aren't independent: a difference is told in units
of each version's own error, and never of both in quadrature, which would make it look small.
"""

import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import peewee

from astra_models.base import database
from astra_models.columns.selected import column_names
from astra_models.columns.typed import kind_of
from astra_models.database.sql import rows_of
from astra_models.errors import MissingExtraError, SelectionError, did_you_mean
from astra_models.fields import BitField
from astra_models.messages import shown
from astra_models.notebook.html import nothing_raised, paragraph
from astra_models.pipeline import VERSIONS, LatestMixin
from astra_models.products.provenance import provenance
from astra_models.products.query import Model, major_minor_of, snapshot
from astra_models.products.table import to_table
from astra_models.schema.tables import require_tables_to_read

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Comparison", "compare"]

ROBUST = 1.4826  # times the median absolute deviation: the standard deviation of a normal distribution
WIDEST = 10  # errors, in the plot
PANELS = 4  # of it, side by side


class Comparison:
    """Two versions of a pipeline's results, compared spectrum by spectrum.

    Attributes
    ----------
    versions : tuple of str
        The older and the newer one, as they were named.
    model : type
        The pipeline's results.
    columns : list of str
        The columns that are compared.
    matched : astropy.table.Table
        A row for each spectrum that has a result of both: its key, and of each column the values (``teff_0.9``,
        ``teff_0.10``), the errors, the difference (``delta_teff``, newer minus older), and the difference in units of
        each version's error (``delta_teff_in_e_0.9``, ``delta_teff_in_e_0.10``); masked where a value is missing.
    only : dict of str to int
        How many results each version has of which the other one has none.
    summary : astropy.table.Table
        A row for each column: how many have both values, the median of the differences and their robust standard
        deviation, both of them in units of each version's error, and how many lost a value or got one.
    flags : astropy.table.Table
        A row for each flag: the share of the matched rows that have it in each version, and the share in which it
        changed.
    """

    def __init__(
        self, model: Model, versions: tuple[str, str], columns: list[str], matched: "Table", only: dict[str, int]
    ):
        self.model, self.versions, self.columns, self.matched, self.only = model, versions, columns, matched, only
        self.summary = _summary(self)
        self.flags = _flags(self)

    def to_table(self) -> "Table":
        """Give the matched rows."""
        return self.matched

    def __repr__(self) -> str:
        old, new = self.versions
        counted = f"{len(self.matched)} of both, {self.only[old]} of {old} alone, {self.only[new]} of {new} alone"
        return f"<{self.model.__name__} {old} and {new}: {counted}>"

    def _repr_html_(self) -> str:
        return comparison_html(self)

    def plot(self) -> "Figure":
        """Plot the distribution of each column's differences, in units of each version's error.

        Of a column without errors, the differences themselves are plotted. What is further out than ten errors is
        counted in the last bins.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, with a panel for each column of which both versions have values.

        Raises
        ------
        MissingExtraError
            If matplotlib, the ``plot`` extra, isn't installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise MissingExtraError(
                "plots need matplotlib; install it with `pip install astra-orchestration[plot]`"
            ) from error
        both = np.asarray(self.summary["both"])
        columns = [name for name, n in zip(self.columns, both, strict=True) if n > 0] or self.columns[:1]
        rows = -(-len(columns) // PANELS)
        wide = min(len(columns), PANELS)
        figure, axes = plt.subplots(rows, wide, figsize=(3.2 * wide, 3 * rows), layout="constrained", squeeze=False)
        for ax in axes.flat[len(columns) :]:
            ax.set_axis_off()
        for ax, column in zip(axes.flat, columns, strict=False):
            _draw(ax, self, column)
        return figure


def compare(old: str | int, new: str | int, model: Model, *, columns: Sequence[str] | str | None = None) -> Comparison:
    """Compare the results of two versions, spectrum by spectrum.

    Parameters
    ----------
    old, new : str or int
        Versions, of which the major.minor counts: ``"0.9"`` and ``"0.10"``.
    model : type
        A pipeline's results.
    columns : sequence of str, optional
        What to compare; by default all numbers that have an error, ``e_`` and their name.

    Returns
    -------
    Comparison
        The matched rows, summaries of columns and flags, and a plot.

    Raises
    ------
    SelectionError
        If a version has no results (it says which ones have), both are the same, or a column isn't there or is no
        number.
    """
    database.connect(reuse_if_open=True)
    numbers = _require_versions(model, old, new)
    named = _columns(model, columns)
    with snapshot():
        query, names = _matching(model, numbers, named)
        matched: Any = to_table(query)
        only = {
            name: _count_alone(model, this, other)
            for name, this, other in zip(_texts(numbers), numbers, numbers[::-1], strict=True)
        }
    matched = matched[names]
    matched.meta.update(model=model.__name__, **provenance())
    return Comparison(model, _texts(numbers), named, _with_differences(matched, _texts(numbers), named), only)


def _texts(numbers: tuple[int, int]) -> tuple[str, str]:
    return _text(numbers[0]), _text(numbers[1])


def _text(major_minor: int) -> str:
    return f"{major_minor // 1000}.{major_minor % 1000}"


def _version_of(model: Any) -> peewee.ColumnBase:
    """Give the column, or the expression, that has a row's major.minor."""
    fields = model._meta.fields if isinstance(model, type) else model.model._meta.fields
    return model.v_astra_major_minor if VERSIONS[0] in fields else model.v_astra / 1000


def _require_versions(model: Model, old: str | int, new: str | int) -> tuple[int, int]:
    if not (isinstance(model, type) and issubclass(model, LatestMixin)):
        raise SelectionError(f"{shown(model)} has no versions to compare; name a model of results, such as Corv")
    numbers = major_minor_of(old), major_minor_of(new)
    if numbers[0] == numbers[1]:
        raise SelectionError(f"{old} and {new} are the same major.minor, of which a spectrum has one result")
    require_tables_to_read(model)
    there = sorted(number for (number,) in rows_of(model.select(_version_of(model)).distinct()))
    for number in numbers:
        if number not in there:
            known = ", ".join(map(_text, there)) or "none"
            raise SelectionError(f"{model.__name__} has no results of {_text(number)}; there are results of: {known}")
    return numbers


def _columns(model: Model, names: Sequence[str] | str | None) -> list[str]:
    fields = model._meta.fields
    numbers = [name for name, field in fields.items() if _is_number(field)]
    if names is None:
        chosen = [name for name in numbers if f"e_{name}" in fields]
        if not chosen:
            raise SelectionError(f"{model.__name__} has no numbers with errors; name the columns: {', '.join(numbers)}")
        return chosen
    chosen = column_names(names)
    for name in chosen:
        if name not in fields:
            raise SelectionError(f"{model.__name__} has no column {shown(name)}; {did_you_mean(name, fields)}")
        if name not in numbers:
            raise SelectionError(f"{model.__name__}.{name} is no number, so there are no differences of it")
    return chosen


def _is_number(field: peewee.Field) -> bool:
    if isinstance(field, BitField | peewee.ForeignKeyField | peewee.AutoField):
        return False
    return np.dtype(kind_of(field).dtype).kind in "fiu"


def _key_of(model: Model) -> list[str]:
    return [name for name in model.upsert_key if name not in VERSIONS]


def _matching(model: Model, numbers: tuple[int, int], columns: Iterable[str]) -> tuple[Any, list[str]]:
    """Make the query of the rows that both versions have, and name its columns."""
    old, new = model.alias("old"), model.alias("new")
    fields = model._meta.fields
    key = _key_of(model)
    names = [
        name for name in dict.fromkeys(each for column in columns for each in (column, f"e_{column}")) if name in fields
    ] + [name for name, field in fields.items() if isinstance(field, BitField)]
    selected = [getattr(old, name).alias(name) for name in key]
    for alias, text in zip((old, new), _texts(numbers), strict=True):
        selected += [getattr(alias, name).alias(f"{name}_{text}") for name in names]
    same = reduce(operator.and_, [getattr(old, name) == getattr(new, name) for name in key])
    query = old.select(*selected).join(new, on=same)
    query = query.where((_version_of(old) == numbers[0]) & (_version_of(new) == numbers[1]))
    pairs = [f"{name}_{text}" for name in names for text in _texts(numbers)]
    return query.order_by(*(getattr(old, name) for name in key)), key + pairs


def _count_alone(model: Model, version: int, other: int) -> int:
    """Count the rows of a version that the other one hasn't."""
    others = model.alias()
    same = reduce(operator.and_, [getattr(others, name) == getattr(model, name) for name in _key_of(model)])
    there = others.select(peewee.SQL("1")).where(same & (_version_of(others) == other))
    return model.select().where((_version_of(model) == version) & ~peewee.fn.EXISTS(there)).count()


def _with_differences(table: Any, versions: tuple[str, str], columns: list[str]) -> "Table":
    from astropy.table import MaskedColumn

    for name in columns:
        old, new = (_values(table, f"{name}_{version}") for version in versions)
        delta = np.ma.masked_invalid(new - old)
        unit = table[f"{name}_{versions[0]}"].unit
        words = f"{name} of {versions[1]} minus that of {versions[0]}"
        table[f"delta_{name}"] = MaskedColumn(delta, unit=unit, description=words)
        for version in versions:
            if f"e_{name}_{version}" in table.colnames:
                error = np.ma.masked_less_equal(_values(table, f"e_{name}_{version}"), 0)
                words = f"delta_{name} in units of the error of {version}"
                table[f"delta_{name}_in_e_{version}"] = MaskedColumn(
                    np.ma.masked_invalid(delta / error), description=words
                )
    return table


def _values(table: "Table", name: str) -> "np.ma.MaskedArray":
    return np.ma.masked_invalid(np.ma.asarray(table[name], dtype=np.float64))


def _summary(compared: Comparison) -> "Table":
    from astropy.table import Table

    rows = []
    matched: Any = compared.matched
    for name in compared.columns:
        old, new = (~np.ma.getmaskarray(_values(matched, f"{name}_{one}")) for one in compared.versions)
        delta = _values(matched, f"delta_{name}")
        row: dict[str, object] = {"column": name, "unit": str(matched[f"delta_{name}"].unit or "")}
        row |= {"both": int(np.sum(old & new)), "lost": int(np.sum(old & ~new)), "new": int(np.sum(new & ~old))}
        row |= dict(_spread("", delta))
        for version in compared.versions:
            ratio = f"delta_{name}_in_e_{version}"
            there = ratio in compared.matched.colnames
            row |= dict(_spread(f"_in_e_{version}", _values(compared.matched, ratio) if there else delta[:0]))
        rows.append(row)
    return Table(rows=rows)


def _spread(name: str, values: "np.ma.MaskedArray") -> Iterator[tuple[str, float]]:
    known = values.compressed()
    median = float(np.median(known)) if len(known) else np.nan
    yield f"median{name}", median
    yield f"scatter{name}", float(ROBUST * np.median(np.abs(known - median))) if len(known) else np.nan


def _flags(compared: Comparison) -> "Table":
    from astropy.table import Table

    matched: Any = compared.matched
    columns: dict[str, list[object]] = {"flag": [], "column": []}
    columns |= {f"share_{version}": [] for version in compared.versions} | {"changed": []}
    for field in compared.model._meta.sorted_fields:
        if not isinstance(field, BitField):
            continue
        bits = [np.ma.filled(np.ma.asarray(matched[f"{field.name}_{version}"]), 0) for version in compared.versions]
        for name, flag in field.flags.items():
            old, new = ((values & flag.value) != 0 for values in bits)
            shares = [float(np.mean(each)) if len(each) else np.nan for each in (old, new, old != new)]
            for column, value in zip(columns.values(), (name, field.name, *shares), strict=True):
                column.append(value)
    dtype = [str, str, float, float, float]
    return Table(list(columns.values()), names=list(columns), dtype=dtype)


def _draw(ax: "Axes", compared: Comparison, column: str) -> None:
    bins = np.linspace(-WIDEST, WIDEST, 41).tolist()
    ratios = [f"delta_{column}_in_e_{version}" for version in compared.versions]
    for ratio, version in zip(ratios, compared.versions, strict=True):
        if ratio in compared.matched.colnames:
            values = np.clip(_values(compared.matched, ratio).compressed(), -WIDEST, WIDEST)
            ax.hist(values, bins, histtype="step", label=f"errors of {version}")
    if ratios[0] in compared.matched.colnames:
        ax.set_xlabel(f"{column}: difference / error")
        ax.legend(fontsize="x-small")
    else:
        ax.hist(_values(compared.matched, f"delta_{column}").compressed(), 40, histtype="step")
        ax.set_xlabel(f"{column}: difference")


@nothing_raised
def comparison_html(compared: Comparison) -> str:
    """Give a comparison as HTML: counts, the columns, and the flags that changed."""
    flags: Any = compared.flags
    changed = flags[flags["changed"] > 0]
    parts = [paragraph(repr(compared)[1:-1]), _table_html(compared.summary)]
    parts.append(_table_html(changed) if len(changed) else paragraph("no flag changed"))
    return "".join(parts)


def _table_html(table: "Table") -> str:
    from astra_models.notebook.html import table as html_table

    return html_table(table.colnames, [[_rounded(value) for value in row] for row in table.iterrows()])


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float | np.floating) else value
