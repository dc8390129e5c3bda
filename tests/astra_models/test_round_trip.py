"""Out and in again: a product, ingested into an empty database, gives the same product."""

from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.config import sqlite_database
from astra_models.fields import BitField
from astra_models.ingest.results import ingest_result_file
from astra_models.mwm import ApogeeCombinedSpectrum, BossCombinedSpectrum
from astra_models.products.summary import write_product
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from astra_models.upsert.columns import FLOAT32, FLOAT64, INT32, INT64, TEXT, kind_of
from tests.conftest import _bound
from tests.fits_readers import opened

SHARED = {"release": "dr19", "telescope": "apo25m"}
VISIT = {"plate": "1", "mjd": 59_000, "fiber": 3, "field": "f", "prefix": "ap", "apred": "1.3", "obj": "2M é"}
STAR = {"apred": "1.3", "obj": "2M"}
BOSS = {"run2d": "v6", "mjd": 59_001, "fieldid": 7, "spec_file": "s"}
EXTREMES = {
    FLOAT32: [None, 3.4e38, 0.0, float("inf"), 1e-45],  # SQLite keeps no sign of zero
    FLOAT64: [None, 1e308, 5e-324, float("-inf"), 0.1],
    INT32: [None, -(2**31), 2**31 - 1, -1, 0],
    INT64: [None, -(2**63), 2**63 - 1, -1, 0],
    TEXT: [None, "é", "a ", "\\", "plain"],
}
BITS = [None, 0, 2**62, 2**63 - 1]
RECORD = {"pk", "task_pk", "spectrum_pk", "source_pk", "created", "modified", "v_astra", "sdss_id", "path", "lead"}


def with_extremes(model: Any, n: int, fixed: dict[str, Any]) -> dict[str, Any]:
    """Give a row with extreme values in the columns that aren't given and may be missing, other ones for each `n`."""
    row = dict(fixed)
    for place, field in enumerate(model._meta.sorted_fields):
        if (
            not field.null
            or field.unique
            or isinstance(field, peewee.ForeignKeyField)
            or field.name in RECORD | row.keys()
        ):
            continue
        choices = BITS if isinstance(field, BitField) else EXTREMES.get(kind_of(field))
        if choices:
            row[field.name] = choices[(n + place) % len(choices)]
    return row


def store_spectra(model: Any, n: int, **columns: Any) -> list[int]:
    """Store spectra of as many sources, each with other values; gives their keys."""
    keys = []
    for i in range(n):
        source = Source.create(**with_extremes(Source, i, {"sdss_id": 1000 + Source.select().count()}))
        key = Spectrum.create().pk
        given = {"spectrum_pk": key, "source_pk": source.pk, **SHARED, **columns}
        for name in ("catalogid", "sdss_id"):
            if name in model._meta.fields:
                given[name] = source.sdss_id
        if "obj" in given:
            given["obj"] = f"{given['obj']} {i}"
        if "fiber" in given:
            given["fiber"] = i
        model.create(**with_extremes(model, i, given))
        keys.append(key)
    return keys


def analyse(model: Any, keys: list[int]) -> None:
    rows = []
    for i, key in enumerate(keys):
        source = Source.select().order_by(Source.pk).offset(i).first()
        fixed = {"spectrum_pk": key, "source_pk": source.pk, "v_astra": 9001, "result_flags": 2**i, "tag": "t"}
        rows.append(with_extremes(model, i, fixed))
    assert upsert(model, rows).inserted == len(rows)


def assert_the_same(one: str, other: str) -> None:
    with opened(one) as first, opened(other) as second:
        for ours, theirs in zip(first, second, strict=True):
            if ours.data is None:
                continue
            assert ours.columns.names == theirs.columns.names
            for name in ours.columns.names:
                np.testing.assert_array_equal(ours.data[name], theirs.data[name], err_msg=name)
            assert ours.header["CHECKSUM"] == theirs.header["CHECKSUM"]


CASES = {
    "astraAllStarASPCAP": (ASPCAP, ApogeeCoaddedSpectrumInApStar, STAR),
    "astraAllStarApogeeNet": (ApogeeNet, ApogeeCombinedSpectrum, STAR | {"v_astra": 8001}),
    "astraAllStarCorv": (Corv, BossCombinedSpectrum, {"run2d": "v6", "v_astra": 9000}),
    "astraAllVisitCorv": (Corv, BossVisitSpectrum, BOSS),
    "astraAllVisitApogeeNet": (ApogeeNet, ApogeeVisitSpectrum, VISIT),
}


@pytest.mark.parametrize("product", list(CASES))
def test_a_product_comes_back(database: peewee.Database, tmp_path: Path, product: str) -> None:
    model, spectrum, columns = CASES[product]
    analyse(model, store_spectra(spectrum, 6, **columns))
    first = write_product(product, tmp_path / "first")
    with _bound(sqlite_database(tmp_path / "other.db")):
        report = ingest_result_file(first.file.path)
        assert (report.rejected, dict(report.reasons)) == (0, {})
        second = write_product(product, tmp_path / "second")
    assert first.file.rows == second.file.rows
    assert_the_same(first.file.path, second.file.path)
