"""What the exit code of a command says; the same for all commands.

| code | |
| --- | --- |
| 0 | all is well: everything landed, nothing was due, or it was known already |
| 1 | nothing landed although there was something, or the command failed |
| 2 | wrong usage: an unknown command, option, value, pipeline, model or product |
| 3 | some files were refused, or some rows rejected; the others landed |
| 130 | interrupted by Ctrl-C; 143: ended by SIGTERM |
"""

import signal

import typer

__all__ = ["INTERRUPTED", "TERMINATED", "code_of", "end_with"]

WELL = 0
FAILED = 1
USAGE = 2
PARTLY = 3
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM

USAGE_ERRORS = frozenset(
    {
        "OutputFormatError",
        "PipelineNameError",
        "SelectionError",
        "UnknownEngineError",
        "UnknownPackageError",
        "UnknownPipelineError",
        "UnknownProductError",
        "VersionError",
    }
)
"""Errors of names and values on the command line. By name: the import of the classes may be what failed."""


def code_of(error: BaseException) -> int:
    """Give the exit code of an error that a user can cause."""
    return USAGE if any(base.__name__ in USAGE_ERRORS for base in type(error).__mro__) else FAILED


def end_with(landed: int, refused: int) -> None:
    """End a command with the exit code of what became of files or rows, unless all is well.

    Parameters
    ----------
    landed : int
        How many are stored now, those included that were stored before.
    refused : int
        How many were refused or rejected.
    """
    if refused:
        raise typer.Exit(PARTLY if landed else FAILED)
