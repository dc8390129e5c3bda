"""Checks of a pipeline's table: in the asset's own step, after its rows are stored."""

from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.resources import resources_for

Visits = Callable[..., list[BossVisitSpectrum]]
NAMES = ["coverage", "rejected", "distribution", "physical_range", "integrity", "freshness"]


@task
def suns(spectra: Iterable[BossVisitSpectrum], teff: float = 5772.0) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=teff, logg=4.4)


def launch(asset: dg.AssetsDefinition, target: Any, config: Any = None, **kwargs: Any) -> dg.ExecuteInProcessResult:
    run_config = {} if config is None else {"ops": {asset.key.to_python_identifier(): {"config": config}}}
    return dg.materialize([asset], resources=resources_for(target), run_config=run_config, **kwargs)


def checked(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_a_run_checks_its_table_after_the_rows_are_stored(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(5)

    found = checked(launch(pipeline_asset(suns), target))

    assert list(found) == NAMES
    assert {name: each.description for name, each in found.items() if not each.passed} == {}
    assert found["coverage"].metadata["done"].value == 5
