"""Families of columns: declared once, expanded into normal fields.

Many tables have the same few columns for each element, pair of labels or spectral line. A family declares the columns
of one member, for all members::

    class ThePayne(WithFamilies, PipelineOutputMixin):
        labels = Family(floats(label, f"e_{label}") for label in LABELS)
        correlations = Family(floats(f"rho_{one}_{other}") for one, other in combinations(LABELS, 2))

Python calls ``__set_name__`` of a class's attributes before peewee's metaclass looks for fields. A family then puts its
columns on the class, where peewee finds them as if they had been typed out there.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import peewee

from astra_models.database.peewee_internals import put_here
from astra_models.errors import FamilyError
from astra_models.fields import FloatField


class Family:
    """Columns, flags and pixel arrays that a model has once per member.

    Parameters
    ----------
    members : iterable of mapping
        For each member, what it adds to the model: names, and fields, flags or pixel arrays.
    """

    def __init__(self, members: Iterable[Mapping[str, Any]]):
        self._attributes = [attribute for member in members for attribute in member.items()]
        self.names = tuple(name for name, _ in self._attributes)

    def __set_name__(self, owner: type, own_name: str) -> None:
        for name, value in self._attributes:
            if name in vars(owner):
                raise FamilyError(f"{owner.__name__}.{name} is declared twice, once by the family {own_name!r}")
            setattr(owner, name, value)
            if hasattr(value, "__set_name__"):
                value.__set_name__(owner, name)
        self._attributes = []


def floats(*names: str, unit: str | None = None, help_text: str | None = None) -> dict[str, FloatField]:
    """Give columns of single-precision numbers that may be missing.

    Parameters
    ----------
    *names : str
        Their names.
    unit, help_text : str, optional
        Of each, as for `FloatField`; from the glossary if not given.
    """
    return {name: FloatField(null=True, unit=unit, help_text=help_text) for name in names}


def like(model: type[peewee.Model], *names: str) -> dict[str, Any]:
    """Give copies of another model's columns, with their flags.

    Parameters
    ----------
    model : type
        The other model.
    *names : str
        Its columns.
    """
    columns: dict[str, Any] = {name: copy.deepcopy(model._meta.fields[name]) for name in names}
    for field in list(columns.values()):
        put_here(field)
        columns |= getattr(field, "flags", {})
    return columns


if TYPE_CHECKING:
    from astra_models.declared import DeclaredModel

    class _AnyColumn(DeclaredModel):
        def __getattr__(self, name: str) -> Any: ...

    class WithFamilies(metaclass=_AnyColumn):
        """Base that makes a type checker accept the columns of families, which it can't see."""

        def __getattr__(self, name: str) -> Any: ...

else:

    class WithFamilies:
        """Base that makes a type checker accept the columns of families, which it can't see."""
