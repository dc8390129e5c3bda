"""The database's settings as the launchpad takes them: refused before Dagster keeps them, and not repeated.

Dagster's own types for text and numbers quote a wrong value in their errors, and replace ``{env: NAME}`` by the value
of any environment variable. The types here leave values alone, and the target that they are a part of is checked as a
whole: when a run is launched, before there is a run that would keep its configuration.
"""

from typing import Any

import dagster as dg
from dagster._config import ConfigType, ConfigTypeKind

from astra_orchestration.resources.targets import TARGETS, Target, check_target

__all__ = ["launchpad_schema"]

TEXT = ConfigType("AstraText", ConfigTypeKind.ANY, given_name="Text")
NUMBER = ConfigType("AstraNumber", ConfigTypeKind.ANY, given_name="Number")
MAPPING = ConfigType("AstraMapping", ConfigTypeKind.ANY, given_name="Mapping")
TYPES = {"port": NUMBER, "pragmas": MAPPING}


class _CheckedSelector(dg.Selector):
    """One of the targets; Dagster calls `post_process` when it plans a run, and again when it executes one."""

    def __new__(cls, fields: dict[str, dg.Field]) -> "_CheckedSelector":
        # Dagster's own keeps one selector for equal fields, which is of its class.
        made = object.__new__(cls)
        made._initialized = False
        return made

    def post_process(self, value: Any) -> Any:
        """Refuse what is no target, before Dagster keeps the run's settings."""
        check_target(value)
        return value


def launchpad_schema(default: Any) -> dg.Field:
    """Give the schema of the database's settings.

    Parameters
    ----------
    default : mapping
        What holds if nothing is given: ``{"target": {...}}``.
    """
    description = "Where the database is: `postgres`, `sqlite`, or `config` for what the configuration files say"
    target = dg.Field(SELECTOR, default_value=default["target"], description=description)
    return dg.Field(dg.Shape({"target": target}), default_value=default)


def _shape_of(model: type[Target]) -> dg.Field:
    fields = {
        field.alias or name: dg.Field(
            TYPES.get(name, TEXT), is_required=field.is_required(), description=field.description
        )
        for name, field in model.model_fields.items()
        if name != "kind"
    }
    return dg.Field(dg.Shape(fields), description=model.__doc__)


SELECTOR = _CheckedSelector({kind: _shape_of(model) for kind, model in TARGETS.items()})
