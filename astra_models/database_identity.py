"""Which database this is: a random id that is made with its tables, and kept by a restored copy."""

import uuid

from astra_models.base import BaseModel, database
from astra_models.database.retry import run_transaction
from astra_models.fields import AutoField, DateTimeField, TextField, utc_now

__all__ = ["DatabaseIdentity", "database_id", "make_identity"]

ONLY_ROW = 1


class DatabaseIdentity(BaseModel):
    """The identity of this database, or schema: one row. Neither its name nor its host tell two databases apart."""

    pk = AutoField()
    identity = TextField(help_text="Random: 32 hexadecimal digits")
    created = DateTimeField(default=utc_now)


def make_identity() -> None:
    """Give the bound database an id, unless it has one; its table has to be there."""
    row = {"pk": ONLY_ROW, "identity": uuid.uuid4().hex}
    run_transaction(database, lambda: DatabaseIdentity.insert(**row).on_conflict_ignore().execute())


def database_id(*, may_write: bool = True) -> str | None:
    """Give the id of the bound database; None if it keeps none, as schemas that other software made.

    Parameters
    ----------
    may_write : bool, optional
        Whether a database whose id somebody has deleted gets another one; else there is none.
    """
    database.follow_tables()
    if not run_transaction(database, DatabaseIdentity.table_exists):
        return None
    query = DatabaseIdentity.select(DatabaseIdentity.identity).where(DatabaseIdentity.pk == ONLY_ROW)
    found = run_transaction(database, query.scalar)
    if found is None and may_write:  # somebody has emptied the table
        make_identity()
        found = run_transaction(database, query.scalar)
    return found
