"""Whose line is it? FERRE's public versions write no names into their files of fluxes.

Lines are taken in the order of the rows of parameters, and then it is seen whether they fit: a rectified spectrum is
the spectrum that went in divided by a polynomial in each chip, which a few pixels per chip show; a model gives the chi
squared of its row. With one thread the order holds. With several, each file has an order of its own, and lines that
don't fit are looked for among the others. A line that fits nowhere is left out: a spectrum without a line is better
than one with another's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.outputs import Row, parse_fluxes, split_flux_line

_AT_ONCE = 64
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


@dataclass(frozen=True)
class Found:
    """Lines of some rows, by the name of the spectrum: the numbers in them."""

    rectified: dict[str, bytes]
    models: dict[str, bytes]


@dataclass
class Lines:
    """Some lines of a file of fluxes, and which of them have found their spectrum.

    Parameters
    ----------
    n_pixels : int
        How many numbers a line has to have; others are left out.
    """

    n_pixels: int

    def __post_init__(self) -> None:
        self.named: dict[bytes, bytes] = {}
        self.others: list[bytes] = []
        self.taken: set[int] = set()
        self._parsed: dict[int, NDArray[np.float64] | None] = {}

    def add(self, lines: Iterable[bytes], names: Collection[bytes]) -> None:
        """Add lines, and forget those that found their spectrum."""
        self.others = [line for place, line in enumerate(self.others) if place not in self.taken]
        self.taken.clear()
        self._parsed.clear()
        for line in lines:
            name, numbers = split_flux_line(line, names)
            if numbers.count(b".") != self.n_pixels and len(numbers.split()) != self.n_pixels:
                continue
            if name is None:
                self.others.append(numbers)
            elif name in names:
                self.named[name] = numbers

    def parsed(self, place: int) -> NDArray[np.float64] | None:
        """Give the numbers of a line that has no name; None if there is no such line."""
        if not 0 <= place < len(self.others):
            return None
        if place not in self._parsed:
            self._parsed[place] = parse_fluxes(self.others[place], self.n_pixels)
        return self._parsed[place]

    def free(self, near: int) -> list[int]:
        """Give the lines without a name that no spectrum has yet, the nearest first."""
        places = [place for place in range(len(self.others)) if place not in self.taken]
        return sorted(places, key=lambda place: abs(place - near))


def match_lines(
    rows: Mapping[str, Row],
    rectified: Iterable[bytes],
    models: Iterable[bytes],
    inputs: Callable[[str], Input],
    layout: Layout,
) -> Iterator[Found]:
    """Find the lines of rectified fluxes and of models of each row.

    The files are gone through some lines at a time. What hasn't found its counterpart waits for the next lines, so that
    no more is in memory than the order of the rows makes necessary.

    Parameters
    ----------
    rows : mapping
        Rows of parameters by name, in the order of the file.
    rectified, models : iterable of bytes
        Lines of the two files.
    inputs : callable
        Gives what went in, by name.
    layout : Layout
        How fluxes are arranged.
    """
    names = {name.encode() for name in rows}
    flux, model = Lines(layout.n_pixels), Lines(layout.n_pixels)
    flux_lines, model_lines, waiting = iter(rectified), iter(models), {}
    for start in range(0, len(rows), _AT_ONCE):
        is_last = start + _AT_ONCE >= len(rows)
        at_once = None if is_last else _AT_ONCE
        flux.add(islice(flux_lines, at_once), names)
        model.add(islice(model_lines, at_once), names)
        block = dict(islice(rows.items(), start, start + _AT_ONCE)) | waiting
        found = _match_block(block, flux, model, inputs, layout)
        # Of what FERRE gave up on there is nothing to know a line by later on.
        good = {name: row for name, row in block.items() if row.is_good}
        waiting = {name: row for name, row in good.items() if name not in found.models or name not in found.rectified}
        yield found


def _match_block(
    rows: Mapping[str, Row], flux: Lines, model: Lines, inputs: Callable[[str], Input], layout: Layout
) -> Found:
    rectified = {name: flux.named.pop(name.encode()) for name in rows if name.encode() in flux.named}
    models = {name: model.named.pop(name.encode()) for name in rows if name.encode() in model.named}
    places = {}
    if flux.others:
        places = _match_rectified([name for name in rows if name not in rectified], flux, inputs, layout)
        rectified |= {name: flux.others[place] for name, place in places.items()}
    if model.others:
        without = {name: places.get(name, number) for number, name in enumerate(rows) if name not in models}
        found = _match_models(without, model, rows, rectified, inputs, layout)
        models |= {name: model.others[place] for name, place in found.items()}
    return Found(rectified, models)


def _match_rectified(
    names: Sequence[str], lines: Lines, inputs: Callable[[str], Input], layout: Layout
) -> dict[str, int]:
    found: dict[str, int] = {}
    unsure: dict[str, int] = {}
    shift = 0
    for number, name in enumerate(names):
        spectrum = inputs(name)
        fits = _fits(spectrum, lines.parsed(number + shift), layout)
        place: int | None = number + shift
        if fits is None:
            unsure[name] = number + shift
            continue
        if not fits or place in lines.taken:
            place = next((p for p in lines.free(number + shift) if _fits(spectrum, lines.parsed(p), layout)), None)
        if place is not None:
            found[name] = place
            lines.taken.add(place)
            shift = place - number
    if len(found) + len(unsure) == len(names) and shift == 0:
        found |= {name: place for name, place in unsure.items() if place not in lines.taken}
        lines.taken.update(unsure.values())
    return found


def _fits(spectrum: Input, rectified: NDArray[np.float64] | None, layout: Layout) -> bool | None:
    """Whether a rectified spectrum is of these fluxes; None if there is nothing to see it by."""
    if rectified is None:
        return False
    seen = False
    n_terms = 0 if layout.order is None else layout.order + 1
    for chip in layout.chips:
        flux, rect, error = spectrum.flux[chip], rectified[chip], spectrum.error[chip]
        has_weight = error < 1e9
        good = np.flatnonzero(has_weight & (flux > 1e-3 * np.abs(flux[has_weight]).max(initial=0)))
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


def _match_models(
    places: Mapping[str, int],
    lines: Lines,
    rows: Mapping[str, Row],
    rectified: Mapping[str, bytes],
    inputs: Callable[[str], Input],
    layout: Layout,
) -> dict[str, int]:
    """Give each row the model whose chi squared is that of the row; if a mask hides it, the one with the smallest."""
    if layout.n_threads == 1 and _last_fits(places, lines, rows, rectified, inputs, layout):
        # One thread writes line by line: had a model been lost, the last one would have moved up.
        lines.taken.update(places.values())
        return dict(places)
    found: dict[str, int] = {}
    for name, near in places.items():
        flux = parse_fluxes(rectified[name], layout.n_pixels) if name in rectified else None
        if flux is None or not rows[name].is_good:
            continue
        place = _nearest_model(flux, inputs(name), rows[name], lines, lines.free(near), layout)
        if place is not None:
            found[name] = place
            lines.taken.add(place)
    return found


def _last_fits(
    places: Mapping[str, int],
    lines: Lines,
    rows: Mapping[str, Row],
    rectified: Mapping[str, bytes],
    inputs: Callable[[str], Input],
    layout: Layout,
) -> bool:
    distinct = len(set(places.values())) == len(places) and all(0 <= p < len(lines.others) for p in places.values())
    if not distinct or not all(name in rectified for name in places):
        return False
    usable = [name for name in places if rows[name].is_good]
    if not usable or layout.weighted:
        return True
    name = max(usable, key=places.__getitem__)
    flux = parse_fluxes(rectified[name], layout.n_pixels)
    return flux is None or _nearest_model(flux, inputs(name), rows[name], lines, [places[name]], layout) is not None


def _nearest_model(
    flux: NDArray[np.float64], spectrum: Input, row: Row, lines: Lines, places: Sequence[int], layout: Layout
) -> int | None:
    best: tuple[float, int] | None = None
    for place in places:
        rchi2 = _rchi2(flux, lines.parsed(place), spectrum, layout)
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
