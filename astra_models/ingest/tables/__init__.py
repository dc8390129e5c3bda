"""Files of many rows: summary files, and any table with a mapping."""
