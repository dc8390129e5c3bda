"""Which result files have been ingested."""

from collections.abc import Iterable
from typing import Literal

from astra_models.base import BaseModel
from astra_models.fields import AutoField, BigIntegerField, DateTimeField, FloatField, IntegerField, TextField, utc_now

NO_MAPPING = ""
UNKNOWN_MAPPING = "?"
"""What files have that were ingested before mappings were kept."""


class IngestedFile(BaseModel):
    """A result file of which every row has been dealt with: a row for each of its contents and mappings."""

    pk = AutoField()
    name = TextField(help_text="Name of the file, without folder")
    sha256 = TextField(help_text="Checksum of the file as it is on disk (SHA-256, hexadecimal)")
    mapping = TextField(default=NO_MAPPING, help_text="Checksum of its mapping; '' if there is none, '?' if unknown")
    size = BigIntegerField(unit="byte", help_text="Size of the file on disk")
    kind = TextField(help_text="What the file was recognised as")
    model = TextField(null=True, help_text="Name of the model of the results in the file")
    release = TextField(null=True)
    v_astra = IntegerField(null=True)
    rows = BigIntegerField(unit="", help_text="Rows in the file")
    inserted = BigIntegerField(unit="", help_text="Rows of the file that made a new result, spectrum or source")
    updated = BigIntegerField(unit="", help_text="Rows of the file that changed a stored one")
    unchanged = BigIntegerField(unit="", help_text="Rows of the file that changed nothing")
    rejected = BigIntegerField(unit="", help_text="Rows of the file that could not be stored")
    seconds = FloatField(null=True, unit="s", help_text="How long it took")
    run_id = TextField(null=True, help_text="The run in which it happened")
    created = DateTimeField(default=utc_now)

    class Meta:
        indexes = ((("sha256", "mapping"), True), (("name",), False))


def ingested_file(sha256: str, mappings: Iterable[str]) -> IngestedFile | None:
    """Find what is kept of a file that was ingested; None if it wasn't.

    Parameters
    ----------
    sha256 : str
        Its checksum.
    mappings : iterable of str
        Checksums of mappings, by any of which it may have been read. The same file by another mapping is another one.
    """
    same = IngestedFile.select().where(IngestedFile.sha256 == sha256, IngestedFile.mapping.in_(list(mappings)))
    return same.order_by(IngestedFile.pk.desc()).first()


def ingested_before(name: str, sha256: str, mappings: Iterable[str]) -> Literal["same", "mapping", "other"] | None:
    """Tell whether a file was ingested before, or another of its name.

    Parameters
    ----------
    name : str
        Its name, without folder.
    sha256 : str
        Its checksum.
    mappings : iterable of str
        Checksums of the mappings by which it may have been read.

    Returns
    -------
    {"same", "mapping", "other"} or None
        "same" if these contents were, whatever their name was; "mapping" if they were by another mapping; "other" if
        other contents of this name were.
    """
    if ingested_file(sha256, mappings) is not None:
        return "same"
    if IngestedFile.select().where(IngestedFile.sha256 == sha256).exists():
        return "mapping"
    return "other" if IngestedFile.select().where(IngestedFile.name == name).exists() else None
