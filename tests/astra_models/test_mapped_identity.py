"""Tables with a mapping: what is an identifier, which rows are one star, and when such a file is known."""

from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models.ingest import ResultFileReport, ingest_result_file
from astra_models.ingest.rows.positions import directions_of, separations
from astra_models.ingest.rows.sources import Apart, _in_order, _Matcher, _Sky
from astra_models.ingest.tables.mapping import MappingError, load_mapping
from astra_models.ingested import UNKNOWN_MAPPING, IngestedFile, ingested_before
from astra_models.rejected import RejectedResult
from astra_models.source import Source

ARCMIN = 1 / 60
IDS = {"gaia_dr3_source_id": "REF_ID", "sdss4_apogee_id": "NAME"}
POSITION = {"ra": "RA", "dec": "DEC"}


def mapping(columns: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"tables": {"Source": columns or {"gaia_dr3_source_id": "REF_ID", **POSITION}}} | more


def ingest(path: Path, columns: dict[str, Any], given: dict[str, Any], **options: Any) -> ResultFileReport:
    Table(columns).write(path, overwrite=True)
    return ingest_result_file(path, mapping=given, **options)


def reasons() -> list[str]:
    return [row.message for row in RejectedResult.select().order_by(RejectedResult.pk)]


def positions() -> list[tuple[int | None, float | None, float | None]]:
    return [(row.gaia_dr3_source_id, row.ra, row.dec) for row in Source.select().order_by(Source.pk)]


# ---- identifiers


@pytest.mark.parametrize("missing", [0, -1, -9999, -(2**63)])
def test_targets_without_an_identifier_are_not_one_star(
    database: peewee.Database, tmp_path: Path, missing: int
) -> None:
    table = {"REF_ID": [missing, 17, missing], "RA": [1.0, 2.0, 3.0], "DEC": [0.0, 0.0, 0.0]}
    report = ingest(tmp_path / "t.fits", table, mapping())
    assert (report.rejected, report.tables["source"]["inserted"]) == (2, 1)
    assert positions() == [(17, 2.0, 0.0)]
    assert all("no identifier of a source" in reason for reason in reasons())


def test_other_identifiers_tell_such_stars_apart(database: peewee.Database, tmp_path: Path) -> None:
    table = {"REF_ID": [0, 0], "NAME": ["2M01", "2M02"], "RA": [1.0, 2.0], "DEC": [0.0, 0.0]}
    report = ingest(tmp_path / "t.fits", table, mapping(IDS | POSITION))
    assert (report.rejected, report.tables["source"]["inserted"]) == (0, 2)
    assert [row.gaia_dr3_source_id for row in Source.select()] == [None, None]


def test_a_mapping_may_say_that_identifiers_are_negative(database: peewee.Database, tmp_path: Path) -> None:
    table = {"ID": [0, -1, -(2**63)]}
    report = ingest(tmp_path / "t.fits", table, mapping({"catalogid": {"from": "ID", "signed": True}}))
    assert report.rejected == 0
    assert [row.catalogid for row in Source.select().order_by(Source.catalogid)] == [-(2**63), -1, 0]


@pytest.mark.parametrize("kind", ["text", "float"])
def test_identifiers_of_any_type_are_missing(database: peewee.Database, tmp_path: Path, kind: str) -> None:
    values = ["0", "-1", "null", "17", "NaN", ""] if kind == "text" else [0.0, -1.0, np.nan, 17.0, -(2.0**63), -0.0]
    report = ingest(tmp_path / "t.fits", {"REF_ID": values}, mapping({"gaia_dr3_source_id": "REF_ID"}))
    assert (report.rejected, report.tables["source"]["inserted"]) == (5, 1)
    assert Source.get().gaia_dr3_source_id == 17


def test_names_that_say_nothing_are_no_names(database: peewee.Database, tmp_path: Path) -> None:
    names = ["", "null", "None", "nan", "N/A", "-9999", "0", "0.0", "2M17", "-9999"]
    report = ingest(tmp_path / "t.fits", {"NAME": names}, mapping({"sdss4_apogee_id": "NAME"}))
    assert report.rejected == 9
    assert [row.sdss4_apogee_id for row in Source.select()] == ["2M17"]


@pytest.mark.parametrize(
    "values",
    [np.array([4295806720.0, 3.0e18, 3.0e18]), ["4295806720", "3e18", "3.0e18"], np.array([5, 2**25, 2**25], "f4")],
)
def test_identifiers_that_lost_their_digits_are_refused(database: peewee.Database, tmp_path: Path, values: Any) -> None:
    report = ingest(tmp_path / "t.fits", {"REF_ID": values}, mapping({"gaia_dr3_source_id": "REF_ID"}))
    assert (report.rejected, report.tables["source"]["inserted"]) == (2, 1)
    assert all("a float, can't hold an identifier of so many digits" in reason for reason in reasons())


# ---- stars that are far apart


def test_labels_are_no_numbers(database: peewee.Database, tmp_path: Path) -> None:
    """Python takes 1_2 for 12."""
    table = {"REF_ID": ["17", "1_7", "18", "19", "20"], "RA": ["1.5", "1", "1_0", "1e400", "1e2"], "DEC": [0.0] * 5}
    report = ingest(tmp_path / "t.ecsv", table, mapping())
    assert (report.rejected, positions()) == (3, [(17, 1.5, 0.0), (20, 100.0, 0.0)])
    wrong = ("'1_7' is not a whole number", "'1_0' is not a number", "'1e400' is not a number")
    assert all(one in reason for one, reason in zip(wrong, reasons(), strict=True))


@pytest.mark.parametrize(
    "reader", [None, {"columns": ["Name", "[odd]! *", "RA", "DEC"], "data_line": 2, "delimiter": ","}]
)
def test_names_of_digits_stay_as_they_are_written(
    database: peewee.Database, tmp_path: Path, reader: dict[str, Any] | None
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Name,[odd]! *,RA,DEC\n007,1.10,1.5,2\n0070,1e5,2.5,2\n,5,3.5,2\n")
    columns = {"sdss4_apogee_id": "NAME", "lead": "[odd]! *", "ra": "RA", "sdss_id": {"from": "RA", "regex": r"^\d"}}
    report = ingest_result_file(path, mapping=mapping(columns) | ({"reader": reader} if reader else {}))
    assert report.rejected == 0
    rows = [(row.sdss4_apogee_id, row.lead, row.ra) for row in Source.select().order_by(Source.ra)]
    assert rows == [("007", "1.10", 1.5), ("0070", "1e5", 2.5), (None, "5", 3.5)]


def test_stars_far_apart_are_not_merged_and_it_is_said(database: peewee.Database, tmp_path: Path) -> None:
    table = {"REF_ID": [5, 5, 5, 6], "RA": [10.0, 10.0, 200.0, 10.0], "DEC": [0.0, 0.9 * ARCMIN, 0.0, 1.0]}
    report = ingest(tmp_path / "t.fits", table, mapping())
    assert (report.rejected, report.tables["source"]["inserted"]) == (1, 2)
    [reason] = reasons()
    assert "row 2: another star has the same identifier" in reason
    assert "gaia_dr3_source_id 5 is that of row 0 already, 170 deg away" in reason
    assert "(1 arcmin)" in reason


def test_the_stored_star_counts_too(database: peewee.Database, tmp_path: Path) -> None:
    star = Source.create(gaia_dr3_source_id=5, ra=10.0, dec=0.0)
    nowhere = Source.create(gaia_dr3_source_id=6)
    table = {"REF_ID": [5, 5, 6, 6], "RA": [10.0, 10.0, 1.0, 1.0], "DEC": [0.9 * ARCMIN, 1.1 * ARCMIN, 1.0, 2.0]}
    report = ingest(tmp_path / "t.fits", table, mapping())
    assert (report.rejected, report.tables["source"]["updated"]) == (2, 2)
    assert f"is that of the stored source {star.pk} already, 1.1 arcmin away" in reasons()[0]
    assert "gaia_dr3_source_id 6 is that of row 2 already" in reasons()[1]
    assert Source.get_by_id(nowhere.pk).dec == 1.0


def test_what_a_refused_row_says_leads_no_other_to_the_star(database: peewee.Database, tmp_path: Path) -> None:
    table = {
        "ID": [1, 1, -1],  # the second has the first's sdss_id by mistake; the third is the second star itself
        "REF_ID": [11, 12, 12],
        "RA": [10.0, 50.0, 50.0],
        "DEC": [0.0, 0.0, 0.0],
    }
    report = ingest(tmp_path / "t.fits", table, mapping({"sdss_id": "ID", "gaia_dr3_source_id": "REF_ID", **POSITION}))
    assert (report.rejected, report.tables["source"]["inserted"]) == (1, 2)
    assert positions() == [(11, 10.0, 0.0), (12, 50.0, 0.0)]
    assert "sdss_id 1 is that of row 0 already" in reasons()[0]


def test_rows_without_a_position_are_merged_as_before(database: peewee.Database, tmp_path: Path) -> None:
    table = {"REF_ID": [5, 5, 5, 5], "RA": [np.nan, 10.0, np.nan, -9999.0], "DEC": [0.0, 0.0, np.nan, 0.0]}
    report = ingest(tmp_path / "t.fits", table, mapping(missing=-9999))
    assert (report.rejected, report.tables["source"]["inserted"]) == (0, 1)


@pytest.mark.parametrize(
    ("one", "other", "is_far"),
    [
        ((359.999, 0.0), (0.001, 0.0), False),
        ((359.999, 0.0), (-0.001, 0.0), False),
        ((0.0, 89.999), (180.0, 89.999), False),
        ((0.0, 89.95), (180.0, 89.95), True),
        ((0.0, 89.999), (0.0, -89.999), True),
        ((10.0, 60.0), (10.03, 60.0), False),
        ((10.0, 0.0), (10.03, 0.0), True),
    ],
)
def test_the_pole_and_the_meridian_are_places_like_others(
    database: peewee.Database, tmp_path: Path, one: tuple[float, float], other: tuple[float, float], is_far: bool
) -> None:
    table = {"REF_ID": [5, 5], "RA": [one[0], other[0]], "DEC": [one[1], other[1]]}
    assert ingest(tmp_path / "t.fits", table, mapping()).rejected == int(is_far)


@pytest.mark.parametrize(("allowed", "rejected"), [(30, 2), (60.0, 1), (3600 * 2, 0), (None, 0)])
def test_the_mapping_says_how_far(
    database: peewee.Database, tmp_path: Path, allowed: float | None, rejected: int
) -> None:
    table = {"REF_ID": [5, 5, 5], "RA": [0.0, 0.0, 0.0], "DEC": [0.0, 45 / 3600, 1.5]}
    assert ingest(tmp_path / "t.fits", table, mapping(max_separation=allowed)).rejected == rejected


@pytest.mark.parametrize("given", [0, -1, True, "60", float("nan")])
def test_a_separation_that_is_no_angle_is_an_error(given: Any) -> None:
    with pytest.raises(MappingError, match=r"max_separation is .*; give an angle in arcsec, or null"):
        load_mapping(mapping(max_separation=given))
    with pytest.raises(MappingError, match="'signed' is true or false"):
        load_mapping(mapping({"sdss_id": {"from": "ID", "signed": "yes"}}))


def test_a_file_goes_in_again_as_it_did(database: peewee.Database, tmp_path: Path) -> None:
    table = {"REF_ID": [5, 5, 6], "RA": [10.0, 20.0, 10.0], "DEC": [0.0, 0.0, 1.0]}
    first = ingest(tmp_path / "t.fits", table, mapping())
    before = positions()
    again = ingest(tmp_path / "t.fits", table, mapping(), again=True)
    assert again.rejected == first.rejected == len(reasons()) == 1
    assert positions() == before


NUMBERS = st.integers(0, 3)
PLACES = st.sampled_from([(10.0, 0.0), (10.001, 0.0), (10.0, 40.0), (359.999, 89.999), (np.nan, np.nan), (10.012, 0.0)])


@given(st.lists(st.tuples(NUMBERS, NUMBERS, PLACES), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_star_is_made_of_rows_that_are_far_apart(rows: list[tuple[int, int, tuple[float, float]]]) -> None:
    """Whatever the identifiers: accepted rows of one source are near its reference, and all others are refused."""
    ids = [tuple(value or None for value in row[:2]) for row in rows]
    ra, dec = np.array([row[2][0] for row in rows]), np.array([row[2][1] for row in rows])
    here = directions_of(ra, dec)
    sky = _Sky(here, Apart(60.0, np.arange(len(rows))))
    names = ["sdss_id", "gaia_dr3_source_id"]
    refused = sky.refuse(_Matcher(names, True), ids, _in_order(ids))
    kept = [place for place in range(len(rows)) if place not in refused]
    matcher = _Matcher(names, True)
    numbers = {identity: matcher.match(identity) for identity in _in_order([ids[place] for place in kept])}
    for source in set(numbers.values()):
        there = here[[place for place in kept if numbers.get(ids[place]) == source]]
        there = there[~np.isnan(there[:, 0])]
        if len(there):  # all of them within the limit of one of them
            assert min(separations(one, there).max() for one in there) <= 60.0


# ---- the mapping belongs to the file's identity


def test_a_mended_mapping_is_not_known_already(database: peewee.Database, tmp_path: Path) -> None:
    table = {"REF_ID": [5, 6], "RA": [1.0, 2.0], "DEC": [3.0, 4.0]}
    path = tmp_path / "t.fits"
    wrong, mended = mapping({"gaia_dr3_source_id": "REF_ID", "ra": "DEC"}), mapping()
    ingest(path, table, wrong)
    assert ingest_result_file(path, mapping=wrong).known

    report = ingest_result_file(path, mapping=mended)

    assert not report.known
    assert report.tables["source"]["updated"] == 2
    assert any("before by another mapping" in note for note in report.notes)
    assert positions() == [(5, 1.0, 3.0), (6, 2.0, 4.0)]
    assert ingest_result_file(path, mapping=mended).known
    assert ingest_result_file(path, mapping=wrong).known
    checksums = {load_mapping(given).checksum for given in (wrong, mended)}
    assert {row.mapping for row in IngestedFile.select()} == checksums
    assert len({row.sha256 for row in IngestedFile.select()}) == 1


def test_what_does_not_matter_of_a_mapping_changes_no_checksum(tmp_path: Path) -> None:
    text = "name: a\ntables:\n  Source:\n    sdss_id: ID\n    ra: {from: RA, values: {x: y, z: w}}\n"
    other = "# mine\ntables: {Source: {ra: {values: {z: w, x: y}, from: [RA]}, sdss_id: ID}}\n"
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(other)
    assert load_mapping(tmp_path / "a.yaml").checksum == load_mapping(tmp_path / "b.yaml").checksum
    for change in ("ID2", "{from: ID, scale: 2}", "{from: ID, signed: true}"):
        (tmp_path / "b.yaml").write_text(other.replace("sdss_id: ID", f"sdss_id: {change}"))
        assert load_mapping(tmp_path / "a.yaml").checksum != load_mapping(tmp_path / "b.yaml").checksum


def test_by_which_mapping_an_older_release_read_a_file_is_not_known(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "t.fits"
    report = ingest(path, {"REF_ID": [5], "RA": [1.0], "DEC": [3.0]}, mapping())
    IngestedFile.update(mapping=UNKNOWN_MAPPING).execute()
    assert ingest_result_file(path).known  # as before, without a mapping
    assert ingested_before("t.fits", report.sha256, report.mappings) == "mapping"
    again = ingest_result_file(path, mapping=mapping())
    assert (again.known, again.tables["source"]["unchanged"]) == (False, 1)
    assert [row.mapping for row in IngestedFile.select()] == [load_mapping(mapping()).checksum]
    assert ingest_result_file(path, mapping=mapping()).known
