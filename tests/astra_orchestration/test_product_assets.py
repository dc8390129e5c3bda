"""Summary products as assets."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.database_identity import database_id
from astra_models.products.summary import products
from astra_models.rocket import Rocket
from astra_models.upsert import upsert
from astra_orchestration.assets.declared import declared_assets
from astra_orchestration.assets.products import FOLDER_VARIABLE, product_assets
from astra_orchestration.automation.product_sensor import product_sensor
from astra_orchestration.definitions import defs, made
from astra_orchestration.resources import DatabaseResource
from tests.fits_readers import opened


def asset_named(name: str) -> dg.AssetsDefinition:
    assets = product_assets([*made, *declared_assets(made)])
    return next(asset for asset in assets if asset.key == dg.AssetKey(name))


def materialize(name: str, target: dict[str, Any], folder: Path | None) -> dg.ExecuteInProcessResult:
    config = {"ops": {name: {"config": {"folder": "" if folder is None else str(folder)}}}}
    return dg.materialize(
        [asset_named(name)], resources={"database": DatabaseResource(target=target)}, run_config=config
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.get_asset_materialization_events()
    return {name: entry.value for name, entry in event.materialization.metadata.items()}


@pytest.fixture
def results(database: peewee.Database, make_spectra: Any) -> None:
    """Store results of two visits."""
    spectra = make_spectra(2)
    upsert(Rocket, [{"spectrum_pk": s.spectrum_pk, "source_pk": s.source_pk, "v_astra": 9001} for s in spectra])


def test_a_materialization_writes_the_file(results: None, target: dict[str, Any], tmp_path: Path) -> None:
    result = materialize("astraAllVisitRocket", target, tmp_path)
    path = tmp_path / "astraAllVisitRocket-0.9.1.fits.gz"
    found = metadata_of(result)
    assert {name: value for name, value in found.items() if not name.startswith("dagster/column_")} == {
        "path": str(path),
        "dagster/row_count": 2,
        "BOSS rows": 2,
        "APOGEE rows": 0,
        "megabytes": round(path.stat().st_size / 1e6, 3),
        "bytes": path.stat().st_size,
        "version": "0.9.1",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "results of other spectra": 0,
        "database id": database_id(),
    }
    with opened(path) as hdus:
        assert hdus[0].header["RUN_ID"] == result.run_id
    assert materialize("astraAllVisitRocket", target, tmp_path).success  # which replaces it


def test_a_materialization_says_from_which_columns_those_of_the_file_are(
    results: None, target: dict[str, Any], tmp_path: Path
) -> None:
    found = metadata_of(materialize("astraAllVisitRocket", target, tmp_path))
    schema, lineage = found["dagster/column_schema"], found["dagster/column_lineage"].deps_by_column

    def origins(column: str) -> set[tuple[str, str]]:
        return {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage[column]}

    assert origins("teff") == {("rocket", "teff")}
    assert origins("result_flags") == {("rocket", "result_flags")}
    assert ("source", "ra") in origins("ra")
    assert origins("fieldid") == {("boss_visit_spectrum", "fieldid")}
    assert ("boss_visit_spectrum", "snr") in origins("snr")
    with opened(tmp_path / "astraAllVisitRocket-0.9.1.fits.gz") as hdus:
        written = {name for hdu in hdus[1:] for name in hdu.columns.names}
    assert {column.name for column in schema.columns} == written
    assert lineage.keys() <= written
    assert {column.name: column.tags for column in schema.columns}["teff"] == {"unit": "K"}
    assert len(dg.serialize_value(found["dagster/column_lineage"])) < 60_000


def test_the_folder_may_be_in_the_environment(
    results: None, target: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "there"))
    materialize("mwmTargets", target, None)
    assert [path.name.split("-")[0] for path in (tmp_path / "there").iterdir()] == ["mwmTargets"]


def test_nothing_is_written_where_there_are_no_rows(results: None, target: dict[str, Any], tmp_path: Path) -> None:
    found = metadata_of(materialize("astraAllStarRocket", target, tmp_path))
    assert found["dagster/row_count"] == 0
    assert "there are no rows for astraAllStarRocket" in found["why there is no file"]
    assert list(tmp_path.iterdir()) == []


def test_every_product_is_an_asset_that_follows_its_pipeline() -> None:
    graph = defs.resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    for name in products():
        assert nodes[name].group_name == "products"
        assert nodes[name].parent_keys
        assert nodes[name].automation_condition is not None
    assert nodes["astraAllStarASPCAP"].parent_keys == {dg.AssetKey("aspcap")}
    assert nodes["astraAllVisitCorv"].parent_keys == {dg.AssetKey("corv")}
    assert dg.AssetKey("boss_visit_spectrum") in nodes["mwmAllVisit"].parent_keys
    assert nodes["mwmTargets"].parent_keys == {dg.AssetKey("source")}


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own, of its tester
def test_a_product_is_asked_for_when_its_pipeline_has_run(
    results: None, target: dict[str, Any], tmp_path: Path
) -> None:
    product = asset_named("astraAllVisitRocket")

    @dg.asset(key="rocket")
    def rocket() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        definitions = dg.Definitions(assets=[rocket, product], resources={"database": DatabaseResource(target=target)})
        first = dg.evaluate_automation_conditions(defs=definitions, instance=instance)
        assert first.get_num_requested(product.key) == 0
        dg.materialize([rocket], instance=instance)
        after = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=first.cursor)
        assert after.get_num_requested(product.key) == 1


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own, of its tester
def test_a_product_of_all_spectra_does_not_wait_for_kinds_that_there_are_none_of(
    results: None, target: dict[str, Any]
) -> None:
    product = asset_named("mwmAllVisit")
    keys = {key.to_user_string() for key in product.dependency_keys}
    tables = [dg.AssetSpec(key) for key in keys - {"source", "boss_visit_spectrum"}]

    @dg.multi_asset(specs=[dg.AssetSpec("source"), dg.AssetSpec("boss_visit_spectrum")])
    def catalogue() -> Iterator[dg.MaterializeResult]:
        yield from (dg.MaterializeResult(asset_key=key) for key in ("source", "boss_visit_spectrum"))

    with dg.DagsterInstance.ephemeral() as instance:
        definitions = dg.Definitions(
            assets=[catalogue, *tables, product], resources={"database": DatabaseResource(target=target)}
        )
        first = dg.evaluate_automation_conditions(defs=definitions, instance=instance)
        assert first.get_num_requested(product.key) == 0
        dg.materialize([catalogue], instance=instance)
        after = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=first.cursor)
        assert after.get_num_requested(product.key) == 1


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own, of its tester
@pytest.mark.parametrize(("passes", "requested"), [(True, 1), (False, 0)])
def test_a_product_waits_for_the_blocking_checks_of_its_pipeline(
    results: None, target: dict[str, Any], passes: bool, requested: int
) -> None:
    product = asset_named("astraAllVisitRocket")

    @dg.asset(key="rocket")
    def rocket() -> None: ...

    @dg.asset_check(asset=rocket, blocking=True)
    def values_are_possible() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes)

    with dg.DagsterInstance.ephemeral() as instance:
        definitions = dg.Definitions(
            assets=[rocket, product],
            asset_checks=[values_are_possible],
            resources={"database": DatabaseResource(target=target)},
        )
        first = dg.evaluate_automation_conditions(defs=definitions, instance=instance)
        dg.materialize([rocket, values_are_possible], instance=instance, raise_on_error=False)
        after = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=first.cursor)
        assert after.get_num_requested(product.key) == requested


def test_products_are_written_without_anything_being_switched_on() -> None:
    assert product_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    keys = product_sensor.asset_selection.resolve(defs.resolve_asset_graph())
    assert keys == {dg.AssetKey(name) for name in products()}
