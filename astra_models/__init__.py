"""The database of a spectroscopic survey's analysis: sources, spectra, and the results of its pipelines."""

from astra_models.analysis.recording import bulk_insert_or_replace_pipeline_results
from astra_models.task import task
from astra_models.version import installed_version

__version__ = installed_version()

__all__ = ["__version__", "bulk_insert_or_replace_pipeline_results", "task"]
