"""A query that shows its first rows in a notebook."""

import peewee

from astra_models.database.peewee_internals import limit_of
from astra_models.notebook.html import nothing_raised, paragraph, table
from astra_models.notebook.main_columns import IDENTIFIERS, ON_THE_SKY, measured_columns

__all__ = ["ShownQuery"]

MOST_ROWS = 10
MOST_COLUMNS = 12
KEYS = ("pk", "task_pk", "spectrum_pk", "v_astra", "telescope", "mjd", "obj", "snr")


class ShownQuery(peewee.ModelSelect):
    """What ``select()`` of a model gives. It is peewee's query, and a notebook shows the first of its rows."""

    def _repr_html_(self) -> str:
        return query_html(self)


@nothing_raised
def query_html(query: "peewee.ModelSelect[peewee.Model]") -> str:
    """Run a query for its first ten rows, and give them as HTML; it stays as it is, and can be run again."""
    own = limit_of(query)
    some = query.clone().limit(MOST_ROWS + 1 if own is None else min(own, MOST_ROWS + 1)).tuples()
    cursor = some.execute()
    rows = list(cursor)
    names = [str(column[0]).rsplit(".", 1)[-1].strip('"`') for column in cursor.cursor.description or ()]
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
