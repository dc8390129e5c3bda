"""Counting what is due, done, failed and rejected, per pipeline and version."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import peewee
import pytest

from astra_models import base, task
from astra_models.analysis.due import count_due
from astra_models.aspcap import ASPCAP
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import MissingTableError
from astra_models.fields import utc_now
from astra_models.ingested import IngestedFile
from astra_models.mwm import BossCombinedSpectrum
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.status import VersionStatus, major_minor, survey, survey_status
from astra_models.status.survey import ingested_files

Spectra = Callable[..., list[BossVisitSpectrum]]


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    yield from ()


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")


def test_an_empty_database(database: peewee.Database) -> None:
    status = survey_status([rocket])

    assert set(status.tables.values()) == {0}
    assert {"source", "spectrum", "boss_visit_spectrum", "apogee_visit_spectrum"} < set(status.tables)
    assert status.files == []
    assert status.pipelines == [VersionStatus("rocket", "rocket", True, "0.9", 9001, due=0)]


def test_what_is_computed_here_by_version(database: peewee.Database, make_spectra: Spectra) -> None:
    spectra = make_spectra(7)
    results(Rocket, spectra[:3], 8_001)
    results(Rocket, spectra[:2], 9_000)
    results(Rocket, spectra[2:3], 9_001)
    reject("Rocket", spectra[3], 9_001, "exception")
    reject("Rocket", spectra[4], 9_001, "no_result")
    reject("Rocket", spectra[5], 9_001, "refused")
    reject("Rocket", spectra[5], 8_000, "exception")
    reject("Corv", spectra[6], 9_001, "exception")

    newest, older = of("rocket", [rocket])

    assert (newest.version, newest.v_astra, newest.computed) == ("0.9", 9_001, True)
    assert newest.due == count_due(Rocket, BossVisitSpectrum) == 4  # two of the older patch, one refused, one new
    assert (newest.done, newest.failed, newest.rejected) == (3, 2, 1)
    assert (older.version, older.v_astra, older.due) == ("0.8", 8_001, None)
    assert (older.done, older.failed, older.rejected) == (3, 1, 0)


def test_when_a_result_was_last_written(database: peewee.Database, make_spectra: Spectra) -> None:
    one, other, third = make_spectra(3)
    now = utc_now().replace(microsecond=0)
    Rocket.from_spectrum(one, v_astra=9_000, modified=now).save(force_insert=True)
    Rocket.from_spectrum(other, v_astra=9_001, modified=now - timedelta(days=1)).save(force_insert=True)
    Rocket.from_spectrum(third, v_astra=8_000, modified=now - timedelta(days=3)).save(force_insert=True)

    assert [status.last for status in of("rocket")] == [now, now - timedelta(days=3)]


def test_spectra_of_all_kinds_are_due(database: peewee.Database, make_spectra: Spectra) -> None:
    make_spectra(2)

    @task
    def both(spectra: Iterable[BossVisitSpectrum | BossCombinedSpectrum]) -> Iterable[Rocket | Corv]:
        yield from ()

    assert [status.due for status in of("both", [both]) if status.table == "rocket"] == [2]
    [second] = [status for status in survey_status([both]).pipelines if status.table == "corv"]
    assert (second.pipeline, second.due, second.computed) == ("both", None, True)


def test_the_pipelines_of_the_registry_are_those_that_are_computed(database: peewee.Database) -> None:
    assert {(status.pipeline, status.computed) for status in survey_status().pipelines} == {
        ("corv", True),
        ("mwm_best", True),
        ("rocket", True),
        ("snow_white", True),
    }


@pytest.mark.postgresql_only(reason="one who reads a SQLite file sees one state of it, whatever the transaction")
def test_all_counts_are_of_one_moment(
    database: peewee.Database, make_spectra: Spectra, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_meanwhile(there: set[str]) -> Any:
        with ThreadPoolExecutor(1) as other:
            other.submit(lambda: results(Rocket, make_spectra(1), 9_001)).result()
            other.submit(base.database.close).result()
        return ingested_files(there)

    monkeypatch.setattr(survey, "ingested_files", write_meanwhile)

    status = survey_status([rocket])

    assert status.tables["boss_visit_spectrum"] == 0
    assert [(one.due, one.done) for one in status.pipelines] == [(0, 0)]
    assert BossVisitSpectrum.select().count() == 1


def test_what_comes_in_files_names_them(database: peewee.Database, make_spectra: Spectra) -> None:
    spectra = make_spectra(3)
    results(ASPCAP, spectra, 6_000)
    results(ASPCAP, spectra[:2], 8_001)
    ingested("astraAllStarASPCAP-0.6.0.fits", "astraAllStarASPCAP", 6_000, rows=4, rejected=1)
    ingested("a copy.fits", "astraAllVisitASPCAP", 6_000)
    ingested("unknown version.fits", "astraAllStarASPCAP", None)
    ingested("mwmTargets-0.6.0.fits", "mwmTargets", 6_000)

    status = survey_status([rocket])

    eight, six, unknown = [one for one in status.pipelines if one.table == "aspcap"]
    assert [eight.version, six.version, unknown.version] == ["0.8", "0.6", None]
    assert [eight.done, six.done, unknown.done] == [2, 3, 0]
    assert {eight.due, six.due, unknown.due} == {None}
    assert eight.files == ()
    assert [file.name for file in six.files] == ["astraAllStarASPCAP-0.6.0.fits", "a copy.fits"]
    assert (six.files[0].rows, six.files[0].rejected) == (4, 1)
    assert [file.name for file in unknown.files] == ["unknown version.fits"]
    assert [file.kind for file in status.files] == ["mwmTargets"]


def test_rows_of_files_that_could_not_be_stored(database: peewee.Database) -> None:
    RejectedResult.create(model="ASPCAP", reason="not_ingested", message="allStar.fits APOGEE, row 3: no identifier")

    [status] = of("aspcap")

    assert (status.version, status.v_astra, status.rejected, status.failed) == (None, None, 1, 0)


def test_tables_that_are_kept_by_source(database: peewee.Database, make_spectra: Spectra) -> None:
    [spectrum] = make_spectra(1)
    MWMSpectrumProductStatus.create(source_pk=spectrum.source_pk, v_astra=8_001)
    MWMBest.create(
        source_pk=spectrum.source_pk,
        spectrum_pk=spectrum.spectrum_pk,
        v_astra=8_001,
        release="sdss5",
        filetype="mwmStar",
        telescope="apo25m",
    )

    assert [status.done for status in of("mwm_best")] == [1]
    assert [status.done for status in of("mwm_spectrum_product_status")] == [1]


def test_computed_ones_come_first(database: peewee.Database, make_spectra: Spectra) -> None:
    results(ASPCAP, make_spectra(1), 8_001)

    assert [status.pipeline for status in survey_status([rocket]).pipelines] == ["rocket", "aspcap"]


def test_tables_that_are_missing_are_left_out(database: peewee.Database, make_spectra: Spectra) -> None:
    make_spectra(1)
    base.database.drop_tables([Rocket, IngestedFile, BossCombinedSpectrum])

    status = survey_status([rocket])

    assert (status.pipelines, status.files) == ([], [])
    assert "boss_combined_spectrum" not in status.tables
    assert status.tables["boss_visit_spectrum"] == 1


def test_without_sources_the_remedy_is_named(database: peewee.Database) -> None:
    base.database.drop_tables([Source], cascade=True) if is_server(database) else base.database.drop_tables([Source])

    with pytest.raises(MissingTableError, match="astra init"):
        survey_status()


def test_the_number_of_queries_does_not_depend_on_the_rows(
    database: peewee.Database, make_spectra: Spectra, recorded_queries: Callable
) -> None:
    def write(n: int, v_astra: int) -> None:
        spectra = make_spectra(n)
        results(Rocket, spectra[1:], v_astra)
        results(ASPCAP, spectra, v_astra)
        reject("Rocket", spectra[0], v_astra, "exception")

    write(2, 9_001)
    survey_status([rocket])  # the first query of a database asks for its columns
    with recorded_queries() as few:
        survey_status([rocket])
    write(20, 8_001)
    with recorded_queries() as many:
        survey_status([rocket])

    assert len(many) == len(few)


@pytest.mark.parametrize(("version", "name"), [(9, "0.9"), (1_002, "1.2"), (0, "0.0"), (None, None)])
def test_major_and_minor_version(version: int | None, name: str | None) -> None:
    assert major_minor(version) == name


def of(pipeline: str, computed: Any = ()) -> list[VersionStatus]:
    return [status for status in survey_status(computed).pipelines if status.pipeline == pipeline]


def results(model: Any, spectra: list[BossVisitSpectrum], v_astra: int) -> None:
    for spectrum in spectra:
        model.from_spectrum(spectrum, v_astra=v_astra).save()


def reject(model: str, spectrum: BossVisitSpectrum, v_astra: int, reason: str) -> None:
    RejectedResult.create(
        model=model, spectrum_pk=spectrum.spectrum_pk, v_astra=v_astra, reason=reason, message="ValueError: none"
    )


def ingested(name: str, kind: str, v_astra: int | None, rows: int = 1, rejected: int = 0) -> None:
    counts = {"rows": rows, "inserted": rows - rejected, "updated": 0, "unchanged": 0, "rejected": rejected}
    model = "ASPCAP" if "ASPCAP" in kind else None
    IngestedFile.create(
        name=name, sha256=f"checksum of {name}", size=1, kind=kind, model=model, v_astra=v_astra, **counts
    )


def is_server(database: peewee.Database) -> bool:
    return isinstance(database, peewee.PostgresqlDatabase)
