"""Results into tables, one batch at a time; tables into assets downstream."""

from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any

import dagster as dg
import numpy as np
import peewee
import pytest
from astropy import units
from astropy.table import QTable, Table
from astropy.time import Time

from astra_models import base
from astra_models.analysis.stream import Progress, ResultStream, write
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import ResultTypeError
from astra_models.line_forest import LineForest
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import UpsertReport
from astra_orchestration.resources import DatabaseResource, resources_for
from astra_orchestration.resources.io_manager import MODEL_METADATA, PipelineResultIOManager

Visits = Callable[..., list[BossVisitSpectrum]]


class Interrupted(Exception):
    """What ends a stream in the middle."""


def rockets(spectra: list[BossVisitSpectrum], **values: Any) -> list[Rocket]:
    return [Rocket.from_spectrum(spectrum, **values) for spectrum in spectra]


def returning(value: Any, metadata: dict[str, Any] | None = None) -> dg.AssetsDefinition:
    """Make an asset that returns `value`, written by the IO manager."""

    @dg.asset(name="rocket", io_manager_key="pipeline_results", metadata={MODEL_METADATA: "Rocket", **(metadata or {})})
    def asset() -> Any:
        return value

    return asset


def materialized(result: dg.ExecuteInProcessResult, node: str = "rocket") -> dict[str, Any]:
    [event] = result.asset_materializations_for_node(node)
    return {name: entry.value for name, entry in event.metadata.items()}


# ---- writing


def test_counts_are_the_metadata_of_the_materialization(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    known, new = make_spectra(3), make_spectra(4)
    write(ResultStream([rockets(known, teff=5000)], [Rocket]))
    refused = RejectedResult(
        model="Rocket", spectrum_pk=new[0].spectrum_pk, v_astra=9000, reason="exception", message="ValueError: no flux"
    )
    batches = [[*rockets(known, teff=6000), refused], [*rockets(new[1:], teff=6000), rockets(new[1:2], teff=6100)[0]]]

    stream = ResultStream(batches, [Rocket], due=7)
    found = materialized(dg.materialize([returning(stream)], resources=resources_for(target)))

    counts = ("due", "inserted", "updated", "unchanged", "kept", "rejected", "superseded", "dagster/row_count")
    assert [found[name] for name in counts] == [7, 3, 3, 0, 0, 1, 1, 6]
    assert found["reasons"].splitlines()[-1] == "| 1 | exception: ValueError |"
    assert found["version"] == "0.9.0"
    assert found["v_astra"] == 9000
    assert found["seconds"] > 0
    assert found["rows per second"] == pytest.approx(8 / found["seconds"], rel=0.2)


def test_the_table_is_named_with_its_schema(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    result = dg.materialize([returning(ResultStream([], [Rocket]))], resources=resources_for(target))

    schema = target.get("postgres", {}).get("schema")
    assert materialized(result)["dagster/table_name"] == (f"{schema}.rocket" if schema else "rocket")


def test_batches_are_taken_one_at_a_time_each_in_its_own_transaction(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    spectra = make_spectra(6)
    seen: list[tuple[int, bool]] = []

    def batches() -> Iterator[list[Rocket]]:
        for i in range(3):
            seen.append((Rocket.select().count(), base.database.in_transaction()))
            yield rockets(spectra[2 * i : 2 * i + 2])

    assert dg.materialize([returning(ResultStream(batches(), [Rocket]))], resources=resources_for(target)).success
    assert seen == [(0, False), (2, False), (4, False)]


def test_batches_before_a_failure_stay(database: peewee.Database, target: dict[str, Any], make_spectra: Visits) -> None:
    spectra = make_spectra(4)

    def batches() -> Iterator[list[Rocket]]:
        yield rockets(spectra[:2])
        raise Interrupted("the power went off")

    asset = returning(ResultStream(batches(), [Rocket]))
    with dg.DagsterInstance.ephemeral() as instance:
        resources = resources_for(target)
        result = dg.materialize([asset], instance=instance, resources=resources, raise_on_error=False)
        [record] = instance.fetch_observations(dg.AssetKey("rocket"), limit=9).records

    assert not result.success
    assert {row.spectrum_pk for row in Rocket.select()} == {spectrum.spectrum_pk for spectrum in spectra[:2]}
    observed = record.asset_observation
    assert observed is not None
    assert observed.metadata["inserted"].value == 2
    assert observed.description == "the run ended before all was done; written and kept: 2 inserted"


def test_a_run_that_is_ended_while_it_looks_at_its_table_says_what_it_wrote(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    def look(_: UpsertReport) -> dict[str, object]:
        raise dg.DagsterExecutionInterruptedError

    stream = ResultStream([rockets(make_spectra(3))], [Rocket])
    stream.on_written = look
    with dg.DagsterInstance.ephemeral() as instance:
        resources = resources_for(target)
        result = dg.materialize([returning(stream)], instance=instance, resources=resources, raise_on_error=False)
        [record] = instance.fetch_observations(dg.AssetKey("rocket"), limit=9).records

    assert not result.success and not result.get_asset_materialization_events()
    assert record.asset_observation is not None
    assert record.asset_observation.metadata["inserted"].value == Rocket.select().count() == 3


def test_rejected_results_are_kept_under_the_run(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    [spectrum] = make_spectra(1)
    stream = ResultStream([rockets([spectrum], teff=1e39)], [Rocket])

    result = dg.materialize([returning(stream)], resources=resources_for(target))

    assert RejectedResult.get().run_id == result.run_id
    assert "teff" in materialized(result)["reasons"]


def test_many_reasons_are_grouped(memory_database: peewee.Database, make_spectra: Visits) -> None:
    failures = [
        RejectedResult(model="Rocket", spectrum_pk=pk, v_astra=9000, reason="exception", message=f"Error{pk % 8}: a|b")
        for pk in range(100)
    ]

    stream = ResultStream([failures], [Rocket])
    found = materialized(dg.materialize([returning(stream)], resources=resources_for({"sqlite": {"path": ":memory:"}})))

    lines = found["reasons"].splitlines()[2:]
    assert len(lines) == 6
    assert lines[-1].endswith("others |")
    assert sum(int(line.split("|")[1]) for line in lines) == 100


def test_a_list_of_results_is_written_too(memory_database: peewee.Database, make_spectra: Visits) -> None:
    result = dg.materialize(
        [returning(rockets(make_spectra(3)))], resources=resources_for({"sqlite": {"path": ":memory:"}})
    )

    assert materialized(result)["inserted"] == 3


@pytest.mark.parametrize("value", [None, 5, [], ["teff"], iter([])])
def test_what_is_no_result_is_refused(memory_database: peewee.Database, value: Any) -> None:
    manager = PipelineResultIOManager(DatabaseResource(target={"sqlite": {"path": ":memory:"}}))

    with pytest.raises(ResultTypeError, match=r"rocket returned .* not a ResultStream or a list of results"):
        manager.handle_output(dg.build_output_context(asset_key="rocket"), value)


def test_a_missing_table_is_named(tmp_path: Any) -> None:
    target = {"sqlite": {"path": str(tmp_path / "empty.db")}}
    asset = returning(ResultStream([], [Rocket]))

    result = dg.materialize([asset], resources=resources_for(target), raise_on_error=False)

    failure = result.failure_data_for_node("rocket")
    assert failure is not None
    assert failure.error is not None
    assert 'no table "rocket" for Rocket; make all tables with `astra init`' in str(failure.error.cause)


def test_progress_is_told_as_spectra_are_taken_and_not_only_when_a_batch_is_full(
    memory_database: peewee.Database, make_spectra: Visits
) -> None:
    spectra = make_spectra(5)
    told: list[Progress] = []
    stream = ResultStream((), [Rocket], due=5)
    stream.batches = (rockets(list(spectra)) for spectra in [stream.counted(spectra)])

    write(stream, on_progress=told.append, interval=0)

    assert [progress.done for progress in told] == [1, 2, 3, 4, 5, 5]
    assert str(told[2]).startswith("3 of 5 done, ")


def test_progress_counts_spectra_and_not_their_rows(memory_database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(4)
    told: list[Progress] = []
    stream = ResultStream((), [Rocket, Corv], due=4)
    taken = stream.counted(spectra)
    stream.batches = ([Rocket.from_spectrum(one), Corv.from_spectrum(one)] for one in taken)

    write(stream, on_progress=told.append, interval=0)

    assert max(progress.done for progress in told) == 4


# ---- loading


def downstream(annotation: Any) -> dg.AssetsDefinition:
    def take(context: dg.AssetExecutionContext, rocket: Any) -> Any:
        return len(rocket) if isinstance(rocket, Table) else rocket.count()

    take.__annotations__["rocket"] = annotation
    return dg.asset(name="taken")(take)


@pytest.mark.parametrize("annotation", [peewee.ModelSelect, Table, Any])
def test_an_asset_downstream_takes_the_results_of_this_version(
    database: peewee.Database,
    target: dict[str, Any],
    make_spectra: Visits,
    annotation: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spectra = make_spectra(3)
    monkeypatch.setenv("ASTRA_VERSION", "0.8.7")
    write(ResultStream([rockets(spectra)], [Rocket]))
    monkeypatch.setenv("ASTRA_VERSION", "0.9.0")
    assets = [returning(ResultStream([rockets(spectra[:2])], [Rocket])), downstream(annotation)]

    assert dg.materialize(assets, resources=resources_for(target)).output_for_node("taken") == 2
    alone = dg.materialize(assets, selection=["taken"], resources=resources_for(target))
    assert alone.output_for_node("taken") == 2


def test_an_annotation_that_is_neither_query_nor_table_is_refused(memory_database: peewee.Database) -> None:
    assets = [returning(ResultStream([], [Rocket])), downstream(dict)]

    result = dg.materialize(assets, resources=resources_for({"sqlite": {"path": ":memory:"}}), raise_on_error=False)

    failure = result.failure_data_for_node("taken")
    assert failure is not None
    assert failure.error is not None
    assert "peewee.ModelSelect or astropy.table.Table, not as dict" in str(failure.error.cause)


def test_an_asset_without_a_model_is_refused(memory_database: peewee.Database) -> None:
    assets = [returning(ResultStream([], [Rocket]), {MODEL_METADATA: "Missile"}), downstream(Table)]

    result = dg.materialize(assets, resources=resources_for({"sqlite": {"path": ":memory:"}}), raise_on_error=False)

    failure = result.failure_data_for_node("taken")
    assert failure is not None
    assert failure.error is not None
    assert "there is no model of results 'Missile'" in str(failure.error.cause)


def taken(results: list[Any], model: type[PipelineOutputMixin], kind: type[Table], target: dict[str, Any]) -> Table:
    """Write results by one asset, and give what another gets that asks for a table."""
    given: list[Table] = []

    def take(rocket: Any) -> None:
        given.append(rocket)

    take.__annotations__["rocket"] = kind
    made = returning(ResultStream([results], [model]), {MODEL_METADATA: model.__name__})
    dg.materialize([made, dg.asset(take)], resources=resources_for(target))
    return given[0]


def test_a_table_has_units_descriptions_and_masks(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    spectra = make_spectra(2)
    results = [*rockets(spectra[:1], teff=5772, flag_low_snr=True), *rockets(spectra[1:])]

    table = taken(results, Rocket, Table, target)

    assert type(table) is Table
    assert table.colnames == [field.name for field in Rocket._meta.sorted_fields]
    assert table["teff"].unit == units.K
    assert table["teff"].dtype == np.float32
    assert table["teff"].description == "Effective temperature"
    assert table["teff"].tolist() == [5772, None]
    assert table["result_flags"].tolist() == [1, 0]
    assert list(table["spectrum_pk"]) == [spectrum.spectrum_pk for spectrum in spectra]
    assert Time(table["created"][0], scale="utc").to_datetime(UTC) == Rocket.get_by_id(table["task_pk"][0]).created


@pytest.mark.parametrize("kind", [Table, QTable])
def test_lists_of_numbers_arrive_as_numbers(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits, kind: type[Table]
) -> None:
    measured, empty = make_spectra(2)
    results = [
        LineForest.from_spectrum(measured, eqw_h_alpha=2.5, eqw_percentiles_h_alpha=[1.0, 2.0, 3.0]),
        LineForest.from_spectrum(empty),
    ]

    table = taken(results, LineForest, kind, target)

    assert type(table) is kind
    for name, value in {"eqw_h_alpha": 2.5, "eqw_percentiles_h_alpha": [1.0, 2.0, 3.0]}.items():
        column = table[name]
        assert column.unit == units.AA
        assert column.dtype == np.float32
        assert np.asarray(column[0].value if kind is QTable else column[0]).tolist() == value
        assert np.all(column.mask[1])
    assert isinstance(table["eqw_h_alpha"], units.Quantity) == (kind is QTable)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_a_table_of_nothing_has_its_columns(memory_database: peewee.Database, kind: type[Table]) -> None:
    table = taken([], Rocket, kind, {"sqlite": {"path": ":memory:"}})

    assert len(table) == 0
    assert table["teff"].unit == units.K
    assert table["teff"].dtype == np.float32
