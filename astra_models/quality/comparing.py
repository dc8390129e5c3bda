"""Whether two sets of results differ by more than chance: medians, spreads, and shares, by robust statistics."""

import math
from dataclasses import dataclass

import numpy as np

from astra_models.quality.measuring import TableNumbers
from astra_models.quality.sampling import Rows
from astra_models.quality.thresholds import Thresholds

__all__ = ["Comparison", "Spread", "compare", "last_nights", "spread_of"]

SIGMA_OF_MAD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
ERROR_OF_MEDIAN = 1.2533
"""The standard error of a median over that of a mean."""


@dataclass(frozen=True)
class Spread:
    """What a column's values are like.

    Attributes
    ----------
    n : int
        How many there are.
    missing : float
        The share of rows without one.
    median, mad : float
        Their median, and their robust spread, 1.4826 times the median absolute deviation; NaN without any value.
    """

    n: int
    missing: float
    median: float
    mad: float


@dataclass(frozen=True)
class Comparison:
    """What differs between two sets of results.

    Attributes
    ----------
    name : str
        What the results are compared with.
    n, n_before : int
        How many results there are of each.
    flagged, flagged_before : float
        The share of each that has a flag set.
    columns : dict of str to tuple of Spread
        What each column is like now, and was before.
    differences : list of str
        What differs by more than the thresholds allow, as sentences.
    """

    name: str
    n: int
    n_before: int
    flagged: float
    flagged_before: float
    columns: dict[str, tuple[Spread, Spread]]
    differences: list[str]


def spread_of(values: np.ndarray) -> Spread:
    """Measure a column's values; what is missing or infinite is left out."""
    finite = values[np.isfinite(values)]
    missing = 1 - len(finite) / len(values) if len(values) else 0.0
    if not len(finite):
        return Spread(0, missing, math.nan, math.nan)
    median = float(np.median(finite))
    return Spread(len(finite), missing, median, SIGMA_OF_MAD * float(np.median(np.abs(finite - median))))


def last_nights(numbers: TableNumbers, min_rows: int) -> tuple[Rows, Rows] | None:
    """Give the results of the last run that wrote any, and those of the last one before it that wrote enough."""
    rows = numbers.current
    runs = rows.columns.get("pipeline_run_pk")
    if runs is None or np.isnan(runs).all():
        return None
    keys, counts = np.unique(runs[~np.isnan(runs)], return_counts=True)
    earlier = [key for key, count in zip(keys[:-1], counts[:-1], strict=True) if count >= min_rows]
    return (rows.where(runs == keys[-1]), rows.where(runs == earlier[-1])) if earlier else None


def compare(name: str, numbers: TableNumbers, now: Rows, before: Rows, thresholds: Thresholds) -> Comparison | None:
    """Compare results with earlier ones; None if there are too few of either."""
    if min(len(now), len(before)) < max(1, thresholds.min_rows):
        return None
    columns = {each: (spread_of(now.columns[each]), spread_of(before.columns[each])) for each in numbers.columns}
    flagged, flagged_before = (float(numbers.flagged(rows).mean()) for rows in (now, before))
    sizes = len(now), len(before)
    differences = []
    if _share_differs(flagged, flagged_before, sizes, thresholds.max_flagged_change, thresholds.significance):
        differences.append(f"{flagged:.1%} of the results are flagged; {name} it was {flagged_before:.1%}")
    for each, (new, old) in columns.items():
        differences += _differences(each, name, new, old, sizes, thresholds)
    return Comparison(name, *sizes, flagged, flagged_before, columns, differences)


def _differences(
    column: str, name: str, new: Spread, old: Spread, sizes: tuple[int, int], thresholds: Thresholds
) -> list[str]:
    found = []
    if _share_differs(new.missing, old.missing, sizes, thresholds.max_missing_change, thresholds.significance):
        found.append(f"{column} is missing in {new.missing:.1%} of the results; {name} it was in {old.missing:.1%}")
    if min(new.n, old.n) < max(1, thresholds.min_rows):
        return found
    shift = _shift(new, old)
    error = ERROR_OF_MEDIAN * math.sqrt(1 / new.n + 1 / old.n)
    if abs(shift) > thresholds.max_shift and abs(shift) > thresholds.significance * error:
        by = f"{shift:+.1f} times its spread" if math.isfinite(shift) else "and it had one value only"
        found.append(f"{column} has a median of {new.median:.5g}; {name} it was {old.median:.5g} ({by})")
    if new.mad > 0 and old.mad > 0:
        ratio = new.mad / old.mad
        if max(ratio, 1 / ratio) > thresholds.max_spread_ratio:
            found.append(f"{column} has a spread of {new.mad:.3g}; {name} it was {old.mad:.3g}")
    return found


def _shift(new: Spread, old: Spread) -> float:
    """Give by how many spreads the median has moved; infinity if all values were one, and are another."""
    if math.isclose(new.median, old.median, rel_tol=1e-6, abs_tol=1e-12):
        return 0.0
    spread = old.mad or new.mad
    return (new.median - old.median) / spread if spread else math.copysign(math.inf, new.median - old.median)


def _share_differs(new: float, old: float, sizes: tuple[int, int], most: float, significance: float) -> bool:
    mean = (new * sizes[0] + old * sizes[1]) / sum(sizes)
    error = math.sqrt(mean * (1 - mean) * (1 / sizes[0] + 1 / sizes[1]))
    return abs(new - old) > most and abs(new - old) > significance * error
