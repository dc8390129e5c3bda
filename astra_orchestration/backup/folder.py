"""A backup as a folder: files of databases, and a list of them with their checksums, which is written last."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from astra_models.errors import AstraError

__all__ = ["Backup", "BackupError", "Part", "new_folder", "read_backup"]

LIST = "backup.json"
CHUNK = 1 << 20


class BackupError(AstraError, RuntimeError):
    """A backup that can't be made, isn't whole, or would overwrite what is there."""


@dataclass(frozen=True)
class Part:
    """One file of a backup.

    Parameters
    ----------
    of : {"results", "dagster"}
        Which database it is from.
    kind : {"sqlite", "postgresql"}
        How it is restored.
    file : str
        Its path in the backup.
    sha256 : str
        Its checksum.
    name : str
        The schema that was dumped, or the path of a SQLite file below ``DAGSTER_HOME``.
    """

    of: str
    kind: str
    file: str
    sha256: str
    name: str = ""


@dataclass(frozen=True)
class Backup:
    """What is in a backup.

    Parameters
    ----------
    made : str
        When (UTC).
    version : str
        The version of Astra that made it.
    parts : list of Part
        Its files.
    """

    made: str
    version: str
    parts: list[Part] = field(default_factory=list)

    def of(self, which: str) -> list[Part]:
        """Give the parts of one of the databases."""
        return [part for part in self.parts if part.of == which]

    def write(self, folder: Path) -> None:
        """Write the list, as the last thing."""
        path = folder / LIST
        path.write_text(json.dumps(asdict(self), indent=1))
        _sync(path)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which gets its name when all is done: there is never half a backup of that name.

    Raises
    ------
    BackupError
        If there is something of that name.
    """
    final = final.absolute()
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        raise BackupError(f"{final} is there already: give each backup a folder of its own, such as one with the date")
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    try:
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        _sync(partial)
        os.rename(partial, final)
        _sync(final.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_backup(folder: Path) -> Backup:
    """Read what is in a backup, and compare all checksums.

    Raises
    ------
    BackupError
        If it isn't whole.
    """
    try:
        kept = json.loads((folder / LIST).read_text())
        backup = Backup(kept["made"], kept["version"], [Part(**part) for part in kept["parts"]])
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: it has no {LIST}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder / LIST} is damaged ({error}): use another backup") from error
    for part in backup.parts:
        path = folder / part.file
        if not _inside(part.file) or not _inside(part.name or "x"):
            raise BackupError(f"{folder / LIST} names {part.file!r}, which isn't in the backup: use another one")
        if not path.is_file() or checksum(path) != part.sha256:
            raise BackupError(f"{path} is damaged or missing: use another backup")
    return backup


def checksum(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _sync(path: Path) -> None:
    """Have the disk keep a file or folder, before anything relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
