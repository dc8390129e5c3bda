"""The file of labels: the true parameters of two of every three APOGEE stars, as astraAllStarASPCAP has results.

The labels are exact. The errors are those that a survey would state; nothing was added to the labels for them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astra_models.aspcap import ASPCAP
from astra_orchestration.sample.apogee.star_files import APRED, CoAddFacts
from astra_orchestration.sample.apogee.stars import ApogeeStar
from astra_orchestration.sample.star_file import RELEASE
from astra_orchestration.sample.summary_file import write_result_file

CREATED = "2024-03-01T00:00:00.000000"

PARAMETERS = {
    "teff": ("teff", 20.0),
    "logg": ("logg", 0.04),
    "m_h_atm": ("m_h", 0.015),
    "alpha_m_atm": ("alpha_m", 0.015),
    "c_m_atm": ("c_m", 0.03),
    "n_m_atm": ("n_m", 0.04),
}
"""By column of the file: the label of a star, and the error that is stated for it."""

ABUNDANCES = {
    f"{element.lower()}_h": element
    for element in ("C", "N", "O", "Mg", "Si", "S", "Ca", "Ti", "Fe", "Al", "Na", "K", "V", "Cr", "Mn", "Co", "Ni")
}
ABUNDANCE_ERROR = 0.03
V_MICRO_ERROR = 0.05


def write_labels_file(path: str | Path, stars: Sequence[tuple[ApogeeStar, CoAddFacts]]) -> Path:
    """Write the file of labels, of those stars that have any.

    Parameters
    ----------
    path : str or Path
        The file; gzipped if its name ends with ``.gz``.
    stars : sequence of (ApogeeStar, CoAddFacts)
        All stars, and what their files say; those with `ApogeeStar.is_labeled` are in it.

    Returns
    -------
    Path
        The file, which `astra ingest` takes into the table ``aspcap``.
    """
    values = [_row(star, facts) for star, facts in stars if star.is_labeled]

    def fill(rows: np.ndarray, first: int) -> None:
        for i in range(len(rows)):
            for name in rows.dtype.names or ():
                rows[name][i] = values[first + i].get(name, _missing(name, rows.dtype[name]))

    return write_result_file(
        path,
        ASPCAP,
        len(values),
        instrument="APOGEE",
        change=fill,
    )


def _four(name: str) -> tuple[str, str, str, str]:
    return name, f"e_{name}", f"raw_{name}", f"raw_e_{name}"


def _row(star: ApogeeStar, facts: CoAddFacts) -> dict[str, object]:
    found: dict[str, tuple[float, float]] = {
        name: (getattr(star, label), error) for name, (label, error) in PARAMETERS.items()
    }
    found["v_micro"] = star.v_micro, V_MICRO_ERROR
    abundances = star.abundances
    found |= {name: (abundances[element], ABUNDANCE_ERROR) for name, element in ABUNDANCES.items()}
    results: dict[str, object] = {
        name: value for plain, pair in found.items() for name, value in zip(_four(plain), (*pair, *pair), strict=True)
    }
    return results | {
        "sdss_id": star.sdss_id,
        "sdss4_apogee_id": star.obj,
        "gaia_dr3_source_id": star.gaia_dr3_source_id,
        "healpix": star.healpix,
        "catalogid": star.catalogid,
        "release": RELEASE,
        "filetype": "apStar",
        "apred": APRED,
        "apstar": "stars",
        "obj": star.obj,
        "telescope": star.telescope,
        **facts._asdict(),
        "spectrum_pk": star.number + 1,
        "source": star.number + 1,
        "source_pk": star.number + 1,
        "task_pk": star.number + 1,
        "v_astra": 8001,
        "created": CREATED,
        "tag": "sample",
    }


def _missing(name: str, kind: np.dtype) -> object:
    """Give what stands for a missing value: no flag is set, and a number is none."""
    base = kind.base
    if base.kind == "i" and base.itemsize > 1 and not name.endswith("flags"):
        return -1
    return {"f": np.nan, "S": b""}.get(base.kind, 0)
