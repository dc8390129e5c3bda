"""SQLite as peewee sees it, where a transaction can end by itself."""

import peewee

from astra_models.database.sql import ROLLBACK_TO_SAVEPOINT


class SqliteDatabase(peewee.SqliteDatabase):
    """A SQLite database that rolls back only what is open.

    SQLite rolls back by itself when the disk is full or can't be read. peewee would send a ROLLBACK all the same, and
    its failure ("no transaction is active") would hide what happened from whoever has to deal with it.
    """

    def execute_sql(self, sql: str, params: object = None) -> object:
        """Run a statement; going back to a savepoint does nothing if its transaction has ended."""
        if sql.startswith(ROLLBACK_TO_SAVEPOINT) and not self._is_open():
            return None
        return super().execute_sql(sql, params)

    def rollback(self) -> None:
        """Roll back, if there is still a transaction."""
        if self.is_closed() or self._is_open():
            super().rollback()

    def _is_open(self) -> bool:
        return not self.is_closed() and self.connection().in_transaction
