"""The sample survey as a folder of files: visits, co-adds, a few broken files, APOGEE stars, and the truth.

What a folder holds is said by its manifest. It is written first as unfinished and last as finished, so that a
survey that was interrupted is made again, and a folder of anything else is never touched.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from astra_models.errors import SampleError
from astra_orchestration.pipelines.white_dwarfs.choosing import TRUTH
from astra_orchestration.sample.apogee.survey import (
    APOGEE_LABELS,
    APOGEE_TRUTH,
    apogee_spectra,
    make_apogee_stars,
    usual_apogee_stars,
)
from astra_orchestration.sample.light import Observation, observe
from astra_orchestration.sample.star_file import V_ASTRA, mwm_star
from astra_orchestration.sample.stars import Star, Visit, draw_star, random_numbers
from astra_orchestration.sample.visit_file import spec_full

FORMAT = 3
MANIFEST = "sample.json"
VISITS, STARS, BROKEN = "visits", "stars", "broken"
ASPCAP_FOLDER = "aspcap"

_OBSERVING, _VISIT_FILE, _STAR_FILE, _BROKEN_FILE = range(4)


@dataclass(frozen=True)
class BrokenFile:
    """A file that is broken on purpose.

    Parameters
    ----------
    path : str
        Where it is.
    what : str
        What is wrong with it.
    ingests : bool
        Whether it goes into the database all the same.
    """

    path: str
    what: str
    ingests: bool


@dataclass(frozen=True)
class SampleSummary:
    """What was made, or found.

    Parameters
    ----------
    folder : str
        Where it is.
    seed : int
        Of the random numbers.
    stars, white_dwarfs, binaries : int
        How many.
    visits, co_adds : int
        How many specFull and mwmStar files are as they should be.
    apogee_stars, labeled : int
        How many APOGEE stars there are, each with an apStar and an mwmStar file, and how many have labels.
    broken : tuple of BrokenFile
        Files that are not.
    truth : str
        Table of what was put in.
    size : int
        Bytes of all FITS files.
    was_there : bool
        Whether the survey was there already, so that nothing was made.
    seconds : float
        How long it took.
    """

    folder: str
    seed: int
    stars: int
    white_dwarfs: int
    binaries: int
    visits: int
    co_adds: int
    apogee_stars: int
    labeled: int
    broken: tuple[BrokenFile, ...]
    truth: str
    size: int
    was_there: bool
    seconds: float

    @property
    def apogee_truth(self) -> str | None:
        """Table of what was put into the APOGEE stars; None if there are none."""
        return str(Path(self.folder) / APOGEE_TRUTH) if self.apogee_stars else None

    @property
    def labels(self) -> str | None:
        """File of results with the true labels of two of every three APOGEE stars; None if there are none."""
        return str(Path(self.folder) / APOGEE_LABELS) if self.labeled else None

    @property
    def grids(self) -> list[str]:
        """Headers of FERRE's grids, sorted; none unless they were asked for."""
        return sorted(map(str, (Path(self.folder) / ASPCAP_FOLDER).glob("*/*.hdr")))

    @property
    def files(self) -> list[str]:
        """All FITS files of spectra, broken ones too, sorted."""
        return _fits_files(Path(self.folder))


def make_sample(
    folder: str | Path,
    stars: int = 200,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
    *,
    apogee_stars: int | None = None,
    aspcap: bool = False,
) -> SampleSummary:
    """Make a sample survey, unless the same one is there.

    Parameters
    ----------
    folder : str or Path
        Where the files go: a new or empty folder, or one with a sample survey, which is replaced by another.
    stars : int, optional
        How many stars. Of five, four are DA white dwarfs with two to four visits.
    seed : int, optional
        The same seed gives the same files, to the byte; a survey of more stars begins with the same ones.
    progress : callable, optional
        Called after each star with the number of stars done so far, APOGEE stars after the others.
    apogee_stars : int, optional
        How many APOGEE stars there are besides. If not given, three for ten stars, but 60 at most, and none for
        fewer than 20 stars. They don't change the files of the others.
    aspcap : bool, optional
        Whether to make FERRE's grids, too (some 60 MB, in ``aspcap``). They are the same for every survey; what is
        there stays.

    Returns
    -------
    SampleSummary
        What there is now.

    Raises
    ------
    SampleError
        If there are to be no stars, or more than a million (of either kind), the seed is negative, or the folder
        holds something else.
    """
    start = time.monotonic()
    if apogee_stars is None:
        apogee_stars = usual_apogee_stars(stars)
    if not 1 <= stars <= 1_000_000:
        raise SampleError(f"a sample of {stars} stars can't be made; ask for 1 to 1000000")
    if not 0 <= apogee_stars <= 1_000_000:
        raise SampleError(f"a sample of {apogee_stars} APOGEE stars can't be made; ask for 0 to 1000000")
    if seed < 0:
        raise SampleError(f"seed {seed} is negative; give 0 or more")
    path = Path(os.path.abspath(folder))
    wanted = {"format": FORMAT, "stars": stars, "seed": seed, "apogee_stars": apogee_stars}
    manifest = _read_manifest(path)
    summary = _found(path, manifest, wanted, start)
    if summary is None:
        _clear(path, manifest)
        _write_json(path / MANIFEST, wanted | {"finished": False})
        manifest = wanted | _make(path, stars, seed, apogee_stars, progress) | {"finished": True}
        _write_json(path / MANIFEST, manifest)
        summary = _summary(path, manifest, was_there=False, start=start)
    if aspcap:
        from astra_orchestration.sample.apogee.configuration import CONFIGURATION, write_configuration
        from astra_orchestration.sample.apogee.grids import make_grids

        make_grids(path / ASPCAP_FOLDER)
        if not (path / ASPCAP_FOLDER / CONFIGURATION).exists():  # it is there to be edited
            write_configuration(path / ASPCAP_FOLDER)
    return summary


def _found(folder: Path, manifest: dict[str, Any] | None, wanted: dict[str, Any], start: float) -> SampleSummary | None:
    """Give what is there, if that is what is wanted, and whole."""
    if manifest is not None and manifest.get("finished") and wanted.items() <= manifest.items():
        found = _summary(folder, manifest, was_there=True, start=start)
        return found if _is_whole(found) else None
    return None


def _is_whole(found: SampleSummary) -> bool:
    """Tell whether no file has gone since the survey was made."""
    n_spectra = found.visits + found.co_adds + len(found.broken) + 2 * found.apogee_stars
    others = (found.truth, found.apogee_truth, found.labels)
    return len(found.files) == n_spectra and all(os.path.exists(path) for path in others if path is not None)


def _make(
    folder: Path, stars: int, seed: int, apogee_stars: int, progress: Callable[[int], None] | None
) -> dict[str, Any]:
    for name in (VISITS, STARS, BROKEN):
        (folder / name).mkdir(exist_ok=True)
    truth: list[dict[str, Any]] = []
    n_binaries = n_white_dwarfs = 0
    for number in range(stars):
        star = draw_star(seed, number)
        truth.extend(_make_star(folder, seed, star))
        n_white_dwarfs += star.kind == "DA"
        n_binaries += star.is_binary
        if progress is not None:
            progress(number + 1)
    broken = [asdict(file) for file in _make_broken(folder, seed)]
    _write_truth(folder / TRUTH, truth)
    after = None if progress is None else lambda done: progress(stars + done)
    labeled = make_apogee_stars(folder, apogee_stars, seed, after)
    return {
        "labeled": labeled,
        "white_dwarfs": n_white_dwarfs,
        "binaries": n_binaries,
        "visits": len(truth),
        "co_adds": stars,
        "broken": [file | {"path": os.path.relpath(file["path"], folder)} for file in broken],
        "size": sum(os.path.getsize(path) for path in _fits_files(folder)),
    }


def _make_star(folder: Path, seed: int, star: Star) -> Iterator[dict[str, Any]]:
    """Write the files of a star, and give a line of truth for each visit."""
    seen = []
    for i, visit in enumerate(star.visits):
        observation = observe(star, visit, random_numbers(seed, star.number, _OBSERVING, i))
        seen.append((visit, observation))
        name = f"{VISITS}/{_visit_name(star, visit)}"
        random = random_numbers(seed, star.number, _VISIT_FILE, i)
        (folder / name).write_bytes(spec_full(star, visit, observation, random))
        yield _truth(star, visit, observation, name)
    content = mwm_star(star, seen, random_numbers(seed, star.number, _STAR_FILE))
    (folder / STARS / f"mwmStar-{V_ASTRA}-{star.sdss_id}.fits").write_bytes(content)


def _visit_name(star: Star, visit: Visit) -> str:
    return f"spec-{star.fieldid:06d}-{visit.mjd}-{star.catalogid}.fits"


def _truth(star: Star, visit: Visit, seen: Observation, name: str) -> dict[str, Any]:
    return {
        "sdss_id": star.sdss_id,
        "catalogid": star.catalogid,
        "mjd": visit.mjd,
        "file": name,
        "kind": star.kind,
        "is_binary": star.is_binary,
        "teff": star.teff,
        "logg": star.logg,
        "v_rad": visit.v_rad,
        "snr": round(seen.snr, 4),
    }


def _write_truth(path: Path, lines: list[dict[str, Any]]) -> None:
    from astropy.table import Table

    units = {"mjd": "d", "teff": "K", "logg": "dex(cm / s2)", "v_rad": "km / s"}
    Table(rows=lines, units=units).write(path, format="ascii.ecsv", overwrite=True)


def _make_broken(folder: Path, seed: int) -> Iterator[BrokenFile]:
    """Write files that are broken on purpose, made from further visits of the first star."""
    star = draw_star(seed, 0)
    random = random_numbers(seed, 0, _BROKEN_FILE)
    taken = [visit.mjd for visit in star.visits]
    contents = []
    for i in range(2):
        visit = Visit(max(taken) + 10 * (i + 1), star.visits[0].v_rad, star.visits[0].snr)
        contents.append((visit, observe(star, visit, random)))
    (first, seen), (second, seen_again) = contents
    good = spec_full(star, first, seen, random)
    seen.flux[:] = float("nan")
    without_flux = spec_full(star, first, seen, random)
    damaged = spec_full(star, second, seen_again, random)
    for name, content, what, ingests in (
        ("truncated-header.fits", good[:1500], "ends within its primary header", False),
        ("truncated-pixels.fits", good[:60_000], "ends within the pixels", False),
        ("not-fits.fits", b"This is no FITS file.\n" * 20, "is text", False),
        ("empty.fits", b"", "has no bytes", False),
        (_visit_name(star, first), without_flux, "has no flux but NaN", True),
        (_visit_name(star, second), _with_damaged_header(damaged), "has pixels that can't be read", True),
    ):
        path = folder / BROKEN / name
        path.write_bytes(content)
        yield BrokenFile(str(path), what, ingests)


def _with_damaged_header(content: bytes) -> bytes:
    """Let the header of the pixels tell of longer rows than there are."""
    return content.replace(b"TFORM9  = 'E       '", b"TFORM9  = '2E      '", 1)


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read what a folder says that it holds; None if that is no sample survey."""
    if folder.exists() and not folder.is_dir():
        raise SampleError(f"{str(folder)!r} is a file; name a folder for the sample survey")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and {"format", "stars", "seed"} <= set(manifest) else None


def _clear(folder: Path, manifest: dict[str, Any] | None) -> None:
    """Make the folder, or remove what an earlier survey left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if manifest is None and any(folder.iterdir()):
        raise SampleError(
            f"{str(folder)!r} has files, but no {MANIFEST} that says they are a sample survey; name another "
            "folder, or empty this one"
        )
    for path in _fits_files(folder):
        os.remove(path)
    for name in (TRUTH, APOGEE_TRUTH, APOGEE_LABELS):
        (folder / name).unlink(missing_ok=True)


def _fits_files(folder: Path) -> list[str]:
    own = [str(path) for name in (VISITS, STARS, BROKEN) for path in (folder / name).glob("*.fits")]
    return sorted([*own, *apogee_spectra(folder)])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)


def _summary(folder: Path, manifest: dict[str, Any], *, was_there: bool, start: float) -> SampleSummary:
    names = ("seed", "stars", "white_dwarfs", "binaries", "visits", "co_adds", "apogee_stars", "labeled", "size")
    counted = {name: manifest[name] for name in names}
    broken = tuple(BrokenFile(str(folder / file["path"]), file["what"], file["ingests"]) for file in manifest["broken"])
    return SampleSummary(
        folder=str(folder),
        truth=str(folder / TRUTH),
        broken=broken,
        was_there=was_there,
        seconds=time.monotonic() - start,
        **counted,
    )
