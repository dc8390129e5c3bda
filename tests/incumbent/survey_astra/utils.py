"""Paths with variables in them; an unset one stays in the name."""

import os


def expand_path(path):
    """Expand variables."""
    return os.path.expandvars(os.path.expanduser(path))
