"""A star in a notebook: its spectra with the fits of them, the results with their flags, what is due and failed."""

from pathlib import Path
from typing import Any

from astra_models.errors import AstraError
from astra_models.notebook.html import details, figure, nothing_raised, paragraph, table
from astra_models.notebook.main_columns import told
from astra_models.notebook.spectra import HEIGHT, WIDTH
from astra_models.outputs import model_named
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.status.star import Result, Star

__all__ = ["star_html"]

MOST_DRAWN = 6


@nothing_raised
def star_html(star: Star) -> str:
    """Give everything about a star as HTML.

    Parameters
    ----------
    star : Star
        What `explain_star` gives.
    """
    named = {**star.identifiers, **{name: f"{value:.6f} deg" for name, value in star.position.items()}}
    parts = [table(list(named), [list(named.values())])]
    parts.append(details(f"{len(star.spectra)} spectra", _spectra(star), opened=True))
    parts.append(details(f"{len(star.results)} results", _results(star), opened=True))
    if star.analyses:
        rows = [(one.pipeline, one.spectrum_pk, one.state, one.why) for one in star.analyses]
        parts.append(details("due, done, failed", table(("pipeline", "spectrum_pk", "", "why"), rows)))
    if star.rejected:
        rejected = [
            (one.model, one.spectrum_pk, one.version, one.reason, one.message, one.when) for one in star.rejected
        ]
        heading = ("of", "spectrum_pk", "version", "reason", "message", "when")
        parts.append(details(f"{len(star.rejected)} rejected", table(heading, rejected), opened=True))
    return "".join(parts)


def _spectra(star: Star) -> str:
    heading = ("spectrum_pk", "kind", "telescope", "MJD", "S/N", "file")
    rows = [
        (
            one.spectrum_pk,
            one.kind,
            one.telescope,
            one.key.get("mjd", ""),
            one.snr,
            _file(one.file, one.problem),
        )
        for one in star.spectra
    ]
    keys = [one.spectrum_pk for one in star.spectra if one.spectrum_pk is not None]
    pictures = "".join(_picture(key, star.results) for key in keys[:MOST_DRAWN])
    left_out = paragraph(f"{len(keys) - MOST_DRAWN} more aren't drawn") if len(keys) > MOST_DRAWN else ""
    return (table(heading, rows) if rows else paragraph("no spectra")) + pictures + left_out


def _file(file: str | None, problem: str | None) -> str:
    return problem or "not known" if file is None else Path(file).name


def _picture(spectrum_pk: int, results: list[Result]) -> str:
    """Draw a spectrum, and over it the model fluxes that its newest results have."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return paragraph("no plots: matplotlib isn't installed; pip install 'astra-orchestration[plot]'")
    own = [result for result in results if result.spectrum_pk == spectrum_pk and result.is_newest]
    picture = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    try:
        fits = _draw(picture.subplots(), Spectrum.get_by_id(spectrum_pk).resolve(), own)
    except (AstraError, OSError, ValueError) as error:
        return paragraph(f"spectrum {spectrum_pk} isn't drawn: {error}")
    flags = sorted({flag.removeprefix("flag_") for result in own for flag in result.flags})
    words = f"spectrum {spectrum_pk}" + (f", with the fits of {', '.join(fits)}" if fits else "")
    return figure(picture, words) + paragraph(words + (f"; flags: {', '.join(flags)}" if flags else ""))


def _draw(ax: Any, spectrum: SpectrumMixin, results: list[Result]) -> list[str]:
    """Draw a spectrum and the fits of results, and name those that have one."""
    spectrum.plot(ax)
    fits = {result.pipeline: fit for result in results if (fit := _fit(result)) is not None}
    drawn = {name: fit for name, fit in fits.items() if fit.shape == spectrum.flux.shape}
    for name, fit in drawn.items():
        ax.plot(spectrum.wavelength.T, fit.T, lw=0.8, label=name)
    if drawn:
        ax.legend(fontsize="small")
    return list(drawn)


def _fit(result: Result) -> Any:
    """Read the model flux of a result, if its model keeps one that can be read."""
    model = model_named(result.table)
    if not hasattr(model, "model_flux"):
        return None
    row: Any = model.get_or_none(model._meta.primary_key == result.task_pk)
    try:
        return None if row is None else row.model_flux
    except (AstraError, OSError, ValueError):  # its spectrum is drawn all the same
        return None


def _results(star: Star) -> str:
    rows = [
        (
            result.pipeline,
            result.version + ("" if result.is_newest else " (there is a newer one)"),
            result.spectrum_pk,
            ", ".join(told(result.values, result.units)) or "nothing measured",
            ", ".join(flag.removeprefix("flag_") for flag in result.flags),
            result.modified.strftime("%Y-%m-%d %H:%M"),
        )
        for result in star.results
    ]
    heading = ("pipeline", "version", "spectrum_pk", "measured", "flags", "written (UTC)")
    return table(heading, rows) if rows else paragraph("no results")


Star._repr_html_ = star_html  # type: ignore[attr-defined]  # what a notebook asks for
