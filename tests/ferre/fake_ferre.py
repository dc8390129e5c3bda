"""A stand-in for FERRE: reads the same files, interpolates the grid, fits by Gauss-Newton, writes the same formats.

How it does what FERRE does:

* INTER 1 or 3: linear, or cubic polynomials through the four nearest nodes of each dimension.
* CONT = 1: spectrum and model are each divided by their polynomial of order NCONT in the pixel's number, chip by chip,
  by least squares over the pixels whose error is over 0 and below REJECTCONT times the flux. (The recorded runs of the
  real program agree with that to the last digit written.)
* ALGOR is always Gauss-Newton with halved steps, from PFILE on (INIT = 0), inside the box.
* TYPETIE = 1: a tied dimension moves from its start by TTIE times what the leading ones moved.

What goes wrong on purpose is told by the environment; regular expressions are looked for in the spectra's names:

FAKE_FERRE_VERSION      5.1.1 (default) or 4.8.8
FAKE_FERRE_HANG         runs for ever at such a name
FAKE_FERRE_DIE          ends by a segmentation fault
FAKE_FERRE_QUIT         ends with status 0, in silence
FAKE_FERRE_JUNK         writes half a row of garbage
FAKE_FERRE_LOST         writes nothing for it
FAKE_FERRE_FAIL         writes -999.999, and covariances out of the blue
FAKE_FERRE_ONCE         a folder: what hangs, dies or quits does it once for each name
FAKE_FERRE_NAMES        1: lines of fluxes start with the name, as in the survey's build
FAKE_FERRE_ORDER        reversed, or shuffled: of the rows; `apart`: each file has an order of its own
FAKE_FERRE_SLEEP        seconds for each spectrum
FAKE_FERRE_LOAD         seconds for the grid; `never`
FAKE_FERRE_STATUS       exit status at the end (1, as FERRE)
FAKE_FERRE_FIXED        1: fixed format, although COVPRINT = 1
FAKE_FERRE_CALLS        a file: each start adds a line to it
"""

import math
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices, and others work here, too

import numpy as np

ENVIRONMENT = os.environ
VERSION = ENVIRONMENT.get("FAKE_FERRE_VERSION", "5.1.1")
KEYWORDS = {
    *("ndim", "nov", "indv", "synthfile", "filterfile", "pfile", "offile", "erfile", "opfile", "ffile", "obscont"),
    *("sffile", "errbar", "init", "algor", "nruns", "nthreads", "covprint", "pcaproject", "pcachi", "inter"),
    *("f_format", "f_access", "cont", "ncont", "rejectcont", "ntie", "indtie", "typetie", "ttie0", "ttie"),
}
if VERSION.startswith("4"):
    KEYWORDS.add("f_sort")
KEY = r"[A-Za-z_]\w*\s*(?:\([\d\s,]+\))?\s*="
ASSIGNED = re.compile(
    rf"([A-Za-z_]\w*)\s*(?:\(([\d\s,]+)\))?\s*=\s*('(?:[^']|'')*'|[^=]*?)(?=\s+{KEY}|\s*$)",
)


def say(text=""):
    print(text, flush=True)


def refuse(text, status=2):
    print(text, file=sys.stderr, flush=True)
    sys.exit(status)


def read_namelist(text, group):
    """Give the values of the first group of this name, and the text after it."""
    begin = re.search(rf"&{group}\b", text, re.IGNORECASE)
    if not begin:
        return None, ""
    end = re.compile(r"(?:[^'/]|'(?:[^']|'')*')*").match(text, begin.end()).end()
    if text[end : end + 2] != "/\n":
        refuse("Fortran runtime error: End of file")
    return ASSIGNED.findall(" ".join(text[begin.end() : end].split())), text[end + 1 :]


def read_control(name):
    if len(name) > 128 or not Path(name).exists():
        refuse(f"Fortran runtime error: Cannot open file '{name[:128]}': No such file or directory")
    values = {}
    for key, index, value in read_namelist(Path(name).read_text(), "LISTA")[0]:
        if key.lower() not in KEYWORDS:
            refuse(
                "At line 35 of file load_control.f90\n"
                f"Fortran runtime error: Cannot match namelist object name {key.lower()}"
            )
        value = value.strip().rstrip(",").strip()
        value = (
            value[1:-1].replace("''", "'")
            if value.startswith("'")
            else [float(v) for v in value.replace(",", " ").split()]
        )
        if isinstance(value, str) and len(value) > 300:
            refuse("Fortran runtime error: a path of more than 300 characters")
        values[key.lower() + (f"({index.replace(' ', '')})" if index and key.lower() != "synthfile" else "")] = value
    return values


class Grid:
    def __init__(self, header):
        text, blocks = Path(header).read_text(), []
        while True:
            block, text = read_namelist(text, "SYNTH")
            if block is None:
                break
            blocks.append({(key.lower(), index): value.strip().strip("'") for key, index, value in block})
        first = blocks[0]
        box, self.lower, self.steps = (np.array(first[key, ""].split(), float) for key in ("n_p", "llimits", "steps"))
        self.n_points = tuple(box.astype(int))
        n_pixels = [int(block["npix", ""]) for block in blocks]
        ends = np.cumsum(n_pixels[1:] or n_pixels)
        self.chips = [slice(end - n, end) for end, n in zip(ends, n_pixels[1:] or n_pixels, strict=True)]
        self.n_pixels = n_pixels[0]
        unf = Path(header).with_suffix(".unf")
        self.models = np.memmap(unf, "<f4", "r", shape=(*self.n_points, self.n_pixels))

    def nodes(self, axis, x, inter):
        """Give which nodes a value of a dimension is between, their weights, and the weights' derivatives."""
        n_nodes = 2 if inter == 1 else 4
        n = self.n_points[axis]
        x = float(x)
        first = max(min(math.floor(x) - (n_nodes // 2 - 1), n - n_nodes), 0)
        places = range(first, first + min(n_nodes, n))
        weights, slopes = [], []
        for node in places:
            others = [other for other in places if other != node]
            scale = math.prod(node - other for other in others)
            weights.append(math.prod(x - other for other in others) / scale)
            without = ([x - other for other in others if other != left] for left in others)
            slopes.append(sum(map(math.prod, without)) / scale)
        return slice(first, first + len(places)), np.array(weights), np.array(slopes)

    def box(self, values, inter, moving):
        """Interpolate in the dimensions that stay; the rest of the box is left, with the pixels last."""
        part = self.models
        units = (values - self.lower) / self.steps
        taken = [self.nodes(axis, x, inter) for axis, x in enumerate(units)]
        part = np.asarray(part[tuple(slice(None) if axis in moving else taken[axis][0] for axis in range(len(units)))])
        for axis in reversed(range(len(units))):
            if axis not in moving:
                part = np.tensordot(taken[axis][1].astype(np.float32), part, (0, axis))
        return part

    def interpolate(self, part, values, inter, moving):
        """Give the model at some values, and its derivative in each moving dimension, in the grid's units."""
        branches = [part]
        for axis in moving:
            place, weights, slopes = self.nodes(axis, (values[axis] - self.lower[axis]) / self.steps[axis], inter)
            pair = np.array([weights, slopes / self.steps[axis]], np.float32)
            value, slope = contract(pair, branches[0][place])
            branches = [value, *(contract(pair[:1], branch[place])[0] for branch in branches[1:]), slope]
        return branches[0].astype(float), [branch.astype(float) for branch in branches[1:]]


def contract(rows, array):
    """Weigh an array along its first axis with each row of weights."""
    return (rows @ array.reshape(rows.shape[1], -1)).reshape(len(rows), *array.shape[1:])


class Fitter:
    """The fit of one control file."""

    def __init__(self, control, grid):
        self.control, self.grid = control, grid
        self.number = lambda key, default: int(control.get(key, [default])[0])
        self.inter = self.number("inter", 3)
        self.n_dim = self.number("ndim", 0)
        self.free = [int(v) - 1 for v in control.get("indv", [])][: self.number("nov", 0)]
        self.upper = grid.lower + (np.array(grid.n_points) - 1) * grid.steps
        self.ties = self.read_ties()
        self.moving = [a for a in range(self.n_dim) if a in self.free or a in self.ties]
        mask = control.get("filterfile")
        self.weights = np.loadtxt(mask) if mask else np.ones(grid.n_pixels)

    def read_ties(self):
        ties = {}
        for i in range(1, self.number("ntie", 0) + 1):
            slopes = {}
            for j in range(1, self.n_dim + 1):
                if slope := self.control.get(f"ttie({i},{j})", [0.0])[0]:
                    slopes[j - 1] = slope
            if slopes:
                ties[int(self.control[f"indtie({i})"][0]) - 1] = slopes
        return ties

    def at(self, start, free_values):
        values = start.copy()
        values[self.free] = free_values
        for axis, slopes in self.ties.items():
            values[axis] += sum(slope * (values[j] - start[j]) for j, slope in slopes.items())
        return np.clip(values, self.grid.lower, self.upper)

    def projectors(self, flux, error):
        """Give for each chip the matrix that turns fluxes into their continuum."""
        reject, order = self.control.get("rejectcont", [0.3])[0], self.number("ncont", 4)
        for chip in self.grid.chips:
            good = (error[chip] > 0) & (error[chip] < reject * flux[chip])
            terms = np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, len(good)), order)
            yield chip, terms, np.linalg.pinv(terms[good]) if good.sum() > order else None, good

    def fit(self, start, flux, error):
        """Give values, errors, covariance, log10 of the reduced chi squared, and rectified spectrum and model."""
        problem = Problem(self, start, flux, error)
        low, high, scale = self.grid.lower[self.free], self.upper[self.free], self.grid.steps[self.free]
        best = start[self.free].copy()
        now = problem.at(best)
        for _ in range(25):
            step = problem.step(best, now, low, high, scale)
            for _ in range(8):
                trial = np.clip(best + step, low, high)
                found = problem.at(trial)
                if found.chi2 <= now.chi2:
                    break
                step /= 2
            else:
                break
            gain, moved = now.chi2 - found.chi2, np.abs((trial - best) / scale).max()
            best, now = trial, found
            if moved < 1e-4 or gain < 1e-6 * max(now.chi2, 1):
                break
        covariance = self.covariance(now.slopes, [i for i in range(len(best)) if low[i] < best[i] < high[i]])
        with np.errstate(divide="ignore"):
            log_rchi2 = np.log10(now.chi2 / (self.grid.n_pixels - len(best) + 1))
        return now.values, np.sqrt(np.diag(covariance)), covariance, log_rchi2, problem.observed, now.model

    def covariance(self, slopes, inner):
        """Give the covariances of what isn't on an edge."""
        covariance = np.zeros((self.n_dim, self.n_dim))
        if inner:
            axes = [self.free[i] for i in inner]
            information = slopes[:, inner].T @ slopes[:, inner]
            with np.errstate(all="ignore"):
                covariance[np.ix_(axes, axes)] = np.linalg.pinv(information, rcond=1e-14, hermitian=True)
        return covariance


class State(NamedTuple):
    """Where a fit is: all values, the model, weighted slopes and residuals."""

    values: np.ndarray
    model: np.ndarray
    slopes: np.ndarray
    residual: np.ndarray
    chi2: float


class Problem:
    """One spectrum, and how far models are from it."""

    def __init__(self, fitter, start, flux, error):
        self.fitter, self.start = fitter, start
        self.chips = list(fitter.projectors(flux, error)) if fitter.number("cont", 0) else []
        self.observed = flux / self.continuum(flux)
        with np.errstate(divide="ignore", invalid="ignore"):
            root = (
                np.sqrt(fitter.weights) * flux / (error * self.observed) if self.chips else fitter.weights**0.5 / error
            )
        self.root = np.where(np.isfinite(root), root, 0)
        self.part = fitter.grid.box(start, fitter.inter, fitter.moving)

    def continuum(self, spectrum):
        result = np.ones_like(spectrum)
        for chip, terms, inverse, good in self.chips:
            if inverse is not None:
                result[chip] = terms @ (inverse @ spectrum[chip][good])
        return result

    def at(self, free_values):
        fitter = self.fitter
        values = fitter.at(self.start, free_values)
        model, slopes = fitter.grid.interpolate(self.part, values, fitter.inter, fitter.moving)
        by_axis = dict(zip(fitter.moving, slopes, strict=True))
        columns = []
        for axis in fitter.free:
            tied = (leaders.get(axis, 0) * by_axis[other] for other, leaders in fitter.ties.items())
            columns.append(sum(tied, by_axis[axis]))
        if self.chips:
            below = self.continuum(model)
            columns = [(column - model / below * self.continuum(column)) / below for column in columns]
            model = model / below
        residual = (self.observed - model) * self.root
        return State(values, model, np.array(columns).T * self.root[:, None], residual, residual @ residual)

    def step(self, best, now, low, high, scale):
        """Give the step of Gauss and Newton, without what would leave the box."""
        downhill = now.slopes.T @ now.residual
        active = ~(((best <= low) & (downhill < 0)) | ((best >= high) & (downhill > 0)))
        step = np.zeros_like(best)
        if active.any():
            scaled = now.slopes[:, active] * scale[active]
            step[active] = np.linalg.lstsq(scaled, now.residual, rcond=1e-10)[0] * scale[active]
        return np.clip(step, -1.5 * scale, 1.5 * scale)


class Output:
    """A file that is written as gfortran writes it: in blocks, or line by line."""

    def __init__(self, path):
        unbuffered = ENVIRONMENT.get("GFORTRAN_UNBUFFERED_ALL", "").lower().startswith(("y", "t", "1"))
        self.file = Path(path).open("w", buffering=1 if unbuffered else 8192) if path else None  # noqa: SIM115
        self.later = []

    def write(self, line, later=False):
        if not self.file:
            return
        if later:
            self.later.append(line)
        else:
            self.file.write(line)

    def close(self, order):
        if self.file:
            for place in order(len(self.later)):
                self.file.write(self.later[place])
            self.file.close()


def matches(kind, name):
    pattern = ENVIRONMENT.get(f"FAKE_FERRE_{kind}")
    if not pattern or not re.search(pattern, name):
        return False
    if (folder := ENVIRONMENT.get("FAKE_FERRE_ONCE")) and kind in ("HANG", "DIE", "QUIT"):
        mark = Path(folder) / f"{kind}-{name}"
        if mark.exists():
            return False
        mark.touch()
    return True


def hang():
    while True:
        time.sleep(60)


def misbehave(name):
    if matches("HANG", name):
        hang()
    if matches("DIE", name):
        say("Program received signal SIGSEGV: Segmentation fault - invalid memory reference.")
        os.kill(os.getpid(), signal.SIGSEGV)
    if matches("QUIT", name):
        sys.stdout.flush()
        os._exit(0)


def row_text(name, numbers, fixed):
    texts = []
    for number in numbers:
        text = f"{number:10.3f}" if fixed else f"{number:13.4E}"
        texts.append(text if len(text) <= (10 if fixed else 13) else "*" * 9 + " ")
    return f" {name:<150s}" + "".join(texts) + "\n"


def flux_text(name, fluxes):
    names = ENVIRONMENT.get("FAKE_FERRE_NAMES") == "1"
    return (f" {name:<40s} " if names else "") + ("%13.5E" * len(fluxes) % tuple(fluxes))[0 if names else 1 :] + "\n"


def ordered(n):
    kind = ENVIRONMENT.get("FAKE_FERRE_ORDER", "")
    places = list(range(n))
    if kind == "reversed":
        places.reverse()
    elif kind in ("shuffled", "apart"):
        random.Random(None if kind == "apart" else n).shuffle(places)
    return places


def answer(name, start, flux, error, fitter, outputs, fixed):
    """Fit one spectrum and write its row and its lines."""
    apart = ENVIRONMENT.get("FAKE_FERRE_ORDER") == "apart"
    n = fitter.n_dim
    if not np.isfinite(flux).all() or not np.isfinite(error).all():
        hang()
    misbehave(name)
    too_large = np.abs(flux).max() > 3e38
    if too_large and VERSION.startswith("4"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if too_large or not (flux > 0).any() or matches("FAIL", name):
        values = errors = np.full(n, -999.999)
        covariance, log_rchi2 = np.random.default_rng(len(name)).normal(0, 1e5, (n, n)), -999.999
        rectified = model = np.zeros_like(flux)
    else:
        values, errors, covariance, log_rchi2, rectified, model = fitter.fit(start, flux, error)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.nan_to_num(np.median(flux / error))
    numbers = [*values, *errors, 0.0, snr, log_rchi2, *(covariance.ravel() if fitter.number("covprint", 0) else ())]
    model_file, flux_file, row_file = outputs
    if matches("LOST", name):
        return
    model_file.write(flux_text(name, model), apart)
    flux_file.write(flux_text(name, rectified), apart)
    if matches("JUNK", name):
        row_file.write(f" {name} 1.0E+00 @@@@ #!\n")
        return
    row_file.write(row_text(name, numbers, fixed), apart)


def lines_of(path):
    with Path(path).open() as file:
        yield from file


def load(control, grids):
    header = control["synthfile"]
    if header not in grids:
        pause = ENVIRONMENT.get("FAKE_FERRE_LOAD", "0")
        if pause == "never":
            hang()
        time.sleep(float(pause))
        grids.clear()
        grids[header] = Grid(header)
    return grids[header]


def run(name, number, grids):
    """Do what one control file says."""
    say(f"{number:12d} {name:<80s}")
    say(f" {'-' * 65}\n                     f e r r e          v{VERSION}      \n\n {'-' * 65}\n {name:<12s}9")
    control = read_control(name)
    n_dim, n_free, n_ties = (int(control.get(key, [0])[0]) for key in ("ndim", "nov", "ntie"))
    if VERSION.startswith("5") and n_free and n_ties + n_free != n_dim:
        say(" load_control: ERROR\n ntie + nov is not equal to ndim")
        return False
    say(f"synthfile: {control['synthfile']}")
    grid = load(control, grids)
    fitter = Fitter(control, grid)
    if fitter.inter >= min(n for n in grid.n_points):
        refuse(" ferre: ERROR: inter is too high for the number of nodes")
    say(" Done reading!")
    names, starts = [], []
    for line in Path(control["pfile"]).read_text().splitlines():
        words = line.split()
        names.append(words[0])
        starts.append(np.array(words[1:], float))
    outputs = [Output(control.get(key)) for key in ("offile", "sffile", "opfile")]
    fixed = not fitter.number("covprint", 0) or ENVIRONMENT.get("FAKE_FERRE_FIXED") == "1"
    texts = zip(*(lines_of(control[key]) for key in ("ffile", "erfile")), strict=True) if n_free else None
    if n_free and ENVIRONMENT.get("FAKE_FERRE_ORDER"):
        texts = list(texts)
    for place in ordered(len(names)):
        say(f" next object #{place + 1:12d}")
        time.sleep(float(ENVIRONMENT.get("FAKE_FERRE_SLEEP", "0")))
        if n_free:
            pair = texts[place] if isinstance(texts, list) else next(texts)
            flux, error = (np.array(text.split(), float) for text in pair)
            answer(names[place], starts[place], flux, error, fitter, outputs, fixed)
        else:
            misbehave(names[place])
            values = np.clip(starts[place], grid.lower, fitter.upper)
            outputs[0].write(flux_text(names[place], grid.box(values, fitter.inter, [])))
        say(f" ellapsed time: {0.1:23.4f}  s")
    for output in outputs:
        output.close(ordered)
    return True


def main(arguments):
    if path := ENVIRONMENT.get("FAKE_FERRE_CALLS"):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {time.time()} {' '.join(arguments)}\n")
    grids = {}
    names = [arguments[0]] if arguments and arguments[0] != "-l" else ["input.nml"]
    if arguments[:1] == ["-l"]:
        names = Path(arguments[1]).read_text().split()
    if not all(run(name, number, grids) for number, name in enumerate(names, 1)):
        return 0
    status = int(ENVIRONMENT.get("FAKE_FERRE_STATUS", "1"))
    print(f"STOP {status}\n quit: Run ended", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
