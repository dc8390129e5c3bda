"""Everything about one star."""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models import base, task
from astra_models.analysis.due import select_due
from astra_models.aspcap import ASPCAP
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import MissingTableError, UnknownSourceError
from astra_models.explain import explain_star, find_star
from astra_models.ferre import FerreChemicalAbundances
from astra_models.fields import BitField, FloatField, IntegerField, utc_now
from astra_models.ingested import IngestedFile
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult, payload_to_json
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.status.star import Star

Spectra = Callable[..., list[BossVisitSpectrum]]


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    yield from ()


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")


def star(source: Source) -> Star:
    return explain_star(source, [rocket])


# ---- finding it


@pytest.mark.parametrize(
    "identifier",
    [
        {"sdss_id": 54_392_544},
        {"apogee_id": "2M00000002+7417074"},
        {"gaia_id": 538028216707715712},
        {"gaia_id": 538028216707715713},
    ],
)
def test_it_is_found_by_any_identifier(database: peewee.Database, source: Source, identifier: dict[str, Any]) -> None:
    Source.create(sdss_id=1)
    source.sdss4_apogee_id = "2M00000002+7417074"
    source.gaia_dr2_source_id, source.gaia_dr3_source_id = 538028216707715712, 538028216707715713
    source.save()

    assert find_star(**identifier).pk == source.pk


def test_it_is_found_by_a_spectrum(spectrum: BossVisitSpectrum, source: Source) -> None:
    assert find_star(spectrum_pk=spectrum.spectrum_pk).pk == source.pk


@pytest.mark.parametrize(
    "identifier",
    [{"sdss_id": 17}, {"sdss_id": 10**30}, {"apogee_id": "2M"}, {"gaia_id": 17}, {"spectrum_pk": 17}],
)
def test_a_star_that_is_not_there(source: Source, identifier: dict[str, Any]) -> None:
    ((name, value),) = identifier.items()
    with pytest.raises(UnknownSourceError, match=rf"no star of {name} {value} .*`astra status`.*`astra ingest`"):
        find_star(**identifier)


@pytest.mark.parametrize("identifiers", [{}, {"sdss_id": 1, "gaia_id": 1}])
def test_it_takes_one_identifier(memory_database: peewee.Database, identifiers: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="takes one identifier"):
        find_star(**identifiers)


def test_without_tables_the_remedy_is_named(database: peewee.Database) -> None:
    base.database.drop_tables([Spectrum], cascade=not isinstance(database, peewee.SqliteDatabase))

    with pytest.raises(MissingTableError, match="astra init"):
        find_star(1)


# ---- the star and its spectra


def test_a_star_without_anything(source: Source) -> None:
    identifiers, position = {"sdss_id": 54_392_544}, {"ra": 266.4168262, "dec": -29.0078}

    assert star(source) == Star(source.pk, identifiers, position)


def test_its_spectra(source: Source, spectrum: BossVisitSpectrum, make_spectra: Spectra, tmp_path: Path) -> None:
    make_spectra(1)  # of another star
    file = tmp_path / "spec.fits"
    file.touch()
    BossVisitSpectrum.update(path=str(file), snr=25.5).where(BossVisitSpectrum.pk == spectrum.pk).execute()
    BossCombinedSpectrum.create(
        spectrum_pk=Spectrum.create().pk,
        source_pk=source.pk,
        release="sdss5",
        v_astra=8_001,
        sdss_id=source.sdss_id,
        run2d="v6_2_1",
        telescope="lco25m",
        path="nowhere/mwmStar.fits",
        snr=float("nan"),
    )

    combined, visit = star(source).spectra

    assert (visit.kind, visit.spectrum_pk) == ("boss_visit_spectrum", spectrum.spectrum_pk)
    assert (visit.telescope, visit.snr) == ("apo25m", 25.5)
    assert visit.key["mjd"] == 59_900
    assert (visit.file, visit.is_there, visit.problem) == (str(file), True, None)
    assert (combined.kind, combined.telescope, combined.snr) == ("boss_combined_spectrum", "lco25m", None)
    assert combined.file is not None
    assert combined.file.endswith("nowhere/mwmStar.fits")
    assert combined.is_there is False


def test_why_nobody_knows_where_a_file_is(spectrum: BossVisitSpectrum, source: Source) -> None:
    BossVisitSpectrum.update(release="unheard of").where(BossVisitSpectrum.pk == spectrum.pk).execute()

    [told] = star(source).spectra

    assert (told.file, told.is_there) == (None, False)
    assert told.problem is not None
    assert "release 'unheard of' is not known" in told.problem


# ---- results


def test_results_of_all_versions(spectrum: BossVisitSpectrum, source: Source, make_spectra: Spectra) -> None:
    Rocket.from_spectrum(make_spectra(1)[0], teff=1).save()  # of another star
    Rocket.from_spectrum(spectrum, v_astra=8_001, teff=5_000).save()
    Rocket.from_spectrum(spectrum, v_astra=9_001, teff=6_000, e_teff=50, logg=float("nan"), result_flags=0b1001).save()

    newest, older = star(source).results

    assert (newest.pipeline, newest.table, newest.version, newest.is_newest) == ("rocket", "rocket", "0.9.1", True)
    assert newest.values == {"teff": 6_000, "e_teff": 50}
    assert newest.units == {"teff": "K", "e_teff": "K"}
    assert newest.flags == ["flag_low_snr", "result_flags 0x8"]
    assert (older.version, older.is_newest, older.values, older.flags) == ("0.8.1", False, {"teff": 5_000}, [])


def test_results_that_only_know_their_spectrum(spectrum: BossVisitSpectrum, source: Source) -> None:
    Corv.create(spectrum_pk=spectrum.spectrum_pk, v_rad=12.5)

    [result] = star(source).results

    assert (result.pipeline, result.values) == ("corv", {"v_rad": 12.5})


def test_results_that_are_kept_by_something_else(spectrum: BossVisitSpectrum, source: Source) -> None:
    common = {"source_pk": source.pk, "spectrum_pk": spectrum.spectrum_pk}
    MWMBest.create(**common, v_astra=8_001, release="sdss5", filetype="mwmStar", telescope="apo25m", teff=5_100)
    for element in ("Al", "Mg"):
        FerreChemicalAbundances.create(**common, v_astra=8_001, element=element, m_h=-0.5)

    results = star(source).results

    assert [(result.table, result.is_newest) for result in results] == [
        ("ferre_chemical_abundances", True),
        ("ferre_chemical_abundances", True),
        ("mwm_best", True),
    ]
    assert {result.values.get("element") for result in results} == {"Al", "Mg", None}


def test_results_without_any_headline_are_told_by_their_first_columns(
    spectrum: BossVisitSpectrum, source: Source
) -> None:
    class Brightness(PipelineOutputMixin):
        median_flu = FloatField(null=True, unit="1e-17 erg / (Angstrom s cm2)")
        brightness_flags = BitField()
        n_pixels = IntegerField(null=True, unit="")

    Brightness.create_table()
    Brightness.from_spectrum(spectrum, median_flu=2.5, n_pixels=7).save()

    (result,) = star(source).results
    assert result.values == {"median_flu": 2.5, "n_pixels": 7}
    assert result.units == {"median_flu": "1e-17 erg / (Angstrom s cm2)"}


def test_which_files_a_result_may_be_from(spectrum: BossVisitSpectrum, source: Source) -> None:
    ASPCAP.from_spectrum(spectrum, v_astra=6_000).save()
    ASPCAP.from_spectrum(spectrum, v_astra=8_001).save()
    for name, model in (("aspcap.fits", "ASPCAP"), ("net.fits", "ApogeeNet")):
        counts = dict.fromkeys(("rows", "inserted", "updated", "unchanged", "rejected"), 0)
        IngestedFile.create(name=name, sha256=name, size=1, kind="", model=model, v_astra=6_000, **counts)

    assert {result.version: result.files for result in star(source).results} == {"0.8.1": [], "0.6.0": ["aspcap.fits"]}


# ---- what is due, done, failed


def analysed(spectrum: BossVisitSpectrum, v_astra: int, **columns: Any) -> None:
    Rocket.from_spectrum(spectrum, v_astra=v_astra, **columns).save(force_insert=True)


def failed(spectrum: BossVisitSpectrum, v_astra: int, reason: str = "exception", **columns: Any) -> None:
    RejectedResult.create(
        model="Rocket", spectrum_pk=spectrum.spectrum_pk, v_astra=v_astra, reason=reason, message="no lines", **columns
    )


def an_hour_ago() -> dict[str, Any]:
    return {"modified": utc_now() - timedelta(hours=1)}


CASES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "new": (lambda spectrum: None, "due", r"no result of 0\.9$"),
    "older": (lambda spectrum: analysed(spectrum, 8_001), "due", r"no result of 0\.9, only of 0\.8\.1$"),
    "patch": (
        lambda spectrum: analysed(spectrum, 9_000),
        "due",
        r"its result is of 0\.9\.0, and 0\.9\.1 is installed$",
    ),
    "changed": (
        lambda spectrum: analysed(spectrum, 9_001, **an_hour_ago()),
        "due",
        r"the spectrum changed on [-\d]+ [:\d]+, after its result$",
    ),
    "done": (lambda spectrum: analysed(spectrum, 9_001), "done", r"result of 0\.9\.1$"),
    "newer": (lambda spectrum: analysed(spectrum, 9_002), "done", r"result of 0\.9\.2$"),
    "exception": (lambda spectrum: failed(spectrum, 9_001), "failed", "exception: no lines$"),
    "no result": (lambda spectrum: failed(spectrum, 9_001, "no_result"), "failed", "no_result: no lines$"),
    "failed long ago": (
        lambda spectrum: failed(spectrum, 9_001, created=utc_now() - timedelta(hours=1)),
        "due",
        r"no result of 0\.9; the last time: no lines$",
    ),
    "failed at a patch": (lambda spectrum: failed(spectrum, 9_000), "due", r"no result of 0\.9$"),
    "refused": (lambda spectrum: failed(spectrum, 9_001, "refused"), "due", r"the last time: no lines$"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_due_and_why(spectrum: BossVisitSpectrum, source: Source, case: str) -> None:
    happens, state, why = CASES[case]
    happens(spectrum)

    [analysis] = star(source).analyses

    assert (analysis.pipeline, analysis.spectrum_pk, analysis.state) == ("rocket", spectrum.spectrum_pk, state)
    assert list(select_due(Rocket, BossVisitSpectrum)) == [spectrum.spectrum_pk] * (state == "due")
    assert re.search(why, analysis.why), analysis.why


def test_spectra_of_other_kinds_are_not_analysed(spectrum: BossVisitSpectrum, source: Source) -> None:
    @task
    def other(spectra: Iterable[BossCombinedSpectrum]) -> Iterable[Rocket]:
        yield from ()

    assert explain_star(source, [other]).analyses == []
    assert explain_star(source, []).analyses == []


def test_the_pipelines_of_the_registry_are_those_that_are_computed(spectrum: BossVisitSpectrum, source: Source) -> None:
    assert {analysis.pipeline for analysis in explain_star(source).analyses} == {
        *("corv", "mdwarftype", "rocket", "snow_white")
    }


def test_nothing_is_said_of_a_pipeline_whose_table_is_not_made_yet(spectrum: BossVisitSpectrum, source: Source) -> None:
    base.database.drop_tables([Rocket])

    assert star(source).analyses == []
    assert len(star(source).spectra) == 1


# ---- what was rejected


def test_what_failed_and_was_refused(spectrum: BossVisitSpectrum, source: Source, make_spectra: Spectra) -> None:
    failed(make_spectra(1)[0], 9_001)  # of another star
    failed(spectrum, 9_000, run_id="5f1c2a")
    RejectedResult.create(model="MWMBest", source_pk=source.pk, reason="refused", message="teff is 1e40")

    first, second = star(source).rejected

    assert (first.model, first.spectrum_pk, first.version) == ("Rocket", spectrum.spectrum_pk, "0.9.0")
    assert (first.reason, first.message, first.run_id) == ("exception", "no lines", "5f1c2a")
    assert (second.model, second.spectrum_pk, second.version, second.message) == ("MWMBest", None, None, "teff is 1e40")


@pytest.mark.parametrize(
    "row",
    [
        {"sdss_id": 54_392_544, "teff": "many"},
        {"teff": "many", "SDSS_ID": 54_392_544},
        {"APOGEE_ID": "2M00000002+7417074", "teff": 1e40},
        {"gaia": 538028216707715713, "teff": 1e40},
    ],
)
def test_rows_of_files_are_known_by_what_they_say(source: Source, row: dict[str, Any]) -> None:
    source.sdss4_apogee_id, source.gaia_dr3_source_id = "2M00000002+7417074", 538028216707715713
    source.save()
    for number, payload in enumerate((row, {"sdss_id": 543_925_441}, {"sdss_id": 4_392_544}, {"snr": 54_392_544})):
        RejectedResult.create(
            model="ASPCAP", reason="not_ingested", message=f"row {number}", payload=payload_to_json(payload)
        )

    assert [listed.message for listed in star(source).rejected] == ["row 0"]


# ---- what it costs


def test_the_number_of_queries_does_not_depend_on_the_rows(
    source: Source, make_spectra: Spectra, recorded_queries: Callable
) -> None:
    with recorded_queries() as empty:
        star(source)
    for spectrum in make_spectra(5, sources=[source.pk] * 5):
        analysed(spectrum, 9_001)
        ASPCAP.from_spectrum(spectrum, v_astra=8_001).save()
        failed(spectrum, 9_000)
    with recorded_queries() as full:
        assert len(star(source).results) == 10

    assert len(full) == len(empty)
