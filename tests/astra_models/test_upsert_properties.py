"""Whatever sequence of upserts: what is stored is the last row per spectrum and major.minor version."""

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


def without_spectrum(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "spectrum"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches, batch_size=st.sampled_from([1, 2, 1000]), keep_good=st.booleans(), skip=st.booleans())
def test_the_last_row_per_key_is_stored(
    spectra: list[BossVisitSpectrum],
    batches: list[list[dict[str, Any]]],
    batch_size: int,
    keep_good: bool,
    skip: bool,
) -> None:
    Rocket.delete().execute()
    RejectedResult.delete().execute()
    keys = [spectrum.spectrum_pk for spectrum in spectra] + [max(spectrum.spectrum_pk for spectrum in spectra) + 1]
    table: dict[tuple[int, int], dict[str, Any]] = {}
    first: dict[tuple[int, int], tuple[int, Any]] = {}
    n_rejected = 0
    for batch in batches:
        rows = [{"spectrum_pk": keys[row["spectrum"]]} | without_spectrum(row) for row in batch]
        report = upsert(Rocket, rows, batch_size=batch_size, keep_good=keep_good, unchanged="skip" if skip else "write")
        n_rejected += report.rejected
        assert report.rows == len(rows)
        assert report.rejected <= sum(not is_storable(row) for row in batch)
        for start in range(0, len(rows), batch_size):
            some = [row for row in batch[start : start + batch_size] if is_storable(row)]
            for key, row in {(keys[row["spectrum"]], row["v_astra"] // 1000): row for row in some}.items():
                new = expected(row)
                if not (keep_good and not is_good(new) and is_good(table.get(key, dict.fromkeys(MEASURED)))):
                    table[key] = new
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
