"""Which products of a source were written: its mwmVisit and mwmStar files."""

from typing import ClassVar

import peewee

from astra_models.columns.headings import Heading
from astra_models.fields import (
    AutoField,
    BitField,
    DateTimeField,
    FloatField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    TextField,
    utc_now,
)
from astra_models.pipeline import LatestMixin, PipelineOutputMixin
from astra_models.source import Source
from astra_models.version import installed_v_astra


class MWMSpectrumProductStatus(LatestMixin):
    """Whether the mwmVisit and mwmStar files of a source were written, and why not.

    It is about a source and not about a spectrum: one row per source and major.minor version.
    """

    _record = Heading("Keys, version and timing")
    task_pk = AutoField()
    source_pk = ForeignKeyField(Source, index=False)  # the unique constraint's index serves it
    v_astra = IntegerField(default=installed_v_astra, index=True)
    created = DateTimeField(default=utc_now)
    modified = DateTimeField(default=utc_now)
    t_elapsed = FloatField(null=True)
    t_overhead = FloatField(null=True)
    tag = TextField(default="")
    v_astra_major_minor = GeneratedField("v_astra / 1000", "v_astra", lambda v_astra: v_astra // 1000)

    _products = Heading("Products")
    flags = BitField(help_text="What became of the source's products")
    flag_skipped_because_no_sdss_id = flags.flag(2**0, "Nothing written: the source has no sdss_id")
    flag_skipped_because_not_stellar_like = flags.flag(2**1, "Nothing written: the source isn't like a star")
    flag_attempted_but_exception = flags.flag(2**2, "Writing raised an exception")
    flag_created_mwm_visit = flags.flag(2**3, "The mwmVisit file was written")
    flag_created_mwm_star = flags.flag(2**4, "The mwmStar file was written")

    upsert_key: ClassVar[tuple[str, ...]] = ("source_pk", "v_astra_major_minor")
    record_columns: ClassVar[frozenset[str]] = PipelineOutputMixin.record_columns

    class Meta:
        constraints = [peewee.SQL("UNIQUE (source_pk, v_astra_major_minor)")]
