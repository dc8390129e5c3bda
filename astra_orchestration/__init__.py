"""Pipelines and their results as Dagster assets, and the command line."""
