"""``astra mapping`` and ``astra ingest --mapping NAME``, ``--release``."""

from pathlib import Path

import peewee
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from astra_models.aspcap import ASPCAP
from astra_models.ingest.tables.shipped import shipped_names, shipped_text
from astra_models.source import Source
from astra_orchestration.cli.main import app
from tests.other_packages import run_astra

pytestmark = pytest.mark.long_on_each


def astra(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_mappings_of_the_project_are_listed_and_shown() -> None:
    listed = astra("mapping", "list").output

    for name in shipped_names():
        assert name in listed
        assert astra("mapping", "show", name).output == shipped_text(name)


def test_a_name_that_there_isnt_has_the_nearest_ones() -> None:
    told = run_astra(["mapping", "show", "apogee_allstr"])

    assert told.returncode != 0
    assert "there is no mapping 'apogee_allstr'" in told.stderr
    assert "apogee_allstar" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_guess_ingests(database: peewee.Database, tmp_path: Path) -> None:
    table, guess = tmp_path / "stars.dat", tmp_path / "guess.yaml"
    table.write_text("5|1.5|2.5\n6|3.5|4.5\n")

    told = astra("mapping", "guess", table, "--columns", "sdss_id, ra, dec", "--delimiter", "|")
    guess.write_text(told.output)

    assert yaml.safe_load(told.output)["tables"]["Source"]["sdss_id"] == "sdss_id"
    assert astra("ingest", table, "--mapping", guess).exit_code == 0
    assert Source.select().count() == 2


def test_what_needs_no_mapping_is_said_to_need_none(database: peewee.Database, tmp_path: Path) -> None:
    Source.create(sdss_id=5, ra=1.5, dec=2.5)
    for ending in ("fits", "parquet", "csv"):
        file = tmp_path / f"sources.{ending}"
        astra("export", "source", "-o", file)
        told = astra("mapping", "guess", file)
        assert "is known without a mapping (export of Source): astra ingest takes it as it is" in " ".join(
            told.stderr.split()
        )
        assert yaml.safe_load(told.stdout)["tables"]["Source"]["sdss_id"] == "sdss_id"
    (tmp_path / "stars.csv").write_text("sdss_id,ra\n1,2\n")
    assert "as it is" not in astra("mapping", "guess", tmp_path / "stars.csv").stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stars.dat", "--format", "pickle"], "there is no format 'pickle'"),
        (["nothing.dat"], "nothing.dat"),
    ],
)
def test_what_cant_be_guessed(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "stars.dat").write_text("a b\n1 2\n")
    told = run_astra(["mapping", "guess", str(tmp_path / arguments[0]), *arguments[1:]])

    assert told.returncode != 0
    assert says in told.stderr
    assert "Traceback" not in told.stderr


def test_a_mapping_is_given_by_its_name(database: peewee.Database, tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("a,b\n1,2\n")

    told = astra("ingest", tmp_path / "stars.csv", "--mapping", "apogee_dr12_hiparcos")

    assert "no mapping 'apogee_dr12_hiparcos'" in " ".join(told.stderr.split())
    told = astra("ingest", tmp_path / "stars.csv", "--mapping", "apogee_dr12_hipparcos")
    assert "the mapping" in told.stderr
    assert "doesn't fit" in " ".join(told.stderr.split())


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_the_release_of_an_aspcap_star(database: peewee.Database, real_data: Path, tmp_path: Path) -> None:
    content = (real_data / "apogee_tools" / "aspcapStar-r6-l30e.2-2M00452143+1634446.fits").read_bytes()
    path = tmp_path / "aspcapStar.fits"
    path.write_bytes(content.replace(b"apStar-r6-2M", b"apStar-t9-2M"))

    refused = astra("ingest", path)
    assert refused.exit_code == 1
    assert "astra ingest --release" in " ".join(refused.stderr.split())
    assert astra("ingest", path, "--release", "dr14").exit_code == 0
    assert astra("ingest", "spectra", path, "--release", "dr14").exit_code == 0
    assert [row.v_astra for row in ASPCAP.select()] == [14]
    assert "aspcap" in astra("ingest", path, "--release", "dr14", "--dry-run").output
