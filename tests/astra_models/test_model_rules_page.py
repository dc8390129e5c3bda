"""The page about the rules of the models: it names every model, every flag with a rule, and tests that there are."""

import re
from pathlib import Path

from astra_models.base import BaseModel
from astra_models.columns.flagging import rules_of
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/model_rules.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
OF_THIS_PROJECT = {"Rocket"}


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def rows_about(model: str) -> str:
    return " ".join(" ".join(row) for row in ROWS if model in names(row[0]))


def our_models() -> list[type[BaseModel]]:
    return [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]


def test_every_table_of_results_and_spectra_is_on_the_page() -> None:
    kinds = [model for model in our_models() if issubclass(model, PipelineOutputMixin | SpectrumMixin)]
    assert not {model.__name__ for model in kinds if not rows_about(model.__name__)} - OF_THIS_PROJECT


def test_every_flag_with_a_rule_is_on_the_page() -> None:
    rules = [(model.__name__, flag.name) for model in our_models() for flag in rules_of(model).flags]
    assert len(rules) > 15
    assert not [(model, flag) for model, flag in rules if flag not in rows_about(model)]


def test_every_column_that_another_one_fills_is_on_the_page() -> None:
    for model in our_models():
        if getattr(model, "same_unless_given", None):
            assert "raw_" in rows_about(model.__name__), model


def test_every_test_that_the_page_names_is_there() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    declared = {name for text in sources.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert not set(re.findall(r"`(test_\w+\.py)`", PAGE)) - sources.keys()
    assert not set(re.findall(r"`(test_\w+)`", PAGE)) - declared


def test_every_rule_says_where_its_test_is_or_why_it_is_left_out() -> None:
    about_rules = [row for row in ROWS if len(row) == 4 and row[0] not in ("model", "what", "---")]
    assert len(about_rules) > 50
    for row in about_rules:
        is_nothing = row[1].startswith("none")
        assert is_nothing or row[3] or "left out" in row[2] or "left to" in row[2], row
