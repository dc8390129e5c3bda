"""Where ASPCAP's configuration and files are."""

from pathlib import Path

__all__ = ["CONFIGURATION_VARIABLE", "FOLDER", "NO_CONFIGURATION"]

CONFIGURATION_VARIABLE = "ASTRA_ASPCAP"
FOLDER = Path("var/aspcap")
NO_CONFIGURATION = (
    "ASPCAP needs a configuration, which names FERRE, its grids and masks: give configuration=..., or set "
    f"{CONFIGURATION_VARIABLE}; `astra sample --aspcap` makes a small one, and docs/aspcap.md says what belongs into it"
)
