"""The database of a spectroscopic survey's analysis: sources, spectra, and the results of its pipelines.

Names and modules are imported when they are asked for: whoever wants a version number or the fit of a spectrum waits
for no tables.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astra_models.analysis.recording import bulk_insert_or_replace_pipeline_results
    from astra_models.task import task
    from astra_models.version import installed_version

    __version__ = installed_version()

__all__ = ["__version__", "bulk_insert_or_replace_pipeline_results", "task"]

_NAMES = {
    "bulk_insert_or_replace_pipeline_results": "astra_models.analysis.recording",
    "task": "astra_models.task",
}


class _Package(ModuleType):
    """The package; ``task`` is the decorator in it, also once the module of that name has been imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "task" and isinstance(value, ModuleType):
            value = value.task
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    """Import what is asked for: a name of `__all__`, or a module."""
    if name == "__version__":
        from astra_models.version import installed_version

        return installed_version()
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what there is, imported or not."""
    return sorted({*globals(), *__all__})
