"""A process that reads a file of SQLite by ADBC, and writes what it finds as a stream of Arrow.

It is run as a file, and imports neither this project nor what it doesn't need. It isn't done by a thread, since the
driver brings a SQLite of its own: two of them in one process take each other's locks away
(https://www.sqlite.org/howtocorrupt.html, section 2.2.1).

It is told ``uri``, ``sql``, ``parameters`` and ``rows`` (in a batch) as a line of JSON, and says "+" when it sees the
file as it will be read.
"""

import json
import sys
from importlib.abc import MetaPathFinder


class NotNeeded(MetaPathFinder):
    """Keeps pyarrow from importing pandas, which takes longer than all the rest."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Find it nowhere."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


sys.meta_path.insert(0, NotNeeded())

import adbc_driver_manager  # noqa: E402
import adbc_driver_sqlite  # noqa: E402
import pyarrow as pa  # noqa: E402


def main() -> None:
    """Read what is asked for on standard input."""
    asked = json.loads(sys.stdin.readline())
    connection = adbc_driver_manager.AdbcConnection(adbc_driver_sqlite.connect(asked["uri"]))
    connection.set_autocommit(False)
    for _ in _read(connection, "SELECT 1 FROM sqlite_master", [], 1):
        pass
    out = sys.stdout.buffer
    out.write(b"+")
    out.flush()
    batches = _read(connection, asked["sql"], asked["parameters"], asked["rows"])
    with pa.ipc.new_stream(out, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _read(
    connection: adbc_driver_manager.AdbcConnection, sql: str, parameters: list[object], rows: int
) -> pa.RecordBatchReader:
    statement = adbc_driver_manager.AdbcStatement(connection)
    statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
    statement.set_sql_query(sql)
    if parameters:
        statement.bind(pa.RecordBatch.from_pydict({f"parameter {n}": [value] for n, value in enumerate(parameters)}))
    handle, _ = statement.execute_query()
    return pa.RecordBatchReader._import_from_c(handle.address)


if __name__ == "__main__":
    main()
