"""ASPCAP in a run of all assets, in a process of its own: its rows are stored, and its product is written."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from astra_orchestration.sample.apogee.configuration import write_configuration
from astra_orchestration.sample.apogee.grids import make_grids
from tests.ferre.installing import install_fake

N_STARS = 4


def astra(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment: dict[str, Any] = os.environ | {"ASTRA_DATABASE_PATH": str(folder / "astra.db")} | variables
    program = Path(sys.executable).with_name("astra")
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.sqlite_only(reason="a process of its own, on a file")
def test_all_stages_are_stored_and_the_product_comes_out(tmp_path: Path) -> None:
    make_grids(tmp_path / "grids")
    configuration = write_configuration(tmp_path / "grids", str(install_fake(tmp_path / "bin")))
    variables = {"ASTRA_ASPCAP": str(configuration), "DAGSTER_HOME": str(tmp_path)}

    done = astra(tmp_path, "materialize", "--stars", "2", "--apogee-stars", str(N_STARS), **variables)

    assert done.returncode == 0, done.stderr
    stages = {"ferre_coarse", "ferre_stellar_parameters", "aspcap"}
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    counts = {cells[0]: cells[1:3] for cells in lines if cells and cells[0] in stages}
    assert counts["ferre_coarse"] == counts["ferre_stellar_parameters"] == [str(N_STARS)] * 2
    assert counts["aspcap"][0] == str(N_STARS)
    with sqlite3.connect(tmp_path / "astra.db") as database:
        fitted = "select count(*) from aspcap where raw_teff is not null and pwd is not null"
        assert database.execute(fitted).fetchone() == (N_STARS,)
        assert database.execute("select count(*) from ferre_chemical_abundances").fetchone() == (N_STARS * 5,)
        keys = dict(database.execute("select spectrum_pk, raw_teff from aspcap where pwd is not null"))

    written = astra(tmp_path, "export", "--product", "astraAllStarASPCAP", **variables)

    assert written.returncode == 0, written.stderr
    [product] = (tmp_path / "var" / "products").rglob("astraAllStarASPCAP*.fits*")
    with fits.open(product) as file:
        hdus: list[Any] = list(file[1:])
        tables = [hdu.data for hdu in hdus if len(hdu.data)]
        rows = {int(row["spectrum_pk"]): float(row["raw_teff"]) for table in tables for row in table}
    assert {key: rows[key] for key in keys} == pytest.approx(keys)
