"""Where ASPCAP's configuration is, without what reads it and uses it: that takes a while to import."""

from pathlib import Path

from astra_models.errors import NotSetUpError

__all__ = ["CONFIGURATION_VARIABLE", "FOLDER", "NO_CONFIGURATION", "files_named", "usable"]

CONFIGURATION_VARIABLE = "ASTRA_ASPCAP"
FOLDER = Path("var/aspcap")
NO_CONFIGURATION = (
    "ASPCAP needs a configuration, which names FERRE, its grids and masks: give configuration=..., or set "
    f"{CONFIGURATION_VARIABLE}; `astra sample --aspcap` makes a small one, and docs/aspcap.md says what belongs into it"
)


def usable(value: object) -> object:
    """See that a configuration can be used: see `astra_orchestration.pipelines.aspcap.workshop.resolve_configuration`.

    Raises
    ------
    NotSetUpError
        If there is none.
    """
    if value is None:
        raise NotSetUpError(NO_CONFIGURATION)
    from .workshop import resolve_configuration

    return resolve_configuration(value)


def files_named(path: Path) -> list[Path]:
    """List the files that a configuration names: see `astra_orchestration.pipelines.aspcap.configuration.files_of`."""
    from .configuration import files_of

    return files_of(path)
