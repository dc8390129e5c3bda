"""The checks of a pipeline's table: what each means, what to do, and what it finds in `measuring.TableNumbers`.

Each has a defined result for any table: an empty one, one of a single row, columns without a value, no earlier version.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from astra_models.fields import utc_now
from astra_models.quality.comparing import Comparison, compare, last_nights
from astra_models.quality.measuring import TableNumbers
from astra_models.quality.ranges import physical_range
from astra_models.quality.thresholds import Thresholds
from astra_models.rejected import FAILURES, REASONS
from astra_models.version import version_integer_to_string

__all__ = ["CHECKS", "Check", "Finding", "judge"]

KEYS_SHOWN = 5
Number = int | float | str


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    check : Check
        The check.
    passed : bool
        Whether all is well.
    is_error : bool
        Whether a product must not be published; else it is a warning.
    summary : str
        What was found, in one sentence.
    numbers : mapping of str to int, float or str
        The numbers behind it.
    tables : mapping of str to list
        Tables: rows of equal length, the first of which is the heading.
    """

    check: "Check"
    passed: bool
    summary: str
    is_error: bool = False
    numbers: Mapping[str, Number] = field(default_factory=dict)
    tables: Mapping[str, list[tuple[Any, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes
    ----------
    name : str
        Its name.
    meaning, remedy : str
        What is wrong if it fails, and what to do then.
    blocking : bool
        Whether products wait if it finds an error.
    """

    name: str
    meaning: str
    remedy: str
    find: "Callable[[Check, TableNumbers, Thresholds], Finding]"
    blocking: bool = False


def judge(
    numbers: TableNumbers, thresholds: Thresholds, checks: "Iterable[Check] | None" = None
) -> "Iterable[Finding]":
    """Make the findings of a table's numbers.

    Parameters
    ----------
    numbers : TableNumbers
        What was read of the table.
    thresholds : Thresholds
        What counts as wrong.
    checks : iterable of Check, optional
        Which checks; all by default.
    """
    for check in CHECKS if checks is None else checks:
        yield check.find(check, numbers, thresholds)


# ---- coverage, and what was rejected


def _coverage(check: Check, numbers: TableNumbers, thresholds: Thresholds) -> Finding:
    found = numbers.coverage
    done = max(found.wanted - found.due - numbers.failed, 0)
    share = done / found.wanted if found.wanted else 1.0
    figures: dict[str, Number] = {
        "spectra": found.wanted,
        "done": done,
        "due": found.due,
        "failed": numbers.failed,
        "waiting": found.waiting,
        "coverage": round(share, 4),
        "coverage should be at least": thresholds.min_coverage,
        "spectra looked at": f"{found.sampled:,} drawn evenly by random keys" if found.sampled else "all",
    }
    reasons = [("due", "reason"), *((count, reason) for reason, count in found.reasons.most_common())]
    about = "about " if found.sampled else ""
    summary = f"{about}{done:,} of {found.wanted:,} spectra have a result ({share:.1%}), {found.due:,} are due"
    if not found.wanted:
        summary = "there are no spectra for it"
    tables = {"why they are due": reasons} if found.reasons else {}
    return Finding(check, share >= thresholds.min_coverage, summary, numbers=figures, tables=tables)


def _rejected(check: Check, numbers: TableNumbers, thresholds: Thresholds) -> Finding:
    listed, wanted = numbers.listed, max(numbers.coverage.wanted, numbers.rows + numbers.failed)
    quarantined = sum(count for reason, count in listed.items() if reason not in FAILURES)
    share = numbers.failed / wanted if wanted else 0.0
    figures: dict[str, Number] = {reason: listed[reason] for reason in REASONS if listed[reason]}
    figures |= {
        "failed share": round(share, 4),
        "failed share should be at most": thresholds.max_failed,
        "could not be stored": quarantined,
        "could not be stored should be at most": thresholds.max_quarantined,
    }
    passed = share <= thresholds.max_failed and quarantined <= thresholds.max_quarantined
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in listed.most_common()) or "nothing is listed"
    summary = f"{share:.1%} of the spectra failed, {quarantined:,} results could not be stored: {reasons}"
    return Finding(check, passed, summary if listed else "nothing failed, nothing is in quarantine", numbers=figures)


# ---- values


def _distribution(check: Check, numbers: TableNumbers, thresholds: Thresholds) -> Finding:
    comparisons: list[Comparison] = []
    figures: dict[str, Number] = {
        "rows": numbers.rows,
        "rows looked at": numbers.sample.description,
        "flagged share": round(float(numbers.flagged(numbers.current).mean()), 4) if len(numbers.current) else 0.0,
    }
    previous, nights = numbers.previous_version, last_nights(numbers, thresholds.min_rows)
    if previous is None:
        figures["previous version"] = "there is none"
    else:
        name = f"in {version_integer_to_string(previous)}, for the same spectra,"
        figures["previous version"] = f"{len(numbers.now):,} spectra have results of both"
        comparisons += filter(None, [compare(name, numbers, numbers.now, numbers.before, thresholds)])
    if nights is None:
        figures["last night"] = "there is none with enough results"
    else:
        figures["last night"] = f"{len(nights[0]):,} results of the last run, {len(nights[1]):,} of the one before"
        comparisons += filter(None, [compare("in the run before", numbers, *nights, thresholds)])
    if empty := [name for name in numbers.columns if len(numbers.current) and name not in numbers.medians()]:
        figures["without any value"] = ", ".join(empty)
    differences = [each for comparison in comparisons for each in comparison.differences]
    tables = {f"now and {each.name.strip(',')}": _compared(each) for each in comparisons}
    summary = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
    if not differences:
        summary = "as before" if comparisons else "there is too little to compare with"
    return Finding(check, not differences, summary, numbers=figures, tables=tables)


def _compared(comparison: Comparison) -> list[tuple[Any, ...]]:
    heading = ("column", "median", "before", "spread", "before", "missing", "before")
    flagged = ("flagged", f"{comparison.flagged:.1%}", f"{comparison.flagged_before:.1%}", "", "", "", "")
    rows = [
        (
            name,
            f"{new.median:.5g}",
            f"{old.median:.5g}",
            f"{new.mad:.3g}",
            f"{old.mad:.3g}",
            f"{new.missing:.1%}",
            f"{old.missing:.1%}",
        )
        for name, (new, old) in comparison.columns.items()
        if new.n or old.n
    ]
    return [heading, flagged, *rows]


def _physical_range(check: Check, numbers: TableNumbers, thresholds: Thresholds) -> Finding:
    rows, fields = numbers.current, numbers.model._meta.fields
    unflagged = ~numbers.flagged(rows)
    outside = np.zeros(len(rows), bool)
    table: list[tuple[Any, ...]] = [("column", "without a flag", "flagged", "smallest", "largest", "spectrum_pk")]
    for name in numbers.columns:
        low, high = physical_range(fields[name], thresholds.ranges)
        values = rows.columns[name]
        wrong = (values < low) | (values > high) | np.isinf(values)  # NaN, which is missing, is neither
        outside |= wrong & unflagged
        if wrong.any():
            examples = rows.columns["spectrum_pk"][wrong & unflagged][:KEYS_SHOWN].tolist()
            extremes = f"{values[wrong].min():.6g}", f"{values[wrong].max():.6g}"
            listed = ", ".join(map(str, examples)) or "-"
            table.append((name, int((wrong & unflagged).sum()), int((wrong & ~unflagged).sum()), *extremes, listed))
    count, share = int(outside.sum()), float(outside.mean()) if len(outside) else 0.0
    figures: dict[str, Number] = {
        "outside": count,
        "share outside": round(share, 6),
        "products wait above a share of": thresholds.max_outside,
        "rows looked at": numbers.sample.description,
    }
    columns = ", ".join(str(row[0]) for row in table[1:] if row[1])
    summary = f"{count:,} results without a flag have values that no star has: {columns}"
    tables = {"outside": table} if len(table) > 1 else {}
    return Finding(
        check,
        not count,
        summary if count else "all values without a flag are possible ones",
        is_error=share > thresholds.max_outside,
        numbers=figures,
        tables=tables,
    )


# ---- the rows themselves


def _integrity(check: Check, numbers: TableNumbers, _: Thresholds) -> Finding:
    orphans = numbers.orphans
    newer = {version: n for version, n in numbers.versions.items() if version > numbers.v_astra}
    figures: dict[str, Number] = {
        "without a spectrum": len(orphans.spectra),
        "without their spectrum's row": len(orphans.records),
        "without a source": len(orphans.sources),
        "of a newer version": sum(newer.values()),
        "installed version": version_integer_to_string(numbers.v_astra),
        "rows looked at": numbers.sample.description,
    }
    problems = []
    kinds = {
        "are of a spectrum that isn't there": orphans.spectra,
        "are of a spectrum whose row is gone from the table of its kind": orphans.records,
        "lack their source": orphans.sources,
    }
    for what, keys in kinds.items():
        if keys:
            shown = ", ".join(map(str, keys[:KEYS_SHOWN])) + (", ..." if len(keys) > KEYS_SHOWN else "")
            problems.append(f"{len(keys):,} results {what} (spectrum_pk {shown})")
    for version, count in newer.items():
        problems.append(f"{count:,} results are of version {version_integer_to_string(version)}, newer than installed")
    return Finding(
        check,
        not problems,
        "; ".join(problems) or "every result belongs to a spectrum and a source",
        is_error=bool(orphans.spectra or orphans.sources or newer),
        numbers=figures,
    )


def _freshness(check: Check, numbers: TableNumbers, thresholds: Thresholds, now: datetime | None = None) -> Finding:
    figures: dict[str, Number] = {
        "days should be at most": thresholds.fresh_days,
        "rows looked at": numbers.sample.description,
    }
    newest = numbers.modified
    if newest is None:
        return Finding(check, True, "there are no rows yet, so none is old", numbers=figures)
    days = ((now or utc_now()) - newest).total_seconds() / 86_400
    figures |= {"newest row": newest.isoformat(" ", "seconds"), "days": round(days, 2)}
    summary = f"the newest row was written {days:.1f} days ago ({newest:%Y-%m-%d %H:%M} UTC)"
    return Finding(check, days <= thresholds.fresh_days, summary, numbers=figures)


CHECKS = (
    Check(
        "coverage",
        "Too few of the spectra that the pipeline takes have a result of this version.",
        "Run the pipeline without `limit`. `astra status` says why spectra are due, and what waits for another "
        "pipeline; run that one first.",
        _coverage,
    ),
    Check(
        "rejected",
        "Too many spectra failed, or there are results that could not be stored (the quarantine isn't empty).",
        "`astra rejected` lists each with its reason. Mend the cause, then run the pipeline with `rerun: failed`; "
        "`astra replay` stores refused results once what they lacked is there.",
        _rejected,
    ),
    Check(
        "distribution",
        "Medians, spreads, missing values or flags differ from the version before (same spectra) or from the last "
        "night.",
        "Look at the picture of this version against the last, and `astra explain` an outlier. If the change is meant, "
        "as after new models, say so in the release's notes; else run again with the older models.",
        _distribution,
    ),
    Check(
        "physical_range",
        "Results without any flag have values that no star has. Products wait while there are many: whoever reads them "
        "can't tell these rows from good ones.",
        "`astra explain` one of the spectra in the table. Have the pipeline set a flag, or give no value; raise its "
        "version, and run it again. If such values are right, widen the range (`quality: ranges:`).",
        _physical_range,
        blocking=True,
    ),
    Check(
        "integrity",
        "Results belong to no spectrum or source, or a newer release than the installed one wrote them: products wait, "
        "for their rows would be of nothing, or of two releases. Results whose spectrum's own row is gone are a "
        "warning: products leave them out.",
        "Ingest the spectra again (`astra ingest spectra`), or delete the results that they left behind. If the rows "
        "are newer, install that release again, or restore the backup from before it.",
        _integrity,
        blocking=True,
    ),
    Check(
        "freshness",
        "No row was written or changed for days.",
        "See whether the nightly runs start and have spectra due (`astra status`), and whether files still come in. "
        "If the survey pauses, raise `fresh_days`.",
        _freshness,
    ),
)
"""The checks of every pipeline. Two are blocking: what they find makes a product wrong, not only incomplete."""
