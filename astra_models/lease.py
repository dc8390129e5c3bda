"""Leases: which run has which spectra in hand, so that no two runs do the same work."""

import json
from collections.abc import Iterable, Sequence

from astra_models.base import BaseModel
from astra_models.fields import AutoField, BigIntegerField, DateTimeField, IntegerField, TextField, utc_now

__all__ = ["Lease"]


class Lease(BaseModel):
    """Spectra that a run has in hand. It renews the lease while it lives; one that expired belongs to nobody."""

    pk = AutoField()
    model = TextField(help_text="Name of the output model")
    v_astra_major_minor = IntegerField(unit="", help_text="Version of the results, without its patch number")
    first_key = BigIntegerField(unit="", help_text="The smallest spectrum_pk")
    last_key = BigIntegerField(unit="", help_text="The largest spectrum_pk")
    keys = TextField(null=True, help_text="Each spectrum_pk, as JSON; NULL for all from the first to the last")
    holder = TextField(help_text="The holder; a run of a pipeline has one of its own")
    run_id = TextField(null=True, help_text="The run of Dagster in which it is held")
    host = TextField(help_text="The computer")
    process = TextField(help_text="The process: its number, and when it started")
    taken = DateTimeField(default=utc_now, help_text="When it was taken (UTC)")
    expires = BigIntegerField(
        unit="ms", help_text="When it ends if it isn't renewed, since 1970, by the database's clock"
    )

    class Meta:
        indexes = ((("model", "v_astra_major_minor"), False),)

    def among(self, keys: Iterable[int]) -> set[int]:
        """Give those of some keys that the lease is for."""
        listed = self.listed()
        if listed is None:
            return {key for key in keys if self.first_key <= key <= self.last_key}
        return set(listed).intersection(keys)

    def listed(self) -> list[int] | None:
        """Give each key that it is for; None if it is for all from the first to the last."""
        return None if self.keys is None else json.loads(self.keys)

    def set_keys(self, keys: Sequence[int], *, are_range: bool) -> None:
        """Say which keys it is for: these, in ascending order, or all from the first to the last of them."""
        self.first_key, self.last_key = keys[0], keys[-1]
        self.keys = None if are_range else json.dumps(keys, separators=(",", ":"))
