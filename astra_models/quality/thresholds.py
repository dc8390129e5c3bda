"""What counts as wrong, as numbers: the section ``quality`` of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from astra_models.configuration import kind_of, read_configuration, shown_key
from astra_models.errors import ConfigurationError, did_you_mean
from astra_models.quality.ranges import Range

__all__ = ["Thresholds", "changed_thresholds", "thresholds_for"]

SECTION = "quality"
PIPELINES, RANGES = "pipelines", "ranges"


@dataclass(frozen=True)
class Thresholds:
    """When a table counts as wrong, and how much of it is read.

    Parameters
    ----------
    min_coverage : float
        The smallest share of the spectra that a pipeline takes that should have a result.
    max_failed : float
        The largest share of them that may be listed as failed.
    max_quarantined : int
        How many results may be listed because they couldn't be stored.
    max_flagged_change, max_missing_change : float
        By how much the share of flagged results, and of missing values in a column, may differ from before.
    max_shift : float
        By how much a column's median may differ from before, in units of its robust spread, 1.4826 MAD.
    max_spread_ratio : float
        The factor by which a column's robust spread may differ from before.
    significance : float
        How many standard errors a difference has to have; it keeps small nights from raising alarms.
    min_rows : int
        Fewer rows than these aren't compared.
    max_outside : float
        The share of results without a flag whose value may be outside its physical range before products wait.
    fresh_days : float
        Days after which the newest row is old.
    sample_rows : int
        A table of more rows is judged by a sample of at most these.
    sample_spectra : int
        Of more spectra, this many are asked for whether they are due.
    sample_values : int
        The most values, rows times columns, that are read of a table.
    seed : int
        Seed of the sample's random numbers.
    ranges : mapping of str to tuple of float
        Physical ranges by column that replace the built-in ones.
    """

    min_coverage: float = 0.95
    max_failed: float = 0.1
    max_quarantined: int = 0
    max_flagged_change: float = 0.1
    max_missing_change: float = 0.1
    max_shift: float = 0.5
    max_spread_ratio: float = 3.0
    significance: float = 4.0
    min_rows: int = 20
    max_outside: float = 0.001
    fresh_days: float = 7.0
    sample_rows: int = 10_000
    sample_spectra: int = 5_000
    sample_values: int = 600_000
    seed: int = 1
    ranges: Mapping[str, Range] = field(default_factory=dict)


def thresholds_for(pipeline: str, declared: Mapping[str, Any] | None = None) -> Thresholds:
    """Give a pipeline's thresholds: those of all pipelines, its own over them, and those of its asset over both.

    Parameters
    ----------
    pipeline : str
        Its name, as in ``quality: pipelines:`` of the configuration.
    declared : mapping, optional
        Thresholds that its asset was declared with.

    Raises
    ------
    ConfigurationError
        If the section has an unknown name, or a value that is none.
    """
    section = _mapping(SECTION, read_configuration().get(SECTION) or {})
    own = _mapping(f"{SECTION}: {PIPELINES}", section.get(PIPELINES) or {})
    common = {name: value for name, value in section.items() if name != PIPELINES}
    found = changed_thresholds(Thresholds(), SECTION, common)
    found = changed_thresholds(found, f"{SECTION}: {PIPELINES}: {pipeline}", own.get(pipeline) or {})
    return changed_thresholds(found, f"thresholds of {pipeline}", declared or {})


def changed_thresholds(before: Thresholds, where: str, section: object) -> Thresholds:
    """Give thresholds some of which are changed.

    Parameters
    ----------
    before : Thresholds
        Those that aren't named keep their values.
    where : str
        Where the others are written, for errors.
    section : object
        A mapping of names to values; of ``ranges`` the columns that are named are changed.

    Raises
    ------
    ConfigurationError
        If it has an unknown name, or a value that is none.
    """
    values: dict[str, Any] = {}
    known = {each.name: int if each.type is int else float for each in fields(Thresholds) if each.name != RANGES}
    for name, value in _mapping(where, section).items():
        if name == RANGES:
            given = _mapping(f"{where}: {RANGES}", value or {})
            values[RANGES] = {**before.ranges, **{key: _range(where, key, each) for key, each in given.items()}}
        elif name in known:
            values[name] = _number(where, name, value, known[name])
        else:
            hint = did_you_mean(str(name), [*known, RANGES], "see docs/checks.md") if str(name).isidentifier() else ""
            raise ConfigurationError(
                f"{where}: there is no threshold {shown_key(name)}; {hint or 'see docs/checks.md'}"
            )
    return replace(before, **values)


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{where}: is {kind_of(value)}; it is a mapping of names to values, see docs/checks.md"
        )
    return value


def _number(where: str, name: str, value: object, wanted: type[int | float]) -> float:
    is_wanted = wanted is float or (isinstance(value, int | float) and float(value).is_integer())
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and is_wanted:
        return wanted(value)
    kind = "a whole number" if wanted is int else "a number"
    raise ConfigurationError(f"{where}: {name} is {kind_of(value)}; give {kind} of 0 or more")


def _range(where: str, name: object, value: object) -> Range:
    numbers = value if isinstance(value, list | tuple) else ()
    if len(numbers) == 2 and all(isinstance(each, int | float) for each in numbers) and numbers[0] < numbers[1]:
        return float(numbers[0]), float(numbers[1])
    raise ConfigurationError(
        f"{where}: {RANGES}: {shown_key(name)} is {kind_of(value)}; give the smallest and the largest value, as [0, 5]"
    )
