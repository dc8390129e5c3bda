"""Which products of a source were written: its mwmVisit and mwmStar files."""

from typing import ClassVar

import peewee

from astra_models.columns.families import Family, WithFamilies, like
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, ForeignKeyField
from astra_models.pipeline import VERSION_AND_TIMING, LatestMixin, PipelineOutputMixin
from astra_models.source import Source


class MWMSpectrumProductStatus(WithFamilies, LatestMixin):
    """Whether the mwmVisit and mwmStar files of a source were written, and why not.

    It is about a source and not about a spectrum: one row per source and major.minor version.
    """

    _record = Heading("Keys, version and timing")
    _key = Family([like(PipelineOutputMixin, "task_pk")])
    source_pk = ForeignKeyField(Source, index=False)  # the unique constraint's index serves it
    _version_and_timing = Family([like(PipelineOutputMixin, *VERSION_AND_TIMING)])

    _products = Heading("Products")
    flags = BitField(help_text="What became of the source's products")
    flag_skipped_because_no_sdss_id = flags.flag(2**0, "Nothing written: the source has no sdss_id")
    flag_skipped_because_not_stellar_like = flags.flag(2**1, "Nothing written: the source isn't like a star")
    flag_attempted_but_exception = flags.flag(2**2, "Writing raised an exception")
    flag_created_mwm_visit = flags.flag(2**3, "The mwmVisit file was written")
    flag_created_mwm_star = flags.flag(2**4, "The mwmStar file was written")

    upsert_key: ClassVar[tuple[str, ...]] = ("source_pk", "v_astra_major_minor")
    record_columns: ClassVar[frozenset[str]] = PipelineOutputMixin.record_columns
    provenance_columns: ClassVar[frozenset[str]] = PipelineOutputMixin.provenance_columns

    class Meta:
        constraints = [peewee.SQL("UNIQUE (source_pk, v_astra_major_minor)")]
