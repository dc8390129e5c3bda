"""The Dagster UI behind a door: a web server that other web pages can't use."""
