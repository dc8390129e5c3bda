"""Putting a backup back."""

from collections.abc import Collection
from pathlib import Path

from astra_orchestration.backup.folder import Backup, BackupError, Part, read_backup
from astra_orchestration.backup.making import BOTH
from astra_orchestration.backup.places import DagsterFiles, dagster_home, dagster_records, results_place
from astra_orchestration.backup.postgresql import PostgresSchema
from astra_orchestration.backup.sqlite_files import put_back_sqlite

__all__ = ["restore_backup"]

OF_BOTH = {"pipeline_run", "event_logs"}
"""A table of the results, and one of Dagster's."""


def restore_backup(folder: Path, which: Collection[str] = BOTH, *, force: bool = False) -> Backup:
    """Put back what a backup has, after all of it was checked.

    Parameters
    ----------
    folder : Path
        The backup.
    which : collection of str, optional
        ``results``, ``dagster``, or both.
    force : bool, optional
        Whether what is there is replaced.

    Raises
    ------
    BackupError
        If the backup isn't whole, doesn't fit the configured databases, or something is there and `force` isn't given.
    """
    backup = read_backup(folder)
    results = backup.of("results") if "results" in which else []
    records = backup.of("dagster") if "dagster" in which else []
    if not results and not records:
        raise BackupError(f"{folder} has no {' or '.join(which)}")
    places: list[tuple[Path | PostgresSchema | DagsterFiles, list[Part]]] = []
    if results:
        places.append((_fitting(results_place(), results), results))
    if records:
        places.append((_fitting(_dagster_place(), records), records))
    if len(places) == 1:
        _require_apart(*places[0], folder)
    if not force:
        for place, _ in places:
            _require_empty(place)
    for place, parts in places:
        _put_back(place, parts, folder)
    return backup


def _dagster_place() -> DagsterFiles | PostgresSchema:
    if (home := dagster_home()) is None:
        raise BackupError("the backup has Dagster's records, and DAGSTER_HOME isn't set: set it, or --only results")
    return dagster_records(home)


def _fitting(place: Path | PostgresSchema | DagsterFiles, parts: list[Part]) -> Path | PostgresSchema | DagsterFiles:
    wanted = "postgresql" if isinstance(place, PostgresSchema) else "sqlite"
    [kind] = {part.kind for part in parts}
    if kind != wanted:
        raise BackupError(f"the backup is of {kind}, and the {parts[0].of} are configured to be in {wanted}")
    if isinstance(place, PostgresSchema) and place.name != parts[0].name:
        raise BackupError(
            f"the backup is of the schema {parts[0].name!r}, and the configured one is {place.name!r}: configure "
            f"{parts[0].name!r} (database.schema), or another database"
        )
    return place


def _require_apart(place: Path | PostgresSchema | DagsterFiles, parts: list[Part], folder: Path) -> None:
    """Make sure that a dump of one of the databases hasn't the other one in it, as of a schema that both have."""
    if not isinstance(place, PostgresSchema):
        return
    if place.tables_in(folder / parts[0].file) >= OF_BOTH:
        raise BackupError(
            f"the schema {place.name!r} has the results and Dagster's records, so neither can be restored alone: "
            "restore both, or give the results a schema of their own (database.schema) from the next backup on"
        )


def _require_empty(place: Path | PostgresSchema | DagsterFiles) -> None:
    if isinstance(place, PostgresSchema):
        there = f"the schema {place.name!r} with {len(place.tables())} relations" if place.tables() else ""
    elif isinstance(place, DagsterFiles):
        there = f"{len(place.files())} files of Dagster in {place.base}" if place.files() else ""
    else:
        there = str(place) if place.exists() and place.stat().st_size else ""
    if there:
        raise BackupError(f"{there} would be overwritten; stop what uses it, and say --force if it is to be replaced")


def _put_back(place: Path | PostgresSchema | DagsterFiles, parts: list[Part], folder: Path) -> None:
    if isinstance(place, PostgresSchema):
        place.restore(folder / parts[0].file)
    elif isinstance(place, DagsterFiles):
        kept = {Path(part.name) for part in parts}
        for part in parts:
            put_back_sqlite(folder / part.file, place.base / part.name)
        for newer in set(place.files()) - kept:  # of runs that the restored records don't know
            for end in ("", "-wal", "-shm"):
                (place.base / f"{newer}{end}").unlink(missing_ok=True)
    else:
        put_back_sqlite(folder / parts[0].file, place)
