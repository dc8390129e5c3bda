"""The folder that a run shares with its workers: keys of its encryption, marks of spectra in hand, workers' logs.

Each run has a folder of its own, named by the computer and the process, so that the next run knows whether it lives.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from astra_models.errors import StorageError
from astra_models.host import has_ended, host_name, this_process
from astra_models.messages import error_text

__all__ = ["SharedFolder", "dead_runs", "make_folder", "tidy"]

OLDEST = 7 * 86_400.0
"""How long logs are kept, and what is of a run of which nobody knows whether it lives, in seconds."""
_NAME = re.compile(r"astra-run\.(?P<host>.+)\.(?P<process>\d+(\.\d+\.\w+)?)\.\d+")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedFolder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        The folder. Slurm's jobs are named as it is.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def keys(self) -> Path:
        """Where the keys of the encryption are."""
        return self.path / "keys"

    @property
    def marks(self) -> Path:
        """Where workers leave marks."""
        return self.path / "marks"

    @property
    def logs(self) -> Path:
        """Where workers write their logs."""
        return self.path / "logs"

    @property
    def age(self) -> float:
        """How long ago something was made or removed in it, in seconds."""
        paths = [self.path, self.keys, self.marks, self.logs]
        return time.time() - max(path.stat().st_mtime for path in paths if path.exists())

    def write_keys(self, keys: Mapping[str, str]) -> dict[str, str]:
        """Write keys, each into a file that only its user can read; give the files' names.

        Raises
        ------
        StorageError
            If they can't be written.
        """
        written = {}
        for name, text in keys.items():
            path = self.keys / name
            try:
                with open(path, "w", opener=partial(os.open, mode=0o600)) as file:
                    file.write(text)
            except OSError as error:
                raise StorageError(_unusable(self.path.parent, error)) from error
            written[name] = str(path)
        return written

    def remove_keys(self) -> None:
        """Remove what nobody needs when the run has ended; the logs stay for some days."""
        for path in (self.keys, self.marks):
            if path.exists():
                shutil.rmtree(path)


@contextmanager
def make_folder(parent: Path) -> Iterator[SharedFolder]:
    """Make a run's folder, which only its user can look into; its keys and marks are removed in the end.

    Raises
    ------
    StorageError
        If it can't be made.
    """
    who = this_process().replace(" ", ".")
    folder = SharedFolder(parent / f"astra-run.{host_name()}.{who}.{time.time_ns()}")
    try:
        for path in (folder.path, folder.keys, folder.marks, folder.logs):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise StorageError(_unusable(parent, error)) from error
    try:
        yield folder
    finally:
        try:
            folder.remove_keys()
        except OSError as error:
            logger.warning("%s isn't removed, but is when a run begins: %s", folder.keys, error_text(error))


def _unusable(folder: Path, error: OSError) -> str:
    """Say that nothing can be written into a shared folder."""
    return (
        f"shared_temp_directory: {folder} can't be written to: {error_text(error)}; make room there, or name another "
        "folder that this computer and the nodes share"
    )


def dead_runs(parent: Path) -> list[SharedFolder]:
    """Give the folders of this user's runs that have ended, with or without keys in them."""
    found = []
    for path in parent.glob("astra-run.*"):
        named = _NAME.fullmatch(path.name)
        if named is None or path.stat().st_uid != os.geteuid():
            continue
        folder = SharedFolder(path)
        if has_ended(named["host"], named["process"].replace(".", " ")) or folder.age > OLDEST:
            found.append(folder)
    return found


def tidy(folders: list[SharedFolder]) -> None:
    """Remove what ended runs left behind: keys and marks at once, logs when they are old."""
    for folder in folders:
        try:
            folder.remove_keys()
            if folder.age > OLDEST:
                shutil.rmtree(folder.path)
        except OSError as error:
            logger.warning("%s, of a run that has ended, isn't removed: %s", folder.path, error_text(error))
