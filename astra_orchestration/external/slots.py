"""How many processes there may be at once on a computer, whoever starts them.

A slot is a file with a lock on it: the system gives the lock back when its holder is gone, however it ended. The folder
has to be on a disk of this computer, because a bound per node is what is wanted.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from astra_orchestration.external.errors import ProgramError

_WAIT = 0.05


_OF_THIS_COMPUTER = Path("/dev/shm")


def _default_folder() -> Path:
    """Give a folder that all processes of this user on this computer have in common, whatever their TMPDIR."""
    shared = _OF_THIS_COMPUTER if os.access(_OF_THIS_COMPUTER, os.W_OK) else Path(tempfile.gettempdir())
    return shared / f"astra-slots-{os.getuid()}"


@dataclass(frozen=True)
class Slots:
    """A number of places that processes of this user share on this computer.

    Parameters
    ----------
    name : str
        What they are places for; part of the files' names.
    limit : int, optional
        How many there are. None: as many as are asked for.
    folder : Path, optional
        Where the locks are; by default in ``/dev/shm``, or in the folder for temporary files.
    """

    name: str
    limit: int | None = None
    folder: Path | None = None

    @contextmanager
    def hold(self, count: int = 1, stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait for places, and hold them.

        Parameters
        ----------
        count : int, optional
            How many are taken, all together. More than there are counts as all.
        stopped : callable, optional
            Asked while waiting; True ends it without a place.

        Raises
        ------
        ProgramError
            If the folder of the locks can't be written to.
        """
        if self.limit is None:
            yield
            return
        with ExitStack() as held:
            while not (stopped() or self._take(min(count, self.limit), self.limit, held)):
                time.sleep(_WAIT)
            yield

    def _take(self, count: int, limit: int, held: ExitStack) -> bool:
        """Take all places or none: one process at a time tries, so that two don't wait for each other's halves."""
        folder = self.folder or _default_folder()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with ExitStack() as taken, ExitStack() as turn:
                if not lock_file(folder / f"{self.name}.turn", turn):
                    return False
                n_taken = 0
                for number in range(limit):
                    n_taken += lock_file(folder / f"{self.name}.{number}", taken)
                    if n_taken == count:
                        held.enter_context(taken.pop_all())
                        return True
        except OSError as error:
            raise ProgramError(
                f"the folder {folder}, which bounds how many programs run at once, can't be used: "
                f"{error.strerror or error}; give another one, on a disk of this computer"
            ) from error
        return False


def lock_file(path: Path, held: ExitStack) -> bool:
    """Lock a file until a stack is closed, or this process ends; False if another holds it.

    Parameters
    ----------
    path : Path
        The file; it is made if it isn't there.
    held : ExitStack
        What gives the lock back.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    held.callback(os.close, file)
    return True
