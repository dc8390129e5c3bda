"""Refusals of files, said once for all files that are refused for the same reason."""

import re
from collections.abc import Iterable, Sequence
from os.path import basename
from typing import NamedTuple

from astra_orchestration.cli.terminal import complain, escaped

__all__ = ["Refusal", "tell_refusals"]

NAMED = 3
"""So many files of one reason are named."""
REASONS = 20
"""So many reasons are told."""


class Refusal(NamedTuple):
    """A file, and why it is refused; or what else is to be said of it."""

    path: str
    reason: str

    @property
    def why(self) -> str:
        """The reason without the file's name at its beginning."""
        return self.reason.removeprefix(f"{self.path}: ")

    @property
    def kind(self) -> str:
        """The reason without what differs from file to file: its name, and numbers."""
        return re.sub(r"\d+", "0", self.why.replace(self.path, "").replace(basename(self.path), ""))

    def __str__(self) -> str:
        return self.reason if self.path in self.reason else f"{self.path}: {self.reason}"


def tell_refusals(refusals: Iterable[Refusal], verb: str = "refused", *, verbose: bool = False) -> None:
    """Say why files are refused: each reason once, with a few names; or each file, if that is asked for."""
    if verbose:
        for refusal in refusals:
            complain(f"[yellow]{verb}[/] {escaped(str(refusal))}")
        return
    groups: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault(refusal.kind, []).append(refusal)
    told = list(groups.values())[:REASONS]
    for group in told:
        complain(f"[yellow]{verb}[/] {escaped(_sentence(group))}")
    others = list(groups.values())[REASONS:]
    if others:
        count = sum(map(len, others))
        complain(f"[yellow]{verb}[/] {count:,} more files, for {len(others):,} other reasons: -v names them all")
    elif any(len(group) > NAMED for group in told):
        complain("-v names them all, and so does --json")


def _sentence(group: Sequence[Refusal]) -> str:
    first = group[0]
    if len(group) == 1:
        return str(first)
    names = ", ".join(refusal.path for refusal in group[:NAMED])
    more = f" and {len(group) - NAMED:,} more" if len(group) > NAMED else ""
    is_same = len({refusal.why for refusal in group}) == 1
    return f"{len(group):,} files: {first.why}{'' if is_same else ' (the first of them)'}: {names}{more}"
