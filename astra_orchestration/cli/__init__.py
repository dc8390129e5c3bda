"""The command line, ``astra``."""
