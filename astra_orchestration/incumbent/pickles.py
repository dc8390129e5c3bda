"""Pickles of other people's pipelines, refused unless the operator allows them for that pipeline.

Unpickling can run any code. Two doors are watched while a pipeline is imported or runs: the functions of the module
``pickle`` (whatever is in the file), and Python's audit event ``pickle.find_class``, by which everything that unpickles
a class or a function is seen: ``joblib.load``, ``numpy.load(allow_pickle=True)``, ``torch.load(weights_only=False)``.

What counts is who asks: the thread that runs the pipeline, and any thread, or forked process, that has the pipeline's
package on its stack. What Python's own process pools send each other isn't touched, nor is Astra's own machinery.
"""

import contextvars
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from astra_models.errors import ConfigurationError

__all__ = ["PicklesRefusedError", "Watch", "unwatched", "watched"]

_CARRIERS = ("multiprocessing", "concurrent", "distributed", "dask", "dagster", "numba")
"""Packages that unpickle what this program, or they themselves, have pickled."""
_OPENERS = ("pickle", "joblib", "numpy", "torch", "pandas", "shelve", "dill")
"""Packages that open a pickle for whoever calls them."""


class PicklesRefusedError(ConfigurationError):
    """A pipeline opens a pickle, and the operator hasn't allowed that."""


@dataclass(eq=False)
class Watch:
    """What a pipeline may not open.

    Parameters
    ----------
    pipeline : str
        Where the pipeline is, for messages.
    package : str
        Its outermost package.
    refused : PicklesRefusedError or None
        The first refusal: the pipeline may hide it, by an ``except`` without a class.
    """

    pipeline: str
    package: str
    refused: PicklesRefusedError | None = field(default=None)

    def refuse(self, what: str) -> PicklesRefusedError:
        """Make the error, and keep the first."""
        error = PicklesRefusedError(
            f"{self.pipeline} opens a pickle ({what}), which can run any code; if you trust its files, allow it for "
            f"this pipeline: incumbent({self.pipeline!r}, pickles=True), or `pickles: true` in its defs.yaml"
        )
        self.refused = self.refused or error
        return error


_current: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("watched pipeline", default=None)
_lock = threading.Lock()
_armed: list[Watch] = []
_hooked: list[bool] = []
_opening = threading.local()


@contextmanager
def watched(watch: Watch | None) -> Iterator[None]:
    """Refuse pickles to a pipeline while this lasts; None allows them."""
    token = _current.set(watch)
    if watch is not None:
        _arm(watch)
    try:
        yield
    finally:
        _current.reset(token)
        if watch is not None:
            _disarm(watch)


@contextmanager
def unwatched() -> Iterator[None]:
    """Let Astra's own code unpickle what is its own, in the middle of a pipeline."""
    token = _current.set(None)
    _opening.own = getattr(_opening, "own", 0) + 1
    try:
        yield
    finally:
        _opening.own -= 1
        _current.reset(token)


def _arm(watch: Watch) -> None:
    with _lock:
        if not _hooked:
            sys.addaudithook(_audit)  # it can't be taken away again
            _hooked.append(True)
        if not _armed:
            _guard_functions()
        _armed.append(watch)


def _disarm(watch: Watch) -> None:
    with _lock:
        _armed.remove(watch)
        if not _armed:
            _restore_functions()


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event != "pickle.find_class" or not _armed:
        return
    watch = _asking(sys._getframe(1))
    if watch is not None:
        raise watch.refuse(f"with {arguments[0]}.{arguments[1]} in it")


def _asking(frame: FrameType | None) -> Watch | None:
    """Say which watched pipeline asks for a pickle; None if something else does."""
    if getattr(_opening, "own", 0):
        return None
    names = list(_packages(frame))
    opener = next((name for name in names if name not in _OPENERS and name != __name__.partition(".")[0]), None)
    if opener in _CARRIERS:
        return None
    current = _current.get()
    if current is not None:
        return current
    return next((watch for watch in list(_armed) if watch.package in names), None)


def _packages(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield str(frame.f_globals.get("__name__", "")).partition(".")[0]
        frame = frame.f_back


# ---- the functions of the module pickle, which say so before anything is read

_originals: dict[str, object] = {}


def _guarded(original: Callable[..., object], name: str) -> Callable[..., object]:
    def opened(*arguments: object, **options: object) -> object:
        watch = _asking(sys._getframe(1)) if _armed else None
        if watch is not None:
            raise watch.refuse(f"by pickle.{name}")
        return original(*arguments, **options)

    opened.__name__ = opened.__qualname__ = name
    return opened


def _guarded_reader(original: Any) -> type:
    class Unpickler(original):
        load = _guarded(original.load, "Unpickler.load")

    return Unpickler


def _guard_functions() -> None:
    for name in ("load", "loads", "_load", "_loads"):
        original = getattr(pickle, name)
        _originals[name] = original
        setattr(pickle, name, _guarded(original, name))
    _originals["Unpickler"] = pickle.Unpickler
    setattr(pickle, "Unpickler", _guarded_reader(pickle.Unpickler))  # noqa: B010
    reader: Any = getattr(pickle, "_Unpickler")  # noqa: B009  joblib derives its own from it
    _originals["_Unpickler.load"] = reader.load
    reader.load = _guarded(reader.load, "Unpickler.load")


def _restore_functions() -> None:
    reader: Any = getattr(pickle, "_Unpickler")  # noqa: B009
    reader.load = _originals.pop("_Unpickler.load")
    for name, original in _originals.items():
        setattr(pickle, name, original)
    _originals.clear()
