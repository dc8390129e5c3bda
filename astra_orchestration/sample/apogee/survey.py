"""The APOGEE stars of the sample survey as files in a folder of their own, with the truth and the file of labels."""

from collections.abc import Callable
from pathlib import Path

from astra_orchestration.sample.apogee.light import observe
from astra_orchestration.sample.apogee.star_files import (
    ap_star,
    ap_star_name,
    co_add_facts,
    mwm_star_name,
    mwm_star_of_apogee,
)
from astra_orchestration.sample.apogee.stars import ApogeeStar, draw_apogee_star
from astra_orchestration.sample.star_file import V_ASTRA

APOGEE_FOLDER = "apogee"
AP_STARS, MWM_STARS = f"{APOGEE_FOLDER}/apStar", f"{APOGEE_FOLDER}/mwmStar"
APOGEE_TRUTH = f"{APOGEE_FOLDER}/truth.ecsv"
APOGEE_LABELS = f"{APOGEE_FOLDER}/astraAllStarASPCAP-{V_ASTRA}.fits.gz"

_UNITS = {
    "mean_fiber": "",
    "teff": "K",
    "logg": "dex(cm / s2)",
    "v_micro": "km / s",
    "v_rad": "km / s",
    **dict.fromkeys(("m_h", "alpha_m", "c_m", "n_m"), "dex"),
}


def usual_apogee_stars(stars: int) -> int:
    """Give how many APOGEE stars a survey has if nobody says it: three for ten others, but 60 at most.

    A survey of fewer than 20 stars has none: a few would be too few to learn from.
    """
    return 0 if stars < 20 else min(60, 3 * stars // 10)


def make_apogee_stars(
    folder: str | Path, n_stars: int, seed: int, progress: Callable[[int], None] | None = None
) -> int:
    """Write the files of APOGEE stars below a folder.

    Parameters
    ----------
    folder : str or Path
        That of the sample survey.
    n_stars : int
        How many; for 0 nothing is written.
    seed : int
        Of the survey.
    progress : callable, optional
        Called after each star with the number of stars done so far.

    Returns
    -------
    int
        How many of them have labels.
    """
    if n_stars == 0:
        return 0
    from astra_orchestration.sample.apogee.labels_file import write_labels_file

    folder = Path(folder)
    for name in (AP_STARS, MWM_STARS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    stars, truth = [], []
    for number in range(n_stars):
        star = draw_apogee_star(seed, number)
        seen = observe(seed, star)
        (folder / AP_STARS / ap_star_name(star)).write_bytes(ap_star(star, seen))
        (folder / MWM_STARS / mwm_star_name(star)).write_bytes(mwm_star_of_apogee(star, seen))
        stars.append((star, co_add_facts(star, seen)))
        truth.append(_truth(star, seen.by_pixel.snr))
        if progress is not None:
            progress(number + 1)
    _write_truth(folder / APOGEE_TRUTH, truth)
    write_labels_file(folder / APOGEE_LABELS, stars)
    return sum(star.is_labeled for star, _ in stars)


def apogee_spectra(folder: str | Path) -> list[str]:
    """List the files of spectra below a folder, sorted."""
    return sorted(str(path) for name in (AP_STARS, MWM_STARS) for path in (Path(folder) / name).glob("*.fits"))


def _truth(star: ApogeeStar, snr: float) -> dict[str, object]:
    line: dict[str, object] = {
        "sdss_id": star.sdss_id,
        "obj": star.obj,
        "telescope": star.telescope,
        "lsf": star.lsf,
        "mean_fiber": round(star.mean_fiber, 4),
        "kind": star.kind,
        "n_visits": len(star.visits),
        "snr": round(snr, 4),
        "v_rad": star.v_rad,
        "labeled": star.is_labeled,
        "v_micro": round(star.v_micro, 4),
    }
    line |= {name: getattr(star, name) for name in ("teff", "logg", "m_h", "alpha_m", "c_m", "n_m")}
    return line | {f"{element.lower()}_h": round(value, 4) for element, value in star.abundances.items()}


def _write_truth(path: Path, lines: list[dict[str, object]]) -> None:
    from astropy.table import Table

    units = _UNITS | {name: "dex" for name in lines[0] if name.endswith("_h")}
    Table(rows=lines, units=units).write(path, format="ascii.ecsv", overwrite=True)
