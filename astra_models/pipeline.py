"""What every pipeline's results have in common.

One result is kept per spectrum and major.minor version: `PipelineOutputMixin` has the keys, the generated
column ``v_astra_major_minor``, and the constraint that says so. Of several versions, `latest` selects the newest.
"""

from typing import Any, ClassVar, Self

import peewee

from astra_models.base import BaseModel
from astra_models.columns.headings import Heading
from astra_models.fields import (
    AutoField,
    DateTimeField,
    FloatField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    TextField,
    utc_now,
)
from astra_models.latest import LatestMixin
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.version import installed_v_astra


class PipelineOutputMixin(LatestMixin, BaseModel):
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
    v_astra_major_minor = GeneratedField("v_astra / 1000", "v_astra", lambda v_astra: v_astra // 1000)

    upsert_key: ClassVar[tuple[str, ...]] = ("spectrum_pk", "v_astra_major_minor")

    class Meta:
        constraints = [peewee.SQL("UNIQUE (spectrum_pk, v_astra_major_minor)")]

    @classmethod
    def from_spectrum(cls, spectrum: Any, **kwargs: Any) -> Self:
        """Make a result of a spectrum, with its keys.

        Parameters
        ----------
        spectrum : SpectrumMixin
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
        return cls(**kwargs)


PipelineOutputModel = PipelineOutputMixin
