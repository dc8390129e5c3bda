"""Selected rows into FITS tables."""
