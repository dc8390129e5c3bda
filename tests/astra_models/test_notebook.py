"""How rows, models, queries, spectra and reports look: one line of text each, and HTML in a notebook."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.apogee import ApogeeVisitSpectrumInApStar
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import SelectionError
from astra_models.explain import explain
from astra_models.ingest import ingest_spectra
from astra_models.outputs import all_models
from astra_models.products import to_table
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import UpsertReport, upsert
from tests.spectrum_files import write_apstar

pytestmark = pytest.mark.long_on_each


class Reader(HTMLParser):
    """Reads HTML as a browser would, and counts what is open at the end."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def read(shown: Any) -> Reader:
    reader = Reader(shown._repr_html_())
    assert reader.open == []
    return reader


@pytest.fixture
def visits(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store three visits of one star, and results of two of them: Corv's of two versions, and Snow White's."""
    source = Source.create(sdss_id=54_392_544, ra=10.5, dec=-0.25)
    some = make_spectra(3, sources=[source.pk] * 3, telescope="apo25m")
    keys = {"spectrum_pk": some[0].spectrum_pk, "source_pk": source.pk}
    values = {"teff": 15022.4, "e_teff": 35.1, "logg": 7.92, "result_flags": 1}
    upsert(Corv, [keys | values | {"v_astra": 8001}, keys | values | {"v_astra": 9000, "teff": 15100.0}])
    upsert(SnowWhite, [{"spectrum_pk": some[1].spectrum_pk, "v_astra": 9000, "classification": "DA"}])  # of no source
    return some


# ---- text


def test_a_rows_text_is_its_key_and_main_values(visits: list[Any]) -> None:
    row = Corv.get(Corv.v_astra == 8001)
    named = f"{row.task_pk}: spectrum_pk {row.spectrum_pk}, version 0.8.1, teff 15022 ± 35 K, logg 7.92"
    assert repr(row).startswith(f"<Corv {named}")
    assert str(row) == repr(row)
    assert "low_snr" in repr(row) or "flags" in repr(row)
    assert repr(Source.get()) == "<Source 1: sdss_id 54392544, ra 10.5 deg, dec -0.25 deg>".replace("1", str(1), 1)
    assert repr(Spectrum(pk=7)) == "<Spectrum 7>"


@pytest.mark.parametrize(
    "row",
    [
        Corv(),
        Corv(teff=float("nan")),
        Corv(teff="hot"),
        Corv(v_astra="?"),
        Source(),
        Source(sdss4_apogee_id="\x1b[2J\n"),
        Source(sdss4_apogee_id="a\nb\tc\r"),
    ],
)
def test_any_row_has_a_text_of_one_line(row: BaseModel) -> None:
    assert repr(row).startswith(f"<{type(row).__name__}")
    assert repr(row).isprintable()
    assert len(repr(row)) < 200


def test_no_database_is_asked_for_a_text(visits: list[Any]) -> None:
    some = [*Corv.select(Corv.teff), *BossVisitSpectrum.select(), *Spectrum.select()]
    asked: list[str] = []
    execute = peewee.Database.execute_sql
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            peewee.Database, "execute_sql", lambda *given, **more: asked.append(given[1]) or execute(*given)
        )
        assert all(map(repr, some))
    assert asked == []


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_model_and_a_row_of_it_can_be_shown(model: type[BaseModel]) -> None:
    shown = read(model)
    assert all(name in shown.text for name in model.column_table()["name"])
    assert all(name in shown.text for name in model.flag_table()["name"])
    assert not read(model()).text.startswith("This can't be shown")
    assert repr(model()).startswith(f"<{model.__name__}")


# ---- HTML


def test_a_query_shows_its_first_rows_and_can_still_be_read(database: peewee.Database, make_spectra: Any) -> None:
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk, "teff": 5000.0 + n} for n, one in enumerate(make_spectra(12))])
    query = Rocket.select(Rocket.spectrum_pk, Rocket.teff).where(Rocket.teff > 4000).order_by(Rocket.teff)
    shown = read(query)
    assert shown.tags.count("tr") == 11
    assert "the first 10 rows, there are more" in shown.text
    assert "5009" in shown.text
    assert "5010" not in shown.text
    assert len(query) == 12
    assert "2 rows" in read(query.limit(2)).text
    assert "9 of" in read(Rocket.select()).text or "columns" in read(Rocket.select()).text


def test_a_query_shows_columns_by_the_names_that_a_table_of_it_has(visits: list[Any]) -> None:
    older, newer = Corv.alias("older"), Corv.alias("newer")
    same = older.spectrum_pk == newer.spectrum_pk
    queries = [
        Corv.select(Corv.teff, Corv.modified, Source.modified).join(Source),
        Corv.select(peewee.fn.COUNT(Corv.teff), peewee.fn.MAX(Corv.teff).alias("a"), peewee.fn.MAX(Corv.teff) + 1),
        older.select(older.teff, newer.teff).join(newer, on=same).where(older.v_astra < newer.v_astra),
        Corv.select(Corv.teff).where(Corv.teff > 15_050) | Corv.select(Corv.e_teff),
        (Corv.select(Corv.spectrum_pk) + SnowWhite.select(SnowWhite.spectrum_pk)).order_by(peewee.SQL("1")).limit(2),
        Corv.select(Corv.spectrum_pk) & Corv.select(Corv.spectrum_pk) - SnowWhite.select(SnowWhite.spectrum_pk),
    ]
    for query in queries:
        table = to_table(query)
        html = read(query)
        assert html.text.split()[: len(table.colnames)] == table.colnames
        assert html.tags.count("tr") == len(table) + 1


def test_what_goes_wrong_is_shown_and_not_raised(database: peewee.Database) -> None:
    broken = Rocket.select(peewee.SQL("no_such_column"))
    assert "This can't be shown" in read(broken).text
    assert "no_such_column" in read(broken).text


def test_text_of_rows_is_no_html(visits: list[Any]) -> None:
    Source.update(sdss4_apogee_id="<script>alert(1)</script>").execute()
    for shown in (Source.get(), Source.select(), explain(54_392_544)):
        assert "<script" not in shown._repr_html_()
        assert "&lt;script&gt;" in shown._repr_html_()


def test_a_source_shows_its_spectra_and_results(visits: list[Any]) -> None:
    shown = read(Source.get()).text
    assert re.search(r"boss_visit_spectrum\s+3", shown)
    assert "teff 15022 ± 35 K" in shown
    assert "snow_white" in shown


def test_a_spectrum_is_drawn(visits: list[Any]) -> None:
    visit = visits[0]
    visit.wavelength, visit.flux, visit.ivar = np.linspace(4000, 5000, 50), np.ones(50), np.ones(50)
    assert "img" in read(visit).tags


def test_a_spectrum_without_a_file_says_why_it_is_not_drawn(visits: list[Any], tmp_path: Path) -> None:
    BossVisitSpectrum.update(path=str(tmp_path / "gone.fits")).execute()
    for shown in (read(BossVisitSpectrum.get()), read(Spectrum.get_by_id(visits[0].spectrum_pk))):
        assert "no plot" in shown.text
        assert "gone.fits" in shown.text
        assert "apo25m" in shown.text


def test_a_report_shows_its_counts(database: peewee.Database) -> None:
    report = UpsertReport(inserted=3, rejected=2, seconds=0.5)
    report.reasons["spectrum_pk 7 isn't in <spectrum>"] = 2
    shown = read(report)
    assert "5 rows in 0.5 s" in shown.text
    assert "isn't in <spectrum>" in shown.text


def test_a_notebook_asks_for_it(visits: list[Any]) -> None:
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython isn't installed")
    html = formatters.HTMLFormatter()
    for shown in (Corv, Corv.get(), Corv.select(), Source.get(), BossVisitSpectrum.get(), explain(54_392_544)):
        assert html(shown)


# ---- from a star to what is there of it


def test_from_a_source_to_its_spectra_and_results(visits: list[Any]) -> None:
    source = Source.get()
    assert [row.spectrum_pk for row in source.spectra] == sorted(visit.spectrum_pk for visit in visits)
    assert [row.telescope for row in source.spectra] == ["apo25m"] * 3
    assert source.spectra.where(Spectrum.pk > visits[0].spectrum_pk).count() == 2
    assert [(type(row), row.v_astra) for row in source.results] == [(Corv, 9000), (Corv, 8001), (SnowWhite, 9000)]
    assert (len(source.results), source.results.count()) == (3, 3)
    assert [row.teff for row in source.results["corv"].where(Corv.v_astra == 8001)] == [np.float32(15022.4)]
    assert source.results[SnowWhite].count() == source.results["SnowWhite"].count() == 1
    with pytest.raises(SelectionError, match=r"no table of results 'crov'.*corv"):
        source.results["crov"]
    with pytest.raises(SelectionError, match=r"results are of a table, such as results\['corv'\], not 0"):
        source.results[0]  # type: ignore[index]
    assert repr(source.results) == f"<Results of source {source.pk}, in any of {len(source.results.tables)} tables>"


def test_from_a_spectrum_to_its_source_and_results(visits: list[Any]) -> None:
    visit = BossVisitSpectrum.get_by_id(visits[0].pk)
    assert visit.source == Source.get()
    assert [row.v_astra for row in visit.results] == [9000, 8001]
    assert [row.v_astra for row in Spectrum.get_by_id(visit.spectrum_pk).results] == [9000, 8001]
    assert Spectrum.get_by_id(visit.spectrum_pk).source.sdss_id == 54_392_544
    assert list(visits[2].results) == []


def test_what_is_not_stored_has_nothing(database: peewee.Database) -> None:
    assert list(Source().spectra) == []
    assert list(Source().results) == []
    assert list(BossVisitSpectrum().results) == list(Spectrum().results) == []


def test_tables_that_are_not_there_are_no_error(visits: list[Any]) -> None:
    SnowWhite.drop_table()
    assert [type(row) for row in Source.get().results] == [Corv, Corv]
    SnowWhite.create_table()


def test_a_source_itself_is_explained(visits: list[Any]) -> None:
    Source.update(sdss_id=None).execute()
    star = explain(Source.get())
    assert [one.spectrum_pk for one in star.spectra] == [visit.spectrum_pk for visit in visits]
    assert len(star.results) == 3


def test_explain_draws_a_star_with_visits_in_an_apstar(database: peewee.Database, tmp_path: Path) -> None:
    ingest_spectra([write_apstar(tmp_path / "apStar.fits")])
    row = ApogeeVisitSpectrumInApStar.select().first()
    shown = read(explain(spectrum_pk=row.spectrum_pk))
    assert shown.tags.count("img") >= 2
    assert "apogee_visit_spectrum_in_ap_star" in shown.text
