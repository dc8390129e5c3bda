"""Astra versions, as text and as the integer that ``v_astra`` holds.

0.8.1 is stored as 8001. Results are kept per ``major_minor``, the integer without its last three digits, so
that a patch release updates results in place and any other release adds new ones.
"""

import os
from importlib import metadata

from packaging.version import InvalidVersion, Version

from astra_models.errors import VersionError

DISTRIBUTION = "astra-orchestration"
ENVIRONMENT_VARIABLE = "ASTRA_VERSION"
LARGEST_PART = 999
LARGEST_MAJOR = 2147
LARGEST = LARGEST_MAJOR * 1_000_000 + 999_999


def version_string_to_integer(version: str) -> int:
    """Encode a version string as the integer stored in ``v_astra``.

    Parameters
    ----------
    version : str
        ``MAJOR.MINOR.PATCH``: 0 to 2147, and twice 0 to 999. A PEP 440 suffix (``rc1``, ``.dev3``, ``+local``) is
        ignored.

    Returns
    -------
    int
        ``MAJOR * 1_000_000 + MINOR * 1_000 + PATCH``: 0.8.1 becomes 8001. The column has room for all up to
        2147.483.647, the largest integer of 32 bits.

    Raises
    ------
    VersionError
        If `version` is not a PEP 440 version of at most three parts, or a part is too large.
    """
    try:
        parsed = Version(version)
    except (InvalidVersion, TypeError) as error:
        raise VersionError(
            f"{version!r} is not a version; write MAJOR.MINOR.PATCH, for example '0.8.1' or '0.8.1rc1'"
        ) from error
    if parsed.epoch or len(parsed.release) > 3:
        raise VersionError(f"{version!r} has more than MAJOR.MINOR.PATCH, which is all that v_astra can hold")
    if parsed.major > LARGEST_MAJOR:
        raise VersionError(f"{version!r} has a first part over {LARGEST_MAJOR}, which v_astra can't hold")
    if max(parsed.minor, parsed.micro) > LARGEST_PART:
        raise VersionError(f"{version!r} has a part over {LARGEST_PART}, which v_astra can't hold")
    return parsed.major * 1_000_000 + parsed.minor * 1_000 + parsed.micro


def version_integer_to_string(v_astra: int) -> str:
    """Decode ``v_astra``: 8001 becomes ``"0.8.1"``.

    Parameters
    ----------
    v_astra : int
        An encoded version, 0 to 2,147,999,999.

    Returns
    -------
    str
        ``MAJOR.MINOR.PATCH``.

    Raises
    ------
    VersionError
        If `v_astra` is negative, is that of a version over 2147.999.999, or isn't a whole number.
    """
    try:
        whole = int(v_astra)
    except (TypeError, ValueError, OverflowError) as error:
        raise VersionError(f"v_astra {v_astra!r} is not a whole number, such as 8001 for 0.8.1") from error
    if whole != v_astra or not 0 <= whole <= LARGEST:
        raise VersionError(f"v_astra {v_astra!r} is not an encoded version, 0 to {LARGEST} (8001 for 0.8.1)")
    return f"{whole // 1_000_000}.{whole // 1_000 % 1_000}.{whole % 1_000}"


def installed_version() -> str:
    """Give the version that new results are labelled with.

    Returns
    -------
    str
        ``ASTRA_VERSION`` from the environment if it is set, else the version of the installed distribution.
    """
    return os.environ.get(ENVIRONMENT_VARIABLE) or metadata.version(DISTRIBUTION)


_encoded: dict[str, int] = {}


def installed_v_astra() -> int:
    """Give the installed version as the integer that ``v_astra`` holds.

    Called once for every result made, so what has been looked up and encoded before is remembered.
    """
    # Asking first is much faster than a lookup that fails.
    override = os.environ[ENVIRONMENT_VARIABLE] if ENVIRONMENT_VARIABLE in os.environ else ""  # noqa: SIM401
    if override not in _encoded:
        _encoded[override] = version_string_to_integer(installed_version())
    return _encoded[override]


def as_v_astra(version: str | int | None) -> int:
    """Accept a version as text, as an integer, or not at all (the installed one).

    Raises
    ------
    VersionError
        If `version` is neither.
    """
    if version is None:
        return installed_v_astra()
    if isinstance(version, str):
        return version_string_to_integer(version)
    version_integer_to_string(version)
    return int(version)
