"""What is made, as Dagster sees it: the sample survey, the tables of spectra, and every pipeline's results."""
