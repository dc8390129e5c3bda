"""What docs/checks.md says of checks and thresholds is what they are."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import peewee
import pytest

from astra_models.boss import BossVisitSpectrum
from astra_models.quality import CHECKS, Thresholds, thresholds_for

PAGE = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()


def rows_of(section: str) -> list[list[str]]:
    """Give the rows of the last table of a section, without its heading."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\|.+\|$", text, re.M)][2:]


def test_each_row_is_a_check() -> None:
    told = [(f"`{each.name}`", each.meaning, each.remedy, "yes" if each.blocking else "no") for each in CHECKS]

    assert [tuple(row) for row in rows_of("The checks")] == told


def test_each_threshold_has_its_default() -> None:
    values = {each.name: getattr(Thresholds(), each.name) for each in fields(Thresholds)}
    told = {f"`{name}`": "" if name == "ranges" else str(value) for name, value in values.items()}

    assert {row[0]: row[1] if len(row) == 3 else "" for row in rows_of("Thresholds")} == told


def test_the_shown_thresholds_can_be_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [shown] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "astra.yml").write_text(shown)
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))

    assert thresholds_for("corv") == Thresholds(min_coverage=0.9, fresh_days=30, ranges={"teff": (3000, 150000)})


def test_the_shown_python_prints_the_findings(
    memory_database: peewee.Database,
    make_spectra: Callable[..., list[BossVisitSpectrum]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    [shown] = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)

    exec(shown, {})

    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [[c.name, "True"] for c in CHECKS]
