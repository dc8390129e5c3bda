"""The child process that analyses spectra in isolation: ``python -m astra_models.analysis.isolated DESCRIPTOR``.

It reads what it has to do from its standard input, and writes what it found, piece by piece, to a pipe of its own: a
pipeline may print what it likes.
"""

import os
import pickle
import resource
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from astra_models.analysis.asked import AnySpectrum, Handed
from astra_models.analysis.job import Job
from astra_models.analysis.marks import MarkFile
from astra_models.messages import error_text
from astra_models.spectrum import SpectrumMixin

__all__ = ["LENGTH", "Assignment"]

LENGTH = struct.Struct("<q")
"""What stands before each piece in the pipe: its length, negative if it is the text of an error."""
SECONDS_PER_PIECE = 1.0


class Assignment(NamedTuple):
    """What the child process has to do.

    Parameters
    ----------
    job : Job
        The pipeline.
    model : type
        The kind of spectrum.
    keys : sequence of int
        The spectra.
    items : mapping of int to spectrum, optional
        The spectra themselves, by key, if they aren't to be read from the database.
    mark : Path
        Where to leave marks.
    memory : int or None
        The most memory that it may have, in bytes.
    """

    job: Job
    model: type[SpectrumMixin]
    keys: Sequence[int]
    items: Mapping[int, AnySpectrum | Handed] | None
    mark: Path
    memory: int | None


def main(descriptor: int) -> None:
    """Do what the parent process says."""
    assignment: Assignment = pickle.load(sys.stdin.buffer)
    if assignment.memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (assignment.memory, assignment.memory))
    with os.fdopen(descriptor, "wb") as pipe:
        try:
            _work(assignment, pipe)
        except Exception as error:  # not of a spectrum: the run ends with it
            text = error_text(error).encode()
            pipe.write(LENGTH.pack(-len(text)) + text)


def _work(assignment: Assignment, pipe: BinaryIO) -> None:
    from astra_models.analysis.analyst import Analyst
    from astra_models.analysis.work import ChunkSize

    mark = MarkFile(assignment.mark)
    analyst = Analyst(assignment.job, on_take=mark.put)
    size = ChunkSize(seconds=SECONDS_PER_PIECE)
    keys = list(assignment.keys)
    while keys:
        n_next = size.of_next(len(keys))
        piece, keys = keys[:n_next], keys[n_next:]
        if assignment.items is None:
            found = analyst.analyse(assignment.model, piece)
        else:
            found = analyst.analyse_handed(piece, [assignment.items[key] for key in piece])
        mark.put(None)
        size.note(len(piece), found.usage.seconds_without_setup)
        packed = found.pack()
        pipe.write(LENGTH.pack(len(packed)))
        pipe.write(packed)
        pipe.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
