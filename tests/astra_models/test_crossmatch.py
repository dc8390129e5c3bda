"""Sources on the sky: near a position, and matched with a table of one's own."""

import warnings
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import peewee
import pytest
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import QTable, Table
from astropy.time import Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.base import bind
from astra_models.database.config import sqlite_database
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.errors import SelectionError
from astra_models.products import to_table
from astra_models.schema.tables import create_tables
from astra_models.sky import SOURCE_EPOCH, crossmatch
from astra_models.sky.cells import SourceCell, update_cells
from astra_models.sky.motion import at_epoch
from astra_models.source import Source

pytestmark = pytest.mark.long_on_each
BARNARD = {"ra": 269.44850252543836, "dec": 4.739420051112412, "pmra": -801.551, "pmde": 10362.394}


def store(*positions: tuple[float | None, float | None], **columns: Any) -> list[Source]:
    return [Source.create(sdss_id=100 + n, ra=ra, dec=dec, **columns) for n, (ra, dec) in enumerate(positions)]


def pairs(table: Table) -> list[tuple[str, int]]:
    return [(row["name"], row["sdss_id"]) for row in table]


@pytest.fixture
def stars(database: peewee.Database) -> list[Source]:
    """Store sources at both poles, on both sides of 0h, and two 3 arcsec apart."""
    return store((10, 0), (10 + 3 / 3600, 0), (359.9999, -30), (0.0001, -30), (123, 90), (0, -90), (None, None))


@pytest.fixture
def own() -> Table:
    return Table(
        {
            "name": ["a", "b", "north", "south", "off", "none"],
            "ra": [10 + 1 / 3600, 0.0, 300, 200, 50, np.nan],
            "dec": [0.0, -30.0, 89.9999, -89.9999, 50, 0],
        }
    )


# ---- by position


def test_the_nearest_within_the_radius(stars: list[Source], own: Table) -> None:
    matched = crossmatch(own, 2 * u.arcsec)
    assert pairs(matched) == [("a", 100), ("b", 102), ("north", 104), ("south", 105)] or pairs(matched)[1] == ("b", 103)
    assert matched["separation"][0] == pytest.approx(1, abs=1e-6)
    assert matched["separation"].unit == u.arcsec
    assert matched["source_pk"][0] == stars[0].pk
    assert set(matched["matched_by"]) == {"position"}


def test_every_one_within_the_radius(stars: list[Source], own: Table) -> None:
    matched = crossmatch(own, 2.5, all=True)
    assert pairs(matched)[:2] == [("a", 100), ("a", 101)]
    assert sorted(pairs(matched)[2:4]) == [("b", 102), ("b", 103)]


def test_rows_without_a_source_can_be_kept(stars: list[Source], own: Table) -> None:
    matched = crossmatch(own, 2 * u.arcsec, left=True)
    assert matched["name"].tolist() == own["name"].tolist()
    for column in ("sdss_id", "source_pk", "separation", "matched_by", "disagrees"):
        assert matched[column].mask.tolist() == [False] * 4 + [True] * 2


def test_the_table_stays_as_it_is(stars: list[Source], own: Table) -> None:
    before = own.copy()
    crossmatch(own, 1 * u.deg)
    assert own.colnames == before.colnames
    assert len(own) == len(before)


@pytest.mark.parametrize("form", ["SkyCoord", "mixin", "QTable", "pandas", "names", "radians", "text", "masked"])
def test_positions_in_any_usual_form(stars: list[Source], form: str) -> None:
    ra, dec = np.array([10 + 1 / 3600, 0.0]), np.array([0.0, 89.9999])
    coord = SkyCoord(ra, dec, unit="deg")
    forms: dict[str, Any] = {
        "SkyCoord": coord,
        "mixin": Table({"place": coord.galactic}),
        "QTable": QTable({"ra": ra * u.deg, "dec": dec * u.deg}),
        "pandas": pd.DataFrame({"RA": ra, "DEC": dec}),
        "names": Table({"RAJ2000": ra, "DEJ2000": dec}),
        "radians": Table({"ra": np.radians(ra) * u.rad, "dec": np.radians(dec) * u.rad}),
        "text": Table({"ra": coord.ra.to_string("hour", precision=8), "dec": coord.dec.to_string("deg", precision=8)}),
        "masked": Table({"ra": np.ma.array([*ra, 0], mask=[0, 0, 1]), "dec": [*dec, 0]}),
    }
    assert crossmatch(forms[form], 2 * u.arcsec)["sdss_id"].tolist() == [100, 104]


positions = st.tuples(
    st.one_of(st.floats(0, 360), st.sampled_from([0.0, 45.0, 90.0, 359.99999, 360.0])),
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 0.0, 41.8103, -41.8103, 89.99999, 90.0])),
)
some = st.lists(positions, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sources=some, rows=some, radius=st.sampled_from([0.0, 1e-3, 5.0, 12.8, 60.0, 3600.0, 36e3, 36e4, 648e3]))
def test_the_same_pairs_as_astropy(memory_database: Any, sources: Any, rows: Any, radius: float) -> None:
    near = [(ra, max(-90, min(90, dec + radius / 7200))) for ra, dec in rows]  # some that are close
    Source.delete().execute()
    stored = [Source.create(ra=ra, dec=dec).pk for ra, dec in sources + near]
    table = Table(rows=[(n, *row) for n, row in enumerate(rows)], names=["n", "ra", "dec"], dtype=[int, float, float])
    matched = crossmatch(table, radius, all=True, identifiers=False)
    wanted = set()
    if rows:
        theirs = SkyCoord(*np.array(sources + near).T, unit="deg")
        one, other, _, _ = search_around_sky(SkyCoord(*np.array(rows).T, unit="deg"), theirs, radius * u.arcsec)
        wanted = {(row, stored[source]) for row, source in zip(one.tolist(), other.tolist(), strict=True)}
    assert {(row["n"], row["source_pk"]) for row in matched} == wanted


# ---- the index


def test_the_index_follows_whatever_changes_a_position(stars: list[Source], own: Table) -> None:
    crossmatch(own, 2 * u.arcsec)
    assert update_cells() == 0
    Source.update(ra=50, dec=50).where(Source.pk == stars[0].pk).execute()
    Source._meta.database.execute_sql(f"UPDATE {quoted_table(Source)} SET ra = 51, dec = 51 WHERE pk = {stars[1].pk}")
    Source.create(sdss_id=200, ra=10, dec=0)
    assert pairs(crossmatch(own, 2 * u.arcsec))[0] == ("a", 200)
    assert ("off", 100) in pairs(crossmatch(own, 2 * u.arcsec))
    assert update_cells() == 0


def test_a_source_that_is_gone_is_not_found(stars: list[Source], own: Table) -> None:
    assert pairs(crossmatch(own, 2.5))[0] == ("a", 100)
    Source.delete().where(Source.pk == stars[0].pk).execute()
    assert pairs(crossmatch(own, 2.5))[0] == ("a", 101)
    assert SourceCell.select().count() == 5


@pytest.mark.parametrize("lost", [{"ra": None, "dec": None}, {"dec": None}, {"dec": 91.0}, {"ra": float("nan")}])
def test_a_source_that_has_no_position_any_more_is_not_found(stars: list[Source], own: Table, lost: Any) -> None:
    assert pairs(crossmatch(own, 2.5))[0] == ("a", 100)
    Source.update(**lost).where(Source.pk == stars[0].pk).execute()
    assert pairs(crossmatch(own, 2.5))[0] == ("a", 101)
    assert [row.sdss_id for row in Source.near(SkyCoord(10, 0, unit="deg"), 5)] == [101]
    assert update_cells() == 0


def test_who_can_only_read_does_not_find_a_source_that_is_gone(stars: list[Source], own: Table) -> None:
    crossmatch(own, 2.5)
    Source.delete().where(Source.pk == stars[0].pk).execute()
    database = Source._meta.database
    setting = "default_transaction_read_only" if is_postgresql(database) else "query_only"
    say = "SET" if is_postgresql(database) else "PRAGMA"
    database.execute_sql(f"{say} {setting} = on")
    try:
        matched = crossmatch(own, 2.5)
    finally:
        database.execute_sql(f"{say} {setting} = off")
    assert pairs(matched)[0] == ("a", 101)
    assert "can't be brought up to date" in matched.meta["sky_index"]


def test_it_is_made_where_there_is_none(stars: list[Source], own: Table) -> None:
    SourceCell.drop_table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matched = crossmatch(own, 2 * u.arcsec)
    assert pairs(matched)[0] == ("a", 100)
    assert "no table source_cell" in matched.meta["sky_index"]
    create_tables([SourceCell])


def test_a_database_that_can_only_be_read(tmp_path: Path, memory_database: peewee.Database, own: Table) -> None:
    file = sqlite_database(tmp_path / "astra.db")
    bind(file)
    try:
        create_tables()
        store((10, 0))
        file.close()
        file.execute_sql("PRAGMA query_only = 1")
        matched = crossmatch(own, 2 * u.arcsec, epoch=2000.0)
        assert pairs(matched) == [("a", 100)]
        assert "can't be brought up to date" in matched.meta["sky_index"]
        file.execute_sql("PRAGMA query_only = 0")
        update_cells()
        file.execute_sql("PRAGMA query_only = 1")
        assert "sky_index" not in crossmatch(own, 2 * u.arcsec).meta
    finally:
        file.close()
        bind(memory_database)


# ---- motion


def test_a_fast_star_is_found_at_another_epoch(database: peewee.Database) -> None:
    Source.create(sdss_id=1, **BARNARD)
    coord = SkyCoord(
        *(BARNARD["ra"] * u.deg, BARNARD["dec"] * u.deg),
        pm_ra_cosdec=BARNARD["pmra"] * u.mas / u.yr,
        pm_dec=BARNARD["pmde"] * u.mas / u.yr,
        distance=1.83 * u.pc,
        obstime=Time(2016.0, format="jyear"),
    )
    then = coord.apply_space_motion(Time(1991.25, format="jyear"))
    table = Table({"ra": [then.ra.deg], "dec": [then.dec.deg]})
    assert len(crossmatch(table, 1 * u.arcmin)) == 0
    matched = crossmatch(table, 1 * u.arcsec, epoch=1991.25)
    assert matched["sdss_id"].tolist() == [1]
    assert matched["separation"][0] < 0.05


@pytest.mark.parametrize("epoch", [Time(1991.25, format="jyear"), Time("1991-04-02T13:30:00", scale="tt"), 1991.25])
def test_an_epoch_is_a_year_or_a_time(database: peewee.Database, epoch: Any) -> None:
    Source.create(sdss_id=1, **BARNARD)
    lon, lat = at_epoch(*(np.array([BARNARD[name]]) for name in ("ra", "dec", "pmra", "pmde")), 1991.25 - SOURCE_EPOCH)
    table = Table({"ra": lon, "dec": lat})
    assert crossmatch(table, 0.1 * u.arcsec, epoch=epoch)["sdss_id"].tolist() == [1]
    given = {"epoch": epoch, "source_epoch": epoch}
    assert len(crossmatch(table, 1 * u.arcmin, **given)) == 0
    table = Table({"ra": [BARNARD["ra"]], "dec": [BARNARD["dec"]]})
    assert crossmatch(table, 0.1 * u.arcsec, **given)["sdss_id"].tolist() == [1]


@pytest.mark.parametrize("radius", [1 * u.arcsec, 20 * u.deg])
def test_fast_stars_are_found_with_the_whole_sky_read(database: peewee.Database, radius: u.Quantity) -> None:
    Source.create(sdss_id=1, **BARNARD)
    Source.create(sdss_id=2, ra=270.0, dec=-60.0)
    lon, lat = at_epoch(*(np.array([BARNARD[name]]) for name in ("ra", "dec", "pmra", "pmde")), -100)
    table = Table({"ra": lon, "dec": lat})
    for _ in range(2):
        matched = crossmatch(table, radius, epoch=1916.0, all=True)
        assert matched["sdss_id"].tolist() == [1]
        assert matched["separation"][0] < 1e-3


def test_an_infinite_motion_is_none(database: peewee.Database) -> None:
    Source.create(sdss_id=1, ra=10, dec=0, pmra=float("inf"), pmde=0)
    matched = crossmatch(Table({"ra": [10.0], "dec": [0.0]}), 1 * u.arcsec, epoch=2000.0)
    assert matched["sdss_id"].tolist() == [1]
    assert "sky_index" not in matched.meta


def test_a_star_moves_over_a_pole() -> None:
    ra, dec = at_epoch(np.array([0.0]), np.array([90 - 1 / 3600]), np.array([0.0]), np.array([1000.0]), 3.0)
    assert (ra[0], dec[0]) == pytest.approx((180, 90 - 2 / 3600))


# ---- by identifier


def test_identifiers_count_before_positions(stars: list[Source], own: Table) -> None:
    own["SDSS_ID"] = np.ma.array([102, 0, 0, 105, 999, 103], mask=[0, 0, 0, 0, 0, 0])
    matched = crossmatch(own, 2 * u.arcsec)
    by = {row["name"]: (row["sdss_id"], row["matched_by"], bool(row["disagrees"])) for row in matched}
    assert by["a"] == (102, "sdss_id", True)
    assert by["south"] == (105, "sdss_id", False)
    assert by["north"] == (104, "position", False)
    assert by["none"] == (103, "sdss_id", False)
    assert "off" not in by


def test_text_is_compared_without_blanks_and_case(database: peewee.Database) -> None:
    Source.create(sdss_id=1, sdss4_apogee_id="2M18583782+4822494")
    Source.create(sdss_id=2, sdss4_apogee_id=" 2M00000002+7417074 ")
    table = Table({"star": ["2m18583782+4822494 ", "2M 00000002+7417074", "", "2M"]})
    matched = crossmatch(table, identifiers={"star": "sdss4_apogee_id"}, left=True)
    assert matched["sdss_id"].tolist() == [1, 2, None, None]
    assert matched["separation"].mask.all()


@pytest.mark.parametrize(
    "values", [[5, 7], ["5", " 7 "], [5.0, 7.0], np.array([5, 7], np.uint64), np.ma.array([5, 7, 5], mask=[0, 0, 1])]
)
def test_numbers_in_any_form(database: peewee.Database, values: Any) -> None:
    Source.create(sdss_id=1, gaia_dr3_source_id=5)
    Source.create(sdss_id=2, gaia_dr3_source_id=7)
    table = Table({"gaia_dr3_source_id": values})
    assert crossmatch(table)["sdss_id"].tolist() == [1, 2]


@pytest.mark.parametrize("value", [-1, 0, 2**63 - 1, float("nan"), 1.5, "x", ""])
def test_what_is_no_identifier_matches_nothing(database: peewee.Database, value: Any) -> None:
    Source.create(sdss_id=1, gaia_dr3_source_id=5)
    assert len(crossmatch(Table({"gaia_dr3_source_id": [value]}))) == 0


def test_identifiers_that_name_different_sources_are_said(
    database: peewee.Database, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        Source.create(sdss_id=number, gaia_dr3_source_id=10 + number, sdss4_apogee_id=f"2M{number}", catalogid=7)
    table = Table(
        {
            "sdss_id": np.ma.array([1, 2, 3, 0], mask=[0, 0, 0, 1]),
            "gaia_dr3_source_id": [11, 13, 99, 13],
            "sdss4_apogee_id": ["2m1", "2M1", "", "2M3"],
            "catalogid": [7, 7, 7, 7],
        }
    )
    matched = crossmatch(table)
    assert matched["source_sdss_id"].tolist() == [1, 2, 3, 3]
    assert matched["conflicts"].tolist() == ["", "sdss4_apogee_id, gaia_dr3_source_id", "", ""]
    assert "1 of 4 rows have identifiers of different sources, such as row 1 (sdss_id " in caplog.text
    assert "the strongest counts, here sdss_id" in caplog.text


def test_identifiers_that_agree_are_not_mentioned(database: peewee.Database, caplog: pytest.LogCaptureFixture) -> None:
    Source.create(sdss_id=1, gaia_dr3_source_id=11, ra=1, dec=1)
    table = Table({"sdss_id": [1], "gaia_dr3_source_id": [11], "ra": [1.0], "dec": [1.0]})
    matched = crossmatch(table, 1 * u.arcsec, left=True)
    assert (matched["conflicts"].tolist(), matched["disagrees"].tolist()) == ([""], [False])
    assert caplog.text == ""


# ---- what is refused, and what is empty


def test_nothing_in_nothing_out(database: peewee.Database, own: Table) -> None:
    assert len(crossmatch(own, 1 * u.deg)) == 0
    assert crossmatch(own[:0], 1 * u.deg).colnames[:3] == own.colnames
    assert len(crossmatch(own, 1 * u.deg, left=True)) == len(own)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"x": [1.0]}, {"radius": 1}, "no columns of a position are known among x"),
        ({"x": [1.0]}, {}, "no radius is given"),
        ({"ra": [1.0], "dec": [1.0]}, {"radius": 1 * u.kg}, "a radius is an angle"),
        ({"ra": [1.0], "dec": [1.0]}, {"radius": 1, "epoch": float("nan")}, "an epoch is a year"),
        (
            {"ra": [1.0], "dec": [1.0]},
            {"radius": 1, "epoch": Time([2000, 2001], format="jyear")},
            "one astropy.time.Time",
        ),
        ({"ra": [1.0], "dec": [1.0]}, {"radius": 1, "epoch": 2000, "source_epoch": "J2000"}, "an epoch is a year"),
        ({"ra": [1.0], "dec": [1.0]}, {"radius": -1}, "0 to 180 degrees"),
        ({"ra": [1.0], "dec": [1.0]}, {"radius": 1, "columns": ["gmag"]}, "no column 'gmag'.*g_mag"),
        ({"ra": [1.0], "dec": [1.0]}, {"radius": 1, "ra": "RA"}, "no column 'RA'.*ra"),
        ({"g": [1]}, {"identifiers": {"g": "gaia"}}, "'gaia' is no identifier"),
        ({"g": [1]}, {"identifiers": {"h": "sdss_id"}}, "no column 'h'"),
        ({"g": [1]}, {"identifiers": ["g"]}, "identifiers are given as"),
        ({"g": [1], "h": [1]}, {"identifiers": {"g": "sdss_id", "h": "sdss_id"}}, "'g' and 'h' are given"),
        ({"ra": [1.0] * u.m, "dec": [1.0]}, {"radius": 1}, "of angles, and one is in 'm'"),
        ({"ra": [[1.0, 2.0]], "dec": [[1.0, 2.0]]}, {"radius": 1}, "the column ra has several positions in a row"),
        ({"place": SkyCoord([[1, 2]], [[1, 2]], unit="deg")}, {"radius": 1}, "the column place has several"),
        ({"place": SkyCoord([1], [1], unit="deg", frame="altaz")}, {"radius": 1}, "'altaz' can't be turned into ICRS"),
    ],
)
def test_what_is_refused(memory_database: peewee.Database, table: Any, options: Any, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        crossmatch(Table(table), **options)


def test_no_column_of_the_table_is_replaced(stars: list[Source]) -> None:
    own = Table({name: [5] for name in ("ra", "dec", "sdss_id", "separation", "source_separation", "source_sdss_id")})
    own["ra"], own["dec"] = 10.0, 0.0
    matched = crossmatch(own, 2, identifiers=False, columns=["pk", "sdss_id", "dec", "sdss_id"])
    assert matched[own.colnames].as_array().tolist() == own.as_array().tolist()
    added = ["source_pk", "sdss_id_2", "source_dec", "separation_2", "matched_by", "disagrees", "conflicts"]
    assert matched.colnames == own.colnames + added
    assert (matched["sdss_id_2"][0], matched["separation_2"][0]) == (100, 0.0)


def test_positions_of_any_shape_and_one_column_of_sources(stars: list[Source]) -> None:
    places = SkyCoord([[10, 50], [123, 10]], [[0, 50], [90, 0]], unit="deg")
    matched = crossmatch(places, 2, columns="sdss_id")
    assert matched["sdss_id"].tolist() == [100, 104, 100]


# ---- near


def test_sources_near_a_position(stars: list[Source]) -> None:
    place = SkyCoord(10 + 2 / 3600, 0, unit="deg")
    assert [row.sdss_id for row in Source.near(place, 5 * u.arcsec)] == [101, 100]
    assert Source.near(place.galactic, 5).where(Source.sdss_id == 100).count() == 1
    assert list(Source.near(SkyCoord(50, 50, unit="deg"), 5)) == []
    assert Source.near(place, 180 * u.deg).count() == 6
    with pytest.raises(SelectionError, match="one position"):
        Source.near(SkyCoord([1, 2], [1, 2], unit="deg"), 5)
    with pytest.raises(SelectionError, match="this one is no number"):
        Source.near(SkyCoord(np.nan, 2, unit="deg"), 5)
    with pytest.raises(SelectionError, match="can't be turned into ICRS"):
        Source.near(SkyCoord(1, 2, unit="deg", frame="altaz"), 5)


def test_each_source_near_a_position_has_its_separation(database: peewee.Database) -> None:
    place = SkyCoord(10, 20, unit="deg")
    rng = np.random.default_rng(3)
    for n, (ra, dec) in enumerate(zip(rng.normal(10, 0.1, 700), rng.normal(20, 0.1, 700), strict=True)):
        Source.insert(sdss_id=n, ra=ra, dec=dec).execute()
    query = Source.near(place, 0.2 * u.deg)
    rows = list(query)
    assert len(rows) == query.count() > 500
    separations = [row.separation for row in rows]
    assert separations == sorted(separations)
    assert separations == pytest.approx([row.coord.separation(place).arcsec for row in rows], abs=1e-6)
    table = to_table(query.where(Source.sdss_id < 300))
    assert str(table["separation"].unit) == "arcsec"
    assert table["separation"].tolist() == [row.separation for row in rows if row.sdss_id < 300]
    assert Source.select().where(Source.pk.in_(query)).count() == len(rows)
    assert [row.separation for row in query.limit(3)] == separations[:3]


def test_a_sources_place(database: peewee.Database) -> None:
    barnard = Source.create(**BARNARD).coord
    assert (barnard.ra.deg, barnard.dec.deg) == (BARNARD["ra"], BARNARD["dec"])
    assert barnard.pm_dec.to_value("mas/yr") == pytest.approx(10362.394)
    assert barnard.obstime.jyear == 2016.0
    assert Source(ra=1.0, dec=2.0).coord.separation(SkyCoord(1, 2, unit="deg")) == 0
    assert Source(ra=1.0).coord is None
    assert Source(ra=1.0, dec=91.0).coord is Source(ra=float("nan"), dec=1.0).coord is None


def test_columns_are_named_as_for_tables(database: peewee.Database) -> None:
    Source.create(sdss_id=7, ra=1.0, dec=2.0, g_mag=12.5)
    own = {"ra": [1.0], "dec": [2.0]}
    assert crossmatch(own, 5, columns="sdss_id, g_mag")["g_mag"].tolist() == [12.5]
    assert "sdss_id" not in crossmatch(own, 5, columns=[]).colnames
