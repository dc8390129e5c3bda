"""Files of the survey, recognised by their content, into rows."""

from astra_models.ingest.spectra.files import IngestReport, TableCounts, ingest_spectra

__all__ = ["IngestReport", "TableCounts", "ingest_spectra"]
