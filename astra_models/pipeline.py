"""What every pipeline's results have in common.

One result is kept per spectrum and major.minor version: `PipelineOutputMixin` has the keys, the generated
column ``v_astra_major_minor``, and the constraint that says so. Of several versions, `latest` selects the newest.
"""

import operator
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import peewee

from astra_models.base import BaseModel, database
from astra_models.columns.flagging import Rules, add_flags, flags_to_update, rows_with_flags, rules_of
from astra_models.columns.headings import Heading
from astra_models.columns.many import ManyResults, columns_by_name, key_column, with_more_flags
from astra_models.columns.noise import NoiseModel, uncertainties
from astra_models.database.models import forget_references
from astra_models.database.peewee_internals import NO_DEFAULTS
from astra_models.errors import ModelError
from astra_models.fields import (
    AutoField,
    BigIntegerField,
    DateTimeField,
    FloatField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    TextField,
    utc_now,
)
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import installed_v_astra

VERSION_AND_TIMING = ("v_astra", "created", "modified", "t_elapsed", "t_overhead", "tag", "v_astra_major_minor")
"""The columns, of those of `PipelineOutputMixin`, that every table has whose rows are kept by version."""

REVISION = "revision"

VERSIONS = ("v_astra_major_minor", "v_astra")


Condition = bool | peewee.ColumnBase
"""What a hybrid property gives: of a row, whether something is so; of its model, the condition for queries."""


class LatestMixin(BaseModel):
    """Base of tables that keep a row per version. One of the columns of their key is the version."""

    abstract = True

    @classmethod
    def latest(cls, *columns: peewee.Node | type[BaseModel]) -> "peewee.ModelSelect[Self]":
        """Select the rows of the newest version: one per spectrum, or whatever else the key has beside the version.

        It is a query like ``select()``: ``.where(...)``, ``.join(Source)`` and the rest go on from there. A condition
        is on the newest rows: one that only an older row meets selects nothing.

        Parameters
        ----------
        *columns
            What to select, as for ``select``: all columns of the model by default.
        """
        return cls.select(*columns).where(cls.is_latest())

    @classmethod
    def is_latest(cls) -> peewee.Expression:
        """Give the condition that there is no newer version of a row, for queries of several tables."""
        newer = cls.alias()
        version = next(name for name in cls.upsert_key if name in VERSIONS)
        conditions = [getattr(newer, name) == getattr(cls, name) for name in cls.upsert_key if name != version]
        conditions.append(getattr(newer, version) > getattr(cls, version))
        # Both databases answer it from the index of the unique key, or at once by an anti-join.
        return ~peewee.fn.EXISTS(newer.select(peewee.SQL("1")).where(reduce(operator.and_, conditions)))


class PipelineOutputMixin(LatestMixin):
    """Base of every pipeline's result table.

    A model of one's own adds its columns::

        class MyPipeline(PipelineOutputMixin):
            teff = FloatField(null=True)
            result_flags = BitField()
    """

    abstract = True

    _record = Heading("Keys, version and timing")
    task_pk = AutoField()
    source_pk = ForeignKeyField(Source, null=True)
    spectrum_pk = ForeignKeyField(Spectrum, index=False)  # the unique constraint's index serves it
    v_astra = IntegerField(default=installed_v_astra, index=True)
    created = DateTimeField(default=utc_now)
    modified = DateTimeField(default=utc_now)
    t_elapsed = FloatField(null=True)
    t_overhead = FloatField(null=True)
    tag = TextField(default="")
    v_astra_major_minor = GeneratedField(
        "v_astra / 1000",
        "v_astra",
        lambda v_astra: (v_astra - np.fmod(v_astra, 1000)) // 1000,  # towards zero, as databases divide
    )
    pipeline_run_pk = IntegerField(null=True)
    spectrum_revision = BigIntegerField(null=True)
    upstream_revision = BigIntegerField(null=True)
    revision = BigIntegerField(null=True, unit="", help_text="Hash of the values: changes when one of them changes")

    upsert_key: ClassVar[tuple[str, ...]] = ("spectrum_pk", "v_astra_major_minor")
    provenance_columns: ClassVar[frozenset[str]] = frozenset(
        {"v_astra", "created", "modified", "t_elapsed", "t_overhead"}
    )

    _rules: ClassVar[Rules | None] = None
    same_unless_given: ClassVar[Mapping[str, str]] = {}
    """Columns of a result that have the value of another one, where none is given: the formal errors, for example."""
    noise_model: ClassVar[NoiseModel] = {}
    """How uncertainties follow from formal errors, for `apply_noise_model`."""

    if not TYPE_CHECKING:  # as in `BaseModel`

        class Meta:
            constraints = [peewee.SQL("UNIQUE (spectrum_pk, v_astra_major_minor)")]

    def __init__(self, *args: object, **kwargs: object):
        if self._rules is not None and NO_DEFAULTS not in kwargs:
            add_flags(self._rules, kwargs)
        super().__init__(*args, **kwargs)

    @classmethod
    def validate_model(cls) -> None:
        """Check also the rules of flags, when the class is made."""
        try:
            rules = rules_of(cls)
        except ModelError:
            forget_references(cls)
            raise
        cls._rules = rules if rules.flags else None
        super().validate_model()

    @classmethod
    def apply_flags(cls, where: peewee.ColumnBase | None = None) -> int:
        """Set the flags that follow from the values of stored rows, by the rules of the model, where they aren't set.

        Results that a pipeline makes have them already. Rows that came otherwise may not: from files, from another
        database, by an upsert of plain values, or from before there was a rule. No flag is cleared.

        Parameters
        ----------
        where : peewee.Expression, optional
            Which rows; all by default.

        Returns
        -------
        int
            How many rows had no such flag before, which are now of another revision.
        """
        with database.atomic():
            return sum(
                cls.update({field: bits}).where(lacks if where is None else lacks & where).execute()
                for field, (bits, lacks) in flags_to_update(cls).items()
            )

    @classmethod
    def apply_noise_model(cls, noise_model: NoiseModel | None = None, where: peewee.ColumnBase | None = None) -> int:
        """Make uncertainties of stored rows from their formal errors: ``e_teff`` from ``raw_e_teff``, and so on.

        Parameters
        ----------
        noise_model : mapping of str to (float, float), optional
            For labels by name, what the formal error is multiplied by, and what is added to it, in the label's unit;
            the model's own by default.
        where : peewee.Expression, optional
            Which rows; all by default.

        Returns
        -------
        int
            How many rows had other uncertainties before, which are now of another revision.

        Raises
        ------
        ModelError
            If the model has no noise model of its own, and none is given.
        UnknownColumnError
            If the model has no such label, or no formal error of it.
        """
        noise_model = cls.noise_model if noise_model is None else noise_model
        if not noise_model:
            raise ModelError(
                f"{cls.__name__} has no noise model of its own; give one, such as {{'teff': (scale, offset in K)}}"
            )
        values, is_other = uncertainties(cls, noise_model)
        return cls.update(values).where(is_other if where is None else is_other & where).execute()

    @classmethod
    def update(cls, __data: dict[Any, Any] | None = None, /, **values: object) -> peewee.ModelUpdate:
        """Make an UPDATE query, which moves ``modified``, and the revision if it sets a value."""
        data = dict(__data or {}) | values
        names = {getattr(key, "name", key) for key in data}
        if cls._has_revision() and names - cls.record_columns - cls.provenance_columns:
            data[REVISION] = peewee.fn.COALESCE(cls.revision, 0) + 1
        return super().update(data)

    def save(self, force_insert: bool = False, only: Iterable[peewee.Field | str] | None = None) -> int:
        """Write the row; an update moves ``modified`` and the revision."""
        if self.get_id() is None or force_insert or not self._has_revision():
            return super().save(force_insert, only)
        self.revision = (self.revision or 0) + 1
        return super().save(only=None if only is None else [*only, REVISION])

    @classmethod
    def _has_revision(cls) -> bool:
        """Tell whether the table in the bound database keeps revisions; a production schema's doesn't."""
        database.follow_tables()
        return REVISION in cls._meta.sorted_field_names

    @classmethod
    def from_spectrum(cls, spectrum: Spectrum | SpectrumMixin, **kwargs: object) -> Self:
        """Make a result of a spectrum, with its keys.

        Parameters
        ----------
        spectrum : Spectrum or SpectrumMixin
            The spectrum that was analysed.
        **kwargs
            Measured values and flags.

        Raises
        ------
        ValueError
            If a ``spectrum_pk`` or ``source_pk`` is given that isn't the spectrum's.
        """
        for name in ("spectrum_pk", "source_pk"):
            key = getattr(spectrum, name)
            if kwargs.setdefault(name, key) != key:
                raise ValueError(
                    f"{cls.__name__}: {name} {kwargs[name]} was given, but the spectrum's is {key}; leave it out"
                )
        for name, other in cls.same_unless_given.items():
            if kwargs.get(other) is not None:
                kwargs.setdefault(name, kwargs[other])
        return cls(**(kwargs if cls._rules is None else cls._rules.defaults | kwargs))

    @classmethod
    def from_spectra(cls, spectra: Iterable[Spectrum | SpectrumMixin], **kwargs: object) -> ManyResults[Self]:
        """Make the results of many spectra at once, with their keys; the values stay columns until they are stored.

        A pipeline yields it, or `upsert` takes it as it is. Iterate it for the rows.

        Parameters
        ----------
        spectra : iterable of Spectrum or SpectrumMixin, n_spectra of them
            The spectra that were analysed.
        **kwargs : array_like, of shape (n_spectra,), or scalar
            Measured values and flags by name: an array has one for each spectrum, in their order (masked where there
            is none), a scalar is for all of them. A column of arrays takes shape (n_spectra, n_values).

        Raises
        ------
        UnknownColumnError
            If a name is no column or flag; it says the nearest one.
        FieldValueError
            If an array isn't as long as `spectra`, or its unit can't be converted.
        ValueError
            If a ``spectrum_pk`` or ``source_pk`` is given that isn't the spectrum's.
        TypeError
            If one of `spectra` is no spectrum.
        """
        found = list(spectra)
        keys = {name: key_column(_keys_of(cls, found, name)) for name in ("spectrum_pk", "source_pk")}
        columns = columns_by_name(cls, kwargs, len(found))
        for name, own in keys.items():
            if name in columns:
                _require_same_keys(f"{cls.__name__}: {name}", columns[name], own)
        for name, other in cls.same_unless_given.items():
            if other in columns:
                columns.setdefault(name, columns[other])
        if cls._rules is not None:
            with_more_flags(columns, rows_with_flags(cls._rules, columns, len(found)))
        return ManyResults(
            cls, keys | {name: values for name, values in columns.items() if name not in keys}, len(found)
        )


def _keys_of(model: type[PipelineOutputMixin], spectra: list[Any], name: str) -> list[object]:
    """Give a key of spectra: of rows, from what was read of them."""
    try:
        return [row.__data__[name] if isinstance(row, SpectrumMixin) else getattr(row, name) for row in spectra]
    except KeyError:  # a column that wasn't read
        return [getattr(row, name) for row in spectra]
    except AttributeError as error:
        raise TypeError(
            f"{model.__name__}.from_spectra takes spectra alone, without what goes with them: {error}"
        ) from error


def _require_same_keys(name: str, given: np.ndarray, own: np.ndarray) -> None:
    for one, spectrums in zip(given.tolist(), own.tolist(), strict=True):
        if one != spectrums:
            raise ValueError(f"{name} {one} was given, but the spectrum's is {spectrums}; leave it out")


PipelineOutputMixin.record_columns = frozenset(PipelineOutputMixin._meta.fields)
PipelineOutputMixin.made_from = ("pipeline_run_pk", "spectrum_revision", "upstream_revision", "revision")

PipelineOutputModel = PipelineOutputMixin
