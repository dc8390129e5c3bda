"""Out and in again: a product, ingested into an empty database, gives the same product."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.io import fits
from astropy.table import Table

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.base import bound_schema
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import FLOAT32, FLOAT64, INT32, INT64, TEXT, kind_of
from astra_models.corv import Corv
from astra_models.database.config import sqlite_database
from astra_models.fields import BitField
from astra_models.ingest import ingest_result_file
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.nmf_rectify import NMFRectify
from astra_models.products.summary import write_product
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from tests.conftest import SCHEMA, _bound
from tests.fits_readers import opened

pytestmark = pytest.mark.long_on_each

OF_ASTRA = {"v_astra": 9000}
SHARED = {"release": "dr19", "telescope": "apo25m"}
VISIT = {"plate": "1", "mjd": 59_000, "fiber": 3, "field": "f", "prefix": "ap", "apred": "1.3", "reduction": ""}
STAR = {"apred": "1.3"}
BOSS = {"run2d": "v6", "mjd": 59_001, "fieldid": 7, "spec_file": "s"}
EXTREMES = {
    FLOAT32: [None, 3.4e38, -0.0, float("inf"), 1e-45],
    FLOAT64: [None, 1e308, 5e-324, float("-inf"), -0.0, 0.1],
    INT32: [None, -(2**31), 2**31 - 1, -1, 0],
    INT64: [None, -(2**63), 2**63 - 1, -1, 0],
    TEXT: [None, "é", "a ", "\\", "plain"],
}
BITS = [None, -1, 0, 2**62, 2**63 - 1, -(2**63)]
RECORD = {"pk", "task_pk", "spectrum_pk", "source_pk", "created", "modified", "v_astra", "sdss_id", "path", "lead"}
N = 6

Keys = list[tuple[int, int]]
Another = Callable[[], AbstractContextManager[peewee.Database]]


@pytest.fixture
def another_database(request: pytest.FixtureRequest, database: peewee.Database, tmp_path: Path) -> Another:
    """Give a function that binds another, empty database of the same back end."""
    if isinstance(database, peewee.SqliteDatabase):
        return lambda: _bound(sqlite_database(tmp_path / "other.db"))
    return request.getfixturevalue("clean_tables")(None if bound_schema() else SCHEMA).bound


def with_extremes(model: Any, n: int, fixed: dict[str, Any]) -> dict[str, Any]:
    """Give a row with extreme values in the columns that aren't given and may have any, other ones for each `n`."""
    row = dict(fixed)
    for place, field in enumerate(model._meta.sorted_fields):
        if field.unique or isinstance(field, peewee.ForeignKeyField) or field.name in RECORD | row.keys():
            continue
        choices = BITS if isinstance(field, BitField) else EXTREMES.get(kind_of(field))
        if choices and (field.null or isinstance(field, BitField)):
            given = choices if field.null else choices[1:]
            row[field.name] = given[(n + place) % len(given)]
    return row


def store_spectra(model: Any, columns: dict[str, Any], visits: Keys | None = None) -> Keys:
    """Store spectra of as many sources, each with other values; of `visits` and their sources if there are any."""
    keys = []
    for n in range(N):
        given = {**SHARED, **columns, "spectrum_pk": Spectrum.create(spectrum_flags=BITS[n % 5 + 1]).pk}
        if visits is not None:
            given["drp_spectrum_pk"], source = visits[n][0], Source.get_by_id(visits[n][1])
        else:
            source = Source.create(**with_extremes(Source, n, {"sdss_id": 1000 + Source.select().count()}))
        given |= {"source_pk": source.pk, "sdss_id": source.sdss_id, "healpix": source.healpix}
        given |= {"catalogid": source.sdss_id, "obj": f"2M é {n}", "fiber": n}
        given = {name: value for name, value in given.items() if name in model._meta.fields}
        model.create(**with_extremes(model, n, given))
        keys.append((given["spectrum_pk"], source.pk))
    return keys


def analyse(model: Any, keys: Keys, spectra: Any) -> None:
    """Store a result of each spectrum, with what it repeats of the spectrum."""
    repeated = set(spectra.natural_key) & model._meta.fields.keys() - RECORD
    rows = []
    for n, (key, source) in enumerate(keys):
        spectrum = spectra.get(spectra.spectrum_pk == key)
        fixed = {"spectrum_pk": key, "source_pk": source, "v_astra": 9001, "tag": "t", "filetype": spectrum.filetype}
        fixed |= {name: getattr(spectrum, name) for name in repeated}
        rows.append(with_extremes(model, n, {k: v for k, v in fixed.items() if k in model._meta.fields}))
    assert upsert(model, rows).inserted == len(rows)


MADE_OF = {ApogeeVisitSpectrumInApStar: ApogeeVisitSpectrum, BossRestFrameVisitSpectrum: BossVisitSpectrum}
BOSS_STARS = (BossCombinedSpectrum, {"run2d": "v6", **OF_ASTRA})
BOSS_VISITS = (BossVisitSpectrum, BOSS)
CO_ADDS = (ApogeeCoaddedSpectrumInApStar, STAR)
COMBINED = (ApogeeCombinedSpectrum, STAR | OF_ASTRA)
APOGEE_VISITS = (ApogeeVisitSpectrum, VISIT)
IN_APSTAR = (ApogeeVisitSpectrumInApStar, VISIT)
BOSS_AT_REST = (BossRestFrameVisitSpectrum, BOSS | OF_ASTRA)
APOGEE_AT_REST = (ApogeeRestFrameVisitSpectrum, VISIT | OF_ASTRA)

PRODUCTS: dict[str, tuple[str, Any, list[tuple[Any, dict[str, Any]]]]] = {
    "co-adds of apStar files": ("astraAllStarASPCAP", ASPCAP, [CO_ADDS]),
    "co-adds of both kinds": ("astraAllStarApogeeNet", ApogeeNet, [CO_ADDS, COMBINED]),
    "co-adds of BOSS": ("astraAllStarCorv", Corv, [BOSS_STARS]),
    "names that differ by capitals": ("astraAllStarNMFRectify", NMFRectify, [BOSS_STARS]),
    "visits of BOSS at rest": ("astraAllVisitCorv", Corv, [BOSS_AT_REST]),
    "visits of BOSS of both kinds": ("astraAllVisitCorv", Corv, [BOSS_VISITS, BOSS_AT_REST]),
    "visits of APOGEE": ("astraAllVisitApogeeNet", ApogeeNet, [APOGEE_VISITS]),
    "visits in apStar files": ("astraAllVisitApogeeNet", ApogeeNet, [IN_APSTAR]),
    "visits of APOGEE of all kinds": (
        "astraAllVisitApogeeNet",
        ApogeeNet,
        [APOGEE_VISITS, IN_APSTAR, APOGEE_AT_REST],
    ),
    "all stars": ("mwmAllStar", None, [BOSS_STARS, CO_ADDS, COMBINED]),
    "all visits": ("mwmAllVisit", None, [BOSS_VISITS, APOGEE_VISITS]),
    "all sources": ("mwmTargets", None, [CO_ADDS]),
    "adopted results": ("astraMWMLite", MWMBest, [CO_ADDS]),
}


def store(name: str) -> str:
    """Fill the database with what a product is of; gives its name."""
    product, result, spectra = PRODUCTS[name]
    stored: dict[Any, Keys] = {}
    for model, columns in spectra:
        if model is ApogeeVisitSpectrumInApStar and ApogeeVisitSpectrum not in stored:
            stored[ApogeeVisitSpectrum] = store_spectra(ApogeeVisitSpectrum, columns)
        stored[model] = keys = store_spectra(model, columns, stored.get(MADE_OF.get(model)))
        if result is not None:
            analyse(result, keys, model)
    return product


def assert_the_same(one: str, other: str) -> None:
    with opened(one) as first, opened(other) as second:
        for ours, theirs in zip(first, second, strict=True):
            if ours.data is None:
                continue
            assert ours.columns.names == theirs.columns.names
            for name in ours.columns.names:
                np.testing.assert_array_equal(ours.data[name], theirs.data[name], err_msg=name)


@pytest.mark.parametrize("name", list(PRODUCTS))
def test_a_product_comes_back(database: peewee.Database, another_database: Another, tmp_path: Path, name: str) -> None:
    product = store(name)
    first = write_product(product, tmp_path / "first")
    with another_database():
        report = ingest_result_file(first.file.path)
        assert (report.rejected, dict(report.reasons)) == (0, {})
        second = write_product(product, tmp_path / "second")
    assert first.file.rows == second.file.rows
    assert_the_same(first.file.path, second.file.path)
    assert checksums(first.file.path) == checksums(second.file.path)


def checksums(path: str) -> list[str]:
    """Give the checksums of the tables, headers and all."""
    with opened(path) as hdus:
        return [hdu.header["CHECKSUM"] for hdu in hdus[1:]]


@pytest.mark.postgresql_only(reason="it is from PostgreSQL to SQLite")
def test_a_product_comes_back_from_another_back_end(database: peewee.Database, tmp_path: Path) -> None:
    """SQLite keeps all of it but the sign of zero."""
    product = store("co-adds of apStar files")
    first = write_product(product, tmp_path / "first")
    with _bound(sqlite_database(tmp_path / "other.db")):
        ingest_result_file(first.file.path)
        second = write_product(product, tmp_path / "second")
    assert_the_same(first.file.path, second.file.path)


@pytest.mark.parametrize("declared", [2**63 - 1, None])
def test_only_what_a_file_declares_is_missing(
    memory_database: peewee.Database, tmp_path: Path, declared: int | None
) -> None:
    """Flags that are all set are -1, which is the survey's fill value in files that declare none."""
    bits = [-1, 2**63 - 1, 5]
    for n in range(len(bits)):
        Source.create(sdss_id=n + 1)
    path = tmp_path / "of_others.fits"
    with opened(write_product("mwmTargets", tmp_path).file.path) as hdus:
        table = Table(hdus[1].data)
    table["w1uflags"] = bits
    hdu = fits.BinTableHDU(table)
    if declared is not None:
        hdu.header[f"TNULL{table.index_column('w1uflags') + 1}"] = declared
    hdu.writeto(path)
    with _bound(sqlite_database(":memory:")):
        ingest_result_file(path)
        stored = [flags for (flags,) in Source.select(Source.w1uflags).order_by(Source.sdss_id).tuples()]
    assert stored == ([-1, None, 5] if declared else [None, 2**63 - 1, 5])
