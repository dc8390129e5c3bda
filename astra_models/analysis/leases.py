"""Nobody does the same work twice: a run leases the spectra that it takes, and writes only what it still leases.

A claim is one exclusive transaction. It leaves out what another run has in hand, asks again which of the rest are still
due (the run's own list is old), and writes down the lease. A lease is renewed by a thread with a connection of its own;
one that expired, or whose process has ended on this computer, is void, and its spectra are *suspects*: one of them may
have ended its run.
"""

import logging
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import peewee

from astra_models.base import database
from astra_models.database.config import is_in_memory
from astra_models.database.retry import run_transaction
from astra_models.database.sql import AnyDatabase, is_postgresql, quoted_table
from astra_models.errors import AstraError, LeaseLostError
from astra_models.host import has_ended, host_name, this_process
from astra_models.lease import Lease
from astra_models.pipeline import PipelineOutputMixin

__all__ = ["Claim", "Leases", "keeps_leases", "now"]

SECONDS = 60.0
"""How long a lease lasts that isn't renewed."""
RENEWALS = 4
"""How often it is renewed in that time."""
NOBODY = ""

StillDue = Callable[[Sequence[int]], list[int]]

logger = logging.getLogger(__name__)


class Claim(NamedTuple):
    """What came of a claim.

    Parameters
    ----------
    keys : list of int
        The spectra that are leased now.
    suspects : set of int
        Those of them that another run had in hand when it died.
    left_out : list of int
        Those that another run has in hand.
    """

    keys: list[int]
    suspects: set[int]
    left_out: list[int]


def keeps_leases() -> bool:
    """Tell whether the bound database has leases: one in memory has no other users, an old schema no table."""
    return not is_in_memory(database.obj) and run_transaction(database, Lease.table_exists)


class Leases:
    """The leases of one run on spectra for one output table.

    Parameters
    ----------
    model : type
        The output model.
    v_astra : int
        The version of the results.
    run_id : str, optional
        The run's id, to be shown to operators.
    """

    def __init__(self, model: type[PipelineOutputMixin], v_astra: int, run_id: str | None = None):
        self.model = model.__name__
        self.table = model._meta.table_name
        self.major_minor = v_astra // 1000
        self.run_id = run_id
        self.holder = uuid.uuid4().hex
        self.kept = keeps_leases()
        self._keys: dict[int, set[int]] = {}
        self._lease_of: dict[int, int] = {}
        self._renewals: _Renewals | None = None

    def claim(self, keys: Sequence[int], still_due: StillDue, *, are_consecutive: bool) -> Claim:
        """Lease spectra, as far as they are still due and no other run has them in hand.

        Parameters
        ----------
        keys : sequence of int
            Keys of spectra, in ascending order.
        still_due : callable
            Gives those of some keys that are due now, in order.
        are_consecutive : bool
            Whether no other key between the first and the last is due.
        """
        if not self.kept:
            return Claim(list(keys), set(), [])
        pk, claim = run_transaction(database, partial(self._claim, keys, still_due, are_consecutive))
        if pk is not None:
            self._keys[pk] = set(claim.keys)
            self._lease_of |= dict.fromkeys(claim.keys, pk)
            self._start_renewals()
        return claim

    def require(self, keys: Iterable[int | None]) -> None:
        """Make sure, in the transaction that is open, that no other run has taken over any of some spectra.

        Raises
        ------
        LeaseLostError
            If one has: what this run found may not be written.
        """
        wanted = {self._lease_of[key] for key in keys if key in self._lease_of}
        if not wanted:
            return
        query = Lease.select(Lease.pk).where(Lease.pk.in_(wanted), Lease.holder == self.holder)
        if is_postgresql(database):
            query = query.for_update()  # or it could be taken over until this transaction's end
        lost = wanted - {lease.pk for lease in query}
        if lost:
            keys = frozenset().union(*(self._keys[pk] for pk in lost))
            raise LeaseLostError(
                keys,
                f"{self.model}: another run has taken over {len(keys)} spectra, because this one didn't renew its "
                f"lease for {SECONDS:.0f} s; what it found of them isn't written",
            )

    def give_back(self, keys: Iterable[int | None]) -> None:
        """Give back spectra that are done, in the transaction that is open: a lease ends with the last of its own."""
        if ended := self.ended_by(keys):
            Lease.delete().where(Lease.pk.in_(ended)).execute()

    def ended_by(self, keys: Iterable[int | None]) -> list[int]:
        """Give the keys of the leases that end when some spectra are given back."""
        done: dict[int, set[int]] = {}
        for key in keys:
            if key is not None and key in self._lease_of:
                done.setdefault(self._lease_of[key], set()).add(key)
        return [pk for pk, some in done.items() if not self._keys[pk] - some]

    def forget(self, keys: Iterable[int | None]) -> None:
        """Forget spectra that were given back, or are lost, once that is committed."""
        for key in keys:
            pk = None if key is None else self._lease_of.pop(key, None)
            if key is None or pk is None:
                continue
            self._keys[pk].discard(key)
            if not self._keys[pk]:
                del self._keys[pk]

    def close(self) -> None:
        """Give back all that is held; where the database can't be reached, it expires by itself."""
        if self._renewals is not None:
            self._renewals.ended.set()
            self._renewals.join()
        if not self._keys:
            return
        try:
            run_transaction(database, Lease.delete().where(Lease.holder == self.holder).execute, deadline=0)
        except (AstraError, peewee.PeeweeException) as error:
            logger.warning("%s: leases aren't given back, and expire in a minute: %s", self.model, error)
        self._keys, self._lease_of = {}, {}

    def _claim(self, keys: Sequence[int], still_due: StillDue, are_consecutive: bool) -> tuple[int | None, Claim]:
        self._lock()
        moment = now()
        taken: set[int] = set()
        suspects: set[int] = set()
        for lease in self._overlapping(keys[0], keys[-1]):
            if lease.holder == self.holder:
                if lease.pk not in self._keys:  # the connection was lost when it was committed
                    lease.delete_instance()
                continue
            if lease.expires > moment and not has_ended(lease.host, lease.process):
                taken |= lease.among(keys)
                continue
            suspects |= lease.among(keys)
            _cut(lease, keys, are_consecutive)
        due = still_due([key for key in keys if key not in taken])
        claim = Claim(due, suspects.intersection(due), [key for key in keys if key in taken])
        if not due:
            return None, claim
        mine = Lease(
            model=self.model,
            v_astra_major_minor=self.major_minor,
            holder=self.holder,
            run_id=self.run_id,
            host=host_name(),
            process=this_process(),
            expires=moment + round(SECONDS * 1000),
        )
        mine.set_keys(due, are_range=are_consecutive and not taken)
        mine.save(force_insert=True)
        return mine.pk, claim

    def _overlapping(self, first: int, last: int) -> list[Lease]:
        return list(
            Lease.select().where(
                Lease.model == self.model,
                Lease.v_astra_major_minor == self.major_minor,
                Lease.first_key <= last,
                Lease.last_key >= first,
            )
        )

    def _lock(self) -> None:
        """Keep others from claiming until the transaction ends; SQLite's is exclusive from its begin."""
        if is_postgresql(database):
            # It needn't wait for the disk: if a crash of the server loses it, what was found isn't written.
            database.execute_sql(
                "SELECT set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(hashtext(%s))",
                (f"astra lease {self.table}",),
            )

    def _start_renewals(self) -> None:
        if self._renewals is None:
            self._renewals = _Renewals(database.obj, quoted_table(Lease), self.holder)
            weakref.finalize(self, self._renewals.ended.set)  # a run that is given up lets its leases expire
            self._renewals.start()


class _Renewals(threading.Thread):
    """Renews a holder's leases, on a connection of its own, until it is told that the run has ended.

    It keeps to the database in which they are: models may be bound to another one meanwhile.
    """

    def __init__(self, target: peewee.Database, table: str, holder: str):
        super().__init__(name="astra-leases", daemon=True)
        self.ended = threading.Event()
        self._database = target
        self._holder = holder
        mark = "%s" if is_postgresql(target) else "?"
        self._sql = f"UPDATE {table} SET expires = {now_in_sql(target)} + {mark} WHERE holder = {mark}"

    def run(self) -> None:
        """Renew them now and then."""
        while not self.ended.wait(SECONDS / RENEWALS):
            try:
                run_transaction(self._database, self._renew, deadline=SECONDS)
            except (AstraError, peewee.PeeweeException) as error:
                logger.warning("leases can't be renewed, but are tried again: %s", error)
        if not self._database.is_closed():
            self._database.close()

    def _renew(self) -> None:
        if not self.ended.is_set():
            self._database.execute_sql(self._sql, (round(SECONDS * 1000), self._holder))


def now() -> int:
    """Give the time by the database's clock, in ms since 1970."""
    return database.execute_sql(f"SELECT {now_in_sql(database)}").fetchone()[0]


def now_in_sql(target: AnyDatabase) -> str:
    """Give the expression that is the time by a database's clock, in ms since 1970."""
    if is_postgresql(target):
        return "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def _cut(lease: Lease, keys: Sequence[int], are_consecutive: bool) -> None:
    """Take away from a void lease what is claimed now; what is left stays suspect until it is claimed, too."""
    listed = lease.listed()
    is_left = True
    lease.holder, lease.expires = NOBODY, 0
    if listed is None:
        if are_consecutive:  # if not, a later claim of all that is due cuts it
            lease.first_key = max(lease.first_key, keys[-1] + 1)
            is_left = lease.first_key <= lease.last_key
    else:
        left = sorted(set(listed).difference(keys))
        is_left = bool(left)
        if is_left:
            lease.set_keys(left, are_range=False)
    if is_left:
        lease.save()
    else:
        lease.delete_instance()
