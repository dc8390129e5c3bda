"""APOGEE spectra of one visit: apVisit files of SDSS-III to SDSS-V.

The velocity in such a file is a first guess, which may be far off (595.8 km/s where the star's own file has 7.16), and
so are the parameters of the template that it was found with: none of them is kept. What the file says of itself in
the table of HDU 11 counts before its primary header.
"""

from astra_models.apogee import ApogeeVisitSpectrum
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import Header
from astra_models.fits.star_file import FitsFile, Row
from astra_models.ingest.spectra import values as v
from astra_models.ingest.spectra.apogee_star import OTHER_RELEASE, REDUCTION_RELEASES
from astra_models.ingest.spectra.content import FileContent, From, Kind, Values, take
from astra_models.pixels.rows import parse_visit_name

TABLE_HDU = 11
N_CHIPS = 3
BITPIX = (-32, -32, 16, -64)
PREFIXES = {"lco25m": "as"}

COLUMNS = {
    "catalogid": From(v.identifier, ("CATALOGID",)),
    "obj": From(v.text, ("APOGEE_ID", "OBJID", "OBJ")),
    "date_obs": From(v.moment, ("DATEOBS", "DATE-OBS")),
    "jd": From(v.number, ("JD", "JD-MID")),
    "exptime": From(v.positive, ("EXPTIME",)),
    "n_frames": From(v.whole, ("NFRAMES", "NCOMBINE")),
    "assigned": From(v.whole, ("ASSIGNED",)),
    "on_target": From(v.whole, ("ON_TARGET",)),
    "valid": From(v.whole, ("VALID",)),
    "input_ra": From(v.number, ("RA",)),
    "input_dec": From(v.number, ("DEC",)),
    "snr": From(v.number, ("SNR",)),
    "spectrum_flags": From(v.flags, ("STARFLAG",)),
    "bc": From(v.number, ("BC",)),
}
KEY_COLUMNS = {
    "plate": From(v.text, ("PLATE",)),
    "mjd": From(v.whole, ("MJD", "MJD5")),
    "fiber": From(v.whole, ("FIBERID",)),
    "telescope": From(v.text, ("TELESCOPE", "TELESCOP")),
    "field": From(v.text, ("FIELD", "LOCATION_ID", "LOCID")),
    "apred": From(v.text, ("APRED_VERS", "APRED")),
}
SOURCE_COLUMNS = {
    "sdss_id": From(v.identifier, ("SDSS_ID",)),
    "sdss4_apogee_id": From(v.text, ("APOGEE_ID", "OBJID", "OBJ")),
    "catalogid": From(v.identifier, ("CATALOGID",)),
    "healpix": From(v.whole, ("HEALPIX",)),
    "ra": From(v.number, ("RA",)),
    "dec": From(v.number, ("DEC",)),
    "l": From(v.number, ("GLON",)),
    "b": From(v.number, ("GLAT",)),
}


def is_ap_visit(file: FitsFile) -> bool:
    """Tell whether there are flux, error, mask and wavelength of three chips, each of its type."""
    images = file.hdus[1:5]
    return (
        len(images) == len(BITPIX)
        and all(_is_image(hdu) for hdu in images)
        and tuple(hdu.header.get("BITPIX") for hdu in images) == BITPIX
    )


def read_ap_visit(file: FitsFile) -> FileContent:
    """Read what an apVisit file says of its visit and source.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    for number in range(1, 5):
        file.require_data(number, "pixels")
    has_table = len(file.hdus) > TABLE_HDU and file.hdus[TABLE_HDU].n_rows == 1
    places: list[Row | Header] = [file.row(TABLE_HDU), file.primary] if has_table else [file.primary]
    row = take(COLUMNS, *places) | _key(file, places) | {"path": file.path}
    return FileContent(file.path, take(SOURCE_COLUMNS, *places), [(ApogeeVisitSpectrum, row)])


def _key(file: FitsFile, places: list[Row | Header]) -> Values:
    key = take(KEY_COLUMNS, *places)
    name = next((parse_visit_name(str(place.get("FILE") or "")) for place in places), None)
    if name is not None:
        key |= {"apred": key["apred"] or name.apred, "plate": key["plate"] or name.plate}
    key["apred"] = key["apred"] or v.text(file.primary.get("V_APRED"))
    missing = [column for column, value in key.items() if value is None]
    if missing:
        raise UnrecognizedFileError(
            f"it is an apVisit without usable {', '.join(missing)}: looked for PLATE, MJD5, FIBERID, TELESCOP, FIELD "
            "or LOCID and the reduction in the table of HDU 11 and the primary header"
        )
    is_sdss5 = str(file.primary.get("SURVEY", "")).strip() == "SDSS-V" or any("SDSS_ID" in place for place in places)
    return key | {
        "release": "sdss5" if is_sdss5 else REDUCTION_RELEASES.get(str(key["apred"]), OTHER_RELEASE),
        "filetype": "apVisit",
        "prefix": name.prefix if name is not None else PREFIXES.get(str(key["telescope"]), "ap"),
        "reduction": name.reduction if name is not None else "",
    }


def _is_image(hdu: Hdu) -> bool:
    return not hdu.is_table and len(hdu.shape) == 2 and hdu.shape[0] == N_CHIPS


AP_VISIT = Kind(
    "an apVisit (flux, error, integer mask and wavelength of three chips in HDUs 1 to 4)", is_ap_visit, read_ap_visit
)
