"""Spectra that Astra made: co-adds in mwmStar files, visits at rest in mwmVisit files.

Such a file has four tables, BOSS and APOGEE from either observatory: of at most one row each in an mwmStar, of one per
visit in an mwmVisit. Columns have the names of ours. The ``spectrum_pk`` of a file (``spectrum_pk_id`` up to Astra 0.6)
is a key of the survey's database, and means nothing in another.
"""

from collections.abc import Mapping
from functools import cache

from astra_models import fields
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.star_file import FitsFile, Row
from astra_models.ingest.spectra import values as v
from astra_models.ingest.spectra.content import FileContent, From, Kind, Values, take
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.spectrum import SpectrumMixin
from astra_models.version import version_string_to_integer

TELESCOPES = {1: "apo25m", 2: "lco25m", 3: "apo25m", 4: "lco25m"}
STARS = {1: BossCombinedSpectrum, 2: BossCombinedSpectrum, 3: ApogeeCombinedSpectrum, 4: ApogeeCombinedSpectrum}
VISITS = {
    1: BossRestFrameVisitSpectrum,
    2: BossRestFrameVisitSpectrum,
    3: ApogeeRestFrameVisitSpectrum,
    4: ApogeeRestFrameVisitSpectrum,
}
APOGEE_APO = 3
NOT_OF_FILES = {
    "pk",
    "spectrum_pk",
    "source_pk",
    "drp_spectrum_pk",
    "path",
    "created",
    "modified",
    "v_astra",
    "sdss_id",
}
CONVERTERS = {  # the first that fits
    fields.BitField: v.flags,
    fields.BigIntegerField: v.whole,
    fields.IntegerField: v.whole,
    fields.DoubleField: v.number,
    fields.FloatArrayField: v.finite_numbers,
    fields.BooleanField: v.boolean,
    fields.DateTimeField: v.moment,
    fields.TextField: v.text,
}

SOURCE_COLUMNS = {
    "sdss_id": From(v.identifier, ("SDSS_ID",)),
    "sdss4_apogee_id": From(v.text, ("APOGEEID",)),
    "gaia_dr2_source_id": From(v.identifier, ("GAIA2_ID",)),
    "gaia_dr3_source_id": From(v.identifier, ("GAIA3_ID",)),
    "tic_v8_id": From(v.identifier, ("TIC_ID",)),
    "healpix": From(v.whole, ("HEALPIX",)),
    "lead": From(v.text, ("LEAD",)),
    "version_id": From(v.identifier, ("VER_ID",)),
    "catalogid": From(v.identifier, ("CAT_ID",)),
    "catalogid21": From(v.identifier, ("CAT_ID21",)),
    "catalogid25": From(v.identifier, ("CAT_ID25",)),
    "catalogid31": From(v.identifier, ("CAT_ID31",)),
    "n_associated": From(v.whole, ("N_ASSOC",)),
    "n_neighborhood": From(v.whole, ("N_NEIGH",)),
    "ra": From(v.number, ("RA",)),
    "dec": From(v.number, ("DEC",)),
    "l": From(v.number, ("L",)),
    "b": From(v.number, ("B",)),
    "plx": From(v.number, ("PLX",)),
    "e_plx": From(v.positive, ("E_PLX",)),
    "pmra": From(v.number, ("PMRA",)),
    "e_pmra": From(v.positive, ("E_PMRA",)),
    "pmde": From(v.number, ("PMDE",)),
    "e_pmde": From(v.positive, ("E_PMDE",)),
    "gaia_v_rad": From(v.number, ("V_RAD",)),
    "gaia_e_v_rad": From(v.positive, ("E_V_RAD",)),
    "g_mag": From(v.magnitude, ("G_MAG",)),
    "bp_mag": From(v.magnitude, ("BP_MAG",)),
    "rp_mag": From(v.magnitude, ("RP_MAG",)),
}


def is_mwm_star(file: FitsFile) -> bool:
    """Tell whether there are four tables of co-adds after a header that names source and version."""
    return _has_tables(file, "MIN_MJD") and not _has_tables(file, "MJD")


def is_mwm_visit(file: FitsFile) -> bool:
    """Tell whether there are four tables of visits after a header that names source and version."""
    return _has_tables(file, "MJD")


def _has_tables(file: FitsFile, column: str) -> bool:
    if len(file.hdus) < 5 or not {"SDSS_ID", "V_ASTRA"} <= set(file.primary):
        return False
    names = [set(hdu.columns) for hdu in file.hdus[1:5]]
    return all({"FLUX", column} <= columns for columns in names)


def read_mwm_star(file: FitsFile) -> FileContent:
    """Read what an mwmStar file says of its co-adds and source.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    for number in STARS:
        if file.hdus[number].n_rows > 1:
            n_rows = file.hdus[number].n_rows
            raise UnrecognizedFileError(f"HDU {number} of an mwmStar has {n_rows} rows; it can have one")
    return _read(file, STARS, "mwmStar")


def read_mwm_visit(file: FitsFile) -> FileContent:
    """Read what an mwmVisit file says of its visits and source.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    return _read(file, VISITS, "mwmVisit")


def _read(file: FitsFile, models: Mapping[int, type[SpectrumMixin]], filetype: str) -> FileContent:
    source = take(SOURCE_COLUMNS, file.primary)
    if source["sdss_id"] is None:
        raise UnrecognizedFileError(
            f"it is an {filetype} without identifier: looked for a positive SDSS_ID in the primary header, "
            f"found {file.primary['SDSS_ID']!r}"
        )
    spectra = []
    for number, model in models.items():
        file.require_data(number, "table")
        common = {
            "sdss_id": source["sdss_id"],
            "path": file.path,
            "telescope": TELESCOPES[number],
            "filetype": filetype,
        }
        spectra += [(model, _spectrum(file, model, row, common, number)) for row in file.rows(number)]
    return FileContent(file.path, source, spectra)


def _spectrum(file: FitsFile, model: type[SpectrumMixin], row: Row, common: Values, number: int) -> Values:
    """Give what a row says, its key complete: text that is missing from it is empty, as in the table."""
    values = take(_columns(model), row)
    telescope = values.get("telescope") if number == APOGEE_APO else None  # the 1-m telescope shares the table
    values |= common | {"v_astra": _version(file, row), "telescope": telescope or common["telescope"]}
    values["release"] = values["release"] or "sdss5"
    for name in (*model.natural_key, "obj"):
        column = model._meta.fields.get(name)
        if isinstance(column, fields.TextField) and not column.null:
            values[name] = values[name] or ""
    missing = [name for name in model.natural_key if values[name] is None]
    if missing:
        raise UnrecognizedFileError(f"a row of HDU {number} has no usable {', '.join(missing)}")
    return values


@cache
def _columns(model: type[SpectrumMixin]) -> dict[str, From]:
    """Give where each column of a model is found in a table: under its own name."""
    columns = {}
    for field in model._meta.sorted_fields:
        if field.name not in NOT_OF_FILES:
            convert = next(convert for kind, convert in CONVERTERS.items() if isinstance(field, kind))
            columns[field.name] = From(convert, (field.name,))
    return columns


def _version(file: FitsFile, row: Row) -> int:
    """Give the version as an integer; it is text in some files and an integer in others."""
    for value in (row.get("v_astra"), file.primary.get("V_ASTRA")):
        as_integer = v.identifier(value)
        if as_integer is not None:
            return as_integer
        as_text = v.text(value)
        if as_text is not None:
            return version_string_to_integer(as_text)
    raise UnrecognizedFileError("it has no version: V_ASTRA is empty")


MWM_STAR = Kind(
    "an mwmStar (SDSS_ID and V_ASTRA in the primary header; HDUs 1 to 4 tables with flux and min_mjd)",
    is_mwm_star,
    read_mwm_star,
)
MWM_VISIT = Kind(
    "an mwmVisit (the same, with flux and mjd)",
    is_mwm_visit,
    read_mwm_visit,
)
