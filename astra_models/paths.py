"""Paths as users write them: with ``~`` and environment variables."""

import os
import re
from pathlib import Path

from astra_models.errors import ConfigurationError

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def expand_path(path: str | Path) -> str:
    """Replace ``~`` and environment variables.

    Parameters
    ----------
    path : str or Path
        For example ``$SAS_BASE_DIR/spec.fits``.

    Raises
    ------
    ConfigurationError
        If a variable isn't set; it would otherwise become a part of the name.
    """
    expanded = os.path.expandvars(os.path.expanduser(path))
    if unset := _VARIABLE.search(expanded):
        raise ConfigurationError(f"path {str(path)!r}: the environment variable {unset[1]} is not set")
    return expanded
