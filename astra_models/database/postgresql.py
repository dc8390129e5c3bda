"""PostgreSQL as peewee sees it, where a connection can be lost in the middle of a transaction."""

from typing import Any

import peewee


class PostgresqlDatabase(peewee.PostgresqlDatabase):
    """A PostgreSQL database that opens another connection once one was lost.

    When a connection is cut in a transaction, the server has rolled back already. peewee would send a ROLLBACK all the
    same, and its failure would hide what happened from whoever has to deal with it.

    Parameters
    ----------
    database : str
        Name of the database.
    timezone : str, optional
        The zone that is meant by times that are stored without one; that of every connection.
    **connection
        As for `peewee.PostgresqlDatabase`.
    """

    _state: Any
    timezone: str | None = None

    def init(self, database: str | None, timezone: str | None = None, **connection: Any) -> None:
        """Set what to connect to, without connecting."""
        self.timezone = timezone
        super().init(database, **connection)

    def _initialize_connection(self, conn: Any) -> None:
        if self.timezone is not None:
            with conn.cursor() as cursor:
                cursor.execute("SELECT set_config('TimeZone', %s, false)", (self.timezone,))

    def cursor(self, named_cursor: Any = None) -> Any:
        """Give a cursor; outside a transaction, on a new connection if the last one is known to be lost."""
        if not self.is_closed() and not self.in_transaction() and self._state.conn.closed:
            self.close()
        return super().cursor(named_cursor)

    def rollback(self) -> None:
        """Roll back, if there is still a connection to do it on."""
        if self.is_closed() or not self.connection().closed:
            super().rollback()
