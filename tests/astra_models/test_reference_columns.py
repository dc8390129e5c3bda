"""Our columns and flags against the reference tables of the survey, which stand beside a checkout of developers.

What differs is listed in ``docs/differences.md``, with its reason; the tests read it from there. Any other
difference fails, and so does a listed one that isn't there (any more).
"""

import csv
import fnmatch
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from astropy.units import Unit, UnitBase

from astra_models import fields
from astra_models.apogee import (
    ApogeeCoaddedSpectrumInApStar,
    ApogeeVisitSpectrum,
    ApogeeVisitSpectrumInApStar,
)
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.astronn_dist import AstroNNdist
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.clam import Clam
from astra_models.corv import Corv
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.line_forest import LineForest
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.nmf_rectify import NMFRectify
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels import pixel_arrays
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.the_cannon import TheCannon
from astra_models.the_payne import ThePayne

PROJECT = Path(__file__).parents[2]
REFERENCE = PROJECT.parent / "shared" / "reference"
DIFFERENCES = PROJECT / "docs" / "differences.md"
MODELS: dict[str, Any] = {
    "Source": Source,
    "Spectrum": Spectrum,
    "BossVisitSpectrum": BossVisitSpectrum,
    "BossCombinedSpectrum": BossCombinedSpectrum,
    "BossRestFrameVisitSpectrum": BossRestFrameVisitSpectrum,
    "ApogeeVisitSpectrum": ApogeeVisitSpectrum,
    "ApogeeVisitSpectrumInApStar": ApogeeVisitSpectrumInApStar,
    "ApogeeCoaddedSpectrumInApStar": ApogeeCoaddedSpectrumInApStar,
    "ApogeeCombinedSpectrum": ApogeeCombinedSpectrum,
    "ApogeeRestFrameVisitSpectrum": ApogeeRestFrameVisitSpectrum,
    "Corv": Corv,
    "ApogeeNet": ApogeeNet,
    "ASPCAP": ASPCAP,
    "FerreCoarse": FerreCoarse,
    "FerreStellarParameters": FerreStellarParameters,
    "FerreChemicalAbundances": FerreChemicalAbundances,
    "AstroNN": AstroNN,
    "AstroNNdist": AstroNNdist,
    "BossNet": BossNet,
    "Clam": Clam,
    "LineForest": LineForest,
    "MDwarfType": MDwarfType,
    "NMFRectify": NMFRectify,
    "Slam": Slam,
    "SnowWhite": SnowWhite,
    "MWMSpectrumProductStatus": MWMSpectrumProductStatus,
    "TheCannon": TheCannon,
    "ThePayne": ThePayne,
    "MWMBest": MWMBest,
    "PipelineOutputModel": PipelineOutputMixin,
}
KINDS = {  # the first that fits
    fields.AutoField: "auto",
    fields.BitField: "bitfield",
    fields.BigIntegerField: "bigint",
    fields.IntegerField: "int",
    fields.FloatField: "float",
    fields.DoubleField: "double",
    fields.TextField: "text",
    fields.BooleanField: "bool",
    fields.DateTimeField: "datetime",
    fields.FloatArrayField: "array<FloatField>",
    fields.BytesField: "bytes",
}
each_model = pytest.mark.parametrize("name", MODELS)


class Column(NamedTuple):
    """What both sides say of a column."""

    kind: str
    nullable: str
    default: str
    unit: str


class Difference(NamedTuple):
    """One thing of one column (or flag, or unique key) that is not the same."""

    model: str
    column: str
    what: str
    there: str
    here: str


@pytest.fixture(scope="module")
def reference() -> Path:
    """Give the folder of the reference tables."""
    if not (REFERENCE / "columns.csv").is_file():
        pytest.skip("the reference tables (../shared/reference) don't stand beside this checkout")
    return REFERENCE


# ---- what the documentation lists


def table(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading of the page, without their backticks."""
    section = DIFFERENCES.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [[cell.replace("`", "").strip() for cell in row.split(" | ")] for row in rows[2:]]


def listed_differences(model: str, columns: Iterable[str]) -> set[Difference]:
    found = set()
    for models, listed, what, there, here, _ in table("Columns and flags"):
        for name, pattern in product(models.split(", "), listed.split(", ") if what != "unique" else [listed]):
            if name == model:
                matching = fnmatch.filter(columns, pattern) if "*" in pattern else [pattern]
                found |= {Difference(model, column, what, there, here) for column in matching}
    return found


def spellings() -> dict[str, str]:
    """Give what is written here for each of their spellings; none is the unit of numbers without one."""
    rows = [(spelling, here) for listed, here in table("Units") for spelling in listed.split(", ")]
    return {there: "" if here == "none" else here for there, here in rows}


# ---- what there is


def their_columns(reference: Path, model: str) -> dict[str, Column]:
    with (reference / "columns.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == model]
    return {
        row["column_name"]: Column(
            row["kind"], {"1": "yes", "0": "no"}.get(row["nullable"], ""), row["default"].strip("'"), row["unit"]
        )
        for row in rows
    }


def our_columns(model: str) -> dict[str, Column]:
    columns = {}
    for field in MODELS[model]._meta.sorted_fields:
        default = "" if field.default is None else "computed" if callable(field.default) else str(field.default)
        if isinstance(field, fields.DateTimeField):
            default = ""
        columns[field.column_name] = Column(kind_of(field), "yes" if field.null else "no", default, field.unit or "")
    for name, array in pixel_arrays(MODELS[model]).items():
        columns[name] = Column("pixelarray", "", "", array.unit or "")
    return columns


def kind_of(field: Any) -> str:
    if isinstance(field, fields.ForeignKeyField):
        return f"fk->{field.rel_model.__name__}.{field.rel_field.name}"
    return next(kind for field_type, kind in KINDS.items() if isinstance(field, field_type))


def column_differences(model: str, theirs: dict[str, Column], ours: dict[str, Column]) -> Iterator[Difference]:
    for name in list(theirs):
        if name not in ours and name.removesuffix("_id") in ours:
            theirs[name.removesuffix("_id")] = theirs.pop(name)
            yield Difference(model, name.removesuffix("_id"), "name", name, name.removesuffix("_id"))
    for name in theirs.keys() | ours.keys():
        if name not in theirs or name not in ours:
            there, here = ("yes" if name in side else "none" for side in (theirs, ours))
            yield Difference(model, name, "column", there, here)
            continue
        for what, there, here in zip(Column._fields, theirs[name], ours[name], strict=True):
            if there != here and not (what == "unit" and is_same_unit(there, here)):
                yield Difference(model, name, what, there or "none", here or "none")


def is_same_unit(there: str, here: str) -> bool:
    """Tell whether two spellings mean the same; where there is none, any will do."""
    return not there or spellings().get(there) == here or unit_of(there) == Unit(here)


def unit_of(spelling: str) -> UnitBase | None:
    try:
        return Unit(spelling)
    except ValueError:
        return None


def their_flags(reference: Path, model: str) -> dict[str, dict[str, int]]:
    flags: dict[str, dict[str, int]] = {}
    with (reference / "flags.csv").open() as file:
        for row in csv.DictReader(file):
            if row["model"] == model:
                flags.setdefault(row["bitfield_column"], {})[row["flag_name"]] = int(row["bit"])
    return flags


def our_flags(model: str) -> dict[str, dict[str, int]]:
    bit_fields = [field for field in MODELS[model]._meta.sorted_fields if isinstance(field, fields.BitField)]
    return {
        field.name: {name: flag.value.bit_length() - 1 for name, flag in field.flags.items()}
        for field in bit_fields
        if field.flags
    }


def flag_differences(
    model: str, theirs: dict[str, dict[str, int]], ours: dict[str, dict[str, int]]
) -> Iterator[Difference]:
    for column in theirs.keys() | ours.keys():
        there, here = theirs.get(column, {}), ours.get(column, {})
        if not there or not here:
            yield Difference(model, column, "flags", str(len(there) or "none"), str(len(here) or "none"))
            continue
        for name in there.keys() | here.keys():
            if there.get(name) != here.get(name):
                yield Difference(model, name, "bit", str(there.get(name, "none")), str(here.get(name, "none")))


def their_unique_keys(reference: Path, model: str) -> set[str]:
    with (reference / "columns.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == model]
    keys = set()
    for row in rows:
        for part in row["index/unique"].split("; "):
            if part == "unique":
                keys.add(row["column_name"].removesuffix("_id") if row["kind"].startswith("fk") else row["column_name"])
            elif several := re.fullmatch(r"unique\((.*)\)", part):
                keys.add(several[1].replace(",", ", "))
    return keys


def our_unique_keys(model: str) -> set[str]:
    meta = MODELS[model]._meta
    keys = {field.name for field in meta.sorted_fields if field.unique}
    keys |= {", ".join(columns) for columns, unique in meta.indexes if unique}
    written = [constraint.sql for constraint in meta.constraints or ()]
    return keys | {sql.removeprefix("UNIQUE (").removesuffix(")") for sql in written if sql.startswith("UNIQUE")}


def unique_differences(model: str, theirs: set[str], ours: set[str]) -> Iterator[Difference]:
    for key in theirs ^ ours:
        there, here = ("unique" if key in side else "none" for side in (theirs, ours))
        yield Difference(model, key, "unique", there, here)


# ---- tests


@each_model
def test_columns_are_those_of_the_reference_but_for_the_listed_differences(reference: Path, name: str) -> None:
    found = set(column_differences(name, their_columns(reference, name), our_columns(name)))
    found |= set(flag_differences(name, their_flags(reference, name), our_flags(name)))
    found |= set(unique_differences(name, their_unique_keys(reference, name), our_unique_keys(name)))
    listed = listed_differences(name, their_columns(reference, name).keys() | our_columns(name).keys())
    assert sorted(found - listed) == [], "differ, and are not listed in docs/differences.md"
    assert sorted(listed - found) == [], "are listed in docs/differences.md, and don't differ"


def test_every_model_of_the_reference_is_compared(reference: Path) -> None:
    with (reference / "columns.csv").open() as file:
        tables = {row["model"]: row["table_name"] for row in csv.DictReader(file)}
    experimental = {name for name in tables if "MADGICS" in name}
    mixins = {name for name in tables if name.endswith("Mixin")}
    assert tables.keys() - experimental - mixins == MODELS.keys()
    ours = {name: model._meta.table_name for name, model in MODELS.items() if not model.abstract}
    assert ours == {name: tables[name] for name in ours}


def test_source_has_all_flags_of_the_reference(reference: Path) -> None:
    assert our_flags("Source") == their_flags(reference, "Source")
    assert sum(len(flags) for flags in our_flags("Source").values()) == 279


def test_every_listed_difference_is_of_a_model_and_has_a_reason() -> None:
    rows = table("Columns and flags")
    assert rows
    for row in rows:
        models, *_, why = row
        assert set(models.split(", ")) <= MODELS.keys(), row
        assert why, row


def test_only_spellings_that_astropy_does_not_read_are_replaced() -> None:
    assert spellings()
    for there, here in spellings().items():
        assert unit_of(here) is not None
        assert unit_of(there) != unit_of(here), there


def test_every_spelling_that_astropy_does_not_read_is_replaced(reference: Path) -> None:
    with (reference / "columns.csv").open() as file:
        theirs = {row["unit"] for row in csv.DictReader(file)} - {""}
    unreadable = {spelling for spelling in theirs if unit_of(spelling) is None}
    assert len(unreadable) == 36
    assert unreadable <= spellings().keys()
    assert spellings().keys() <= theirs
