"""The columns of the survey's published files: each is placed, or listed here with the reason why it is not.

The tables of columns stand beside a checkout of developers (``../shared/reference/public_files``).
"""

import csv
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.fits.columns import FitsColumn
from astra_models.ingest.tables.placing import Placement, place
from astra_models.ingest.tables.recognise import SpectrumFileError, kind_of_file, layout_of
from astra_models.ingest.tables.renames import NO_COLUMN
from astra_models.ingest.tables.row_kinds import RowKind
from astra_models.ingest.tables.units import match_units
from astra_models.ingest.tables.values import Converter, Rules
from astra_models.mwm import BossCombinedSpectrum

FOLDER = Path(__file__).parents[2].parent / "shared" / "reference" / "public_files"
CODES = {"int64": "K", "int32": "J", "float32": "E", "bool": "L", "char": "A"}
OF_ONE_STAR = ("astraStar", "astraVisit", "mwmStar", "mwmVisit")

# What has no place, by product; the same in both tables of a file.
ABUNDANCES = (
    *("al_h", "c_12_13", "ca_h", "ce_h", "c_1_h", "c_h", "co_h", "cr_h", "cu_h", "fe_h", "k_h", "mg_h", "mn_h"),
    *("na_h", "nd_h", "ni_h", "n_h", "o_h", "p_h", "si_h", "s_h", "ti_h", "ti_2_h", "v_h"),
)
DERIVED = {"flag_warn", "flag_bad"}
UNPLACED: dict[str, set[str]] = {
    "astraAllStarASPCAP": DERIVED
    | {f"{name}_task_pk" for name in ABUNDANCES}
    | {"stellar_parameters_task_pk", "ferre_time_elapsed"}
    | {f"{begin}{name}" for name in ("c_1_h", "ti_2_h") for begin in ("", "e_", "raw_", "raw_e_")}
    | {f"{name}{end}" for name in ("c_1_h", "ti_2_h") for end in ("_flags", "_rchi2")},
    "astraAllStarAstroNNdist": DERIVED
    | {"L_fakemag_model_err", "nn_dist_model_err", "nn_parallax", "nn_parallax_err", "nn_parallax_model_err"}
    | {"gdr3_parallax_w_zp", "gdr3_parallax_err", "gdr3_zeropoint"}
    | {"weighted_parallax", "weighted_parallax_err", "weighted_dist", "weighted_dist_err"},
    "astraMWMLite": {"task_pk"},
    "astraAllStarMDwarfType": {"flag_bad"},
    "astraAllVisitMDwarfType": {"flag_bad"},
    **{f"astraAll{level}Corv": set() for level in ("Star", "Visit")},
    **{f"astraAll{level}LineForest": set() for level in ("Star", "Visit")},
    **{f"astraAll{level}SnowWhite": set() for level in ("Star", "Visit")},
    "astraAllStarTheCannon": set(),
    "mwmAllStar": set(),
    "mwmAllVisit": set(),
    "mwmTargets": set(),
}


def products() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("[am]*.csv"))


def tables_of(product: str) -> dict[str, list[FitsColumn]]:
    tables: dict[str, list[FitsColumn]] = {}
    with (FOLDER / f"{product}.csv").open() as file:
        for row in csv.DictReader(file):
            if not row["type"]:
                continue  # the line of an HDU without columns
            columns = tables.setdefault(row["hdu"], [])
            columns.append(_column(len(columns) + 1, row))
    return tables


def names_of(tables: dict[str, list[FitsColumn]]) -> list[list[str]]:
    return [[column.name for column in columns] for columns in tables.values()]


def _column(number: int, row: dict[str, str]) -> FitsColumn:
    name, length = re.fullmatch(r"(\w+?)(?:\[(\d+)\])?", row["type"]).groups()  # type: ignore[union-attr]
    code = "B" if row["column"] == "sdss5_target_flags" else CODES[name]
    repeat = int(length or 1)
    return FitsColumn(row["column"], code, repeat, number, unit=row["unit"] or None)


def refused(placed: list[Placement]) -> Iterator[tuple[str, str]]:
    for placement in placed:
        field = placement.model._meta.fields[placement.name]
        match = match_units(placement.column.name, placement.column.unit, field.unit)
        reason = Converter(field, Rules()).refuses(placement.column)
        if match != (1.0, None) or reason:
            yield placement.column.name, match.note or reason or ""


pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/reference doesn't stand beside this checkout")


@pytest.mark.parametrize("product", products())
def test_every_column_of_a_published_file_is_placed_or_listed(product: str) -> None:
    tables = tables_of(product)
    names = names_of(tables)
    if product.startswith(OF_ONE_STAR):
        with pytest.raises(SpectrumFileError):
            kind_of_file(names, None)
        return
    kind, model = kind_of_file(names, None) or ("", None)
    assert kind == product
    assert kind_of_file(names, model and model.__name__) == (kind, model)
    for columns in tables.values():
        kind_of_rows = RowKind(is_in_star="drp_spectrum_pk" in {column.name for column in columns})
        placed, unplaced = place(columns, layout_of([column.name for column in columns], model, kind_of_rows))
        without_width = {column.name for column in columns if column.repeat == 0}
        assert {name for name, _ in unplaced} - without_width == UNPLACED.get(product, DERIVED)
        assert NO_COLUMN not in {why for _, why in unplaced}
        assert list(refused(placed)) == []
        assert len({(entry.model, entry.name) for entry in placed}) == len(placed)


@pytest.mark.parametrize("product", [name for name in products() if fnmatchcase(name, "*All*")])
def test_rows_of_published_files_have_the_keys_that_find_them_again(product: str) -> None:
    tables = tables_of(product)
    names = names_of(tables)
    _, model = kind_of_file(names, None) or ("", None)
    for columns in tables.values():
        kind_of_rows = RowKind(is_in_star="drp_spectrum_pk" in {column.name for column in columns})
        layout = layout_of([column.name for column in columns], model, kind_of_rows)
        placed, _ = place(columns, layout)
        by_model = {model: {entry.name for entry in placed if entry.model is model} for model in layout.models}
        # The release before 0.8 didn't publish that Astra's own spectra are of a version; the file is of one.
        assert set(layout.spectrum.natural_key) - by_model[layout.spectrum] <= {"v_astra"}
        for table in layout.models[1:]:
            assert {"spectrum_pk", "source_pk"} <= by_model[table]


def test_which_spectra_the_tables_are_of() -> None:
    found = {}
    for product in ("mwmAllStar", "mwmAllVisit", "astraAllVisitThePayne"):
        tables = tables_of(product)
        _, model = kind_of_file([[column.name for column in columns] for columns in tables.values()], None) or (
            "",
            None,
        )
        for hdu, columns in tables.items():
            names = [column.name for column in columns]
            kind = RowKind(is_in_star="drp_spectrum_pk" in names)
            found[product, hdu] = layout_of(names, model, kind).spectrum
    assert found["mwmAllStar", "hdu1"] is BossCombinedSpectrum
    assert found["mwmAllStar", "hdu2"] is ApogeeCoaddedSpectrumInApStar
    assert found["mwmAllVisit", "hdu1"] is BossVisitSpectrum
    assert found["astraAllVisitThePayne", "hdu2"] is ApogeeVisitSpectrumInApStar
