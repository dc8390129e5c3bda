"""In which database something was materialized, so that counts of two databases are never one plot.

Dagster draws a line of each number of an asset's metadata, by its name. The first database that an asset was
materialized in has the plain names; the names of any other database's numbers end in the beginning of its id.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import dagster as dg

from astra_models.base import bound_schema, database
from astra_models.database.retry import describe
from astra_models.database_identity import database_id

__all__ = ["DATABASE", "by_plain_names", "identity_of_database", "metadata_of_database"]

DATABASE = "database id"
OWNER = "plain names are of database"
DIGITS = 8
ROW_COUNT = "dagster/row_count"
Number = int | float | dg.IntMetadataValue | dg.FloatMetadataValue


def identity_of_database() -> str:
    """Give the id of the bound database; of one that keeps none, a checksum of where it is."""
    where = f"{describe(database)} {bound_schema() or ''}"
    return database_id() or f"at-{hashlib.sha256(where.encode()).hexdigest()[:30]}"


def metadata_of_database(
    instance: dg.DagsterInstance | None, key: dg.AssetKey, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Give an asset's metadata with the id of the bound database, and numbers by names that are this database's own.

    Parameters
    ----------
    instance : DagsterInstance or None
        Where earlier materializations are; None where there is none.
    key : AssetKey
        The asset.
    metadata : mapping
        What is to be told of it.
    """
    identity = identity_of_database()
    owner = (instance and _owner(instance, key)) or identity
    if owner == identity:
        return {**metadata, DATABASE: identity}
    suffix = f" [{identity[:DIGITS]}]"
    own = {_name(name, value, suffix): value for name, value in metadata.items()}
    return own | {DATABASE: identity, OWNER: owner}


def by_plain_names(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    """Give the values of a materialization's metadata by their plain names, whichever database it was made in."""
    identity = metadata.get(DATABASE)
    suffix = f" [{str(identity.value)[:DIGITS]}]" if identity is not None and OWNER in metadata else ""
    return {name.removesuffix(suffix): entry.value for name, entry in metadata.items()}


def _owner(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """Say whose numbers have the plain names; None if there are none yet, or they are of an older release."""
    latest = instance.get_latest_materialization_event(key)
    found = latest.asset_materialization.metadata if latest and latest.asset_materialization else {}
    owner = found.get(OWNER) or found.get(DATABASE)
    return None if owner is None else str(owner.value)


def _name(name: str, value: object, suffix: str) -> str:
    if not isinstance(value, Number) or isinstance(value, bool):
        return name
    return ("row count" if name == ROW_COUNT else name.removeprefix("dagster/")) + suffix
