"""Which FERRE it is: what it prints when it starts."""

import re
from typing import NamedTuple

_BANNER = re.compile(rb"f\s*e\s*r\s*r\s*e\s+v\s*(\d+)\.(\d+)(?:\.(\d+))?", re.IGNORECASE)


class Version(NamedTuple):
    """A version of FERRE: 4.8.8, which the survey uses, or 5.1.1."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        if self == UNKNOWN:
            return "unknown"
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def wants_all_tied(self) -> bool:
        """Whether each dimension has to be free or tied: version 5 ends without a fit otherwise, with status 0.

        Version 4 doesn't want it, and takes it: so it is done for an unknown version, too.
        """
        return self.major >= 5 or self == UNKNOWN


UNKNOWN = Version(0, 0, 0)
"""A build that doesn't print its version."""


def version_in(printed: bytes) -> Version | None:
    """Find the version in what FERRE printed."""
    found = _BANNER.search(printed)
    return Version(int(found[1]), int(found[2]), int(found[3] or 0)) if found else None
