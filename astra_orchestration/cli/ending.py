"""How a command ends: what is wrong in one line, its exit code, and the whole answer for a program or a file."""

import errno
import sys
from collections.abc import Callable
from typing import TypeVar

import typer

from astra_orchestration.cli.answers import answer, write_file
from astra_orchestration.cli.consoles import complain_as_error, print_plainly
from astra_orchestration.cli.exit_codes import FAILED, INTERRUPTED, PARTLY, TERMINATED, USAGE, WELL, code_of
from astra_orchestration.cli.interrupts import Terminated, code_of_signal, end_by_the_next_signal, ended
from astra_orchestration.cli.streams import why_unwritten
from astra_orchestration.cli.wrong_values import said_of_usage, shortened

__all__ = ["finished", "with_whole_answer"]

T = TypeVar("T")

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""That of the library by which typer reads options: its own copy of click, or click."""


LONGEST = 2000
"""Characters of an error; who typed a long value knows the middle of it."""
OF_A_PATH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""What is wrong with a path that was given; what disks do is told by `astra_models.database.causes`."""


def finished(work: Callable[[], T]) -> T:
    """Do something; if it fails, say why in one line, and exit with the code of `astra_orchestration.cli.exit_codes`.

    Raises
    ------
    typer.Exit
        With the code, if that isn't 0.
    """
    try:
        return work()
    except (typer.Exit, typer.Abort):
        raise
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise _failed(said_of_usage(error), USAGE) from error
    except Exception as error:
        if isinstance(error, OSError) and (why := why_unwritten(sys.stdout)):
            raise _failed(why, FAILED) from error
        if (code := code_of_signal()) is not None:  # as SQLite's module makes "interrupted" of it in a callback
            raise _failed(ended(), code) from error
        known = error if is_user_error(error) else explained(error)
        if known is None:
            _failed(f"unexpected: {type(error).__name__}: {error}", FAILED, is_said=True)
            raise
        raise _failed(str(known), code_of(known)) from error
    except KeyboardInterrupt as stop:
        raise _failed(ended(), TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from stop


def with_whole_answer(work: Callable[[], T]) -> T:
    """Do what a command does, then print its document or write its file, if there is to be one."""
    try:
        result = work()
    except typer.Exit as stop:
        if stop.exit_code in (WELL, FAILED, PARTLY):
            _give_answer(stop.exit_code)
        raise
    _give_answer(WELL)
    return result


def _failed(message: str, code: int, *, is_said: bool = False) -> typer.Exit:
    """Say an error, also in the document, and give what ends the command."""
    current, message = answer(), shortened(message, LONGEST)
    if not is_said:
        complain_as_error(message, is_error=code not in (INTERRUPTED, TERMINATED))
    current.hear("error", message)
    if current.as_json and not current.is_of_rows:
        current.text = None
        print_plainly(current.document(code))
    if code in (INTERRUPTED, TERMINATED):
        end_by_the_next_signal(code)
    return typer.Exit(code)


def _give_answer(code: int) -> None:
    current = answer()
    is_document = current.as_json and not current.is_of_rows and current.data is not None
    if current.file is not None and current.text is not None:
        text = f"{current.document(code)}\n" if is_document else current.text.getvalue()
        write_file(current.file, text)
    elif is_document:
        print_plainly(current.document(code))


def explained(error: Exception) -> Exception | None:
    """Give the error that names what disk or network did, if it was they."""
    if isinstance(error, OSError) and error.filename is not None and error.errno in OF_A_PATH:
        from astra_models.errors import StorageError

        return StorageError(f"{error.filename!s}: {error.strerror}: name another place")
    if not isinstance(error, OSError) and not any(base.__name__ == "PeeweeException" for base in type(error).__mro__):
        return None
    from astra_models.base import database
    from astra_models.database.causes import explained

    return explained(database, error)


def is_user_error(error: Exception) -> bool:
    """Tell whether an error is one that a user can cause."""
    # By name: when the configuration is wrong, the import that would give the class is what failed.
    return any(base.__name__ == "AstraError" for base in type(error).__mro__)
