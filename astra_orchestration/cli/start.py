"""``astra`` from its first line: what needs no command is answered here, before typer and any table is imported."""

import gc
import os
import sys
from contextlib import suppress

from astra_orchestration.cli.streams import have_streams, why_unwritten

__all__ = ["main"]

COMPLETING = "_ASTRA_COMPLETE"
"""Set by a shell that wants to know how a command line may go on."""
FAILED = 1
INTERRUPTED = 130
OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Python would look for garbage some hundred times while modules are imported, and find none."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    have_streams()
    try:
        if COMPLETING not in os.environ and _was_answered(sys.argv[1:]):
            return
        from astra_orchestration.cli.main import main as run
    except KeyboardInterrupt:
        _tell_interruption()
        raise SystemExit(INTERRUPTED) from None
    try:
        run()
    finally:
        _leave()


def _tell_interruption() -> None:
    from astra_orchestration.cli.answers import begin

    told = "interrupted: nothing was begun"
    print(told, file=sys.stderr)  # noqa: T201
    answer = begin(sys.argv[1:])
    if answer.as_json:
        answer.hear("error", told)
        print(answer.document(INTERRUPTED))  # noqa: T201


def _leave() -> None:
    """Close the database; the rest goes with the process, and isn't looked through for garbage once more."""
    base = sys.modules.get("astra_models.base")
    if base is not None:
        with suppress(Exception):  # the process ends in any case, and so does the connection
            base.database.close()
    gc.freeze()


def _was_answered(words: list[str]) -> bool:
    """Answer what is asked of the program itself, and say if that can't be written; give whether that was all."""
    why = None
    try:
        was_answered = _answered(words)
        sys.stdout.flush()
    except OSError as error:
        why, was_answered = why_unwritten(sys.stdout), True
        if why is None and not isinstance(error, BrokenPipeError):
            raise
    if why:
        print(f"error: {why}", file=sys.stderr)  # noqa: T201
        raise SystemExit(FAILED)
    return was_answered


def _answered(words: list[str]) -> bool:
    """Answer what is asked of the program itself; give whether that was all."""
    if words == ["--version"]:
        _tell_version()
        return True
    if words in (["--help"], ["-h"]):
        from astra_orchestration.cli.overview import print_overview

        print_overview()
        return True
    return False


def _tell_version() -> None:
    from astra_models.errors import VersionError
    from astra_models.version import installed_v_astra, installed_version

    try:
        told = f"astra {installed_version()} (v_astra {installed_v_astra()})"
    except VersionError as error:
        from astra_orchestration.cli.exit_codes import code_of
        from astra_orchestration.cli.terminal import complain, escaped

        complain(f"[bold red]error:[/] {escaped(str(error))}")
        raise SystemExit(code_of(error)) from error
    print(told)  # noqa: T201
