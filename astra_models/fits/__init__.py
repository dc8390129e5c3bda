"""FITS files: headers, tables and images, read and written without holding a file in memory."""
