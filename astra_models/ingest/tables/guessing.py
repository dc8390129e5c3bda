"""A proposal of a mapping for a table: which of its columns are ours, by their names, values and units.

It is a draft. Each line has its reason as a comment; what can't be told from the file (which results these are, of
which spectra) is left to whoever knows the table.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import yaml

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.door import refusing
from astra_models.fits.stream import NotFitsError, TableHdu, scan
from astra_models.ingest.tables.mapped import NO_TABLE, columns_of, read_table
from astra_models.ingest.tables.reading import ReaderOptions
from astra_models.ingest.tables.summaries import blocks_of
from astra_models.ingest.tables.transforms import TWO_MASS_NAME
from astra_models.ingest.tables.units import match_units
from astra_models.ingest.tables.values import FileColumn
from astra_models.messages import storable
from astra_models.source import Source

LOOKED_AT = 1000
"""Rows of which the values are looked at."""

IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
USUAL_MISSING = (-9999.0, -999.0, 99.9, 99.99, 99.999, 99.9999)

_NAMES = {
    "sdss_id": ("sdssid",),
    "sdss4_apogee_id": ("sdss4apogeeid", "apogeeid", "2mass", "twomass", "2massid", "tmass", "tmassid"),
    "gaia_dr3_source_id": ("gaiadr3sourceid", "gaiadr3", "gaiaedr3", "dr3sourceid", "gaiaedr3sourceid", "gaia3id"),
    "gaia_dr2_source_id": ("gaiadr2sourceid", "gaiadr2", "dr2sourceid", "gaia2id"),
    "tic_v8_id": ("tic", "ticid", "ticv8id", "ticv8"),
    "catalogid": ("catalogid", "catid"),
    "ra": ("ra", "raj2000", "raicrs", "radeg", "rightascension", "alpha"),
    "dec": ("dec", "de", "dej2000", "decj2000", "deicrs", "decdeg", "dedeg", "declination", "delta"),
    "l": ("l", "glon"),
    "b": ("b", "glat"),
    "plx": ("plx", "parallax"),
    "e_plx": ("eplx", "parallaxerror", "plxerror", "errparallax"),
    "pmra": ("pmra",),
    "e_pmra": ("epmra", "pmraerror"),
    "pmde": ("pmde", "pmdec"),
    "e_pmde": ("epmde", "pmdecerror"),
    "gaia_v_rad": ("gaiavrad", "radialvelocity"),
    "gaia_e_v_rad": ("gaiaevrad", "radialvelocityerror"),
    "g_mag": ("gmag", "photgmeanmag"),
    "bp_mag": ("bpmag", "photbpmeanmag"),
    "rp_mag": ("rpmag", "photrpmeanmag"),
    "j_mag": ("jmag", "j"),
    "e_j_mag": ("ejmag", "jmagerr", "jerr"),
    "h_mag": ("hmag", "h"),
    "e_h_mag": ("ehmag", "hmagerr", "herr"),
    "k_mag": ("kmag", "ksmag", "k"),
    "e_k_mag": ("ekmag", "eksmag", "kmagerr", "kerr"),
    "ebv_sfd": ("sfdebv", "ebvsfd"),
}
"""Names that catalogues give our columns, in small letters and digits alone."""

_RESULTS = {
    "teff": ("teff", "teffk"),
    "logg": ("logg",),
    "fe_h": ("feh", "mh"),
    "v_rad": ("vrad", "rv", "vhelio", "vhelioavg"),
}
_RANGES = {"ra": (0.0, 360.0), "dec": (-90.0, 90.0), "l": (0.0, 360.0), "b": (-90.0, 90.0)}
_GAIA = ("sourceid", "source")
_GAIA_NAME = re.compile(r"Gaia (?:E?DR(\d)) (\d+)")
_OF_RELEASE = {"2": "gaia_dr2_source_id", "3": "gaia_dr3_source_id"}


@dataclass(frozen=True)
class Look:
    """A table that was looked at: its columns, and the values of the first rows."""

    columns: Sequence[FileColumn]
    values: Callable[[str], np.ndarray]
    n_rows: int


@dataclass(frozen=True)
class _Line:
    """A proposed line: our column, the rule, and why."""

    name: str
    rule: object
    reason: str


def guess_mapping(path: str | os.PathLike[str], reader: ReaderOptions | None = None) -> str:
    """Propose a mapping for a table, as YAML with the reasons as comments.

    Parameters
    ----------
    path : str or Path
        Any table that a mapping can be made for.
    reader : ReaderOptions, optional
        How a table of text is read.

    Returns
    -------
    str
        The proposal. It can be loaded as it is; it ingests as it is if an identifier was found.

    Raises
    ------
    UnrecognizedFileError
        If the table can't be read.
    """
    path = os.path.abspath(path)
    try:
        with refusing():
            look = _look_at(path, reader)
            lines, left = _propose(look)
            missing = _missing(look)
    except UnrecognizedFileError as error:
        raise UnrecognizedFileError(f"{path}: {error}") from error
    return _text(path, look, lines, left, missing, reader)


def _look_at(path: str, reader: ReaderOptions | None) -> Look:
    try:
        found = scan(path, None)
    except NotFitsError:
        table, _ = read_table(path, reader)
        columns, arrays = columns_of(table)
        return Look(columns, lambda name: arrays[name][:LOOKED_AT], len(table))
    table = next((table for table in found.tables if table.n_rows), None)
    if not found.tables:
        raise UnrecognizedFileError(NO_TABLE)
    if table is None:
        return Look(_readable(found.tables[0]), lambda name: np.zeros(0), 0)
    by_name: dict[str, FileColumn] = {column.name: column for column in table.columns}
    block = next(islice((block for _, block in blocks_of(found, table, LOOKED_AT)), 1))
    return Look(_readable(table), lambda name: block.values(by_name[name]), table.n_rows)


def _readable(table: TableHdu) -> list[FileColumn]:
    return [column for column in table.columns if not column.unreadable]


def _propose(look: Look) -> tuple[list[_Line], list[tuple[str, str]]]:
    """Give the proposed lines, and the columns that are left with what they look like."""
    lines: dict[str, _Line] = {}
    left: list[tuple[str, str]] = []
    for column in look.columns:
        line = _line(column, look)
        if isinstance(line, str):
            left.append((column.name, line))
            continue
        other = lines.get(line.name)
        is_better = isinstance(line.rule, str) and column.kind == "int"  # a number is plainer than a name with it
        if other is None or is_better:
            lines[line.name] = line
            left += [] if other is None else [(_from(other), f"{line.name} is made of {column.name}")]
        else:
            left.append((column.name, f"{line.name} is made of another column already"))
    order = {name: place for place, name in enumerate(Source._meta.sorted_field_names)}
    return sorted(lines.values(), key=lambda line: order[line.name]), left


def _from(line: _Line) -> str:
    return str(line.rule["from"] if isinstance(line.rule, dict) else line.rule)


def _line(column: FileColumn, look: Look) -> _Line | str:
    """Give the line that a column makes, or what it looks like if none."""
    plain = _plain(column.name)
    if column.unreadable:
        return column.unreadable
    if column.shape:
        return f"an array of {column.shape} values a row; `element` takes one"
    if column.kind == "text":
        return _line_of_text(column, plain, look)
    if plain in _GAIA and _is_gaia(column, look):
        return _line_of_gaia(column, look)
    name = next((ours for ours, theirs in _NAMES.items() if plain in theirs), None)
    if name is None:
        result = next((ours for ours, theirs in _RESULTS.items() if plain in theirs), None)
        if result is None:
            return "nothing of ours has such a name"
        return f"it may be {result}: a result needs a table of results, and a spectrum with its natural key"
    return _line_of_number(name, column, look)


def _line_of_gaia(column: FileColumn, look: Look) -> _Line | str:
    """Propose a line for bare numbers of Gaia's, of the release that names in another column say."""
    numbers = np.ma.getdata(look.values(column.name)).tolist()
    for other in look.columns:
        if other.kind == "text" and not other.unreadable and not other.shape:
            named = [_GAIA_NAME.fullmatch(_as_text(value)) for value in look.values(other.name).tolist()]
            pairs = [(name, str(number)) for name, number in zip(named, numbers, strict=True) if name is not None]
            if pairs and all(name[2] == number for name, number in pairs):
                release = pairs[0][0][1]
                if release not in _OF_RELEASE:
                    return f"numbers of Gaia's DR{release}, as {other.name} says: nothing of ours has these"
                return _Line(_OF_RELEASE[release], column.name, f"numbers of Gaia's DR{release}, as {other.name} says")
    reason = "numbers as long as Gaia's; of DR3, if it is of another release, say gaia_dr2_source_id"
    return _Line("gaia_dr3_source_id", column.name, reason)


def _line_of_text(column: FileColumn, plain: str, look: Look) -> _Line | str:
    texts = [_as_text(value) for value in look.values(column.name).tolist()]
    texts = [text for text in texts if text]
    if texts and (line := _line_of_designations(column, texts)):
        return line
    if plain in _NAMES["sdss4_apogee_id"] and texts:
        return _Line("sdss4_apogee_id", column.name, f"its name; names such as {storable(texts[0], 40)}")
    if plain in _NAMES["ra"] or plain in _NAMES["dec"]:
        return "a position as text; mappings take numbers, in degrees or with a unit"
    return f"text such as {storable(texts[0], 40)}" if texts else "text, all of it empty"


def _line_of_designations(column: FileColumn, texts: list[str]) -> _Line | None:
    """Propose a line for names that say themselves what they are."""
    if all(TWO_MASS_NAME.fullmatch(text) for text in texts):
        rule = {"from": column.name}
        if not all(text.startswith("2M") and text[2:3].isdigit() for text in texts):
            rule["transform"] = "two_mass_name"
        return _Line("sdss4_apogee_id", rule, f"designations of 2MASS, such as {storable(texts[0], 40)}")
    numbered = [_GAIA_NAME.fullmatch(text) for text in texts]
    if all(numbered) and numbered[0] is not None and numbered[0][1] in _OF_RELEASE:
        rule = {"from": column.name, "regex": r"(\d+)$"}
        return _Line(_OF_RELEASE[numbered[0][1]], rule, f"names such as {storable(texts[0], 40)}")
    return None


def _line_of_number(name: str, column: FileColumn, look: Look) -> _Line | str:
    field = Source._meta.fields[name]
    ours = getattr(field, "unit", None)
    if column.kind == "bool":
        return f"it may be {name}, and has truth values"
    match = match_units(column.name, column.unit, ours)
    if match.factor is None:
        return str(match.note)
    is_identifier = name.endswith("id")
    if is_identifier and column.kind != "int":
        return f"it may be {name}, and is of {column.kind}: identifiers lose digits so, it is left out"
    if name in _RANGES and (problem := _out_of_range(name, column, look)):
        return problem
    if is_identifier or not ours:
        return _Line(name, column.name, "its name")
    if column.unit:
        return _Line(name, column.name, f"its name and unit, {match.note or column.unit}")
    rule = {"from": column.name, "unit": ours}
    return _Line(name, rule, f"its name; the file gives no unit, {ours} is ours: CHECK")


def _out_of_range(name: str, column: FileColumn, look: Look) -> str | None:
    low, high = _RANGES[name]
    numbers = _numbers(look.values(column.name))
    numbers = numbers[~np.isin(numbers, USUAL_MISSING)]
    if not len(numbers) or (numbers.min() >= low and numbers.max() <= high):
        return None
    return f"it may be {name}, and has values from {numbers.min():g} to {numbers.max():g}: these are no degrees"


def _is_gaia(column: FileColumn, look: Look) -> bool:
    numbers = look.values(column.name)
    return column.kind == "int" and len(numbers) > 0 and bool(np.median(np.ma.getdata(numbers)) > 1e9)


def _missing(look: Look) -> list[float]:
    """Give the numbers that usually stand for missing values, and are in the table more than by chance."""
    found: set[float] = set()
    for column in look.columns:
        if column.kind == "float" and not column.shape and not column.unreadable:
            numbers = _numbers(look.values(column.name))
            found.update(value for value in USUAL_MISSING if np.isclose(numbers, value, rtol=1e-7, atol=0).any())
    return sorted(found)


def _numbers(values: np.ndarray) -> np.ndarray:
    numbers = np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
    return numbers[np.isfinite(numbers)]


def _as_text(value: object) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else "" if value is None else str(value)
    return text.strip()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ---- the text


def _text(
    path: str,
    look: Look,
    lines: list[_Line],
    left: list[tuple[str, str]],
    missing: list[float],
    reader: ReaderOptions | None,
) -> str:
    """Write the proposal."""
    name = os.path.basename(path)
    parts = [f"# A proposal for {_comment(name)}: {look.n_rows} rows, {len(look.columns)} columns. Check every line."]
    identifiers = [line.name for line in lines if line.name in IDENTIFIERS]
    if not identifiers:
        parts.append(f"# TO BE COMPLETED: no identifier was found; a source needs one of {', '.join(IDENTIFIERS)}.")
    parts.append(f"name: {_yaml(os.path.splitext(name)[0])}")
    if reader is not None:
        parts.append(f"reader: {_yaml(reader.said())}")
    if missing:
        parts.append(f"missing: {_yaml(missing)}  # there are such values, which usually stand for missing ones")
    parts += ["tables:", f"  Source:{'' if lines else ' {}'}"]
    parts += [f"    {line.name}: {_yaml(line.rule)}  # {_comment(line.reason)}" for line in lines]
    if left:
        parts.append("# Columns that are left out, and why:")
        parts += [f"#   {_comment(column)}: {_comment(why)}" for column, why in left]
    return "\n".join(parts) + "\n"


def _yaml(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=False, width=100_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _comment(text: str) -> str:
    """Give text that stays within a comment of one line."""
    return " ".join(storable(text, 200).split()) if text else ""
