"""Whether the rows of an adopted schema are what they were adopted as: row by row, by checksum."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from astra_models.adoption.copying import Progress
from astra_models.adoption.ledger import CHUNKS, Adoption, Chunk, chunks_of, table_of
from astra_models.adoption.plan import Plan, TablePlan
from astra_models.adoption.statements import quoted, read
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin

__all__ = ["Verified", "verify"]

NAMED = 20


@dataclass
class Verified:
    """What was found in a table.

    Parameters
    ----------
    rows : int
        Rows whose checksum is that of the row that they were made from.
    different : list of int
        Keys of rows that aren't what they were adopted as.
    missing : list of int
        Keys of rows that aren't here.
    renewed : int
        Rows that a run of a pipeline has written anew since.
    changed_here : list of int
        Keys of spectra that were changed here since, by their ``revision``.
    not_comparable : int
        Rows that were adopted by rules of another release.
    """

    rows: int = 0
    different: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    renewed: int = 0
    changed_here: list[int] = field(default_factory=list)
    not_comparable: int = 0

    @property
    def is_good(self) -> bool:
        """Whether every row is there, and as it was adopted, or changed in a way that is known."""
        return not (self.different or self.missing)


def verify(plan: Plan, adoption: Adoption, progress: Progress | None = None) -> Mapping[str, Verified]:
    """Compare every adopted row with the checksum of what it was made from; nothing is written.

    Parameters
    ----------
    plan : Plan
        How the schema was adopted.
    adoption : Adoption
        Its record.
    progress : callable, optional
        Takes the table, how many of its rows are done, and how many there are.

    Returns
    -------
    dict of str to Verified
        By table.
    """
    return {table.name: _verify_table(table, plan, adoption, progress) for table in plan.tables}


def _verify_table(table: TablePlan, plan: Plan, adoption: Adoption, progress: Progress | None) -> Verified:
    found = Verified()
    rules, chunks = table.rules(plan.timezone), chunks_of(table.name)
    total, done = sum(chunk.rows for chunk in chunks), 0
    for chunk in chunks:
        if chunk.rules == rules:
            _verify_chunk(table, chunk, adoption, found)
        else:
            found.not_comparable += chunk.rows
        done += chunk.rows
        if progress is not None:
            progress(table.name, done, total)
    return found


def _verify_chunk(table: TablePlan, chunk: Chunk, adoption: Adoption, found: Verified) -> None:
    is_known = _is_known(table, adoption)
    rows = read(
        f"SELECT u.key, t.{table.primary_key} IS NULL, {is_known} "
        f"FROM {table_of(CHUNKS)} c, unnest(c.keys, c.checksums) u (key, checksum) "
        f"LEFT JOIN {table.here} t ON t.{table.primary_key} = u.key "
        "WHERE c.table_name = %s AND c.last_key = %s "
        f"AND (t.{table.primary_key} IS NULL OR {table.checksum_here()} <> u.checksum) ORDER BY 1",
        *(table.name, chunk.last),
    )
    found.rows += chunk.rows - len(rows)
    for key, is_missing, is_known_change in rows:
        if is_missing:
            found.missing.append(key)
        elif not is_known_change:
            found.different.append(key)
        elif issubclass(table.model, SpectrumMixin):
            found.changed_here.append(key)
        else:
            found.renewed += 1


def _is_known(table: TablePlan, adoption: Adoption) -> str:
    """Give the condition that a row was changed in a way that the row tells."""
    if issubclass(table.model, PipelineOutputMixin):
        return f"t.pipeline_run_pk IS DISTINCT FROM {adoption.pipeline_run_pk} OR t.{quoted('revision')} IS NOT NULL"
    if issubclass(table.model, SpectrumMixin):
        return f"coalesce(t.{quoted('revision')}, 0) <> 0"
    return "false"
