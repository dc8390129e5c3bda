"""Co-added spectra that Astra made: mwmStar files.

Such a file has four tables, BOSS and APOGEE from either observatory, of at most one row each. The BOSS ones
become rows; there is no model of the APOGEE ones yet, so that they are reported.
"""

from astra_models.errors import UnrecognizedFileError
from astra_models.fields import BitField, FloatField
from astra_models.ingest import values as v
from astra_models.ingest.content import FileContent, From, Kind, Values, take
from astra_models.ingest.fits_file import FitsFile, Row
from astra_models.mwm import BossCombinedSpectrum
from astra_models.version import version_string_to_integer

TELESCOPES = {1: "apo25m", 2: "lco25m"}
APOGEE_HDUS = {3: "APOGEE/APO", 4: "APOGEE/LCO"}

COUNTS = ("healpix", "min_mjd", "max_mjd", "n_visits", "n_good_visits", "n_good_rvs")

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
    if len(file.hdus) < 5 or not {"SDSS_ID", "V_ASTRA"} <= set(file.primary):
        return False
    tables = file.hdus[1:5]
    # An mwmVisit file has the same tables, with one row and one MJD per visit.
    return all({"FLUX", "MIN_MJD"} <= set(hdu.columns) and "MJD" not in hdu.columns for hdu in tables)


def read_mwm_star(file: FitsFile) -> FileContent:
    """Read what an mwmStar file says of its co-adds and source.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    source = take(SOURCE_COLUMNS, file.primary)
    if source["sdss_id"] is None:
        raise UnrecognizedFileError(
            "it is an mwmStar without identifier: looked for a positive SDSS_ID in the primary header, "
            f"found {file.primary['SDSS_ID']!r}"
        )
    spectra = [
        (BossCombinedSpectrum, _co_add(file, number, source["sdss_id"]))
        for number in TELESCOPES
        if file.hdus[number].n_rows
    ]
    notes = [
        f"its {name} spectrum (HDU {number}) was passed over: there is no table for it yet"
        for number, name in APOGEE_HDUS.items()
        if file.hdus[number].n_rows
    ]
    return FileContent(file.path, source, spectra, notes)


def _co_add(file: FitsFile, number: int, sdss_id: int) -> Values:
    hdu = file.hdus[number]
    if hdu.n_rows > 1:
        raise UnrecognizedFileError(f"HDU {number} of an mwmStar has {hdu.n_rows} rows; it can have one")
    if not hdu.is_complete:
        raise UnrecognizedFileError(f"the file is truncated in the table of HDU {number}; fetch it again")
    row = file.row(number)
    numeric = {name: From(v.number, (name,)) for name in _columns_of_type(FloatField)}
    whole = {name: From(v.whole, (name,)) for name in COUNTS}
    bits = {name: From(v.flags, (name,)) for name in _columns_of_type(BitField)}
    key = {
        "release": v.text(row.get("release")) or "sdss5",
        "filetype": v.text(row.get("filetype")) or "mwmStar",
        "v_astra": _version(file, row),
        "sdss_id": sdss_id,
        "run2d": v.text(row.get("run2d")) or "",
        "telescope": TELESCOPES[number],
        "path": file.path,
    }
    return take(numeric | whole | bits, row) | key


def _columns_of_type(kind: type) -> list[str]:
    return [field.name for field in BossCombinedSpectrum._meta.sorted_fields if isinstance(field, kind)]


def _version(file: FitsFile, row: Row) -> int:
    """Give the version as an integer; it is text in some files and an integer in others."""
    for value in (row.get("v_astra"), file.primary.get("V_ASTRA")):
        as_integer = v.identifier(value)
        if as_integer is not None:
            return as_integer
        as_text = v.text(value)
        if as_text is not None:
            return version_string_to_integer(as_text)
    raise UnrecognizedFileError("it is an mwmStar without version: V_ASTRA is empty")


MWM_STAR = Kind(
    "an mwmStar (SDSS_ID and V_ASTRA in the primary header; HDUs 1 to 4 tables with flux and min_mjd)",
    is_mwm_star,
    read_mwm_star,
)
