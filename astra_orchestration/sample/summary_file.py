"""Summary files as the survey publishes them, with made-up values: for tests, benchmarks and the tutorial.

A row has the columns of a source, of a spectrum and of a result; a name that two of them share appears once, at its
first place. The table of the other instrument has no rows, and its columns of text and lists are as narrow
as FITS allows.
"""

import gzip
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import peewee

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.fields import BytesField, DateTimeField, DoubleField, FloatArrayField
from astra_models.fits.checksum import Checksum
from astra_models.fits.columns import FitsColumn, row_dtype, row_size
from astra_models.fits.header import CardValue, padded
from astra_models.fits.written_header import header as header_of
from astra_models.fits.written_header import plain_table_cards, primary_cards, with_checksums
from astra_models.ingest.tables.values import is_key
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.version import version_string_to_integer

ROWS_AT_ONCE = 20_000
Model = type[BaseModel]
Values = np.ndarray | str | int
SPECTRA: dict[tuple[str, str], Model] = {
    ("star", "BOSS"): BossCombinedSpectrum,
    ("star", "APOGEE"): ApogeeCoaddedSpectrumInApStar,
    ("visit", "BOSS"): BossVisitSpectrum,
    ("visit", "APOGEE"): ApogeeVisitSpectrum,
}
FILETYPES = {
    BossCombinedSpectrum: "mwmStar",
    ApogeeCoaddedSpectrumInApStar: "apStar",
    BossVisitSpectrum: "specFull",
    ApogeeVisitSpectrum: "apVisit",
}
_NOT_PUBLISHED = {"pk", "modified", "path", "v_astra_major_minor", "spec_file", "starver", "created"}.union(
    PipelineOutputMixin.made_from
)
_SPECTRUM_UNITS = {"K": (3500, 7500), "mag": (7, 19), "km / s": (-120, 120), "dex(cm / s2)": (0.2, 5), "deg": (0, 90)}
_TEXTS = {"release": 5, "filetype": 8, "run2d": 6, "apred": 3, "telescope": 6, "obj": 18, "sdss4_apogee_id": 18}
_UNITS = {"dex(cm / s2)": "log10(cm/s^2)", "km / s": "km/s"}
_EPOCH = np.datetime64("2024-03-01T00:00:00", "us")


class Style(NamedTuple):
    """How a release writes its files."""

    version: str
    target_bytes: int
    version_is_text: bool


STYLES = {"dr19": Style("0.6.0", 57, True), "dr20": Style("0.8.1", 71, False)}


class Made(NamedTuple):
    """A column of a file, and the field whose values it holds; without a field it is zero unless it is changed."""

    column: FitsColumn
    field: peewee.Field | None


def write_result_file(
    path: str | Path,
    model: Model | None = None,
    n_rows: int = 100,
    *,
    level: str = "star",
    instrument: str | None = None,
    style: str = "dr20",
    columns: Sequence[str] | None = None,
    first: int = 1,
    change: Callable[[np.ndarray, int], None] | None = None,
    header: Mapping[str, CardValue | None] | None = None,
    renamed: Mapping[str, str] | None = None,
    more: Sequence[FitsColumn] = (),
    checksums: bool = True,
) -> Path:
    """Write a summary file.

    Parameters
    ----------
    path : str or Path
        The file; gzipped if its name ends with ``.gz``.
    model : type, optional
        The model of the results; without one it is an mwmAllStar, mwmAllVisit or mwmTargets.
    n_rows : int, optional
        How many rows.
    level : {"star", "visit", "target"}, optional
        Whether its spectra are co-adds of stars or visits; "target" for no spectra.
    instrument : {"BOSS", "APOGEE"}, optional
        Which table has rows; by the model if not given.
    style : {"dr19", "dr20"}, optional
        The release: how versions and targeting flags are written.
    columns : sequence of str, optional
        Columns to write; all if not given. Keys are always written.
    first : int, optional
        The first key of the rows: sdss_id, spectrum_pk, task_pk count from it.
    change : callable, optional
        Called with some of the rows, a structured array, and the number of the first, to change their values.
    header : dict, optional
        More cards of the primary header; None takes one away.
    renamed : mapping of str to str, optional
        Names that columns have in the file instead of ours.
    more : sequence of FitsColumn, optional
        Columns that none of the tables has, at the end of a row; zero unless `change` sets them.
    checksums : bool, optional
        Whether to write CHECKSUM and DATASUM.

    Returns
    -------
    Path
        The file.
    """
    path, look = Path(path), STYLES[style]
    instrument = instrument or _usual_instrument(model)
    plain = path.with_name(path.name.removesuffix(".gz"))
    cards = {} if model is None else {"PIPELINE": model.__name__}
    cards |= {"V_ASTRA": look.version, "CREATED": "2024-03-01"} | dict(header or {})
    with plain.open("wb") as file:
        told = [(keyword, value) for keyword, value in cards.items() if value is not None]
        file.write(header_of(primary_cards(told)))
        for name in ("BOSS", "APOGEE") if level != "target" else ("",):
            spectrum = SPECTRA[level, name] if name else None
            has_rows = name in ("", instrument)
            made = file_columns(model, spectrum, look, columns, is_empty=not has_rows)
            made = _renamed(made, renamed or {}, more)
            number = n_rows if has_rows else 0
            blocks = _blocks(made, number, first, look, change)
            _write_table(file, [column for column, _ in made], number, blocks, checksums)
    if plain != path:
        # Without a name and a time in it, the same rows give the same bytes.
        with (
            plain.open("rb") as source,
            path.open("wb") as file,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
        plain.unlink()
    return path


def _renamed(made: Sequence[Made], renamed: Mapping[str, str], more: Sequence[FitsColumn]) -> list[Made]:
    """Give columns their names in the file, and add others; of the same name the first stays."""
    found: dict[str, Made] = {}
    for column, field in made:
        name = renamed.get(column.name, column.name)
        found.setdefault(name, Made(column._replace(name=name), field))
    for column in more:
        found.setdefault(column.name, Made(column, None))
    return list(found.values())


def file_columns(
    model: Model | None,
    spectrum: Model | None,
    style: Style,
    names: Sequence[str] | None = None,
    is_empty: bool = False,
) -> list[Made]:
    """List the columns of a table: of the source, of the spectrum, of the result, each name once."""
    of_source = [field for field in Source._meta.sorted_fields if field.name not in _NOT_PUBLISHED]
    found: dict[str, peewee.Field] = {field.name: field for field in of_source}
    if spectrum is not None:
        found["spectrum_pk"] = spectrum._meta.fields["spectrum_pk"]
        found["source"] = spectrum._meta.fields["source_pk"]
        for field in spectrum._meta.sorted_fields:
            if field.name not in _NOT_PUBLISHED | {"source_pk"}:
                found.setdefault(field.name, field)
    if model is not None:
        for field in model._meta.sorted_fields:
            if field.name not in _NOT_PUBLISHED - {"created"}:
                found.setdefault(field.name, field)
    chosen = {name: field for name, field in found.items() if names is None or name in names or _is_needed(name, field)}
    return [_made(name, field, style, is_empty) for name, field in chosen.items()]


def _is_needed(name: str, field: peewee.Field) -> bool:
    natural_key = getattr(field.model, "natural_key", ())
    return name in ("sdss_id", "spectrum_pk", "source", "task_pk", "source_pk", "filetype", "v_astra", *natural_key)


def _usual_instrument(model: Model | None) -> str:
    boss = ("BossNet", "Corv", "LineForest", "MDwarfType", "Slam", "SnowWhite")
    return "BOSS" if model is not None and model.__name__ in boss else "APOGEE"


def _made(name: str, field: peewee.Field, style: Style, is_empty: bool) -> Made:
    code, repeat = _form(name, field, style, is_empty)
    unit = getattr(field, "unit", None)
    return Made(FitsColumn(name, code, repeat, unit=_UNITS.get(unit or "", unit)), field)


def _form(name: str, field: peewee.Field, style: Style, is_empty: bool) -> tuple[str, int]:
    """Give the letter and the number of a column's format."""
    if isinstance(field, BytesField):
        return "B", 1 if is_empty else style.target_bytes
    if isinstance(field, FloatArrayField):
        return "E", 0 if is_empty else 3 if "percentiles" in name else 18
    if width := _text_width(name, field, style):
        return "A", 1 if is_empty else width
    if isinstance(field, peewee.BooleanField):
        return "L", 1
    if isinstance(field, DoubleField):  # positions, too: the survey publishes single precision
        return "E", 1
    is_wide = isinstance(field, peewee.BigIntegerField | peewee.BigAutoField | peewee.ForeignKeyField)
    return ("K" if is_wide else "J"), 1


def _text_width(name: str, field: peewee.Field, style: Style) -> int:
    """Give the characters of a column of text; 0 for any other."""
    if isinstance(field, DateTimeField):
        return 26
    if name == "v_astra" and style.version_is_text:
        return 5
    return _TEXTS.get(name, 12) if isinstance(field, peewee.TextField) else 0


# ---- rows


def _blocks(
    made: Sequence[Made], n_rows: int, first: int, style: Style, change: Callable[[np.ndarray, int], None] | None
) -> Iterator[np.ndarray]:
    """Make up all rows of a table, some at a time: the same ones for the same place in the file."""
    for start in range(0, n_rows, ROWS_AT_ONCE):
        numbers = first + np.arange(start, min(start + ROWS_AT_ONCE, n_rows))
        random = np.random.default_rng([start, first])
        rows = np.zeros(len(numbers), row_dtype([column for column, _ in made]))
        for column, field in made:
            if column.size and field is not None:
                rows[column.name] = _values(column, field, numbers, random, style)
        if change is not None:
            change(rows, start)
        yield rows


def _values(
    column: FitsColumn, field: peewee.Field, numbers: np.ndarray, random: np.random.Generator, style: Style
) -> Values:
    """Make up values of a column, or one for all of its rows."""
    name = field.name
    if isinstance(field, BytesField):
        return np.where(random.random((len(numbers), style.target_bytes)) < 0.1, 1 << random.integers(0, 8), 0)
    if isinstance(field, FloatArrayField):
        values = random.random((len(numbers), column.repeat), np.float32)
        values[:, -1][numbers % 2 == 0] = np.nan
        return values
    if isinstance(field, DateTimeField):
        return (_EPOCH + numbers.astype("timedelta64[s]")).astype(str).astype("S")
    if name == "v_astra":
        return style.version if style.version_is_text else version_string_to_integer(style.version)
    if isinstance(field, peewee.TextField):
        return _words(field, name, numbers)
    if isinstance(field, peewee.BooleanField):
        return np.where(numbers % 3 == 0, ord("T"), ord("F"))
    if isinstance(field, DoubleField):
        return _floats(field, name, len(numbers), random)
    return _integers(field, name, numbers, random)


def _words(field: peewee.Field, name: str, numbers: np.ndarray) -> Values:
    fixed = {
        "release": "sdss5",
        "filetype": FILETYPES.get(field.model, "mwmStar"),
        "run2d": "v6_1_3",
        "apred": "1.3",
        "apstar": "stars",
        "telescope": "apo25m",
        "prefix": "ap",
        "plate": "15000",
    }
    if name in fixed:
        return fixed[name]
    if name in ("obj", "sdss4_apogee_id"):
        return np.char.add("2M", np.char.zfill(numbers.astype(str), 16))
    return np.where(numbers % 4 == 0, "", np.char.add("t", (numbers % 7).astype(str)))


def _floats(field: DoubleField, name: str, n_rows: int, random: np.random.Generator) -> np.ndarray:
    low, high = _SPECTRUM_UNITS.get(field.unit or "", (0, 1))
    if name.startswith(("e_", "raw_e_")) or "_e_" in name:
        low, high = 0, 0.02 * (high - low)
    values = random.random(n_rows, np.float32) * np.float32(high - low) + np.float32(low)
    values[random.random(n_rows, np.float32) < 0.05] = np.nan
    return values


def _integers(field: peewee.Field, name: str, numbers: np.ndarray, random: np.random.Generator) -> Values:
    if name in ("sdss_id", "spectrum_pk", "source_pk", "task_pk", "catalogid"):
        return numbers
    if is_key(field):
        return np.where(numbers % 10 == 0, -1, numbers + 10_000_000_000)
    if name.endswith("flags"):
        return np.where(numbers % 3 == 0, 1 << random.integers(0, 20, len(numbers)), 0)
    if "mjd" in name:
        return 59_000 + numbers % 1000
    values = random.integers(0, 50, len(numbers))
    return np.where((numbers % 9 == 0) & bool(field.null), -1, values)


# ---- the file


def _write_table(
    file: BinaryIO, columns: Sequence[FitsColumn], n_rows: int, blocks: Iterator[np.ndarray], checksums: bool
) -> None:
    cards = plain_table_cards(columns, n_rows)
    start, total = file.tell(), Checksum()
    begin = with_checksums(cards, 0) if checksums else header_of(cards)
    file.write(begin)
    for block in blocks:
        content = block.tobytes()
        total.update(content)
        file.write(content)
    size = row_size(columns) * n_rows
    file.write(bytes(padded(size) - size))
    if checksums:
        file.seek(start)
        file.write(with_checksums(cards, total.value))
        file.seek(0, os.SEEK_END)
