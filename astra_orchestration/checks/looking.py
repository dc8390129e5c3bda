"""One look at a pipeline's table after its results were written: checks, numbers and pictures are all made of it.

Nothing here can lose a run: what goes wrong while looking is a warning in the run's log, and a failed check.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from astra_models.messages import said, traceback_text
from astra_models.outputs import Pipeline
from astra_models.quality import CHECKS, Check, Finding, TableNumbers, Thresholds, judge, measure, thresholds_for
from astra_models.quality.measuring import main_columns
from astra_models.upsert import UpsertReport
from astra_orchestration.checks.links import launchpad_link
from astra_orchestration.checks.pictures import Log, picture_metadata
from astra_orchestration.resources.io_manager import one_line

__all__ = ["Look", "check_specs", "nothing_to_look_at"]

TABLE_ROWS = 60
MAIN_COLUMNS = (
    "teff",
    "logg",
    "fe_h",
    "m_h",
    "alpha_m",
    "v_rad",
    "v_rel",
    "e_v_rad",
    "e_teff",
    "e_logg",
    "rchi2",
    "snr",
)
MOST_MEDIANS = 8


def check_specs(key: dg.AssetKey, checks: Sequence[Check] = CHECKS) -> list[dg.AssetCheckSpec]:
    """Declare the checks of a pipeline's asset, with what each means and what to do."""
    return [
        dg.AssetCheckSpec(
            name=check.name,
            asset=key,
            description=f"{check.meaning}\n\nWhat to do: {check.remedy}",
            blocking=check.blocking,
        )
        for check in checks
    ]


def nothing_to_look_at(key: dg.AssetKey, checks: Sequence[Check], reason: str) -> Iterator[dg.AssetCheckResult]:
    """Let the checks of an asset pass that has no results, and say why."""
    for check in checks:
        told = f"nothing to look at: {reason}"
        yield dg.AssetCheckResult(check_name=check.name, asset_key=key, passed=True, description=told)


class Look:
    """What is seen of a pipeline's table after its results were written; the table is read once.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    key : dagster.AssetKey
        Its asset.
    log : Log
        Where warnings go: the run's log.
    parameters : mapping of str to object, optional
        The run's values of the pipeline's parameters.
    checks : sequence of Check, optional
        Which checks are made.
    thresholds : mapping of str to object, optional
        Thresholds that the asset was declared with; they go before the configuration's.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        key: dg.AssetKey,
        log: Log,
        parameters: Mapping[str, object] | None = None,
        checks: Sequence[Check] = CHECKS,
        thresholds: Mapping[str, object] | None = None,
    ):
        self.pipeline = pipeline
        self.key = key
        self.log = log
        self.parameters = parameters
        self.checks = checks
        self.thresholds = thresholds
        self.seconds = 0.0
        self._seen: tuple[TableNumbers, Thresholds] | None = None
        self._error: Exception | None = None

    def metadata(self, report: UpsertReport) -> dict[str, Any]:
        """Look at the table, and give what its materialization tells of it; nothing but seconds if that fails.

        Parameters
        ----------
        report : UpsertReport
            What was written: pictures are drawn only of a table that has changed.
        """
        seen = self._look()
        found: dict[str, Any] = {} if seen is None else _numbers(seen[0])
        found["seconds of checks"] = round(self.seconds, 3)
        if seen is not None and report.inserted + report.updated:
            found |= picture_metadata(self.pipeline, *seen, self.log)
        return found

    def results(self) -> Iterator[dg.AssetCheckResult]:
        """Give the result of each check, whatever happens while it is made."""
        for check in self.checks:
            yield self._result(check)

    def _look(self) -> tuple[TableNumbers, Thresholds] | None:
        if self._seen is None and self._error is None:
            started = time.monotonic()
            try:
                thresholds = thresholds_for(self.pipeline.name, self.thresholds)
                self._seen = measure(self.pipeline, thresholds, self.parameters), thresholds
            except Exception as error:  # the rows are in: whatever it is, the run isn't lost for it
                self._error = error
                self.log.warning(f"{self.pipeline.name}: its table can't be checked: {said(error)}")
            self.seconds += time.monotonic() - started
        return self._seen

    def _result(self, check: Check) -> dg.AssetCheckResult:
        seen = self._look()
        if seen is None:
            return self._broken(check, self._error)
        try:
            [finding] = judge(*seen, [check])
        except Exception as error:  # as above
            self.log.warning(f"{self.pipeline.name}: the check {check.name} failed itself: {said(error)}")
            return self._broken(check, error)
        return self._result_of(finding)

    def _result_of(self, finding: Finding) -> dg.AssetCheckResult:
        metadata: dict[str, Any] = {"found": finding.summary, **finding.numbers}
        if not finding.passed:
            metadata["what to do"] = dg.MetadataValue.md(finding.check.remedy)
            if finding.check.name == "rejected":
                metadata["run again what failed"] = dg.MetadataValue.url(launchpad_link(self.key.to_user_string()))
        metadata |= {name: dg.MetadataValue.md(_table(rows)) for name, rows in finding.tables.items()}
        is_error = finding.is_error and finding.check.blocking
        return dg.AssetCheckResult(
            check_name=finding.check.name,
            asset_key=self.key,
            passed=finding.passed,
            severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
            description=finding.summary,
            metadata=metadata,
        )

    def _broken(self, check: Check, error: Exception | None) -> dg.AssetCheckResult:
        told = "the table was not looked at" if error is None else said(error)
        metadata: dict[str, Any] = {"error": told}
        if error is not None:
            metadata["traceback"] = dg.MetadataValue.md(f"```\n{traceback_text(error)}\n```")
        remedy = "If it names a setting or the database, mend that and run again; else report it with the traceback."
        return dg.AssetCheckResult(
            check_name=check.name,
            asset_key=self.key,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"the check itself failed, the results are stored: {told}",
            metadata=metadata | {"what to do": remedy},
        )


def _numbers(numbers: TableNumbers) -> dict[str, Any]:
    """Give the numbers that Dagster draws over time; what has no value has a gap there."""
    coverage = numbers.coverage
    found: dict[str, Any] = {"done": numbers.rows, "still due": coverage.due, "failed": numbers.failed}
    if coverage.wanted:
        found["coverage"] = round(max(coverage.wanted - coverage.due - numbers.failed, 0) / coverage.wanted, 4)
    if len(numbers.current):
        found["flagged share"] = round(float(numbers.flagged(numbers.current).mean()), 4)
    fields = numbers.model._meta.fields
    medians = numbers.medians()
    for name in main_columns(medians)[:MOST_MEDIANS]:
        unit = getattr(fields[name], "unit", None)
        found[f"median {name} ({unit})" if unit else f"median {name}"] = medians[name]
    return found


def _table(rows: list[tuple[Any, ...]]) -> str:
    heading, *others = rows
    lines = [_row(heading), _row(["---"] * len(heading)), *map(_row, others[:TABLE_ROWS])]
    if len(others) > TABLE_ROWS:
        lines.append(_row([f"and {len(others) - TABLE_ROWS} more", *[""] * (len(heading) - 1)]))
    return "\n".join(lines)


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(one_line(str(cell)) for cell in cells) + " |"
