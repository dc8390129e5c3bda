"""Proposals of mappings: which ingest as they are, or once they are completed."""

from pathlib import Path

import numpy as np
import peewee
import pytest
import yaml
from astropy.table import Table

from astra_models.errors import UnrecognizedFileError
from astra_models.ingest import ingest_result_file
from astra_models.ingest.tables.guessing import guess_mapping
from astra_models.ingest.tables.mapping import load_mapping
from astra_models.ingest.tables.reading import reader_options
from astra_models.source import Source

pytestmark = pytest.mark.long_on_each


def ingest_by_the_guess(path: Path, guess: str, folder: Path) -> None:
    (folder / "guess.yaml").write_text(guess)
    report = ingest_result_file(path, mapping=folder / "guess.yaml")
    assert report.rejected == 0


@pytest.mark.parametrize("ending", ["ecsv", "fits", "vot"])
def test_a_result_of_astroquery(database: peewee.Database, real_data: Path, tmp_path: Path, ending: str) -> None:
    path = real_data / "astroquery" / f"1714556098855O-result.{ending}"

    guess = guess_mapping(path)

    ingest_by_the_guess(path, guess, tmp_path)
    source = Source.get()
    assert source.gaia_dr3_source_id == 5929246508730155392
    filled = [source.ra, source.dec, source.plx, source.e_plx, source.pmra, source.pmde, source.g_mag, source.bp_mag]
    assert None not in filled
    assert "its name and unit, deg" in guess
    assert "#   ruwe: nothing of ours has such a name" in guess
    assert "teff_gspphot" in guess


def test_a_table_of_text(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "stars.csv"
    Table(
        {
            "Name": ["J18583782+4822494", "J00452143+1634446"],
            "RAJ2000": [284.657, 11.339],
            "DEJ2000": [48.38, 16.579],
            "Jmag": [9.5, -9999.0],
            "Teff": [5777.0, 3000.0],
        }
    ).write(path)

    guess = guess_mapping(path)

    ingest_by_the_guess(path, guess, tmp_path)
    assert sorted(row.sdss4_apogee_id for row in Source.select()) == ["2M00452143+1634446", "2M18583782+4822494"]
    assert sorted(row.j_mag is None for row in Source.select()) == [False, True]
    assert "transform: two_mass_name" in guess
    assert "the file gives no unit, deg is ours: CHECK" in guess
    assert "#   Teff: it may be teff: a result needs a table of results" in guess


def test_without_header(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "stars.dat"
    path.write_text("5 1.5 2.5\n6 3.5 4.5\n")
    options = {"columns": ["sdss_id", "ra", "dec"]}

    guess = guess_mapping(path, reader_options(options))

    assert yaml.safe_load(guess)["reader"]["columns"] == options["columns"]
    ingest_by_the_guess(path, guess, tmp_path)
    assert [(row.sdss_id, row.ra, row.dec) for row in Source.select().order_by(Source.sdss_id)] == [
        (5, 1.5, 2.5),
        (6, 3.5, 4.5),
    ]


def test_without_identifier_it_is_to_be_completed(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "stars.ecsv"
    Table({"number": [5, 6], "ra": [1.5, 2.5]}).write(path)

    guess = guess_mapping(path)

    assert "# TO BE COMPLETED: no identifier was found; a source needs one of sdss_id" in guess
    completed = guess.replace("  Source:\n", "  Source:\n    sdss_id: number\n")
    ingest_by_the_guess(path, completed, tmp_path)
    assert Source.select().count() == 2


def test_what_only_looks_like_it_is_left_out_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "stars.ecsv"
    table = Table({"sdss_id": [5], "ra": [1000.0], "dec": ["+16 34 45"], "plx": [3.0], "gaia_dr3": [5.9e18]})
    table["plx"].unit = "K"
    table["spectrum"] = np.zeros((1, 3))
    table.write(path)

    guess = guess_mapping(path)

    assert yaml.safe_load(guess)["tables"] == {"Source": {"sdss_id": "sdss_id"}}
    for why in (
        "ra: it may be ra, and has values from 1000 to 1000: these are no degrees",
        "dec: a position as text",
        "plx: its unit 'K' is of another kind than 'mas'",
        "gaia_dr3: it may be gaia_dr3_source_id, and is of float",
        "spectrum: an array of (3,) values a row",
    ):
        assert f"#   {why}" in guess


@pytest.mark.filterwarnings("ignore::astropy.io.votable.exceptions.W03")
def test_names_that_would_break_out_of_a_comment_dont(tmp_path: Path) -> None:
    path = tmp_path / "stars.vot"
    Table({"sdss_id": [5], "a: [\n# b": [1], "ra": [1.0], "x'\"{": ["y\nz: 1"]}).write(path, format="votable")

    mapping = load_mapping(yaml.safe_load(guess_mapping(path)))

    assert [rule.name for rule in mapping.rules] == ["sdss_id", "ra"]


@pytest.mark.parametrize(("ending", "first"), [("fits", 0), ("vot", 1)])
def test_names_say_of_which_release_numbers_of_gaia_are(tmp_path: Path, ending: str, first: int) -> None:
    numbers = np.array([4295806720, 34361129088])
    path = tmp_path / f"gaia.{ending}"
    for release, name in (("DR1", None), ("DR2", "gaia_dr2_source_id"), ("EDR3", "gaia_dr3_source_id")):
        columns = {"source_id": numbers, "designation": [f"Gaia {release} {number}" for number in numbers]}
        order = sorted(columns, reverse=bool(first))
        Table({column: columns[column] for column in order}).write(
            path, overwrite=True, format="fits" if ending == "fits" else "votable"
        )
        guess = guess_mapping(path)
        lines = yaml.safe_load(guess)["tables"]["Source"]
        assert lines == ({} if name is None else {name: "source_id"})
        assert f"numbers of Gaia's {release[-3:]}, as designation says" in guess


def test_names_of_both_releases(tmp_path: Path) -> None:
    path = tmp_path / "gaia.fits"
    numbers = {"DR2Name": [4295806720, 34361129088], "DR3Name": [4295806720, 34361129089]}
    names = {name: [f"Gaia {name[:3]} {one}" for one in found] for name, found in numbers.items()}
    Table({**names, "Source": numbers["DR3Name"]}).write(path)
    lines = yaml.safe_load(guess_mapping(path))["tables"]["Source"]
    assert lines == {
        "gaia_dr2_source_id": {"from": "DR2Name", "regex": r"(\d+)$"},
        "gaia_dr3_source_id": "Source",
    }


def test_truth_values_are_no_magnitudes(tmp_path: Path) -> None:
    path = tmp_path / "stars.fits"
    Table({"sdss_id": [1, 2], "J": [True, False]}).write(path)
    guess = guess_mapping(path)
    assert yaml.safe_load(guess)["tables"]["Source"] == {"sdss_id": "sdss_id"}
    assert "J: it may be j_mag, and has truth values" in guess


def test_an_empty_table_and_no_table(tmp_path: Path) -> None:
    Table({"sdss_id": np.zeros(0, int)}).write(tmp_path / "none.fits")
    assert "0 rows" in guess_mapping(tmp_path / "none.fits")
    (tmp_path / "noise.dat").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(UnrecognizedFileError):
        guess_mapping(tmp_path / "noise.dat")
