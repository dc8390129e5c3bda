"""The pages about models that `make docs` makes, without making the site."""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def generator() -> ModuleType:
    """Import the script, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("generate_models", ROOT / "docs" / "generate_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Give all pages that are made, by their paths below docs/."""
    return GENERATOR.pages()


@pytest.mark.parametrize("model", GENERATOR.models(), ids=lambda model: model.__name__)
def test_a_models_page_has_all_that_the_model_has(pages: dict[str, str], model: Any) -> None:
    page = pages[f"models/{model._meta.table_name}.md"]
    listed = re.findall(r"^\| (?:\d+ \| )?`(\w+)` \|", page, re.MULTILINE)
    wanted = [table["name"] for table in (model.column_table(), model.flag_table(), model.pixel_array_table())]
    assert sorted(listed) == sorted(name for names in wanted for name in names)
    for row in model.column_table():
        assert row["description"].replace("|", "\\|") in page


def test_a_page_says_what_makes_the_table_and_what_it_is_kept_by(pages: dict[str, str]) -> None:
    corv = pages["models/corv.md"]
    assert "| What makes it | asset `corv` |" in corv
    assert "[boss_visit_spectrum](boss_visit_spectrum.md)" in corv
    assert "| Unique | `spectrum_pk`, `v_astra_major_minor` |" in corv
    assert "| `latest()` gives one row per | `spectrum_pk` |" in corv
    assert "| `logg` | real | dex(cm s⁻²) | Surface gravity | yes |" in corv
    assert "fed by result files" in pages["models/slam.md"]


def test_every_model_is_listed(pages: dict[str, str]) -> None:
    listed = re.findall(r"^\| \[\w+\]\((\w+)\.md\)", pages["models/index.md"], re.MULTILINE)
    assert sorted(listed) == sorted(model._meta.table_name for model in GENERATOR.models())


def test_links_lead_somewhere(pages: dict[str, str]) -> None:
    written = {f"{path.relative_to(ROOT / 'docs')}": path.read_text() for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md": "" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    there = written | pages | notebooks
    for name, text in there.items():
        for link in re.findall(
            r"\]\((?!https?:)([^)#]+)[^)]*\)", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        ):
            target = Path(name).parent / link
            assert target.as_posix() in there or (ROOT / "docs" / target).is_file(), f"{name}: {link}"


def test_the_reference_names_what_can_be_imported(pages: dict[str, str]) -> None:
    named = [
        path for name, page in pages.items() if "reference/" in name for path in re.findall(r"^::: (.+)", page, re.M)
    ]
    assert len(named) == len(set(named))
    assert {"astra_models.upsert.upsert", "astra_models.fields.plain.FloatField"} <= set(named)
    for path in named:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


def test_every_page_is_in_the_contents() -> None:
    contents = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = {page for section in contents for pages in section.values() for page in _pages(pages)}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert listed == {"index.md", "contributing.md", *(path.name for path in (ROOT / "docs").glob("*.md"))} | notebooks


def _pages(pages: str | list[dict[str, str]]) -> list[str]:
    return [pages] if isinstance(pages, str) else [page for entry in pages for page in entry.values()]
