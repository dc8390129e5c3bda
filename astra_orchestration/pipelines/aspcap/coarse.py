"""Step 4: fits on every grid that may be the right one, with few free parameters; the best one is the result."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.errors import MissingPixelsError
from astra_models.ferre import FerreCoarse
from astra_models.source import Source
from astra_orchestration.pipelines.ferre.control import Settings
from astra_orchestration.pipelines.ferre.grid import Chip

from .choosing import CoarseFit, choose
from .fitting import TIMED_OUT, Fitted, Job, fit_jobs
from .grid_choice import KnownGrid, grids_for
from .guesses import AT_CENTER, initial_guess, sources_of
from .pixels import Pixels, pixels_for
from .work_folders import work_folder
from .workshop import Workshop

STAGE = "coarse"

WithNet = tuple[ApogeeCoaddedSpectrumInApStar, ApogeeNet | None]


class Asked(NamedTuple):
    """What is to be done with a spectrum: its fits, or the flag of why there are none."""

    spectrum: ApogeeCoaddedSpectrumInApStar
    jobs: list[Job]
    flag: str | None = None


def coarse_results(workshop: Workshop, lot: Sequence[WithNet]) -> Iterator[FerreCoarse]:
    """Fit spectra on the grids that may be theirs.

    Yields
    ------
    FerreCoarse
        The best fit of each spectrum; for one that could not be fitted, a row with a flag that says why.

    Raises
    ------
    MissingPixelsError
        In the end, if the pixels of a spectrum can't be read.
    """
    asked, unreadable = _ask(workshop, lot)
    jobs = [job for one in asked for job in one.jobs]
    with work_folder(workshop.root, STAGE, [job.key for job in jobs]) as work:
        fitted = iter(_fit(workshop, work.path, jobs))
        yield from work.give(_row(one, [next(fitted) for _ in one.jobs], work.path) for one in asked)
    if unreadable:
        raise unreadable[0]


def _ask(workshop: Workshop, lot: Sequence[WithNet]) -> tuple[list[Asked], list[MissingPixelsError]]:
    sources = sources_of([spectrum for spectrum, _ in lot])
    asked: list[Asked] = []
    unreadable: list[MissingPixelsError] = []
    for spectrum, net in lot:
        try:
            source = None if spectrum.source_pk is None else sources.get(spectrum.source_pk)
            asked.append(_ask_one(workshop, spectrum, net, source))
        except MissingPixelsError as error:  # the others go on; it is told in the end
            unreadable.append(error)
        finally:
            spectrum.release_pixels()
    return asked, unreadable


def _ask_one(
    workshop: Workshop, spectrum: ApogeeCoaddedSpectrumInApStar, net: ApogeeNet | None, source: Source | None
) -> Asked:
    guess = initial_guess(spectrum, source, net)
    chosen = grids_for(list(workshop.grids.values()), spectrum.telescope, spectrum.mean_fiber, guess)
    if not chosen:
        return Asked(spectrum, [], "flag_no_suitable_initial_guess")
    flags = FerreCoarse(**{AT_CENTER if guess is None else guess.flag: True}).initial_flags
    rules = workshop.configuration.pixels
    of_chips: dict[tuple[Chip, ...], Pixels] = {}
    jobs: list[Job] = []
    for known, start in chosen:
        chips = known.grid.chips
        if chips not in of_chips:
            of_chips[chips] = pixels_for(known.grid, spectrum.flux, spectrum.ivar, spectrum.pixel_flags, rules)
        pixels = of_chips[chips]
        if pixels.share_bad >= rules.most_bad:
            return Asked(spectrum, [], "flag_too_many_bad_pixels")
        jobs.append(Job(spectrum.spectrum_pk, spectrum.source_pk, known, start, pixels.flux, pixels.error, flags))
    return Asked(spectrum, jobs)


def _fit(workshop: Workshop, folder: Path, jobs: Sequence[Job]) -> list[Fitted]:
    def settings(known: KnownGrid) -> Settings:
        free = tuple(label for label in known.grid.labels if label not in known.entry.coarse_fixed)
        return workshop.settings(free)

    return fit_jobs(workshop.program(), jobs, settings, lambda known: folder / STAGE / known.name, workshop.processes)


def _row(one: Asked, fits: Sequence[Fitted], folder: Path) -> FerreCoarse:
    if not fits:
        return FerreCoarse.from_spectrum(
            one.spectrum, pwd="", **{str(one.flag): True, "flag_no_good_coarse_result": True}
        )
    compared = [
        CoarseFit(fit.job.known.name, fit.value("TEFF"), fit.rchi2, fit.edges, fit.job.known.entry.penalized_below)
        for fit in fits
    ]
    choice = choose(compared)
    best = fits[choice.best]
    columns = best.columns() | {
        "pwd": str(folder),
        "snr": one.spectrum.snr,
        "penalized_rchi2": compared[choice.best].penalized_rchi2,
        "flag_multiple_equally_good_coarse_results": choice.is_tie,
        "flag_no_good_coarse_result": not choice.is_good,
        "flag_caused_timeout": any(fit.state == TIMED_OUT for fit in fits),
    }
    return FerreCoarse.from_spectrum(one.spectrum, **columns)
