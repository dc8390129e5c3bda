"""The grids of model spectra that this user has, by name: in a folder, each with a note of its file and checksum.

A note is written after its grid, each under a temporary name first, and a grid's bytes follow from its content: two
commands at once, or one that was interrupted, leave a grid that is whole or none. Reading compares the checksum.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from astra_models.analysis.recipe import content_digest
from astra_models.configuration import expand_path
from astra_models.errors import AstraError
from astra_models.messages import one_line, shown

from .grid import TemplateError

__all__ = [
    "BUILT_IN",
    "DEFAULT",
    "GRID_VARIABLE",
    "Grid",
    "add_grid",
    "find_by_digest",
    "find_grid",
    "grids",
    "grids_folder",
    "label_of",
    "resolve_grid",
    "write_whole",
]

BUILT_IN = "built-in"
"""What stands for the analytic family wherever a grid is named."""

DEFAULT = "da"
"""The grid of this name is used where none is given."""

DIGITS = 12
"""Digits of a checksum that tell one grid from another."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

FOLDER_VARIABLE = "ASTRA_DATA"

GRID_VARIABLE = "ASTRA_CORV_GRID"
"""Environment variable with the path, or name, of the grid that is used where none is given."""


@dataclass(frozen=True)
class Grid:
    """A grid that is registered.

    Parameters
    ----------
    name : str
        Its name.
    path : str
        The file, or folder, from the root.
    sha256 : str
        Of the file, or of the names and contents of the folder's files: 64 hexadecimal digits.
    source : str
        Where it is from.
    """

    name: str
    path: str
    sha256: str
    source: str = ""

    @property
    def label(self) -> str:
        """Its name and the first digits of its checksum, as results carry them."""
        return f"{self.name} {self.sha256[:DIGITS]}"

    def problem(self) -> str | None:
        """Say why it can't be used: its file is gone, can't be read, or isn't as it was; None if it can."""
        try:
            found = content_digest(Path(self.path))
        except FileNotFoundError:
            return f"{self.path} isn't there"
        except OSError as error:
            return f"{self.path} can't be read ({error.strerror or type(error).__name__})"
        return None if found == self.sha256 else f"{self.path} has another checksum than when it was registered"

    def require_whole(self) -> Grid:
        """Give the grid itself, if its file is as it was.

        Raises
        ------
        TemplateError
            If it isn't.
        """
        if problem := self.problem():
            raise TemplateError(f"the grid {self.name!r} can't be used: {problem}; {_remedy(self)}")
        return self


def _remedy(grid: Grid) -> str:
    if Path(grid.path).parent == grids_folder():
        return "fetch it again (`astra grids fetch da`)"
    return f"bring the file back, or register it as it is now: `astra grids add {grid.name} {grid.path} --replace`"


def grids_folder() -> Path:
    """Give the folder of grids, which need not be there yet.

    It is ``grids`` in the folder that ``ASTRA_DATA`` names; without that variable, in ``astra`` in ``XDG_DATA_HOME``,
    which is ``~/.local/share`` where nothing else is said.

    Raises
    ------
    ConfigurationError
        If ``ASTRA_DATA`` has a variable in it that isn't set.
    """
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(os.path.abspath(expand_path(named))) / "grids"
    base = os.environ.get("XDG_DATA_HOME", "")
    data = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share"
    return data / "astra" / "grids"


# ---- reading


def grids() -> Iterator[Grid]:
    """Give all registered grids, by name. Their files aren't looked at.

    Raises
    ------
    TemplateError
        If a note can't be read.
    """
    for note in sorted(grids_folder().glob("*.json")):
        if NAME.fullmatch(note.stem) and (grid := find_grid(note.stem)) is not None:
            yield grid


def find_grid(name: str) -> Grid | None:
    """Find a grid by its name; None if none is registered by it.

    Raises
    ------
    TemplateError
        If its note can't be read.
    """
    if not NAME.fullmatch(name):
        return None
    path = grids_folder() / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TemplateError(f"{path} can't be read ({one_line(str(error))}); {_mend(name)}") from error
    texts = content if isinstance(content, dict) else {}
    grid = Grid(name, *(str(texts.get(key, "")) for key in ("path", "sha256", "source")))
    if not grid.path or not re.fullmatch(r"[0-9a-f]{64}", grid.sha256):
        raise TemplateError(f"{path} doesn't name a grid and its checksum; {_mend(name)}")
    return grid


def _mend(name: str) -> str:
    return f"remove it, and run `astra grids fetch da` or `astra grids add {name} PATH` again"


def find_by_digest(digits: str) -> Grid | None:
    """Find a grid by how its checksum begins; None if there is none, or its file isn't as it was."""
    return next((grid for grid in grids() if grid.sha256.startswith(digits) and grid.problem() is None), None)


def label_of(path: Path) -> str:
    """Give what results carry of the grid that they were made with: its name, and how its checksum begins.

    The name is the one that it is registered by; of another file or folder it is that of the file, without suffix.

    Raises
    ------
    TemplateError
        If it can't be read.
    """
    try:
        digest = content_digest(path)
    except OSError as error:
        raise TemplateError(f"{path} can't be read ({error.strerror or type(error).__name__})") from error
    same = sorted((grid for grid in grids() if grid.sha256 == digest), key=lambda grid: grid.path != str(path))
    return same[0].label if same else f"{path.stem} {digest[:DIGITS]}"


def resolve_grid(given: object) -> Path | None:
    """Say which grid a parameter means.

    Parameters
    ----------
    given : Path or None
        A path, the name of a registered grid, or nothing, for the grid `DEFAULT`.

    Returns
    -------
    Path or None
        The file or folder; None for the built-in family, if its name was given, or nothing was and no grid is
        registered.

    Raises
    ------
    TemplateError
        If a registered grid is meant whose file is gone, or isn't as it was.
    """
    if str(given) == BUILT_IN:
        return None
    if given is None:
        grid = find_grid(DEFAULT)
        return None if grid is None else Path(grid.require_whole().path)
    path = Path(str(given)).expanduser()
    if (grid := find_grid(str(given))) is not None:
        return Path(grid.require_whole().path)
    for grid in grids():
        if grid.path == os.path.abspath(path) and Path(grid.path).parent == grids_folder():
            grid.require_whole()
    return path


# ---- writing


def add_grid(name: str, path: str | Path, source: str = "", *, replace: bool = False) -> Grid:
    """Register a grid, which stays where it is.

    Parameters
    ----------
    name : str
        Letters, digits, hyphens and underscores.
    path : str or Path
        An npz file or a folder, as `load_grid` takes it. That it can be read is tried.
    source : str, optional
        Where it is from.
    replace : bool, optional
        Whether a name may get another grid than it has.

    Raises
    ------
    TemplateError
        If the name can't be one, or has another grid; or the file is no grid, or can't be read.
    """
    from .files import load_grid

    if not NAME.fullmatch(name) or name == BUILT_IN:
        why = "stands for the built-in family" if name == BUILT_IN else "is no name for a grid"
        raise TemplateError(
            f"{shown(name)} {why}; take 1 to 40 letters, digits, hyphens and underscores, as in da_2024"
        )
    found = Path(os.path.abspath(expand_path(path)))
    load_grid(found)
    try:
        grid = Grid(name, str(found), content_digest(found), source)
    except OSError as error:
        raise TemplateError(f"{found} can't be read ({error.strerror or type(error).__name__})") from error
    before = find_grid(name) if not replace else None
    if before is not None and before.sha256 != grid.sha256:
        raise TemplateError(
            f"{name!r} is the name of another grid already, {before.path}; take another name, or say --replace"
        )
    write_note(grid)
    return grid


def write_note(grid: Grid) -> None:
    """Write down where a grid is, and its checksum.

    Raises
    ------
    TemplateError
        If the folder can't be written to.
    """
    note = {key: value for key, value in asdict(grid).items() if key != "name"}
    content = json.dumps(note, indent=2, sort_keys=True) + "\n"
    write_whole(grids_folder() / f"{grid.name}.json", content.encode("utf-8"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that others see all of it or none.

    Raises
    ------
    TemplateError
        If the folder can't be made or written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GridsFolderError(
            f"{path} can't be written ({error.strerror or type(error).__name__}); make the folder writable, or name "
            f"another one by the environment variable {FOLDER_VARIABLE}"
        ) from error


class GridsFolderError(AstraError, OSError):
    """The folder of grids can't be written to."""
