"""The kinds of files of spectra: ours, and those of other packages by the entry points ``astra.spectrum_files``.

A kind of another package is asked after all of ours, so that it can't take files that these read. An entry point that
is broken is said once in the log, and with each file of no known kind; other packages aren't affected.
"""

import logging
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from astra_models.ingest.spectra.apogee_star import AP_STAR
from astra_models.ingest.spectra.apogee_visit import AP_VISIT
from astra_models.ingest.spectra.aspcap_star import ASPCAP_STAR
from astra_models.ingest.spectra.boss import TEMPLATE, VISIT
from astra_models.ingest.spectra.content import Kind
from astra_models.ingest.spectra.mwm import MWM_STAR, MWM_VISIT
from astra_models.messages import said
from astra_models.spectrum import SpectrumMixin

GROUP = "astra.spectrum_files"
OURS = (MWM_STAR, MWM_VISIT, AP_STAR, ASPCAP_STAR, AP_VISIT, VISIT, TEMPLATE)

logger = logging.getLogger(__name__)


class OtherKinds(NamedTuple):
    """Kinds of files of other packages, in the order in which they are asked, and what is wrong with entry points."""

    kinds: tuple[Kind, ...]
    problems: tuple[str, ...] = ()

    @property
    def more_models(self) -> tuple[type[SpectrumMixin], ...]:
        """Tables of spectra that other packages have files for."""
        return tuple(dict.fromkeys(model for kind in self.kinds for model in kind.models))


@lru_cache(maxsize=1)
def other_kinds() -> OtherKinds:
    """Give the kinds of files that other packages have, each package imported once.

    Call ``other_kinds.cache_clear()`` after a package was installed in a process that runs.
    """
    kinds: list[Kind] = []
    problems: list[str] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        found = _load(entry)
        if isinstance(found, Kind):
            kinds.append(found)
        else:
            problems.append(found)
            logger.warning("%s", found)
    return OtherKinds(tuple(kinds), tuple(problems))


def _load(entry: EntryPoint) -> Kind | str:
    package = "" if entry.dist is None else f" of the package {entry.dist.name!r}"
    where = f"the kind of file {entry.name!r}{package}, {entry.value}"
    try:
        kind = entry.load()
    except (Exception, SystemExit) as error:  # one package never stops another
        return f"{where}, can't be imported: {said(error)}; mend or uninstall that package"
    if not isinstance(kind, Kind):
        return f"{where}, is {type(kind).__name__} and not an astra_models.ingest.spectra.content.Kind"
    return kind
