"""HDUs of FITS files: a header, and where the data are that it describes."""

from functools import cached_property

from astra_models.fits.columns import FitsColumn, columns_of
from astra_models.fits.header import Header, padded


class Hdu:
    """An HDU, of which nothing but the header has been read.

    Parameters
    ----------
    header : Header
        Its header.
    start : int
        The first byte of the header in the file.

    Attributes
    ----------
    is_table : bool
        Whether it is a binary table.
    is_complete : bool
        Whether the file has all the data that the header describes.
    """

    def __init__(self, header: Header, start: int = 0):
        self.header = header
        self.start = start
        self.is_table = header.get("XTENSION") == "BINTABLE"
        self.is_complete = True

    @property
    def number(self) -> int:
        """The number of the HDU, from 0."""
        return self.header.number

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes in the order of NumPy; of a table, rows and bytes per row."""
        return self.header.shape

    @cached_property
    def n_rows(self) -> int:
        """Rows of a table, 0 for an image."""
        return self.header.count("NAXIS2", 0) if self.is_table else 0

    @cached_property
    def row_size(self) -> int:
        """Bytes of a table's row."""
        return self.header.count("NAXIS1", 0) if self.is_table else 0

    @cached_property
    def all_columns(self) -> tuple[FitsColumn, ...]:
        """Columns of a table, in their order; empty for an image."""
        return columns_of(self.header) if self.is_table else ()

    @cached_property
    def columns(self) -> dict[str, FitsColumn]:
        """Columns of a table by their name in upper case, the first of each; empty for an image."""
        columns: dict[str, FitsColumn] = {}
        for column in self.all_columns:
            columns.setdefault(column.name.upper(), column)
        return columns

    @property
    def data(self) -> int:
        """Where the data begin in the file."""
        return self.start + len(self.header.content)

    @cached_property
    def size(self) -> int:
        """Bytes of the data."""
        return self.header.data_size

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.data + padded(self.size)

    def describe(self) -> str:
        """Say in a few words what the HDU is, for messages."""
        name = self.header.text("EXTNAME")
        title = f"{name} " if name else ""
        if self.is_table:
            first = ", ".join(list(self.columns)[:4])
            return f"{title}table of {self.n_rows} rows ({first}{', ...' if len(self.columns) > 4 else ''})"
        if self.header.get("XTENSION") == "TABLE":
            return f"{title}ASCII table of {self.header.count('NAXIS2', 0)} rows"
        return f"{title}image of {' x '.join(map(str, self.shape))}" if self.shape else f"{title}header only"
