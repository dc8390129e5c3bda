"""FERRE's control files: what is fitted, what follows what, and which files are read and written."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from astra_models.errors import AstraError, did_you_mean
from astra_orchestration.pipelines.ferre.grid import Grid
from astra_orchestration.pipelines.ferre.version import Version

LONGEST_PATH = 300
"""So many characters has a path in a control file; on the command line there may be 128."""

LONGEST_ARGUMENT = 128
MOST_CONTROL_FILES = 100
"""So many control files does FERRE take in one list."""


class SettingsError(AstraError, ValueError):
    """A fit that FERRE can't do with this grid."""


@dataclass(frozen=True)
class Settings:
    """How spectra are fitted.

    Parameters
    ----------
    free : tuple of str
        Dimensions of the grid that are fitted; all others stay where they start, but for ties.
    ties : mapping, optional
        Dimensions that follow a free one: label to the label that it follows and the slope. While METALS moves by x,
        ``{"C": ("METALS", -1.0)}`` moves C by -x.
    continuum : int, optional
        Order of the polynomial that spectrum and model are divided by, in each chip. None: neither is.
    reject : float, optional
        FERRE's REJECTCONT: which pixels the polynomial leaves out.
    mask : Path, optional
        A file with a weight for each pixel (FILTERFILE).
    interpolation : int, optional
        1 linear, 2 quadratic, 3 cubic. Each dimension needs more nodes than that.
    n_threads : int, optional
        Threads of one process.
    """

    free: tuple[str, ...]
    ties: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    continuum: int | None = 4
    reject: float = 0.3
    mask: Path | None = None
    interpolation: int = 3
    n_threads: int = 1


def check_settings(grid: Grid, settings: Settings) -> None:
    """See that a grid can be fitted so, before anything is started.

    Raises
    ------
    SettingsError
        Says what doesn't fit, and what would.
    """
    if not settings.free or len(set(settings.free)) != len(settings.free):
        raise SettingsError(f"{grid.path.name}: free has to name one dimension or more, each once: {settings.free}")
    for label in (*settings.free, *settings.ties, *(leader for leader, _ in settings.ties.values())):
        if label not in grid.labels:
            raise SettingsError(f"{grid.path.name} has no dimension {label!r}: {did_you_mean(label, grid.labels)}")
    for label, (leader, _) in settings.ties.items():
        if label in settings.free or leader not in settings.free:
            raise SettingsError(
                f"{grid.path.name}: {label!r} can't follow {leader!r}: what follows can't be free, what leads has to be"
            )
    _check_interpolation(grid, settings.interpolation)
    if settings.n_threads < 1 or (settings.continuum is not None and settings.continuum < 0):
        raise SettingsError(
            f"n_threads = {settings.n_threads} and continuum = {settings.continuum}: at least 1 thread is needed, "
            f"and an order of 0 or more"
        )
    if settings.mask is not None:
        _check_mask(grid, settings.mask)


def _check_interpolation(grid: Grid, order: int) -> None:
    few = [label for label, n in zip(grid.labels, grid.n_points, strict=True) if n <= order]
    if not 1 <= order <= 3 or few:
        of_few = f"; {few[0]!r} has {grid.n_points[grid.axis(few[0])]} nodes" if few else ""
        raise SettingsError(
            f"{grid.path.name}: interpolation of order {order} needs more nodes than its order in each dimension"
            f"{of_few}; choose an order from 1 to {min(3, min(grid.n_points) - 1)}"
        )


def _check_mask(grid: Grid, mask: Path) -> None:
    try:
        n_weights = len(mask.read_bytes().split())
    except OSError as error:
        raise SettingsError(f"the mask {mask} can't be read: {error.strerror or error}") from error
    if n_weights != grid.n_pixels:
        raise SettingsError(f"the mask {mask} has {n_weights} weights, and {grid.path.name} has {grid.n_pixels} pixels")


def fit_control(grid: Grid, settings: Settings, version: Version, files: Mapping[str, str]) -> str:
    """Write the control file of a fit.

    Parameters
    ----------
    grid : Grid
        The grid; checked against the settings (`check_settings`).
    settings : Settings
        How it is fitted.
    version : Version
        Version 5 and later wants a tie for every dimension that isn't free.
    files : mapping
        Paths by FERRE's keys: SYNTHFILE(1), PFILE, FFILE, ERFILE, OPFILE, OFFILE, SFFILE.

    Returns
    -------
    str
        ``&LISTA ... /`` and the end of the line, without which FERRE doesn't run.
    """
    free = [grid.axis(label) + 1 for label in settings.free]
    lines: dict[str, object] = {"NDIM": grid.n_dim, "NOV": len(free), "INDV": " ".join(map(str, free))}
    lines |= _quoted(files)
    if settings.mask is not None:
        lines["FILTERFILE"] = _quote(files.get("FILTERFILE", os.fspath(settings.mask)))
    lines |= {"OBSCONT": 0, "ERRBAR": 1, "INIT": 0, "ALGOR": 3, "NRUNS": 1, "NTHREADS": settings.n_threads}
    lines |= {"COVPRINT": 1, "PCAPROJECT": 0, "PCACHI": 0, "INTER": settings.interpolation}
    lines |= {"F_FORMAT": 1, "F_ACCESS": 0, "CONT": 0}
    if settings.continuum is not None:
        lines |= {"OBSCONT": 1, "CONT": 1, "NCONT": settings.continuum, "REJECTCONT": settings.reject}
    lines |= _ties(grid, settings, version)
    return _lista(lines)


def model_control(grid: Grid, interpolation: int, files: Mapping[str, str]) -> str:
    """Write the control file of models at given parameters, which aren't normalised: NOV = 0.

    Parameters
    ----------
    grid : Grid
        The grid.
    interpolation : int
        1 linear, 2 quadratic, 3 cubic.
    files : mapping
        Paths by FERRE's keys: SYNTHFILE(1), PFILE, OFFILE.
    """
    _check_interpolation(grid, interpolation)
    return _lista(
        {"NDIM": grid.n_dim, "NOV": 0, **_quoted(files), "NTHREADS": 1, "INTER": interpolation}
        | {"F_FORMAT": 1, "F_ACCESS": 0}
    )


def _ties(grid: Grid, settings: Settings, version: Version) -> dict[str, object]:
    """Give the ties: TTIE(i, j) is by how much the i-th tied dimension moves with dimension j."""
    ties = dict(settings.ties)
    if version.wants_all_tied:
        fixed = [label for label in grid.labels if label not in settings.free and label not in ties]
        ties |= dict.fromkeys(fixed, (settings.free[0], 0.0))
    if not ties:
        return {}
    lines: dict[str, object] = {"NTIE": len(ties), "TYPETIE": 1}
    for number, (label, (leader, slope)) in enumerate(ties.items(), 1):
        lines[f"INDTIE({number})"] = grid.axis(label) + 1
        lines[f"TTIE0({number})"] = 0
        lines[f"TTIE({number},{grid.axis(leader) + 1})"] = f"{slope:.6g}"
    return lines


def _quoted(files: Mapping[str, str]) -> dict[str, str]:
    return {key: _quote(path) for key, path in files.items() if key != "FILTERFILE"}


def _quote(path: str) -> str:
    if len(path) > LONGEST_PATH or not path.isascii():
        raise SettingsError(
            f"FERRE takes paths of up to {LONGEST_PATH} ASCII characters, and {path!r} has {len(path)}; "
            f"link to it from a shorter one"
        )
    doubled = path.replace("'", "''")
    return f"'{doubled}'"


def _lista(lines: Mapping[str, object]) -> str:
    return "".join([" &LISTA\n", *(f" {key} = {value}\n" for key, value in lines.items()), " /\n"])
