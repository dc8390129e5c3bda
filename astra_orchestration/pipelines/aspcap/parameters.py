"""Step 7: all parameters, from the best coarse fit on, after what that left over of the continuum is divided out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.errors import MissingPixelsError
from astra_models.ferre import FerreCoarse, FerreStellarParameters
from astra_orchestration.pipelines.ferre.fit import model_fluxes
from astra_orchestration.pipelines.ferre.inputs import write_lines
from astra_orchestration.pipelines.ferre.outputs import read_fluxes

from .continuum import residual_continuum
from .dimensions import DIMENSIONS
from .fitting import Fitted, Job, fit_jobs
from .grid_choice import KnownGrid
from .pixels import BAD_ERROR, pixels_for
from .work_folders import named_line, work_folder
from .workshop import Workshop

STAGE = "params"
DIVIDED_BY = "continuum.input"
COARSE = "coarse"

INSIDE = 0.001
"""Share of the box by which parameters are kept away from its limits where a model is made for them."""

WithCoarse = tuple[ApogeeCoaddedSpectrumInApStar, FerreCoarse]

_GUESSES = {
    "flag_initial_guess_from_apogeenet": "flag_initial_guess_from_apogeenet",
    "flag_initial_guess_from_doppler": "flag_initial_guess_from_doppler",
    "flag_initial_guess_from_gaia_xp_andrae_2023": "flag_initial_guess_from_gaia_xp_andrae23",
    "flag_initial_guess_from_doppler_sdss4": "flag_initial_guess_from_doppler_sdss4",
    "flag_initial_guess_from_user": "flag_initial_guess_from_user",
}
"""Flags of the coarse stage, and what they are called here; bits have other numbers. The others have none here."""


class Asked(NamedTuple):
    """A spectrum with its coarse result, and what is to be fitted; None if the coarse result is no good."""

    spectrum: ApogeeCoaddedSpectrumInApStar
    coarse: FerreCoarse
    job: Job | None
    continuum: np.ndarray | None = None


def parameter_results(workshop: Workshop, lot: Sequence[WithCoarse]) -> Iterator[FerreStellarParameters]:
    """Fit all parameters of spectra.

    Yields
    ------
    FerreStellarParameters
        A row for each spectrum; one whose coarse result is no good has a flag.

    Raises
    ------
    MissingPixelsError
        In the end, if the pixels of a spectrum can't be read, or the files of its coarse fit.
    """
    asked, unreadable = _ask(workshop, lot)
    jobs = [one.job for one in asked if one.job is not None]
    with work_folder(workshop.root, STAGE, [job.key for job in jobs]) as work:
        found = _fit(workshop, work.path, jobs)
        _write_continua(work.path, found, {one.spectrum.spectrum_pk: one.continuum for one in asked})
        fitted = iter(found)
        yield from work.give(_row(one, None if one.job is None else next(fitted), work.path) for one in asked)
    if unreadable:
        raise unreadable[0]


def is_usable(coarse: FerreCoarse) -> bool:
    """Tell whether a coarse result is one to begin with."""
    return bool(coarse.pwd and coarse.short_grid_name) and not coarse.flag_no_good_coarse_result


def _ask(workshop: Workshop, lot: Sequence[WithCoarse]) -> tuple[list[Asked], list[MissingPixelsError]]:
    continua = _continua(workshop, [coarse for _, coarse in lot if is_usable(coarse)])
    asked: list[Asked] = []
    unreadable: list[MissingPixelsError] = []
    for spectrum, coarse in lot:
        try:
            job = _job(workshop, spectrum, coarse, continua) if is_usable(coarse) else None
            asked.append(Asked(spectrum, coarse, job, continua.get(str(coarse.ferre_name))))
        except MissingPixelsError as error:  # the others go on; it is told in the end
            unreadable.append(error)
        finally:
            spectrum.release_pixels()
    return asked, unreadable


def _job(
    workshop: Workshop,
    spectrum: ApogeeCoaddedSpectrumInApStar,
    coarse: FerreCoarse,
    continua: dict[str, np.ndarray],
) -> Job:
    known = workshop.grid(str(coarse.short_grid_name))
    continuum = continua.get(str(coarse.ferre_name))
    if continuum is None:
        raise MissingPixelsError(
            f"the coarse fit of spectrum_pk {spectrum.spectrum_pk} isn't in {coarse.pwd!r} any more: run ferre_coarse "
            "again for it (rerun: all)"
        )
    rules = workshop.configuration.pixels
    pixels = pixels_for(known.grid, spectrum.flux, spectrum.ivar, spectrum.pixel_flags, rules)
    bad = pixels.error >= BAD_ERROR
    error = np.where(bad, BAD_ERROR, np.maximum(pixels.error / continuum, rules.error_floor_after_continuum))
    flux = np.where(bad, pixels.flux, pixels.flux / continuum)
    start = known.clipped(np.array([_start(known, coarse, label) for label in known.grid.labels]))
    flags = FerreStellarParameters(**{ours: True for theirs, ours in _GUESSES.items() if getattr(coarse, theirs)})
    return Job(spectrum.spectrum_pk, spectrum.source_pk, known, start, flux, error, flags.initial_flags, coarse.task_pk)


def _start(known: KnownGrid, coarse: FerreCoarse, label: str) -> float:
    value = getattr(coarse, DIMENSIONS[label].column)
    return float(known.center()[known.grid.axis(label)]) if value is None or np.isnan(value) else float(value)


def _continua(workshop: Workshop, results: Sequence[FerreCoarse]) -> dict[str, np.ndarray]:
    """Give what each coarse fit left over, by the names of the spectra in FERRE's files; nothing of lost files."""
    by_folder: dict[tuple[str, str], list[str]] = {}
    for row in results:
        by_folder.setdefault((str(row.pwd), str(row.short_grid_name)), []).append(str(row.ferre_name))
    found: dict[str, np.ndarray] = {}
    rules = workshop.configuration.continuum
    for (pwd, name), names in by_folder.items():
        grid = workshop.grid(name).grid
        folder = Path(pwd) / COARSE / name
        flux, model = (
            read_fluxes(folder / f"{kind}.output", names, grid.n_pixels)
            for kind in ("rectified_flux", "rectified_model_flux")
        )
        for one, of_flux, of_model in zip(names, flux, model, strict=True):
            if np.isfinite(of_flux).any() and np.isfinite(of_model).any():
                found[one] = residual_continuum(grid, of_flux, of_model, rules)
    return found


def _fit(workshop: Workshop, folder: Path, jobs: Sequence[Job]) -> list[Fitted]:
    def folder_of(known: KnownGrid) -> Path:
        return folder / STAGE / known.name

    fitted = fit_jobs(
        workshop.program(), jobs, lambda known: workshop.settings(known.grid.labels), folder_of, workshop.processes
    )
    by_grid: dict[str, list[Fitted]] = {}
    for one in fitted:
        if one.is_good:
            by_grid.setdefault(one.job.known.name, []).append(one)
    for some in by_grid.values():
        known = some[0].job.known
        inside = np.array([known.clipped(one.values, INSIDE) for one in some])
        model_fluxes(workshop.program(), known.grid, [one.name for one in some], inside, folder_of(known))
    return fitted


def _write_continua(folder: Path, fitted: Sequence[Fitted], continua: Mapping[int, np.ndarray | None]) -> None:
    """Write what the spectra were divided by, for the next stage; lines with names."""
    by_grid: dict[str, list[bytes]] = {}
    for fit in fitted:
        continuum = continua[fit.job.key]
        if continuum is not None:
            by_grid.setdefault(fit.job.known.name, []).append(named_line(fit.name, continuum))
    for name, lines in by_grid.items():
        write_lines(folder / STAGE / name / DIVIDED_BY, lines)


def _row(one: Asked, fit: Fitted | None, folder: Path) -> FerreStellarParameters:
    columns: dict[str, Any] = {"upstream_pk": one.coarse.task_pk, "snr": one.spectrum.snr}
    if fit is None:
        columns |= {"flag_no_suitable_initial_guess": True, "flag_ferre_fail": True}
        return FerreStellarParameters.from_spectrum(one.spectrum, **columns)
    return FerreStellarParameters.from_spectrum(one.spectrum, pwd=str(folder), **columns, **fit.columns())
