"""The decorator of pipelines: see `astra_models.analysis.task`."""

from astra_models.analysis.task import Task, task

__all__ = ["Task", "task"]
