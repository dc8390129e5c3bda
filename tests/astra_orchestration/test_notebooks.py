"""The notebooks of the documentation: they run, and what they keep is what they show."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
LARGEST = 300_000


def script(path: Path) -> ModuleType:
    """Import a script of the documentation, which is no part of a package."""
    spec = importlib.util.spec_from_file_location(f"documentation_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUN = script(DOCS / "notebooks" / "run.py")
PAGES = script(DOCS / "notebook_pages.py")


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("path", RUN.notebooks(), ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_kept(path: Path) -> None:
    kept, new = RUN.nbformat.read(path, as_version=4), RUN.run(path)
    assert list(RUN.shown(new)) == list(RUN.shown(kept)), "run `make notebooks`, and look at what has changed"


@pytest.mark.parametrize("path", RUN.notebooks(), ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_run_from_top_to_bottom(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert path.stat().st_size < LARGEST
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    assert not [name for name in ("/tmp/", "/home/", "/root/") if name in path.read_text()]


def test_each_notebook_has_its_page() -> None:
    pages = PAGES.notebook_pages()
    assert set(pages) == {f"notebooks/{path.stem}.md" for path in RUN.notebooks()}
    assert ".ipynb" not in pages["notebooks/kiel_diagram.md"].rsplit("\n\n", 1)[0]
    assert "data:image/png;base64," in pages["notebooks/kiel_diagram.md"]
