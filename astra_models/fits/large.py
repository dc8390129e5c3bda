"""What another library is about to allocate for an HDU, by its header: looked at before it is let to."""

import math
import re
from collections.abc import Sequence

from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import CARD, FETCH_AGAIN
from astra_models.fits.star_file import FitsFile, require_width

_STRUCTURE = re.compile(r"BITPIX|Z?NAXIS\d*|ZTILE\d+|ZBITPIX|PCOUNT|GCOUNT|TFIELDS|THEAP|TFORM\d+|TDIM\d+")


def require_readable(path: str, exts: Sequence[int | str], largest: int) -> None:
    """Check the HDUs that astropy is to read: they are there as a whole, and aren't larger than they may be.

    Parameters
    ----------
    path : str
        The file, gzipped or not.
    exts : sequence of int or str
        Numbers or names of the HDUs. One that isn't there is left to astropy to tell of.
    largest : int
        How many bytes the file, and an image that is compressed in it, may have.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnrecognizedFileError
        If one is truncated, too large, or not FITS.
    """
    numbers = [ext for ext in exts if isinstance(ext, int)]
    n_hdus = max(numbers) + 1 if len(numbers) == len(exts) else door.MOST_HDUS
    file = FitsFile(path, n_hdus, largest)
    names = {str(ext).upper() for ext in exts}
    for hdu in file.hdus:
        _require_one_structure(hdu)
        if hdu.number in numbers or hdu.header.text("EXTNAME").upper() in names:
            file.require_data(hdu.number, "pixels")
            require_width(hdu)
            _require_image(hdu, largest)


def _require_one_structure(hdu: Hdu) -> None:
    """Check that no card that says how large something is has another one beside it, which astropy might believe."""
    found: set[str] = set()
    text = hdu.header.content.decode("latin-1")
    for at in range(0, len(text), CARD):
        keyword = text[at : at + 8].strip().upper()
        if keyword == "HIERARCH":
            keyword = text[at + 9 : at + CARD].partition("=")[0].strip().upper()
        if _STRUCTURE.fullmatch(keyword):
            if keyword in found or keyword not in hdu.header:
                raise UnrecognizedFileError(
                    f"the header of HDU {hdu.number} has {keyword} twice, or not in capitals; it is "
                    f"damaged, {FETCH_AGAIN}"
                )
            found.add(keyword)


def _require_image(hdu: Hdu, largest: int) -> None:
    """Check the image that is compressed in a table, and its tiles."""
    if not hdu.is_table or "ZIMAGE" not in hdu.header:
        return
    n_axes = hdu.header.count("ZNAXIS", 0)
    if n_axes > door.MOST_AXES:
        raise UnrecognizedFileError(
            f"the image that is compressed in HDU {hdu.number} has {n_axes} axes (ZNAXIS), and {door.MOST_AXES} are "
            f"the most that are read; it is damaged, {FETCH_AGAIN}"
        )
    most = door.most_unpacked(hdu.size, largest)
    for keyword in ("ZNAXIS", "ZTILE"):
        lengths = [hdu.header.count(f"{keyword}{i}", 1) for i in range(1, n_axes + 1)]
        size = math.prod(lengths) * 8
        if size > most:
            shown = " x ".join(map(str, lengths))
            raise UnrecognizedFileError(
                f"the image that is compressed in HDU {hdu.number} is of {shown} ({keyword}), and {hdu.size} bytes can "
                f"hold {most} bytes of it at most; it is damaged, {FETCH_AGAIN}"
            )
