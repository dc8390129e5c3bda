"""Requesting a run for every file that is dropped into a watched folder.

A file is taken as whole once its size and time are the same at two evaluations. One that was ingested before is known
by its checksum, and needs no run. The cursor remembers the files for which a run was requested, as long as they are
there; a file that changes gets another run. A run that refused its file isn't requested again: re-execute it when the
file is mended. One that ended otherwise, as it crashed, was cancelled, or didn't reach the database, is.
"""

import hashlib
import json
from dataclasses import dataclass, field

import dagster as dg

from astra_models.database.sql import rows_of
from astra_models.errors import UnrecognizedFileError
from astra_models.ingested import IngestedFile
from astra_orchestration.assets.result_files import VERDICT_TAG, result_file, result_files
from astra_orchestration.automation.version_sensor import ATTEMPT_TAG, MOST_ATTEMPTS
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.folders import FOLDERS_VARIABLE, ResultFoldersResource, WatchedFile, mapping_beside

__all__ = ["result_file_sensor"]

INTERVAL = 30  # seconds
MOST_REQUESTS = 10
"""Requests per evaluation: Dagster ends an evaluation that takes longer than a minute."""
MOST_FILES = 5_000
MOST_BYTES_HASHED = 2_000_000_000
"""Bytes per evaluation. Whether further files are known, their runs find out."""

SEEN, DONE = "?", "="
ASKED = tuple("123456789"[:MOST_ATTEMPTS])
"""The attempt that was asked for."""
FILE_TAG = "astra/file"
"""Which file a run is for, and in which state that was."""


@dataclass
class Round:
    """One evaluation: the states of files as the cursor had them, and as it will have them.

    The cursor has digests of paths and states, so that it stays small.
    """

    instance: dg.DagsterInstance
    before: dict[str, str]
    after: dict[str, str] = field(default_factory=dict)
    due: list[tuple[WatchedFile, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unsettled: int = 0
    under_way: int = 0
    known: int = 0
    hashed: int = 0

    def look(self, file: WatchedFile) -> None:
        """Note a file's state, and that it is due if it has settled and had no run yet that came to an end."""
        key, state = _digest(file.path), _digest(file.state)
        before = self.before.get(key, "")
        stage = before[:1] if before[1:] == state else ""
        if stage == SEEN and len(self.due) < MOST_REQUESTS:
            stage = self._take_up(file)
        elif stage in ASKED:
            stage = self._look_at_run(file, stage)
        elif stage != DONE:
            stage = SEEN
        self.unsettled += stage == SEEN
        self.under_way += stage in ASKED
        self.after[key] = stage + state

    def _take_up(self, file: WatchedFile) -> str:
        if self._is_known(file):
            self.known += 1
            return DONE
        self.due.append((file, 1))
        return ASKED[0]

    def _look_at_run(self, file: WatchedFile, stage: str) -> str:
        """Ask for another attempt if the latest ended, and didn't find out what is with the file."""
        attempt = int(stage)
        tags = {FILE_TAG: _run_key(file), ATTEMPT_TAG: stage}
        runs = self.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)  # the latest, if Dagster took up one
        if not runs or not runs[0].is_finished:
            return stage
        if runs[0].is_success or VERDICT_TAG in runs[0].tags:
            return DONE
        if attempt == MOST_ATTEMPTS:
            self.problems.append(
                f"{MOST_ATTEMPTS} runs for {file.name} ended before they were done with it, the last of them "
                f"{runs[0].run_id}: mend the cause, then re-execute it"
            )
            return DONE
        if len(self.due) >= MOST_REQUESTS:
            return stage
        self.due.append((file, attempt + 1))
        return ASKED[attempt]

    def _is_known(self, file: WatchedFile) -> bool:
        from astra_models.ingest.tables.mapping import MappingError, mappings_to_know_by
        from astra_models.ingest.tables.opening import file_sha256

        try:
            mappings = mappings_to_know_by(mapping_beside(file.path))
        except MappingError:  # the run will say what is wrong with it
            return False
        of_mapping = IngestedFile.mapping.in_(mappings)
        same_size = IngestedFile.select(IngestedFile.sha256).where(IngestedFile.size == file.size, of_mapping)
        checksums = {checksum for (checksum,) in rows_of(same_size)}
        if not checksums or self.hashed + file.size > MOST_BYTES_HASHED:
            return False
        self.hashed += file.size
        try:
            return file_sha256(file.path)[0] in checksums
        except UnrecognizedFileError:  # the run will say why it can't be read
            return False


@dg.sensor(
    target=[result_file],
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Ingests files that are dropped into the folders of {FOLDERS_VARIABLE}, once they have settled.",
)
def result_file_sensor(
    context: dg.SensorEvaluationContext, database: DatabaseResource, result_folders: ResultFoldersResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run for each file that is new or has changed."""
    if not result_folders.paths():
        return dg.SkipReason(f"no folder is watched: name some by {FOLDERS_VARIABLE} in the code server's environment")
    listing = result_folders.look()
    files, problems = _usable(listing.files)
    problems = listing.problems + problems
    for problem in problems:
        context.log.warning(problem)
    now = Round(context.instance, _remembered(context.cursor))
    if any(_digest(file.path) in now.before for file in files):
        database.connect(IngestedFile)
    for file in files:
        now.look(file)
    for problem in now.problems:
        context.log.warning(problem)
    return _asked_for(now, problems + now.problems)


def _usable(files: list[WatchedFile]) -> tuple[list[WatchedFile], list[str]]:
    """Leave out files whose names can't be partitions, and the oldest if there are too many."""
    named, problems = [], []
    for file in files:
        if file.name.isprintable() and "..." not in file.name:
            named.append(file)
        else:
            problems.append(
                f"the name {file.name!r} can't be a partition's: it has '...', or what can't be printed; rename it"
            )
    if len(named) > MOST_FILES:
        problems.append(
            f"{len(named)} files are in the watched folders, and only the {MOST_FILES} newest are looked at: move "
            "elsewhere what is done"
        )
        named = sorted(named, key=lambda file: file.mtime_ns)[-MOST_FILES:]
    return named, problems


def _remembered(cursor: str | None) -> dict[str, str]:
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _asked_for(now: Round, problems: list[str]) -> dg.SensorResult:
    names = list(dict.fromkeys(file.name for file, _ in now.due))
    return dg.SensorResult(
        run_requests=[_request(file, attempt) for file, attempt in now.due],
        skip_reason=None if now.due else _why_nothing(now, problems),
        cursor=json.dumps(now.after, separators=(",", ":")),
        dynamic_partitions_requests=[result_files.build_add_request(names)] if names else [],
    )


def _run_key(file: WatchedFile) -> str:
    return f"{file.name}:{file.state}"


def _request(file: WatchedFile, attempt: int) -> dg.RunRequest:
    key = _run_key(file)
    return dg.RunRequest(
        run_key=key if attempt == 1 else f"{key}:{attempt}",
        partition_key=file.name,
        run_config={"ops": {"result_file": {"config": {"path": file.path}}}},
        tags={FILE_TAG: key, ATTEMPT_TAG: str(attempt)},
    )


def _why_nothing(now: Round, problems: list[str]) -> str:
    n_files = len(now.after)
    said = [*problems, f"{n_files or 'no'} files are in the watched folders"]
    if now.unsettled:
        said.append(f"{now.unsettled} of them are new or still being written: they are looked at again")
    elif now.under_way:
        said.append(f"{now.under_way} of them have a run")
    elif n_files:
        said.append("all were dealt with" + (f", {now.known} of them ingested before" if now.known else ""))
    return "; ".join(said)
