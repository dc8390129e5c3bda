"""``astra adopt``: what it says, and its exit codes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from astra_models.adoption.in_place import bound_to
from astra_models.bossnet import BossNet
from astra_orchestration.cli.main import app
from tests.production import Production, insert, production_schemas

PAGE = Path(__file__).parents[2] / "docs" / "adopting.md"


@pytest.fixture
def there(postgresql: dict[str, str]) -> Iterator[Production]:
    """Give a production schema with two spectra, and bind all models to its database."""
    with production_schemas(postgresql) as make:
        yield make(name="astra [080]")


def astra(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_what_will_differ_is_shown_and_nothing_is_written(there: Production) -> None:
    there.query("CREATE TABLE hot_payne (a int); INSERT INTO hot_payne VALUES (1), (2)")
    there.query("ALTER TABLE corv DROP CONSTRAINT corv_spectrum_pk_fkey")
    insert(there.query, "corv", task_pk=2, spectrum_pk=99, v_astra=8000)
    told = astra("adopt", there.schema)
    assert told.exit_code == 0, told.output
    for words in (
        "times without a zone are taken as UTC",
        "left behind: table hot_payne (2 rows): there is no such table here",
        "integer -> bigint: it holds all values",
        "spectrum_pk_id -> spectrum_pk",
        "crossmatch_flags (2 values)",
        "rows that can't be stored here: 1",
        f"astra adopt '{there.schema}' --in-place",
        "nothing was written",
    ):
        assert words in told.output, words
    assert not there.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", there.target)


def test_it_is_shown_as_json(there: Production) -> None:
    found = json.loads(astra("adopt", there.schema, "--json", "--timezone", "America/Denver").stdout)["data"]
    assert (found["timezone"], found["tables"]["boss_net"]) == ("America/Denver", 2)
    assert {"table", "column", "what", "there", "here", "rows", "outcome"} == set(found["findings"][0])


def test_rows_are_copied_and_compared(there: Production) -> None:
    told = astra("adopt", there.schema, "--into", there.target, "--timezone", "America/Denver")
    assert told.exit_code == 0, told.output
    assert "compared by checksum: 9 rows are as they were there" in told.output
    with bound_to(there.target):
        assert BossNet.select().count() == 2
    again = astra("adopt", there.schema, "--into", there.target, "--timezone", "America/Denver", "--json")
    report = json.loads(again.stdout)["data"]
    assert (report["tables"]["boss_net"]["before"], report["tables"]["boss_net"]["rows"]) == (2, 0)


def test_rejected_rows_are_told_by_the_exit_code(there: Production) -> None:
    there.query("ALTER TABLE corv DROP CONSTRAINT corv_spectrum_pk_fkey")
    insert(there.query, "corv", task_pk=2, spectrum_pk=99, v_astra=8000)
    told = astra("adopt", there.schema, "--into", there.target)
    assert told.exit_code == 3
    assert "are in rejected_result, with the reason" in told.output


def test_a_corrupted_row_is_named(there: Production) -> None:
    assert astra("adopt", there.schema, "--into", there.target, "--no-verify").exit_code == 0
    assert astra("adopt", there.schema, "--into", there.target, "--verify").exit_code == 0
    with bound_to(there.target):
        there.query('UPDATE "{}".boss_net SET teff = 1 WHERE task_pk = 6'.format(there.target.replace('"', '""')))
    told = astra("adopt", there.schema, "--into", there.target, "--verify")
    assert told.exit_code == 1
    assert "not as it was adopted: boss_net 6" in told.output


def test_in_place_the_configuration_is_printed(there: Production) -> None:
    told = astra("adopt", there.schema, "--in-place", "--timezone", "America/Denver")
    assert told.exit_code == 0, told.output
    assert "can only be read: slam" in told.output
    section = yaml.safe_load(told.output[told.output.index("database:\n") :])["database"]
    assert (section["schema"], section["timezone"]) == (there.schema, "America/Denver")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--in-place", "--into", "x"], "give one of --into and --in-place"),
        (["--verify"], "go with --into"),
        (["--timezone", "Denver"], "is no time zone"),
    ],
)
def test_wrong_usage(there: Production, options: list[str], words: str) -> None:
    told = astra("adopt", there.schema, *options)
    assert told.exit_code == 2
    assert words in told.output


def test_a_file_is_no_schema(there: Production, tmp_path: Path) -> None:
    (tmp_path / "astra.db").touch()
    told = astra("adopt", str(tmp_path / "astra.db"))
    assert told.exit_code == 1
    assert "is a file" in told.output


def test_an_unknown_schema_is_refused_with_the_nearest_name(there: Production) -> None:
    told = astra("adopt", there.schema.upper())
    assert told.exit_code == 1
    assert f"did you mean {there.schema}" in " ".join(told.output.split())


def test_every_option_is_documented() -> None:
    page = PAGE.read_text()
    options = set(re.findall(r"--[a-z-]+", astra("adopt", "--help").output)) - {"--help"}
    assert options >= {"--into", "--in-place", "--timezone", "--verify"}
    assert not [option for option in options if f"`{option}" not in page and f" {option}" not in page]
