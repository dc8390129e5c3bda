"""What comes back from the processes that call a pipeline, and failures among it that wait for a verdict."""

from collections.abc import Sequence

from astra_models.analysis.analyst import Found
from astra_models.analysis.failures import Failures, Held, Undecided
from astra_models.analysis.usage import RunUsage, Usage
from astra_models.pipeline import PipelineOutputMixin
from astra_models.version import installed_v_astra

__all__ = ["Gathering"]


class Gathering:
    """What a run's processes found so far.

    Parameters
    ----------
    name : str
        The pipeline's name.
    models : sequence of type
        Its output models.
    usage : RunUsage
        What was used is added to it.
    """

    def __init__(self, name: str, models: Sequence[type[PipelineOutputMixin]], usage: RunUsage):
        self.answered = 0
        self.usage = usage
        self._models = models
        self._held = Held(Failures(name, models[0], installed_v_astra()))

    @property
    def slowest(self) -> float:
        """How long the slowest spectrum took, in seconds."""
        return self.usage.slowest[0][0] if self.usage.slowest else 0.0

    def take(self, found: Found) -> Found:
        """Take what was found in a chunk, and give it with the failures that can be listed now."""
        self.answered += found.answered
        self.usage.add(found.usage)
        self._held.take_in(found.undecided)
        found.undecided = Undecided([], [], 0)
        if self.answered and self._held.any:
            found.failures += self._held.let_go()
        return found

    def end(self) -> Found | None:
        """Give the failures that were held back to the end.

        Raises
        ------
        PipelineError
            If the pipeline itself is at fault.
        """
        failures = list(self._held.decide(self._models))
        return Found([], [], failures, Undecided([], [], 0), 0, Usage("", 0, 0.0, 0.0, 0)) if failures else None
