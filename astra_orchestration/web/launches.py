"""What a request would have Dagster keep: the settings of the database that a run, or many of them, are to use.

A run is planned before it is kept, and its settings are checked then. A backfill is kept as it is sent, and planned
later. So the web server looks into what is sent.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from graphql import (
    ArgumentNode,
    GraphQLError,
    Node,
    ObjectFieldNode,
    Visitor,
    parse,
    value_from_ast_untyped,
    visit,
)

from astra_orchestration.resources.targets import check_target

__all__ = ["check_launch", "refusal_of"]

RUN_CONFIG = "runConfigData"
PREVIEW = "PreviewConfigQuery"
"""What the launchpad asks while settings are typed."""
PLACE = ("resources", "database", "config", "target")


def check_launch(query: str, variables: object) -> None:
    """Make sure that no database of a run has settings that Dagster must not keep.

    Parameters
    ----------
    query : str
        A GraphQL document.
    variables : object
        Its variables, as far as they are a mapping.

    Raises
    ------
    ConfigurationError
        If there is a database with such settings; they aren't repeated.
    """
    for config in _run_configs(query, variables if isinstance(variables, Mapping) else {}):
        resources = config.get("resources")
        for resource in resources.values() if isinstance(resources, Mapping) else ():
            settings = resource.get("config") if isinstance(resource, Mapping) else None
            if isinstance(settings, Mapping) and settings.get("target") is not None:
                check_target(settings["target"], hosts=False)


def refusal_of(error: Exception, operation: str | None) -> dict[str, Any] | None:
    """Give the answer by which the launchpad shows what is wrong with a database's settings, while they are typed.

    Parameters
    ----------
    error : Exception
        What `check_launch` raised.
    operation : str, optional
        The name of the operation.

    Returns
    -------
    dict or None
        The answer to the launchpad's question; None if it was another one. To an error it would wait for ever.
    """
    if operation != PREVIEW:
        return None
    entries = [{"__typename": "EvaluationStackPathEntry", "fieldName": name} for name in PLACE]
    told = {
        "__typename": "RuntimeMismatchConfigError",
        "reason": "RUNTIME_TYPE_MISMATCH",
        "message": str(error),
        "stack": {"__typename": "EvaluationStack", "entries": entries},
    }
    return {"data": {"isPipelineConfigValid": {"__typename": "RunConfigValidationInvalid", "errors": [told]}}}


def _run_configs(query: str, variables: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the configurations of runs in the variables, and in the document itself."""
    for value in (*_values_in(variables), *_values_written(query, variables)):
        if isinstance(value, str):
            try:
                value = yaml.safe_load(value)
            except (yaml.YAMLError, ValueError, RecursionError):
                continue  # Dagster can't read it either
        if isinstance(value, Mapping):
            yield value


def _values_in(variables: Mapping[str, Any]) -> Iterator[Any]:
    left: list[Any] = [variables]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left.extend(value.values())
            if RUN_CONFIG in value:
                yield value[RUN_CONFIG]
        elif isinstance(value, list):
            left.extend(value)


def _values_written(query: str, variables: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []

    class Finds(Visitor):
        def enter(self, node: Node, *_: object) -> None:
            if isinstance(node, ObjectFieldNode | ArgumentNode) and node.name.value == RUN_CONFIG:
                found.append(value_from_ast_untyped(node.value, dict(variables)))

    try:
        visit(parse(query), Finds())
    except (GraphQLError, RecursionError, TypeError):
        return []  # Dagster can't read it either
    return found
