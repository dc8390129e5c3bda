"""Results of the survey's own ASPCAP: aspcapStar files of SDSS-III and SDSS-IV, one star's spectrum and parameters.

The results are of the co-add of an apStar file, and so is the row of its spectrum: it has the key that the apStar gives
it, whichever of the two files comes first. What an apStar says of the spectrum stays. The results are kept under the
version that the allStar of the same release has, 0.0.N for DR N, so that both update one row. Of a reduction whose
release isn't known, only the results are of the release that is given; the spectrum is of that which an apStar gives
it.
"""

import math
import re
from typing import NamedTuple

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.errors import UnknownReleaseError, UnrecognizedFileError
from astra_models.fits.star_file import FitsFile, Row
from astra_models.ingest.spectra import values as v
from astra_models.ingest.spectra.apogee_star import N_PIXELS, OTHER_RELEASE, REDUCTION_RELEASES
from astra_models.ingest.spectra.content import FileContent, From, Kind, Place, Values, take

TABLE = 4
"""The HDU of the results."""

SOURCE_COLUMNS = {
    "sdss4_apogee_id": From(v.text, ("APOGEE_ID", "OBJ", "OBJID")),
    "ra": From(v.number, ("RA",)),
    "dec": From(v.number, ("DEC",)),
    "l": From(v.number, ("GLON",)),
    "b": From(v.number, ("GLAT",)),
    "j_mag": From(v.magnitude, ("J",)),
    "h_mag": From(v.magnitude, ("H",)),
    "k_mag": From(v.magnitude, ("K",)),
    "ebv_sfd": From(v.number, ("SFD_EBV",)),
}

SPECTRUM_COLUMNS = {
    "n_visits": From(v.whole, ("NVISITS",)),
    "snr": From(v.number, ("SNR",)),
    "mean_fiber": From(v.number, ("MEANFIB",)),
    "std_fiber": From(v.number, ("SIGFIB",)),
    "spectrum_flags": From(v.flags, ("STARFLAG",)),
    "v_rad": From(v.number, ("VHELIO_AVG", "VHELIO")),
    "e_v_rad": From(v.positive, ("VERR",)),
    "std_v_rad": From(v.number, ("VSCATTER",)),
    "ccfwhm": From(v.positive, ("RV_CCFWHM",)),
    "autofwhm": From(v.positive, ("RV_AUTOFWHM",)),
}

NAMED = {
    "teff": From(v.number, ("TEFF",)),
    "e_teff": From(v.positive, ("TEFF_ERR",)),
    "logg": From(v.number, ("LOGG",)),
    "e_logg": From(v.positive, ("LOGG_ERR",)),
    "v_micro": From(v.number, ("VMICRO",)),
    "v_sini": From(v.number, ("VSINI",)),
    "m_h_atm": From(v.number, ("M_H",)),
    "e_m_h_atm": From(v.positive, ("M_H_ERR",)),
    "alpha_m_atm": From(v.number, ("ALPHA_M",)),
    "e_alpha_m_atm": From(v.positive, ("ALPHA_M_ERR",)),
    "fe_h": From(v.number, ("FE_H",)),
    "e_fe_h": From(v.positive, ("FE_H_ERR",)),
    "rchi2": From(v.positive, ("ASPCAP_CHI2", "PARAM_CHI2")),
}
"""Columns of later releases; those of earlier ones have the parameters as arrays alone."""

PLACES = {"teff": 0, "logg": 1, "v_micro": 2, "m_h_atm": 3, "c_m_atm": 4, "n_m_atm": 5, "alpha_m_atm": 6}
"""Where parameters are in PARAM (calibrated) and FPARAM (as measured); v_micro is log10 there."""

N_PARAMETERS = 9

OVER_IRON = ("c", "n", "o", "na", "mg", "al", "si", "p", "s", "k", "ca", "ti")
OVER_IRON += ("v", "cr", "mn", "co", "ni", "cu", "ce", "nd")

_AP_STAR = re.compile(r"(?:^|/)(?P<prefix>ap|as)Star-(?P<apred>[^-/]+)-")
_DATA_RELEASE = re.compile(r"dr1[0-7]")
"""From the first with APOGEE to the last of SDSS-IV."""
_ONE_METRE = 1
"""LOCATION_ID of stars that were observed with the 1-m telescope."""


class _ApStar(NamedTuple):
    """What the name of the apStar says, which the results are of: ``apStar-r6-2M...``."""

    prefix: str
    apred: str


def is_aspcap_star(file: FitsFile) -> bool:
    """Tell whether there are flux, error and model of 8575 pixels, and a table with PARAM and FPARAM."""
    if len(file.hdus) <= TABLE or not {"PARAM", "FPARAM"} <= set(file.hdus[TABLE].columns):
        return False
    images = file.hdus[1:TABLE]
    return all(not hdu.is_table and tuple(hdu.shape) in {(N_PIXELS,), (1, N_PIXELS)} for hdu in images)


def read_aspcap_star(file: FitsFile, release: str | None = None) -> FileContent:
    """Read what an aspcapStar file says of its source, spectrum and results.

    Parameters
    ----------
    file : FitsFile
        The file.
    release : str, optional
        The data release, if the name of its apStar doesn't tell.

    Raises
    ------
    UnknownReleaseError
        If nobody says of which data release it is, or it is of another than `release`.
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    for number in (1, 2, 3):
        file.require_data(number, "pixels")
    file.require_data(TABLE, "table")
    row = file.row(TABLE)
    places: tuple[Place, ...] = (row, file.primary)
    source = take(SOURCE_COLUMNS, *places)
    obj, ap_star = source["sdss4_apogee_id"], _ap_star(row)
    if obj is None or ap_star is None:
        raise UnrecognizedFileError(
            "it is an aspcapStar without identifier: looked for APOGEE_ID in the table and OBJ in the header, and for "
            f"the name of its apStar, FILE; found {obj!r} and {row.get('FILE')!r}"
        )
    of = release_of(ap_star.apred, release)
    key: Values = {
        "release": REDUCTION_RELEASES.get(ap_star.apred, OTHER_RELEASE),
        "filetype": "apStar",
        "apred": ap_star.apred,
        "apstar": "stars",
        "obj": obj,
        "telescope": _telescope(row, file.primary, ap_star),
        "field": v.text(row.get("FIELD")) or v.text(file.primary.get("FIELD")) or "",
        "prefix": ap_star.prefix,
    }
    spectrum = key | take(SPECTRUM_COLUMNS, *places)
    result = _result(row) | {"v_astra": version_of(of), "pwd": file.path}
    given = {name: value for name, value in result.items() if value is not None}
    return FileContent(file.path, source, [(ApogeeCoaddedSpectrumInApStar, spectrum)], [(ASPCAP, given)])


def release_of(apred: str, given: str | None) -> str:
    """Give the data release of a reduction: the one that is known, else the one that is given.

    Raises
    ------
    UnknownReleaseError
        If there is none, it is no data release, or both differ.
    """
    known = REDUCTION_RELEASES.get(apred)
    if given is None and known is None:
        raise UnknownReleaseError(
            f"it is an aspcapStar of the reduction {apred!r}, and of which data release that is, isn't known (known: "
            f"{', '.join(REDUCTION_RELEASES)}); say it: `astra ingest --release dr14 FILE...`, or "
            "by the asset's setting `release`"
        )
    if known is not None and given is not None and known != given.lower():
        raise UnknownReleaseError(
            f"it is an aspcapStar of the reduction {apred!r}, which is that of {known}, and not of {given!r}; "
            f"leave out --release (or the asset's setting `release`), or give {known}"
        )
    release = known or str(given).lower()
    if not _DATA_RELEASE.fullmatch(release):
        raise UnknownReleaseError(
            f"{given!r} is no data release of SDSS-III or SDSS-IV with APOGEE; give one from dr10 to dr17"
        )
    return release


def version_of(release: str) -> int:
    """Give the version that results of a data release are kept under: N, which is 0.0.N, of drN."""
    return int(release[2:])


def _ap_star(row: Row) -> _ApStar | None:
    name = v.text(row.get("FILE"))
    found = None if name is None else _AP_STAR.search(name)
    return None if found is None else _ApStar(found["prefix"], found["apred"])


def _telescope(row: Row, header: Place, ap_star: _ApStar) -> str:
    said = v.text(row.get("TELESCOPE")) or v.text(header.get("TELESCOP"))
    if said is not None:
        return said
    location = v.whole(row.get("LOCATION_ID")) or v.whole(header.get("LOCID"))
    return "lco25m" if ap_star.prefix == "as" else "apo1m" if location == _ONE_METRE else "apo25m"


def _result(row: Row) -> Values:
    """Give the columns of `ASPCAP`, None where the file has no value."""
    values = take(NAMED, row)
    calibrated, measured = _numbers(row, "PARAM"), _numbers(row, "FPARAM")
    covariance, raw_covariance = _diagonal(row, "PARAM_COV"), _diagonal(row, "FPARAM_COV")
    for name, place in PLACES.items():
        is_log = name == "v_micro"
        number, raw = calibrated.get(place), measured.get(place)
        found: Values = {name: _linear(number) if is_log else number}
        found[f"raw_{name}"] = _linear(raw) if is_log else raw
        if not is_log:  # the variance there is that of a logarithm
            found[f"e_{name}"] = _error(covariance.get(place)) if number is not None else None
            found[f"raw_e_{name}"] = _error(raw_covariance.get(place)) if raw is not None else None
        values |= {column: value for column, value in found.items() if values.get(column) is None}
    return values | _abundances(row, v.number(row.get("FE_H")))


def _abundances(row: Row, fe_h: float | None) -> Values:
    """Give abundances over hydrogen of those over iron, as far as the file names them."""
    over_iron = {name: v.number(row.get(f"{name.upper()}_FE")) for name in OVER_IRON}
    return {f"{name}_h": number + fe_h for name, number in over_iron.items() if number is not None and fe_h is not None}


def _numbers(row: Row, name: str) -> dict[int, float]:
    """Give the elements of an array that aren't missing, by their place."""
    given = row.get(name)
    elements = given if isinstance(given, list) else [given]
    found = {place: v.number(element) for place, element in enumerate(elements)}
    return {place: number for place, number in found.items() if number is not None and math.isfinite(number)}


def _diagonal(row: Row, name: str) -> dict[int, float]:
    elements = _numbers(row, name)
    return {place: elements[i] for place in range(N_PARAMETERS) if (i := place * (N_PARAMETERS + 1)) in elements}


def _error(variance: float | None) -> float | None:
    return math.sqrt(variance) if variance is not None and variance > 0 else None


def _linear(logarithm: float | None) -> float | None:
    return None if logarithm is None or abs(logarithm) > 30 else 10**logarithm


ASPCAP_STAR = Kind(
    "an aspcapStar (flux, error and model of 8575 pixels in HDUs 1 to 3; a table with PARAM and FPARAM in HDU 4)",
    is_aspcap_star,
    read_aspcap_star,
    takes_release=True,
)
