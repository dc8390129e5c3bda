"""A schema of a PostgreSQL database, by pg_dump and pg_restore of the server's release or a newer one.

They get the connection by their environment: a command line is seen by all users of a computer.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import psycopg2.extensions

from astra_models.database.sql import quote
from astra_models.messages import storable
from astra_orchestration.backup.folder import BackupError

__all__ = ["PostgresSchema"]

BIN = "ASTRA_PG_BIN"
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "dbname": "PGDATABASE",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
MOST_SAID = 600


@dataclass(frozen=True)
class PostgresSchema:
    """A schema on a server.

    Parameters
    ----------
    connection : mapping
        Parameters of libpq; those that aren't given it finds in its own ways.
    schema : str, optional
        The schema; the one that tables are made in if not given.
    """

    connection: Mapping[str, object] = field(repr=False)
    schema: str | None = None

    @property
    def name(self) -> str:
        """The schema's name."""
        return self.schema or str(self._ask("SELECT current_schema()")[0][0] or "public")

    def tables(self) -> list[str]:
        """Name its tables, views and sequences."""
        query = (
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = %s AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1"
        )
        return [str(name) for (name,) in self._ask(query, (self.name,))]

    def tables_in(self, file: Path) -> set[str]:
        """Name the tables that a dump has.

        Raises
        ------
        BackupError
            If pg_restore can't read it.
        """
        lines = self._run("pg_restore", "--list", str(file)).splitlines()
        found = (line.partition(" TABLE DATA ")[2].split() for line in lines if " TABLE DATA " in line)
        return {words[1] for words in found if len(words) > 1}

    def dump(self, file: Path) -> None:
        """Write the schema into a file, as it is at one moment.

        Raises
        ------
        BackupError
            If pg_dump can't.
        """
        self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--strict-names",
                  f"--schema={_pattern(self.name)}", f"--file={file}")  # fmt: skip

    def restore(self, file: Path) -> None:
        """Put the schema back, all or nothing. What was there is set aside meanwhile, and dropped in the end.

        Raises
        ------
        BackupError
            If pg_restore can't; what was there before is there again.
        """
        with self._set_aside(), tempfile.TemporaryDirectory() as folder:
            listed = self._run("pg_restore", "--list", str(file)).splitlines()
            chosen = Path(folder) / "list"
            # The schema itself is made here: some releases dump `public`, which is there, and some don't.
            chosen.write_text("\n".join(line for line in listed if " SCHEMA - " not in line))
            self._run("pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error",
                      f"--use-list={chosen}", f"--dbname={self._database()}", str(file))  # fmt: skip

    @contextmanager
    def _set_aside(self) -> Iterator[None]:
        name, aside = quote(self.name), quote(f"before_restore_{uuid.uuid4().hex[:12]}")
        was_there = bool(self._ask("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.name,)))
        move = [f"ALTER SCHEMA {name} RENAME TO {aside}"] if was_there else []
        self._do(*move, f"CREATE SCHEMA {name}")
        try:
            yield
        except BaseException:
            back = [f"ALTER SCHEMA {aside} RENAME TO {name}"] if was_there else []
            self._do(f"DROP SCHEMA {name} CASCADE", *back)
            raise
        if was_there:
            self._do(f"DROP SCHEMA {aside} CASCADE")

    def _database(self) -> str:
        return str(self._ask("SELECT current_database()")[0][0])

    def _ask(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def _do(self, *statements: str) -> None:
        try:
            with self._connected() as connection, connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except psycopg2.Error as error:
            raise BackupError(f"the server refuses: {storable(str(error), MOST_SAID)}") from error

    @contextmanager
    def _connected(self) -> Iterator[psycopg2.extensions.connection]:
        try:
            connection = psycopg2.connect(psycopg2.extensions.make_dsn(**self._given()))
        except psycopg2.OperationalError as error:
            raise BackupError(f"the server can't be reached: {storable(str(error), MOST_SAID)}") from None
        with closing(connection):
            yield connection

    def _given(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.connection.items() if value not in (None, "")}

    def _run(self, program: str, *words: str) -> str:
        path = shutil.which(program, path=os.environ.get(BIN) or None)
        if path is None:
            raise BackupError(
                f"there is no {program}: install the client programs of PostgreSQL, or name their folder by {BIN}"
            )
        given = {VARIABLES[name]: value for name, value in self._given().items() if name in VARIABLES}
        done = subprocess.run(
            [path, "--no-password", *words] if "--list" not in words else [path, *words],
            env=os.environ | given,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            older = f" (set {BIN} to the folder of the server's release)" if "version mismatch" in done.stderr else ""
            raise BackupError(f"{program} fails: {storable(done.stderr, MOST_SAID)}{older}")
        return done.stdout


def _pattern(schema: str) -> str:
    """Give a schema's name as pg_dump takes it, which reads patterns."""
    return '"' + schema.replace('"', '""') + '"'
