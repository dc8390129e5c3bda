"""Whose line is it? FERRE's public versions write no names into their files of fluxes.

Lines are taken in the order of the rows of parameters, and then it is seen whether they fit: a rectified spectrum is
the spectrum that went in divided by a polynomial in each chip, which a few pixels per chip show; a model gives the chi
squared of its row. With one thread the order holds. With several, each file has an order of its own, and lines that
don't fit are looked for among the others. A line that fits nowhere is left out: a spectrum without a line is better
than one with another's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.outputs import Row, parse_fluxes, split_flux_line

_PER_CHIP = 20
_TOLERANCE = 1e-3
_TOLERANCE_OF_CHI = 0.01


@dataclass(frozen=True)
class Input:
    """What FERRE read of a spectrum.

    Parameters
    ----------
    flux, error : array
        (n_pixels,) float64, as they are in the files.
    """

    flux: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """How fluxes are arranged and rectified.

    Parameters
    ----------
    chips : tuple of slice
        The pixels of each chip.
    order : int, optional
        Order of the polynomial; None if there is none.
    n_free : int
        Number of dimensions that were fitted.
    weighted : bool
        Whether a mask had a part in the chi squared.
    n_threads : int
        How many threads wrote.
    """

    chips: tuple[slice, ...]
    order: int | None
    n_free: int
    weighted: bool
    n_threads: int

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return self.chips[-1].stop


Lines = dict[str, bytes]
"""The numbers of a line by the name of the spectrum."""


def match_lines(
    rows: Mapping[str, Row],
    rectified: Sequence[bytes],
    models: Sequence[bytes],
    inputs: Callable[[str], Input],
    layout: Layout,
) -> tuple[Lines, Lines]:
    """Find the lines of rectified fluxes and of models of each row.

    Parameters
    ----------
    rows : mapping
        Rows of parameters by name, in the order of the file.
    rectified, models : sequence of bytes
        Lines of the two files.
    inputs : callable
        Gives what went in, by name.
    layout : Layout
        How fluxes are arranged.
    """
    names = {name.encode(): name for name in rows}
    named_flux, flux = _split(rectified, names, layout.n_pixels)
    named_models, model = _split(models, names, layout.n_pixels)
    waiting = [name for name in rows if name not in named_flux]
    found = _match_rectified(waiting, flux, inputs, layout) if flux else {}
    named_flux |= {name: flux[place] for name, place in found.items()}
    waiting = [name for name in rows if name not in named_models]
    in_order = layout.n_threads == 1 and all(found.get(name, i) == i for i, name in enumerate(waiting))
    if model and in_order and _last_fits(waiting, model, rows, named_flux, inputs, layout):
        named_models |= dict(zip(waiting, model, strict=False))
    elif model:
        matched = _match_models(waiting, model, rows, named_flux, inputs, layout)
        named_models |= {name: model[place] for name, place in matched.items()}
    return named_flux, named_models


def _split(lines: Sequence[bytes], names: Mapping[bytes, str], n_pixels: int) -> tuple[Lines, list[bytes]]:
    """Tell lines with names from those without; leave out what isn't a spectrum."""
    named: Lines = {}
    others: list[bytes] = []
    for line in lines:
        name, numbers = split_flux_line(line, names)
        if numbers.count(b".") != n_pixels and len(numbers.split()) != n_pixels:
            continue
        if name is None:
            others.append(numbers)
        elif name in names:
            named[names[name]] = numbers
    return named, others


def _match_rectified(
    names: Sequence[str], lines: Sequence[bytes], inputs: Callable[[str], Input], layout: Layout
) -> dict[str, int]:
    parsed = [parse_fluxes(line, layout.n_pixels) for line in lines]
    found: dict[str, int] = {}
    unsure: list[tuple[str, int]] = []
    lost: list[tuple[str, Input]] = []
    for place, name in enumerate(names):
        spectrum = inputs(name)
        fits = _fits(spectrum, parsed[place] if place < len(parsed) else None, layout)
        if fits:
            found[name] = place
        elif fits is None and place < len(parsed):
            unsure.append((name, place))
        else:
            lost.append((name, spectrum))
    for name, spectrum in lost:
        free = [place for place in range(len(parsed)) if place not in found.values()]
        place = next((place for place in free if _fits(spectrum, parsed[place], layout)), None)
        if place is not None:
            found[name] = place
    if not lost:
        found |= dict(unsure)
    return found


def _fits(spectrum: Input, rectified: NDArray[np.float64] | None, layout: Layout) -> bool | None:
    """Whether a rectified spectrum is of these fluxes; None if there is nothing to see it by."""
    if rectified is None:
        return False
    seen = False
    n_terms = 0 if layout.order is None else layout.order + 1
    for chip in layout.chips:
        flux, rect, error = spectrum.flux[chip], rectified[chip], spectrum.error[chip]
        good = np.flatnonzero((error < 1e9) & (flux > 1e-3 * np.abs(flux).max()))
        if len(good) < n_terms + 3:
            continue
        if not np.isfinite(rect[good]).all() or (rect[good] == 0).all():
            continue
        seen = True
        pixels = good[np.linspace(0, len(good) - 1, min(len(good), n_terms + _PER_CHIP)).astype(int)]
        if not _is_smooth(pixels / len(flux), flux[pixels], rect[pixels], layout.order):
            return False
    return True if seen else None


def _is_smooth(
    x: NDArray[np.float64], flux: NDArray[np.float64], rectified: NDArray[np.float64], order: int | None
) -> bool:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = flux / rectified
    if not np.isfinite(ratio).all():
        return False
    if order is None:
        return bool(np.abs(ratio - 1).max() < _TOLERANCE)
    terms = np.polynomial.chebyshev.chebvander(2 * x - 1, order)
    smooth = terms @ np.linalg.lstsq(terms, ratio, rcond=None)[0]
    return bool(np.abs(ratio - smooth).max() < _TOLERANCE * np.abs(smooth).max())


def _last_fits(
    names: Sequence[str],
    lines: Sequence[bytes],
    rows: Mapping[str, Row],
    rectified: Lines,
    inputs: Callable[[str], Input],
    layout: Layout,
) -> bool:
    """Whether the last model is where it should be: had one been lost before, it would have moved up."""
    if len(lines) < len(names):
        return False
    usable = [place for place, name in enumerate(names) if name in rectified and rows[name].is_good]
    if not usable:
        return True
    place = usable[-1]
    flux = parse_fluxes(rectified[names[place]], layout.n_pixels)
    model = parse_fluxes(lines[place], layout.n_pixels)
    if flux is None or layout.weighted:
        return True
    return _nearest_model(flux, inputs(names[place]), rows[names[place]], [model], [0], layout) is not None


def _match_models(
    names: Sequence[str],
    lines: Sequence[bytes],
    rows: Mapping[str, Row],
    rectified: Lines,
    inputs: Callable[[str], Input],
    layout: Layout,
) -> dict[str, int]:
    """Give each row the model whose chi squared is that of the row; if a mask hides it, the one with the smallest."""
    models = [parse_fluxes(line, layout.n_pixels) for line in lines]
    free = set(range(len(lines)))
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        flux = parse_fluxes(rectified[name], layout.n_pixels) if name in rectified else None
        if flux is None or not rows[name].is_good:
            continue
        spectrum = inputs(name)
        near = sorted(free, key=lambda place: abs(place - number))
        place = _nearest_model(flux, spectrum, rows[name], models, near, layout)
        if place is not None:
            found[name] = place
            free.discard(place)
    return found


def _nearest_model(
    flux: NDArray[np.float64],
    spectrum: Input,
    row: Row,
    models: Sequence[NDArray[np.float64] | None],
    places: Sequence[int],
    layout: Layout,
) -> int | None:
    best: tuple[float, int] | None = None
    for place in places:
        rchi2 = _rchi2(flux, models[place], spectrum, layout)
        if rchi2 is None:
            continue
        if not layout.weighted and abs(np.log10(rchi2 / row.rchi2)) < _TOLERANCE_OF_CHI:
            return place
        if layout.weighted and (best is None or rchi2 < best[0]):
            best = rchi2, place
    return best[1] if best else None


def _rchi2(
    flux: NDArray[np.float64], model: NDArray[np.float64] | None, spectrum: Input, layout: Layout
) -> float | None:
    if model is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = spectrum.error * flux / spectrum.flux
        terms = ((flux - model) / error) ** 2
    terms = terms[np.isfinite(terms)]
    n = layout.n_pixels - layout.n_free + 1
    total = float(terms.sum()) / n
    return total if total > 0 else None
