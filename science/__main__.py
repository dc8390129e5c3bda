"""Measure what the pipelines recover of known truth.

Prints the table, and with ``--write`` puts it into docs/science.md, and each pipeline's own tables into its page.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import science

from .frame import Measured, find_data
from .report import HEADER, common_table, row, table, write

DOCS = Path(__file__).parents[1] / "docs"


def modules() -> Iterator[ModuleType]:
    """Give the modules that measure something."""
    for found in sorted(pkgutil.iter_modules(science.__path__), key=lambda module: module.name):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"science.{found.name}")
            if hasattr(module, "measure"):
                yield module


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m science", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with warwick_da, koester_da, wdtools, pyhammer")
    parser.add_argument("--grid", type=Path, help="grid of DA models; by default the folder's, or the registered one")
    parser.add_argument("--number", type=int, default=1000, help="spectra per setting")
    parser.add_argument("--only", help="one module, such as corv")
    parser.add_argument("--write", action="store_true", help="write into the documentation")
    arguments = parser.parse_args()
    data = find_data(arguments.data, arguments.grid, arguments.number)
    for module in modules():
        if arguments.only in (None, module.__name__.rpartition(".")[2]):
            report(module.measure(data), getattr(module, "PAGE", None), arguments.write)


def report(measured: Measured, page: str | None, write_it: bool) -> None:
    """Print, and write into the pages."""
    print(table(HEADER, map(row, measured.figures)), *measured.blocks.values(), sep="\n\n")
    if write_it:
        write(DOCS / "science.md", "science", common_table(DOCS / "science.md", measured.figures))
        for name, text in measured.blocks.items():
            write(DOCS / (page or "science.md"), name, text)


if __name__ == "__main__":
    main()
