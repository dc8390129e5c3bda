"""A query that shows its first rows in a notebook."""

from typing import TYPE_CHECKING

import peewee

from astra_models.columns.selected import names_of
from astra_models.database.peewee_internals import limit_of, selected_by
from astra_models.notebook.html import nothing_raised, paragraph, table
from astra_models.notebook.main_columns import IDENTIFIERS, ON_THE_SKY, measured_columns

__all__ = ["ShownAlias", "ShownQuery"]

MOST_ROWS = 10
MOST_COLUMNS = 12
KEYS = ("pk", "task_pk", "spectrum_pk", "v_astra", "telescope", "mjd", "obj", "snr")


class _Shown(peewee.BaseModelSelect):
    """A query of peewee's of which a notebook shows the first rows, and so of the unions that are made of it."""

    if not TYPE_CHECKING:  # which has them from peewee

        def _repr_html_(self):
            return query_html(self)

        def union_all(self, rhs):
            """Make the query of the rows of both."""
            return ShownUnion(self.model, self, "UNION ALL", rhs)

        def union(self, rhs):
            """Make the query of the rows of both, each once."""
            return ShownUnion(self.model, self, "UNION", rhs)

        def intersect(self, rhs):
            """Make the query of the rows that are in both."""
            return ShownUnion(self.model, self, "INTERSECT", rhs)

        def except_(self, rhs):
            """Make the query of the rows that aren't in the other."""
            return ShownUnion(self.model, self, "EXCEPT", rhs)

        __add__, __or__, __and__, __sub__ = union_all, union, intersect, except_


class ShownQuery(_Shown, peewee.ModelSelect):
    """What ``select()`` of a model gives. It is peewee's query, and a notebook shows the first of its rows."""


class ShownUnion(_Shown, peewee.ModelCompoundSelectQuery):
    """What ``|``, ``+``, ``&`` and ``-`` of two queries give."""


class ShownAlias(peewee.ModelAlias):
    """What ``alias()`` of a model gives."""

    def select(self, *selection: object) -> ShownQuery:
        """Make a query of the model's rows under the alias, or of columns and expressions."""
        return ShownQuery(self, selection or self.get_field_aliases())


@nothing_raised
def query_html(query: "peewee.ModelSelect[peewee.Model]") -> str:
    """Run a query for its first ten rows, and give them as HTML; it stays as it is, and can be run again."""
    own = limit_of(query)
    some = query.clone().limit(MOST_ROWS + 1 if own is None else min(own, MOST_ROWS + 1)).tuples()
    rows = list(some.execute())
    names = list(names_of(selected_by(query)))
    wanted = _places(query.model, names)
    left_out = f"; {len(wanted)} of {len(names)} columns" if len(wanted) < len(names) else ""
    first = [[row[place] for place in wanted] for row in rows[:MOST_ROWS]]
    count = f"the first {MOST_ROWS} rows, there are more" if len(rows) > MOST_ROWS else _counted(len(rows))
    return table([names[place] for place in wanted], first) + paragraph(f"{query.model.__name__}: {count}{left_out}")


def _places(model: type[peewee.Model], names: list[str]) -> list[int]:
    """Choose columns: all, or of very many the keys and those that say most."""
    if len(names) <= MOST_COLUMNS:
        return list(range(len(names)))
    main = {*KEYS, *IDENTIFIERS, *ON_THE_SKY, *measured_columns(model, getattr(model, "record_columns", ()))}
    wanted = [place for place, name in enumerate(names) if name in main]
    return (wanted or list(range(len(names))))[:MOST_COLUMNS]


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
