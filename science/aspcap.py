"""What ASPCAP's stages make of the sample survey's APOGEE stars, with a program in FERRE's place that really fits.

The grids are those of ``astra sample --aspcap``: the stars' own line model on a few nodes, so that what is measured is
the way through all stages, and neither physics nor FERRE. ``ASTRA_FERRE`` names a FERRE to be used instead.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from astra_models import base
from astra_models.analysis.stream import analyse, write
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.database.config import sqlite_database
from astra_models.ingest import ingest_spectra
from astra_models.schema.tables import create_tables
from astra_orchestration.pipelines.aspcap import aspcap, ferre_coarse, ferre_stellar_parameters
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.apogee.configuration import write_configuration
from astra_orchestration.sample.apogee.grids import make_grids
from tests.ferre.installing import install_fake

from .frame import Array, Data, Figure, Measured, robust_width
from .report import table

PIPELINE = "ASPCAP"
PAGE = "aspcap.md"
TRUTH = "line model, S/N 30 to 300"
WANTED = "mean within 0.25, width 0.8 to 1.2"
PARAMETERS = {"m_h_atm": "m_h", "alpha_m_atm": "alpha_m", "c_m_atm": "c_m", "n_m_atm": "n_m"}
RAW = ("teff", "logg", *PARAMETERS, "fe_h", "al_h", "mg_h", "c_h", "n_h")
"""Columns of raw values; those of `PARAMETERS` have another name in the truth."""


def measure(data: Data) -> Measured:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures = list(_figures(Path(folder), max(60, data.number // 5)))
    cells = [(figure.what, figure.wanted or "-", figure.found) for figure in figures]
    return Measured(figures, {"aspcap": table(("what", "wanted", "found"), cells)})


def _figures(folder: Path, n_stars: int) -> Iterator[Figure]:
    make_sample(folder / "sample", stars=1, apogee_stars=n_stars)
    make_grids(folder / "grids")
    ferre = os.environ.get("ASTRA_FERRE") or str(install_fake(folder / "bin"))
    configuration = write_configuration(folder / "grids", ferre)
    before = base.database.obj, base.bound_schema()
    base.bind(sqlite_database(str(folder / "astra.db")))
    try:
        create_tables()
        ingest_spectra([str(path) for path in (folder / "sample" / "apogee" / "apStar").glob("*.fits")])
        for stage in (ferre_coarse, ferre_stellar_parameters, aspcap):
            write(analyse(stage, parameters={"configuration": configuration, "folder": folder / "work"}))
        yield from _of_rows(folder)
    finally:
        base.database.close()
        base.bind(*before)


def _of_rows(folder: Path) -> Iterator[Figure]:
    truth = {str(row["obj"]): row for row in Table.read(folder / "sample" / "apogee" / "truth.ecsv")}
    stars = {s.spectrum_pk: truth[s.obj] for s in ApogeeCoaddedSpectrumInApStar.select()}
    rows = list(ASPCAP.select())
    for name in RAW:
        known = np.array([float(stars[row.spectrum_pk][PARAMETERS.get(name, name)]) for row in rows])
        found, error = (_column(rows, f"{prefix}{name}") for prefix in ("raw_", "raw_e_"))
        pulls = (found - known) / error
        lost = int(np.count_nonzero(~np.isfinite(pulls)))
        pulls = pulls[np.isfinite(pulls)]
        mean, width = float(np.mean(pulls)), float(np.std(pulls))
        told = (
            f"mean {mean:+.2f}, sd {width:.2f}, robust {robust_width(pulls):.2f}, "
            f"rms {np.sqrt(np.nanmean((found - known) ** 2)):.3g} ({len(pulls)} stars, {lost} lost)"
        )
        yield Figure(PIPELINE, f"raw_{name}", TRUTH, WANTED, told, abs(mean) <= 0.25 and 0.8 <= width <= 1.2, "total")
    rchi2 = _column(rows, "rchi2")
    yield Figure(
        PIPELINE, "rchi2", TRUTH, "", f"median {np.nanmedian(rchi2):.2f}, 95 % {np.nanpercentile(rchi2, 95):.2f}"
    )


def _column(rows: list[ASPCAP], name: str) -> Array:
    values: list[Any] = [getattr(row, name) for row in rows]
    return np.array([np.nan if value is None else value for value in values], dtype=float)
