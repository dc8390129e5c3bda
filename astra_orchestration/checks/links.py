"""Links from a check's metadata to where what it found is mended."""

from collections.abc import Callable

import dagster as dg

__all__ = ["Links"]

RetryLink = Callable[[dg.AssetKey], str]


class Links:
    """Where the links come from; `definitions` says so, for what they lead to is made of the assets.

    Attributes
    ----------
    retry : callable or None
        Gives, for a pipeline's asset, the address of the launchpad in which what failed is run again.
    """

    retry: RetryLink | None = None
