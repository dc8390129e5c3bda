"""Which columns of a table go where: a YAML file says it (docs/mappings.md)."""

import hashlib
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from astra_models import outputs
from astra_models.errors import AstraError, VersionError, did_you_mean
from astra_models.ingest.tables.placing import Model, rank
from astra_models.ingest.tables.reading import ReaderOptions, ReaderOptionsError, reader_options
from astra_models.ingest.tables.shipped import is_name, shipped_names, shipped_text
from astra_models.ingest.tables.transforms import OF_TEXT, TRANSFORMS
from astra_models.ingested import NO_MAPPING, UNKNOWN_MAPPING
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_models.version import version_string_to_integer

__all__ = ["ColumnRule", "Mapping", "MappingError", "load_mapping", "own_mappings"]

NEEDS_TABLES = "it needs 'tables': by the name of a model, our columns and where they come from"
MAX_SEPARATION = 60.0
"""Arcsec on the sky. Stars that are further apart are two, whatever their identifiers; proper motion isn't counted."""
FOLDER = Path(__file__).parent / "mappings"
_KEYS = ("name", "like", "recognised_by", "not_with", "table", "release", "v_astra", "missing", "strict", "tables")
_KEYS += ("max_separation", "reader")
_RULE_KEYS = ("from", "plus", "element", "unit", "scale", "transform", "missing", "value", "values")
_RULE_KEYS += ("signed", "regex")


class MappingError(AstraError, ValueError):
    """A mapping that is wrong, or that doesn't fit the file."""


@dataclass(frozen=True)
class ColumnRule:
    """What one of our columns is made of.

    Parameters
    ----------
    model, name : type, str
        Our column.
    sources : tuple of str
        The file's column; the first of several that there is.
    plus : str or None
        A column that is added to it.
    element : int or None
        Which element of its array, from 0.
    unit : str or None
        Its unit, if the file doesn't say it, or wrongly.
    scale : float
        What it is multiplied by.
    transform : str or None
        A function of `transforms` that is applied to it.
    missing : tuple
        What stands for a missing value, besides what does in all columns.
    value : object
        A constant, instead of a column.
    values : dict
        By what the file says, what we say; what isn't there stays as it is.
    signed : bool
        Whether 0 and negative numbers are identifiers, too, and don't stand for a missing one.
    regex : str or None
        A regular expression that is searched for in the file's text: its group is taken, before `transform`.
    """

    model: Model
    name: str
    sources: tuple[str, ...] = ()
    plus: str | None = None
    element: int | None = None
    unit: str | None = None
    scale: float = 1.0
    transform: str | None = None
    missing: tuple[object, ...] = ()
    value: object = None
    values: dict[str, str] = field(default_factory=dict)
    signed: bool = False
    regex: str | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        """Our column, for messages."""
        return f"{self.model.__name__}.{self.name}"


@dataclass(frozen=True)
class Mapping:
    """Which columns of a table go where.

    Parameters
    ----------
    name : str
        What a file with such a table is called.
    rules : tuple of ColumnRule
        Our columns.
    recognised_by, not_with : tuple of str
        Columns that a file of this kind has, and has not, for those that are detected without `--mapping`.
    table : int, str or None
        Number or name of the HDU; the first with rows if not given.
    release : str or None
        The data release.
    v_astra : int or None
        The version that results are kept under.
    missing : tuple
        What stands for a missing value in any column: numbers, and text.
    strict : bool
        Whether a column that the file doesn't have is an error, and not only noted.
    max_separation : float or None
        How far apart on the sky two rows of one source may be, in arcsec; None if as far as you like.
    reader : ReaderOptions or None
        How a table of text is read, if it doesn't say so itself.
    """

    name: str
    rules: tuple[ColumnRule, ...]
    recognised_by: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()
    table: int | str | None = None
    release: str | None = None
    v_astra: int | None = None
    missing: tuple[object, ...] = ()
    strict: bool = True
    max_separation: float | None = MAX_SEPARATION
    reader: ReaderOptions | None = field(default=None, repr=False)

    @property
    def checksum(self) -> str:
        """A checksum of all that it says, but its name. Comments and the order of columns don't count."""
        rules = (replace(rule, values=dict(sorted(rule.values.items()))) for rule in self.rules)
        text = repr((sorted(repr((rule.title, rule)) for rule in rules), replace(self, name="", rules=())))
        # What came later is added where it is used: files that are known by other mappings stay known.
        patterns = sorted((rule.title, rule.regex) for rule in self.rules if rule.regex is not None)
        text += (repr(patterns) if patterns else "") + (repr(self.reader) if self.reader is not None else "")
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def models(self) -> list[Model]:
        """The models that it is for: sources, then spectra, then results."""
        return sorted(dict.fromkeys(rule.model for rule in self.rules), key=rank)

    def recognises(self, names: Iterable[str]) -> bool:
        """Tell whether a table with such columns is of this kind, without being named."""
        known = set(names)
        return bool(self.recognised_by) and known.issuperset(self.recognised_by) and known.isdisjoint(self.not_with)


GivenMapping = Mapping | dict[str, object] | str | os.PathLike[str]
"""A mapping, or a YAML file, or what is in one."""


def load_mapping(given: GivenMapping) -> Mapping:
    """Read a mapping and check it against the models.

    Parameters
    ----------
    given : str, Path or dict
        A YAML file, what is in one, or the name of a mapping that comes with the project.

    Raises
    ------
    MappingError
        If it can't be read, or names tables, columns or transforms that there aren't.
    """
    if isinstance(given, Mapping):
        return given
    where = "the mapping" if isinstance(given, dict) else f"the mapping {os.fspath(given)}"
    content = given if isinstance(given, dict) else _read(given, where)
    try:
        content = _with_what_it_is_like(content)
        return _mapping(content, "mapping" if isinstance(given, dict) else Path(given).stem)
    except MappingError as error:
        raise MappingError(f"{where}: {error}") from error


def mappings_to_know_by(given: GivenMapping | None) -> tuple[str, ...]:
    """Give the checksums of mappings by which a file is known, if it was read by one of them.

    Parameters
    ----------
    given : Mapping, path or dict, or None
        Its mapping; None if it is of a kind that is detected: then it was read by none, or by one of ours. Whether that
        is so of a file that an older release ingested isn't known, and taken for granted.
    """
    if given is not None:
        return (load_mapping(given).checksum,)
    return (NO_MAPPING, UNKNOWN_MAPPING, *_own_checksums())


@cache
def _own_checksums() -> tuple[str, ...]:
    return tuple(mapping.checksum for mapping in own_mappings())


def own_mappings() -> list[Mapping]:
    """Give the mappings of files that are detected from their columns."""
    return [mapping for name in shipped_names() if (mapping := _load_shipped(name)).recognised_by]


def _load_shipped(name: str) -> Mapping:
    return _mapping(_with_what_it_is_like(_read_shipped(name)), name)


def _read_shipped(name: str) -> dict[str, object]:
    try:
        return _parse(shipped_text(name), f"the mapping {name}")
    except LookupError as error:
        raise MappingError(f"{error.args[0]}; or give the path of a YAML file") from error


def _read(path: str | os.PathLike[str], where: str) -> dict[str, object]:
    if is_name(path):
        return _read_shipped(str(path))
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MappingError(f"{where} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
    return _parse(text, where)


def _parse(text: str, where: str) -> dict[str, object]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MappingError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise MappingError(f"{where} has no keys; it needs at least 'tables'")
    return content


def _with_what_it_is_like(content: dict[str, object]) -> dict[str, object]:
    """Fill in what a mapping doesn't say from the one that it is like: keys of the file, and columns of each table."""
    _require_known("key", content, _KEYS)
    if "like" not in content:
        return content
    _require_known("mapping to be like", [content["like"]], shipped_names())
    other = _with_what_it_is_like(_read_shipped(str(content["like"])))
    tables = dict(_as_dict(other["tables"]))
    for table, columns in _as_dict(content.get("tables") or {}).items():
        tables[table] = {**_as_dict(tables.get(table, {})), **columns} if isinstance(columns, dict) else columns
    return {**other, **content, "tables": tables}


def _as_dict(given: object) -> dict[str, object]:
    if isinstance(given, dict):
        return given
    raise MappingError(NEEDS_TABLES)


def _mapping(content: dict[str, object], name: str) -> Mapping:
    tables = content.get("tables")
    if not isinstance(tables, dict) or not tables:
        raise MappingError(NEEDS_TABLES)
    rules = [rule for table, columns in tables.items() for rule in _rules(str(table), columns)]
    table = content.get("table")
    return Mapping(
        name=str(content.get("name", name)),
        rules=tuple(_unique_models(rules)),
        recognised_by=tuple(map(str, _list(content.get("recognised_by")))),
        not_with=tuple(map(str, _list(content.get("not_with")))),
        table=table if isinstance(table, int) else _text(table),
        release=_text(content.get("release")),
        v_astra=_version(content.get("v_astra")),
        missing=_list(content.get("missing")),
        strict=bool(content.get("strict", True)),
        max_separation=_separation(content.get("max_separation", MAX_SEPARATION)),
        reader=_reader(content.get("reader")),
    )


def _rules(table: str, columns: object) -> list[ColumnRule]:
    models = {model.__name__: model for model in _models()}
    if table not in models:
        raise MappingError(f"there is no table {table!r}; {did_you_mean(table, models)}")
    if not isinstance(columns, dict):
        raise MappingError(f"{table}: give our columns, and of each where it comes from")
    return [_rule(models[table], str(name), given) for name, given in columns.items()]


def _rule(model: Model, name: str, given: object) -> ColumnRule:
    title = f"{model.__name__}.{name}"
    if name not in model._meta.fields:
        raise MappingError(f"{model.__name__} has no column {name!r}; {did_you_mean(name, model._meta.fields)}")
    if not isinstance(given, dict):
        given = {"from": given}
    _require_known(f"key of {title}", given, _RULE_KEYS)
    if "regex" in given and "from" not in given:
        raise MappingError(f"{title}: 'regex' is searched for in a column of the file; name it by 'from'")
    if ("from" in given) == ("value" in given):
        raise MappingError(f"{title}: give either 'from', a column of the file, or 'value', a constant")
    transform = _text(given.get("transform"))
    if transform is not None:
        _require_known(f"transform of {title}", [transform], TRANSFORMS)
    element, scale, values = given.get("element"), given.get("scale", 1), given.get("values") or {}
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not isinstance(element, int | None):
        raise MappingError(f"{title}: 'scale' is a number, and 'element' a whole one")
    signed = given.get("signed", False)
    if not isinstance(signed, bool):
        raise MappingError(f"{title}: 'signed' is true or false")
    if not isinstance(values, dict):
        raise MappingError(f"{title}: 'values' says by what the file has what we say")
    return ColumnRule(
        model=model,
        name=name,
        sources=tuple(map(str, _list(given.get("from")))),
        plus=_text(given.get("plus")),
        element=element,
        unit=_text(given.get("unit")),
        scale=float(scale),
        transform=transform,
        missing=_list(given.get("missing")),
        value=given.get("value"),
        values={str(theirs): str(ours) for theirs, ours in values.items()},
        signed=signed,
        regex=_regex(title, given.get("regex"), transform),
    )


def _unique_models(rules: list[ColumnRule]) -> list[ColumnRule]:
    models = list(dict.fromkeys(rule.model for rule in rules))
    for base, what in ((SpectrumMixin, "spectra"), (PipelineOutputMixin, "results")):
        several = [model.__name__ for model in models if issubclass(model, base)]
        if len(several) > 1:
            raise MappingError(f"a row can be of one table of {what}, not of {' and '.join(several)}")
    return rules


def _models() -> list[Model]:
    models = outputs.all_models()
    return [model for model in models if model is Source or issubclass(model, SpectrumMixin | PipelineOutputMixin)]


def _require_known(what: str, given: Iterable[object], known: Iterable[str]) -> None:
    for name in given:
        if str(name) not in known:
            raise MappingError(f"there is no {what} {name!r}; {did_you_mean(str(name), known)}")


def _reader(given: object) -> ReaderOptions | None:
    try:
        return None if given is None else reader_options(given)
    except ReaderOptionsError as error:
        raise MappingError(str(error)) from error


def _regex(title: str, given: object, transform: str | None) -> str | None:
    """Check a regular expression, and that what it gives can be transformed."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise MappingError(f"{title}: 'regex' is {given!r}; give a regular expression as text")
    try:
        pattern = re.compile(given)
    except (re.error, OverflowError, RecursionError) as error:
        raise MappingError(f"{title}: the regular expression {given!r} can't be read: {error}") from error
    if pattern.groups > 1:
        raise MappingError(
            f"{title}: the regular expression {given!r} has {pattern.groups} groups, and one is taken; write the "
            "others as (?:...)"
        )
    if transform is not None and transform not in OF_TEXT:
        raise MappingError(f"{title}: 'regex' gives text, and the transform {transform!r} takes numbers")
    return given


def _separation(given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or given <= 0:
        raise MappingError(
            f"max_separation is {given!r}; give an angle in arcsec, or null if rows of one source may be anywhere"
        )
    return float(given)


def _version(given: object) -> int | None:
    try:
        if given is None or isinstance(given, str):
            return None if given is None else version_string_to_integer(given)
        return int(given)  # pyright: ignore[reportArgumentType]  raises for what is no number
    except (VersionError, TypeError, ValueError) as error:
        raise MappingError(f"v_astra {given!r} is no version: {error}") from error


def _text(given: object) -> str | None:
    return None if given is None else str(given)


def _list(given: object) -> tuple[object, ...]:
    return () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
