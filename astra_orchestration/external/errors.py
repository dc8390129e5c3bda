"""What can be wrong with an external program as a whole."""

from astra_models.errors import AstraError


class ProgramError(AstraError, RuntimeError):
    """A program can't be started, or ended without beginning to work."""


class InterruptedRunError(AstraError, RuntimeError):
    """The run that the program belongs to was asked to end."""
