"""Files of the survey, detected from their content, into rows."""

from astra_models.ingest.spectra.files import IngestReport, TableCounts, ingest_spectra
from astra_models.ingest.tables.files import ResultFileReport, ingest_result_file

__all__ = ["IngestReport", "ResultFileReport", "TableCounts", "ingest_result_file", "ingest_spectra"]
