"""Of rows in several versions, the newest: what ``latest()`` selects."""

import operator
from functools import reduce
from typing import Any, ClassVar

import peewee

VERSIONS = ("v_astra_major_minor", "v_astra")


class LatestMixin:
    """What all tables have that keep a row per key and version. One of the columns of their key is the version."""

    upsert_key: ClassVar[tuple[str, ...]]
    select: ClassVar[Any]
    alias: ClassVar[Any]

    @classmethod
    def latest(cls, *columns: Any) -> Any:
        """Select the rows of the newest version: one per spectrum, or whatever else they are kept by.

        It is a query like ``select()``, so that ``.where(...)``, ``.join(Source)`` and the rest go on from there.
        A condition is on the newest rows: one that only an older row meets selects nothing.

        Parameters
        ----------
        *columns
            What to select, as for ``select``: all columns of the model by default.
        """
        return cls.select(*columns).where(cls.is_latest())

    @classmethod
    def is_latest(cls) -> peewee.Expression:
        """Give the condition that there is no newer version of a row, for queries of several tables."""
        newer = cls.alias()
        version = next(name for name in cls.upsert_key if name in VERSIONS)
        conditions = [getattr(newer, name) == getattr(cls, name) for name in cls.upsert_key if name != version]
        conditions.append(getattr(newer, version) > getattr(cls, version))
        # Both databases answer it from the index of the unique key, or at once by an anti-join.
        return ~peewee.fn.EXISTS(newer.select(peewee.SQL("1")).where(reduce(operator.and_, conditions)))
