"""Columns as data: typed values, families, headings, and PostgreSQL's format for them."""
