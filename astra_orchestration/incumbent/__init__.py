"""Pipelines of the survey's own Astra, run here as they are: `incumbent` makes a task of such a generator."""

from astra_orchestration.incumbent.adapter import incumbent

__all__ = ["incumbent"]
