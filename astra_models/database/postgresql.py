"""PostgreSQL as peewee sees it, where a connection can be lost in the middle of a transaction."""

from typing import Any

import peewee


class PostgresqlDatabase(peewee.PostgresqlDatabase):
    """A PostgreSQL database that opens another connection once one was lost.

    When a connection is cut in a transaction, the server has rolled back already. peewee would send a ROLLBACK all the
    same, and its failure would hide what happened from whoever has to deal with it.
    """

    _state: Any

    def cursor(self, named_cursor: Any = None) -> Any:
        """Give a cursor; outside a transaction, on a new connection if the last one is known to be lost."""
        if not self.is_closed() and not self.in_transaction() and self._state.conn.closed:
            self.close()
        return super().cursor(named_cursor)

    def rollback(self) -> None:
        """Roll back, if there is still a connection to do it on."""
        if self.is_closed() or not self.connection().closed:
            super().rollback()
