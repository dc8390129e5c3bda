"""Headers of FITS files: the cards of an HDU, whose values are parsed when they are asked for.

A header is read in blocks of 2880 bytes, up to the block with the card END; a card has 80 bytes::

    SIMPLE  =                    T / conforms to the FITS standard
    TCOMM7  = 'Text that is longer than a card is followed by &'
    CONTINUE  'the rest of it.'
    COMMENT Text without a value.
    END
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TypeVar, overload

from astra_models.errors import AstraError, UnrecognizedFileError
from astra_models.fits.door import MOST_AXES
from astra_models.messages import shown

BLOCK = 2880
CARD = 80
END = b"END".ljust(CARD)
LARGEST_HEADER = 500 * BLOCK
"""18,000 cards; a summary table of 500 columns has some 3,000."""

LARGEST_COUNT = 1 << 62
STARTS = (b"SIMPLE  =", b"XTENSION=")
BITS = (8, 16, 32, 64, -32, -64)

FETCH_AGAIN = "fetch it again"
"""What to do about a file that came from elsewhere and is damaged."""

CardValue = str | int | float | bool
Otherwise = TypeVar("Otherwise")

COMMENTARY = ("COMMENT", "HISTORY", "")
_TEXT = re.compile(r"\s*'((?:[^']|'')*)'?")
_CONTINUED = "\n"
_END = END.decode("ascii")


class NotPlainError(AstraError, ValueError):
    """A file, or an array of it, that the reader of plain arrays doesn't know how to read."""


class DamagedFileError(AstraError, ValueError):
    """A file whose header contradicts itself, of which another library might make something."""


class NotFitsError(UnrecognizedFileError):
    """A file that is no FITS file."""


class Header(Mapping[str, CardValue]):
    """The cards of an HDU: values by keyword, of which the first counts if there are several.

    Text has no blanks at its end; the parts of long text (CONTINUE) are put together. A value that is neither text
    nor a number is given as it is written.

    Parameters
    ----------
    content : bytes
        The blocks of the header.
    number : int, optional
        The number of the HDU, for messages.
    """

    def __init__(self, content: bytes, number: int = 0):
        self.content = content
        self.number = number
        self._cards = _split(content.decode("latin-1"))

    def __getitem__(self, name: str) -> CardValue:
        return _parse(self._cards[name])

    def __contains__(self, name: object) -> bool:
        return name in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    @overload
    def get(self, key: str, /) -> CardValue | None: ...
    @overload
    def get(self, key: str, /, default: CardValue) -> CardValue: ...
    @overload
    def get(self, key: str, /, default: Otherwise) -> CardValue | Otherwise: ...
    def get(self, key: str, /, default: object = None) -> object:
        """Give the value of a card, or `default`; of COMMENT and HISTORY, if there are any, a list of all texts."""
        card = self._cards.get(key)
        if card is not None:
            return _parse(card)
        return (self.texts(key) or default) if key in COMMENTARY else default

    def texts(self, name: str) -> list[str]:
        """Give the texts of all cards COMMENT or HISTORY."""
        text = self.content.decode("latin-1")
        start = f"{name:8}"
        return [text[i + 8 : i + CARD].rstrip() for i in range(0, len(text), CARD) if text.startswith(start, i)]

    def text(self, name: str) -> str:
        """Give a card's value as text without blanks around it; empty if there is none."""
        return str(self.get(name, "")).strip()

    def count(self, name: str, default: int | None = None) -> int:
        """Give the value of a card that counts something.

        Raises
        ------
        UnrecognizedFileError
            If it is no whole number, or negative, or isn't there and there is no `default`.
        """
        value = self.get(name, default)
        if type(value) is int and 0 <= value < LARGEST_COUNT:  # True is an int, too
            return value
        raise UnrecognizedFileError(
            f"the header of HDU {self.number} has {shown(value)} as {name}, where a count belongs; the file is damaged"
        )

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes in the order of NumPy, the slowest first."""
        n_axes = self.count("NAXIS")
        if n_axes > MOST_AXES:
            raise UnrecognizedFileError(
                f"the header of HDU {self.number} has {n_axes} as NAXIS, and {MOST_AXES} axes are the most that are "
                "read; the file is damaged"
            )
        return tuple([self.count(f"NAXIS{i}") for i in range(n_axes, 0, -1)])

    @property
    def bits(self) -> int:
        """Bits of an element of the data; negative if it is a float."""
        bits = self.get("BITPIX")
        if type(bits) is int and bits in BITS:
            return bits
        raise UnrecognizedFileError(
            f"the header of HDU {self.number} has the unknown BITPIX {shown(bits)}; the file is damaged"
        )

    @property
    def data_size(self) -> int:
        """Bytes of the data, without what pads their last block."""
        shape = self.shape
        if not shape:
            return 0
        elements = self.count("PCOUNT", 0) + math.prod(shape)
        return abs(self.bits) // 8 * self.count("GCOUNT", 1) * elements


def padded(size: int) -> int:
    """Give the size of whole blocks that hold so many bytes."""
    return -(-size // BLOCK) * BLOCK


def require_fits(block: bytes | bytearray) -> None:
    """Check the first block of a file.

    Raises
    ------
    NotFitsError
        If it is no FITS file.
    UnrecognizedFileError
        If it is empty.
    """
    if not block:
        raise UnrecognizedFileError("it is empty; fetch it again")
    if not block.startswith(STARTS[0]):
        raise NotFitsError("it is not a FITS file: it doesn't begin with SIMPLE")


def read_header(first: bytes | bytearray, read: Callable[[int], bytes | bytearray], number: int) -> Header:
    """Read a header, block by block.

    Parameters
    ----------
    first : bytes
        Its first block.
    read : callable
        Gives the next bytes of the file, as many as asked for.
    number : int
        The number of the HDU.

    Raises
    ------
    UnrecognizedFileError
        If there is no END.
    """
    content, block = bytearray(), first
    while True:
        content += block
        if len(block) < BLOCK or len(content) > LARGEST_HEADER:
            raise UnrecognizedFileError(
                f"it is truncated in the header of HDU {number}: no END in {len(content)} bytes; fetch it again"
            )
        if _has_end(block):
            return Header(bytes(content), number)
        block = read(BLOCK)


def _has_end(block: bytes | bytearray) -> bool:
    initials = block[::CARD]
    card = initials.find(b"E")
    while card >= 0:
        if block.startswith(END, card * CARD):
            return True
        card = initials.find(b"E", card + 1)
    return False


def _split(text: str) -> dict[str, str]:
    """Give the cards that have values: what is written after the keyword, its continuations included."""
    cards: dict[str, str] = {}
    continued: dict[str, list[str]] = {}
    latest = ""  # what a CONTINUE continues
    for i in range(0, len(text), CARD):
        if text.startswith("= ", i + 8):
            keyword = text[i : i + 8].rstrip()
            if keyword in cards:
                latest = ""
            else:
                cards[keyword], latest = text[i + 10 : i + CARD], keyword
        elif text.startswith(_END, i):
            break
        elif text.startswith("CONTINUE", i) and latest:
            continued.setdefault(latest, [cards[latest]]).append(text[i + 8 : i + CARD])
        elif text.startswith("HIERARCH ", i):
            keyword, _, value = text[i + 9 : i + CARD].partition("=")
            cards.setdefault(keyword.strip(), value)
    for keyword, parts in continued.items():
        cards[keyword] = _CONTINUED.join(parts)
    for keyword in COMMENTARY:  # whose text may begin like a value
        cards.pop(keyword, None)
    return cards


def _parse(card: str) -> CardValue:
    written = card.lstrip()
    if written.startswith("'"):
        return _parse_text(written)
    word = written.partition("/")[0].rstrip()
    try:
        return int(word)
    except ValueError:
        pass
    if word in ("T", "F"):
        return word == "T"
    try:
        return float(word.replace("D", "E"))
    except ValueError:
        return word


def _parse_text(written: str) -> str:
    text, _, rest = written[1:].partition("'")
    if not rest.startswith("'") and _CONTINUED not in rest:
        return text.rstrip()  # as nearly always
    parts = [part[1].replace("''", "'").rstrip() for one in written.split(_CONTINUED) if (part := _TEXT.match(one))]
    return "".join((*(part.removesuffix("&") for part in parts[:-1]), parts[-1])).rstrip()
