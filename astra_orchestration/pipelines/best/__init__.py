"""MWMBest: one adopted result per source, copied from the pipeline that is preferred for a star of its kind.

The order of preference is configuration, see `order`; one query chooses for all sources, see `choosing`. Here the
chosen results become rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import peewee

from astra_models.analysis.task import task
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.base import database
from astra_models.best import MWMBest
from astra_models.bossnet import BossNet
from astra_models.configuration import expand_path
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_any_of
from astra_models.errors import ConfigurationError
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels.paths import product_root
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin

from .choosing import Reductions, is_chosen, rules_met
from .order import Order, Rule, read_order

__all__ = ["CARTONS_VARIABLE", "ORDER_VARIABLE", "SURVEY", "mwm_best"]

SURVEY = Path(__file__).parent / "survey.yaml"
"""The survey's order of preference."""

ORDER_VARIABLE = "ASTRA_BEST_ORDER"
"""Environment variable with the file of another order of preference."""

CARTONS_VARIABLE = "ASTRA_CARTONS"
"""Environment variable with the table of cartons, which says the bits of programs."""

CARTONS = "aux/targeting-bits/sdss5_target_1_with_groups.csv"
"""Where sdss/astra has the table of cartons, below $MWM_ASTRA."""

OF_RESULTS = (
    *MWMBest.parameters.names,
    *MWMBest.abundances.names,
    *MWMBest.white_dwarf.names,
    *MWMBest.m_dwarf.names,
    "rchi2",
)
"""Columns that are copied from the result, where its table has them; what isn't there is NULL."""

RENAMED: Mapping[str, Mapping[str, str]] = {
    "boss_net": {"boss_net_v_rad": "bn_v_r", "boss_net_e_v_rad": "e_bn_v_r"},
    "slam": {"alpha_m_atm": "alpha_fe", "e_alpha_m_atm": "e_alpha_fe"},
}
"""Columns that have another name in a table of results."""

AT_ONCE = 500
"""Spectra whose sources' programs are asked for together."""


def find_cartons(given: object) -> Path | None:
    """Give the table of cartons: the one that is named, or sdss/astra's if it is there."""
    if isinstance(given, Path):
        return given
    try:
        path = Path(expand_path(os.path.join(product_root("astra"), CARTONS)))
    except ConfigurationError:
        return None
    return path if path.is_file() else None


def chosen_spectra(spectrum: type[SpectrumMixin], values: Mapping[str, object]) -> peewee.ColumnBase:
    """Those that a source's adopted result is of, by the order of preference."""
    return is_chosen(spectrum, _order(values), _reductions(values))


def without_programs(values: Mapping[str, object]) -> list[str]:
    """Warn of rules that adopt nothing because their programs aren't known."""
    unknown = _order(values).unknown_programs
    if not unknown:
        return []
    names = ", ".join(unknown)
    remedy = f"name the table of cartons with --cartons or {CARTONS_VARIABLE}"
    return [f"the targeting bits of the programs {names} aren't known, so rules with them adopt nothing: {remedy}"]


@task(
    environment={"order": ORDER_VARIABLE, "cartons": CARTONS_VARIABLE},
    resolve={"cartons": find_cartons},
    where=chosen_spectra,
    warnings=without_programs,
)
def mwm_best(
    spectra: Iterable[
        tuple[
            ApogeeCoaddedSpectrumInApStar | BossCombinedSpectrum,
            ASPCAP | None,
            ApogeeNet | None,
            AstroNN | None,
            BossNet | None,
            MDwarfType | None,
            Slam | None,
            SnowWhite | None,
        ]
    ],
    order: Path = SURVEY,
    cartons: Path | None = None,
    apred: list[str] = [],  # noqa: B006  (never changed; the command line shows it)
    run2d: list[str] = [],  # noqa: B006
) -> Iterable[MWMBest]:
    """Adopt a result for each source, by an order of preference.

    The first rule of the order that one of a source's spectra meets says which result is copied. A source has one row
    per version: another choice takes the place of the one before.

    Parameters
    ----------
    spectra : iterable of ApogeeCoaddedSpectrumInApStar or BossCombinedSpectrum, each with its results
        The co-adds that results are adopted of.
    order : Path, optional
        The order of preference; by default the survey's.
    cartons : Path, optional
        A CSV table with the columns ``bit`` and ``program``; by default sdss/astra's below $MWM_ASTRA, if it is there.
    apred : list of str, optional
        Reductions of APOGEE that count; all by default.
    run2d : list of str, optional
        Reductions of BOSS that count; all by default.

    Yields
    ------
    MWMBest
        One row per source; ``pipeline`` says where its values are from.
    """
    rules = _order({"order": order, "cartons": cartons})
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    source = iter(spectra)
    while some := list(islice(source, AT_ONCE)):
        programs = _programs_of(rules, [spectrum.source_pk for spectrum, *_ in some])
        for spectrum, *results in some:
            found = {one._meta.table_name: one for one in results if one is not None}
            rule = _rule_of(rules, spectrum, found, programs.get(spectrum.source_pk, frozenset()))
            if rule is not None:
                yield MWMBest.from_spectrum(spectrum, **copied(spectrum, found[rule.pipeline]))


def _order(values: Mapping[str, object]) -> Order:
    path, cartons = values["order"], values.get("cartons")
    assert isinstance(path, Path)
    return read_order(path).with_cartons(cartons if isinstance(cartons, Path) else None)


def _reductions(values: Mapping[str, Any]) -> Reductions:
    return Reductions(tuple(values["apred"]), tuple(values["run2d"]))


def _rule_of(
    order: Order, spectrum: SpectrumMixin, results: Mapping[str, PipelineOutputMixin], programs: frozenset[str]
) -> Rule | None:
    """Find the first rule that a spectrum and its results meet."""
    for rule in order.order:
        is_meant = rule.kind is type(spectrum) and (rule.program is None or rule.program in programs)
        if is_meant and rules_met(rule, results.get(rule.pipeline)):
            return rule
    return None


def _programs_of(order: Order, source_pks: Sequence[int]) -> dict[int, frozenset[str]]:
    """Say which of the order's programs sources were targeted by."""
    known = {name: program.bits for name, program in order.programs.items() if program.bits}
    if not known:
        return {}
    query = Source.select(Source.pk, Source.sdss5_target_flags).where(is_any_of(Source.pk, source_pks))
    sources = run_transaction(database, lambda: list(query))
    return {
        source.pk: frozenset(name for name, bits in known.items() if any(source.has_target_bit(bit) for bit in bits))
        for source in sources
    }


def copied(spectrum: SpectrumMixin, result: PipelineOutputMixin) -> dict[str, object]:
    """Give the columns of an adopted result: those of the spectrum, and those of the result, by their names."""
    table = result._meta.table_name
    own = set(OF_RESULTS) | {"boss_net_v_rad", "boss_net_e_v_rad", "pipeline_flags", "pipeline"}
    columns = {
        name: getattr(spectrum, name)
        for name in MWMBest._meta.fields
        if name not in MWMBest.record_columns and name not in own and name in spectrum._meta.fields
    }
    columns |= {name: getattr(result, name) for name in OF_RESULTS if name in result._meta.fields}
    columns |= {name: getattr(result, other) for name, other in RENAMED.get(table, {}).items()}
    return columns | {"pipeline": table, "pipeline_flags": getattr(result, "result_flags", 0)}
