"""Folders into which result files are dropped: which files are there, and which of them to ignore."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from pydantic import Field

from astra_models.configuration import expand_path
from astra_models.errors import MissingFileError

FOLDERS_VARIABLE = "ASTRA_RESULT_FOLDERS"
MAPPING_SUFFIXES = (".yaml", ".yml")
UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")
NO_RESULTS = (".txt", ".md", ".rst", ".log", ".html", ".pdf", ".png", ".sha256", ".sha256sum", ".sha1sum", ".md5")
LEFT_ALONE = UNFINISHED + NO_RESULTS + MAPPING_SUFFIXES


class WatchedFile(NamedTuple):
    """A file's size and time now, and the time of the mapping beside it, if there is one."""

    path: str
    size: int
    mtime_ns: int
    mapping_mtime_ns: int | None = None

    @property
    def name(self) -> str:
        """Its name, without the folder: the key of its partition."""
        return os.path.basename(self.path)

    @property
    def state(self) -> str:
        """A text that changes when the file or its mapping changes."""
        parts = (self.size, self.mtime_ns, self.mapping_mtime_ns)
        return ":".join(str(part) for part in parts if part is not None)


class Listing(NamedTuple):
    """The files in the folders, and why some folder can't be read."""

    files: list[WatchedFile]
    problems: list[str]


class ResultFoldersResource(dg.ConfigurableResource):
    """Folders into which files of results are dropped."""

    folders: list[str] = Field(
        default=[],
        description=f"Folders. If empty, those that the environment variable {FOLDERS_VARIABLE} names, separated by "
        f"{os.pathsep!r}",
    )

    def paths(self) -> list[str]:
        """Give the folders, absolute, each once."""
        given = self.folders or os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
        return list(dict.fromkeys(os.path.abspath(expand_path(folder)) for folder in given if folder.strip()))

    def look(self) -> Listing:
        """List the result files in the folders, without subfolders.

        Left out are names that begin with a dot or end as unfinished downloads do, and suffixes that result files don't
        have, such as ``.txt`` and ``.png``.
        """
        files, problems = [], []
        for folder in self.paths():
            try:
                with os.scandir(folder) as entries:
                    for entry in filter(_is_wanted, entries):
                        with suppress(FileNotFoundError):  # gone since it was listed
                            files.append(_watched(entry))
            except OSError as error:
                problems.append(f"the folder {folder} can't be looked into: {error.strerror or error}")
        return Listing(sorted(files), problems)

    def find(self, name: str) -> str:
        """Find a file by its name.

        Raises
        ------
        MissingFileError
            If no folder has it, or several have.
        """
        found = [path for folder in self.paths() if os.path.isfile(path := os.path.join(folder, name))]
        if len(found) == 1:
            return found[0]
        where = ", ".join(found or self.paths()) or f"no folder is named by {FOLDERS_VARIABLE}"
        what = f"several files are named {name!r}" if found else f"there is no file {name!r} in the watched folders"
        raise MissingFileError(f"{what} ({where}); give the path of the file in the run's configuration")


def mapping_beside(path: str) -> str | None:
    """Give the mapping of a file's columns that lies beside it: of ``stars.csv``, the file ``stars.csv.yaml``."""
    return next((path + suffix for suffix in MAPPING_SUFFIXES if Path(path + suffix).is_file()), None)


def _is_wanted(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    return not name.startswith(".") and not name.endswith(LEFT_ALONE) and entry.is_file()


def _watched(entry: os.DirEntry[str]) -> WatchedFile:
    status, mapping = entry.stat(), mapping_beside(entry.path)
    return WatchedFile(
        entry.path, status.st_size, status.st_mtime_ns, os.stat(mapping).st_mtime_ns if mapping else None
    )
