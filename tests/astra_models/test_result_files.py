"""Files of results as the survey publishes them: what they are, where each column goes, and what values come of it."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from columns import as_arrays

from astra_models import outputs
from astra_models.apogee import (
    ApogeeCoaddedSpectrumInApStar,
    ApogeeVisitSpectrum,
    ApogeeVisitSpectrumInApStar,
)
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn_dist import AstroNNdist
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.corv import Corv
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.columns import FitsColumn
from astra_models.ingest.tables.opening import Chunk, Part, ResultFile, SpectrumFileError, file_sha256, open_result_file
from astra_models.line_forest import LineForest
from astra_models.mwm import ApogeeCombinedSpectrum, BossCombinedSpectrum
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.the_payne import ThePayne
from astra_orchestration.sample.summary_file import write_result_file

N_ROWS = 40


def setting(**columns: Any) -> Any:
    """Give a function that sets columns as a file is written: by a list, values of the first rows."""

    def change(rows: np.ndarray, first: int) -> None:
        for name, values in columns.items():
            if isinstance(values, list):
                for place, value in enumerate(values):
                    rows[name][place] = value
            else:
                rows[name] = values

    return change


def chunk_of(path: Path, **options: Any) -> Chunk:
    (part,) = open_result_file(path, **options).parts
    (chunk,) = part.chunks()
    return chunk


def shown(values: np.ndarray, n: int) -> list[Any]:
    return [
        value if not isinstance(value, float) or value == value else None for value in values[:n].tolist()
    ]  # NaN is missing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "downloaded (1).fits.gz"  # the name says nothing


# ---- what a file is


@pytest.mark.parametrize("style", ["dr19", "dr20"])
@pytest.mark.parametrize(
    ("model", "level", "kind", "spectrum"),
    [
        (ASPCAP, "star", "astraAllStarASPCAP", ApogeeCoaddedSpectrumInApStar),
        (BossNet, "star", "astraAllStarBossNet", BossCombinedSpectrum),
        (BossNet, "visit", "astraAllVisitBossNet", BossVisitSpectrum),
        (ThePayne, "visit", "astraAllVisitThePayne", ApogeeVisitSpectrum),
        (None, "star", "mwmAllStar", ApogeeCoaddedSpectrumInApStar),
        (None, "visit", "mwmAllVisit", ApogeeVisitSpectrum),
        (None, "target", "mwmTargets", None),
    ],
)
def test_files_are_recognised_by_their_content(
    path: Path, model: Any, level: str, kind: str, spectrum: Any, style: str
) -> None:
    write_result_file(path, model, N_ROWS, level=level, style=style)
    file = open_result_file(path)
    v_astra = {"dr19": 6000, "dr20": 8001}[style]
    assert (file.kind, file.v_astra, file.n_rows) == (kind, v_astra, N_ROWS)
    assert (file.sha256, file.size) == file_sha256(path)
    (part,) = file.parts
    assert (part.output_model, part.spectrum_model, part.unplaced, part.notes) == (model, spectrum, [], [])
    assert list(part.targets) == [table for table in (Source, spectrum, model) if table is not None]
    if level != "target":
        assert len(file.notes) == 1 and file.notes[0].endswith("has no rows")


PUBLISHED = [model for model in outputs.published_models() if not model.__name__.startswith(("Ferre", "NMF", "MWM"))]


@pytest.mark.parametrize("model", PUBLISHED)
def test_pipelines_are_told_by_their_columns_where_the_header_does_not_say(path: Path, model: Any) -> None:
    write_result_file(path, model, 3, header={"PIPELINE": None})
    assert open_result_file(path).kind == f"astraAllStar{model.__name__}"


def test_the_best_results_with_the_spectra_they_are_of(path: Path) -> None:
    write_result_file(
        path,
        MWMBest,
        4,
        header={"PIPELINE": None},
        level="target",
        renamed={"task_pk": "id"},
        more=[FitsColumn("task_pk", "K")],
        change=setting(
            pipeline=["aspcap", "", "slam", "slam"],
            filetype=["apStar", *["mwmStar"] * 3],
            apred=["1.3", "1.3", "", " "],
            v_rad=[1, 2, 3, 4],
        ),
    )
    file = open_result_file(path)
    assert file.kind == "astraMWMLite"
    chunks = list(file.parts[0].chunks())
    assert [(chunk.spectrum_model, chunk.rows.tolist()) for chunk in chunks] == [
        (ApogeeCoaddedSpectrumInApStar, [0]),
        (ApogeeCombinedSpectrum, [1]),
        (BossCombinedSpectrum, [2, 3]),
    ]
    assert as_arrays(chunks[2])[BossCombinedSpectrum]["v_rad"].tolist() == [3, 4]
    assert as_arrays(chunks[2])[MWMBest]["v_rad"].tolist() == [3, 4]
    assert as_arrays(chunks[2])[MWMBest]["task_pk"].tolist() == [3, 4]
    assert [name for name, _ in file.parts[0].unplaced] == ["task_pk"]


def test_a_pipeline_without_a_table(path: Path) -> None:
    write_result_file(path, BossNet, 3, header={"PIPELINE": "HotPayne"})
    with pytest.raises(UnrecognizedFileError, match=r"results of HotPayne, for which there is no table .*BossNet"):
        open_result_file(path)


def test_the_files_of_one_star_are_another_thing(path: Path) -> None:
    columns = [fits.Column("spectrum_pk", "K", array=[1]), fits.Column("flux", "3E", array=[[1, 2, 3]])]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    with pytest.raises(SpectrumFileError, match=r"one star's spectra .* ingest it as a spectrum"):
        open_result_file(path)


def test_what_is_not_known(path: Path) -> None:
    columns = [fits.Column("name", "3A", array=["a"]), fits.Column("size", "J", array=[1])]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    with pytest.raises(UnrecognizedFileError, match=r"looked for .*mwmTargets.*; found HDU 1: 1 rows \(name, size"):
        open_result_file(path)


# ---- damage


def test_damaged_files_are_refused_unless_told_otherwise(path: Path) -> None:
    write_result_file(path, ApogeeNet, 3000)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-1_000_000], 1))
    with pytest.raises(UnrecognizedFileError, match=r"fits.gz: it is truncated in HDU 2: \d+ bytes of data are exp"):
        open_result_file(path)
    file = open_result_file(path, damaged="read")
    assert 0 < file.n_rows < 3000
    assert "truncated in HDU 2" in file.notes[-1]
    assert sum(len(chunk.rows) for chunk in file.parts[0].chunks(500)) == file.n_rows


def test_wrong_checksums_are_refused(path: Path) -> None:
    write_result_file(path, ApogeeNet, 30)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-4000] ^= 1
    path.write_bytes(gzip.compress(content))
    with pytest.raises(UnrecognizedFileError, match="checksum of the data of HDU 2 is wrong"):
        open_result_file(path)


def test_progress_is_told(path: Path) -> None:
    write_result_file(path, ApogeeNet, 3000)
    seen: list[int] = []
    file = open_result_file(path, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == file.size and len(seen) > 3


# ---- chunks


def test_chunks_have_all_rows_once(path: Path) -> None:
    write_result_file(path, ApogeeNet, N_ROWS, first=101)
    (part,) = open_result_file(path).parts
    chunks = list(part.chunks(7))
    assert np.concatenate([chunk.rows for chunk in chunks]).tolist() == list(range(N_ROWS))
    pks = np.concatenate([as_arrays(chunk)[ApogeeNet]["spectrum_pk"] for chunk in chunks])
    assert pks.tolist() == list(range(101, 101 + N_ROWS))
    assert all(
        len(values) == len(chunk.rows)
        for chunk in chunks
        for columns in as_arrays(chunk).values()
        for values in columns.values()
    )
    assert {model: set(columns) for model, columns in as_arrays(chunks[0]).items()}[Source] >= {"pk", "sdss_id", "ra"}


def test_values_equal_those_that_astropy_reads(path: Path) -> None:
    write_result_file(path, ASPCAP, N_ROWS, style="dr19")
    chunk = chunk_of(path)
    with fits.open(path, checksum=True) as hdus:
        table = hdus[2].data
        for model, columns in as_arrays(chunk).items():
            placed = open_result_file(path).parts[0].targets[model]
            for name, values in columns.items():
                if name not in placed or values.dtype.kind != "f":
                    continue
                np.testing.assert_array_equal(values, table[placed[name]], err_msg=name)
        assert as_arrays(chunk)[Source]["healpix"].tolist() == [
            v if v != -1 else None for v in table["healpix"].tolist()
        ]
        assert as_arrays(chunk)[ASPCAP]["created"].astype(str).tolist() == [f"{t}" for t in table["created"]]


def test_a_row_as_the_file_has_it(path: Path) -> None:
    write_result_file(path, ApogeeNet, N_ROWS, change=setting(sdss_id=[5, 6, 7], lead="gaia  "))
    (part,) = open_result_file(path).parts
    chunk = list(part.chunks(16))[1]
    row = chunk.payload(17)
    assert list(row)[:2] == ["sdss_id", "sdss4_apogee_id"] and len(row) == len(part.columns)
    assert (row["sdss_id"], row["lead"], row["filetype"]) == (18, "gaia", "apStar")
    assert isinstance(row["teff"], float) and isinstance(row["sdss5_target_flags"], list)


def test_rows_of_several_kinds_of_spectra_come_apart(path: Path) -> None:
    kinds = ["apStar", "mwmStar", "apStar", "mwmStar", "mwmStar"]
    write_result_file(path, ApogeeNet, 5, change=setting(filetype=kinds, teff=[0, 1, 2, 3, 4]))
    (part,) = open_result_file(path).parts
    chunks = list(part.chunks())
    assert [(c.spectrum_model, c.rows.tolist(), as_arrays(c)[ApogeeNet]["teff"].tolist()) for c in chunks] == [
        (ApogeeCoaddedSpectrumInApStar, [0, 2], [0.0, 2.0]),
        (ApogeeCombinedSpectrum, [1, 3, 4], [1.0, 3.0, 4.0]),
    ]
    assert as_arrays(chunks[1])[ApogeeCombinedSpectrum]["v_astra"].tolist() == [8001] * 3
    assert chunks[1].payload(3)["teff"] == 3.0


# ---- what the files do (public_files/README.md)


def test_versions_are_text_or_integers(path: Path) -> None:
    for style, expected in (("dr19", 6000), ("dr20", 8001)):
        write_result_file(path, BossNet, 3, style=style)
        chunk = chunk_of(path)
        assert as_arrays(chunk)[BossNet]["v_astra"].tolist() == [expected] * 3
        assert as_arrays(chunk)[BossCombinedSpectrum]["v_astra"].tolist() == [expected] * 3
        assert as_arrays(chunk)[BossNet]["v_astra"].dtype == np.int64


@pytest.mark.parametrize(("style", "given"), [("dr20", [-1, 0, 7002]), ("dr19", ["", "  ", "0.7.2"])])
def test_a_row_without_a_version_is_of_that_of_the_file(path: Path, style: str, given: list[Any]) -> None:
    write_result_file(path, BossNet, 3, style=style, change=setting(v_astra=given))
    chunk = chunk_of(path)
    of_file = {"dr19": 6000, "dr20": 8001}[style]
    assert as_arrays(chunk)[BossNet]["v_astra"].tolist() == [of_file, of_file, 7002]
    assert chunk.problems == []


def test_a_version_that_is_none_is_a_problem_of_its_row(path: Path) -> None:
    write_result_file(path, ApogeeNet, 3, style="dr19", change=setting(v_astra=["0.6.0", "0.x.0"]))
    assert chunk_of(path).problems == [(1, "v_astra: '0.x.0' is not a version, such as 0.8.1 or 8001")]


def test_a_file_that_does_not_say_of_which_version_it_is(path: Path) -> None:
    given = {"v_astra": [0, 8001, 0]}
    write_result_file(path, ApogeeNet, 3, header={"V_ASTRA": None}, change=setting(**given))
    chunk = chunk_of(path)
    assert np.ma.getmaskarray(as_arrays(chunk)[ApogeeNet]["v_astra"]).tolist() == [True, False, True]


def test_targeting_flags_keep_their_length(path: Path) -> None:
    for style, length in (("dr19", 57), ("dr20", 71)):
        bits = np.zeros((3, length), np.uint8)
        bits[1, 4] = 8
        write_result_file(path, None, 3, level="target", style=style, change=setting(sdss5_target_flags=bits))
        found = as_arrays(chunk_of(path))[Source]["sdss5_target_flags"].tolist()
        assert found == [row.tobytes() for row in bits]
        assert Source(sdss5_target_flags=found[1]).has_target_bit(4 * 8 + 3)
        assert not Source(sdss5_target_flags=found[0]).has_target_bit(4 * 8 + 3)


def test_targeting_flags_in_a_column_of_logical_values(path: Path) -> None:
    write_result_file(path, None, 3, level="target", checksums=False)
    content = gzip.decompress(path.read_bytes()).replace(b"'71B     '", b"'71L     '")
    path.write_bytes(gzip.compress(content))
    with_bytes = as_arrays(chunk_of(path))[Source]["sdss5_target_flags"].tolist()  # bytes that were only called logical

    truths = np.full((3, 71), ord("F"), np.uint8)
    truths[:, 9] = ord("T")
    write_result_file(path, None, 3, level="target", checksums=False, change=setting(sdss5_target_flags=truths))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"'71B     '", b"'71L     '")))
    with_truths = as_arrays(chunk_of(path))[Source]["sdss5_target_flags"].tolist()

    assert {len(value) for value in with_bytes} == {71}
    assert [np.unpackbits(np.frombuffer(v, "u1"), bitorder="little").nonzero()[0].tolist() for v in with_truths] == [
        [9]
    ] * 3


def test_fill_values_are_missing_by_the_kind_of_column(path: Path) -> None:
    change = setting(
        sdss_id=[-1, 0, 7],
        healpix=[-1, 0, 7],
        n_associated=[-1, 0, 7],
        zgr_quality_flags=[-1, 0, 7],
        w1uflags=[-1, 0, 7],
        plx=[-1, np.nan, 7],
        lead=["", " ", " x"],
        obj=["", " ", " x"],
        tag=["", " ", " x"],
        continuum_order=[-1, 0, 7],
    )
    write_result_file(path, ASPCAP, 3, style="dr19", change=change)
    columns = as_arrays(chunk_of(path))
    source, spectrum, result = columns[Source], columns[ApogeeCoaddedSpectrumInApStar], columns[ASPCAP]
    assert shown(source["sdss_id"], 3) == [None, None, 7]  # an identifier is never 0
    assert shown(source["healpix"], 3) == [None, 0, 7]
    assert shown(source["n_associated"], 3) == [None, 0, 7]
    assert shown(source["zgr_quality_flags"], 3) == [0, 0, 7]
    assert shown(source["w1uflags"], 3) == [None, 0, 7]
    assert shown(source["plx"], 3) == [-1.0, None, 7.0]
    assert shown(source["lead"], 3) == [None, None, "x"]
    assert shown(spectrum["obj"], 3) == ["", "", "x"]  # can't be NULL
    assert shown(result["tag"], 3) == ["", "", "x"]
    assert shown(result["continuum_order"], 3) == [-1, 0, 7]  # can't be NULL, and -1 is its default


def test_a_file_that_says_itself_what_is_missing(path: Path) -> None:
    write_result_file(
        path, None, 3, level="target", checksums=False, change=setting(healpix=[-1, -9, 0], sdss_id=[-1, 0, 1])
    )
    content = gzip.decompress(path.read_bytes())
    number = 1 + [c.name for c in open_result_file(path).parts[0].columns].index("healpix")
    card = f"TNULL{number:<3}=                   -9".encode().ljust(80)
    end = content.index(b"END".ljust(80), 2880)
    assert content[end + 80 : end + 160] == b" " * 80
    path.write_bytes(gzip.compress(content[:end] + card + content[end : end + 80] + content[end + 160 :]))
    source = as_arrays(chunk_of(path))[Source]
    assert shown(source["healpix"], 3) == [-1, None, 0]
    assert shown(source["sdss_id"], 3) == [-1, 0, 1]


def test_our_own_products_keep_text_and_numbers_as_they_are(path: Path) -> None:
    told = "Text is escaped as in Python: value.encode().decode('unicode_escape')."
    change = setting(lead=["caf\\xe9", " a\\\\b", "c\\x20  "], healpix=[-1, 0, 1], sdss_id=[-1, 0, 1])
    write_result_file(path, None, 3, level="target", header={"COMMENT": told}, change=change)
    source = as_arrays(chunk_of(path))[Source]
    assert source["lead"].tolist() == ["caf\xe9", " a\\b", "c "]
    assert shown(source["healpix"], 3) == [-1, 0, 1]
    assert shown(source["sdss_id"], 3) == [-1, 0, 1]


def test_text_that_is_not_ascii(path: Path) -> None:
    change = setting(lead=["caf\xe9".encode(), "caf\xe9".encode("latin-1"), b"a\0b"])
    write_result_file(path, None, 3, level="target", change=change)
    assert as_arrays(chunk_of(path))[Source]["lead"].tolist() == ["caf\xe9", "caf\xe9", "a"]


def test_columns_of_spectra_of_another_kind_are_told_as_such(path: Path) -> None:
    more = [FitsColumn("nmf_rchi2", "E"), FitsColumn("spectrum_v_astra", "J")]
    write_result_file(path, ApogeeNet, 2, more=more, change=setting(filetype=["apStar", "mwmStar"]))
    (part,) = open_result_file(path).parts
    assert part.unplaced == [
        ("nmf_rchi2", "a column of spectra of another kind"),
        ("spectrum_v_astra", "a column of spectra of another kind"),
    ]
    list(part.chunks())
    assert part.unplaced == []  # the second row is of such spectra


def test_flags_of_32_bits_with_the_highest_set(path: Path) -> None:
    more = [FitsColumn("spectrum_flags", "J")]
    write_result_file(
        path,
        None,
        2,
        renamed={"spectrum_flags": "other"},
        more=more,
        change=setting(spectrum_flags=[-(2**31), 5]),
    )
    assert as_arrays(chunk_of(path))[ApogeeCoaddedSpectrumInApStar]["spectrum_flags"].tolist() == [2**31, 5]


def test_positions_are_single_precision_in_the_file_and_columns_are_double(path: Path) -> None:
    write_result_file(path, None, 2, level="target", change=setting(ra=[266.4168262, np.nan]))
    ra = as_arrays(chunk_of(path))[Source]["ra"]
    assert ra.tolist()[0] == float(np.float32(266.4168262)) and np.isnan(ra[1])


def test_lists_lose_what_they_were_padded_by(path: Path) -> None:
    offsets = np.full((4, 18), np.nan, np.float32)
    offsets[0, :2] = 0.5
    offsets[2, :] = 1
    offsets[3, 1] = 2
    write_result_file(path, BossNet, 4, level="visit", change=setting(delta_ra=offsets))
    found = as_arrays(chunk_of(path))[BossVisitSpectrum]["delta_ra"]
    assert [None if value is None else len(value) for value in found] == [2, None, 18, 2]
    assert found[0].tolist() == [0.5, 0.5] and found[0].dtype == np.float32
    assert np.isnan(found[3][0]) and found[3][1] == 2.0


def test_times_are_utc_with_or_without_a_zone(path: Path) -> None:
    times = ["2024-05-06 07:08:09.123456", "2024-05-06T07:08:09Z", "2024-05-06T07:08:09+02:00", "", "yesterday"]
    write_result_file(path, ApogeeNet, 5, change=setting(created=times))
    chunk = chunk_of(path)
    created = as_arrays(chunk)[ApogeeNet]["created"]
    assert created.dtype == np.dtype("datetime64[us]")
    assert created.astype(str).tolist() == [
        "2024-05-06T07:08:09.123456",
        "2024-05-06T07:08:09.000000",
        "2024-05-06T05:08:09.000000",
        "NaT",
        "NaT",
    ]
    assert chunk.problems == [(4, "created: 'yesterday' is not a time in ISO 8601 format")]


def test_columns_that_are_nowhere_are_listed(path: Path) -> None:
    more = [FitsColumn("flag_warn", "L"), FitsColumn("crossmatch_flags", "K")]
    write_result_file(path, BossNet, 3, more=more)
    (part,) = open_result_file(path).parts
    assert part.unplaced == [
        ("flag_warn", "derived: the models compute it from the flags"),
        ("crossmatch_flags", "no column has this name"),
    ]


def test_a_second_column_of_the_same_name_is_listed(path: Path) -> None:
    more = [FitsColumn("crossmatch", "J")]
    write_result_file(path, None, 2, level="target", more=more, checksums=False, change=setting(lead=["a", "b"]))
    content = gzip.decompress(path.read_bytes()).replace(b"= 'crossmatch'", b"= 'lead      '")
    path.write_bytes(gzip.compress(content))
    (part,) = open_result_file(path).parts
    assert part.unplaced == [("lead", "a second column of this name")]
    (chunk,) = part.chunks()
    assert as_arrays(chunk)[Source]["lead"].tolist() == ["a", "b"]


def test_a_name_of_two_tables_is_of_that_in_whose_part_of_the_row_it_stands(path: Path) -> None:
    write_result_file(path, Corv, 3, change=setting(v_rad=[10, 20, 30]))
    columns = as_arrays(chunk_of(path))
    assert columns[BossCombinedSpectrum]["v_rad"].tolist() == [10, 20, 30]
    assert "v_rad" not in columns[Corv]  # the file has lost it
    write_result_file(path, Corv, 3, level="visit", change=setting(v_rad=[10, 20, 30]))
    columns = as_arrays(chunk_of(path))
    assert columns[Corv]["v_rad"].tolist() == [10, 20, 30]
    assert (
        "v_rad" not in columns[BossVisitSpectrum]._asdict() if hasattr(columns[BossVisitSpectrum], "_asdict") else True
    )


def test_longer_names_of_our_own_products(path: Path) -> None:
    more = [FitsColumn("corv_v_rad", "E"), FitsColumn("spectrum_v_astra", "J")]
    write_result_file(
        path, Corv, 2, more=more, change=setting(v_rad=[10, 20], corv_v_rad=[1, 2], spectrum_v_astra=[6000, 8001])
    )
    columns = as_arrays(chunk_of(path))
    assert columns[BossCombinedSpectrum]["v_rad"].tolist() == [10, 20]
    assert columns[Corv]["v_rad"].tolist() == [1, 2]
    assert columns[BossCombinedSpectrum]["v_astra"].tolist() == [6000, 8001]
    assert columns[Corv]["v_astra"].tolist() == [8001, 8001]


def test_names_that_changed_between_releases(path: Path) -> None:
    old = {"A_k_mag": "a_k_mag", "e_L_fakemag": "L_fakemag_err", "dist": "nn_dist", "e_dist": "nn_dist_err"}
    write_result_file(path, AstroNNdist, 2, renamed=old, change=setting(nn_dist=[3, 4]))
    (part,) = open_result_file(path).parts
    assert part.unplaced == []
    assert {part.targets[AstroNNdist][name] for name in old} == set(old.values())
    (chunk,) = part.chunks()
    assert as_arrays(chunk)[AstroNNdist]["dist"].tolist() == [3, 4]
    old = {"bn_v_r": "v_rad", "e_bn_v_r": "e_v_rad"}
    write_result_file(path, BossNet, 2, level="visit", renamed=old)
    (part,) = open_result_file(path).parts
    assert part.unplaced == [] and part.targets[BossNet]["bn_v_r"] == "v_rad"
    write_result_file(path, BossNet, 2, renamed={"spectrum_pk": "spectrum_pk_id"})
    (part,) = open_result_file(path).parts
    assert part.unplaced == [] and part.targets[BossNet]["spectrum_pk"] == "spectrum_pk_id"


def test_a_visit_in_an_ap_star_file_and_the_visit_it_was_made_of(path: Path) -> None:
    more = [FitsColumn("drp_spectrum_pk", "K"), FitsColumn("apstar", "A", 5)]
    change = setting(spectrum_pk=[11, 12, 13], drp_spectrum_pk=[1, 2, 13], apstar="stars", snr=[7, 8, 9])
    write_result_file(path, ThePayne, 3, level="visit", more=more, change=change)
    (part,) = open_result_file(path).parts
    in_star, alone = part.chunks()
    assert (in_star.spectrum_model, in_star.rows.tolist()) == (ApogeeVisitSpectrumInApStar, [0, 1])
    assert (alone.spectrum_model, alone.rows.tolist()) == (ApogeeVisitSpectrum, [2])
    assert list(in_star.columns) == [Source, ApogeeVisitSpectrumInApStar, ApogeeVisitSpectrum, ThePayne]
    columns = as_arrays(in_star)[ApogeeVisitSpectrumInApStar]
    assert columns["spectrum_pk"].tolist() == [11, 12] and columns["drp_spectrum_pk"].tolist() == [1, 2]
    assert columns["filetype"].tolist() == ["apStar"] * 2
    made_of = as_arrays(in_star)[ApogeeVisitSpectrum]
    assert made_of["spectrum_pk"].tolist() == [1, 2] and made_of["snr"].tolist() == [7, 8]
    assert made_of["filetype"].tolist() == ["apVisit"] * 2
    assert as_arrays(in_star)[ThePayne]["spectrum_pk"].tolist() == [11, 12]
    assert part.unplaced == []


# ---- units


def with_unit(path: Path, column: str, unit: str) -> Part:
    """Give a column of the file another unit."""
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    with fits.open(plain) as hdus:
        number = max(i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU) and len(hdu.data))
        place = 1 + hdus[number].columns.names.index(column)
    fits.setval(plain, f"TUNIT{place}", value=unit, ext=number)
    (part,) = open_result_file(plain).parts
    return part


@pytest.mark.parametrize(
    ("column", "unit", "factor", "note"),
    [
        ("plx", "arcsec", 1000.0, "plx is converted from 'arcsec' to 'mas'"),
        (
            "plx",
            "furlongs per fortnight",
            1.0,
            "the unit 'furlongs per fortnight' of plx can't be read; taken as 'mas'",
        ),
        ("zgr_logg", "log10(cm/s^2)", 1.0, None),
        ("zgr_logg", "dex", 1.0, None),
        ("w1_flux", "Vega nMgy", 1.0, None),
    ],
)
def test_units_are_those_of_the_columns(path: Path, column: str, unit: str, factor: float, note: str | None) -> None:
    write_result_file(path, None, 3, level="target", checksums=False, change=setting(**{column: [0.5, 1, np.nan]}))
    part = with_unit(path, column, unit)
    (chunk,) = part.chunks()
    np.testing.assert_allclose(as_arrays(chunk)[Source][column], np.array([0.5, 1, np.nan]) * factor)
    assert as_arrays(chunk)[Source][column].dtype == np.float32
    assert part.notes == ([note] if note else [])


def test_a_unit_of_another_kind_is_refused_for_its_column(path: Path) -> None:
    write_result_file(path, None, 3, level="target", checksums=False)
    part = with_unit(path, "zgr_teff", "deg")
    assert part.unplaced == [("zgr_teff", "its unit 'deg' is of another kind than 'K'")]
    (chunk,) = part.chunks()
    assert "zgr_teff" not in as_arrays(chunk)[Source] and "zgr_logg" in as_arrays(chunk)[Source]


# ---- speed is measured by benchmarks/ingest.py; here only that files of any width are read


@pytest.mark.parametrize("model", [LineForest, SnowWhite])
def test_wide_files(path: Path, model: Any) -> None:
    write_result_file(path, model, 25, style="dr19")
    file: ResultFile = open_result_file(path)
    (chunk,) = file.parts[0].chunks()
    assert set(as_arrays(chunk)[model]) >= set(model._meta.fields) - {
        *model.made_from,
        "modified",
        "v_astra_major_minor",
        "task_pk",
        "created",
    }
    assert chunk.problems == []
