"""Tables of any kind, by a mapping of their columns: FITS, ECSV, VOTable, CSV, and catalogues of APOGEE and BOSS."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from columns import as_arrays

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.errors import UnrecognizedFileError
from astra_models.ingest.spectra.recognise import read_spectrum_file
from astra_models.ingest.tables.mapping import FOLDER, MappingError, load_mapping, own_mappings
from astra_models.ingest.tables.opening import Chunk, Part, open_result_file
from astra_models.source import Source
from astra_models.version import installed_version

STARS = {
    "name": "stars",
    "missing": [-9999, "null"],
    "tables": {
        "Source": {
            "sdss_id": "ID",
            "sdss4_apogee_id": "NAME",
            "ra": {"from": "RA", "unit": "rad"},
            "plx": {"from": "PARALLAX"},
            "e_plx": {"from": "PARALLAX_ERROR", "scale": 2},
        }
    },
}


def stars() -> Table:
    table = Table()
    table["ID"] = [5, 6, -9999]
    table["NAME"] = ["a", " null", "c "]
    table["RA"] = [0.0, np.pi / 2, -9999.0]
    table["PARALLAX"] = [1.5, np.nan, 2.5]
    table["PARALLAX"].unit = "arcsec"
    table["PARALLAX_ERROR"] = np.array([0.25, 0.5, 1.0], np.float32)
    table["REMARK"] = ["x", "y", "z"]
    return table


def read(path: Path, mapping: Any) -> tuple[Part, Chunk]:
    (part,) = open_result_file(path, mapping).parts
    (chunk,) = part.chunks()
    return part, chunk


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("t.fits", "fits"),
        ("t.fits.gz", "fits"),
        ("t.ecsv", "ascii.ecsv"),
        ("t.vot", "votable"),
        ("t.csv", "ascii.csv"),
        ("noname", "ascii.ecsv"),
    ],
)
def test_tables_of_any_format_give_the_same(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    stars().write(path, format=kind)
    given = STARS | {"tables": {"Source": STARS["tables"]["Source"] | {"plx": {"from": "PARALLAX", "unit": "arcsec"}}}}
    part, chunk = read(path, given)
    source = as_arrays(chunk)[Source]
    assert source["sdss_id"].tolist() == [5, 6, None]
    assert source["sdss4_apogee_id"].tolist() == ["a", None, "c"]
    np.testing.assert_allclose(source["ra"], [0, 90, np.nan])
    np.testing.assert_allclose(source["plx"], [1500, np.nan, 2500])
    np.testing.assert_allclose(source["e_plx"], [0.5, 1, 2])
    assert part.unplaced == [("REMARK", "the mapping doesn't name it")]
    assert chunk.problems == []
    assert {key: str(value).strip() for key, value in chunk.payload(0).items()}["REMARK"] == "x"
    assert (part.n_rows, part.output_model, part.spectrum_model) == (3, None, None)


def test_units_of_the_file_are_converted(tmp_path: Path) -> None:
    stars().write(tmp_path / "t.ecsv")
    part, chunk = read(tmp_path / "t.ecsv", STARS)
    np.testing.assert_allclose(as_arrays(chunk)[Source]["plx"], [1500, np.nan, 2500])
    assert "PARALLAX is converted from 'arcsec' to 'mas'" in part.notes


def test_text_in_a_column_of_numbers_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("ID,NAME,RA,PARALLAX,PARALLAX_ERROR\n1,a,0.5,1,1\ntwo,b,oops,1,1\n3.5,c,0.5,,1\n4,d,0.5,1,nan\n")
    _, chunk = read(path, STARS)
    source = as_arrays(chunk)[Source]
    assert chunk.problems == [
        (1, "sdss_id: 'two' is not a whole number"),
        (2, "sdss_id: '3.5' is not a whole number"),
        (1, "ra: 'oops' is not a number"),
    ]
    assert source["sdss_id"].tolist() == [1, None, None, 4]
    assert np.isnan(source["ra"]).tolist() == [False, True, False, False]
    assert np.isnan(source["e_plx"]).tolist() == [False, False, False, True]


def test_rows_come_in_parts(tmp_path: Path) -> None:
    stars().write(tmp_path / "t.ecsv")
    (part,) = open_result_file(tmp_path / "t.ecsv", STARS).parts
    assert [chunk.rows.tolist() for chunk in part.chunks(2)] == [[0, 1], [2]]


def test_everything_that_a_column_can_be_made_of(tmp_path: Path) -> None:
    table = Table()
    table["STAR"] = ["2M01", "2M02", "2M03"]
    table["PARAM"] = [[4000.0, 0.3], [5000.0, -9999.0], [-9999.0, 0.0]]
    table["AL_FE"], table["FE_H"] = [0.1, 0.2, -9999.0], [-1.0, -9999.0, 0.0]
    table["FLAG"] = np.array([0, -(2**31), 8], np.int32)
    table["TEL"] = ["APO", "LCO ", "other"]
    mapping = {
        "release": "dr12",
        "v_astra": "0.0.12",
        "missing": -9999,
        "tables": {
            "ASPCAP": {
                "teff": {"from": "param", "element": 0},
                "raw_v_micro": {"from": "PARAM", "element": 1, "transform": "ten_to_the"},
                "al_h": {"from": ["AL_H", "AL_FE"], "plus": "FE_H"},
                "result_flags": "FLAG",
                "tag": {"value": "from a table"},
            },
            "ApogeeCoaddedSpectrumInApStar": {
                "obj": "STAR",
                "telescope": {"from": "TEL", "values": {"APO": "apo25m", "LCO": "lco25m"}},
            },
        },
    }
    table.write(tmp_path / "t.fits")
    part, chunk = read(tmp_path / "t.fits", mapping)
    result, spectrum = as_arrays(chunk)[ASPCAP], as_arrays(chunk)[ApogeeCoaddedSpectrumInApStar]
    np.testing.assert_allclose(result["teff"], [4000, 5000, np.nan])
    np.testing.assert_allclose(result["raw_v_micro"], [10**0.3, np.nan, 1])
    np.testing.assert_allclose(result["al_h"], [-0.9, np.nan, np.nan])
    assert result["result_flags"].tolist() == [0, 2**31, 8]
    assert result["tag"].tolist() == ["from a table"] * 3
    assert result["v_astra"].tolist() == [12] * 3
    assert spectrum["telescope"].tolist() == ["apo25m", "lco25m", "other"]
    assert spectrum["release"].tolist() == ["dr12"] * 3
    assert part.unplaced == []
    assert list(chunk.columns) == [Source, ApogeeCoaddedSpectrumInApStar, ASPCAP]


def test_times_of_tables(tmp_path: Path) -> None:
    table = Table(
        {"ID": [1, 2], "MJD": [60000.5, np.nan], "WHEN": Time(["2024-01-02T03:04:05", "2024-01-02T00:00:00"])}
    )
    table.write(tmp_path / "t.ecsv")
    columns = {"sdss_id": "ID", "created": {"from": "MJD", "transform": "time_of_mjd"}, "modified": "WHEN"}
    _, chunk = read(tmp_path / "t.ecsv", {"tables": {"Source": columns}})
    assert as_arrays(chunk)[Source]["created"].astype(str).tolist() == ["2023-02-25T12:00:00.000000", "NaT"]
    assert as_arrays(chunk)[Source]["modified"].astype(str).tolist()[0] == "2024-01-02T03:04:05.000000"


# ---- mappings that are wrong


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"Sorce": {"ra": "RA"}}, "there is no table 'Sorce'; did you mean Source?"),
        ({"Source": {"rah": "RA"}}, "Source has no column 'rah'; did you mean ra"),
        ({"Source": {"ra": {"form": "RA"}}}, "there is no key of Source.ra 'form'; did you mean from"),
        ({"Source": {"ra": {"from": "RA", "value": 1}}}, "Source.ra: give either 'from'"),
        ({"Source": {"ra": {}}}, "Source.ra: give either 'from'"),
        (
            {"Source": {"ra": {"from": "RA", "transform": "log_10"}}},
            "there is no transform of Source.ra 'log_10'; did you mean log10",
        ),
        ({"Source": {"ra": {"from": "RA", "scale": "2"}}}, "Source.ra: 'scale' is a number"),
        ({"Source": ["ra"]}, "Source: give our columns"),
        ({"ASPCAP": {"teff": "T"}, "BossNet": {"teff": "T"}}, "one table of results, not of ASPCAP and BossNet"),
        ({}, "it needs 'tables'"),
    ],
)
def test_wrong_mappings_are_refused_with_what_is_meant(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(MappingError, match=message.replace("(", r"\(")):
        load_mapping({"tables": tables})


def test_a_mapping_that_is_like_one_of_ours_says_what_is_different(tmp_path: Path) -> None:
    theirs = load_mapping(FOLDER / "apogee_allstar.yaml")
    given = {"name": "like it", "like": "apogee_allstar", "release": "mine", "tables": {"ASPCAP": {"teff": "TEFF_2"}}}
    mine = load_mapping(given)

    assert (mine.name, mine.release, mine.v_astra, mine.strict) == ("like it", "mine", theirs.v_astra, False)
    rules = {rule.title: rule for rule in mine.rules}
    assert rules.pop("ASPCAP.teff").sources == ("TEFF_2",)
    assert list(rules.values()) == [rule for rule in theirs.rules if rule.title != "ASPCAP.teff"]
    with pytest.raises(MappingError, match="there is no mapping to be like 'allstar'; did you mean apogee_allstar"):
        load_mapping({"like": "allstar"})


def test_results_of_which_nobody_says_the_version_are_noted(tmp_path: Path) -> None:
    Table({"STAR": ["a"], "T": [1.0]}).write(tmp_path / "t.fits")
    tables = {"Source": {"sdss4_apogee_id": "STAR"}, "ASPCAP": {"teff": "T"}}
    part, _ = read(tmp_path / "t.fits", {"tables": tables})
    [note] = part.notes
    assert note.startswith("of which version the results are isn't said: they are kept under " + installed_version())
    part, _ = read(tmp_path / "t.fits", {"v_astra": "0.0.1", "tables": tables})
    assert part.notes == []


def test_wrong_files_of_mappings(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    for content, message in (
        ("tables: [", "is no YAML"),
        ("just text", "has no keys"),
        ("tabels: {}", "there is no key 'tabels'; did you mean tables"),
        ("v_astra: one\ntables: {Source: {ra: RA}}", "v_astra 'one' is no version"),
    ):
        path.write_text(content)
        with pytest.raises(MappingError, match=message) as caught:
            load_mapping(path)
        assert str(path) in str(caught.value)
    with pytest.raises(MappingError, match="can't be read"):
        load_mapping(tmp_path / "none.yaml")


def test_a_mapping_that_does_not_fit_the_file(tmp_path: Path) -> None:
    stars().write(tmp_path / "t.fits")
    columns = {"sdss_id": "ID", "plx": "PARALAX"}
    with pytest.raises(
        MappingError, match=r"t.fits: the mapping 'mapping' doesn't fit: Source.plx .* did you mean PARALLAX"
    ):
        open_result_file(tmp_path / "t.fits", {"tables": {"Source": columns}})
    part, chunk = read(tmp_path / "t.fits", {"strict": False, "tables": {"Source": columns}})
    assert part.notes == ["Source.plx is to be made of PARALAX, which the file doesn't have"]
    assert set(as_arrays(chunk)[Source]) == {"sdss_id"}
    with pytest.raises(MappingError, match=r"is for table 'other', which isn't there; there are 1"):
        open_result_file(tmp_path / "t.fits", STARS | {"table": "other"})


def test_a_list_where_one_value_belongs_is_refused_for_its_column(tmp_path: Path) -> None:
    Table({"ID": [1], "RA": [[1.0, 2.0]]}).write(tmp_path / "t.fits")
    part, _ = read(tmp_path / "t.fits", {"tables": {"Source": {"sdss_id": "ID", "ra": "RA"}}})
    assert part.unplaced == [("RA", "it has (2,) values a row, and ra one")]
    with pytest.raises(MappingError, match=r"RA has 2 elements; there is no element 2"):
        open_result_file(tmp_path / "t.fits", {"tables": {"Source": {"ra": {"from": "RA", "element": 2}}}})


def test_what_astropy_can_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.vot"
    path.write_text("<?xml version='1.0'?><VOTABLE>")
    with pytest.raises(UnrecognizedFileError, match=r"t.vot: astropy can't read it as a table"):
        open_result_file(path, STARS)
    with pytest.raises(UnrecognizedFileError, match="not a FITS file"):
        open_result_file(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"\xef\xbb\xbfID,NAME,RA,PARALLAX,PARALLAX_ERROR\n5,a,0.5,1,1\n"),  # as spreadsheets write it
        ("t.CSV.gz", gzip.compress(b"ID,NAME,RA,PARALLAX,PARALLAX_ERROR\n5,a,0.5,1,1\n")),
    ],
    ids=["byte order mark", "gzipped"],
)
def test_csv_as_it_is_found(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    _, chunk = read(tmp_path / name, STARS)
    assert as_arrays(chunk)[Source]["sdss_id"].tolist() == [5]


def test_a_format_that_nobody_can_tell(tmp_path: Path) -> None:
    (tmp_path / "stars").write_bytes(b"ID\n5\n")
    message = r"stars: its format can't be told; let its name end as its format does \(.csv, .ecsv, .vot, .dat\)"
    with pytest.raises(UnrecognizedFileError, match=message):
        open_result_file(tmp_path / "stars", STARS)


def test_a_table_without_rows(tmp_path: Path) -> None:
    stars()[:0].write(tmp_path / "t.fits")
    file = open_result_file(tmp_path / "t.fits", STARS)
    assert (file.parts, file.notes) == ([], ["HDU 1 has no rows"])


# ---- our own mappings


def test_own_mappings_are_sound() -> None:
    assert [mapping.name for mapping in own_mappings()] == [
        *("APOGEE allStar", "APOGEE allStar of DR16", "APOGEE allVisit", "APOGEE allVisit of SDSS-V", "BOSS spAll")
    ]
    for path in FOLDER.glob("*.yaml"):
        mapping = load_mapping(path)
        assert Source in mapping.models
        for model in mapping.models[1:2]:
            ours = {rule.name for rule in mapping.rules if rule.model is model} | {"release"}
            assert set(model.natural_key) <= ours


# ---- real files


def test_the_catalogue_of_dr12(real_data: Path) -> None:
    path = real_data / "luminosity_cannon" / "APOGEE-allStar-v603-Hipparcos.fits.gz"
    file = open_result_file(path, FOLDER / "apogee_dr12_hipparcos.yaml")
    assert (file.kind, file.n_rows, file.release, file.v_astra) == ("APOGEE DR12 x Hipparcos", 3244, "dr12", 12)
    assert file.sha256 == "91ea56a5b4db0c095b6e27253f0daddd66185ee8c34900355472ec43d974b9ea"
    (part,) = file.parts
    chunks = list(part.chunks(1000))
    together = {
        model: {name: np.ma.concatenate([as_arrays(chunk)[model][name] for chunk in chunks]) for name in columns}
        for model, columns in as_arrays(chunks[0]).items()
    }
    source, result = together[Source], together[ASPCAP]
    assert len(set(source["sdss4_apogee_id"].tolist())) == 3244 - 229
    assert [np.isnan(result[name]).sum() for name in ("teff", "e_teff", "logg", "raw_teff")] == [2471, 2471, 2471, 174]
    assert [chunk.problems for chunk in chunks] == [[]] * 4
    with fits.open(path) as hdus:
        table = hdus[1].data
        np.testing.assert_array_equal(source["ra"], table["RA"])
        np.testing.assert_array_equal(result["teff"], np.where(table["TEFF"] == -9999, np.nan, table["TEFF"]))
        raw = table["FPARAM"][:, 2].astype(float)
        np.testing.assert_allclose(result["raw_v_micro"], np.where(raw == -9999, np.nan, 10**raw))
        assert source["sdss4_apogee_target1_flags"].tolist() == [v % 2**32 for v in table["APOGEE_TARGET1"].tolist()]
        fields = together[ApogeeCoaddedSpectrumInApStar]["field"].tolist()
        assert fields == [value.strip() for value in table["FIELD"]]
    assert {why for _, why in part.unplaced} == {"the mapping doesn't name it"}
    assert "ASPCAPFLAG" in dict(part.unplaced)  # its bits mean other things than those of today's


def test_one_table_in_three_formats(real_data: Path) -> None:
    folder = real_data / "astroquery"
    columns = {
        "gaia_dr3_source_id": "source_id",
        "ra": "ra",
        "dec": "dec",
        "plx": "parallax",
        "g_mag": "phot_g_mean_mag",
    }
    columns |= {"gaia_v_rad": "radial_velocity", "zgr_teff": "teff_gspphot", "lead": "phot_variable_flag"}
    found = []
    for name in ("fits", "vot", "ecsv"):
        path = next(folder.glob(f"*.{name}"))
        _, chunk = read(path, {"tables": {"Source": columns}})
        found.append(as_arrays(chunk)[Source])
        assert chunk.problems == []
    for name in columns:
        for other in found[1:]:
            np.testing.assert_array_equal(found[0][name], other[name], err_msg=name)
    assert found[0]["gaia_dr3_source_id"].tolist() == Table.read(path)["source_id"].tolist()


# ---- names of 2MASS, regular expressions, options of the reader, names of mappings


def write_text(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((*lines, "")))
    return path


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("J18583782+4822494", "2M18583782+4822494"),
        ("18583782-4822494", "2M18583782-4822494"),
        ("2MASS J18583782+4822494", "2M18583782+4822494"),
        ("2MASSJ18583782+4822494", "2M18583782+4822494"),
        (" 2M18583782+4822494 ", "2M18583782+4822494"),
        ("VESTA", "VESTA"),
        ("J185837+482249", "J185837+482249"),
    ],
)
def test_a_name_of_2mass(tmp_path: Path, given: str, stored: str) -> None:
    Table({"name": [given]}).write(tmp_path / "t.fits")
    mapping = {"tables": {"Source": {"sdss4_apogee_id": {"from": "name", "transform": "two_mass_name"}}}}

    _, chunk = read(tmp_path / "t.fits", mapping)

    assert chunk.columns[Source]["sdss4_apogee_id"].values.tolist() == [stored]


def test_a_regular_expression_takes_a_group_and_what_doesnt_match_is_missing(tmp_path: Path) -> None:
    Table({"name": ["Gaia DR3 123", "none", "x (J18583782+4822494)"], "n": ["v=1.5 km/s", "", "v=-2"]}).write(
        tmp_path / "t.fits"
    )
    source = {
        "gaia_dr3_source_id": {"from": "name", "regex": r"DR3 (\d+)$"},
        "sdss4_apogee_id": {"from": "name", "regex": r"J\d+[+-]\d+", "transform": "two_mass_name"},
        "gaia_v_rad": {"from": "n", "regex": r"v=(-?[\d.]+)"},
    }

    _, chunk = read(tmp_path / "t.fits", {"tables": {"Source": source}})

    columns = chunk.columns[Source]
    assert columns["gaia_dr3_source_id"].null.tolist() == [False, True, True]
    assert columns["gaia_dr3_source_id"].values[0] == 123
    assert columns["sdss4_apogee_id"].null.tolist() == [True, True, False]
    assert columns["sdss4_apogee_id"].values[2] == "2M18583782+4822494"
    assert columns["gaia_v_rad"].values[[0, 2]].tolist() == [1.5, -2]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"from": "a", "regex": "("}, r"Source.ra: the regular expression '\(' can't be read: missing \)"),
        ({"from": "a", "regex": "(a)(b)"}, "has 2 groups, and one is taken"),
        ({"from": "a", "regex": 5}, "give a regular expression as text"),
        ({"value": 5, "regex": "a"}, "name it by 'from'"),
        ({"from": "a", "regex": "a", "transform": "log10"}, "gives text, and the transform 'log10' takes numbers"),
    ],
)
def test_a_wrong_regular_expression(rule: dict[str, object], says: str) -> None:
    with pytest.raises(MappingError, match=says):
        load_mapping({"tables": {"Source": {"ra": rule}}})


STAR = {"tables": {"Source": {"sdss_id": "id", "ra": {"from": "ra", "unit": "deg"}}}}


@pytest.mark.parametrize(
    ("reader", "lines"),
    [
        ({"columns": ["id", "ra"]}, ("5 1.5", "6 2.5")),
        ({"format": "no_header", "columns": ["id", "ra"], "delimiter": "|"}, ("5|1.5", "6|2.5")),
        ({"columns": ["id", "ra"], "comment": "!"}, ("! stars", "5 1.5", "6 2.5")),
        ({"header_line": 2, "data_line": 4}, ("stars of mine", "id ra", "- deg", "5 1.5", "6 2.5")),
        ({"format": "csv", "delimiter": ";"}, ("id;ra", "5;1.5", "6;2.5")),
        ({"format": "commented_header"}, ("# id ra", "5 1.5", "6 2.5")),
        ({"format": "tab"}, ("id\tra", "5\t1.5", "6\t2.5")),
        ({"columns": ["id", "ra"], "positions": [[1, 2], [3, 6]]}, (" 51.5 ", " 62.5 ")),
        ({"format": "fixed_width", "header_line": 1, "positions": [[1, 3], [4, 6]]}, ("id ra ", "5  1.5", "6  2.5")),
    ],
)
def test_how_a_table_of_text_is_read(tmp_path: Path, reader: dict[str, object], lines: tuple[str, ...]) -> None:
    _, chunk = read(write_text(tmp_path / "stars.dat", *lines), STAR | {"reader": reader})

    found = chunk.columns[Source]
    assert (found["sdss_id"].values.tolist(), found["ra"].values.tolist()) == ([5, 6], [1.5, 2.5])


@pytest.mark.parametrize(
    ("reader", "says"),
    [
        ("csv", "'reader' is 'csv'; give options by their names"),
        ({"formt": "csv"}, "there is no option 'formt' of 'reader'; did you mean format"),
        ({"format": "pickle"}, "there is no format 'pickle'"),
        ({"format": ["csv"]}, "there is no format"),
        ({"columns": "id ra"}, "'columns' is 'id ra'; give a list of names"),
        ({"columns": ["id", "id"]}, "'columns' has 'id' twice"),
        ({"header_line": 0}, "'header_line' is 0; give the number of a line, from 1"),
        ({"data_line": True}, "'data_line' is True"),
        ({"delimiter": "ab"}, "'delimiter' is 'ab'"),
        ({"positions": [[5, 1]]}, r"'positions' has \[5, 1\]"),
        ({"columns": ["a"], "positions": [[1, 2], [3, 4]]}, "'positions' are of 2 columns, and 'columns' names 1"),
        ({"format": "votable", "delimiter": ","}, "says itself what 'reader' has: delimiter"),
        ({"format": "no_header", "header_line": 2}, "has no header; leave out 'header_line'"),
        ({"format": "csv", "positions": [[1, 2]]}, "'positions' are for columns of fixed width"),
    ],
)
def test_wrong_options_of_the_reader(reader: object, says: str) -> None:
    with pytest.raises(MappingError, match=says):
        load_mapping(STAR | {"reader": reader})


def test_a_file_that_isnt_as_the_options_say(tmp_path: Path) -> None:
    path = write_text(tmp_path / "stars.dat", "5 1.5 x", "6 2.5 y")

    with pytest.raises(UnrecognizedFileError, match="astropy can't read it as a table"):
        read(path, STAR | {"reader": {"columns": ["id", "ra"]}})


def test_a_mapping_of_the_project_by_its_name() -> None:
    by_name, by_path = load_mapping("apogee_dr12_hipparcos"), load_mapping(FOLDER / "apogee_dr12_hipparcos.yaml")

    assert (by_name, by_name.checksum) == (by_path, by_path.checksum)
    with pytest.raises(MappingError, match=r"no mapping 'apogee_dr12_hiparcos'.*did you mean.*apogee_dr12_hipparcos"):
        load_mapping("apogee_dr12_hiparcos")
    with pytest.raises(MappingError, match="can't be read"):
        load_mapping("no/such")


def test_what_a_mapping_is_known_by_is_as_before_unless_it_says_something_new() -> None:
    plain = load_mapping(STAR)

    assert load_mapping(STAR | {"reader": {"format": "csv"}}).checksum != plain.checksum
    with_regex = {
        "tables": {"Source": {"sdss_id": {"from": "id", "regex": r"\d+"}, "ra": {"from": "ra", "unit": "deg"}}}
    }
    assert load_mapping(with_regex).checksum != plain.checksum
    assert "regex" not in repr(plain)


def test_an_ascii_table_of_fits_is_called_so(tmp_path: Path) -> None:
    column = fits.Column("ID", "I10", array=np.array([5, 6]), ascii=True)
    fits.HDUList([fits.PrimaryHDU(), fits.TableHDU.from_columns([column])]).writeto(tmp_path / "t.fits")

    with pytest.raises(UnrecognizedFileError, match="an ASCII table of FITS isn't read, save it as a binary one"):
        read(tmp_path / "t.fits", STAR)
    with pytest.raises(UnrecognizedFileError, match="HDU 1: ASCII table of 2 rows"):
        read_spectrum_file(tmp_path / "t.fits")
