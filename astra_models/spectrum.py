"""Spectra: the table whose key, ``spectrum_pk``, is unique over all kinds, and what every kind shares."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import peewee
from numpy.typing import ArrayLike

from astra_models.base import BaseModel
from astra_models.columns.headings import Heading
from astra_models.configuration import expand_path
from astra_models.database.models import Late
from astra_models.database.peewee_internals import row_as_read
from astra_models.database.retry import run_transaction
from astra_models.database.revisions import make_revision_trigger
from astra_models.database.sql import is_any_of
from astra_models.declared import RelatedRow
from astra_models.errors import UnresolvedSpectrumError
from astra_models.fields import AutoField, BigIntegerField, BitField, DateTimeField, ForeignKeyField, TextField, utc_now
from astra_models.notebook.rows import ShownAs
from astra_models.notebook.spectra import spectrum_html
from astra_models.pixels.arrays import PixelsMixin
from astra_models.pixels.paths import fill_path
from astra_models.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from specutils import Spectrum as SpecutilsSpectrum

logger = logging.getLogger(__name__)


class Spectrum(BaseModel):
    """A spectrum of any kind, with all attributes of its row in the table of that kind: ``flux``, ``snr``..."""

    pk = AutoField()
    spectrum_flags = BitField()
    results: Any = Late()
    """Its results of all pipelines: a query for each table, by name; set by `astra_models.outputs.relations`."""

    _resolved: "SpectrumMixin | None" = None
    _repr_html_ = ShownAs(spectrum_html)

    @property
    def spectrum_pk(self) -> int:
        """Key of the spectrum, under the name that it has everywhere else."""
        return self.pk

    def resolve(self) -> "SpectrumMixin":
        """Find the row in the table of its kind, by one query over all kinds of spectra.

        Raises
        ------
        UnresolvedSpectrumError
            If no kind of spectrum has this key.
        """
        if self._resolved is None:
            self._resolved = _find_concrete_row(self.pk)
        return self._resolved

    def __getattr__(self, name: str) -> Any:
        # Only reached for what Spectrum itself doesn't have. Private and special names are never
        # passed on: copying and unpickling look for them on an object without any data yet.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.resolve(), name)


class SpectrumMixin(PixelsMixin, BaseModel):
    """Base of every kind of spectrum: each class derived from it is a kind."""

    abstract = True

    _record = Heading("Keys and record")
    pk = AutoField()
    spectrum_pk = ForeignKeyField(Spectrum, null=True, unique=True, index=False)
    source_pk = ForeignKeyField(Source, null=True)
    path = TextField(null=True)
    created = DateTimeField(default=utc_now)
    modified = DateTimeField(default=utc_now, index=True)
    revision = BigIntegerField(
        null=True, unit="", help_text="How often its columns changed, and 2**32 times how often its pixels did"
    )

    flux: Any
    ivar: Any
    wavelength: Any
    results: Any = Late()
    """Its results of all pipelines: a query for each table, by name; set by `astra_models.outputs.relations`."""

    source = RelatedRow("source_pk")
    _repr_html_ = ShownAs(spectrum_html)

    not_revised: ClassVar[tuple[str, ...]] = ("pk", "spectrum_pk", "source_pk", "path", "created", "modified")
    """Columns whose change doesn't make a new revision: nothing that is measured depends on them."""

    natural_key: ClassVar[tuple[str, ...]] = ()
    """Columns that identify a spectrum in its survey; no two rows have the same values in them."""
    path_templates: ClassVar[Mapping[str, str]] = {}
    """Where files are in the survey's tree, by release; see `paths`."""

    @classmethod
    def validate_model(cls) -> None:
        """Give the natural key its unique index; peewee calls it once the class has its columns."""
        key = (cls.natural_key, True)
        if cls.natural_key and key not in cls._meta.indexes:
            cls._meta.indexes = [*cls._meta.indexes, key]
        super().validate_model()

    @classmethod
    def complete_table(cls) -> None:
        """Have the database raise ``revision`` whenever a row changes, whoever changes it and however."""
        make_revision_trigger(cls, cls.not_revised)

    @property
    def absolute_path(self) -> str:
        """Where the spectrum's file is: its `path`, else its place in the survey's tree.

        Raises
        ------
        MissingPixelsError
            If the row doesn't say.
        ConfigurationError
            If an environment variable in it isn't set.
        """
        path = self.__data__.get("path")  # as `self.path`, which takes longer than expanding it
        return fill_path(self) if path is None else expand_path(path)

    @property
    def e_flux(self) -> np.ndarray:
        """Uncertainty of the flux, of its shape and unit; infinite where `ivar` is 0."""
        ivar = np.asarray(self.ivar)
        good = ivar > 0
        return np.where(good, 1 / np.sqrt(np.where(good, ivar, 1)), np.inf)

    def plot(
        self,
        ax: "Axes | Sequence[Axes] | None" = None,
        *,
        model_flux: ArrayLike | None = None,
        continuum: ArrayLike | None = None,
        flags: bool = True,
    ) -> "Figure":
        """Plot flux against wavelength, with its uncertainty as a band.

        Continuum and model flux are plotted over it if they are given, or the file has them; flagged pixels are
        shaded. Each chip of a spectrum has a panel of its own.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or sequence of them, optional
            Where to plot; a new figure if not given.
        model_flux, continuum : array_like, optional
            A model of the flux, and the continuum, of the flux's shape; those of the spectrum's file if not given.
        flags : bool, optional
            Whether pixels with mask bits set are shaded.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        MissingExtraError
            If matplotlib, the ``plot`` extra, isn't installed.
        """
        from astra_models.pixels.plot import plot_spectrum

        return plot_spectrum(self, ax, model_flux=model_flux, continuum=continuum, flags=flags)

    def to_specutils(self) -> "SpecutilsSpectrum":
        """Make a `specutils.Spectrum`, with units, uncertainty and mask. Needs the ``specutils`` extra."""
        from astra_models.pixels.specutils_spectrum import make_specutils_spectrum

        return make_specutils_spectrum(self)


def _find_concrete_row(spectrum_pk: int) -> SpectrumMixin:
    models = list(SpectrumMixin.concrete_models())
    try:
        row = _query_kinds(models, spectrum_pk)
    except (peewee.OperationalError, peewee.ProgrammingError):
        # Not every kind need have its table, in a small database of one's own.
        row = _query_kinds([model for model in models if model.table_exists()], spectrum_pk)
    if row is None:
        kinds = ", ".join(model._meta.table_name for model in models)
        raise UnresolvedSpectrumError(f"spectrum_pk {spectrum_pk} is in none of the tables {kinds}")
    return row


def _query_kinds(models: list[type[SpectrumMixin]], spectrum_pk: int) -> SpectrumMixin | None:
    query = Spectrum.select(Spectrum.pk, *models)
    for model in models:
        query = query.switch(Spectrum).join(
            model, peewee.JOIN.LEFT_OUTER, on=(model.spectrum_pk == Spectrum.pk), attr=model.__name__
        )
    with Spectrum._meta.database.atomic():
        found = query.where(Spectrum.pk == spectrum_pk).first()
    if found is None:
        return None
    rows = (found.__dict__.get(model.__name__) for model in models)
    return next((row for row in rows if row is not None and row.pk is not None), None)


def load_spectra(model: type[SpectrumMixin], spectrum_pks: Iterable[int], chunk: int = 500) -> Iterator[SpectrumMixin]:
    """Read spectrum rows by key, a chunk at a time, in the order of the keys.

    Parameters
    ----------
    model : type
        The kind of spectrum.
    spectrum_pks : iterable of int
        Keys. Those without a row are skipped.
    chunk : int, optional
        Rows per query.

    Yields
    ------
    SpectrumMixin
        Rows whose pixels haven't been read.
    """
    keys = iter(spectrum_pks)
    while some := list(itertools.islice(keys, chunk)):
        rows = run_transaction(model._meta.database, lambda some=some: _read_rows(model, some))
        if len(rows) < len(some):
            logger.warning("%d of %d spectra are no longer in the database", len(some) - len(rows), len(some))
        yield from (rows[key] for key in some if key in rows)


def _read_rows(model: type[SpectrumMixin], spectrum_pks: list[int]) -> dict[int, SpectrumMixin]:
    """Read rows by key. Millions are read, and most columns are taken as they are: rows are made without peewee."""
    fields = model._meta.sorted_fields
    names = [field.name for field in fields]
    converters = [(field.name, field.python_value) for field in fields if not _is_read_as_it_is(field)]
    rows = {}
    for values in model._meta.database.execute(model.select().where(is_any_of(model.spectrum_pk, spectrum_pks))):
        columns = dict(zip(names, values, strict=True))
        for name, convert in converters:
            value = columns[name]
            if value is not None:
                columns[name] = convert(value)
        rows[columns["spectrum_pk"]] = row_as_read(model, columns)
    return rows


def _is_read_as_it_is(field: peewee.Field) -> bool:
    # A production schema may hold versions as text.
    return getattr(field, "stored_type", None) != "text" and isinstance(field, _READ_AS_THEY_ARE)


_READ_AS_THEY_ARE = (peewee.IntegerField, peewee.ForeignKeyField, peewee.TextField)
