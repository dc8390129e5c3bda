"""The checks of a pipeline's table as Dagster's asset checks, and the numbers and pictures of its materialization."""
