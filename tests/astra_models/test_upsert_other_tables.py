"""Upserting rows of kinds that are not the usual: Arrow tables, results per source, processes that fork."""

import multiprocessing
from typing import Any

import numpy as np
import peewee
import pyarrow
import pytest

from astra_models.analysis.recording import bulk_insert_or_replace_pipeline_results
from astra_models.base import BaseModel
from astra_models.fields import (
    AutoField,
    DateTimeField,
    FloatField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    utc_now,
)
from astra_models.rejected import RejectedResult, payload_from_json
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert
from astra_models.version import installed_v_astra


def stored() -> list[tuple[Any, ...]]:
    query: Any = Rocket.select(Rocket.spectrum_pk, Rocket.teff, Rocket.tag).order_by(Rocket.spectrum_pk).tuples()
    return list(query)


# ---- pyarrow


def test_an_arrow_table_is_upserted(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(3)]
    table = pyarrow.table({"spectrum_pk": keys, "teff": [5000.5, None, float("nan")], "tag": ["a", None, "c"]})
    report = upsert(Rocket, table, batch_size=2)
    assert (report.inserted, report.rows) == (3, 3)
    assert stored() == [(keys[0], 5000.5, "a"), (keys[1], None, ""), (keys[2], None, "c")]


def test_integers_of_an_arrow_table_are_exact_beside_nulls(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(2)]
    table = pyarrow.table({"spectrum_pk": keys, "result_flags": pyarrow.array([2**62 + 1, None], pyarrow.int64())})
    assert upsert(Rocket, table).inserted == 2
    assert [row.result_flags for row in Rocket.select().order_by(Rocket.spectrum_pk)] == [2**62 + 1, 0]


def test_a_bad_row_of_an_arrow_table_is_kept_as_it_was(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(2)]
    table = pyarrow.table({"spectrum_pk": [*keys, None], "teff": [1.0, 1e39, 3.0]})
    report = upsert(Rocket, table)
    assert (report.inserted, report.rejected) == (1, 2)
    payloads = [payload_from_json(row.payload) for row in RejectedResult.select().order_by(RejectedResult.pk)]
    assert payloads == [{"spectrum_pk": keys[1], "teff": 1e39}, {"spectrum_pk": None, "teff": 3.0}]


# ---- one result per source


@pytest.fixture
def adopted(database: peewee.Database) -> Any:
    """A table with one result per source, not per spectrum."""

    class Adopted(BaseModel):
        task_pk = AutoField()
        source_pk = ForeignKeyField(Source)
        v_astra = IntegerField(default=installed_v_astra)
        v_astra_major_minor = GeneratedField("v_astra / 1000", "v_astra", lambda v_astra: v_astra // 1000)
        created = DateTimeField(default=utc_now)
        modified = DateTimeField(default=utc_now)
        teff = FloatField(null=True)

        upsert_key = ("source_pk", "v_astra_major_minor")

        class Meta:
            constraints = [peewee.SQL("UNIQUE (source_pk, v_astra_major_minor)")]

    Adopted.create_table()
    return Adopted


def test_results_per_source_follow_the_same_rule(adopted: Any, source: Source, monkeypatch: Any) -> None:
    first = upsert(adopted, [{"source_pk": source.pk, "teff": 5000}, {"source_pk": source.pk, "teff": 5100}])
    assert (first.inserted, first.superseded) == (1, 1)
    before = adopted.get()
    again = upsert(adopted, [{"source_pk": source.pk, "teff": 5200}, {"source_pk": source.pk + 1, "teff": 1}])
    assert (again.updated, again.rejected) == (1, 1)
    after = adopted.get()
    assert (after.task_pk, after.created, after.teff) == (before.task_pk, before.created, 5200)
    assert RejectedResult.get().source_pk == source.pk + 1
    monkeypatch.setenv("ASTRA_VERSION", "0.10.0")
    assert upsert(adopted, [{"source_pk": source.pk, "teff": 5300}]).inserted == 1
    assert [row.teff for row in adopted.select().order_by(adopted.task_pk)] == [5200, 5300]


def test_results_per_source_get_their_keys(adopted: Any, source: Source) -> None:
    (result,) = bulk_insert_or_replace_pipeline_results([adopted(source_pk=source.pk, teff=np.float32(5000))])
    assert result.task_pk == adopted.get().task_pk


def test_a_model_without_a_key_is_an_error(database: peewee.Database) -> None:
    with pytest.raises(TypeError, match="is no output model"):
        upsert(Source, [{"sdss_id": 1}])


# ---- processes


def _write_in_child(spectrum_pk: int) -> int:
    return upsert(Rocket, [{"spectrum_pk": spectrum_pk, "teff": 2.0}]).rows


@pytest.mark.lesson(37)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_processes_do_not_use_the_parents_connection(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(4)]
    upsert(Rocket, [{"spectrum_pk": keys[0], "teff": 1.0}])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_write_in_child, keys[1:]) == [1, 1, 1]
        pool.close()
        pool.join()
    assert upsert(Rocket, [{"spectrum_pk": keys[0], "teff": 3.0}]).updated == 1
    assert stored() == [(keys[0], 3.0, ""), *((key, 2.0, "") for key in keys[1:])]
