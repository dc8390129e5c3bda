"""One process of FERRE: its folder, what it says while it runs, and what it has finished."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from astra_orchestration.external.process import Command, Progress
from astra_orchestration.pipelines.ferre.control import MOST_CONTROL_FILES
from astra_orchestration.pipelines.ferre.fluxes import Written
from astra_orchestration.pipelines.ferre.folders import FitPart, Part
from astra_orchestration.pipelines.ferre.outputs import Tail, split_row

UNBUFFERED = {"GFORTRAN_UNBUFFERED_ALL": "y"}
"""Without it, FERRE's finished rows stay in its memory, and are lost when it is killed."""

Item = tuple[int, str]
"""Number of a part, and name of a spectrum."""

_NEXT = re.compile(rb"next object #\s*(\d+)")
_CONTROL_FILE = re.compile(rb"\s*(\d+)\s+\S+\.nml\s*")


class FerreAttempt:
    """A process that works through spectra of one part or of several with the same grid.

    Its folder is that of the first part's attempt. Everything in it has a short name, links lead to the rest: whatever
    the root of the project is called, no path that FERRE is given is long.

    Parameters
    ----------
    program : Path
        ``ferre.x``.
    parts : sequence of Part
        All parts.
    items : sequence of tuple
        What is tried: number of the part, name of the spectrum.
    token : str
        Name of the attempt, new in each part's folder.
    """

    def __init__(self, program: Path, parts: Sequence[Part], items: Sequence[Item], token: str) -> None:
        self.parts: dict[int, Part] = {}
        self.names: dict[int, list[str]] = {}
        for number, name in items:
            self.parts[number] = parts[number]
            self.names.setdefault(number, []).append(name)
        if len(self.parts) > MOST_CONTROL_FILES:
            raise ValueError(f"{len(self.parts)} control files in one process of FERRE; it takes {MOST_CONTROL_FILES}")
        self.token = token
        self.numbers = list(self.parts)
        self._write()
        one = len(self.numbers) == 1
        arguments = (str(program), "0.nml") if one else (str(program), "-l", "list.nml")
        self.command = Command(arguments, self.folder_of(self.numbers[0]), self._make_log(), UNBUFFERED)
        self._log = Tail(self.command.log)
        self._tails = {number: Tail(self._tell_tale(number)) for number in self.numbers}
        self._arrived: dict[Item, float] = {}
        self._begun_at = time.monotonic()
        self._looked_at = self._begun_at
        self._loaded_at: float | None = None
        self._control_file = 0
        self._begun: set[int] = set()
        self._n_arrived: dict[int, int] = {}
        self._wanted = {number: {name.encode(): name for name in names} for number, names in self.names.items()}

    def folder_of(self, number: int) -> Path:
        """Give the folder of this attempt's files of one part."""
        return self.parts[number].attempts / self.token

    def _tell_tale(self, number: int) -> Path:
        return self.folder_of(number) / self.parts[number].tell_tale

    def _write(self) -> None:
        written: Written = {}
        for number, part in self.parts.items():
            part.begin(self.folder_of(number), [part.places[name] for name in self.names[number]], written)
        work = self.folder_of(self.numbers[0])
        grid = self.parts[self.numbers[0]].grid
        (work / "grid.hdr").symlink_to(grid.path.absolute())
        (work / "grid.unf").symlink_to(grid.models_path.absolute())
        for place, number in enumerate(self.numbers):
            (work / str(place)).symlink_to(self.folder_of(number).absolute() if place else ".")
            (work / f"{place}.nml").write_text(self.parts[number].control(str(place)), encoding="ascii")
        (work / "list.nml").write_text("".join(f"{i}.nml\n" for i in range(len(self.numbers))), encoding="ascii")

    def _make_log(self) -> Path:
        """Give the log, which is in the first part's folder, and a link to it in the other ones'."""
        logs = [self.parts[number].folder / "logs" / f"{self.token}.log" for number in self.numbers]
        for log in logs:
            log.parent.mkdir(exist_ok=True)
        for log in logs[1:]:
            log.symlink_to(os.path.relpath(logs[0].absolute(), log.parent.absolute()))
        return logs[0]

    def look(self) -> Progress:
        """Say how far it is, while it runs."""
        for line in self._log.lines():
            if begun := _NEXT.search(line):
                self._begun.add(int(begun[1]))
            elif control_file := _CONTROL_FILE.fullmatch(line):
                self._control_file = int(control_file[1]) - 1
                self._begun.clear()
        now = time.monotonic()
        for number in self.numbers:
            self._look_at(number, now)
        has_loaded = bool(self._begun or self._arrived or self._control_file > 0)
        if has_loaded and self._loaded_at is None:
            # What has arrived already took its time before this look, and after the last one.
            self._loaded_at = self._looked_at if self._arrived else now
        self._looked_at = now
        n_bytes = self._log.n_bytes + sum(tail.n_bytes for tail in self._tails.values())
        return Progress(has_loaded, len(self._arrived), n_bytes)

    def _look_at(self, number: int, now: float) -> None:
        part, tail = self.parts[number], self._tails[number]
        if isinstance(part, FitPart):
            lines = tail.lines()
            wanted = self._wanted[number]
            rows = [split_row(line, part.grid.n_dim, wanted) for line in lines]
            arrived = [wanted[row[0]] for row in rows if row is not None]
        else:
            n_arrived = self._n_arrived.get(number, 0)
            arrived = self.names[number][n_arrived : n_arrived + tail.count()]
            self._n_arrived[number] = n_arrived + len(arrived)
        for name in arrived:
            self._arrived.setdefault((number, name), now)

    def in_hand(self) -> Sequence[Item]:
        """Say which spectra it was working on, as far as its log says so."""
        self.look()
        if self._control_file >= len(self.numbers):
            return []
        number = self.numbers[self._control_file]
        names = self.names[number]
        begun = [(number, names[place - 1]) for place in sorted(self._begun) if place <= len(names)]
        return [item for item in begun if item not in self._arrived]

    def collect(self) -> Mapping[Item, float]:
        """Keep what was finished, after its end; give those items and the seconds that each took."""
        self.look()
        seconds = self._seconds()
        load = (self._loaded_at or self._begun_at) - self._begun_at
        collected: dict[Item, float] = {}
        # The first part's folder is the one that the process ran in: it goes last.
        for number in reversed(self.numbers):
            part = self.parts[number]
            names = part.collect_and_remove(self.folder_of(number)) & set(self.names[number])
            collected |= {(number, name): seconds.get((number, name), 0.0) for name in names}
            part.add_times({name: (seconds.get((number, name), 0.0), load) for name in names})
        return collected

    def _seconds(self) -> dict[Item, float]:
        """Share the time between two looks among the spectra that arrived in it."""
        seconds: dict[Item, float] = {}
        last = self._loaded_at or self._begun_at
        moments: dict[float, list[Item]] = {}
        for item, moment in self._arrived.items():
            moments.setdefault(moment, []).append(item)
        for moment, items in sorted(moments.items()):
            seconds |= dict.fromkeys(items, (moment - last) / len(items))
            last = moment
        return seconds
