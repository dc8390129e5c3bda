"""The tutorial as it is written, from a file to a diagram: on a generated file, and on a real one if it is at hand."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
import yaml
from matplotlib import pyplot as plt
from typer.testing import CliRunner

from astra_models.aspcap import ASPCAP
from astra_models.ingest.tables.mapping import FOLDER
from astra_models.rejected import RejectedResult
from astra_orchestration.cli.main import app
from astra_orchestration.sample.summary_file import write_result_file

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
OWN, ANOTHER = PAGE.split("## Somebody else's table")
REAL_FILE = "luminosity_cannon/APOGEE-allStar-v603-Hipparcos.fits.gz"
N_ROWS = 400
N_BAD = 30
FLAG_BAD = 1 << 0

Follow = Callable[[str], dict[str, Any]]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


KIEL, TABLE = blocks(OWN, "python")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that the tutorial is followed in: what a checkout has of the mappings is there."""
    mappings = tmp_path / FOLDER.relative_to(ROOT)
    mappings.parent.mkdir(parents=True)
    mappings.symlink_to(FOLDER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def follow(database: peewee.Database, folder: Path) -> Iterator[Follow]:
    """Give a function that does what a page says, one command after the other, and gives what they print."""

    def do(page: str) -> dict[str, Any]:
        printed: dict[str, Any] = {}
        for line in "".join(blocks(page, "console")).splitlines():
            command = line.removeprefix("$ ")
            if command == "python kiel.py":
                exec(compile(KIEL, "kiel.py", "exec"), printed)
            elif command.startswith("astra "):
                done = CliRunner().invoke(app, shlex.split(command)[1:])
                assert done.exit_code == 0, f"{command}: {done.output}"
                printed[command] = done.output
        return printed

    yield do
    plt.close("all")


def a_giant_branch(rows: np.ndarray, first: int) -> None:
    """Give the rows of a file plausible parameters; some are not to be used, and some are missing."""
    random = np.random.default_rng(first)
    rows["logg"] = random.uniform(0.2, 4, len(rows))
    rows["fe_h"] = random.normal(-0.2, 0.3, len(rows))
    rows["teff"] = 3_900 + 330 * rows["logg"] - 250 * rows["fe_h"]
    rows["result_flags"] = 0
    rows["result_flags"][:N_BAD] = FLAG_BAD
    rows["teff"][-1] = np.nan


def test_from_a_file_of_the_survey_to_a_diagram(follow: Follow, folder: Path) -> None:
    write_result_file(
        folder / "astraAllStarASPCAP-0.6.0.fits.gz",
        ASPCAP,
        N_ROWS,
        style="dr19",
        first=54_392_544 - 100,
        change=a_giant_branch,
    )

    seen = follow(OWN)

    assert f"astraAllStarASPCAP, {N_ROWS} rows read" in seen["astra ingest astraAllStarASPCAP-0.6.0.fits.gz --dry-run"]
    assert ASPCAP.select().count() == N_ROWS
    assert not RejectedResult.select().exists()
    assert re.search(rf"│ aspcap +│ +0\.6 │ +│ +{N_ROWS} │ +0 │ +0 │", seen["astra status"])
    assert "astraAllStarASPCAP-0.6.0" in seen["astra status"]
    assert "sdss_id 54392544" in seen["astra explain 54392544"]
    assert "0.6.0" in seen["astra explain 54392544"]
    assert len(seen["teff"]) == N_ROWS - N_BAD - 1
    check_the_diagram(seen, folder)
    assert (folder / "stars.ecsv").stat().st_size > 10_000


def test_the_table_of_the_tutorial(follow: Follow, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result_file(folder / "astraAllStarASPCAP-0.6.0.fits.gz", ASPCAP, 20, style="dr19", first=54_392_540)
    namespace = follow(OWN)

    exec(compile(TABLE, "tutorial.md", "exec"), namespace)

    assert capsys.readouterr().out.splitlines()[-1].startswith("K ")


def test_from_a_real_table_of_somebody_else_to_the_diagram_shown(follow: Follow, folder: Path, real_data: Path) -> None:
    shutil.copy(real_data / REAL_FILE, folder)

    seen = follow(ANOTHER)

    assert ASPCAP.select().count() == 3_244 - 145
    [ingested] = [printed for command, printed in seen.items() if command.startswith("astra ingest")]
    assert re.search(r"\b145\b", ingested)
    assert len(seen["teff"]) == 771
    check_the_diagram(seen, folder)
    near_clump = (abs(seen["logg"] - 2.6) < 0.2) & (seen["teff"] < 5_500)
    assert near_clump.sum() > 150
    slope = np.polyfit(seen["fe_h"][near_clump], seen["teff"][near_clump], 1)[0]
    assert -600 < slope < -50  # K per dex: hotter with fewer metals


def check_the_diagram(seen: dict[str, Any], folder: Path) -> None:
    axes, picture = seen["ax"], plt.imread(folder / "kiel.png")
    assert axes.xaxis_inverted()
    assert axes.yaxis_inverted()
    assert len(seen["dots"].get_offsets()) == len(seen["teff"])
    assert picture.shape == (624, 768, 4)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 100


def test_the_picture_shown_is_one_of_this_code() -> None:
    shown = plt.imread(ROOT / "docs" / "kiel.png")
    assert "](kiel.png)" in ANOTHER
    assert shown.shape == (624, 768, 4)


def test_the_mapping_shown_is_how_it_begins() -> None:
    [shown] = blocks(ANOTHER, "yaml")
    real = yaml.safe_load((FOLDER / "apogee_dr12_hipparcos.yaml").read_text())
    beginning = yaml.safe_load(shown)
    tables = beginning.pop("tables")
    assert {name: real[name] for name in beginning} == beginning
    assert tables["Source"].items() <= real["tables"]["Source"].items()
