"""Rows of result files: linked, each once, with the keys of the file where these are free."""

from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.columns.typed import to_column
from astra_models.ingest.rows.writing import Outcome, write_rows
from astra_models.ingest.tables.files import check_chunk
from astra_models.mwm import BossCombinedSpectrum
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.source import Source
from astra_models.spectrum import Spectrum

N_ROWS = 6


def columns(n_rows: int = N_ROWS, first: int = 0, **changes: Any) -> dict[Any, dict[str, Any]]:
    """Make rows of co-adds and their results, as a file of another database has them."""
    number = np.arange(first, first + n_rows)
    names = np.array([f"2M{i:08d}" for i in number])
    found: dict[Any, dict[str, Any]] = {
        Source: {"pk": 1000 + number, "sdss_id": 50 + number, "sdss4_apogee_id": names, "ra": number / 7},
        ApogeeCoaddedSpectrumInApStar: {
            "spectrum_pk": 5000 + number,
            "release": np.full(n_rows, "sdss5"),
            "apred": np.full(n_rows, "1.3"),
            "apstar": np.full(n_rows, "stars"),
            "obj": names,
            "telescope": np.full(n_rows, "apo25m"),
            "field": np.full(n_rows, ""),
            "prefix": np.full(n_rows, "ap"),
            "snr": number + 10.0,
        },
        ApogeeNet: {
            "task_pk": 9000 + number,
            "source_pk": 1000 + number,
            "spectrum_pk": 5000 + number,
            "v_astra": np.full(n_rows, 6000),
            "teff": 4000.0 + number,
        },
    }
    for name, values in changes.items():
        model = next(model for model in reversed(found) if name in found[model])
        found[model][name] = values
    return found


def ingest(given: dict[Any, dict[str, Any]]) -> Outcome:
    n_rows = len(next(iter(given[Source].values())))
    for model, columns in given.items():
        if "v_astra" in columns:
            columns["v_astra"] = to_column(model.v_astra, columns["v_astra"])[0]
    return write_rows(check_chunk(given, np.arange(n_rows)))


def stored() -> list[tuple[Any, ...]]:
    """Give what is linked to what."""
    query = (
        ApogeeNet.select(
            ApogeeNet.task_pk,
            ApogeeNet.source_pk,
            ApogeeNet.spectrum_pk,
            Source.sdss_id,
            ApogeeCoaddedSpectrumInApStar.obj,
            ApogeeCoaddedSpectrumInApStar.source_pk,
            ApogeeNet.teff,
        )
        .join(Source)
        .switch(ApogeeNet)
        .join(
            ApogeeCoaddedSpectrumInApStar,
            on=(ApogeeCoaddedSpectrumInApStar.spectrum_pk == ApogeeNet.spectrum_pk),
        )
        .order_by(Source.sdss_id)
    )
    return list(query.tuples())


def test_into_an_empty_database_the_files_own_keys_are_taken_over(database: peewee.Database) -> None:
    outcome = ingest(columns())
    assert {table: dict(counts) for table, counts in outcome.tables.items()} == {
        "source": {"inserted": N_ROWS},
        "apogee_coadded_spectrum_in_ap_star": {"inserted": N_ROWS},
        "apogee_net": {"inserted": N_ROWS},
    }
    assert stored() == [
        (9000 + i, 1000 + i, 5000 + i, 50 + i, f"2M{i:08d}", 1000 + i, 4000.0 + i) for i in range(N_ROWS)
    ]
    assert [spectrum.pk for spectrum in Spectrum.select().order_by(Spectrum.pk)] == [5000 + i for i in range(N_ROWS)]


def test_keys_that_the_database_hands_out_afterwards_are_free(database: peewee.Database) -> None:
    ingest(columns())
    assert Source.create(sdss_id=1).pk > 1000 + N_ROWS - 1
    assert Spectrum.create().pk > 5000 + N_ROWS - 1


def test_the_same_rows_again_change_nothing(database: peewee.Database) -> None:
    ingest(columns())
    before = stored(), [row.modified for row in ApogeeNet.select()]
    outcome = ingest(columns())
    assert all(dict(counts) == {"unchanged": N_ROWS} for counts in outcome.tables.values())
    assert (stored(), [row.modified for row in ApogeeNet.select()]) == before


def test_what_is_different_is_updated_in_place(database: peewee.Database) -> None:
    ingest(columns())
    outcome = ingest(columns(teff=np.array([4000.0, 4001.0, 1.0, 4003.0, 4004.0, np.nan])))
    assert dict(outcome.tables["apogee_net"]) == {"updated": 2, "unchanged": N_ROWS - 2}
    assert [row[-1] for row in stored()] == [4000.0, 4001.0, 1.0, 4003.0, 4004.0, None]
    assert [row[0] for row in stored()] == [9000 + i for i in range(N_ROWS)]


def test_keys_that_are_taken_are_given_anew(database: peewee.Database) -> None:
    others = [Source.create(pk=1000 + i, sdss_id=900 + i).pk for i in range(2)]
    Spectrum.create(pk=5003)
    ingest(columns())
    rows = stored()
    assert [row[3:5] for row in rows] == [(50 + i, f"2M{i:08d}") for i in range(N_ROWS)]
    assert all(row[1] == row[5] for row in rows)
    assert not {row[1] for row in rows} & set(others)
    assert [row[1] for row in rows][2:] == [1002, 1003, 1004, 1005]
    assert [row[2] == 5000 + i for i, row in enumerate(rows)] == [True, True, True, False, True, True]
    assert [Source.get_by_id(pk).sdss_id for pk in others] == [900, 901]


def test_a_source_that_is_there_is_found_by_its_older_identifier_and_filled_in(database: peewee.Database) -> None:
    known = Source.create(sdss4_apogee_id="2M00000002", g_mag=12.5, ra=99.0)
    outcome = ingest(columns())
    assert dict(outcome.tables["source"]) == {"inserted": N_ROWS - 1, "updated": 1}
    row = Source.get_by_id(known.pk)
    assert (row.sdss_id, row.g_mag, row.ra) == (52, 12.5, 2 / 7)
    assert stored()[2][1] == known.pk


def test_a_missing_value_of_a_source_leaves_the_stored_one(database: peewee.Database) -> None:
    ingest(columns())
    ingest(columns(ra=np.full(N_ROWS, np.nan)))
    assert [source.ra for source in Source.select().order_by(Source.sdss_id)] == [i / 7 for i in range(N_ROWS)]


def test_sources_that_contradict_each_other_are_never_merged(database: peewee.Database) -> None:
    other = Source.create(sdss_id=7777, sdss4_apogee_id="2M00000002")
    ingest(columns())
    assert Source.get_by_id(other.pk).sdss_id == 7777
    assert Source.get(Source.sdss_id == 52).sdss4_apogee_id is None
    assert len(stored()) == N_ROWS


def test_two_sources_of_a_file_do_not_share_an_identifier(database: peewee.Database) -> None:
    names = np.array([f"2M{i:08d}" for i in (0, 1, 1, 3, 4, 5)])
    given = columns()
    given[Source]["sdss4_apogee_id"] = names
    assert ingest(given).problems == []
    assert [source.sdss4_apogee_id for source in Source.select().order_by(Source.sdss_id)] == [
        *names[:2],
        None,
        *names[3:],
    ]


def test_two_sources_with_the_catalogid_of_a_stored_one_are_not_merged_in_it(database: peewee.Database) -> None:
    known = Source.create(catalogid=77)
    given = columns()
    given[Source] |= {"catalogid": np.full(N_ROWS, 77)}
    ingest(given)
    assert Source.get_by_id(known.pk).sdss_id == 50
    assert {row[3]: row[1] == row[5] for row in stored()} == dict.fromkeys(range(50, 56), True)
    assert Source.select().count() == N_ROWS


def test_a_source_is_found_by_any_identifier_that_one_of_its_rows_has(database: peewee.Database) -> None:
    known = Source.create(sdss4_apogee_id="a")
    given = {Source: {"sdss_id": np.array([50, 50]), "sdss4_apogee_id": np.array(["a", ""])}}
    assert dict(ingest(given).tables["source"]) == {"updated": 1}
    assert (Source.get().pk, Source.get().sdss_id) == (known.pk, 50)


@pytest.mark.parametrize("at_once", [1, 2])
def test_where_a_chunk_ends_makes_no_difference(database: peewee.Database, at_once: int) -> None:
    given: dict[str, Any] = {"sdss_id": [50, 50], "ra": [1.5, np.nan], "g_mag": [np.nan, 12.5], "dec": [3.0, 4.0]}
    for start in range(0, 2, at_once):
        ingest({Source: {name: np.array(values[start : start + at_once]) for name, values in given.items()}})
    source = Source.get()
    assert (source.ra, source.g_mag, source.dec) == (1.5, 12.5, 4.0)


def test_rows_of_one_star_share_their_source(database: peewee.Database) -> None:
    given = columns()
    given[Source]["sdss_id"] = np.array([50, 50, 51, 51, 51, 52])
    given[Source]["sdss4_apogee_id"] = np.array(["a", "a", "b", "b", "b", "c"])
    given[Source]["pk"] = np.array([1, 1, 2, 2, 2, 3])
    assert dict(ingest(given).tables["source"]) == {"inserted": 3}
    assert [row[1] for row in stored()] == [1, 1, 2, 2, 2, 3]


def test_of_the_same_spectrum_twice_the_last_row_counts(database: peewee.Database) -> None:
    given = columns()
    for model, name in ((Source, "sdss_id"), (Source, "sdss4_apogee_id"), (ApogeeCoaddedSpectrumInApStar, "obj")):
        given[model][name][3] = given[model][name][1]
    outcome = ingest(given)
    assert outcome.superseded == 1
    assert [row[-1] for row in stored()] == [4000.0, 4003.0, 4002.0, 4004.0, 4005.0]


@pytest.mark.parametrize("name", ["obj", "telescope", "apred"])
def test_a_spectrum_of_which_a_part_of_its_name_is_missing_is_told(database: peewee.Database, name: str) -> None:
    given = columns()
    spectra = given[ApogeeCoaddedSpectrumInApStar]
    spectra[name] = np.array(["", "", *spectra[name][2:]])
    outcome = ingest(given)
    message = f"its spectrum can't be told from others: {name} is empty"
    assert outcome.problems == [(0, message), (1, message)]
    assert Source.select().count() == Spectrum.select().count() == ApogeeNet.select().count() == N_ROWS - 2


def test_a_result_of_no_version_is_told(database: peewee.Database) -> None:
    version = np.ma.MaskedArray(np.full(N_ROWS, 6000), np.arange(N_ROWS) == 2)
    given = columns(v_astra=version)
    outcome = ingest(given)
    assert outcome.problems == [(2, "neither the row nor the file says of which version it is (v_astra)")]
    assert ApogeeNet.select().count() == N_ROWS - 1


def test_rows_of_the_same_source_are_told_where_it_is_what_the_rows_are_for(database: peewee.Database) -> None:
    given = {Source: columns()[Source]}
    given[Source]["sdss_id"] = np.array([50, 51, 50, 53, 50, 55])
    given[Source]["sdss4_apogee_id"] = np.full(N_ROWS, "")
    outcome = ingest(given)
    assert (outcome.tables["source"], outcome.superseded) == ({"inserted": 4}, 2)
    assert Source.get(Source.sdss_id == 50).ra == pytest.approx(4 / 7)


def test_rows_of_the_same_spectrum_are_told_where_there_are_no_results(database: peewee.Database) -> None:
    given = columns()
    del given[ApogeeNet]
    given[ApogeeCoaddedSpectrumInApStar]["obj"][3] = given[ApogeeCoaddedSpectrumInApStar]["obj"][2]
    assert ingest(given).superseded == 1


def test_a_row_without_any_identifier_is_told_and_takes_no_other_along(database: peewee.Database) -> None:
    given = columns()
    for name in ("sdss_id", "sdss4_apogee_id"):
        given[Source][name] = np.ma.masked_array(given[Source][name], np.arange(N_ROWS) == 4)
    outcome = ingest(given)
    assert [row for row, _ in outcome.problems] == [4]
    assert "no identifier" in outcome.problems[0][1]
    assert len(stored()) == N_ROWS - 1


@pytest.mark.parametrize("name", ["teff", "snr", "ra"])
def test_a_value_that_can_not_be_stored_costs_its_row_alone(database: peewee.Database, name: str) -> None:
    values: Any = [1.0, 2.0, "nonsense", 4.0, 5.0, 6.0]
    outcome = ingest(columns(**{name: np.array(values, dtype=object)}))
    assert [(row, name in message) for row, message in outcome.problems] == [(2, True)]
    assert [row[3] for row in stored()] == [50, 51, 53, 54, 55]


def test_what_only_the_database_refuses_is_found(database: peewee.Database) -> None:
    database.execute_sql(
        f"CREATE UNIQUE INDEX one_of_each ON {ApogeeNet._meta.table_name} (t_elapsed)"
        if Source._meta.schema is None
        else f'CREATE UNIQUE INDEX one_of_each ON "{Source._meta.schema}".apogee_net (t_elapsed)'
    )
    given = columns(12)
    given[ApogeeNet]["t_elapsed"] = np.array([0, 1, 2, 3, 4, 5, 6, 3, 8, 9, 10, 11], float)
    outcome = ingest(given)
    assert len(outcome.problems) == 1
    assert outcome.problems[0][0] in (3, 7)
    assert len(stored()) == 11
    database.drop_tables([ApogeeNet])  # with its index: the next test makes it again


def test_results_of_a_new_version_stand_beside_the_old_ones(database: peewee.Database) -> None:
    ingest(columns())
    outcome = ingest(columns(v_astra=np.full(N_ROWS, 8001)))
    assert dict(outcome.tables["apogee_net"]) == {"inserted": N_ROWS}
    assert dict(outcome.tables["source"]) == {"unchanged": N_ROWS}
    assert ApogeeNet.select().count() == 2 * N_ROWS


def test_rows_may_be_of_sources_alone(database: peewee.Database) -> None:
    given = {Source: columns()[Source]}
    assert dict(ingest(given).tables["source"]) == {"inserted": N_ROWS}
    assert dict(ingest(given).tables["source"]) == {"unchanged": N_ROWS}


def test_results_per_source_need_no_spectrum(database: peewee.Database) -> None:
    given: dict[Any, Any] = {Source: columns()[Source]}
    given[MWMSpectrumProductStatus] = {"v_astra": np.full(N_ROWS, 8000)}
    assert dict(ingest(given).tables["mwm_spectrum_product_status"]) == {"inserted": N_ROWS}
    assert {row.source_pk for row in MWMSpectrumProductStatus.select()} == {1000 + i for i in range(N_ROWS)}
    assert dict(ingest(given).tables["mwm_spectrum_product_status"]) == {"unchanged": N_ROWS}


def test_more_chunks_link_to_what_earlier_ones_made(database: peewee.Database) -> None:
    ingest(columns(4))
    outcome = ingest(columns(4, first=2))
    assert dict(outcome.tables["source"]) == {"inserted": 2, "unchanged": 2}
    assert [row[:4] for row in stored()] == [(9000 + i, 1000 + i, 5000 + i, 50 + i) for i in range(N_ROWS)]
    assert BossCombinedSpectrum.select().count() == 0
