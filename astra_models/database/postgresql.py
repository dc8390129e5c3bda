"""PostgreSQL as peewee sees it, where a connection can be lost in the middle of a transaction."""

from typing import Any

import peewee
import psycopg2.extensions

from astra_models.database.peewee_internals import driver_errors


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
        """Open this thread's connection, with the time zone that stored times are in."""
        opened = super().connect(reuse_if_open)
        if opened and self.timezone is not None:
            with driver_errors, self.connection().cursor() as cursor:
                cursor.execute("SELECT set_config('TimeZone', %s, false)", (self.timezone,))
        return opened

    def cursor(self, named_cursor: str | None = None) -> psycopg2.extensions.cursor:
        """Give a cursor; outside a transaction, on a new connection if the last one is known to be lost."""
        if not self.is_closed() and not self.in_transaction() and self.connection().closed:
            self.close()
        return super().cursor(named_cursor)

    def rollback(self) -> None:
        """Roll back, if there is still a connection to do it on."""
        if self.is_closed() or not self.connection().closed:
            super().rollback()
