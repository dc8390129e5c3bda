"""Which models there are: one per table, the latest of those that were defined in one place.

Running a cell of a notebook again, or reloading a module, defines its models again. The later class then takes the
place of the former one, which is no table any more to whoever looks models up; queries that hold on to it still work.

A model is there once its module was imported. Whoever wants all of ours, or defines others beside them, has them
imported by `Models.complete`.
"""

from collections.abc import Iterator
from importlib import import_module

import peewee

from astra_models.errors import TableTakenError

__all__ = ["Late", "Models", "forget_references", "models"]

OURS = ("astra_models", "astra_orchestration")
ALL_OF_OURS = "astra_models.outputs"
"""The module that imports all of our models. By name: it is far above this one, and is imported when it is wanted."""

Place = tuple[str, str]


class Models:
    """The models that were defined, those that are only bases of others included."""

    def __init__(self) -> None:
        self._by_place: dict[Place, type[peewee.Model]] = {}
        self._by_table: dict[str, Place] = {}

    def __iter__(self) -> Iterator[type[peewee.Model]]:
        return iter(list(self._by_place.values()))

    def complete(self) -> None:
        """Import all of our models, if they aren't yet."""
        import_module(ALL_OF_OURS)

    def add(self, model: type[peewee.Model], has_table: bool) -> None:
        """Add a model, in place of one of the same name that was defined in the same place.

        Parameters
        ----------
        model : type
            The model.
        has_table : bool
            Whether it is more than a base of others.

        Raises
        ------
        TableTakenError
            If another model has the same table.
        """
        place, table = (model.__module__, model.__qualname__), model._meta.table_name
        if has_table:
            if model.__module__.split(".")[0] not in OURS:
                self.complete()  # ours come first: a table of one of them is refused to another package
            other = self._by_table.get(table, place)
            if other != place:
                raise TableTakenError(
                    f"{'.'.join(place)}: table {table!r} is that of {'.'.join(other)} already; give the class another "
                    'name, or its table, by `class Meta: table_name = "..."`',
                    module=other[0],
                )
        if place in self._by_place:
            self.remove(self._by_place[place])
        self._by_place[place] = model
        if has_table:
            self._by_table[table] = place

    def remove(self, model: type[peewee.Model]) -> None:
        """Forget a model; those that it refers to forget it too."""
        place = (model.__module__, model.__qualname__)
        del self._by_place[place]
        self._by_table = {table: other for table, other in self._by_table.items() if other != place}
        forget_references(model)


class Late:
    """An attribute of a model that a module above it sets, which is imported when the attribute is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, row: object, owner: type) -> object:
        models.complete()
        if any(base.__dict__.get(self._name) is self for base in owner.__mro__):
            raise AttributeError(f"{owner.__name__}.{self._name} is not there while our models are being imported")
        return getattr(owner if row is None else row, self._name)


def forget_references(model: type[peewee.Model]) -> None:
    """Let the models that a model refers to forget that it does."""
    for foreign_key, other in model._meta.refs.items():
        other._meta.backrefs.pop(foreign_key, None)
        other._meta.model_backrefs.pop(model, None)


models = Models()
