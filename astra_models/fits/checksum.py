"""The checksums of FITS: sums of 32-bit words with end-around carry, computed while data pass by.

See the FITS standard (version 4.0), section 4.4.2.7 and appendix J.
"""

import numpy as np

ALL_ONES = 0xFFFFFFFF
_PUNCTUATION = frozenset((*range(0x3A, 0x41), *range(0x5B, 0x61)))


class Checksum:
    """A running sum of whatever it is given, piece by piece, of any length."""

    def __init__(self) -> None:
        self._sum = 0
        self._rest = b""

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add what comes next."""
        data = memoryview(data).cast("B")
        if self._rest:
            missing = 4 - len(self._rest)
            self._rest += bytes(data[:missing])
            data = data[missing:]
            if len(self._rest) < 4:
                return
            self._add(self._rest)
        whole = len(data) // 4 * 4
        self._add(data[:whole])
        self._rest = bytes(data[whole:])

    def _add(self, words: bytes | memoryview) -> None:
        self.add_sum(int(np.frombuffer(words, ">u4").sum(dtype=np.uint64)))

    def add_sum(self, other: int) -> None:
        """Add the sum of other words, wherever among these they are."""
        total = self._sum + other
        while total > ALL_ONES:
            total = (total & ALL_ONES) + (total >> 32)
        self._sum = total

    @property
    def value(self) -> int:
        """The sum, as if zeros followed to the next full word."""
        if self._rest:
            self.update(bytes(4 - len(self._rest)))
        return self._sum


def same_sum(one: int, other: int) -> bool:
    """Tell whether two sums are the same: all ones is another way to write zero."""
    return one % ALL_ONES == other % ALL_ONES


def checksum_text(total: int) -> str:
    """Give the 16 characters that make an HDU's sum come out as all ones, where CHECKSUM was all ``0``.

    Parameters
    ----------
    total : int
        The sum of the HDU with ``CHECKSUM= '0000000000000000'``.
    """
    letters = bytearray(16)
    for place, byte in enumerate((ALL_ONES - total).to_bytes(4, "big")):
        quarter, more = divmod(byte, 4)
        four = [0x30 + quarter] * 4
        four[0] += more
        for first in (0, 2):  # letters and digits only: what is taken from one is given to the other
            while _PUNCTUATION & {four[first], four[first + 1]}:
                four[first] += 1
                four[first + 1] -= 1
        letters[place::4] = bytes(four)
    return (letters[-1:] + letters[:-1]).decode("ascii")  # the value begins at the fourth byte of a word
