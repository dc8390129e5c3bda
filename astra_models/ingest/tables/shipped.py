"""The mappings that come with the project, by their names: files in the package, also of one that is installed."""

import os
from importlib.resources import files

from astra_models.errors import did_you_mean

_PACKAGE = "astra_models.ingest.tables"
_ENDING = ".yaml"


def shipped_names() -> list[str]:
    """Give the names of the mappings that come with the project, sorted."""
    folder = files(_PACKAGE).joinpath("mappings")
    return sorted(item.name.removesuffix(_ENDING) for item in folder.iterdir() if item.name.endswith(_ENDING))


def shipped_text(name: str) -> str:
    """Give what is in the mapping of a name.

    Raises
    ------
    LookupError
        If there is none; the message has the nearest names.
    """
    if name not in (names := shipped_names()):
        raise LookupError(f"there is no mapping {name!r} with the project; {did_you_mean(name, names)}")
    return files(_PACKAGE).joinpath("mappings", f"{name}{_ENDING}").read_text(encoding="utf-8")


def is_name(given: str | os.PathLike[str]) -> bool:
    """Tell whether text is the name of a mapping, and not a path: it has no folder and no ending, and is no file."""
    if not isinstance(given, str) or os.path.exists(given):
        return False
    return os.path.basename(given) == given and not os.path.splitext(given)[1]
