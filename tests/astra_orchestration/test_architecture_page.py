"""What the pages about the plan say is so: modules exist, and the picture of the layers is the one that is checked."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
WALKS = re.findall(r"^## (.+)\n\n(?:.*\n\n)?((?:\d+\. .*\n(?:   .*\n)*)+)", PAGE, re.MULTILINE)
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLAN = ["docs/architecture.md", "docs/glossary.md", "docs/decisions/0003-the-house.md", "CONTRIBUTING.md"]


def paths(text: str) -> list[str]:
    return re.findall(r"`(astra_(?:models|orchestration)/[\w/.]+)`", text)


def contract(package: str) -> list[str]:
    """Give the modules of a package as the contract of its layers has them, from top to bottom."""
    contracts = CONFIGURATION["tool"]["importlinter"]["contracts"]
    [layers] = [each["layers"] for each in contracts if each.get("containers") == [package]]
    return [name for layer in layers for name in re.split(r" [:|] ", layer)]


def picture(package: str) -> list[str]:
    """Give the modules of a package as the picture has them: before two blanks, which what they are follows."""
    [drawn] = re.findall(rf"^{package}\n((?:  .*\n)+)", PAGE, re.MULTILINE)
    names = (re.split(r"\s{2,}|\s\(", line.strip())[0] for line in drawn.splitlines() if not line.startswith(" " * 20))
    return [name for line in names for name in line.split()]


@pytest.mark.parametrize("page", PLAN)
def test_modules_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    missing = [path for path in paths(text) if not (ROOT / path).exists()]
    assert not missing
    for dotted in re.findall(r"`(astra_(?:models|orchestration)\.[\w.]+)`", text):
        module, _, name = dotted.rpartition(".")
        try:
            importlib.import_module(dotted)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), name), dotted


def test_there_are_eight_walks_of_several_modules() -> None:
    assert [title for title, _ in WALKS] == [
        "A result to its row",
        "A result from a worker",
        "A question to its answer",
        "A summary row to four tables",
        "A row of a production schema to one of ours",
        "A row to FITS",
        "A pixel to `.flux`",
        "A spectrum becoming due",
    ]
    for title, steps in WALKS:
        assert len(set(paths(steps))) > 5, title
        for step in re.split(r"^\d+\. ", steps, flags=re.MULTILINE)[1:]:
            assert paths(step), f"{title}: {step}"


@pytest.mark.parametrize("package", ["astra_models", "astra_orchestration"])
def test_the_picture_shows_the_layers_that_are_checked(package: str) -> None:
    assert picture(package) == contract(package)


@pytest.mark.parametrize("package", ["astra_models", "astra_orchestration"])
def test_every_module_has_its_layer(package: str) -> None:
    there = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(contract(package)) == there - {"__init__"}


def test_the_glossary_has_what_becomes_of_a_row() -> None:
    from astra_models.rejected import REASONS
    from astra_models.upsert import UpsertReport

    explained = set(re.findall(r"^\| `?([\w. -]+?)`? \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE))
    counts = set(UpsertReport.__dataclass_fields__) - {"seconds", "reasons"}
    assert counts <= explained
    assert set(REASONS) <= explained
    assert {"due", "done", "failed", "stale"} <= explained


def test_no_page_has_two_versions_of_a_passage() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert [str(page) for page in pages if re.search(r"^(<{7} |>{7} |={7}$)", page.read_text(), re.MULTILINE)] == []
