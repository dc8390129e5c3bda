"""What shells propose: commands, options, choices, and names that the project knows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long_on_each

PROGRAM = "import sys; sys.argv = ['astra']; from astra_orchestration.cli.start import main; main()"


def proposed(folder: Path, line: str, **variables: str) -> list[str]:
    """Give what bash is proposed at the end of a line."""
    words = line.split(" ")
    asked = {"_ASTRA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=os.environ | {"ASTRA_DATABASE_PATH": str(folder / "none.db")} | asked | variables,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("astra sta", {"status"}),
        ("astra run rocket --rer", {"--rerun"}),
        ("astra run rocket --rerun ", {"due", "failed", "all"}),
        ("astra run corv --gr", {"--grid"}),
        ("astra run ", {"rocket", "corv", "the_cannon"}),
        ("astra run sn", {"snow_white"}),
        ("astra run snow_white --limit 1 --dr", {"--dry-run"}),
        ("astra rejected --pipeline ro", {"rocket"}),
        ("astra rows boss_v", {"boss_visit_spectrum"}),
        ("astra rows BossV", {"BossVisitSpectrum"}),
        ("astra export mwm_b", {"mwm_best"}),
        ("astra export --product astraAllStarC", {"astraAllStarCorv", "astraAllStarClam"}),
        ("astra mapping show apogee_dr12", {"apogee_dr12_hipparcos"}),
        ("astra run nothing_like_it", set()),
    ],
)
def test_names_are_proposed(tmp_path: Path, line: str, some: set[str]) -> None:
    found = set(proposed(tmp_path, line))
    assert some <= found
    assert all(name.startswith(line.rpartition(" ")[2]) for name in found)
    assert found or not some
    assert not (tmp_path / "none.db").exists()


def test_a_wrong_configuration_proposes_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "astra.yml").write_text("database: [1, 2")
    variables = {"ASTRA_DATABASE_PATH": "", "ASTRA_CONFIG_PATH": "astra.yml"}
    assert proposed(tmp_path, "astra rows boss_v", **variables) == []
