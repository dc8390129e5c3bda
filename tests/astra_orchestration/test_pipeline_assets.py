"""A pipeline as an asset: what Dagster is told of it, and what narrows its run."""

from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.mwm import BossCombinedSpectrum
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_orchestration.assets.pipelines import PipelineRunConfig, all_pipeline_assets, pipeline_asset
from astra_orchestration.resources import resources_for

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]


@task
def sun(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Find that every star is the Sun.

    It is quick.

    Yields
    ------
    Rocket
        ``teff`` in K.
    """
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5772)


@task
def picky(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        if spectrum.telescope == "lco25m":
            raise ValueError("not from the south")
        yield Rocket.from_spectrum(spectrum, teff=5772)


@task
def either(spectra: Iterable[BossVisitSpectrum | BossCombinedSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum)


def launch(asset: dg.AssetsDefinition, target: Any, config: Any = None, **kwargs: Any) -> dg.ExecuteInProcessResult:
    run_config = {} if config is None else {"ops": {asset.key.to_python_identifier(): {"config": config}}}
    return dg.materialize([asset], resources=resources_for(target), run_config=run_config, **kwargs)


def counts(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    [event] = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    return {
        name: metadata[name].value
        for name in ("due", "inserted", "updated", "unchanged", "rejected")
        if metadata[name].value
    }


# ---- what Dagster is told


def test_an_asset_is_described_by_its_pipeline() -> None:
    spec = pipeline_asset(sun, pipeline_version="3").get_asset_spec()

    assert spec.key == dg.AssetKey("sun")
    assert spec.group_name == "pipelines"
    assert spec.kinds == {"python", "table"}
    assert spec.owners == ["team:astra"]
    assert spec.code_version == "0.9.0-3"
    assert spec.description == "Find that every star is the Sun.\n\nIt is quick."
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey("boss_visit_spectrum")]
    assert spec.metadata["dagster/table_name"] == "rocket"


def test_an_asset_can_be_filed_otherwise() -> None:
    asset = pipeline_asset(
        either, name="any", group="trial", kinds=("fits",), owners=("who@example.org",), deps=("corv",)
    )
    spec = asset.get_asset_spec()

    assert (spec.key, spec.group_name, spec.kinds, spec.owners) == (
        dg.AssetKey("any"),
        "trial",
        {"fits"},
        ["who@example.org"],
    )
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {
        "boss_visit_spectrum",
        "boss_combined_spectrum",
        "corv",
    }


def test_columns_have_types_units_and_descriptions() -> None:
    schema = pipeline_asset(sun).get_asset_spec().metadata["dagster/column_schema"]
    columns = {column.name: column for column in schema.columns}

    assert list(columns) == [field.name for field in Rocket._meta.sorted_fields]
    assert columns["teff"] == dg.TableColumn(
        "teff",
        "real",
        "Effective temperature [K]",
        dg.TableColumnConstraints(nullable=True),
        tags={"unit": "K"},
    )
    assert columns["task_pk"].constraints == dg.TableColumnConstraints(nullable=False, unique=True)
    assert columns["result_flags"].description == "Flags of the result: `flag_low_snr` (S/N below 3)"


@pytest.mark.parametrize("asset", all_pipeline_assets(), ids=lambda asset: asset.key.to_user_string())
def test_every_column_of_our_pipelines_is_described(asset: dg.AssetsDefinition) -> None:
    schema = asset.get_asset_spec().metadata["dagster/column_schema"]

    assert [column.name for column in schema.columns if not column.description] == []


# ---- running it


def test_what_is_due_is_analysed_and_then_no_longer_due(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(5)

    assert counts(launch(pipeline_asset(sun), target)) == {"due": 5, "inserted": 5}
    assert counts(launch(pipeline_asset(sun), target)) == {}
    assert [row.teff for row in Rocket.select()] == [5772] * 5


def test_a_limit_takes_the_first(database: peewee.Database, target: dict[str, Any], make_spectra: Visits) -> None:
    spectra = make_spectra(5)

    result = launch(pipeline_asset(sun), target, {"limit": 2})

    assert counts(result) == {"due": 2, "inserted": 2}
    assert sorted(row.spectrum_pk for row in Rocket.select()) == [spectrum.spectrum_pk for spectrum in spectra[:2]]


def test_a_limit_counts_all_kinds_of_spectra_together(memory_database: peewee.Database, make_spectra: Visits) -> None:
    make_spectra(3)

    assert counts(launch(pipeline_asset(either), IN_MEMORY, {"limit": 2})) == {"due": 2, "inserted": 2}
    assert counts(launch(pipeline_asset(either), IN_MEMORY, {"limit": 2})) == {"due": 1, "inserted": 1}


def test_sources_can_be_chosen(database: peewee.Database, target: dict[str, Any], make_spectra: Visits) -> None:
    spectra = make_spectra(5)
    wanted = Source.get_by_id(spectra[3].source_pk).sdss_id

    assert counts(launch(pipeline_asset(sun), target, {"sdss_ids": [wanted, 999]})) == {"due": 1, "inserted": 1}
    assert Rocket.get().spectrum_pk == spectra[3].spectrum_pk


def test_sources_that_nobody_knows_fail_the_run_by_name(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(1)

    result = launch(pipeline_asset(sun), target, {"sdss_ids": [17, 18]}, raise_on_error=False)

    failure = result.failure_data_for_node("sun")
    assert failure is not None
    assert failure.error is not None
    assert "none of the 2 sdss_ids is in the table of sources: 17, 18" in str(failure.error.cause)


def test_everything_can_be_run_again(database: peewee.Database, target: dict[str, Any], make_spectra: Visits) -> None:
    make_spectra(3)
    launch(pipeline_asset(sun), target)
    before = {row.task_pk: row.created for row in Rocket.select()}

    assert counts(launch(pipeline_asset(sun), target, {"rerun": "all"})) == {"due": 3, "unchanged": 3}
    assert {row.task_pk: row.created for row in Rocket.select()} == before


def test_what_failed_can_be_run_again(database: peewee.Database, target: dict[str, Any], make_spectra: Visits) -> None:
    make_spectra(2)
    [failing] = make_spectra(1, telescope="lco25m")

    first = launch(pipeline_asset(picky), target)
    assert counts(first) == {"due": 3, "inserted": 2, "rejected": 1}
    assert RejectedResult.get().run_id == first.run_id
    assert counts(launch(pipeline_asset(picky), target)) == {}
    BossVisitSpectrum.update(telescope="apo25m", modified=failing.modified).execute()

    assert counts(launch(pipeline_asset(picky), target, {"rerun": "failed"})) == {"due": 1, "inserted": 1}
    assert RejectedResult.select().count() == 0


def test_the_batch_size_can_be_chosen(memory_database: peewee.Database, make_spectra: Visits) -> None:
    make_spectra(4)
    stored: list[int] = []

    @task
    def watching(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            stored.append(Rocket.select().count())
            yield Rocket.from_spectrum(spectrum)

    launch(pipeline_asset(watching), IN_MEMORY, {"batch_size": 2})

    assert stored == [0, 0, 2, 2]


@pytest.mark.parametrize("config", [{"limit": -1}, {"batch_size": 0}])
def test_numbers_that_make_no_sense_are_refused(memory_database: peewee.Database, config: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(config))}\n.*greater than or equal to"):
        launch(pipeline_asset(sun), IN_MEMORY, config)


@pytest.mark.parametrize("config", [{"rerun": "everything"}, {"where": "1=1; DROP TABLE source"}, {"sdss_ids": ["x"]}])
def test_the_launchpad_refuses_what_it_does_not_know(config: dict[str, Any]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        launch(pipeline_asset(sun), IN_MEMORY, config)


def test_a_run_can_be_configured_in_python(memory_database: peewee.Database, make_spectra: Visits) -> None:
    make_spectra(3)
    config = dg.RunConfig(ops={"sun": PipelineRunConfig(limit=1, rerun="all")})

    result = dg.materialize([pipeline_asset(sun)], resources=resources_for(IN_MEMORY), run_config=config)

    assert counts(result) == {"due": 1, "inserted": 1}


@pytest.mark.parametrize(("config", "narrowed"), [({}, False), ({"rerun": "all"}, False), ({"limit": 1}, True)])
def test_a_run_that_looked_at_some_spectra_only_says_so(
    memory_database: peewee.Database, make_spectra: Visits, config: dict[str, Any], narrowed: bool
) -> None:
    make_spectra(2)
    result = launch(pipeline_asset(sun), IN_MEMORY, config)
    [event] = result.asset_materializations_for_node("sun")

    assert event.metadata["narrowed"].value is narrowed


IN_MEMORY = {"sqlite": {"path": ":memory:"}}


def test_results_that_a_pipeline_takes_are_upstream() -> None:
    @task
    def cooled(spectra: Iterable[tuple[BossVisitSpectrum, Corv, SnowWhite | None]]) -> Iterable[Rocket]:
        yield from ()

    [spec] = pipeline_asset(cooled).specs
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"boss_visit_spectrum", "corv", "snow_white"}
