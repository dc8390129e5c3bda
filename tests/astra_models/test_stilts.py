"""What STILTS, the tool of the Virtual Observatory, reads in files that we write, is what is in the database."""

import csv
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import BOOLEAN, BYTES, FLOAT32, FLOAT64, FLOATS, INT32, INT64, MOMENT
from astra_models.corv import Corv
from astra_models.fits.text import escape
from astra_models.products.export import export
from astra_models.products.query import Selection, kind_read, select_model
from astra_models.source import Source
from astra_models.the_cannon import TheCannon
from tests.exported import fill

STILTS = shutil.which("stilts")
FORMATS = {"vot": "votable", "fits": "fits", "csv": "csv", "ecsv": "ecsv", "parquet": "parquet"}

pytestmark = [
    pytest.mark.long_on_each,
    pytest.mark.skipif(STILTS is None, reason="needs STILTS and a Java runtime: apt-get install stilts"),
    pytest.mark.sqlite_only(reason="the bytes of the files are the same on both"),
]


def stilts(*arguments: str) -> "subprocess.CompletedProcess[str]":
    in_unicode = os.environ | {"LC_ALL": "C.UTF-8"}  # Java reads and writes text as the locale has it
    return subprocess.run([str(STILTS), *arguments], capture_output=True, text=True, timeout=300, env=in_unicode)


def formats_read() -> str:
    """Give what STILTS says of the formats that it reads."""
    return stilts("tpipe", "help=ifmt").stdout.lower()


def read_by_stilts(path: Path, kind: str) -> list[dict[str, str]]:
    done = stilts("tpipe", f"in={path}", f"ifmt={kind}", "ofmt=csv", f"out={path}.read")
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(Path(f"{path}.read").read_text().splitlines()))


def rows_of(selection: Selection) -> list[dict[str, Any]]:
    names = [column.name for column in selection.columns]
    fields = [column.field for column in selection.columns]
    return [
        {name: field.python_value(value) for name, field, value in zip(names, fields, row, strict=True)}
        for row in selection.ordered(*(column.selected for column in selection.columns)).tuples()
    ]


def is_same(field: peewee.Field, value: Any, text: str) -> bool:
    """Tell whether text that STILTS wrote says a value; a FITS file has other text than ASCII as escapes."""
    kind = kind_read(field)
    if value is None:
        return text in ("", "0") if kind is BOOLEAN else not re.search("[1-9A-Za-z]", text.replace("NaN", ""))
    if kind is BOOLEAN:
        return text in ({"true", "1"} if value else {"false", "0"})
    if kind in (FLOAT32, FLOAT64):
        dtype = np.float32 if kind is FLOAT32 else np.float64
        return dtype(text) == dtype(value)
    if kind in (INT32, INT64):
        return int(text) == int(value)
    if kind is MOMENT:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) == value
    if kind is FLOATS:
        numbers = np.array([float(word) for word in re.findall(r"[-+.\w]+", text)], np.float32)
        return np.array_equal(numbers[: len(value)], np.asarray(value, np.float32))
    if kind is BYTES:
        return text.lower() == f"0x{bytes(value).hex()}" or [int(n) for n in re.findall(r"\d+", text)] == list(value)
    told = str(value).strip()
    # STILTS 3.4.7 takes the UTF-8 of text files for Latin-1.
    return text in (told, escape(told).decode(), told.encode().decode("latin-1"))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("model", [Source, BossVisitSpectrum, Corv, TheCannon])
def test_stilts_reads_the_values(database: peewee.Database, tmp_path: Path, model: Any, suffix: str) -> None:
    kind = FORMATS[suffix]
    if kind in ("ecsv", "parquet") and not re.search(rf"\b{kind}\b", formats_read()):
        pytest.skip(f"this version of STILTS doesn't read {kind}")
    fill(model)
    selection = select_model(model)
    path = tmp_path / f"rows.{suffix}"
    export(model, selection, path)
    read = read_by_stilts(path, kind)
    differing = {
        column.name: (before[column.name], after[column.name])
        for before, after in zip(rows_of(selection), read, strict=True)
        for column in selection.columns
        if not is_same(column.field, before[column.name], after[column.name])
    }
    assert differing == {}


@pytest.mark.parametrize("model", [Source, Corv])
def test_stilts_gets_units_and_ucds(database: peewee.Database, tmp_path: Path, model: Any) -> None:
    fill(model)
    path = tmp_path / "rows.vot"
    export(model, select_model(model), path)
    done = stilts("tpipe", f"in={path}", "cmd=meta Name Units UCD", "ofmt=csv")
    told = {row["Name"]: row for row in csv.DictReader(done.stdout.splitlines())}
    name, unit, ucd = (
        ("ra", "deg", "pos.eq.ra;meta.main") if model is Source else ("teff", "K", "phys.temperature.effective")
    )
    assert (told[name]["Units"], told[name]["UCD"]) == (unit, ucd)
    assert stilts("votlint", f"votable={path}").stdout == ""
