"""The numbers that a pipeline's checks and pictures are made of, read from its table in one go.

Counts by version come from an index; everything else from one bounded sample of the table (`sampling`), and from as
many of the spectra. All is read in one transaction that can't write.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np
import peewee

from astra_models.analysis.due import DueCounts, Rerun, count_due, count_due_by_reason, due_options
from astra_models.base import database
from astra_models.database.sql import is_any_of, rows_of
from astra_models.outputs import Pipeline
from astra_models.pipeline import VERSIONS, PipelineOutputMixin
from astra_models.products.query import snapshot
from astra_models.quality.sampling import (
    NO_KEY,
    Rows,
    Sample,
    draw,
    draw_keys,
    flag_column,
    measured_columns,
    read_rows_by_key,
)
from astra_models.quality.thresholds import Thresholds, thresholds_for
from astra_models.rejected import FAILURES, RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import installed_v_astra

__all__ = ["Coverage", "Orphans", "TableNumbers", "main_columns", "measure"]

MOST_PAIRS = 5_000
MAIN = ("teff", "logg", "fe_h", "m_h", "alpha_m", "v_rad", "v_rel", "rchi2")
NOT_MAIN = ("e_", "initial_", "raw_", "rho_")
Model = type[PipelineOutputMixin]


@dataclass(frozen=True)
class Coverage:
    """How many of the spectra that a pipeline takes it has dealt with.

    Attributes
    ----------
    wanted : int
        Spectra that it takes, and that aren't waiting for another pipeline.
    due : int
        Those that are still due.
    waiting : int
        Spectra that wait for another pipeline's result.
    reasons : Counter of str
        How many are due for each reason.
    sampled : int
        How many spectra were looked at; 0 if it was all of them. The other counts are scaled to all.
    """

    wanted: int = 0
    due: int = 0
    waiting: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    sampled: int = 0

    def __add__(self, other: "Coverage") -> "Coverage":
        return Coverage(
            self.wanted + other.wanted,
            self.due + other.due,
            self.waiting + other.waiting,
            self.reasons + other.reasons,
            self.sampled + other.sampled,
        )


@dataclass(frozen=True)
class Orphans:
    """Results of what isn't there, by their spectra's keys.

    Attributes
    ----------
    spectra : list of int
        Keys that the table of all spectra doesn't have.
    records : list of int
        Keys of spectra whose row is gone from the tables of the kinds that the pipeline takes.
    sources : list of int
        ``spectrum_pk`` of results whose source isn't there, or that lack the source that their spectrum has.
    """

    spectra: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class TableNumbers:
    """What was read of a pipeline's table.

    Attributes
    ----------
    model : type
        The model of its results: the first, if the pipeline has several.
    v_astra : int
        The installed version, which is judged.
    versions : dict of int to int
        How many rows there are of each version, by ``v_astra``.
    sample : Sample
        Rows of the table, of all versions.
    before : Rows
        Results of the version before, of spectra that the sample has a result of.
    now : Rows
        Results of the installed major.minor version of the same spectra, in the same order.
    coverage : Coverage
        How far the pipeline is.
    listed : Counter of str
        Rows of ``rejected_result`` of this pipeline at this version, by reason.
    orphans : Orphans
        Results of this major.minor version in the sample without a spectrum, or a source.
    """

    model: Model
    v_astra: int
    versions: dict[int, int]
    sample: Sample
    before: Rows
    now: Rows
    coverage: Coverage
    listed: Counter[str]
    orphans: Orphans
    columns: tuple[str, ...]
    flags: str | None

    @property
    def rows(self) -> int:
        """Rows of the installed major.minor version."""
        return sum(n for version, n in self.versions.items() if version // 1000 == self.v_astra // 1000)

    @cached_property
    def current(self) -> Rows:
        """The sample's rows of the installed major.minor version."""
        return of_release(self.sample.rows, self.v_astra)

    @property
    def previous_version(self) -> int | None:
        """The newest ``v_astra`` of an earlier major.minor version that there are rows of."""
        return previous_of(self.versions, self.v_astra)

    @property
    def failed(self) -> int:
        """Spectra that failed, or gave no result."""
        return sum(self.listed[reason] for reason in FAILURES)

    @property
    def modified(self) -> datetime | None:
        """When the newest row of the sample was written."""
        return self.sample.modified

    def medians(self) -> dict[str, float]:
        """Give the median of each measured column, of those that have a value."""
        found = {}
        for name in self.columns:
            values = self.current.columns[name]
            values = values[np.isfinite(values)]
            if len(values):
                found[name] = float(np.median(values))
        return found

    def flagged(self, rows: Rows) -> np.ndarray:
        """Tell which rows have a flag set, as a mask of shape ``(n_rows,)``."""
        return np.zeros(len(rows), bool) if self.flags is None else rows.columns[self.flags] != 0


def measure(
    pipeline: Pipeline, thresholds: Thresholds | None = None, parameters: Mapping[str, object] | None = None
) -> TableNumbers:
    """Read what checks and pictures of a pipeline's table are made of, from the bound database.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    thresholds : Thresholds, optional
        How much is read; by default as configured for the pipeline.
    parameters : mapping of str to object, optional
        Values of its parameters, on which what is due depends; the others have their defaults.

    Raises
    ------
    ConfigurationError
        If the configuration's thresholds are none.
    MissingTableError
        If a table is missing.
    """
    thresholds = thresholds or thresholds_for(pipeline.name)
    model, installed = pipeline.output_models[0], installed_v_astra()
    with snapshot():
        database.follow_tables()
        columns, flags = measured_columns(model), flag_column(model)
        versions = _count_versions(model)
        sample = draw(model, sum(versions.values()), thresholds)
        now, before = _pairs(model, sample.rows, previous_of(versions, installed), installed)
        return TableNumbers(
            model=model,
            v_astra=installed,
            versions=versions,
            sample=sample,
            before=before,
            now=now,
            coverage=_coverage(pipeline, thresholds, parameters),
            listed=_listed(model, installed),
            orphans=_orphans(pipeline, of_release(sample.rows, installed)),
            columns=tuple(str(column.name) for column in columns),
            flags=None if flags is None else str(flags.name),
        )


def of_release(rows: Rows, v_astra: int) -> Rows:
    """Give the rows of a version's major.minor."""
    return rows.where(rows.columns["v_astra"] // 1000 == v_astra // 1000)


def previous_of(versions: Iterable[int], v_astra: int) -> int | None:
    """Give the newest of some versions whose major.minor is earlier than that of `v_astra`."""
    return max((version for version in versions if version // 1000 < v_astra // 1000), default=None)


def _count_versions(model: Model) -> dict[int, int]:
    query = model.select(model.v_astra, peewee.fn.COUNT(peewee.SQL("*"))).group_by(model.v_astra)
    return {int(version): count for version, count in rows_of(query) if version is not None}


def _listed(model: Model, v_astra: int) -> Counter[str]:
    """Count what is listed at this major.minor version, and what is of no known version, as rows of files may be."""
    version = RejectedResult.v_astra
    is_now = version.between(v_astra // 1000 * 1000, v_astra // 1000 * 1000 + 999) | version.is_null()
    query = RejectedResult.select(RejectedResult.reason, peewee.fn.COUNT(peewee.SQL("*")))
    query = query.where((RejectedResult.model == model.__name__) & is_now).group_by(RejectedResult.reason)
    return Counter(dict(rows_of(query)))


def _pairs(model: Model, rows: Rows, previous: int | None, installed: int) -> tuple[Rows, Rows]:
    """Give results of the installed version, and those of the version before of the same spectra."""
    current = of_release(rows, installed)
    if previous is None or not len(current):
        return current.where(slice(0, 0)), current.where(slice(0, 0))
    # The sample's newest rows come first in many databases: every n-th is as good as any.
    current = current.where(slice(None, None, -(-len(current) // MOST_PAIRS)))
    before = read_rows_by_key(model, np.unique(current.columns["spectrum_pk"]).tolist(), previous)
    places = {key: place for place, key in enumerate(_keys(model, before))}
    found = [(i, places[key]) for i, key in enumerate(_keys(model, current)) if key in places]
    own, others = (np.array(each, dtype=int) for each in (zip(*found, strict=True) if found else ((), ())))
    return current.where(own), before.where(others)


def _keys(model: Model, rows: Rows) -> list[tuple[object, ...]]:
    names = [name for name in model.upsert_key if name not in VERSIONS]
    return list(zip(*(rows.columns[name].tolist() for name in names), strict=True))


def _coverage(pipeline: Pipeline, thresholds: Thresholds, parameters: Mapping[str, object] | None) -> Coverage:
    found = Coverage()
    for kind in pipeline.spectrum_models:
        found += _coverage_of(pipeline, kind, thresholds, parameters)
    return found


def _coverage_of(
    pipeline: Pipeline, kind: type[SpectrumMixin], thresholds: Thresholds, parameters: Mapping[str, object] | None
) -> Coverage:
    options = due_options(pipeline, kind, parameters)
    total = kind.select().count()
    scale, sampled = 1.0, 0
    if total > thresholds.sample_spectra:
        drawn = draw_keys(kind.spectrum_pk, thresholds.sample_spectra, thresholds.seed)
        chosen = is_any_of(kind.spectrum_pk, drawn)
        sampled = kind.select().where(chosen).count()
        scale = total / max(sampled, 1)
        where = options.get("where")
        options["where"] = chosen if where is None else where & chosen
    counts: DueCounts = count_due_by_reason(pipeline.output_models[0], kind, **options)
    wanted = count_due(pipeline.output_models[0], kind, **(options | {"rerun": Rerun.all}))
    reasons = Counter({reason.value: round(n * scale) for reason, n in counts.reasons.items()})
    return Coverage(round(wanted * scale), round(counts.due * scale), round(counts.waiting * scale), reasons, sampled)


def _orphans(pipeline: Pipeline, rows: Rows) -> Orphans:
    spectra, sources = rows.columns["spectrum_pk"], rows.columns.get("source_pk")
    wanted = np.unique(spectra).tolist()
    owners: dict[int, int | None] = {}
    for kind in pipeline.spectrum_models:
        query = kind.select(kind.spectrum_pk, kind.source_pk).where(is_any_of(kind.spectrum_pk, wanted))
        owners |= dict(database.execute_sql(*query.sql()).fetchall())
    without_record = [key for key in wanted if key not in owners]
    there = _existing(Spectrum.pk, without_record)
    records = [key for key in without_record if key in there]
    lost = [key for key in without_record if key not in there]
    if sources is None:
        return Orphans(lost, records)
    known = _existing(Source.pk, np.unique(sources[sources != NO_KEY]).tolist())
    without = {
        spectrum
        for spectrum, source in zip(spectra.tolist(), sources.tolist(), strict=True)
        if (source not in known if source != NO_KEY else owners.get(spectrum) is not None)
    }
    return Orphans(lost, records, sorted(without))


def _existing(key: peewee.Field, wanted: list[int]) -> set[int]:
    query = key.model.select(key).where(is_any_of(key, wanted))
    return {found for (found,) in database.execute_sql(*query.sql()).fetchall()} if wanted else set()


def main_columns(names: Iterable[str]) -> list[str]:
    """Put columns in order: the parameters of stars first, then the others; without errors and first guesses."""
    given = [name for name in names if not name.startswith(NOT_MAIN)]
    return [*(name for name in MAIN if name in given), *(name for name in given if name not in MAIN)]
