"""PostgreSQL as peewee sees it, where a connection can be lost in the middle of a transaction."""

import os
from typing import Any

import peewee
import psycopg2.extensions

from astra_models.database.peewee_internals import driver_errors
from astra_models.database.sql import ROLLBACK_TO_SAVEPOINT

PATIENCE: dict[str, int] = {
    "connect_timeout": 10,  # seconds, for each address of the server
    "keepalives": 1,
    "keepalives_idle": 10,  # seconds without a word, then it is asked whether the server is there
    "keepalives_interval": 5,  # seconds between two such questions
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds that what was sent may go without an answer of the network
}
"""How long a silent network is waited for: by libpq's names, 20 to 25 s in all.

The server's kernel answers, whatever its database is busy with: a long statement isn't cut. A server that is sent data
and takes none of them for 20 s counts as lost.
"""
ENVIRONMENT = {"connect_timeout": "PGCONNECT_TIMEOUT"}
OLDEST_LIBPQ = 120_000  # knows tcp_user_timeout


def patience() -> dict[str, int]:
    """Give the part of `PATIENCE` that libpq knows, and that its environment variables don't say otherwise."""
    known = dict(PATIENCE)
    if psycopg2.extensions.libpq_version() < OLDEST_LIBPQ:
        del known["tcp_user_timeout"]
    return {name: value for name, value in known.items() if not os.environ.get(ENVIRONMENT.get(name, ""))}


class PostgresqlDatabase(peewee.PostgresqlDatabase):
    """A PostgreSQL database that opens another connection once one was lost.

    When a connection is cut in a transaction, the server has rolled back already. peewee would send a ROLLBACK all the
    same, and its failure would hide what happened from whoever has to deal with it.

    Parameters
    ----------
    database : str
        Name of the database.
    timezone : str, optional
        The zone of times that are stored without one; every connection is set to it.
    **connection
        As for `peewee.PostgresqlDatabase`.
    """

    def __init__(self, database: str | None, timezone: str | None = None, **connection: Any):
        self.timezone = timezone
        super().__init__(database, **connection)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Open this thread's connection, with the time zone that stored times are in, and watch the network."""
        opened = super().connect(reuse_if_open)
        if opened and (settings := self._session_settings()):
            with driver_errors, self.connection().cursor() as cursor:
                calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
                cursor.execute(f"SELECT {calls}", [word for setting in settings.items() for word in setting])
        return opened

    def _session_settings(self) -> dict[str, str]:
        """Give what is set on the server's side.

        It watches the network as we do: a server that takes hours to see that we are gone keeps our locks for hours,
        and the transaction that is tried again waits for them.
        """
        settings = {} if self.timezone is None else {"TimeZone": self.timezone}
        watching = ("keepalives_idle", "keepalives_interval", "keepalives_count")
        given = {name: self.connect_params[name] for name in watching if self.connect_params.get(name)}
        is_local = self.connection().info.host.startswith(("/", "@"))
        return settings | ({} if is_local else {f"tcp_{name}": str(value) for name, value in given.items()})

    def cursor(self, named_cursor: str | None = None) -> psycopg2.extensions.cursor:
        """Give a cursor; outside a transaction, on a new connection if the last one is known to be lost."""
        if not self.is_closed() and not self.in_transaction() and self.connection().closed:
            self.close()
        return super().cursor(named_cursor)

    def execute_sql(self, sql: str, params: object = None) -> Any:
        """Run a statement; going back to a savepoint does nothing if its connection was lost."""
        if sql.startswith(ROLLBACK_TO_SAVEPOINT) and (self.is_closed() or self.connection().closed):
            return None
        return super().execute_sql(sql, params)

    def rollback(self) -> None:
        """Roll back, if there is still a connection to do it on."""
        if self.is_closed() or not self.connection().closed:
            super().rollback()
