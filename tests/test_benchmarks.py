"""The benchmarks start, and what they write has its place. They are run by `make bench`."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("[a-z]*.py"))


def tables() -> dict[str, str]:
    """Give the tables of the page by their names."""
    return dict(re.findall(r"<!-- figures: (\w+) -->\n(.*?)\n<!-- end of figures: \1 -->", PAGE.read_text(), re.DOTALL))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_starts(script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    spec = importlib.util.spec_from_file_location(f"benchmark_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert "--write" in capsys.readouterr().out


def test_the_benchmark_of_writers_measures_what_it_says() -> None:
    sizes = ["--rounds", "1", "--million", "3000", "--rows", "1000", "--file-rows", "1000"]
    command = [sys.executable, str(ROOT / "benchmarks" / "writers.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 9
    for what in ("from_spectra", "workers", "2 connections against 1", "through Dagster", "a claim"):
        assert any(what in row for row in rows), what


def test_every_benchmark_has_its_table_and_every_table_its_benchmark() -> None:
    written = {path.stem: re.findall(r'write_figures\(\S+, "(\w+)"', path.read_text()) for path in SCRIPTS}
    assert written == {name: [name] for name in tables()}
    for name in written:
        assert f"`benchmarks/{name}.py`" in PAGE.read_text()


def test_a_figure_of_engines_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark is one of processes that start each other, so one figure is measured, of a few spectra."""
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "engines.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = ["--only", "claiming", "--only", "starting", "--scale", "0.02", "--rounds", "1"]
    lines = subprocess.check_output([*command, *options], env=environment, text=True, timeout=300).splitlines()
    assert [line.count("|") for line in lines] == [7] * 6
    values = [float(line.split("|")[2].split()[0]) for line in lines[2:]]
    assert all(value > 0 for value in values)


def test_figures_are_put_between_their_marks_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from _figures import write_figures

    page = tmp_path / "page.md"
    other = "<!-- figures: y -->\n<!-- end of figures: y -->\nb\n"
    page.write_text(f"a\n<!-- figures: x -->\nold\n<!-- end of figures: x -->\n{other}")
    write_figures(page, "x", ["new", "rows"])

    assert page.read_text() == f"a\n<!-- figures: x -->\nnew\nrows\n<!-- end of figures: x -->\n{other}"
    with pytest.raises(SystemExit, match="figures: z"):
        write_figures(page, "z", [])


def test_other_pages_have_no_figures_of_their_own() -> None:
    by_science = {"science.md", "corv.md", "snow_white.md", "aspcap.md"}
    pages = [page for page in (ROOT / "docs").glob("*.md") if page != PAGE and page.name not in by_science]
    assert not [page.name for page in pages if "<!-- figures" in page.read_text()]
