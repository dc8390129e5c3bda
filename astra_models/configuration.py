"""The configuration files, and paths as users write them."""

import glob
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdsstools import get_config

from astra_models.errors import ConfigurationError, MissingFileError

__all__ = ["USER_FILES", "expand_path", "find_files", "read_configuration"]

USER_FILES = "~/.config/sdss/astra.yml, ~/.config/sdss/astra/astra.yml, ~/.astra/astra.yml"

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def read_configuration() -> Mapping[str, Any]:
    """Read the configuration files: the user's over the package's default.

    Raises
    ------
    ConfigurationError
        If a file can't be read.
    """
    import yaml

    default = Path(__file__).parent / "etc" / "astra.yml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # sdsstools doesn't close what it reads
        try:
            return get_config("astra", config_file=str(default))
        except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
            where = os.environ.get("ASTRA_CONFIG_PATH", USER_FILES)
            raise ConfigurationError(f"the configuration in {where} can't be read: {error}") from error.with_traceback(
                None
            )


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
    path = os.fspath(path)
    if "$" not in path and not path.startswith("~"):
        return path
    expanded = os.path.expandvars(os.path.expanduser(path))
    if unset := _VARIABLE.search(expanded):
        raise ConfigurationError(f"path {path!r}: the environment variable {unset[1]} is not set")
    return expanded


def find_files(patterns: Sequence[str]) -> list[str]:
    """Expand file names and patterns.

    Parameters
    ----------
    patterns : sequence of str
        Paths with ``~``, environment variables, ``*``, ``?`` and ``**``.

    Returns
    -------
    list of str
        Absolute paths, each once, those of a pattern sorted.

    Raises
    ------
    MissingFileError
        If there is nothing that a pattern matches.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        expanded = expand_path(pattern)
        matches = [expanded] if os.path.isfile(expanded) else sorted(glob.glob(expanded, recursive=True))
        files = [os.path.abspath(match) for match in matches if os.path.isfile(match)]
        if not files and os.path.isdir(expanded):
            raise MissingFileError(f"{pattern}: it is a folder; name its files, such as '{pattern}/*.fits*'")
        if not files:
            raise MissingFileError(
                f"no file matches {pattern!r} (seen from {Path.cwd()}); check the path, or make the sample survey by "
                "`astra sample`"
            )
        found.update(dict.fromkeys(files))
    return list(found)
