"""SQL of an adoption: names and texts quoted, for statements that take parameters, and the checksum of a row."""

from collections.abc import Iterable, Sequence
from typing import Any

from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.database.sql import quote

__all__ = ["checksum", "listed", "literal", "quoted", "read", "run", "settle"]

SETTINGS = {"timezone": "UTC", "datestyle": "ISO, MDY", "extra_float_digits": "1", "bytea_output": "hex", "jit": "off"}
"""What the text of a value depends on, so that its checksum is the same in every session.

Compiling a statement of hundreds of columns takes longer than running it.
"""


def quoted(*names: str | None) -> str:
    """Quote an identifier, with its schema before it if there is one; the driver would read a percent sign."""
    return quote(*names).replace("%", "%%")


def literal(text: str) -> str:
    """Write text as SQL, for statements in which parameters can't be counted."""
    escaped = text.replace("'", "''").replace("%", "%%")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Quote names of columns, and separate them by commas."""
    return ", ".join(prefix + quoted(name) for name in names)


def checksum(expressions: Sequence[str]) -> str:
    """Give the SQL of a row's checksum: 64 bits of the text of its values, in which NULL isn't empty text."""
    return f"hashtextextended(ROW({', '.join(expressions)})::text, 0)"


def run(statement: str, *parameters: object) -> Any:
    """Run a statement in the bound database, and give its cursor."""
    return database.execute_sql(statement, parameters)


def settle(mode: str) -> None:
    """Begin a transaction of an adoption: say what it may do, and how values are written as text."""
    run(f"SET TRANSACTION {mode}")
    calls = ", ".join(["set_config(%s, %s, true)"] * len(SETTINGS))
    run(f"SELECT {calls}", *(word for setting in SETTINGS.items() for word in setting))


def read(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a query in a transaction that can't write, and give its rows."""

    def work() -> list[tuple[Any, ...]]:
        settle("READ ONLY")
        return run(statement, *parameters).fetchall()

    return run_transaction(database, work)
