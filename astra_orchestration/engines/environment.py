"""The environment of processes that Slurm starts: it keeps a job's environment, so no password may be in it."""

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from astra_models import base

__all__ = ["for_slurm"]

VARIABLE = "ASTRA_SECRET_VARIABLES"
CONFIGURATION, OF_A_JOB = "SLURM_CONF", "SLURM"
SHORTEST = 6  # a shorter password is within many a word
SECRET = "*PASSWORD* *PASSWD* *SECRET* *TOKEN* *CREDENTIAL*"


def for_slurm(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Leave out variables that are secret by their name, or have the database's password in them.

    Those of a job that this process is in are left out, too: they would be taken for settings of the new one.

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
        if name == CONFIGURATION or not name.startswith(OF_A_JOB)
        if not any(fnmatchcase(name.upper(), pattern.upper()) for pattern in patterns)
        if not (password and (value == password or (len(password) >= SHORTEST and password in value)))
    }
