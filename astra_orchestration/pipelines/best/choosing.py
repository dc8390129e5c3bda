"""Which spectrum, and which table, a source's result is adopted from: one query for all sources.

Each rule selects its candidates; of a source's candidates the one of the first rule counts. Among several spectra that
meet it, that is the one of the newest version of Astra, if they are of Astra's making; then of the highest S/N; and of
two with the same, the one that was ingested first.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import peewee

from astra_models.base import database
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_models.version import installed_v_astra

from .order import Order, Rule

__all__ = ["Reductions", "choice", "is_chosen", "rules_met"]


class Reductions(NamedTuple):
    """Which reductions of spectra count; all if it is empty.

    Parameters
    ----------
    apred : sequence of str
        Of APOGEE.
    run2d : sequence of str
        Of BOSS.
    """

    apred: Sequence[str] = ()
    run2d: Sequence[str] = ()


def choice(order: Order, reductions: Reductions, kind: type[SpectrumMixin] | None = None) -> peewee.Select | None:
    """Select what is adopted: ``source_pk``, ``spectrum_pk`` and ``rank``, the place of the rule, of each source.

    Parameters
    ----------
    order : Order
        The rules.
    reductions : Reductions
        Which spectra count.
    kind : type, optional
        Only what is adopted from this kind of spectra; the others are considered all the same.

    Returns
    -------
    peewee.Select or None
        None if no rule can select anything.
    """
    parts = [
        _candidates(rule, rank, order, reductions)
        for rank, rule in enumerate(order.order)
        if rule.program is None or order.programs[rule.program].bits
    ]
    if not parts:
        return None
    found = functools.reduce(lambda all_before, part: all_before + part, parts).alias("candidate")
    columns = found.c
    best_first = [columns.rank, columns.made.desc(), columns.snr.desc(), columns.spectrum_pk]
    place = peewee.fn.ROW_NUMBER().over(partition_by=[columns.source_pk], order_by=best_first)
    placed = peewee.Select([found], [columns.source_pk, columns.spectrum_pk, columns.rank, place.alias("place")])
    placed = placed.alias("placed")
    first = placed.c.place == 1
    if kind is not None:
        first &= placed.c.rank.in_([rank for rank, rule in enumerate(order.order) if rule.kind is kind] or [-1])
    return (
        peewee.Select([placed], [placed.c.source_pk, placed.c.spectrum_pk, placed.c.rank]).where(first).bind(database)
    )


def is_chosen(kind: type[SpectrumMixin], order: Order, reductions: Reductions) -> peewee.ColumnBase:
    """Give the condition that a spectrum is the one from which its source's result is adopted."""
    chosen = choice(order, reductions, kind)
    if chosen is None:
        return peewee.SQL("(1 = 0)")
    # Written out by itself: peewee would take its tables for those of the query around it.
    columns = chosen.alias("chosen")
    sql, values = peewee.Select([columns], [columns.c.spectrum_pk]).bind(database).sql()
    return peewee.Expression(kind._meta.fields["spectrum_pk"], "IN", peewee.SQL(f"({sql})", values))


def rules_met(rule: Rule, result: PipelineOutputMixin | None) -> bool:
    """Tell whether a result meets a rule, its source's program aside."""
    if result is None or (rule.no_flags and getattr(result, "result_flags", 0)):
        return False
    return not any(bool(getattr(result, flag)) for flag in rule.unless)


def _candidates(rule: Rule, rank: int, order: Order, reductions: Reductions) -> peewee.SelectBase:
    model, kind = rule.model, rule.kind
    fields = model._meta.fields
    conditions: list[peewee.ColumnBase] = [
        fields["source_pk"].is_null(False),
        fields["v_astra_major_minor"] == installed_v_astra() // 1000,
    ]
    if rule.no_flags:
        conditions.append(fields["result_flags"] == 0)
    conditions += [peewee.fn.COALESCE(~getattr(model, flag), True) for flag in rule.unless]
    for name, wanted in reductions._asdict().items():
        if wanted and name in kind._meta.fields:
            conditions.append(kind._meta.fields[name].in_(list(wanted)))
    snr = peewee.fn.COALESCE(kind._meta.fields["snr"], -1).alias("snr")
    made = kind._meta.fields.get("v_astra", peewee.Value(0)).alias("made")
    query = model.select(fields["source_pk"], fields["spectrum_pk"], peewee.Value(rank).alias("rank"), snr, made)
    query = query.join(kind, on=kind._meta.fields["spectrum_pk"] == fields["spectrum_pk"])
    if rule.program is not None:
        bits = order.programs[rule.program].bits or ()
        query = query.switch(model).join(Source, on=Source.pk == fields["source_pk"])
        conditions.append(functools.reduce(operator.or_, [Source.has_target_bit(bit) for bit in bits]))
    return query.where(*conditions)
