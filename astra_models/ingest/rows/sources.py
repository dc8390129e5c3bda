"""Finding and making the sources of spectra.

A file's source is looked for by one identifier after the other, `IDENTIFIERS`, the most specific first. What
is found keeps all that it has: only its missing values are filled in, so that the order in which a star's
files come, or their coming again, changes nothing. Two sources are never merged: an identifier that another
source has is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from astra_models.source import Source

IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
UNIQUE = IDENTIFIERS[:-1]
CHUNK = 500

Values = dict[str, Any]


@dataclass
class KnownSource:
    """A source of a batch: what it has, what is new, and its key once it is written."""

    values: Values
    pk: int | None = None
    new: Values = field(default_factory=dict)


class SourceMatcher:
    """Sources of a batch of files; looks them up together and writes what is new.

    Parameters
    ----------
    wanted : iterable of dict
        Values of sources, whatever was read of them.
    """

    def __init__(self, wanted: Iterable[Values]):
        self._known: dict[tuple[str, Any], KnownSource] = {}
        self._all: dict[int, KnownSource] = {}
        self._load(list(wanted))

    def _load(self, wanted: list[Values]) -> None:
        by_pk: dict[int, KnownSource] = {}
        for name in IDENTIFIERS:
            sought = sorted({values[name] for values in wanted if values.get(name) is not None})
            for start in range(0, len(sought), CHUNK):
                query = Source.select().where(getattr(Source, name).in_(sought[start : start + CHUNK]))
                for source in query.order_by(Source.pk):
                    by_pk.setdefault(source.pk, KnownSource(source.to_dict(), source.pk))
        for known in sorted(by_pk.values(), key=lambda known: known.pk or 0):
            self._register(known)

    def match(self, values: Values) -> KnownSource:
        """Find the source of a file, or make one, and fill in what it doesn't have yet.

        Parameters
        ----------
        values : dict
            Values of the source's columns; None where unknown.

        Returns
        -------
        KnownSource
            The source. Its key is there once `write` was called.
        """
        known = self._find(values)
        if known is None:
            known = KnownSource({})
        fresh = {
            name: value
            for name, value in values.items()
            if value is not None and known.values.get(name) is None and not self._is_taken(name, value, known)
        }
        known.values |= fresh
        known.new |= fresh
        self._register(known)
        return known

    def write(self) -> Iterator[tuple[int, str]]:
        """Insert new sources, update those that got values, and give keys.

        Yields
        ------
        (int, str)
            Key of the source, and "inserted", "updated" or "unchanged".
        """
        for known in sorted(self._all.values(), key=_sort_key):
            if known.pk is None:
                pk = known.pk = int(Source.insert(known.new).execute())
                yield pk, "inserted"
            elif known.new:
                Source.update(known.new).where(Source.pk == known.pk).execute()
                yield known.pk, "updated"
            else:
                yield known.pk, "unchanged"

    def _find(self, values: Values) -> KnownSource | None:
        for name in IDENTIFIERS:
            known = self._known.get((name, values.get(name)))
            if known is not None and not _contradicts(known.values, values, name):
                return known
        return None

    def _is_taken(self, name: str, value: Any, known: KnownSource) -> bool:
        return name in UNIQUE and self._known.get((name, value), known) is not known

    def _register(self, known: KnownSource) -> None:
        self._all[id(known)] = known
        for name in IDENTIFIERS:
            if known.values.get(name) is not None:
                self._known.setdefault((name, known.values[name]), known)


def _contradicts(one: Values, other: Values, matched_by: str) -> bool:
    """Whether an identifier stronger than the one that matched says that they are two sources."""
    stronger = IDENTIFIERS[: IDENTIFIERS.index(matched_by)]
    return any(
        one.get(name) is not None and other.get(name) is not None and one[name] != other[name] for name in stronger
    )


def _sort_key(known: KnownSource) -> tuple[Any, ...]:
    return tuple(str(known.values.get(name) or "") for name in IDENTIFIERS)
