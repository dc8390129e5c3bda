"""Making a backup, while runs go on."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from astra_models.version import installed_version
from astra_orchestration.backup.folder import Backup, BackupError, Part, checksum, new_folder
from astra_orchestration.backup.places import dagster_home, dagster_records, results_place
from astra_orchestration.backup.postgresql import PostgresSchema
from astra_orchestration.backup.sqlite_files import copy_sqlite

__all__ = ["BOTH", "make_backup"]

BOTH = ("results", "dagster")


def make_backup(folder: Path, which: Collection[str] = BOTH) -> Backup:
    """Copy the configured database, and Dagster's records if ``DAGSTER_HOME`` is set.

    Each is as it was at one moment; of the two, Dagster's is the earlier.

    Parameters
    ----------
    folder : Path
        Where the backup goes. It has this name only when it is whole.
    which : collection of str, optional
        ``results``, ``dagster``, or both.

    Raises
    ------
    BackupError
        If there is something of that name, or a database can't be copied.
    """
    with new_folder(folder) as new:
        parts = [*(_dagster(new) if "dagster" in which else ()), *(_results(new) if "results" in which else ())]
        if not parts:
            raise BackupError("there is nothing to back up: DAGSTER_HOME isn't set")
        backup = Backup(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", str(installed_version()), parts)
        backup.write(new)
    return backup


def _results(new: Path) -> Iterator[Part]:
    place = results_place()
    if isinstance(place, PostgresSchema):
        yield _dump("results", place, new)
        return
    if not place.is_file():
        raise BackupError(f"there is no database {place}; `astra init` makes it")
    yield _copy("results", place, new, "results.db", place.name)


def _dagster(new: Path) -> Iterator[Part]:
    if (home := dagster_home()) is None:
        return
    place = dagster_records(home)
    if isinstance(place, PostgresSchema):
        yield _dump("dagster", place, new)
        return
    for file in place.files():
        if (place.base / file).exists():  # a run's file may have been pruned just now
            yield _copy("dagster", place.base / file, new, f"dagster/{file}", str(file))


def _copy(which: str, source: Path, new: Path, file: str, name: str) -> Part:
    copy_sqlite(source, new / file)
    return Part(which, "sqlite", file, checksum(new / file), name)


def _dump(which: str, place: PostgresSchema, new: Path) -> Part:
    file = f"{which}.dump"
    place.dump(new / file)
    return Part(which, "postgresql", file, checksum(new / file), place.name)
