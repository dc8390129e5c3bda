"""Whatever sequence of upserts: of each spectrum and major.minor version, what is stored is what the rules prefer."""

from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.boss import BossVisitSpectrum
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import upsert

MEASURED = ("teff", "logg")
values = st.none() | st.floats(width=32, allow_nan=True)
UNKNOWN, UNSTORABLE = 4, 1e300  # a spectrum that is not there, a temperature that no column can hold
row = st.fixed_dictionaries(
    {"spectrum": st.integers(0, UNKNOWN), "v_astra": st.sampled_from([8_000, 8_001, 9_000])},
    optional={
        "teff": values | st.just(UNSTORABLE),
        "logg": values,
        "tag": st.sampled_from(["", "a", "é"]),
        "flag_low_snr": st.booleans(),
    },
)
batches = st.lists(st.lists(row, max_size=6), max_size=4)


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store four spectra."""
    return make_spectra(4)


def expected(row: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: row.get(name) for name in MEASURED}
    numbers = {name: None if value is None or np.isnan(value) else value for name, value in numbers.items()}
    return numbers | {
        "v_astra": row["v_astra"],
        "tag": row.get("tag", ""),
        "result_flags": int(row.get("flag_low_snr", False)),
    }


def is_storable(row: dict[str, Any]) -> bool:
    return row["spectrum"] != UNKNOWN and row.get("teff") != UNSTORABLE


def is_good(row: dict[str, Any]) -> bool:
    return any(row[name] is not None for name in MEASURED)


def set_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Give what a row sets, as it is stored; flags and text that it doesn't set are left out."""
    unset = {"tag": "tag", "result_flags": "flag_low_snr"} | dict(zip(MEASURED, MEASURED, strict=True))
    return {name: value for name, value in expected(row).items() if name not in unset or unset[name] in row}


def may_replace(existing: str, keep_good: bool, old: dict[str, Any], new: dict[str, Any]) -> bool:
    if existing == "keep" or (existing in ("newest", "merge") and old["v_astra"] > new["v_astra"]):
        return False
    return not keep_good or is_good(new) or not is_good(old)


def one_of_each_key(rows: list[dict[str, Any]], existing: str, keep_good: bool) -> list[dict[str, Any]]:
    """Give the rows of a batch that are written, in order: of the same key, the one that the rules prefer."""
    if existing == "merge":
        return rows
    chosen: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        before = chosen.setdefault((row["spectrum"], row["v_astra"] // 1000), row)
        ranks = [(keep_good and is_good(expected(r)), existing == "newest" and r["v_astra"]) for r in (row, before)]
        if existing != "keep" and ranks[0] >= ranks[1]:
            chosen[row["spectrum"], row["v_astra"] // 1000] = row
    return list(chosen.values())


def without_spectrum(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "spectrum"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=batches,
    batch_size=st.sampled_from([1, 2, 1000]),
    existing=st.sampled_from(["newest", "replace", "keep", "merge"]),
    keep_good=st.booleans(),
    unchanged=st.sampled_from(["write", "skip", "count"]),
)
def test_one_row_per_key_is_stored(
    spectra: list[BossVisitSpectrum],
    batches: list[list[dict[str, Any]]],
    batch_size: int,
    existing: Any,
    keep_good: bool,
    unchanged: Any,
) -> None:
    Rocket.delete().execute()
    RejectedResult.delete().execute()
    keys = [spectrum.spectrum_pk for spectrum in spectra] + [max(spectrum.spectrum_pk for spectrum in spectra) + 1]
    table: dict[tuple[int, int], dict[str, Any]] = {}
    first: dict[tuple[int, int], tuple[int, Any]] = {}
    n_rejected = 0
    for batch in batches:
        rows = [{"spectrum_pk": keys[row["spectrum"]]} | without_spectrum(row) for row in batch]
        report = upsert(
            Rocket, rows, batch_size=batch_size, existing=existing, keep_good=keep_good, unchanged=unchanged
        )
        n_rejected += report.rejected
        assert report.rows == len(rows)
        assert report.rejected <= sum(not is_storable(row) for row in batch)
        for start in range(0, len(rows), batch_size):
            some = [row for row in batch[start : start + batch_size] if is_storable(row)]
            for row in one_of_each_key(some, existing, keep_good):
                key, new = (keys[row["spectrum"]], row["v_astra"] // 1000), expected(row)
                if key not in table:
                    table[key] = new
                elif may_replace(existing, keep_good, table[key], new):
                    table[key] = table[key] | set_columns(row) if existing == "merge" else new
        for stored in Rocket.select():
            key = (stored.spectrum_pk, stored.v_astra_major_minor)
            assert first.setdefault(key, (stored.task_pk, stored.created)) == (stored.task_pk, stored.created)
    last = {(keys[row["spectrum"]], row["v_astra"] // 1000): is_storable(row) for batch in batches for row in batch}
    listed = {(row.spectrum_pk, row.v_astra // 1000) for row in RejectedResult.select()}
    assert {key for key, stored_at_last in last.items() if not stored_at_last} <= listed
    assert RejectedResult.select().count() <= n_rejected  # a good result takes earlier failures off the list
    names = ("v_astra", *MEASURED, "tag", "result_flags")
    assert {
        (stored.spectrum_pk, stored.v_astra_major_minor): {name: getattr(stored, name) for name in names}
        for stored in Rocket.select()
    } == table
