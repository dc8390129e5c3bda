"""Chunks of a file, written by several connections at once.

Stars come first: each chunk's sources in a transaction of its own, one chunk after the other, as two chunks may have
the same star. Then spectra and results of several chunks are written side by side; a chunk waits for those before it
that may have the same sources.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeVar

from astra_models.base import database
from astra_models.ingest.rows.checked import Rows
from astra_models.ingest.rows.writing import Outcome, write_rows, write_sources
from astra_models.upsert.writers import Writers, useful_writers

Chunk = TypeVar("Chunk")


def write_chunks(chunks: Iterable[tuple[Chunk, Rows]], n_writers: int = 1) -> Iterator[tuple[Chunk, Outcome]]:
    """Write chunks of checked rows, and give in their order what became of each.

    Parameters
    ----------
    chunks : iterable of (object, Rows)
        What was read, and its rows.
    n_writers : int, optional
        How many connections to PostgreSQL write at the same time. If the process ends in between, there may be sources
        without the spectra and results that the file has for them; ingesting it again completes these. SQLite, and a
        transaction of the caller, always have one.
    """
    n_writers = useful_writers(database.obj, n_writers)
    if n_writers == 1:
        yield from ((chunk, write_rows(rows)) for chunk, rows in chunks)
        return
    writers: Writers[tuple[Chunk, Outcome], Outcome] = Writers(database.obj, n_writers)
    with writers:
        for chunk, rows in chunks:
            if len(rows.batches) == 1 or not len(rows):
                yield from ((done, before + after) for (done, before), after in writers.rest())
                yield chunk, write_rows(rows)
                continue
            sources, rest = write_sources(rows)
            assert rest.source_pk is not None
            span = (rest.source_pk.min(), rest.source_pk.max()) if len(rest) else None
            for (done, before), after in writers.put((chunk, sources), span, partial(write_rows, rest)):
                yield done, before + after
        yield from ((done, before + after) for (done, before), after in writers.rest())
