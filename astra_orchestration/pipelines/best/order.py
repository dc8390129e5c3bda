"""The order of preference, as configuration: rules, of which the first that a source meets counts.

A rule names a table of results, a kind of spectra, and what has to hold. Programs are known by the targeting bits of
their cartons: those in the file itself, or those of the survey's table of cartons.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.bossnet import BossNet
from astra_models.configuration_file import read_yaml
from astra_models.errors import AstraError, ConfigurationError, did_you_mean
from astra_models.fits import door
from astra_models.mdwarftype import MDwarfType
from astra_models.messages import one_line
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.spectrum import SpectrumMixin

__all__ = ["BestError", "Order", "Rule", "read_order"]

RESULTS: Mapping[str, type[PipelineOutputMixin]] = {
    model._meta.table_name: model for model in (ASPCAP, ApogeeNet, AstroNN, BossNet, MDwarfType, Slam, SnowWhite)
}
"""Tables that a result can be adopted from."""

KINDS: Mapping[str, type[SpectrumMixin]] = {
    model._meta.table_name: model for model in (BossCombinedSpectrum, ApogeeCoaddedSpectrumInApStar)
}
"""Kinds of spectra that an adopted result can be of."""

PLUGINS_VARIABLE = "PYDANTIC_DISABLE_PLUGINS"
LARGEST = 50_000_000
"""Bytes of a table of cartons; the survey's has some hundred kB."""


class BestError(AstraError, ValueError):
    """An order of preference, or a table of cartons, that can't be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Program(_Part):
    """The cartons of a program, by their bits in ``sdss5_target_flags``; None if the table of cartons says them."""

    bits: tuple[int, ...] | None = None


class Rule(_Part):
    """A rule: results of one table, of one kind of spectra, that meet some conditions.

    Parameters
    ----------
    pipeline : str
        The table of results.
    spectra : str
        The table of spectra.
    program : str, optional
        Only sources of this program.
    no_flags : bool, optional
        Only results without any flag.
    unless : tuple of str, optional
        Flags, or properties such as ``flag_bad``, of which none may be true.
    """

    pipeline: str
    spectra: str
    program: str | None = None
    no_flags: bool = False
    unless: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        for name, known in ((self.pipeline, RESULTS), (self.spectra, KINDS)):
            if name not in known:
                raise ValueError(f"{name!r} is no table that can stand here; {did_you_mean(name, known)}")
        model = RESULTS[self.pipeline]
        for flag in self.unless:
            if not flag.startswith("flag_") or not hasattr(model, flag):
                known = [name for name in dir(model) if name.startswith("flag_")]
                raise ValueError(f"{self.pipeline} has no flag {flag!r}; {did_you_mean(flag, known)}")
        return self

    @property
    def model(self) -> type[PipelineOutputMixin]:
        """The table of results."""
        return RESULTS[self.pipeline]

    @property
    def kind(self) -> type[SpectrumMixin]:
        """The kind of spectra."""
        return KINDS[self.spectra]


class Order(_Part):
    """Rules, the most preferred first.

    Parameters
    ----------
    order : tuple of Rule
        The rules.
    programs : mapping of str to Program
        The programs that rules name.
    """

    order: tuple[Rule, ...] = Field(min_length=1)
    programs: Mapping[str, Program] = {}

    @model_validator(mode="after")
    def _has_its_programs(self) -> Self:
        for rule in self.order:
            if rule.program is not None and rule.program not in self.programs:
                hint = did_you_mean(rule.program, self.programs)
                raise ValueError(f"the program {rule.program!r} isn't under `programs`; {hint}")
        return self

    @property
    def unknown_programs(self) -> tuple[str, ...]:
        """Programs of rules whose bits aren't known: these rules adopt nothing."""
        named = dict.fromkeys(rule.program for rule in self.order if rule.program is not None)
        return tuple(name for name in named if self.programs[name].bits is None)

    def with_cartons(self, cartons: Path | None) -> Order:
        """Give the same order, with the bits of programs that a table of cartons has.

        Raises
        ------
        BestError
            If the table can't be read, or has no cartons of a program.
        """
        if cartons is None or not self.unknown_programs:
            return self
        bits = _bits_by_program(cartons)
        found = dict(self.programs)
        for name in self.unknown_programs:
            if name not in bits:
                raise BestError(f"{str(cartons)!r} has no carton of the program {name!r}; {did_you_mean(name, bits)}")
            found[name] = Program(bits=tuple(sorted(bits[name])))
        return Order(order=self.order, programs=found)


def read_order(path: Path) -> Order:
    """Read an order of preference.

    Parameters
    ----------
    path : Path
        A YAML file with ``order``, a list of rules, and ``programs``.

    Raises
    ------
    BestError
        If it can't be read, or a rule can't be used.
    """
    try:
        content = read_yaml(path)
        with _without_plugins():
            Order.model_rebuild()
        return Order.model_validate(content)
    except ConfigurationError as error:
        raise BestError(f"no order of preference can be read from {str(path)!r}: {error}") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        why = one_line(error.errors()[0]["msg"].removeprefix("Value error, "))
        raise BestError(f"{str(path)!r}, {where or 'as a whole'}: {why}") from error


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Have pydantic look for no plugins: it would read what every installed package says of itself."""
    before = os.environ.get(PLUGINS_VARIABLE)
    os.environ[PLUGINS_VARIABLE] = "__all__"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PLUGINS_VARIABLE]
        else:
            os.environ[PLUGINS_VARIABLE] = before


def _bits_by_program(path: Path) -> dict[str, set[int]]:
    """Read the table of cartons: CSV with the columns ``bit`` and ``program``."""
    try:
        with door.refusing(), door.open_file(str(path)) as file:
            content = file.read(LARGEST).decode("utf-8")
    except AstraError as error:
        raise BestError(f"the table of cartons {str(path)!r} can't be read: {error}") from error
    rows = csv.DictReader(content.splitlines())
    if missing := {"bit", "program"} - set(rows.fieldnames or ()):
        raise BestError(f"the table of cartons {str(path)!r} has no column {' and no '.join(sorted(missing))}")
    return _collected(path, rows)


def _collected(path: Path, rows: Iterable[Mapping[str, str]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            found.setdefault(row["program"], set()).add(int(row["bit"]))
        except (TypeError, ValueError) as error:
            raise BestError(f"{str(path)!r}, line {number}: the bit {row['bit']!r} is no whole number") from error
    return found
