"""APOGEE spectra of stars: apStar files of SDSS-III to SDSS-V, of a co-add and the visits that are in it.

The mean barycentric velocity has had three names: VHELIO, then VHBARY, then VRAD. In the earliest files VRAD
is another thing (the shift of the co-add, 0), so it counts only where neither of the others is. The
reduction of files that don't name it (APRED) is that in the names of their visits, ``apVisit-r6-...``.
"""

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrumInApStar
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import Header
from astra_models.fits.star_file import FitsFile
from astra_models.ingest.spectra import values as v
from astra_models.ingest.spectra.content import FileContent, From, Kind, Values, take
from astra_models.pixels.rows import VisitName, parse_visit_name

Visits = list[tuple[int, VisitName]]

N_PIXELS = 8575

REDUCTION_RELEASES = {
    "r3": "dr10",
    "r4": "dr11",
    "r5": "dr12",
    "r6": "dr13",
    "r8": "dr14",
    "r12": "dr16",
    "dr17": "dr17",
}
OTHER_RELEASE = "sdss4"

COLUMNS = {
    "starver": From(v.whole, ("STARVER",)),
    "n_visits": From(v.whole, ("NVISITS",)),
    "snr": From(v.number, ("SNR",)),
    "mean_fiber": From(v.number, ("MEANFIB",)),
    "std_fiber": From(v.number, ("SIGFIB",)),
    "spectrum_flags": From(v.flags, ("STARFLAG",)),
    "v_rad": From(v.number, ("VHBARY", "VHELIO", "VRAD")),
    "e_v_rad": From(v.positive, ("VERR",)),
    "std_v_rad": From(v.number, ("VSCATTER",)),
    "median_e_v_rad": From(v.positive, ("VERR_MED",)),
    "doppler_teff": From(v.positive, ("RV_TEFF",)),
    "doppler_logg": From(v.number, ("RV_LOGG",)),
    "doppler_fe_h": From(v.number, ("RV_FEH",)),
    "doppler_rchi2": From(v.positive, ("RV_CHI2",)),
    "ccfwhm": From(v.positive, ("CCFWHM", "CCPFWHM")),
    "autofwhm": From(v.positive, ("AUTOFWHM",)),
    "n_components": From(v.whole, ("N_COMP",)),
}

SOURCE_COLUMNS = {
    "sdss_id": From(v.identifier, ("SDSS_ID",)),
    "sdss4_apogee_id": From(v.text, ("OBJID", "OBJ")),
    "catalogid": From(v.identifier, ("CATID", "CATALOGID")),
    "healpix": From(v.whole, ("HEALPIX",)),
    "ra": From(v.number, ("RA",)),
    "dec": From(v.number, ("DEC",)),
    "l": From(v.number, ("GLON",)),
    "b": From(v.number, ("GLAT",)),
}


def is_ap_star(file: FitsFile) -> bool:
    """Tell whether there are flux, error and mask of 8575 pixels, of a star with so many visits."""
    images = file.hdus[1:4]
    if "NVISITS" not in file.primary or len(images) < 3 or not all(_is_image(hdu) for hdu in images):
        return False
    # In an aspcapStar file, otherwise alike, the third image is a model and no mask.
    return int(images[2].header.get("BITPIX", 0)) > 0


def read_ap_star(file: FitsFile) -> FileContent:
    """Read what an apStar file says of its co-add and source.

    Raises
    ------
    UnrecognizedFileError
        If the file is truncated, or doesn't identify what was observed.
    """
    for number in (1, 2, 3):
        file.require_data(number, "pixels")
    header = file.primary
    n_visits = _n_visits(header)
    visits = _visits(header, n_visits)
    apred = v.text(header.get("APRED")) or next((visit.apred for _, visit in visits), None)
    obj = v.text(header.get("OBJID")) or v.text(header.get("OBJ"))
    if apred is None or obj is None:
        raise UnrecognizedFileError(
            "it is an apStar without identifier: looked for OBJID, and for the reduction in APRED or in the "
            f"names of visits SFILE1...; found OBJID {obj!r}, reduction {apred!r}"
        )
    key = _key(header, apred, obj, visits) | {"path": file.path, "healpix": v.whole(header.get("HEALPIX"))}
    row = take(COLUMNS, header) | key | _mjds(header, visits, n_visits)
    spectra = [(ApogeeCoaddedSpectrumInApStar, row)]
    spectra += [(ApogeeVisitSpectrumInApStar, key | _visit(header, number, visit)) for number, visit in visits]
    return FileContent(file.path, take(SOURCE_COLUMNS, header), spectra)


def _visit(header: Header, number: int, visit: VisitName) -> Values:
    fiber = visit.fiber if visit.fiber is not None else v.whole(header.get(f"FIBER{number}"))
    return {"plate": visit.plate, "mjd": visit.mjd, "fiber": fiber or 0, "reduction": visit.reduction}


def _key(header: Header, apred: str, obj: str, visits: Visits) -> Values:
    prefix = visits[0][1].prefix if visits else ""
    is_sdss5 = "HEALPIX" in header or "SDSS_ID" in header or header.get("SURVEY") == "SDSS-V"
    by_prefix = {"ap": "apo25m", "as": "lco25m"}
    return {
        "release": "sdss5" if is_sdss5 else REDUCTION_RELEASES.get(apred, OTHER_RELEASE),
        "filetype": "apStar",
        "apred": apred,
        "apstar": "stars",
        "obj": obj,
        "telescope": v.text(header.get("TELESCOP")) or by_prefix.get(prefix, ""),
        "field": "" if is_sdss5 else v.text(header.get("FIELD")) or "",
        "prefix": "" if is_sdss5 else prefix,
    }


def _mjds(header: Header, visits: Visits, n_visits: int) -> Values:
    mjds = [visit.mjd for _, visit in visits]
    if not mjds:
        dates = (v.number(header.get(f"JD{i}")) for i in range(1, 1 + n_visits))
        mjds = [int(date - 2_400_000.5) for date in dates if date is not None]
    return {"min_mjd": min(mjds, default=None), "max_mjd": max(mjds, default=None)}


def _n_visits(header: Header) -> int:
    n_visits = v.whole(header.get("NVISITS")) or 0
    if n_visits > len(header):  # each has cards of its own
        raise UnrecognizedFileError(
            f"NVISITS is {n_visits}, and the header has {len(header)} cards; it is damaged, fetch it again"
        )
    return n_visits


def _visits(header: Header, n_visits: int) -> Visits:
    """Give numbers and names of the visits that are in the co-add."""
    numbers = range(1, 1 + n_visits)
    names = ((number, parse_visit_name(str(header.get(f"SFILE{number}", "")))) for number in numbers)
    return [(number, name) for number, name in names if name is not None]


def _is_image(hdu: Hdu) -> bool:
    # A star with one visit has its only spectrum without the axis of the visits.
    return not hdu.is_table and len(hdu.shape) in (1, 2) and hdu.shape[-1] == N_PIXELS


AP_STAR = Kind(
    "an apStar (NVISITS in the primary header; flux, error and integer mask of 8575 pixels in HDUs 1 to 3)",
    is_ap_star,
    read_ap_star,
)
