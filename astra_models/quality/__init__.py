"""Whether a pipeline's table is fit to be used: numbers from the table, judged by thresholds, and pictures of it.

`measure` reads what is needed once, `judge` makes findings of it. Neither writes anything.
"""

from astra_models.quality.findings import CHECKS, Check, Finding, judge
from astra_models.quality.measuring import TableNumbers, measure
from astra_models.quality.thresholds import Thresholds, thresholds_for

__all__ = ["CHECKS", "Check", "Finding", "TableNumbers", "Thresholds", "judge", "measure", "thresholds_for"]
