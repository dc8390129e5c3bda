"""When a spectrum is due, and why: the one place that says so, as SQL.

A result is current if what it was made from is what is there now: the same revision of the spectrum (its columns and
its pixels), the same revisions of the other pipelines' results that it was made from, the same recipe (the pipeline's
own version, and its parameters), and the installed patch version. Equality decides, never the order of two times.

A row that doesn't say what it was made from (made by an older release, read from a file, written by hand, or in a table
without these columns) is outdated if the spectrum was modified after it was.
"""

import functools
import operator
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import peewee

from astra_models.base import BaseModel
from astra_models.database.revisions import PIXELS
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import FAILURES, RejectedResult
from astra_models.spectrum import SpectrumMixin

__all__ = ["DueReason", "DueRule", "Need", "RecipeKey", "why_version_is_due"]

Condition = peewee.ColumnBase

ALWAYS, NEVER = peewee.SQL("(1 = 1)"), peewee.SQL("(1 = 0)")


class DueReason(StrEnum):
    """Why a spectrum is due: the first of these that applies."""

    missing = "new"
    """It has no result of this major.minor version."""
    changed = "spectrum changed"
    """Its row changed since its result was made from it."""
    pixels = "pixels changed"
    """Its file has other pixels than those that its result was made from."""
    upstream = "upstream changed"
    """A result of another pipeline that its result was made from has other values now."""
    pipeline_version = "pipeline's version"
    """Its result was made by another version of the pipeline itself."""
    parameters = "parameters changed"
    """Its result was made with other parameters."""
    older_patch = "patch"
    """Its result is of an older patch version."""


class Need(NamedTuple):
    """A result of another pipeline that goes into a result, of the same spectrum and major.minor version.

    Parameters
    ----------
    model : type
        The other pipeline's output model.
    optional : bool
        Whether a spectrum without such a result is analysed, too.
    """

    model: type[PipelineOutputMixin]
    optional: bool = False


class RecipeKey(NamedTuple):
    """What a pipeline would make a result with now.

    Parameters
    ----------
    pipeline : str
        Its name.
    version : str
        Its own version.
    digest : str
        Checksum of its version and of the parameters that results depend on.
    """

    pipeline: str
    version: str
    digest: str


class DueRule:
    """When a spectrum is due, as SQL on the table of spectra, each with its result of one major.minor version.

    Parameters
    ----------
    output_model : type
        The pipeline's output model.
    spectrum_model : type
        The kind of spectrum.
    v_astra : int
        The version that results are wanted of.
    needs : sequence of Need, optional
        The other pipelines' results that go into each result.
    recipe : RecipeKey, optional
        What a result would be made with now. If it isn't given, the recipe of results doesn't count.
    older_patch : bool, optional
        Whether a result of an older patch version is due again.
    """

    def __init__(
        self,
        output_model: type[PipelineOutputMixin],
        spectrum_model: type[SpectrumMixin],
        v_astra: int,
        *,
        needs: Sequence[Need] = (),
        recipe: RecipeKey | None = None,
        older_patch: bool = True,
    ):
        self.output_model = output_model
        self.spectrum = spectrum_model
        self.v_astra = v_astra
        self.needs = tuple(needs)
        self.older_patch = older_patch
        self.result = output_model.alias("result")
        self.keeps_revisions = _has(spectrum_model, "revision") and _has(output_model, "spectrum_revision")
        self.recipe = recipe if recipe and _has_runs(output_model) else None

    def reasons(self) -> dict[DueReason, Condition]:
        """Give the condition of each reason. A result of a newer patch version is never replaced."""
        result = self.result
        outdated: dict[DueReason, Condition] = {DueReason.changed: self._modified_since()}
        if self.keeps_revisions:
            then, now = result.spectrum_revision, self._revision()
            outdated = {
                DueReason.changed: _either(
                    then.is_null(), self._modified_since(), peewee.Expression(_columns(then), "<>", _columns(now))
                ),
                DueReason.pixels: peewee.Expression(_pixels(then), "<>", _pixels(now)),
            }
            if self.needs:
                outdated[DueReason.upstream] = self._upstream_changed(result.upstream_revision, result.modified)
        if self.recipe is not None:
            outdated[DueReason.pipeline_version] = self._is_of(PipelineRun.version != self.recipe.version)
            outdated[DueReason.parameters] = self._is_of(self._other_parameters(self.recipe))
        may_replace = result.v_astra <= self.v_astra
        reasons: dict[DueReason, Condition] = {DueReason.missing: result.task_pk.is_null()}
        reasons |= {reason: may_replace & condition for reason, condition in outdated.items()}
        if self.older_patch:
            reasons[DueReason.older_patch] = result.v_astra < self.v_astra
        return reasons

    def reason(self) -> peewee.Case:
        """Give the reason that applies, or NULL, as an expression to select."""
        return peewee.Case(None, [(condition, reason.value) for reason, condition in self.reasons().items()])

    def failed(self) -> Condition:
        """Give the condition that the spectrum failed, or gave no result, and what it was made from is as it was."""
        listed = RejectedResult
        since = listed.created >= self.spectrum.modified
        if self.keeps_revisions and _has(listed, "spectrum_revision"):
            same = listed.spectrum_revision == self._revision()
            if self.needs:
                same &= ~self._upstream_changed(listed.upstream_revision, listed.created)
            if self.recipe is not None:
                others = self._runs(PipelineRun.recipe != self.recipe.digest)
                same &= listed.pipeline_run_pk.is_null() | listed.pipeline_run_pk.not_in(others)
            since = _either(listed.spectrum_revision.is_null(), since, same)
        return self._is_listed(listed.reason.in_(FAILURES), since)

    def has_reason(self) -> Condition:
        """Give the condition that there is a reason, however it stands with failures and other pipelines."""
        reasons = self.reasons()
        if self.keeps_revisions:  # one comparison for the two, where it doesn't matter which
            changed = _either(
                self.result.spectrum_revision.is_null(),
                self._modified_since(),
                self.result.spectrum_revision != self._revision(),
            )
            reasons[DueReason.changed] = (self.result.v_astra <= self.v_astra) & changed
            del reasons[DueReason.pixels]
        if self.recipe is not None:  # the version is part of the recipe
            del reasons[DueReason.pipeline_version]
        return functools.reduce(operator.or_, reasons.values())

    def is_due(self) -> Condition:
        """Give the condition that there is a reason, the spectrum hasn't failed, and has what it needs."""
        return self.has_reason() & ~self.failed() & self.has_needs()

    def is_waiting(self, where: Condition | None = None) -> Condition:
        """Give the condition that a spectrum may be due, but another pipeline has no result of it yet."""
        return self.has_reason() & ~self.failed() & self.lacks_results(where)

    def lacks_results(self, where: Condition | None = None) -> Condition:
        """Give the condition that there is no result yet that the pipeline needs, or that its own condition is on.

        Parameters
        ----------
        where : peewee.Expression, optional
            Which spectra the pipeline takes: where that is known to be false, nothing lacks.
        """
        if where is None:
            return ~self.has_needs()
        lacking = functools.reduce(operator.or_, (need.model.task_pk.is_null() for need in self.needs), NEVER)
        unknown = peewee.Expression(peewee.EnclosedNodeList([where]), "IS", None)
        return (peewee.fn.COALESCE(where, ALWAYS) & ~self.has_needs()) | (unknown & lacking)

    def is_taken(self, where: Condition | None = None) -> Condition:
        """Give the condition that the pipeline takes the spectrum, as far as its own condition says so."""
        return ALWAYS if where is None else peewee.fn.COALESCE(where, NEVER)

    def has_needs(self) -> Condition:
        """Give the condition that there is a result of every other pipeline that the pipeline can't do without."""
        there = (need.model.task_pk.is_null(False) for need in self.needs if not need.optional)
        return functools.reduce(operator.and_, there, ALWAYS)

    def can_be_tried_again(self, reason: str | None = None) -> Condition:
        """Give the condition that the spectrum is in ``rejected_result`` at this version.

        It is listed for a reason, for one of several that are separated by commas, or for any.
        """
        result = self.result
        wanted = None if reason is None else [one.strip() for one in reason.split(",")]
        listed = self._is_listed(*(() if wanted is None else (RejectedResult.reason.in_(wanted),)))
        return (result.task_pk.is_null() | (result.v_astra <= self.v_astra)) & listed & self.has_needs()

    def select(self, *columns: peewee.Node) -> "peewee.ModelSelect[SpectrumMixin]":
        """Select from the spectra that have a key, each joined to its result, and to those it needs, if it has any."""
        spectrum, major_minor = self.spectrum, self.v_astra // 1000
        query = spectrum.select(*columns)
        for joined in (self.result, *(need.model for need in self.needs)):
            same = (joined.spectrum_pk == spectrum.spectrum_pk) & (joined.v_astra_major_minor == major_minor)
            # Even where a result is needed: of an inner join, SQLite would sort all rows before it gives the first.
            query = query.join(joined, peewee.JOIN.LEFT_OUTER, on=same).switch(spectrum)
        return query.where(spectrum.spectrum_pk.is_null(False))

    def _revision(self) -> peewee.Function:
        return peewee.fn.COALESCE(self.spectrum.revision, 0)

    def _modified_since(self) -> peewee.Expression:
        return self.spectrum.modified > self.result.modified

    def _upstream_changed(self, then: peewee.Field, when: peewee.Field) -> Condition:
        """Give the condition that the sum of the revisions of other results isn't what it was.

        Where a revision isn't known, because the other result is of an older release, its time has to do.
        """
        models = [need.model for need in self.needs]
        if not all(_has(model, "revision") for model in models):
            changed: Condition = self._any_is_newer(models, when)
        else:
            unknown = [model.task_pk.is_null(False) & model._meta.fields["revision"].is_null() for model in models]
            now: Condition = peewee.fn.COALESCE(models[0].revision, 0)
            for model in models[1:]:
                now = now + peewee.fn.COALESCE(model.revision, 0)
            changed = _either(functools.reduce(operator.or_, unknown), self._any_is_newer(models, when), then != now)
        return then.is_null(False) & changed

    @staticmethod
    def _any_is_newer(models: Sequence[type[PipelineOutputMixin]], when: peewee.Field) -> Condition:
        newer = (peewee.fn.COALESCE(model.modified > when, NEVER) for model in models)
        return functools.reduce(operator.or_, newer)

    @staticmethod
    def _other_parameters(recipe: RecipeKey) -> peewee.Expression:
        """Give the condition of runs with another recipe. What was to be kept is kept until the pipeline changes."""
        other = PipelineRun.recipe != recipe.digest
        if not _has(PipelineRun, "keep"):
            return other
        return other & (PipelineRun.keep.is_null() | (PipelineRun.version != recipe.version))

    def _is_of(self, condition: peewee.Expression) -> peewee.Expression:
        return self.result.pipeline_run_pk.in_(self._runs(condition))

    def _runs(self, condition: peewee.Expression) -> "peewee.ModelSelect[PipelineRun]":
        assert self.recipe is not None
        return PipelineRun.select(PipelineRun.pk).where(PipelineRun.pipeline == self.recipe.pipeline, condition)

    def _is_listed(self, *conditions: Condition) -> peewee.Function:
        rows = RejectedResult.select(peewee.SQL("1")).where(
            RejectedResult.model == self.output_model.__name__,
            RejectedResult.spectrum_pk == self.spectrum.spectrum_pk,
            RejectedResult.v_astra == self.v_astra,
            *conditions,
        )
        return peewee.fn.EXISTS(rows)


def why_version_is_due(stored: int, wanted: int) -> DueReason | None:
    """Say why a result of one version is due again at another, whatever its spectrum: `DueRule` for versions alone.

    Parameters
    ----------
    stored, wanted : int
        ``v_astra`` of the result, and of the version that results are wanted of.

    Returns
    -------
    DueReason or None
        None if the result isn't due for its version.
    """
    if stored // 1000 != wanted // 1000:
        return DueReason.missing
    return DueReason.older_patch if stored < wanted else None


def _has(model: type[BaseModel], name: str) -> bool:
    """Tell whether a column is in the bound database: production schemas and older releases lack some."""
    return name in model._meta.sorted_field_names


def _has_runs(output_model: type[PipelineOutputMixin]) -> bool:
    return _has(output_model, "pipeline_run_pk") and PipelineRun.table_exists()


def _either(condition: Condition, then: Condition, otherwise: Condition) -> peewee.Case:
    return peewee.Case(None, [(condition, then)], otherwise)


def _columns(revision: peewee.Node) -> peewee.Expression:
    return peewee.Expression(revision, "-", peewee.Expression(_pixels(revision), "*", PIXELS))


def _pixels(revision: peewee.Node) -> peewee.Expression:
    return peewee.Expression(revision, "/", PIXELS)
