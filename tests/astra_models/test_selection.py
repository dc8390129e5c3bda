"""Which spectra are due."""

import gc
import itertools
from datetime import timedelta
from typing import Any

import peewee
import pytest

from astra_models.analysis.due import (
    DueReason,
    Rerun,
    Standing,
    count_due,
    select_due,
    standing_of_spectra,
    why_version_is_due,
)
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import MissingTableError, UnknownSourceError, VersionError
from astra_models.fields import utc_now
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert

V = 9_001  # 0.9.1


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that 0.9.1 is installed."""
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")


@pytest.fixture
def keys(database: peewee.Database, make_spectra: Any) -> list[int]:
    """Store five spectra, of an hour ago, and give their keys."""
    return [s.spectrum_pk for s in make_spectra(5, modified=utc_now() - timedelta(hours=1))]


def due(**options: Any) -> list[int]:
    """Select, and check what holds for any selection."""
    selected = select_due(Rocket, BossVisitSpectrum, **options)
    n = len(selected)
    found = list(selected)
    assert n == len(found) == count_due(Rocket, BossVisitSpectrum, **options)
    assert found == sorted(set(found))
    assert all(type(key) is int for key in found)
    return found


def done(keys: list[int], **columns: Any) -> None:
    report = upsert(Rocket, [{"spectrum_pk": key, "v_astra": V} | columns for key in keys])
    assert report.rejected == 0


def failed(keys: list[int], reason: str = "exception", **columns: Any) -> None:
    for key in keys:
        values = {"model": "Rocket", "spectrum_pk": key, "v_astra": V, "reason": reason, "message": "x"}
        RejectedResult.create(**values | columns)


def observed_again(keys: list[int]) -> None:
    model = BossVisitSpectrum
    model.update(modified=utc_now() + timedelta(seconds=1)).where(model.spectrum_pk.in_(keys)).execute()


# ---- due


def test_spectra_without_a_result_are_due(keys: list[int]) -> None:
    assert due() == keys
    done(keys[1:3])
    assert due() == [keys[0], *keys[3:]]
    done(keys)
    assert due() == []


def test_nothing_is_due_where_there_is_nothing(database: peewee.Database) -> None:
    assert due() == []


def test_a_spectrum_that_was_modified_after_its_result_is_due(keys: list[int]) -> None:
    done(keys)
    observed_again(keys[2:3])
    assert due() == [keys[2]]
    Rocket.update(modified=utc_now() + timedelta(minutes=1)).execute()
    assert due() == []


def test_a_result_of_an_older_patch_is_due_unless_turned_off(keys: list[int]) -> None:
    done(keys[:2], v_astra=9_000)
    done(keys[2:])
    assert due() == keys[:2]
    assert due(older_patch=False) == []


def test_without_older_patches_a_modified_spectrum_is_still_due(keys: list[int]) -> None:
    done(keys, v_astra=9_000)
    observed_again(keys[:1])
    assert due(older_patch=False) == keys[:1]


def test_a_result_of_another_minor_version_does_not_count(keys: list[int]) -> None:
    done(keys, v_astra=8_999)
    done(keys[:2], v_astra=10_000)
    assert due() == keys


def test_a_result_of_a_newer_patch_is_not_due(keys: list[int]) -> None:
    done(keys, v_astra=9_002)
    assert due() == []
    assert due(rerun="failed") == []
    assert due(rerun="all") == keys


def test_a_result_of_a_newer_patch_is_not_due_even_if_its_spectrum_was_modified(keys: list[int]) -> None:
    done(keys, v_astra=9_002)
    observed_again(keys)
    assert due() == []


def test_results_of_another_pipeline_do_not_count(keys: list[int]) -> None:
    upsert(Corv, [{"spectrum_pk": key, "v_astra": V} for key in keys])
    assert due() == keys


def test_only_spectra_of_the_kind_are_due(keys: list[int]) -> None:
    other = ApogeeCoaddedSpectrumInApStar.create(
        release="dr19", apred="1", obj="x", telescope="apo25m", spectrum_pk=Spectrum.create().pk
    )
    assert due() == keys
    assert list(select_due(Rocket, ApogeeCoaddedSpectrumInApStar)) == [other.spectrum_pk]


def test_a_spectrum_without_a_key_is_not_due(keys: list[int]) -> None:
    ApogeeCoaddedSpectrumInApStar.create(release="dr19", apred="1", obj="x", telescope="apo25m")
    assert list(select_due(Rocket, ApogeeCoaddedSpectrumInApStar)) == []


@pytest.mark.lesson(24)
@pytest.mark.parametrize(
    ("version", "expected"), [("0.9.1", 0), (9_001, 0), ("0.9.2", 5), ("0.8.0", 5), ("0.9.1rc1", 0)]
)
def test_a_version_may_be_asked_for(keys: list[int], version: str | int, expected: int) -> None:
    done(keys)
    assert len(due(version=version)) == expected
    assert due(version="0.9.0") == []  # stored is a newer patch


def test_a_wrong_version_is_an_error(keys: list[int]) -> None:
    with pytest.raises(VersionError, match="'latest'"):
        due(version="latest")


# ---- why


def test_why_spectra_are_due(keys: list[int]) -> None:
    missing, changed, older, current, newer = keys
    done([changed, current])
    done([older], v_astra=9_000)
    done([newer], v_astra=9_002)
    observed_again([changed])
    assert {key: standing[:2] for key, standing in standings().items()} == {
        missing: (DueReason.missing, False),
        changed: (DueReason.changed, False),
        older: (DueReason.older_patch, False),
        current: (None, False),
        newer: (None, False),
    }


def test_a_spectrum_that_failed_is_not_due_whatever_the_reason(keys: list[int]) -> None:
    done(keys[1:3], v_astra=9_000)
    failed(keys[:3])
    observed_again(keys[2:3])  # and so its failure is no longer of what is there now
    assert {key: standing[:2] for key, standing in standings().items()} == {
        keys[0]: (DueReason.missing, True),
        keys[1]: (DueReason.older_patch, True),
        keys[2]: (DueReason.changed, False),
        keys[3]: (DueReason.missing, False),
        keys[4]: (DueReason.missing, False),
    }
    assert due() == sorted(key for key, standing in standings().items() if standing.is_due)


@pytest.mark.parametrize("stored", [8_999, 9_000, 9_001, 9_002, 10_000])
def test_the_rule_for_versions_alone_is_that_of_the_spectra(keys: list[int], stored: int) -> None:
    done(keys, v_astra=stored)
    assert {standing.reason for standing in standings().values()} == {why_version_is_due(stored, V)}


def standings() -> dict[int, Standing]:
    return standing_of_spectra(Rocket, BossVisitSpectrum, BossVisitSpectrum.mjd > 0)


# ---- failures


@pytest.mark.lesson(43)
@pytest.mark.parametrize("reason", ["exception", "no_result"])
def test_what_failed_is_not_due_again_at_the_same_version(keys: list[int], reason: str) -> None:
    failed(keys[:2], reason)
    assert due() == keys[2:]
    assert due(rerun="failed") == due(rerun=Rerun.failed) == keys[:2]
    assert due(rerun="all") == due(rerun=Rerun.all) == keys


@pytest.mark.lesson(43)
def test_what_failed_is_due_at_another_version(keys: list[int]) -> None:
    failed(keys, v_astra=9_000)
    assert due() == keys
    assert due(version="0.9.0") == []


@pytest.mark.lesson(43)
def test_what_failed_is_due_when_its_spectrum_was_modified_since(keys: list[int]) -> None:
    failed(keys)
    observed_again(keys[:1])
    assert due() == keys[:1]


def test_what_was_refused_is_still_due(keys: list[int]) -> None:
    failed(keys[:1], "refused")
    assert due() == keys


def test_failures_of_another_pipeline_do_not_count(keys: list[int]) -> None:
    failed(keys, model="Corv")
    assert due() == keys


def test_a_failed_rerun_of_an_older_patch_is_not_due_again(keys: list[int]) -> None:
    done(keys, v_astra=9_000)
    failed(keys[:1])
    assert due() == keys[1:]


def test_a_good_result_ends_a_failure(keys: list[int]) -> None:
    failed(keys)
    done(keys[:2], teff=5_000)
    assert due(rerun="failed") == keys[2:]
    assert due() == []


# ---- narrowing


def test_a_limit_takes_the_first_keys(keys: list[int]) -> None:
    assert due(limit=2) == keys[:2]
    assert due(limit=100) == keys
    done(keys[:1])
    assert due(limit=2) == keys[1:3]


def sdss_ids(keys: list[int]) -> list[int]:
    model = BossVisitSpectrum
    query = Source.select(Source.sdss_id).join(model, on=(model.source_pk == Source.pk))
    return [sdss_id for (sdss_id,) in query.where(model.spectrum_pk.in_(keys)).order_by(Source.sdss_id).tuples()]


def test_sources_may_be_chosen(keys: list[int]) -> None:
    done(keys[:1])
    chosen = sdss_ids(keys[:3])
    assert due(sdss_ids=chosen) == keys[1:3]
    assert list(select_due(Rocket, BossVisitSpectrum, sdss_ids=iter(chosen), rerun="all")) == keys[:3]
    assert due(sdss_ids=chosen, limit=1) == keys[1:2]


def test_unknown_sources_beside_known_ones_are_passed_over(keys: list[int]) -> None:
    assert due(sdss_ids=[*sdss_ids(keys[:1]), 404]) == keys[:1]


def test_unknown_sources_alone_are_an_error_that_names_them(keys: list[int]) -> None:
    with pytest.raises(UnknownSourceError, match="404"):
        due(sdss_ids=[404, 405])
    with pytest.raises(UnknownSourceError):
        due(sdss_ids=[])


def test_many_sources_may_be_chosen(keys: list[int]) -> None:
    assert list(select_due(Rocket, BossVisitSpectrum, sdss_ids=range(260_000))) == keys


def test_a_condition_may_be_on_the_spectrum_or_its_source(keys: list[int]) -> None:
    BossVisitSpectrum.update(snr=50).where(BossVisitSpectrum.spectrum_pk.in_(keys[:3])).execute()
    Source.update(g_mag=15).where(Source.sdss_id.in_(sdss_ids(keys[2:]))).execute()
    assert due(where=BossVisitSpectrum.snr > 10) == keys[:3]
    assert due(where=Source.g_mag < 16) == keys[2:]
    assert due(where=(BossVisitSpectrum.snr > 10) & (Source.g_mag < 16)) == keys[2:3]
    assert due(where=BossVisitSpectrum.snr > 10, limit=1) == keys[:1]
    assert due(where=BossVisitSpectrum.flag_sky_fiber) == []
    assert due(where=~BossVisitSpectrum.flag_sky_fiber) == keys


def test_a_spectrum_without_a_source_is_due_too(keys: list[int]) -> None:
    BossVisitSpectrum.update(source_pk=None).where(BossVisitSpectrum.spectrum_pk == keys[0]).execute()
    assert due() == keys
    assert due(where=BossVisitSpectrum.mjd > 0) == keys


@pytest.mark.parametrize("option", [{"rerun": "some"}, {"limit": -1}])
def test_a_wrong_option_is_an_error_that_names_it(keys: list[int], option: dict[str, Any]) -> None:
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=rf"{name}.*{value}"):
        due(**option)


# ---- the list


@pytest.mark.lesson(40)
def test_the_list_is_fixed_when_it_is_asked_for(keys: list[int], make_spectra: Any) -> None:
    selected = select_due(Rocket, BossVisitSpectrum)
    done(keys)
    make_spectra(3)
    assert list(selected) == keys


@pytest.mark.lesson(40)
def test_every_call_asks_again(keys: list[int], make_spectra: Any) -> None:
    assert due() == keys
    done(keys)
    (new,) = make_spectra(1)
    assert due() == [new.spectrum_pk]


def test_the_list_tells_how_many_are_still_to_come(keys: list[int]) -> None:
    selected = select_due(Rocket, BossVisitSpectrum)
    assert len(selected) == 5
    assert list(itertools.islice(selected, 2)) == keys[:2]
    assert len(selected) == 3
    assert list(selected) == keys[2:]
    assert len(selected) == 0


def test_no_transaction_stays_open_while_the_list_is_used(keys: list[int], database: peewee.Database) -> None:
    selected = select_due(Rocket, BossVisitSpectrum)
    next(selected)
    assert not database.in_transaction()
    done(keys)
    database.close()
    assert list(selected) == keys[1:]


def test_many_spectra_are_selected(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(1_500)]
    done(keys[1_000:])
    assert due() == keys[:1_000]


def test_a_list_that_is_not_used_up_leaves_no_file_open(keys: list[int]) -> None:
    selected = select_due(Rocket, BossVisitSpectrum)
    next(selected)
    del selected
    gc.collect()  # a file that is left open is a ResourceWarning here, and so an error


@pytest.mark.parametrize("model", [Rocket, BossVisitSpectrum])
def test_a_missing_table_is_an_error_that_names_it(database: peewee.Database, keys: list[int], model: Any) -> None:
    model.drop_table(cascade=isinstance(database, peewee.PostgresqlDatabase))
    with pytest.raises(MissingTableError, match=model._meta.table_name):
        due()
