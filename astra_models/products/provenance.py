"""Where a file comes from: what made it, when, and from which state of the code."""

import functools
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path

from astra_models.version import DISTRIBUTION, installed_version

CHECKOUT = Path(__file__).parents[2]


def provenance(run_id: str | None = None) -> dict[str, str]:
    """Describe the origin of a file that is written now.

    Parameters
    ----------
    run_id : str, optional
        The run that writes it; a new id if it isn't part of a run.

    Returns
    -------
    dict
        ``software`` and its version, ``run_id``, ``created`` (UTC), and, if the code is in a checkout, ``revision``:
        its commit, followed by a ``+`` if files have been changed since.
    """
    told = {
        "software": f"{DISTRIBUTION} {installed_version()}",
        "run_id": run_id or str(uuid.uuid4()),
        "created": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
    }
    found = revision()
    return told | ({"revision": found} if found else {})


@functools.cache
def revision() -> str | None:
    """Give the commit that the code is at, or None if it is no checkout or git isn't there."""
    if not (CHECKOUT / ".git").exists():
        return None
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "astra_models", "astra_orchestration")
    return f"{commit}+" if commit and changed else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
