"""Any query as a table: joins, aliases, aggregates, unions; names, units, types and missing values."""

from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.database.sql import quoted_table
from astra_models.errors import MissingTableError, SelectionError
from astra_models.products import compare
from astra_models.products import to_table as table_of
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.upsert import upsert


def to_table(*given: Any, **options: Any) -> Any:
    return table_of(*given, **options)


@pytest.fixture
def results(database: peewee.Database, make_spectra: Any) -> list[Any]:
    spectra = make_spectra(4)
    values = [5000.0, None, 7000.5, 6000.0]
    for version in (8000, 9000):
        rows = [
            {
                "spectrum_pk": s.spectrum_pk,
                "source_pk": s.source_pk,
                "v_astra": version,
                "teff": teff,
                "result_flags": i,
            }
            for i, (s, teff) in enumerate(zip(spectra, values, strict=True))
        ]
        upsert(Rocket, rows)
    return spectra


def test_a_join_has_the_columns_of_both_with_their_units(results: list[Any]) -> None:
    query = (
        Rocket.select(Rocket.teff, Source.sdss_id, BossVisitSpectrum.mjd, Rocket.flag_low_snr)
        .join(Source)
        .join(BossVisitSpectrum, on=(BossVisitSpectrum.spectrum_pk == Rocket.spectrum_pk))
        .where(Rocket.v_astra_major_minor == 9)
        .order_by(Rocket.teff.desc(nulls="LAST"))
    )
    table = to_table(query)
    assert table.colnames == ["teff", "sdss_id", "mjd", "flag_low_snr"]
    assert table["teff"].tolist() == [7000.5, 6000.0, 5000.0, None]
    assert table["teff"].unit == "K" and table["teff"].dtype == np.float32
    assert table["sdss_id"].dtype == np.int64 and table["flag_low_snr"].dtype == bool
    assert table["flag_low_snr"].tolist() == [False, True, False, True]
    assert to_table(query, columns=["mjd", "teff"], limit=2).colnames == ["mjd", "teff"]
    assert len(to_table(query, where="sdss_id > 0 and mjd > 1e6")) == 0


def test_columns_of_one_name_have_their_tables_in_front(results: list[Any]) -> None:
    table = to_table(Rocket.select(Rocket.modified, Source.modified, Rocket.teff).join(Source))
    assert table.colnames == ["rocket_modified", "source_modified", "teff"]
    older, newer = Rocket.alias("older"), Rocket.alias("newer")
    query = older.select(older.teff, newer.teff, older.spectrum_pk).join(
        newer, on=(newer.spectrum_pk == older.spectrum_pk)
    )
    query = query.where((older.v_astra_major_minor == 8) & (newer.v_astra_major_minor == 9))
    table = to_table(query)
    assert table.colnames == ["older_teff", "newer_teff", "spectrum_pk"]
    assert len(table) == 4 and table["older_teff"].unit == "K"


def test_aggregates_have_their_types(results: list[Any]) -> None:
    query = Rocket.select(
        Rocket.v_astra_major_minor,
        peewee.fn.COUNT(Rocket.teff),
        peewee.fn.MAX(Rocket.teff).alias("hottest"),
        peewee.fn.AVG(Rocket.teff),
        peewee.fn.SUM(Rocket.result_flags),
        (peewee.fn.MAX(Rocket.teff) - 1).alias("less"),
        (peewee.fn.COUNT(Rocket.teff) > 3).alias("many"),
    ).group_by(Rocket.v_astra_major_minor)
    table = to_table(query.order_by(Rocket.v_astra_major_minor))
    names = ["v_astra_major_minor", "count_teff", "hottest", "avg_teff", "sum_result_flags", "less", "many"]
    assert table.colnames == names
    for row, version in zip(table, (8, 9), strict=True):
        assert list(row) == [version, 3, 7000.5, pytest.approx(18000.5 / 3), 6, 6999.5, False]
    assert [table[name].dtype.kind for name in names] == list("iiffifb")
    assert (table["hottest"].unit, table["avg_teff"].unit, table["count_teff"].unit) == ("K", "K", None)


def test_columns_of_a_query_within_a_query_are_those_of_its_table(results: list[Any]) -> None:
    newest = Rocket.select(Rocket.spectrum_pk, Rocket.teff.alias("t"), Rocket.modified, Rocket.flag_low_snr.alias("f"))
    named = newest.where(Rocket.v_astra == 9000).cte("newest")
    inner = newest.where(Rocket.v_astra == 9000).alias("inner")
    hottest = BossVisitSpectrum.select(peewee.fn.MAX(BossVisitSpectrum.mjd)).alias("last")
    within = [
        named.select_from(named.c.t, named.c.modified, named.c.f, hottest).order_by(named.c.spectrum_pk),
        Source.select(inner.c.t, inner.c.modified, inner.c.f, hottest)
        .join(inner, on=(inner.c.spectrum_pk == Source.pk))
        .order_by(inner.c.spectrum_pk),
    ]
    wanted = to_table(Rocket, columns=["teff", "modified"], v_astra="0.9")
    for query in within:
        table = to_table(query)
        assert table.colnames == ["t", "modified", "f", "last"]
        assert (table["t"].dtype, table["t"].unit, table["t"].tolist()) == (np.float32, "K", wanted["teff"].tolist())
        assert table["modified"].tolist() == wanted["modified"].tolist()
        assert table["f"].tolist() == [False, True, False, True]
        assert (table["last"].dtype, table["last"].unit) == (np.int32, "d")


def test_columns_of_a_union_hold_the_values_of_all_it_is_made_of(results: list[Any]) -> None:
    Source.update(sdss_id=2**40 + 1).where(Source.pk == results[0].source_pk).execute()
    one, other = Rocket.select(Rocket.v_astra).where(Rocket.teff > 7000), Source.select(Source.sdss_id)
    both = (one + other.where(Source.sdss_id > 2**40)).order_by(peewee.SQL("1"))
    named = both.cte("both")
    for query in (both, peewee.Select([named], [named.c.v_astra]).with_cte(named).bind(Rocket._meta.database)):
        assert to_table(query)["v_astra"].tolist() == [8000, 9000, 2**40 + 1]


def test_a_function_of_columns_of_several_types_holds_them_all(results: list[Any]) -> None:
    query = Rocket.select(
        peewee.fn.COALESCE(Rocket.pipeline_run_pk, Source.sdss_id + 2**40).alias("sum"),
        peewee.fn.COALESCE(Rocket.pipeline_run_pk, Source.catalogid).alias("any"),
        peewee.fn.COALESCE(Rocket.pipeline_run_pk, 0.5),
        peewee.fn.COALESCE(Rocket.teff, 0),
    )
    Source.update(catalogid=2**40 + Source.pk).execute()
    table = to_table(query.join(Source).where(Rocket.v_astra == 9000).order_by(Rocket.teff.asc(nulls="LAST")))
    assert table["sum"].tolist() == [2**40 + 1000 + n for n in (1, 4, 3, 2)]
    assert (table["any"] - 2**40).tolist() == [results[n].source_pk for n in (0, 3, 2, 1)]
    assert table["coalesce_pipeline_run_pk"].tolist() == [0.5] * 4
    assert (table["coalesce_teff"].dtype, table["coalesce_teff"].tolist()[-1]) == (np.float32, 0.0)


def test_a_function_over_a_window_is_called_by_it_and_has_its_type(results: list[Any]) -> None:
    by = {"partition_by": [Rocket.spectrum_pk], "order_by": [Rocket.v_astra]}
    table = to_table(
        Rocket.select(
            Rocket.v_astra,
            peewee.fn.ROW_NUMBER().over(**by),
            peewee.fn.LAG(Rocket.teff).over(**by),
        ).order_by(Rocket.v_astra, Rocket.spectrum_pk)
    )
    assert table.colnames == ["v_astra", "row_number", "lag_teff"]
    assert (table["lag_teff"].unit, table["row_number"].tolist()) == ("K", [1] * 4 + [2] * 4)
    assert table["lag_teff"].tolist() == [None] * 4 + [5000.0, None, 7000.5, 6000.0]


def test_a_bit_of_the_targeting_flags_is_true_or_false(results: list[Any]) -> None:
    table = to_table(Source.select(Source.has_target_bit(5).alias("a"), Source.has_any_target_bit(5, 6).alias("b")))
    assert (table["a"].dtype, table["b"].dtype) == (bool, bool)
    assert table["a"].tolist() == table["b"].tolist() == [False] * 4


def test_rows_of_the_newest_and_distinct_and_unions_are_tables(results: list[Any]) -> None:
    assert len(to_table(Rocket.latest(Rocket.teff, Source.sdss_id).join(Source))) == 4
    assert to_table(Rocket.select(Rocket.v_astra).distinct().order_by(Rocket.v_astra))["v_astra"].tolist() == [
        8000,
        9000,
    ]
    both = Rocket.select(Rocket.teff).where(Rocket.teff > 6500) | Rocket.select(Rocket.teff).where(Rocket.teff < 5500)
    assert sorted(to_table(both)["teff"].tolist()) == [5000.0, 7000.5]
    with pytest.raises(SelectionError, match="a union takes no further condition"):
        to_table(both, where="teff > 1")


def test_nothing_found_and_nothing_known_are_tables_too(results: list[Any]) -> None:
    empty = to_table(Rocket.select(Rocket.teff, peewee.Value(1).alias("one")).where(Rocket.teff < 0))
    assert (len(empty), empty.colnames, empty["teff"].dtype) == (0, ["teff", "one"], np.float32)
    nothing = to_table(Rocket.select(peewee.Value(None).alias("nothing"), peewee.Value("a").alias("text")).limit(1))
    assert nothing["nothing"].mask.tolist() == [True] and nothing["text"].tolist() == ["a"]


def test_what_does_not_go_with_a_query_is_said(results: list[Any]) -> None:
    query = Rocket.select(Rocket.teff)
    with pytest.raises(SelectionError, match="go with a model"):
        to_table(query, latest=True)
    with pytest.raises(SelectionError, match="did you mean teff"):
        to_table(query, columns=["tef"])
    with pytest.raises(SelectionError, match="did you mean teff"):
        to_table(query, where="tef > 1")


def test_columns_and_text_conditions_of_a_model(results: list[Any]) -> None:
    table = to_table(Rocket, where="teff > 5500 and not flag_low_snr", columns=["spectrum_pk", "teff"], v_astra="0.9")
    assert table.colnames == ["spectrum_pk", "teff"]
    assert table["teff"].tolist() == [7000.5]


def test_only_what_selects_is_read(results: list[Any]) -> None:
    named = Rocket.select(Rocket.teff).cte("named")
    for given, message in [
        (Rocket.update(teff=1).returning(Rocket.teff), "a query that selects"),
        (Rocket.delete(), "a query that selects"),
        (Rocket.get(), "a query that selects, such as .*, not of <Rocket 1"),
        ("rocket", "not of 'rocket'"),
        (Rocket.raw("SELECT teff FROM rocket"), "columns of raw SQL aren't known"),
        (named, "select from it"),
        (BaseModel, "a base of other models"),
        (results[0].results, "a query that selects"),
    ]:
        with pytest.raises(SelectionError, match=message):
            to_table(given)
    assert Rocket.select().where(Rocket.teff == 1).count() == 0
    assert to_table(Rocket.alias("r"), columns=["teff"], limit=1)["teff"].tolist() == [5000.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": []}, "no columns are named"),
        ({"columns": [Rocket.teff]}, "by their names, such as 'teff'"),
        ({"limit": -1}, "0 or more, not -1"),
        ({"limit": "2"}, "a number of rows, not '2'"),
        ({"where": [Rocket.teff > 1]}, "a condition is written as"),
    ],
)
def test_what_rows_can_not_be_chosen_by_is_said(results: list[Any], options: Any, message: str) -> None:
    for model in (Rocket, Rocket.select()):
        with pytest.raises(SelectionError, match=message):
            to_table(model, **options)


def test_columns_and_limits_are_taken_in_any_usual_form(results: list[Any]) -> None:
    for model in (Rocket, Rocket.select().order_by(Rocket.task_pk)):
        table = to_table(model, columns="spectrum_pk, teff", limit=np.int64(2))
        assert (table.colnames, table["teff"].tolist()) == (["spectrum_pk", "teff"], [5000.0, None])
        assert to_table(model, columns=["teff", "teff"]).colnames == ["teff"]


def test_rows_of_a_model_are_not_chosen_by_a_table_that_is_not_beside_it(results: list[Any]) -> None:
    for condition in (Source.sdss_id == 1, (Rocket.teff > 1) & ~(peewee.fn.ABS(Source.sdss_id) > 1)):
        with pytest.raises(SelectionError, match=r"about Source, .* add joins=\[Source\]"):
            to_table(Rocket, where=condition)
        assert len(to_table(Rocket, where=condition, joins=[Source])) == 0
    there = Rocket.source_pk.in_(Source.select(Source.pk).where(Source.sdss_id == 1001))
    assert len(to_table(Rocket, where=there)) == 2


def test_sdss_ids_are_whole_numbers(results: list[Any]) -> None:
    for given in (1001, "1001", np.array(1001), [1001.5], [float("nan")], ["x"], [None]):
        with pytest.raises(SelectionError, match="sdss_ids are"):
            to_table(Rocket, sdss_ids=given)
    assert len(to_table(Rocket, sdss_ids=np.array([1001.0, 1003.0]))) == 4


def test_a_model_without_a_table_says_how_to_make_it(database: peewee.Database) -> None:
    SnowWhite.drop_table()
    try:
        for ask in (
            lambda: to_table(SnowWhite),
            lambda: to_table(Rocket, joins=[SnowWhite]),
            lambda: compare("0.9", "0.10", SnowWhite),
        ):
            with (
                database.atomic(),
                pytest.raises(MissingTableError, match="for SnowWhite; make all tables with `astra init`"),
            ):
                ask()
    finally:
        SnowWhite.create_table()


def test_a_view_is_read_as_a_table(results: list[Any]) -> None:
    table = quoted_table(Rocket)
    view = table.replace("rocket", "rocket_kept")
    database = Rocket._meta.database
    database.execute_sql(f"ALTER TABLE {table} RENAME TO rocket_kept")
    database.execute_sql(f"CREATE VIEW {table} AS SELECT * FROM {view}")
    try:
        assert len(to_table(Rocket, columns=["teff"])) == 8
    finally:
        database.execute_sql(f"DROP VIEW {table}")
        database.execute_sql(f"ALTER TABLE {view} RENAME TO rocket")
