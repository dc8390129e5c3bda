"""Commands whose modules are imported when they are asked for: ``astra status`` waits for none of the others."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.main import get_group

from astra_orchestration.cli.contents import CONTENTS
from astra_orchestration.cli.parameters import GroupWithParameters

__all__ = ["GroupOfAll"]


class GroupOfAll(GroupWithParameters):
    """All commands of the table of contents; those that are given are there, the others are imported one by one."""

    def __init__(self, *, commands: dict[str, Any] | None = None, **attributes: Any):
        super().__init__(commands=commands, **attributes)
        self.commands = _Commands(self.commands)


class _Commands(MutableMapping[str, Any]):
    def __init__(self, imported: Mapping[str, Any]):
        self._imported = dict(imported)

    def __iter__(self) -> Iterator[str]:
        return iter({**CONTENTS, **self._imported})

    def __len__(self) -> int:
        return len({*CONTENTS, *self._imported})

    def __getitem__(self, name: str) -> Any:
        if name not in self._imported:
            self._imported[name] = _load(name)
        return self._imported[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        del self._imported[name]

    def __contains__(self, name: object) -> bool:
        return name in CONTENTS or name in self._imported


def _load(name: str) -> Any:
    """Import a command's module, and make its command as part of a group that has all of the module's."""
    if name not in CONTENTS:
        raise KeyError(name)
    module = CONTENTS[name].module
    commands: typer.Typer = getattr(import_module(f"astra_orchestration.cli.{module}"), f"{module}_commands")
    group = typer.Typer(rich_markup_mode="rich", pretty_exceptions_show_locals=False)
    # One with a help of its own is a group under the module's name; of the others the commands are ours.
    group.add_typer(commands, name=module if isinstance(commands.info.help, str) else None)
    return get_group(group).commands[name]
