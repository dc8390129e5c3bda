"""The classes of another Astra's package, as far as it has been imported."""

import sys
from collections.abc import Iterator

import peewee

__all__ = ["classes_by_table", "models_of", "package_of", "version_of"]


def package_of(place: str) -> str:
    """Name the outermost package of ``package.module:function``."""
    return place.partition(":")[0].partition(".")[0]


def classes_by_table(place: str) -> dict[str, type[peewee.Model]]:
    """Give the models of a pipeline's package, as far as it has been imported, by the names of their tables."""
    return {model._meta.table_name: model for model in models_of(package_of(place))}


def models_of(package: str) -> Iterator[type[peewee.Model]]:
    """Give the models that a package defines, as far as it has been imported."""
    found: dict[type[peewee.Model], None] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != package or module is None:
            continue
        for value in list(vars(module).values()):
            if isinstance(value, type) and issubclass(value, peewee.Model) and package_of(value.__module__) == package:
                found[value] = None
    return iter(found)


def version_of(place: str) -> str:
    """Give the version of a pipeline's package, as it says itself; empty if it doesn't."""
    version = getattr(sys.modules.get(package_of(place)), "__version__", "")
    return version if isinstance(version, str) else ""
