"""Families of columns: what they put on a model is what would have been typed out."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import peewee
import pytest

import astra_models
from astra_models.aspcap import ABUNDANCES, ASPCAP
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.families import Family, floats, like
from astra_models.errors import FamilyError
from astra_models.fields import BitField, FloatField, LogLambdaArrayAccessor, PixelArray, TextField
from astra_models.line_forest import LineForest
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels import pixel_arrays
from astra_models.the_payne import LABELS, ThePayne

ELEMENTS = ("al_h", "c_h")


def flagged(name: str) -> dict[str, Any]:
    columns = floats(name, f"e_{name}")
    columns[f"{name}_flags"] = flags = BitField()
    return columns | {f"flag_{name}_bad": flags.flag(2**0, "Bad"), f"flag_{name}_warn": flags.flag(2**3, "Doubtful")}


def expanded() -> Any:
    class Pipeline(PipelineOutputMixin):
        __qualname__ = "Pipeline"
        teff = FloatField(null=True)
        abundances = Family(flagged(name) for name in ELEMENTS)
        tail = TextField(null=True, help_text="Last")

    return Pipeline


def typed_out() -> Any:
    class Pipeline(PipelineOutputMixin):
        __qualname__ = "Pipeline"
        teff = FloatField(null=True)
        al_h = FloatField(null=True)
        e_al_h = FloatField(null=True)
        al_h_flags = BitField()
        flag_al_h_bad = al_h_flags.flag(2**0, "Bad")
        flag_al_h_warn = al_h_flags.flag(2**3, "Doubtful")
        c_h = FloatField(null=True)
        e_c_h = FloatField(null=True)
        c_h_flags = BitField()
        flag_c_h_bad = c_h_flags.flag(2**0, "Bad")
        flag_c_h_warn = c_h_flags.flag(2**3, "Doubtful")
        tail = TextField(null=True, help_text="Last")

    return Pipeline


def described(model: Any) -> list[tuple[Any, ...]]:
    return [
        (field.name, type(field), field.null, field.default, field.unit, field.help_text, flags_of(field))
        for field in model._meta.sorted_fields
    ]


def flags_of(field: Any) -> list[tuple[str, int, str]]:
    return [(name, flag.value, flag.help_text) for name, flag in getattr(field, "flags", {}).items()]


def test_a_family_is_as_if_it_had_been_typed_out() -> None:
    assert described(expanded()) == described(typed_out())


def test_the_tables_are_the_same(database: peewee.Database) -> None:
    one, other = ([query.query() for query in [model._schema._create_table()]] for model in (expanded(), typed_out()))
    assert one == other


def test_its_columns_and_flags_are_used_like_any(spectrum: BossVisitSpectrum) -> None:
    model = expanded()
    model.create_table()
    model.from_spectrum(spectrum, al_h=-0.5, flag_c_h_warn=True).save()
    assert [row.al_h for row in model.select().where(model.flag_c_h_warn & (model.al_h < 0))] == [-0.5]
    assert model.select().where(model.flag_al_h_warn).count() == 0
    assert (model.get().c_h_flags, model.get().flag_c_h_bad) == (8, False)


def test_it_is_inherited() -> None:
    class Derived(expanded()):
        more = Family([floats("o_h")])

    assert [field.name for field in Derived._meta.sorted_fields][-5:] == ["c_h", "e_c_h", "c_h_flags", "tail", "o_h"]
    row = Derived(flag_al_h_warn=True)
    assert (row.al_h_flags, row.c_h_flags) == (8, 0)


def test_it_may_hold_pixel_arrays() -> None:
    def grid(name: str) -> dict[str, Any]:
        options = {"crval": 4.0, "cdelt": 1e-4, "naxis": 3}
        return {name: PixelArray(accessor_class=LogLambdaArrayAccessor, accessor_kwargs=options, unit="Angstrom")}

    class Spectra(BossVisitSpectrum):
        grids = Family(grid(name) for name in ("one", "two"))

    assert {"one", "two", "flux"} <= pixel_arrays(Spectra).keys()
    assert Spectra().one[0] == Spectra().two[0] == 10_000


def test_it_knows_its_names() -> None:
    assert expanded().abundances.names[:3] == ("al_h", "e_al_h", "al_h_flags")
    assert len(ThePayne.correlations.names) == 300
    assert ASPCAP.parameters.names[:2] == ("teff", "e_teff")


def test_a_name_that_the_model_has_already_is_an_error() -> None:
    with pytest.raises((FamilyError, RuntimeError)) as caught:

        class Pipeline(PipelineOutputMixin):
            al_h = FloatField(null=True)
            abundances = Family(flagged(name) for name in ELEMENTS)

    error = caught.value.__cause__ or caught.value  # Python 3.11 wraps it
    assert str(error) == "Pipeline.al_h is declared twice, once by the family 'abundances'"


def test_a_name_twice_in_families_is_an_error() -> None:
    with pytest.raises((FamilyError, RuntimeError)):

        class Pipeline(PipelineOutputMixin):
            abundances = Family(floats("al_h") for _ in range(2))


def test_floats_take_what_a_column_takes() -> None:
    columns = floats("one", "two", unit="K", help_text="A temperature")
    assert [(name, c.null, c.unit, c.help_text) for name, c in columns.items()] == [
        ("one", True, "K", "A temperature"),
        ("two", True, "K", "A temperature"),
    ]


# ---- columns of another model


def test_columns_like_anothers_are_their_own() -> None:
    class Pipeline(PipelineOutputMixin):
        before = FloatField(null=True, unit="")
        copied = Family([like(BossCombinedSpectrum, "zwarning_flags", "snr")])
        after = FloatField(null=True, unit="")

    names = [field.name for field in Pipeline._meta.sorted_fields]
    assert names[names.index("zwarning_flags") :] == ["zwarning_flags", "snr", "after"]
    ours, theirs = (model._meta.fields["zwarning_flags"] for model in (Pipeline, BossCombinedSpectrum))
    assert flags_of(ours) == flags_of(theirs)
    assert ours is not theirs
    assert (ours.model, theirs.model) == (Pipeline, BossCombinedSpectrum)
    assert Pipeline(flag_no_data=True).zwarning_flags == 2**9


# ---- what is declared by families


def test_columns_of_the_payne_are_all_pairs_in_order() -> None:
    names = [field.name for field in ThePayne._meta.sorted_fields]
    pairs = [f"rho_{one}_{other}" for one, other in combinations(LABELS, 2)]
    assert [name for name in names if name.startswith("rho_")] == pairs
    assert len(names) == 394


def test_no_column_of_a_family_is_typed_out() -> None:
    source = Path(sys.modules[ASPCAP.__module__].__file__ or "").read_text()
    assert len(source.splitlines()) < 250
    assert "raw_e_al_h" not in source
    assert len(ASPCAP._meta.fields) == 216
    assert len(ABUNDANCES) == 22


def test_a_family_hides_no_method_of_a_model() -> None:
    for model in BaseModel.concrete_models():
        for name, value in vars(model).items():
            if isinstance(value, Family):
                assert not hasattr(PipelineOutputMixin, name), f"{model.__name__}.{name}"
    assert isinstance(vars(LineForest)["lines"], Family)


# ---- all of them known


def test_importing_the_outputs_makes_every_table_known(tmp_path: Path) -> None:
    program = (
        "import importlib, pkgutil, astra_models, astra_models.outputs\n"
        "from astra_models.base import BaseModel\n"
        "known = {model.__name__ for model in BaseModel.concrete_models()}\n"
        "for module in pkgutil.iter_modules(astra_models.__path__, 'astra_models.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(sorted({model.__name__ for model in BaseModel.concrete_models()} - known))\n"
        "from astra_models import outputs\n"
        "from astra_models.pipeline import PipelineOutputMixin\n"
        "known = {model.__name__ for model in outputs.output_models()}\n"
        "print(sorted({model.__name__ for model in PipelineOutputMixin.concrete_models()} - known))\n"
    )
    root = str(Path(astra_models.__file__).parents[1])
    environment = {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"), "PYTHONPATH": root, "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert run.stdout.split("\n")[:2] == ["[]", "[]"]
