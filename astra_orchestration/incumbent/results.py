"""What a pipeline of another Astra yields, as rows of ours: rows of its models, mappings, or objects."""

from collections.abc import Iterable, Iterator, Mapping
from types import EllipsisType
from typing import Any

import peewee

from astra_models.errors import ResultTypeError
from astra_models.fields.given import known_names, unknown_column
from astra_models.pipeline import PipelineOutputMixin

__all__ = ["rows_of_result"]

DERIVED = frozenset(
    {
        *("task_pk", "pk", "created", "modified", "v_astra", "v_astra_major_minor", "t_elapsed", "t_overhead"),
        *("pipeline_run_pk", "spectrum_revision", "upstream_revision", "revision"),
    }
)
"""Columns that this project fills in."""

_KEYS = {"spectrum": "spectrum_pk", "source": "source_pk", "spectrum_pk_id": "spectrum_pk", "source_pk_id": "source_pk"}


def rows_of_result(
    pipeline: str, result: object, models: tuple[type[PipelineOutputMixin], ...]
) -> Iterator[PipelineOutputMixin | EllipsisType]:
    """Give the rows of what was yielded: none of None, which says that a spectrum failed.

    Parameters
    ----------
    pipeline : str
        The pipeline, for messages.
    result : object
        What it yielded; a list is taken item by item.
    models : tuple of type
        Our models of its results.

    Raises
    ------
    ResultTypeError
        If it is nothing that has named values, or doesn't say which spectrum it is of.
    UnknownColumnError
        If it has a value for something that our table doesn't have.
    """
    if result is None:
        return
    if isinstance(result, EllipsisType | PipelineOutputMixin):
        yield result
    elif isinstance(result, list | set | frozenset) or (isinstance(result, tuple) and not hasattr(result, "_fields")):
        for one in result:
            yield from rows_of_result(pipeline, one, models)
    else:
        yield _row(pipeline, result, models)


def _row(pipeline: str, result: object, models: tuple[type[PipelineOutputMixin], ...]) -> PipelineOutputMixin:
    model = _model_of(pipeline, result, models)
    known = set(known_names(model))
    values: dict[str, Any] = {}
    for name, value in _values(pipeline, result).items():
        column = name if name in known else _KEYS.get(name, name)
        if column in DERIVED:
            continue
        if column in ("spectrum_pk", "source_pk"):
            value = _key(value)
        if column in known:
            values[column] = value
        elif value is not None and not _is_default(result, name, value):
            raise unknown_column(model, name)
    if values.get("spectrum_pk") is None:
        raise ResultTypeError(
            f"{pipeline} gave a {type(result).__name__} that doesn't say which spectrum it is of; it needs spectrum_pk"
        )
    return model(**values)


def _model_of(pipeline: str, result: Any, models: tuple[type[PipelineOutputMixin], ...]) -> type[PipelineOutputMixin]:
    if not isinstance(result, peewee.Model):
        if len(models) > 1:
            names = ", ".join(model.__name__ for model in models)
            raise ResultTypeError(
                f"{pipeline} gives results of {names}, and a {type(result).__name__} doesn't say which it is"
            )
        return next(iter(models))
    table = result._meta.table_name
    for model in models:
        if model._meta.table_name == table:
            return model
    if len(models) == 1:  # the operator has named the table
        return models[0]
    names = ", ".join(model._meta.table_name for model in models)
    raise ResultTypeError(f"{pipeline} gave a row of {table!r}, and its results are of {names}; name it in results=")


def _values(pipeline: str, result: Any) -> Mapping[str, Any]:
    if isinstance(result, peewee.Model):
        return {_column(result, name): value for name, value in result.__data__.items()}
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if hasattr(result, "_asdict"):
        return result._asdict()
    slots = [name for kind in type(result).__mro__ for name in _slots(kind) if hasattr(result, name)]
    found = {name: getattr(result, name) for name in slots} | dict(getattr(result, "__dict__", {}))
    values = {name: value for name, value in found.items() if not name.startswith("_")}
    if not values:
        raise ResultTypeError(
            f"{pipeline} gave a {type(result).__name__}, which is no result: it has to yield rows of its models, "
            "mappings, or objects with attributes"
        )
    return values


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _column(result: peewee.Model, name: str) -> str:
    field = result._meta.fields.get(name)
    return field.column_name if isinstance(field, peewee.ForeignKeyField) and name in _KEYS else name


def _key(value: object) -> object:
    """Give a key where a row was set in its place."""
    if value is None or isinstance(value, int):
        return value
    return getattr(value, "spectrum_pk", getattr(value, "pk", value))


def _is_default(result: object, name: str, value: object) -> bool:
    """Tell whether a value is what another Astra's model fills in by itself."""
    field = result._meta.fields.get(name) if isinstance(result, peewee.Model) else None
    return field is not None and not callable(field.default) and _same(field.default, value)


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
