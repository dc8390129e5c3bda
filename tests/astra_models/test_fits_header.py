"""Headers of FITS files: as astropy reads them, and written so that it does."""

import gzip
import warnings
from pathlib import Path

import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.header import BLOCK, CARD, Header
from astra_models.fits.star_file import FitsFile
from astra_models.fits.written_header import card, header

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300).map(
    lambda text: text.rstrip("& ")
)
words = st.lists(st.sampled_from(["flux", "it's", "''", "&", "a" * 90, "x = 1 / 2"]), max_size=30).map(
    lambda words: " ".join(words).rstrip("& ")
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


def header_of(*cards: str) -> Header:
    return Header(header(cards))


# ---- reading


def test_all_headers_of_real_files(real_data: Path) -> None:
    compared = 0
    for path in real_data.rglob("*.fits*"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        with fits.open(path) as hdus:
            for hdu in hdus:
                place = hdu.fileinfo()
                compared += same_header(content[place["hdrLoc"] : place["datLoc"]])
    assert compared > 10_000


def same_header(content: bytes) -> int:
    """Compare all cards that astropy can parse: it refuses a NaN without quotes, as some files have it."""
    ours, theirs = Header(content), fits.Header.fromstring(content.decode("latin-1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword in dict.fromkeys(theirs):
            if keyword in ("COMMENT", "HISTORY", ""):
                assert ours.texts(keyword) == [str(text) for text in theirs[keyword]]
                continue
            try:
                expected = theirs[keyword]
            except fits.VerifyError:
                assert ours[keyword] != ours[keyword]
                continue
            if isinstance(expected, fits.card.Undefined):
                expected = ""
            assert (ours[keyword], type(ours[keyword])) == (expected, type(expected)), keyword
    assert list(ours) == [name for name in dict.fromkeys(theirs) if name not in ("COMMENT", "HISTORY", "")]
    return len(ours)


def test_an_ampersand_at_the_end_is_one() -> None:
    text = "flux & " * 20 + "more &"
    assert header_of(card("KEY", text))["KEY"] == text


def test_the_first_of_several_cards_counts() -> None:
    cards = header_of(card("KEY", 1), card("KEY", 2), card("OTHER", "a"), card("OTHER", "b" * 90), card("LAST", True))
    assert dict(cards) == {"KEY": 1, "OTHER": "a", "LAST": True}


def test_comments_and_history_are_lists() -> None:
    cards = header_of(card("COMMENT", "= 1 is no value"), card("HISTORY", "made"), card("COMMENT", "  more"))
    assert cards.get("COMMENT", []) == ["= 1 is no value", "  more"]
    assert cards.get("HISTORY") == ["made"]
    assert header_of().get("COMMENT", []) == []
    assert len(cards) == 0


def test_words_of_the_hierarch_convention() -> None:
    long = fits.Header([("HIERARCH ESO DET GAIN", 1.5, "e-/ADU")])
    assert dict(Header(long.tostring().encode())) == {"ESO DET GAIN": 1.5}


@pytest.mark.parametrize("value", [-1, 1.5, "4"])
def test_a_count_that_is_none_is_damage(value: float | str) -> None:
    with pytest.raises(UnrecognizedFileError, match="as NAXIS1, where a count belongs; the file is damaged"):
        header_of(card("NAXIS", 1), card("NAXIS1", value)).data_size  # noqa: B018


def test_the_first_of_columns_with_one_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "table.fits"
    columns = [fits.Column("name", "J", array=[1]), fits.Column("other", "J", array=[2])]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"'other   '", b"'NAME    '"))
    assert FitsFile(str(path)).row(1).get("name") == 1


# ---- writing


@given(printable | words | numbers, printable)
def test_what_is_written_is_what_astropy_reads(value: str | float, comment: str) -> None:
    cards = card("KEY", value, comment)
    assert len(cards) % CARD == 0
    read = fits.Header.fromstring(f"{cards}{'END':{CARD}}".ljust(BLOCK))
    assert (read["KEY"], type(read["KEY"])) == (value, type(value))
    assert header_of(cards)["KEY"] == value


@pytest.mark.parametrize("value", ["short", "it's", "a text that is longer than a card " * 5, 5, -1.5, 1e-7, True])
@pytest.mark.parametrize("comment", ["", "what it is"])
def test_cards_are_those_that_astropy_writes(value: str | float, comment: str) -> None:
    assert card("KEY", value, comment) == str(fits.Card("KEY", value, comment))


def test_a_long_keyword_is_refused() -> None:
    with pytest.raises(ValueError, match="'WAVELENGTH' has 10 characters, but a FITS keyword has at most 8"):
        card("WAVELENGTH", 1)
