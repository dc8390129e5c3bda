"""Running pipelines: which spectra are due, calling a pipeline on them, and writing its results and failures."""
