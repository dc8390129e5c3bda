"""The bound database, opened for a command or a run that needs tables of it."""

import peewee

from astra_models import base
from astra_models.base import BaseModel
from astra_models.database.retry import describe, one_line
from astra_models.errors import DatabaseUnavailableError
from astra_models.outputs import packages_of
from astra_models.schema.migration import require_current
from astra_models.schema.tables import existing_tables, require_tables


def connect(*models: type[BaseModel]) -> peewee.Database:
    """Open the bound database, and make sure that it can be used.

    Parameters
    ----------
    *models : type
        Models whose tables are needed.

    Raises
    ------
    DatabaseUnavailableError
        If the database can't be reached.
    MissingTableError
        If the schema or a table isn't there.
    OutdatedSchemaError
        If the tables are those of an older release, of ours or of the models' package.
    """
    try:
        require_current(packages_of(models))
        if models:
            require_tables(*models)
        else:
            existing_tables()
    except peewee.PeeweeException as error:
        raise DatabaseUnavailableError(
            f"{describe(base.database)} can't be used: {one_line(error)}; check that it is what it should be, and that "
            "you may read and write it"
        ) from error
    return base.database.obj
