"""One configuration file, as the survey's tools read it, but so that nothing in it is run and nothing of it is told.

The survey's `sdsstools` reads YAML with PyYAML's ``FullLoader``, which makes Python objects of ``!!python`` tags. Here
only plain values are made. The rest is the same: the places of files, ``${VARIABLE}`` and ``${VARIABLE|otherwise}`` of
the environment, a section ``variables`` for ``$(name)``, and ``#!extends FILE`` at the top.

An error names the file and the line. It doesn't quote them: the wrong line may be the one with the password.
"""

import os
import re
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from astra_models.errors import ConfigurationError

__all__ = ["find_user_file", "is_connection_string", "merged", "read_yaml", "shown_path"]

PLACES = ("~/.config/sdss/{name}", "~/.config/sdss/{name}/{name}", "~/.{name}/{name}")
SUFFIXES = (".yaml", ".yml")
EXTENDS = "#!extends"
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH

_CONNECTION = re.compile(
    r"://|:[^/]*@|:\d+:.*:|\b(dbname|host|hostaddr|passfile|password|service|user)\s*=", re.IGNORECASE
)
_VARIABLE = re.compile(r"\$\{(.+?)\}")
_warned: set[Path] = set()


if TYPE_CHECKING:
    _Loader = yaml.SafeLoader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where that is there: it is ten times as fast


class _FromEnvironment(str):
    """Text with values of environment variables in it."""


class _PlainLoader(_Loader):
    """Makes plain values only."""


def _expanded(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, *otherwise = match[1].split("|")
        return os.environ.get(name, otherwise[0] if otherwise else f"${{{name}}}")

    return _FromEnvironment(_VARIABLE.sub(value_of, str(loader.construct_scalar(node))))


_PlainLoader.add_implicit_resolver("!env", _VARIABLE, None)  # type: ignore[arg-type]  # None: whatever it begins with
_PlainLoader.add_constructor("!env", _expanded)


def is_connection_string(text: str) -> bool:
    """Tell whether text says how to connect to a database, perhaps with a password: a URL, libpq's or ``.pgpass``'s."""
    return _CONNECTION.search(text) is not None


def shown_path(path: str | Path) -> str:
    """Give a configured path as errors show it: not if it looks like a connection string."""
    text = os.fspath(path)
    return "(not shown, for it looks like a connection string)" if is_connection_string(text) else repr(text)


def find_user_file(name: str) -> str | None:
    """Give the user's configuration file, from where the survey's tools look for it, in their order.

    Parameters
    ----------
    name : str
        The tool's name: ``ASTRA_CONFIG_PATH`` comes first for ``astra``, then files in the home folder.
    """
    variable = f"{name.upper()}_CONFIG_PATH"
    if variable in os.environ:
        return os.environ[variable]
    places = (os.path.expanduser(place.format(name=name) + suffix) for place in PLACES for suffix in SUFFIXES)
    return next(filter(os.path.exists, places), None)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    ConfigurationError
        If it can't be read, isn't YAML, has a tag that makes anything but a plain value, or isn't a mapping.

    Warns
    -----
    UserWarning
        Once per file, if there is a password in it, and others may read it.
    """
    text = _text_of(path)
    content = _load(path, text)
    if base := _base_of(path, text):
        return merged(_load(base, _text_of(base)), content)
    return content


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Give what either of two configurations says, section by section; the first where they differ."""
    both = {name: value for name, value in second.items() if name not in first}
    for name, value in first.items():
        other = second.get(name)
        both[name] = merged(value, other) if isinstance(value, dict) and isinstance(other, dict) else value
    return both


def _load(path: str | Path, text: str) -> dict[str, Any]:
    content = _mapping(path, text)
    variables = content.get("variables")
    if isinstance(variables, Mapping):
        for name, value in variables.items():
            text = re.sub(rf"\$\(\s*{re.escape(str(name))}\s*\)", lambda _, value=value: str(value), text)
        content = _mapping(path, text)
    _warn_of_readers(Path(path), content)
    return content


def _mapping(path: str | Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=_PlainLoader)
        problem = ""
    except yaml.constructor.ConstructorError as error:
        content, problem = None, f"line {_line(error)} has a tag or a key that is no plain value; give a plain one"
    except yaml.YAMLError as error:
        content, problem = None, f"line {_line(error)} is not YAML; text with special characters needs quotes"
    except (ValueError, RecursionError, AttributeError):  # a date such as 2026-99-99, lists in lists in lists
        content, problem = None, "a value is none that YAML knows; put it in quotes"
    if content is None and not problem:
        return {}
    if not problem and not isinstance(content, dict):
        problem = "it is no mapping of names to values"
    # Outside of `except`: the error of the parser, which quotes the file, doesn't go along.
    if problem or not isinstance(content, dict):
        raise _unreadable(path, problem)
    return content


def _unreadable(path: str | Path, problem: str) -> ConfigurationError:
    return ConfigurationError(f"the configuration in {shown_path(path)} can't be read: {problem}")


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return "?" if mark is None else str(mark.line + 1)


def _text_of(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        problem = "it is not text in UTF-8"
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "that is no path"
    raise _unreadable(path, problem)


def _base_of(path: str | Path, text: str) -> str | None:
    """Give the file that is extended, if the comments at the top name one."""
    for line in map(str.strip, text.splitlines()):
        if line.startswith(EXTENDS):
            base = line.removeprefix(EXTENDS).strip()
            return os.path.join(os.path.dirname(path), base)
        if line and not line.startswith("#"):
            break
    return None


def _warn_of_readers(path: Path, content: Mapping[str, Any]) -> None:
    file = path.resolve()
    if file in _warned or not _has_password(content) or not file.stat().st_mode & OTHERS_READ:
        return
    _warned.add(file)
    warnings.warn(
        f"{path} has a password in it, and others on this machine may read it: `chmod 600 {path}`, or leave the "
        "password out and let libpq look in PGPASSWORD and ~/.pgpass",
        UserWarning,
        stacklevel=2,
    )


def _has_password(content: object) -> bool:
    if isinstance(content, list):
        return any(map(_has_password, content))
    if not isinstance(content, Mapping):
        return False
    named = (value for key, value in content.items() if "password" in str(key).lower())
    written = any(value and not isinstance(value, _FromEnvironment | Mapping) for value in named)
    return written or any(map(_has_password, content.values()))
