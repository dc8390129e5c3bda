"""The configuration files, and paths as users write them."""

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from astra_models.configuration_file import find_user_file, is_connection_string, merged, read_yaml, shown_path
from astra_models.errors import ConfigurationError, MissingFileError
from astra_models.fits.door import LARGEST_SPECTRUM

__all__ = [
    "USER_FILES",
    "FileLimits",
    "expand_path",
    "file_limits",
    "find_files",
    "kind_of",
    "read_configuration",
    "shown_key",
]

USER_FILES = "~/.config/sdss/astra.yml, ~/.config/sdss/astra/astra.yml, ~/.astra/astra.yml"

LONGEST_KEY = 30  # characters

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?)B?\s*")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def read_configuration() -> Mapping[str, Any]:
    """Read the configuration files: the user's over the package's default.

    Raises
    ------
    ConfigurationError
        If a file can't be read.
    """
    default = read_yaml(Path(__file__).parent / "etc" / "astra.yml")
    user = find_user_file("astra")
    return default if user is None else merged(read_yaml(user), default)


def kind_of(value: object) -> str:
    """Name the kind of a configured value for an error, which doesn't repeat the value: it may be a password."""
    kinds = {str: "text", bool: "yes or no", int: "a number", float: "a number", list: "a list", type(None): "empty"}
    if isinstance(value, Mapping):
        return "a mapping"
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "something else")


def shown_key(key: object) -> str:
    """Give the name of a setting as errors show it: what is no name may be a value in the wrong place."""
    text = str(key)
    return repr(text) if text.isidentifier() and len(text) <= LONGEST_KEY else "(not shown, for it is no name)"


@dataclass(frozen=True)
class FileLimits:
    """How large files may be, in bytes, unpacked: the section ``files`` of the configuration.

    Parameters
    ----------
    largest_spectrum : int
        A file of spectra.
    largest_text_table : int
        A table with a mapping that isn't FITS. (FITS tables are read in bounded memory, and may have any size.)
    """

    largest_spectrum: int = LARGEST_SPECTRUM
    largest_text_table: int = LARGEST_SPECTRUM


def file_limits() -> FileLimits:
    """Give the largest sizes of files, as they are configured.

    Raises
    ------
    ConfigurationError
        If the section says anything else than sizes: bytes, or text such as ``2 GB``.
    """
    return _configured_limits(*(os.environ.get(name) for name in ("ASTRA_CONFIG_PATH", "XDG_CONFIG_HOME", "HOME")))


@lru_cache(maxsize=8)
def _configured_limits(*_: str | None) -> FileLimits:
    """Read the limits from the configuration, once for every place that it may be in."""
    section = read_configuration().get("files") or {}
    known = {field.name for field in fields(FileLimits)}
    if not isinstance(section, Mapping) or not known >= section.keys():
        given = ", ".join(map(shown_key, section)) if isinstance(section, Mapping) else kind_of(section)
        raise ConfigurationError(f"files: has {given}; it is a mapping of {' and '.join(sorted(known))} to sizes")
    return FileLimits(**{str(name): _bytes(str(name), value) for name, value in section.items()})


def _bytes(name: str, value: object) -> int:
    found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    size = int(float(found[1]) * _FACTORS[found[2]]) if found else 0
    if size <= 0:
        raise ConfigurationError(f"files: {name} is {kind_of(value)}, and no size; give bytes, or 500 MB, or 2 GB")
    return size


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
        name = "in it" if is_connection_string(path) else unset[1]
        raise ConfigurationError(f"path {shown_path(path)}: the environment variable {name} is not set")
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
        if not files and os.path.lexists(expanded):
            raise MissingFileError(
                f"{pattern}: it is no regular file, but a pipe, a device, or a link that leads nowhere; name a file"
            )
        if not files:
            raise MissingFileError(
                f"no file matches {pattern!r} (seen from {Path.cwd()}); check the path, or make the sample survey by "
                "`astra sample`"
            )
        found.update(dict.fromkeys(files))
    return list(found)
