"""What is found in a pipeline's table: each check fails for what it is about, and for nothing else."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import ConfigurationError
from astra_models.fields import utc_now
from astra_models.quality import CHECKS, Finding, TableNumbers, Thresholds, judge, measure, thresholds_for
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]
EVERYTHING = Thresholds()


@task
def dwarfs(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
    for spectrum in spectra:
        yield Corv.from_spectrum(spectrum)


def store(spectra: list[BossVisitSpectrum], teff: Any = 12_000.0, **values: Any) -> None:
    """Store a result of each spectrum, with a column of temperatures or one for all."""
    columns = np.broadcast_to(teff, len(spectra)).tolist()
    common = {"v_rad": 30.0, "logg": 8.0} | values
    rows = [
        {"spectrum_pk": each.spectrum_pk, "source_pk": each.source_pk, "teff": value} | common
        for each, value in zip(spectra, columns, strict=True)
    ]
    Corv.insert_many(rows).execute()


def found(thresholds: Thresholds = EVERYTHING) -> dict[str, Finding]:
    return {each.check.name: each for each in judge(measure(dwarfs, thresholds), thresholds)}


def failing(thresholds: Thresholds = EVERYTHING) -> dict[str, str]:
    return {name: each.summary for name, each in found(thresholds).items() if not each.passed}


def some(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(12_000, 1_000, n)


# ---- tables of any kind have a result


def test_an_empty_table_without_spectra_is_well(database: peewee.Database) -> None:
    assert failing() == {}
    assert found()["coverage"].summary == "there are no spectra for it"
    assert found()["freshness"].summary == "there are no rows yet, so none is old"


def test_a_table_of_one_row_is_well(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(1))

    assert failing() == {}
    assert found()["distribution"].summary == "there is too little to compare with"
    assert found()["distribution"].numbers["previous version"] == "there is none"


def test_columns_without_a_value_are_named(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(30), teff=None, v_rad=None, logg=None)

    assert failing() == {}
    assert str(found()["distribution"].numbers["without any value"]).startswith("v_rad, e_v_rad, teff")


def test_not_a_number_is_a_missing_value(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(30)
    store(spectra)
    value = "'NaN'::real" if isinstance(database, peewee.PostgresqlDatabase) else "NULL"
    table = ".".join(f'"{name}"' for name in (Corv._meta.schema, "corv") if name)
    database.execute_sql(f"UPDATE {table} SET teff = {value} WHERE spectrum_pk <= {spectra[9].spectrum_pk}")

    numbers = measure(dwarfs, EVERYTHING)

    assert failing() == {}
    assert numbers.medians()["teff"] == 12_000
    assert np.isnan(numbers.current.columns["teff"]).sum() == 10


# ---- coverage, and what was rejected


def test_spectra_that_are_due_are_not_covered(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(20)
    store(spectra[:15])

    assert failing() == {"coverage": "15 of 20 spectra have a result (75.0%), 5 are due"}
    assert found()["coverage"].tables["why they are due"] == [("due", "reason"), (5, "new")]
    assert "coverage" not in failing(Thresholds(min_coverage=0.7))


def list_rejected(spectra: list[BossVisitSpectrum], reason: str) -> None:
    for each in spectra:
        RejectedResult.create(
            model="Corv", spectrum_pk=each.spectrum_pk, v_astra=9000, reason=reason, message="it went wrong",
            spectrum_revision=each.revision,
        )  # fmt: skip


def test_failures_are_a_share_by_reason(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(20)
    store(spectra[:16])
    list_rejected(spectra[16:18], "exception")
    list_rejected(spectra[18:], "timeout")

    rejected = found()["rejected"]

    assert not rejected.passed
    assert (rejected.numbers["exception"], rejected.numbers["timeout"], rejected.numbers["failed share"]) == (2, 2, 0.2)
    assert found()["coverage"].numbers["done"] == 16
    assert found(Thresholds(max_failed=0.2))["rejected"].passed


def test_a_single_result_in_quarantine_is_told(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(20)
    store(spectra)
    list_rejected(spectra[:1], "refused")

    assert failing() == {"rejected": "0.0% of the spectra failed, 1 results could not be stored: 1 refused"}


# ---- values, against the version before and the last night


def test_another_version_with_the_same_values_is_as_before(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(60)
    for v_astra in (8_001, 9_000):
        store(spectra, some(60), v_astra=v_astra)

    assert failing() == {}
    assert found()["distribution"].summary == "as before"
    assert found()["distribution"].numbers["previous version"] == "60 spectra have results of both"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"teff": some(60) + 1_500}, "teff has a median of"),
        ({"teff": 12_000 + 5 * (some(60) - 12_000)}, "teff has a spread of"),
        ({"teff": [None] * 30 + some(30).tolist()}, "teff is missing in 50.0% of the results"),
        ({"teff": some(60), "result_flags": 1}, "100.0% of the results are flagged; in 0.8.1"),
        ({"teff": some(60), "logg": 7.0}, "and it had one value only"),
    ],
)
def test_what_differs_from_the_version_before_is_told(
    database: peewee.Database, make_spectra: Visits, change: dict[str, Any], told: str
) -> None:
    spectra = make_spectra(60)
    store(spectra, some(60), v_astra=8_001)
    store(spectra, **change)

    assert list(failing()) == ["distribution"]
    assert told in failing()["distribution"]


def test_versions_are_compared_by_the_spectra_that_both_have(database: peewee.Database, make_spectra: Visits) -> None:
    hot, cool = make_spectra(60), make_spectra(60)
    store(hot, some(60) + 20_000, v_astra=8_001)
    store(cool, some(60), v_astra=8_001)
    store(hot, some(60) + 20_000)

    assert "distribution" not in failing()


def test_a_night_is_compared_with_the_one_before(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(40), some(40), pipeline_run_pk=1)
    store(make_spectra(40), some(40, seed=1), pipeline_run_pk=2)
    assert failing() == {}
    store(make_spectra(40), some(40) + 2_000, pipeline_run_pk=3)

    assert "in the run before it was" in failing()["distribution"]


def test_few_results_raise_no_alarm(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(40), some(40), pipeline_run_pk=1)
    store(make_spectra(3), 40_000, pipeline_run_pk=2)

    assert failing() == {}


# ---- physical ranges


@pytest.mark.parametrize("value", [{"teff": -5}, {"logg": 50}, {"e_v_rad": -1}, {"v_rad": float("inf")}])
def test_impossible_values_keep_products_waiting(
    database: peewee.Database, make_spectra: Visits, value: dict[str, float]
) -> None:
    spectra = make_spectra(10)
    store(spectra[:9])
    store(spectra[9:], **value)  # type: ignore[arg-type]
    [name] = value

    finding = found()["physical_range"]

    assert list(failing()) == ["physical_range"]
    assert finding.is_error and finding.check.blocking
    assert finding.summary == f"1 results without a flag have values that no star has: {name}"
    assert finding.tables["outside"][1][-1] == str(spectra[9].spectrum_pk)


def test_a_flag_excuses_an_impossible_value(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(5), -5, result_flags=4)

    assert failing() == {}
    assert found()["physical_range"].tables["outside"][1][:3] == ("teff", 0, 5)


def test_a_few_impossible_values_are_a_warning(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(100)
    store(spectra[:99])
    store(spectra[99:], -5)

    finding = found(Thresholds(max_outside=0.02))["physical_range"]

    assert (finding.passed, finding.is_error) == (False, False)


def test_a_range_can_be_another(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(5))

    assert list(failing(Thresholds(ranges={"teff": (3_000, 8_000)}))) == ["physical_range"]


# ---- rows of nothing


def test_results_of_a_lost_source_are_told(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(4)
    store(spectra[:3])
    Corv.create(spectrum_pk=spectra[3].spectrum_pk, source_pk=None, teff=9_000)

    assert failing() == {"integrity": f"1 results lack their source (spectrum_pk {spectra[3].spectrum_pk})"}
    assert found()["integrity"].is_error


def test_a_spectrum_without_a_source_has_results_without_one(database: peewee.Database, make_spectra: Visits) -> None:
    [spectrum] = make_spectra(1)
    BossVisitSpectrum.update(source_pk=None).execute()
    Corv.create(spectrum_pk=spectrum.spectrum_pk, source_pk=None, spectrum_revision=BossVisitSpectrum.get().revision)

    assert failing() == {}


def test_results_whose_spectrum_is_gone_are_a_warning(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(2))
    BossVisitSpectrum.delete().execute()

    assert list(failing()) == ["integrity"]
    assert not found()["integrity"].is_error


@pytest.mark.sqlite_only(reason="PostgreSQL doesn't let a referenced row go")
def test_results_of_no_spectrum_keep_products_waiting(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(2))
    database.execute_sql("PRAGMA foreign_keys = 0")
    for model in (BossVisitSpectrum, Spectrum, Source):
        model.delete().execute()

    assert found()["integrity"].is_error
    assert "2 results are of a spectrum that isn't there" in failing()["integrity"]
    assert "2 results lack their source" in failing()["integrity"]


def test_rows_of_a_newer_release_keep_products_waiting(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(2)
    store(spectra)
    store(spectra, v_astra=10_000)

    assert failing() == {"integrity": "2 results are of version 0.10.0, newer than installed"}
    assert found()["integrity"].is_error


# ---- age


def test_rows_grow_old(database: peewee.Database, make_spectra: Visits) -> None:
    store(make_spectra(3), modified=utc_now() - timedelta(days=8))

    assert failing()["freshness"].startswith("the newest row was written 8.0 days ago")
    assert "freshness" not in failing(Thresholds(fresh_days=9))


# ---- large tables


def test_a_large_table_is_judged_by_a_sample_that_says_so(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(5_000)
    store(spectra[:4_000], some(4_000))
    few = Thresholds(sample_rows=300, sample_spectra=300, min_coverage=0.5)

    numbers = measure(dwarfs, few)

    assert numbers.rows == 4_000  # counted
    assert 200 < len(numbers.sample.rows) <= 300
    assert numbers.sample.rows.columns["task_pk"].max() == Corv.select(peewee.fn.MAX(Corv.task_pk)).scalar()
    assert numbers.sample.description == (
        f"{len(numbers.sample.rows):,} of 4,000 rows: the newest 100, and those of 200 keys drawn evenly at random "
        "(seed 1)"
    )
    assert numbers.coverage.wanted == 5_000
    assert 600 < numbers.coverage.due < 1_400
    assert found(few)["coverage"].summary.startswith("about ")
    assert found(few)["coverage"].numbers["spectra looked at"] == (
        f"{numbers.coverage.sampled:,} drawn evenly by random keys"
    )
    assert list(measure(dwarfs, few).sample.rows.columns["task_pk"]) == list(numbers.sample.rows.columns["task_pk"])


def test_looking_changes_nothing(database: peewee.Database, make_spectra: Visits, recorded_queries: Any) -> None:
    store(make_spectra(3))
    with recorded_queries() as queries:
        numbers = measure(dwarfs, EVERYTHING)

    assert isinstance(numbers, TableNumbers)
    assert len(queries) < 30
    assert not [each for each in queries if each.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "CREATE"))]


# ---- thresholds are configured


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def write(text: str) -> None:
        (tmp_path / "astra.yml").write_text(text)
        monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))

    return write  # type: ignore[return-value]


def test_thresholds_are_those_of_the_configuration(configure: Callable[[str], None]) -> None:
    configure(
        "quality:\n  min_coverage: 0.5\n  ranges: {teff: [3000, 8000]}\n"
        "  pipelines:\n    corv: {fresh_days: 30, ranges: {logg: [7, 10]}}\n"
    )

    assert thresholds_for("corv") == Thresholds(
        min_coverage=0.5, fresh_days=30, ranges={"teff": (3000, 8000), "logg": (7, 10)}
    )
    assert thresholds_for("rocket") == Thresholds(min_coverage=0.5, ranges={"teff": (3000, 8000)})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("quality: 3", "quality: is a number; it is a mapping of names to values"),
        ("quality: {min_coverag: 1}", "there is no threshold 'min_coverag'; did you mean min_coverage"),
        ("quality: {min_coverage: much}", "min_coverage is text; give a number of 0 or more"),
        ("quality: {min_rows: 2.5}", "min_rows is a number; give a whole number of 0 or more"),
        ("quality: {min_rows: true}", "min_rows is yes or no; give a whole number"),
        ("quality: {fresh_days: .nan}", "fresh_days is a number; give a number of 0 or more"),
        (
            "quality: {ranges: {teff: [8000, 3000]}}",
            "ranges: 'teff' is a list; give the smallest and the largest value",
        ),
        ("quality: {pipelines: {dwarfs: [1]}}", "quality: pipelines: dwarfs: is a list"),
    ],
)
def test_a_wrong_threshold_is_named(configure: Callable[[str], None], text: str, told: str) -> None:
    configure(text)

    with pytest.raises(ConfigurationError, match=told.replace("[", r"\[")):
        thresholds_for("dwarfs")


def test_every_check_says_what_to_do() -> None:
    assert [each.name for each in CHECKS if each.blocking] == ["physical_range", "integrity"]
    assert all(each.meaning.endswith(".") and each.remedy.endswith(".") for each in CHECKS)
