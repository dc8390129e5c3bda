"""Tasks of other pipelines by name, so that other processes find them: a task's name here holds its settings."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from astra_models.analysis.task import Task

__all__ = ["make_by", "register"]

PREFIX = "task_"

_made: dict[str, Task[Any]] = {}
_makers: list[Callable[[Mapping[str, Any]], Task[Any]]] = []


def make_by(make: Callable[[Mapping[str, Any]], Task[Any]]) -> None:
    """Say how a task is made of its settings."""
    _makers[:] = [make]


def register(task: Task[Any], settings: Mapping[str, Any]) -> None:
    """Give a task a name in this module, by which workers import it; not if its parameters can't be written down."""
    try:
        text = json.dumps(settings, sort_keys=True)
    except TypeError:
        vars(task)["__qualname__"] = "<locals>"  # of this process only
        return
    name = _name(text)
    copies = 0
    while name in _made:  # the same settings, and maybe another condition
        copies += 1
        name = f"{_name(text)}_{copies}"
    _made[name] = task
    vars(task).update(__module__=__name__, __qualname__=name)


def _name(text: str) -> str:
    return PREFIX + text.encode().hex()


def __getattr__(name: str) -> Task[Any]:
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    if name not in _made:
        encoded = name.removeprefix(PREFIX).partition("_")[0]
        [make] = _makers
        _made[name] = make(json.loads(bytes.fromhex(encoded)))
    return _made[name]
