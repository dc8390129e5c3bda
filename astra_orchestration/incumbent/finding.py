"""The function of a pipeline, below the other Astra's own decorator, which would write to the other database."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from astra_models.errors import ConfigurationError, TaskError, did_you_mean
from astra_orchestration.incumbent.surroundings import Surroundings

__all__ = ["find_function"]


def find_function(place: str, surroundings: Surroundings) -> Callable[..., Any]:
    """Import a pipeline, and give its function without decorators.

    Parameters
    ----------
    place : str
        ``package.module:function``.
    surroundings : Surroundings
        What it finds around it while it is imported.

    Raises
    ------
    ConfigurationError
        If there is no such function here, or it opens a pickle that isn't allowed.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise ConfigurationError(f"{place!r} is no place of a pipeline; write package.module:function")
    try:
        with surroundings.inside(bound=False):
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(
            f"the pipeline {place} can't be imported: {error}; install the survey's Astra, and what this pipeline "
            "needs, in the environment where this code and its workers run. It is no dependency of this project"
        ) from error
    except (ConfigurationError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the pipeline {place} can't be imported: {type(error).__name__}: {error}; mend what its module does when "
            "it is imported (files below root=, its configuration)"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        functions = [known for known, value in vars(module).items() if inspect.isfunction(value)]
        raise ConfigurationError(f"{module_name} has no {name!r}; {did_you_mean(name, functions)}")
    function = inspect.unwrap(found)
    if not callable(function) or inspect.isclass(function):
        raise TaskError(f"{place} is no function, but a {type(found).__name__}; name a pipeline")
    return function
