"""Which row of which HDU is a spectrum's, by the identifiers of both."""

import re
from typing import NamedTuple, Protocol

import numpy as np

from astra_models.errors import MissingPixelsError
from astra_models.fits.door import MOST_VISITS
from astra_models.pixels.arrays import Hdu, PixelsMixin

BOSS_HDUS = {"apo25m": 1, "lco25m": 2}
APOGEE_HDUS = {"apo25m": 3, "apo1m": 3, "lco25m": 4}

_VISIT = re.compile(r"(ap|as)Visit-([^-]+)-(?:(?:apo|lco)\w+-)?(.+)-(\d{5})-(\d+)\.")
_VISIT_1M = re.compile(r"(ap|as)Visit-([^-]+)-(\d{5})-(.+)\.fits")


class OfTelescope(Protocol):
    """A spectrum in an mwmStar or mwmVisit file."""

    spectrum_pk: int | None
    telescope: str
    filetype: str


class VisitInApStar(Protocol):
    """A visit in an apStar file."""

    spectrum_pk: int | None
    absolute_path: str
    plate: str
    mjd: int
    fiber: int
    reduction: str


class VisitName(NamedTuple):
    """What the name of an apVisit file says. Files of the 1-m telescope have a name in place of plate and fiber."""

    prefix: str
    apred: str
    plate: str
    mjd: int
    fiber: int | None
    reduction: str


def parse_visit_name(name: str) -> VisitName | None:
    """Parse the name of an apVisit file, of any survey; None for any other name."""
    if found := _VISIT.search(name):
        prefix, apred, plate, mjd, fiber = found.groups()
        return VisitName(prefix, apred, plate, int(mjd), int(fiber), "")
    if found := _VISIT_1M.search(name):
        prefix, apred, mjd, reduction = found.groups()
        return VisitName(prefix, apred, "", int(mjd), None, reduction)
    return None


def boss_hdu(row: OfTelescope) -> int:
    """Give the HDU of an mwmStar or mwmVisit file that has BOSS spectra of the row's telescope."""
    return _hdu(row, "BOSS", BOSS_HDUS)


def apogee_hdu(row: OfTelescope) -> int:
    """Give the HDU of an mwmStar or mwmVisit file that has APOGEE spectra of the row's telescope."""
    return _hdu(row, "APOGEE", APOGEE_HDUS)


def _hdu(row: OfTelescope, instrument: str, hdus: dict[str, int]) -> int:
    try:
        return hdus[row.telescope]
    except KeyError as error:
        raise MissingPixelsError(
            f"{type(row).__name__} with spectrum_pk {row.spectrum_pk} has telescope {row.telescope!r}, but an "
            f"{row.filetype} file has {instrument} spectra of {' and '.join(hdus)} only"
        ) from error


def visit_in_apstar(hdu: Hdu, row: VisitInApStar) -> int:
    """Give the row of an apStar image that is a visit's, by the names of visits in the primary header."""
    given = hdu.card("NVISITS")
    n_visits = given if isinstance(given, int) and 0 <= given <= MOST_VISITS else 0
    names = [str(hdu.card(f"SFILE{i}") or "") for i in range(1, n_visits + 1)]
    matches = [i for i, name in enumerate(names) if _is_visit(name, row)]
    if not matches:
        raise MissingPixelsError(
            f"{type(row).__name__} with spectrum_pk {row.spectrum_pk}: {row.absolute_path!r} has no visit of plate "
            f"{row.plate}, MJD {row.mjd}, fiber {row.fiber}; it has {', '.join(names) or 'no names of visits'}"
        )
    if hdu.n_rows == 1:
        return 0
    if hdu.n_rows != n_visits + 2:
        raise MissingPixelsError(
            f"{row.absolute_path!r} has {hdu.n_rows} rows for {n_visits} visits; looked for two co-adds and a row "
            "per visit"
        )
    return matches[0] + 2


def _is_visit(name: str, row: VisitInApStar) -> bool:
    visit = parse_visit_name(name)
    if visit is None or visit.mjd != row.mjd:
        return False
    if visit.fiber is None:
        return visit.reduction == row.reduction
    return visit.fiber == row.fiber and visit.plate.lstrip("0") == str(row.plate).lstrip("0")


def row_of_boss_visit(hdu: Hdu, row: PixelsMixin) -> int:
    """Give the row of an mwmVisit table that is a BOSS visit's."""
    return _row_with(hdu, row, ("mjd", "fieldid", "catalogid", "run2d"))


def row_of_apogee_visit(hdu: Hdu, row: PixelsMixin) -> int:
    """Give the row of an mwmVisit table that is an APOGEE visit's."""
    return _row_with(hdu, row, ("mjd", "fiber", "plate", "field", "apred", "telescope", "reduction"))


def _row_with(hdu: Hdu, row: PixelsMixin, names: tuple[str, ...]) -> int:
    if hdu.n_rows > MOST_VISITS:
        raise MissingPixelsError(
            f"{row.absolute_path!r} has a table of {hdu.n_rows} rows, and {MOST_VISITS} visits are the most that are "
            "read; it is damaged"
        )
    found = np.ones(hdu.n_rows, dtype=bool)
    for name in names:
        wanted, values = getattr(row, name), hdu.column(name.upper())
        if values is None or wanted is None:
            continue
        if values.dtype.kind in "SU":
            values = np.char.strip(np.char.decode(values, "latin-1") if values.dtype.kind == "S" else values)
            wanted = str(wanted).strip()
        found &= np.reshape(values == wanted, hdu.n_rows)
    matches = np.flatnonzero(found)
    if len(matches) != 1:
        given = ", ".join(f"{name} {getattr(row, name)}" for name in names if getattr(row, name) is not None)
        raise MissingPixelsError(
            f"{type(row).__name__} with spectrum_pk {row.spectrum_pk}: of the {hdu.n_rows} rows of its table in "
            f"{row.absolute_path!r}, {len(matches)} have {given}"
        )
    return int(matches[0])
