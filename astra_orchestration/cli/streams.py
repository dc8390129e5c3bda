"""The three streams of a process: all of them are there, what can't be written is said, and readers may go away."""

import io
import os
import sys
from typing import IO

__all__ = ["have_streams", "in_utf8", "silence", "why_unwritten"]


class Output(io.TextIOWrapper):
    """Standard output that remembers what went wrong: an error of the system doesn't say which file it is of."""

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write text."""
        try:
            return super().write(text)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            super().flush()
        except OSError as error:
            self.failure = error
            raise


def have_streams() -> None:
    """Have all three, know why output can't be written, and write what its encoding lacks by its number.

    A stream that was closed (``>&-``) leads into nothing: a file that is opened later, such as the database, would get
    its number, and what is written there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    given = sys.stdout
    if isinstance(given, io.TextIOWrapper):
        errors = given.errors if given.encoding.lower().startswith("utf") else "backslashreplace"
        sys.stdout = sys.__stdout__ = Output(
            given.detach(),
            encoding=given.encoding,
            errors=errors,
            line_buffering=given.line_buffering,
            write_through=given.write_through,
        )


def in_utf8(stream: IO[str]) -> IO[str]:
    """Have a stream write UTF-8, as files of rows have it: what programs read depends on no terminal."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors=stream.errors)
    return stream


def silence(stream: IO[str]) -> None:
    """Lead a stream that nobody reads into nothing."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def why_unwritten(stream: IO[str]) -> str | None:
    """Write what is still buffered; if that fails, say why, and write no more.

    A reader that went away is no failure.
    """
    failure = stream.failure if isinstance(stream, Output) else None
    try:
        stream.flush()
    except OSError as error:
        failure = error
    if failure is None:
        return None
    silence(stream)
    if isinstance(stream, Output):
        stream.failure = None  # it is said once
    return None if isinstance(failure, BrokenPipeError) else f"the output can't be written: {failure.strerror}"
