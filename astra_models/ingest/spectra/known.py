"""Which files of spectra are known: those that are as they were when they were read aren't opened again.

A file is known by its path, size and time of last change. It is read again if any of these is another; if this Astra
reads more than the one that read it (`READER`); if it was refused, and by another version of Astra, or other packages
have kinds of files; if spectra of it are gone from the database; and if a visit that a spectrum of it is made of came
later. What is known is written in the transaction in which the spectra are, so that both are there or none is.
"""

import functools
import json
import operator
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import peewee

from astra_models.base import BaseModel, database
from astra_models.columns.typed import kind_of
from astra_models.database.revisions import PIXELS
from astra_models.database.sql import is_any_of, is_postgresql, quote, quoted_table, rows_of
from astra_models.fields import utc_now
from astra_models.ingest.rows.links import MADE_OF
from astra_models.ingest.spectra.fingerprint import fingerprint
from astra_models.ingest.spectra.kinds import other_kinds
from astra_models.spectrum import SpectrumMixin
from astra_models.spectrum_file import SpectrumContent, SpectrumFile, keeps_contents
from astra_models.upsert.lookup import find_rows
from astra_models.version import installed_v_astra

READER = 2
"""Revision of the reader of spectra. Whoever changes what is read of a file (another column, another kind of file,
another reading of a value) adds 1: files that were read before are then read again, once."""

LONGEST_PATH = 2000
"""Bytes. PostgreSQL can't index much more; longer paths aren't remembered."""
LONGEST_REASON = 2000

BYTES_CHANGED = "its bytes have changed, although its size and time are the same: it was read again"


Spectra = list[tuple[str, int | None]]
"""Of each spectrum, its table and its source."""


class State(NamedTuple):
    """A file's size in bytes, and the time of its last change in nanoseconds."""

    size: int
    mtime_ns: int


class _Stored(NamedTuple):
    """A row of `SpectrumFile`."""

    pk: int
    path: str
    size: int
    mtime_ns: int
    content: int | None
    reader: int
    v_astra: int
    spectra: int
    newest_visit: int | None
    refused: str | None
    note: str | None

    @property
    def is_current(self) -> bool:
        """Whether this Astra would make the same of the file."""
        if self.refused is not None:
            is_same = (self.reader, self.v_astra) == (READER, installed_v_astra())
            return is_same and not other_kinds().kinds  # these may take it, and nothing says of which version they are
        return self.reader >= READER


@dataclass
class Looked:
    """What a look at files has told, none of which was read.

    Parameters
    ----------
    unread : list of str
        Those that are to be read.
    known : int
        How many are in the database as they are.
    refused, notes : list of (str, str)
        Those that were refused, or not ingested as a whole, and why: said again each time.
    changed : list of (str, str)
        Those whose bytes have changed under the same size and time.
    spectra : Counter
        By table, how many spectra of known files it has.
    sources : set of int
        Keys of the sources of these.
    """

    unread: list[str] = field(default_factory=list)
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    spectra: Counter[str] = field(default_factory=Counter)
    sources: set[int] = field(default_factory=set)

    def add(self, path: str, row: _Stored | None, spectra: Mapping[int, Spectra]) -> None:
        """Add a file: what is known of it, if it needn't be read for that, and the spectra that are there."""
        if row is None or (row.refused is None and len(spectra[row.pk]) < row.spectra):
            self.unread.append(path)
        elif row.refused is not None:
            self.refused.append((path, row.refused))
        else:
            self.known += 1
            self.notes += [(path, row.note)] if row.note else []
            for table, source_pk in spectra[row.pk]:
                self.spectra[table] += 1
                self.sources.update(() if source_pk is None else (source_pk,))


class Read(NamedTuple):
    """What became of a file that was read.

    Parameters
    ----------
    content : int or None
        Its fingerprint; None if it was refused.
    refused, note : str or None
        Why it was refused, or not ingested as a whole.
    spectra : sequence of int
        Keys of the spectra that were read from it.
    has_visits : bool
        Whether some of these are made of visits, and refer to them.
    """

    content: int | None
    refused: str | None = None
    note: str | None = None
    spectra: Sequence[int] = ()
    has_visits: bool = False


class KnownFiles:
    """The files that the bound database knows.

    Parameters
    ----------
    kinds : sequence of type
        The kinds of spectra that files have.
    again : bool, optional
        Whether all files are to be read, known or not.
    verify : bool, optional
        Whether every byte of a known file is read, to see whether it has changed.
    """

    def __init__(self, kinds: Sequence[type[SpectrumMixin]], *, again: bool = False, verify: bool = False):
        self._kinds, self._again, self._verify = kinds, again, verify
        self._is_kept = keeps_contents()
        self._states: dict[str, State] = {}

    def look_at(self, paths: Sequence[str]) -> Looked:
        """Look which of some files have to be read."""
        if not self._is_kept:
            return Looked(unread=list(paths))
        self._states = {path: state for path in paths if (state := _state_of(path)) is not None}
        looked = Looked()
        stored = {} if self._again else self._stored()
        stored = {path: row for path, row in stored.items() if not (self._verify and self._has_changed(row, looked))}
        spectra = self._spectra_of(stored.values())
        for path in paths:
            looked.add(path, stored.get(path), spectra)
        return looked

    def fingerprints(self, paths: Iterable[str]) -> dict[str, int]:
        """Give the fingerprints of files, as far as these are to be kept."""
        return {path: content for path in paths if path in self._states and (content := _content_of(path)) is not None}

    def remember(self, files: Mapping[str, Read]) -> None:
        """Write down what became of files, in the transaction that is open."""
        kept = {path: read for path, read in files.items() if path in self._states}
        if not kept:
            return
        owner = {spectrum_pk: path for path, read in kept.items() for spectrum_pk in read.spectra}
        lost = self._owners(owner)
        self._write_files(kept, Counter(owner.values()))
        paths = list(kept)
        found = find_rows(SpectrumFile, {SpectrumFile.path: _objects(paths)}, [SpectrumFile.pk])
        keys = {paths[place]: pk for place, pk in found}
        accepted = [pk for path, pk in keys.items() if kept[path].refused is None]
        gone = SpectrumContent.update(file_pk=None).where(
            is_any_of(SpectrumContent.file_pk, accepted), ~is_any_of(SpectrumContent.spectrum_pk, owner)
        )
        gone.execute()
        contents = [
            {"spectrum_pk": spectrum_pk, "file_pk": keys[path], "content": kept[path].content}
            for spectrum_pk, path in sorted(owner.items())
        ]
        self._revise_pixels({row["spectrum_pk"]: row["content"] for row in contents})
        _upsert(SpectrumContent, contents, "spectrum_pk")
        for pk, n_spectra in lost.items():
            if pk not in keys.values():  # another file has these spectra now
                fewer = SpectrumFile.update(spectra=SpectrumFile.spectra - n_spectra)
                fewer.where(SpectrumFile.pk == pk).execute()

    def _revise_pixels(self, contents: Mapping[int, int | None]) -> None:
        """Give a new revision to spectra whose file has other contents than they were read from before."""
        known = find_rows(
            SpectrumContent,
            {SpectrumContent.spectrum_pk: np.array(list(contents), np.int64)},
            [SpectrumContent.spectrum_pk, SpectrumContent.content],
        )
        changed = [spectrum_pk for _, spectrum_pk, content in known if content != contents[spectrum_pk]]
        for kind in self._kinds if changed else ():
            if "revision" in kind._meta.sorted_field_names:
                pixels = peewee.fn.COALESCE(kind.revision, 0) + PIXELS
                kind.update(revision=pixels).where(is_any_of(kind.spectrum_pk, changed)).execute()

    def _stored(self) -> dict[str, _Stored]:
        """Give what is known of files that are as they were, and needn't be read for another reason."""
        paths = list(self._states)
        fields = [SpectrumFile._meta.fields[name] for name in _Stored._fields]
        rows = [_Stored(*row) for _, *row in find_rows(SpectrumFile, {SpectrumFile.path: _objects(paths)}, fields)]
        rows = [row for row in rows if self._states[row.path] == (row.size, row.mtime_ns) and row.is_current]
        outdated = _with_later_visits(rows)
        return {row.path: row for row in rows if row.pk not in outdated}

    def _has_changed(self, row: _Stored, looked: Looked) -> bool:
        if row.refused is not None:
            return True
        content = _content_of(row.path)
        if content is not None and content != row.content:
            looked.changed.append((row.path, BYTES_CHANGED))
        return content != row.content

    def _spectra_of(self, rows: Iterable[_Stored]) -> dict[int, Spectra]:
        """Give the spectra of files that are in the database, by file."""
        spectra: dict[int, Spectra] = {row.pk: [] for row in rows}
        of_these = is_any_of(SpectrumContent.file_pk, spectra)
        for kind in self._kinds if spectra else ():
            query = SpectrumContent.select(SpectrumContent.file_pk, kind.source_pk)
            query = query.join(kind, on=(kind.spectrum_pk == SpectrumContent.spectrum_pk)).where(of_these)
            for file_pk, source_pk in rows_of(query):
                spectra[file_pk].append((kind._meta.table_name, source_pk))
        return spectra

    def _owners(self, spectrum_pks: Iterable[int]) -> dict[int, int]:
        """Give by file how many of some spectra are of it so far."""
        query = SpectrumContent.select(SpectrumContent.file_pk, peewee.fn.COUNT(peewee.SQL("*")))
        query = query.where(
            is_any_of(SpectrumContent.spectrum_pk, spectrum_pks), SpectrumContent.file_pk.is_null(False)
        )
        return dict(rows_of(query.group_by(SpectrumContent.file_pk)))

    def _write_files(self, files: Mapping[str, Read], spectra: Mapping[str, int]) -> None:
        newest = _newest_visit() if any(read.has_visits for read in files.values()) else None
        now, version = utc_now().isoformat(" ", "microseconds"), installed_v_astra()
        rows = [
            {
                "path": path,
                **self._states[path]._asdict(),
                "content": read.content,
                "reader": READER,
                "v_astra": version,
                "spectra": spectra.get(path, 0),
                "newest_visit": newest if read.has_visits else None,
                "refused": _storable(read.refused),
                "note": _storable(read.note),
                "modified": now,
            }
            for path, read in sorted(files.items())
        ]
        _upsert(SpectrumFile, rows, "path")


def is_passing(error: BaseException | None) -> bool:
    """Tell whether a file was refused for something that isn't in its content: a permission, a disk, a network.

    Parameters
    ----------
    error : BaseException or None
        Why it was refused.
    """
    seen: list[BaseException] = []
    while error is not None and not any(error is one for one in seen):
        if isinstance(error, OSError) and error.errno is not None:
            return True
        seen.append(error)
        error = error.__cause__
    return False


def _state_of(path: str) -> State | None:
    """Give size and time of a file; None if it can't be remembered: a pipe, or a name that is no text."""
    try:
        status = os.stat(path)
        is_storable = "\0" not in path and len(path.encode()) <= LONGEST_PATH
    except (OSError, ValueError):
        return None
    return State(status.st_size, status.st_mtime_ns) if is_storable and stat.S_ISREG(status.st_mode) else None


def _content_of(path: str) -> int | None:
    """Give a file's fingerprint; None if it can't be read any more."""
    try:
        return fingerprint(path)
    except OSError:
        return None


def _storable(text: str | None) -> str | None:
    """Give a text that every database can hold."""
    return None if text is None else text[:LONGEST_REASON].replace("\0", "\\0").encode("utf-8", "replace").decode()


def _objects(values: Sequence[object]) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _newest_visit() -> int:
    """Give the highest key of a visit of which other spectra are made; 0 if there is none."""
    newest = (visit.select(peewee.fn.MAX(visit.spectrum_pk)).scalar() for visit, _ in MADE_OF.values())
    return max((key for key in newest if key is not None), default=0)


def _with_later_visits(rows: Sequence[_Stored]) -> set[int]:
    """Give the files with a spectrum that is made of a visit that came after the file was read."""
    before = {row.pk: row.newest_visit for row in rows if row.newest_visit is not None}
    newest = _newest_visit() if before else 0
    waiting = [pk for pk, then in before.items() if then < newest]
    if not waiting:
        return set()
    oldest = min(before[pk] for pk in waiting)
    return {pk for kind in MADE_OF for pk in _made_of_later_visits(kind, waiting, oldest)}


def _made_of_later_visits(kind: type[SpectrumMixin], files: Sequence[int], oldest: int) -> list[int]:
    """Give those of some files that have a spectrum whose visit came after the file."""
    visit, shared = MADE_OF[kind]
    same = [kind._meta.fields[name] == visit._meta.fields[name] for name in shared]
    query = (
        SpectrumContent.select(SpectrumContent.file_pk)
        .join(SpectrumFile, on=(SpectrumFile.pk == SpectrumContent.file_pk))
        .join_from(SpectrumContent, kind, on=(kind.spectrum_pk == SpectrumContent.spectrum_pk))
        .join_from(kind, visit, on=functools.reduce(operator.and_, same))
        .where(is_any_of(SpectrumContent.file_pk, files), visit.spectrum_pk > oldest)
        .where(visit.spectrum_pk > SpectrumFile.newest_visit)
    )
    return [pk for (pk,) in rows_of(query.distinct())]


def _upsert(model: type[BaseModel], rows: Sequence[Mapping[str, object]], key: str) -> None:
    """Insert rows, or put them in the place of those with the same key, by one statement."""
    if not rows:
        return
    names = list(rows[0])
    columns = ", ".join(map(quote, names))
    others = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in names if name != key)
    if is_postgresql(database):
        types = ", ".join(f"{quote(name)} {kind_of(model._meta.fields[name]).sql}" for name in names)
        given = f"SELECT {columns} FROM json_to_recordset(%s::json) AS given ({types})"
    else:
        values = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        given = f"SELECT {values} FROM json_each(?) WHERE true"
    database.execute_sql(
        f"INSERT INTO {quoted_table(model)} ({columns}) {given} ON CONFLICT ({quote(key)}) DO UPDATE SET {others}",
        (json.dumps(rows),),
    )
