"""Whether a pipeline's table is fit to be used: numbers from the table, judged by thresholds, and pictures of it.

`measure` reads what is needed once, `judge` makes findings of it. Neither writes anything.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astra_models.quality.findings import CHECKS, Check, Finding, judge
    from astra_models.quality.measuring import TableNumbers, measure
    from astra_models.quality.thresholds import Thresholds, thresholds_for

__all__ = ["CHECKS", "Check", "Finding", "TableNumbers", "Thresholds", "judge", "measure", "thresholds_for"]

_MODULES = {
    "TableNumbers": "measuring",
    "measure": "measuring",
    "Thresholds": "thresholds",
    "thresholds_for": "thresholds",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: pipelines draw their pictures in a style of ours, and need nothing else of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'findings')}"), name)
