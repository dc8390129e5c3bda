"""Run the notebooks of this folder and keep what they show: ``make notebooks``.

It needs nbclient and ipykernel, which the extra `test` has. `run` gives a notebook with what it shows now, and is
what the tests compare with what was kept.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).parent
SECONDS_A_CELL = 120
NOT_KEPT = ("ASTRA_", "MWM_", "DAGSTER_", "MPL")
"""How variables begin that a notebook isn't to see."""


def notebooks() -> list[Path]:
    """Give the notebooks, in the order of their names."""
    return sorted(FOLDER.glob("*.ipynb"))


def run(path: Path) -> Any:
    """Run a notebook from its first cell to its last, in a folder and with settings of its own.

    Parameters
    ----------
    path : Path
        The notebook; the file stays as it is.

    Returns
    -------
    nbformat.NotebookNode
        The notebook with its new outputs, without times of execution.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="astra-notebook-") as home:
        # By TCP, others on this computer could listen.
        sockets = Config({"ConnectionFileMixin": {"transport": "ipc", "ip": f"{home}/kernel"}})
        resources = {"metadata": {"path": home}}
        # What a cell prints comes in several pieces when the computer is busy.
        client = NotebookClient(
            notebook,
            config=sockets,
            timeout=SECONDS_A_CELL,
            record_timing=False,
            resources=resources,
            coalesce_streams=True,
        )
        client.execute(env=environment(home))
    notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec",)}
    return notebook


def environment(home: str) -> dict[str, str]:
    """Give the settings of a kernel: this Python's own programs first, and no configuration of whoever runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_KEPT)}
    path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", "")))
    return kept | {"PATH": path, "HOME": home, "NO_COLOR": "1", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}


def shown(notebook: Any) -> Iterator[tuple[int, str, str]]:
    """Give what each cell shows: the cell's number, the kind of output, and its text without its numbers.

    Numbers may differ in their last digits between computers, and so may the width of a column that has them.
    """
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            texts = {"stream": output.get("text", "")} if output.output_type == "stream" else output.get("data", {})
            for kind, text in sorted(texts.items()):
                yield number, kind, "" if kind.startswith("image/") or kind == "text/html" else words(text)


def words(text: str) -> str:
    """Give the words of a text."""
    return " ".join(re.findall(r"[A-Za-z_]{3,}", re.sub(r"0x[0-9a-f]+", "", text)))


def main() -> None:
    """Run all notebooks, or those that are named, and write what they show into them."""
    for path in [Path(name) for name in sys.argv[1:]] or notebooks():
        nbformat.write(run(path), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
