"""Step 8: one abundance after the other, each in the pixels of its mask, with the stellar parameters held fixed.

The spectrum is not divided by a continuum here, but made comparable to the model as it is; all species read the same
text of it. What the stage before found is copied beside it, so that a result's folder has all that belongs to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.pixels.ferre import CONTINUUM
from astra_orchestration.pipelines.ferre.grid import Grid
from astra_orchestration.pipelines.ferre.inputs import write_lines
from astra_orchestration.pipelines.ferre.outputs import parse_fluxes, read_fluxes, read_lines

from .configuration import SpeciesEntry
from .dimensions import DIMENSIONS
from .fitting import Fitted, Job, fit_species
from .parameters import DIVIDED_BY
from .parameters import STAGE as PARAMETERS
from .pixels import BAD_ERROR, BAD_FLUX
from .result import parameters_of, result_columns
from .species import abundance, as_model, column_of
from .work_folders import copy_lines, named_line, tidy, work_folder
from .workshop import Workshop

Array = NDArray[np.float64]

STAGE = "abundances"

WithParameters = tuple[ApogeeCoaddedSpectrumInApStar, FerreCoarse, FerreStellarParameters]
"""A spectrum with the results of the stages before."""


class Asked(NamedTuple):
    """A spectrum with what is known of it; without a job if no abundances can be fitted."""

    spectrum: ApogeeCoaddedSpectrumInApStar
    coarse: FerreCoarse
    parameters: FerreStellarParameters
    job: Job | None = None


def abundance_results(workshop: Workshop, lot: Sequence[WithParameters]) -> Iterator[FerreChemicalAbundances | ASPCAP]:
    """Fit the abundances of spectra, and put together what all stages found.

    Yields
    ------
    FerreChemicalAbundances or ASPCAP
        For each spectrum a row for each species that was fitted, then the result.
    """
    with work_folder(workshop.root, STAGE, [spectrum.spectrum_pk for spectrum, *_ in lot]) as work:
        asked = _ask(workshop, work.path, lot)
        fitted = _fit(workshop, work.path, asked)
        if workshop.is_tidy:
            _tidy(work.path, fitted)
        yield from work.give(_rows(workshop, asked, fitted, work.path))


def is_usable(parameters: FerreStellarParameters) -> bool:
    """Tell whether the stellar parameters of a spectrum were found."""
    return bool(parameters.pwd and parameters.short_grid_name) and parameters.rchi2 is not None


def _ask(workshop: Workshop, folder: Path, lot: Sequence[WithParameters]) -> list[Asked]:
    by_folder: dict[tuple[str, str], list[str]] = {}
    for _, _, row in lot:
        if is_usable(row) and str(row.short_grid_name) in workshop.grids:
            by_folder.setdefault((str(row.pwd), str(row.short_grid_name)), []).append(str(row.ferre_name))
    pixels: dict[str, tuple[Array, Array]] = {}
    for (pwd, name), names in by_folder.items():
        target = folder / PARAMETERS / name
        grid = workshop.grid(name).grid
        source = Path(pwd) / PARAMETERS / name
        copy_lines(source, names, target)
        pixels |= _pixels(grid, target, names)
    return [Asked(*one, _job(workshop, *one, pixels)) for one in lot]


def _pixels(grid: Grid, folder: Path, names: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """Give flux and error of spectra as they compare with models that aren't divided by their continuum, by name."""
    kinds = ("model_flux.output", "rectified_model_flux.output", "rectified_flux.output", DIVIDED_BY)
    model, rectified_model, rectified, divided_by = (read_fluxes(folder / k, names, grid.n_pixels) for k in kinds)
    inputs = [_inputs(grid, folder / f"{kind}.input", names) for kind in ("flux", "e_flux")]
    found: dict[str, tuple[Array, Array]] = {}
    continua: list[bytes] = []
    for place, name in enumerate(names):
        flux, error = (one.get(name) for one in inputs)
        if flux is None or error is None:
            continue
        factor = as_model(flux, model[place], rectified_model[place], rectified[place])
        bad = (error >= BAD_ERROR) | np.isnan(factor)
        found[name] = np.where(bad, BAD_FLUX, flux * factor), np.where(bad, BAD_ERROR, error * factor)
        continua.append(named_line(name, divided_by[place] / factor))
    write_lines(folder / CONTINUUM, continua)
    return found


def _inputs(grid: Grid, path: Path, names: Sequence[str]) -> dict[str, Array]:
    lines = zip(names, read_lines(path), strict=False)
    parsed = ((name, parse_fluxes(line, grid.n_pixels)) for name, line in lines)
    return {name: pixels for name, pixels in parsed if pixels is not None}


def _job(
    workshop: Workshop,
    spectrum: ApogeeCoaddedSpectrumInApStar,
    _: FerreCoarse,
    parameters: FerreStellarParameters,
    pixels: Mapping[str, tuple[Array, Array]],
) -> Job | None:
    found = pixels.get(str(parameters.ferre_name)) if is_usable(parameters) else None
    if found is None:
        return None
    known = workshop.grid(str(parameters.short_grid_name))
    start = np.array([getattr(parameters, DIMENSIONS[label].column) for label in known.grid.labels], dtype=float)
    if not known.entry.abundances or not np.isfinite(start).all() or (found[1] >= BAD_ERROR).all():
        return None
    flags = parameters.initial_flags or 0
    return Job(spectrum.spectrum_pk, spectrum.source_pk, known, start, *found, flags, parameters.task_pk)


def _fit(workshop: Workshop, folder: Path, asked: Sequence[Asked]) -> dict[int, dict[str, Fitted]]:
    """Fit all species of all spectra; give what was found by spectrum and species."""
    by_grid: dict[str, list[Job]] = {}
    for one in asked:
        if one.job is not None:
            by_grid.setdefault(one.job.known.name, []).append(one.job)
    found: dict[int, dict[str, Fitted]] = {}
    for name, jobs in by_grid.items():
        labels = workshop.grid(name).grid.labels
        species = {s: entry for s, entry in workshop.configuration.species.items() if entry.fit in labels}
        program = workshop.program(is_abundance=True)
        settings = {s: workshop.settings_of_species(jobs[0].known.grid, entry) for s, entry in species.items()}
        for one, fits in fit_species(program, jobs, settings, folder / STAGE / name).items():
            for job, fit in zip(jobs, fits, strict=True):
                found.setdefault(job.key, {})[one] = fit
    return found


def _rows(
    workshop: Workshop, asked: Sequence[Asked], fitted: Mapping[int, Mapping[str, Fitted]], folder: Path
) -> Iterator[FerreChemicalAbundances | ASPCAP]:
    for one in asked:
        fits = fitted.get(one.spectrum.spectrum_pk, {})
        yield from (_row(one, species, fit, folder) for species, fit in fits.items())
        yield _result(workshop, one, fits, folder)


def _row(one: Asked, species: str, fit: Fitted, folder: Path) -> FerreChemicalAbundances:
    columns = fit.columns() | {"pwd": str(folder), "element": species, "snr": one.spectrum.snr}
    return FerreChemicalAbundances.from_spectrum(one.spectrum, upstream_pk=one.parameters.task_pk, **columns)


def _result(workshop: Workshop, one: Asked, fits: Mapping[str, Fitted], folder: Path) -> ASPCAP:
    raw = parameters_of(one.parameters)
    found = {
        column: _abundance(species, workshop.configuration.species[species], fit, raw)
        for species, fit in fits.items()
        if (column := column_of(species)) is not None
    }
    columns = result_columns(one.spectrum, one.coarse, one.parameters, found, workshop.configuration.calibration)
    columns |= {"pwd": str(folder), "ferre_index": one.parameters.ferre_index}
    if one.job is None and is_usable(one.parameters) and workshop.fits_abundances(str(one.parameters.short_grid_name)):
        columns["result_flags"] |= int(FerreCoarse(flag_missing_model_flux=True).ferre_flags)
    seconds = [fit.seconds for fit in fits.values() if np.isfinite(fit.seconds)]
    return ASPCAP.from_spectrum(one.spectrum, ferre_time_abundances=sum(seconds) if seconds else None, **columns)


def _abundance(species: str, entry: SpeciesEntry, fit: Fitted, raw: Mapping[str, float]) -> dict[str, Any]:
    near, e_known = fit.edges, raw[f"e_{DIMENSIONS[entry.fit].parameter}"]
    value, error = abundance(species, entry.fit, (fit.value(entry.fit), fit.error(entry.fit)), e_known, raw["m_h_atm"])
    failed = not fit.is_good or entry.fit in near.failed
    return {
        "value": np.nan if failed else value,
        "error": np.nan if failed else error,
        "rchi2": fit.rchi2,
        "bad_grid_edge": entry.fit in near.bad,
        "warn_grid_edge": entry.fit in near.warn,
    }


def _tidy(folder: Path, fitted: Mapping[int, Mapping[str, Fitted]]) -> None:
    """Remove what no reader of a result's pixels needs, unless something went wrong."""
    if all(fit.is_good for fits in fitted.values() for fit in fits.values()):
        of_pixels = ("flux.input", "e_flux.input", "flux.index", "rectified_flux.output")
        tidy(folder, *(f"{PARAMETERS}/*/{name}" for name in (*of_pixels, "rectified_model_flux.output", DIVIDED_BY)))
        tidy(folder, *(f"{STAGE}/*/{name}" for name in of_pixels), f"{STAGE}/*/*/rectified_flux.output")
