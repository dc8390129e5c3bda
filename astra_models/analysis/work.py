"""What a run has to analyse, handed out in chunks that it leases, of a size that takes some seconds.

Spectra that another run has in hand are left out, and looked at once more at the end. Those that were in hand when
another run died come in chunks of their own, to be analysed in isolation.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from astra_models.analysis.due import DueOptions, DueSpectra, StillDue
from astra_models.analysis.leases import Leases
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin

__all__ = ["Chunk", "ChunkSize", "Selection", "Work"]

MOST_SPECTRA = 10_000
MOST_BYTES = 16_000_000
LEAST_SECONDS, SECONDS, MOST_SECONDS = 0.3, 10.0, 30.0
"""What a chunk is to take: at least, near the end; in the middle; and with many workers."""
SECONDS_TO_SEND = 0.02
"""What it takes to send a chunk and to get it back, in a process that serves all workers."""
FIRST = 16
GROWTH = 4


class Selection(NamedTuple):
    """The spectra of one kind that are due.

    Parameters
    ----------
    model : type
        The kind of spectrum.
    keys : DueSpectra
        Their keys.
    options : DueOptions
        By what they were selected.
    """

    model: type[SpectrumMixin]
    keys: DueSpectra
    options: DueOptions


class Chunk(NamedTuple):
    """Spectra that are analysed together.

    Parameters
    ----------
    model : type
        The kind of spectrum.
    keys : list of int
        Their keys, in ascending order.
    isolated : bool
        Whether one of them may have ended the run that had them in hand before.
    """

    model: type[SpectrumMixin]
    keys: list[int]
    isolated: bool = False


class ChunkSize:
    """How many spectra the next chunk has: as many as take some seconds, by what the chunks before took.

    The first ones are small, and so are the last ones, so that no worker is alone with a large one in the end.

    Parameters
    ----------
    workers : int, optional
        How many processes work on chunks.
    bytes_per_spectrum : float, optional
        The size of a spectrum's results, until chunks say it.
    seconds : float, optional
        How long a chunk is to take; if not given, 10, and up to 30 for so many workers that the process which sends
        chunks couldn't serve them all.
    first : int, optional
        How many spectra the first one has.
    """

    def __init__(
        self, workers: int = 1, bytes_per_spectrum: float = 1.0, seconds: float | None = None, first: int = FIRST
    ):
        self.workers = workers
        to_serve_all = workers * SECONDS_TO_SEND
        self.seconds = min(MOST_SECONDS, max(SECONDS, 2 * to_serve_all)) if seconds is None else seconds
        self._least_seconds = min(self.seconds, max(LEAST_SECONDS, to_serve_all))
        self._bytes = max(1.0, bytes_per_spectrum)
        self._size = min(first, self._most)
        self._least = 1

    @property
    def _most(self) -> int:
        return max(1, min(MOST_SPECTRA, int(MOST_BYTES / self._bytes)))

    def note(self, n_spectra: int, seconds: float, n_bytes: int = 0) -> None:
        """Learn from a chunk how long spectra take.

        Parameters
        ----------
        n_spectra : int
            How many it had.
        seconds : float
            How long it took, without what a process does once only.
        n_bytes : int, optional
            The size of what was found.
        """
        self._bytes = max(self._bytes, n_bytes / n_spectra) if n_spectra >= FIRST else self._bytes
        if n_spectra < self._size / 2:
            return  # one of the last ones, or one that was cut: it says little
        per_second = n_spectra / max(seconds, 1e-6)
        self._size = int(max(1, min(self._most, per_second * self.seconds, GROWTH * self._size)))
        self._least = int(max(1, min(self._size, per_second * self._least_seconds)))

    def of_next(self, left: int) -> int:
        """Give the size of the next chunk, if so many spectra are left."""
        fair = -(-left // (2 * self.workers)) if self.workers > 1 else left
        return max(1, min(self._size, max(fair, self._least), left))


@dataclass
class Work:
    """What a run has to analyse.

    Parameters
    ----------
    output_model : type
        The pipeline's first output model.
    selections : sequence of Selection
        What is due.
    leases : Leases
        The run's leases.
    is_whole : bool
        Whether all that is due was selected, and not only some.
    """

    output_model: type[PipelineOutputMixin]
    selections: Sequence[Selection]
    leases: Leases
    is_whole: bool
    elsewhere: int = 0
    """How many spectra other runs have in hand."""
    done_by_others: int = 0
    """How many aren't due any more, because another run has analysed them since this one began."""
    _left_out: list[list[int]] = field(default_factory=list)
    _isolated: list[Chunk] = field(default_factory=list)
    _is_second_look: bool = False

    def __post_init__(self) -> None:
        self._left_out = [[] for _ in self.selections]
        self._still_due = [StillDue(self.output_model, model, **options) for model, _, options in self.selections]

    @property
    def left(self) -> int:
        """How many spectra haven't been handed out."""
        return sum(len(selection.keys) for selection in self.selections)

    def chunk(self, size: int) -> Chunk | None:
        """Lease the next spectra; None if there are none left.

        Parameters
        ----------
        size : int
            At most this many.
        """
        while not self._isolated:
            claimed = self._next_keys(size)
            if claimed is None:
                return None
            place, keys = claimed
            chunk = self._claim(place, keys)
            if chunk.keys:
                return chunk
        return self._isolated.pop()

    def _claim(self, place: int, keys: list[int]) -> Chunk:
        model = self.selections[place].model
        are_consecutive = self.is_whole and len(self.selections) == 1 and not self._is_second_look
        claim = self.leases.claim(keys, self._still_due[place], are_consecutive=are_consecutive)
        if self._is_second_look:
            self.elsewhere += len(claim.left_out)
        else:
            self._left_out[place] += claim.left_out
        self.done_by_others += len(keys) - len(claim.keys) - len(claim.left_out)
        if claim.suspects:
            self._isolated.append(Chunk(model, sorted(claim.suspects), isolated=True))
        return Chunk(model, [key for key in claim.keys if key not in claim.suspects])

    def _next_keys(self, size: int) -> tuple[int, list[int]] | None:
        for place, selection in enumerate(self.selections):
            if keys := list(itertools.islice(selection.keys, size)):
                return place, keys
        self._is_second_look = True
        for place, left_out in enumerate(self._left_out):
            if left_out:
                self._left_out[place] = left_out[size:]
                return place, left_out[:size]
        return None


def chunks(work: Work, size: ChunkSize) -> Iterator[Chunk]:
    """Give chunks one after the other, each of a size by how long the ones before it took."""
    while True:
        chunk = work.chunk(size.of_next(work.left))
        if chunk is None:
            return
        started = time.monotonic()
        yield chunk
        size.note(len(chunk.keys), time.monotonic() - started)
