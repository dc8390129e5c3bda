"""The environment of processes that Slurm starts: it keeps a job's environment, so no password may be in it."""

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from astra_models import base

__all__ = ["without_secrets"]

VARIABLE = "ASTRA_SECRET_VARIABLES"
SECRET = "*PASSWORD* *PASSWD* *SECRET* *TOKEN* *CREDENTIAL*"


def without_secrets(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Leave out variables that are secret by their name, and those that have the database's password in them.

    Parameters
    ----------
    environment : mapping of str to str, optional
        The variables; this process's if not given.
    """
    environment = os.environ if environment is None else environment
    patterns = re.findall(r"[^\s,]+", f"{SECRET} {os.environ.get(VARIABLE, '')}")
    password = getattr(base.database.obj, "connect_params", {}).get("password") or os.environ.get("PGPASSWORD")
    return {
        name: value
        for name, value in environment.items()
        if not any(fnmatchcase(name.upper(), pattern.upper()) for pattern in patterns)
        and not (password and password in value)
    }
