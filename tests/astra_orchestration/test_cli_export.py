"""``astra export``."""

from pathlib import Path
from typing import Any

import peewee
import pytest
from astropy.table import Table
from click.testing import Result
from typer.testing import CliRunner

from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert
from astra_orchestration.cli.main import app
from tests.fits_readers import opened


def astra(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def said(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.fixture
def results(database: peewee.Database, make_spectra: Any) -> list[int]:
    """Store results of three spectra, of one also at a newer version; gives the sources' sdss_id."""
    spectra = make_spectra(3)
    rows = [{"spectrum_pk": s.spectrum_pk, "source_pk": s.source_pk, "v_astra": 8001, "teff": 5000.0} for s in spectra]
    upsert(Rocket, rows)
    upsert(Rocket, [rows[0] | {"v_astra": 9000, "teff": 6000.0}])
    keys = [spectrum.source_pk for spectrum in spectra]
    return [source.sdss_id for source in Source.select().where(Source.pk.in_(keys)).order_by(Source.pk)]


@pytest.mark.parametrize(
    ("options", "n_rows"),
    [([], 4), (["--latest"], 3), (["--v-astra", "0.8"], 3), (["--limit", "1"], 1), (["--v-astra", "0.9"], 1)],
)
def test_rows_of_a_model(results: list[int], tmp_path: Path, options: list[str], n_rows: int) -> None:
    path = tmp_path / "rocket.ecsv"
    done = astra("export", "rocket", "--output", str(path), *options)
    assert done.exit_code == 0, done.output
    assert f"{n_rows} rows of Rocket" in said(done)
    assert len(Table.read(path)) == n_rows


def test_rows_of_some_sources(results: list[int], tmp_path: Path) -> None:
    path = tmp_path / "rocket.fits"
    options = [option for sdss_id in results[1:] for option in ("--sdss-id", str(sdss_id))]
    assert astra("export", "Rocket", "--output", str(path), *options).exit_code == 0
    with opened(path) as hdus:
        assert len(hdus[1].data) == 2
        assert hdus[0].header["MODEL"] == "Rocket"


def test_columns_and_conditions_of_the_source_beside_it(results: list[int], tmp_path: Path) -> None:
    wanted = results[1:]
    Source.update(g_mag=12.0).where(Source.sdss_id.in_(wanted)).execute()
    path = tmp_path / "rocket.ecsv"
    options = ["--with", "source", "--columns", "teff,sdss_id,source_created", "--latest"]
    done = astra("export", "Rocket", "-o", str(path), *options, "--where", "g_mag > 10 and source.created is not null")
    assert done.exit_code == 0, done.output
    table = Table.read(path)
    assert table.colnames == ["teff", "sdss_id", "source_created"]
    assert sorted(table["sdss_id"]) == sorted(wanted)
    options = ["--with", "source", "--columns", "sdss_id", "--limit", "1", "--where", "g_mag > 10"]
    assert astra("export", "Rocket", "-o", "-", *options).output.split() == ["sdss_id", str(wanted[0])]
    done = astra("export", "Rocket", "-o", "-", "--with", "source", "--columns", "g_magg")
    assert (done.exit_code, "did you mean g_mag" in said(done)) == (2, True)


def test_a_product(results: list[int], tmp_path: Path) -> None:
    done = astra("export", "--product", "astraallvisitrocket", "--output-dir", str(tmp_path), "--v-astra", "0.8")
    assert done.exit_code == 0, done.output
    assert "BOSS 3, APOGEE 0 rows" in said(done)
    with opened(tmp_path / "astraAllVisitRocket-0.8.1.fits.gz") as hdus:
        assert hdus["BOSS"].data["teff"].tolist() == [5000.0] * 3
    again = astra("export", "--product", "astraAllVisitRocket", "--output-dir", str(tmp_path), "--v-astra", "0.8")
    assert again.exit_code == 1
    assert "is there already" in said(again)


def test_products_are_named(memory_database: peewee.Database) -> None:
    assert "mwmTargets" in astra("export", "--product", "list").output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rokket", "--output", "x.fits"], 2, "did you mean Rocket"),
        (["rocket", "--output", "x.xls"], 2, "no format has this suffix"),
        (["rocket"], 2, "--output says which file"),
        ([], 2, "give a MODEL and --output, or a --product"),
        (["--product", "mwmTargets", "--limit", "3"], 2, "a product is always whole"),
        (["--product", "mwmTarget"], 2, "did you mean mwmTargets"),
        (["--product", "astraAllStarRocket"], 1, "there are no rows for astraAllStarRocket"),
        (["source", "--output", "x.fits", "--latest"], 2, "leave that condition out"),
    ],
)
def test_what_can_not_be_done_is_said(
    database: peewee.Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = astra("export", *arguments)
    assert done.exit_code == code
    assert words in said(done).replace("│ ", "").replace(" │", "")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
