"""Tables that nothing here computes: they are in the asset graph, with what they are made from."""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any

import dagster as dg
import peewee
import pytest

import astra_models
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.outputs import MADE_FROM
from astra_models.pipeline import LatestMixin
from astra_models.slam import Slam
from astra_models.spectrum import SpectrumMixin
from astra_models.task import task
from astra_orchestration.assets.declared import declared_assets
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.definitions import defs, made
from astra_orchestration.resources import resources_for

OURS = ("corv", "rocket")


def models_with_assets() -> list[Any]:
    for module in pkgutil.iter_modules(astra_models.__path__, "astra_models."):
        importlib.import_module(module.name)
    own = [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]
    return [model for model in own if issubclass(model, LatestMixin | SpectrumMixin)]


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in declared_assets(made)}


@pytest.mark.parametrize("model", models_with_assets(), ids=lambda model: model.__name__)
def test_every_model_of_spectra_and_results_has_its_asset(model: Any) -> None:
    graph = defs.resolve_asset_graph()
    tables = {graph.get(key).metadata.get("dagster/table_name"): key for key in graph.get_all_asset_keys()}

    assert model._meta.table_name in tables, (
        f"{model.__name__} has no asset: write its pipeline, or say in astra_models/outputs/known_models.py what its "
        "results are made from"
    )
    schema = graph.get(tables[model._meta.table_name]).metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == [field.column_name for field in model._meta.sorted_fields]
    assert graph.get(tables[model._meta.table_name]).parent_keys or issubclass(model, SpectrumMixin)


def test_the_graph_has_no_asset_that_nothing_defines() -> None:
    graph = defs.resolve_asset_graph()
    undefined = [key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "default"]
    assert undefined == []


def test_what_is_computed_is_not_declared() -> None:
    assert not specs().keys() & {*OURS, "boss_visit_spectrum", "source"}
    assert all(not defs.resolve_asset_graph().get(spec.key).is_materializable for spec in specs().values())


def test_a_declared_asset_says_what_it_is() -> None:
    spec = specs()["apogee_net"]
    parents = {dep.asset_key.to_user_string() for dep in spec.deps}
    assert parents == {"apogee_coadded_spectrum_in_ap_star", "apogee_visit_spectrum_in_ap_star"}
    assert (spec.group_name, spec.kinds, spec.owners) == ("result_files", {"file", "table"}, ["team:astra"])
    assert "result files" in (spec.description or "")
    schema = spec.metadata["dagster/column_schema"]
    [teff] = [column for column in schema.columns if column.name == "teff"]
    assert (teff.type, teff.tags) == ("real", {"unit": "K"})


def test_a_table_that_a_pipeline_fills_besides_its_own_is_downstream_of_it() -> None:
    spec = specs()["ferre_chemical_abundances"]
    assert {"aspcap", "ferre_stellar_parameters"} < {dep.asset_key.to_user_string() for dep in spec.deps}
    assert "Filled by `aspcap`, with its own results." in (spec.description or "")


def test_a_pipeline_of_another_package_takes_the_place_of_the_declared_asset() -> None:
    @task
    def dwarf_labels(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Slam]:
        """Label M dwarfs."""
        for spectrum in spectra:
            yield Slam.from_spectrum(spectrum)

    computed = [*made, pipeline_asset(dwarf_labels)]
    declared = {spec.key.to_user_string(): spec for spec in declared_assets(computed)}

    assert "slam" in specs() and "slam" not in declared
    graph = dg.Definitions(assets=[*computed, *declared.values()], resources=resources_for()).resolve_asset_graph()
    assert graph.get(dg.AssetKey("dwarf_labels")).is_materializable


def test_the_results_of_a_declared_asset_can_be_taken_by_another(target: dict[str, Any], make_spectra: Any) -> None:
    [spectrum] = make_spectra(1)
    Slam.from_spectrum(spectrum, teff=3500).save()

    @dg.asset
    def count_of_cool(slam: peewee.ModelSelect) -> int:
        return slam.where(Slam.teff < 4000).count()

    result = dg.materialize(
        [*declared_assets(made), count_of_cool], resources=resources_for(target), selection=[count_of_cool]
    )
    assert result.output_for_node("count_of_cool") == 1


def test_nothing_is_declared_twice() -> None:
    assert len({model._meta.table_name for model in MADE_FROM}) == len(MADE_FROM)
    for model, sources in MADE_FROM.items():
        assert model not in sources
        assert len(set(sources)) == len(sources), model
