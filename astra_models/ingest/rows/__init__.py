"""Rows of files into linked tables."""
