"""Which files of spectra were read, and what was in them: size, time and a fingerprint of every byte.

A file that has the same size and time as when it was read isn't opened again. The fingerprint stands beside each
spectrum of the file, so that one join by ``spectrum_pk`` tells from which content a spectrum was made.
"""

from collections.abc import Iterable

from astra_models.base import BaseModel, bound_schema, database
from astra_models.database.sql import is_any_of, rows_of
from astra_models.fields import (
    AutoField,
    BigIntegerField,
    DateTimeField,
    ForeignKeyField,
    IntegerField,
    TextField,
    utc_now,
)
from astra_models.spectrum import Spectrum

__all__ = ["SpectrumContent", "SpectrumFile", "contents_of", "keeps_contents"]


class SpectrumFile(BaseModel):
    """A file of spectra that was read, or refused."""

    pk = AutoField()
    path = TextField(unique=True, help_text="The file, absolute")
    size = BigIntegerField(unit="byte", help_text="Size of the file when it was read")
    mtime_ns = BigIntegerField(unit="ns", help_text="Time of its last change then, since 1970")
    content = BigIntegerField(null=True, unit="", help_text="Fingerprint of all its bytes; NULL if it was refused")
    reader = IntegerField(unit="", help_text="Revision of the reader that read it")
    v_astra = IntegerField(help_text="The version that read it")
    spectra = IntegerField(unit="", help_text="How many stored spectra are of this file")
    newest_visit = BigIntegerField(
        null=True, unit="", help_text="Highest spectrum_pk of a visit then, if spectra are made of visits"
    )
    refused = TextField(null=True, help_text="Why it was refused; NULL if it wasn't")
    note = TextField(null=True, help_text="A remark, if not all of it was ingested")
    modified = DateTimeField(default=utc_now, help_text="When it was read")


class SpectrumContent(BaseModel):
    """From which content of which file a spectrum was read: a row per spectrum."""

    spectrum_pk = ForeignKeyField(Spectrum, primary_key=True, on_delete="CASCADE")
    file_pk = ForeignKeyField(
        SpectrumFile, null=True, unit="", on_delete="SET NULL", help_text="NULL if the file lost it"
    )
    content = BigIntegerField(unit="", help_text="Fingerprint of the file's bytes (SpectrumFile.content)")


def keeps_contents() -> bool:
    """Tell whether the bound database has the tables of this module; production schemas don't have them."""
    there = set(database.get_tables(schema=bound_schema()))
    return {model._meta.table_name for model in (SpectrumFile, SpectrumContent)} <= there


def contents_of(spectrum_pks: Iterable[int]) -> dict[int, int]:
    """Give the fingerprint of the file that each spectrum was read from.

    In a query, join `SpectrumContent` instead: ``LEFT JOIN spectrum_content USING (spectrum_pk)``.

    Parameters
    ----------
    spectrum_pks : iterable of int
        Keys of spectra.

    Returns
    -------
    dict of int to int
        By key, the fingerprint, a signed integer of 64 bits. Spectra whose file isn't known have none.
    """
    if not keeps_contents():
        return {}
    query = SpectrumContent.select(SpectrumContent.spectrum_pk, SpectrumContent.content)
    return dict(rows_of(query.where(is_any_of(SpectrumContent.spectrum_pk, spectrum_pks))))
