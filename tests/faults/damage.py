"""A corpus of damaged files: a number says which file is damaged, and how; the same number, the same bytes."""

import bz2
import gzip
import itertools
import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

BLOCK, CARD = 2880, 80

HOSTILE = (
    *("NAN", "NaN", "INF", "-INF", "1E400", "-1E400", "1.0D308", "1D-400", "0", "-1", "-0", "1", "2", "3", "7", "999"),
    *("1000", "65536", "2147483647", "2147483648", "-2147483649", "4294967296", "1000000000000", "-1000000000000"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9" * 60, "1_000"),
    *("0x10", "1e", ".", "+", "T", "F", "''", "'NAN'", "'T'", "'-1'", "'1000000000000'", "'unterminated", "'it''s'"),
    *(
        "(1.0, 2.0)",
        "text",
        "",
        "/ comment",
        "'\x1b[2J\x1b[31m'",
        "'a\x00b'",
        "\xb2",
        "'\xe9\xff'",
        "'&'",
        "'2026-13-45'",
    ),
    *("'9999-12-31T23:59:59.999999-12:00'", "'0001-01-01T00:00:00+14:00'", "'1E9999'", "'0.8.1.9'", "'1000000.0.0'"),
    *("'E'", "'0E'", "'1000000000000E'", "'PE(9)'", "'1QD(999999999)'", "'4600A'", "'A'", "'X'", "'8X'", "'M'", "'I'"),
    *("'K'", "'L'", "'-1E'", "'(2,2)'", "'(1000000,1000000)'", "'BINTABLE'", "'IMAGE   '", "'TABLE   '", "'FLUX'"),
)
STRUCTURE = re.compile(
    rb"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|TTYPE\d+|TFORM\d+|TDIM\d+|TNULL\d+|TSCAL\d+|TZERO\d+|"
    rb"NVISITS|SFILE\d+|SDSS_ID|V_ASTRA|CATALOGID|MJD5?|FIELD|PLATE|FIBERID|RUN2D|TELESCOP|OBJID|DATE-OBS|EXTNAME|"
    rb"BZERO|BSCALE|JD\d+|SNR|STARFLAG|RA|DEC|GAIA\d_ID)$"
)
ADDED = (
    *("BSCALE", "BZERO", "BLANK", "ZIMAGE", "ZNAXIS1", "GROUPS", "PCOUNT", "GCOUNT", "TSCAL1", "TZERO1", "TNULL1"),
    *(
        "TDIM1",
        "THEAP",
        "EXTEND",
        "NAXIS3",
        "INHERIT",
        "LONGSTRN",
        "AKTARG",
        "NVISITS",
        "HEALPIX",
        "HIERARCH a long key",
    ),
)


class Damaged(NamedTuple):
    """A damaged file: what was done to which, its bytes, and the end of its name."""

    what: str
    content: bytes
    suffix: str


class Card(NamedTuple):
    """A card of a header: where it is, and of which keyword."""

    at: int
    keyword: bytes


class Original:
    """A whole file, and where the cards of its headers are; of what isn't FITS there are none."""

    def __init__(self, path: Path):
        self.name = path.name
        self.suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        self.content = path.read_bytes()
        self.is_fits = self.content.startswith(b"SIMPLE  =")
        self.cards, self.starts = self._find_cards() if self.is_fits else ([], [0])
        self.structure = [card for card in self.cards if STRUCTURE.match(card.keyword)]

    def _find_cards(self) -> tuple[list[Card], list[int]]:
        cards: list[Card] = []
        starts: list[int] = []
        for block in range(0, len(self.content), BLOCK):
            begins = self.content.startswith((b"SIMPLE  =", b"XTENSION="), block)
            if begins:
                starts.append(block)
            if not begins and (not cards or cards[-1].keyword == b"END" or cards[-1].at + CARD < block):
                continue
            for at in range(block, min(block + BLOCK, len(self.content)), CARD):
                keyword = self.content[at : at + 8].rstrip()
                cards.append(Card(at, keyword))
                if keyword == b"END":
                    break
        return cards, starts


Way = Callable[[random.Random, Original], tuple[str, bytes]]


def damaged(number: int, originals: Sequence[Original], seed: int = 1) -> Damaged:
    """Damage a file.

    Parameters
    ----------
    number : int
        Which one of the corpus.
    originals : sequence of Original
        Whole files.
    seed : int
        Of which corpus.
    """
    rng = random.Random(f"{seed} {number}")
    original = originals[number % len(originals)]
    ways = OF_FITS if original.is_fits else OF_TEXT
    what, content = rng.choice(ways)(rng, original)
    if rng.random() < 0.08:
        more, content = _damage_packed(rng, content)
        return Damaged(f"{original.name}: {what}, {more}", content, f"{original.suffix.removesuffix('.gz')}.gz")
    return Damaged(f"{original.name}: {what}", content, original.suffix)


# ---- of any file


def _flip_bits(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = bytearray(original.content)
    n_bits = rng.choice((1, 1, 2, 8, 64, 1000))
    for _ in range(n_bits):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return f"{n_bits} bits flipped", bytes(content)


def _cut(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = original.content
    at = rng.choice(
        (rng.randrange(len(content)), len(content) // BLOCK * BLOCK - BLOCK * rng.randrange(9), rng.randrange(9000))
    )
    at = max(0, min(at, len(content)))
    kind = rng.randrange(4)
    if kind == 0:
        size = rng.choice((1, CARD, BLOCK, 5000))
        return f"{size} bytes left out at {at}", content[:at] + content[at + size :]
    if kind == 1:
        size = rng.choice((1, CARD, BLOCK, 5000))
        return f"{size} bytes put in at {at}", content[:at] + rng.randbytes(size) + content[at:]
    if kind == 2:
        size = rng.choice((CARD, BLOCK, 20_000))
        return f"{size} bytes at {at} are 0", content[:at] + bytes(size) + content[at + size :]
    return f"cut at {at}", content[:at]


def _damage_packed(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    packed = bytearray(gzip.compress(content, 1))
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.choice((1, 3, 50))):
            packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
        return "gzipped, bits flipped", bytes(packed)
    if kind == 1:
        return "gzipped, cut", bytes(packed[: rng.randrange(len(packed))])
    if kind == 2:
        return "gzipped, random bytes after it", bytes(packed) + rng.randbytes(3000)
    if kind == 3:
        return "gzipped, in many members", b"".join(
            gzip.compress(content[i : i + 3000], 1) for i in range(0, 150_000, 3000)
        )
    return "gzipped twice", gzip.compress(bytes(packed), 1)


# ---- of FITS files


def _flip_bits_of_headers(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = bytearray(original.content)
    n_bits = rng.choice((1, 3, 10, 100))
    for _ in range(n_bits):
        content[rng.choice(original.cards).at + rng.randrange(CARD)] ^= 1 << rng.randrange(8)
    return f"{n_bits} bits of headers flipped", bytes(content)


def _edit(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = bytearray(original.content)
    said = []
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        cards = original.structure if rng.random() < 0.75 and original.structure else original.cards
        card, value = rng.choice(cards), rng.choice(HOSTILE)
        _put(content, card.at, card.keyword.decode("latin-1"), value)
        said.append(f"{card.keyword.decode('latin-1')} = {value!r}")
    return ", ".join(said), bytes(content)


def _add(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = bytearray(original.content)
    card, keyword, value = rng.choice(original.cards), rng.choice(ADDED), rng.choice(HOSTILE)
    _put(content, card.at, keyword, value)
    return f"{keyword} = {value!r} in place of {card.keyword!r}", bytes(content)


def _put(content: bytearray, at: int, keyword: str, value: str) -> None:
    content[at : at + CARD] = f"{keyword:8}= {value:>20}".encode("latin-1").ljust(CARD)[:CARD]


def _rearrange(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = bytearray(original.content)
    cards = original.structure or original.cards
    one, other = rng.choice(cards), rng.choice(original.cards)
    kind = rng.randrange(7)
    if kind == 0:
        content[other.at : other.at + CARD] = content[one.at : one.at + CARD]
        return f"{one.keyword!r} again in place of {other.keyword!r}", bytes(content)
    if kind == 1:
        content[one.at : one.at + CARD] = b" " * CARD
        return f"no {one.keyword!r}", bytes(content)
    if kind == 2:
        first, second = content[one.at : one.at + CARD], content[other.at : other.at + CARD]
        content[one.at : one.at + CARD], content[other.at : other.at + CARD] = second, first
        return f"{one.keyword!r} and {other.keyword!r} exchanged", bytes(content)
    if kind == 3:
        ends = [card for card in original.cards if card.keyword == b"END"]
        end = rng.choice(ends)
        content[end.at : end.at + CARD] = rng.choice((b" " * CARD, b"END     = 1".ljust(CARD), b"ENDE".ljust(CARD)))
        return "no END", bytes(content)
    if kind == 4:
        content[other.at : other.at + CARD] = b"END".ljust(CARD)
        return f"END in place of {other.keyword!r}", bytes(content)
    if kind == 5:
        first = original.cards.index(other)
        for card in original.cards[first : first + rng.choice((1, 5, 30))]:
            content[card.at : card.at + CARD] = b"CONTINUE  '" + b"x" * 60 + b"&'".ljust(9)
        return f"CONTINUE from {other.keyword!r} on", bytes(content)
    content[one.at : one.at + 8] = rng.choice(
        (b"HIERARCH", b"COMMENT ", b"        ", b"\xff\xfe\x00\x01ABC ", b"naxis1  ")
    )
    return f"{one.keyword!r} renamed", bytes(content)


def _lengthen(rng: random.Random, original: Original) -> tuple[str, bytes]:
    """Put blocks of cards into a header."""
    at = rng.choice([card for card in original.cards if (card.at + CARD) % BLOCK == 0 or card.keyword == b"END"]).at
    at = at // BLOCK * BLOCK + (BLOCK if original.content[at : at + 3] != b"END" else 0)
    n_blocks = rng.choice((1, 10, 100, 490, 1900))
    card = rng.choice(
        (b"CONTINUE  '" + b"y" * 60 + b"&'", b"HISTORY " + b"z" * 70, b"FLUX    =                    1", b"\x00")
    )
    many = card.ljust(CARD, b"\0" if card == b"\x00" else b" ") * (36 * n_blocks)
    return f"{n_blocks} blocks of {card[:8]!r} at {at}", original.content[:at] + many + original.content[at:]


def _overwrite_data(rng: random.Random, original: Original) -> tuple[str, bytes]:
    content = bytearray(original.content)
    ends = [card.at // BLOCK * BLOCK + BLOCK for card in original.cards if card.keyword == b"END"]
    at = min(rng.choice(ends) + rng.choice((0, rng.randrange(3000))), len(content) - 1)
    size = min(rng.choice((8, 100, 2000)), len(content) - at)
    filled = rng.choice(
        (b"\xff" * size, b"\x7f\xf0" * (size // 2), b"\0" * size, b"'\x1b\0\xe9" * (size // 4), rng.randbytes(size))
    )
    content[at : at + len(filled)] = filled
    return f"{len(filled)} bytes of data overwritten at {at}", bytes(content)


def _change_a_column(rng: random.Random, original: Original) -> tuple[str, bytes]:
    forms = [card for card in original.cards if card.keyword.startswith((b"TFORM", b"TTYPE"))]
    if not forms:
        return _edit(rng, original)
    content = bytearray(original.content)
    for card in rng.sample(forms, min(len(forms), rng.choice((1, 2, 6)))):
        if card.keyword.startswith(b"TFORM"):
            # What is as wide, of another type: only the values are wrong then.
            value = content[card.at + 10 : card.at + CARD].decode("latin-1").split("'")[1]
            same = {"E": "J", "J": "E", "D": "K", "K": "D", "A": "B", "I": "2A", "B": "L", "L": "A"}
            letter = value.strip()[-1:] or "E"
            form = (
                value.strip()[:-1] + same.get(letter, "A")
                if rng.random() < 0.5
                else rng.choice(("E", "K", "5A", "0D", "PE"))
            )
            _put(content, card.at, card.keyword.decode(), f"'{form:8}'")
        else:
            _put(
                content,
                card.at,
                card.keyword.decode(),
                rng.choice(("'FLUX    '", "'MJD     '", "'sdss_id '", "''", "NAN")),
            )
    return "columns changed", bytes(content)


def _repeat_hdus(rng: random.Random, original: Original) -> tuple[str, bytes]:
    starts = [*original.starts, len(original.content)]
    kind = rng.randrange(3)
    hdus = [original.content[one:other] for one, other in itertools.pairwise(starts)]
    if kind == 0:
        rng.shuffle(hdus)
        return "HDUs in another order", b"".join(hdus)
    if kind == 1:
        smallest = min(hdus[1:] or hdus, key=len)
        return "an HDU 500 times", b"".join(hdus) + smallest * min(500, 3_000_000 // len(smallest))
    return "an HDU left out", b"".join(hdus[:1] + hdus[2:])


def bombs() -> list[Damaged]:
    """Give small files that unpack to a lot, or claim to be large."""
    primary = _header(
        "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0"
    )
    image = _header(
        *("XTENSION= 'IMAGE   '", "BITPIX  =                  -32", "NAXIS   =                    1"),
        *("NAXIS1  =          1000000000", "PCOUNT  =                    0", "GCOUNT  =                    1"),
    )
    table = [f"TTYPE{i}  = '{name}'" for i, name in enumerate(("FLUX", "LOGLAM", "IVAR"), 1)]
    table += [f"TFORM{i}  = 'E       '" for i in (1, 2, 3)]
    sizes = {"80 MB of pixels": 7_000_000, "5 GB of pixels": 400_000_000}
    found = [
        Damaged("gzip: 2 GB of zeros", _packed(b"", 1 << 31), ".fits.gz"),
        Damaged("gzip: 2 GB of zeros after a header", _packed(primary, 1 << 31), ".fits.gz"),
        Damaged("gzip: an image of 4 GB", _packed(primary + image, 1 << 31), ".fits.gz"),
        Damaged(
            "gzip: 1 GB of headers",
            _packed(primary, 1 << 30, _header("XTENSION= 'IMAGE   '", "NAXIS   = 0", "BITPIX  = 8")),
            ".fits.gz",
        ),
        Damaged(
            "gzip: 300 MB of cards",
            _packed(b"SIMPLE  =                    T".ljust(CARD), 300_000_000, b"HISTORY ".ljust(CARD)),
            ".fits.gz",
        ),
        Damaged("gzip: a million empty members", gzip.compress(primary) + gzip.compress(b"") * 100_000, ".fits.gz"),
        Damaged("gzip: 1 GB of commas", _packed(b"a,b\n", 1 << 30, b"1,2\n"), ".csv.gz"),
        Damaged(
            "bzip2: 1 GB of zeros",
            bz2.compress(b"<?xml version='1.0'?><VOTABLE>") + bz2.compress(bytes(1 << 24)) * 64,
            ".vot.bz2",
        ),
        Damaged("an image of 1e12 pixels", primary + image.replace(b"1000000000", b"1000000000000"[:10]), ".fits"),
    ]
    for what, n_rows in sizes.items():
        claims = [
            "BITPIX  = 8",
            "NAXIS   = 2",
            "NAXIS1  = 12",
            f"NAXIS2  = {n_rows}",
            "PCOUNT  = 0",
            "GCOUNT  = 1",
            "TFIELDS = 3",
        ]
        header = _header("XTENSION= 'BINTABLE'", *claims, *table)
        found.append(
            Damaged(f"gzip: {what}", _packed(primary + header, 12 * n_rows if n_rows < 10**8 else 1 << 28), ".fits.gz")
        )
        found.append(Damaged(f"{what} claimed", primary + header + bytes(BLOCK), ".fits"))
    rows = [
        "BITPIX  = 8",
        "NAXIS   = 2",
        "NAXIS1  = 0",
        "NAXIS2  = 1000000000000",
        "PCOUNT  = 0",
        "GCOUNT  = 1",
        "TFIELDS = 0",
    ]
    found.append(Damaged("1e12 rows without columns", primary + _header("XTENSION= 'BINTABLE'", *rows) * 5, ".fits"))
    return found


def _header(*cards: str) -> bytes:
    content = b"".join(card.encode("latin-1").ljust(CARD) for card in (*cards, "END"))
    return content.ljust(-(-len(content) // BLOCK) * BLOCK)


def _packed(begins: bytes, size: int, filled: bytes = bytes(1 << 20)) -> bytes:
    """Gzip some bytes and many of the same after them, without ever having them."""
    # A full flush makes what follows independent of what was before: so the same packed bytes can be put in again.
    packer = zlib.compressobj(9, wbits=-15)
    first = packer.compress(begins) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = filled * max(1, (1 << 20) // len(filled))
    again = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    n_pieces = max(1, size // len(piece))
    # The checksum at the end is wrong: nobody may be so patient as to get there.
    ends = zlib.compressobj(9, wbits=-15).flush() + struct.pack(
        "<II", 0, (len(begins) + n_pieces * len(piece)) % (1 << 32)
    )
    return gzip.compress(b"")[:10] + first + again * n_pieces + ends


OF_FITS: tuple[Way, ...] = (
    *(_flip_bits, _cut, _flip_bits_of_headers, _flip_bits_of_headers, _edit, _edit, _edit, _edit, _edit, _add),
    *(
        _rearrange,
        _rearrange,
        _overwrite_data,
        _overwrite_data,
        _change_a_column,
        _change_a_column,
        _repeat_hdus,
        _lengthen,
    ),
)


# ---- of tables of text


def _spoil_a_value(rng: random.Random, original: Original) -> tuple[str, bytes]:
    words = list(re.finditer(rb"[^\s,<>\"'=#]+", original.content))
    if not words:
        return _flip_bits(rng, original)
    value = rng.choice(HOSTILE).encode("latin-1", "replace")
    word = rng.choice(words)
    content = original.content[: word.start()] + value + original.content[word.end() :]
    return f"{value!r} in place of {word[0][:20]!r}", content


def _spoil_a_line(rng: random.Random, original: Original) -> tuple[str, bytes]:
    lines = original.content.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        lines[at] = b""
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        lines[at] = lines[at] * 3000
    elif kind == 3:
        lines[at] = rng.choice(
            (
                b'"',
                b"# - {name: a, datatype: !!python/object/apply:os.getcwd []}",
                b"<TR>" * 500,
                b"[" * 5000,
                b"\xff\xfe\0",
            )
        )
    else:
        lines[at] = b",".join([b"1"] * 20_000)
    return f"line {at} spoilt ({kind})", b"\n".join(lines)


def _claim(rng: random.Random, original: Original) -> tuple[str, bytes]:
    size = rng.choice((b"1000000000000", b"4000000000", b"-1", b"1e9", b"99999999x99999999", b"*"))
    content = re.sub(rb'(arraysize=)"[^"]*"', rb'\1"' + size + b'"', original.content, count=1)
    content = re.sub(rb"<TABLE\b", b'<TABLE nrows="' + size + b'"', content, count=1)
    return f"a claim of {size!r}", content


OF_TEXT: tuple[Way, ...] = (_flip_bits, _cut, _spoil_a_value, _spoil_a_value, _spoil_a_line, _claim)
