"""The pipelines. Each module here is one: ``pipelines.corv`` defines the task ``corv``."""

import difflib
import importlib
import pkgutil
from typing import Any

from astra_models.errors import UnknownPipelineError


def pipeline_names() -> list[str]:
    """Give the names of all pipelines, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_pipeline(name: str) -> Any:
    """Import a pipeline.

    Parameters
    ----------
    name : str
        The name of its module, and of the function in it.

    Returns
    -------
    Task
        The generator function decorated by `astra_models.analysis.task.task`.

    Raises
    ------
    UnknownPipelineError
        If there is none of that name.
    """
    if name not in pipeline_names():
        close = difflib.get_close_matches(name, pipeline_names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see docs/writing-a-pipeline.md for adding one"
        raise UnknownPipelineError(f"there is no pipeline {name!r} (known: {', '.join(pipeline_names())}); {hint}")
    module = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, name)
