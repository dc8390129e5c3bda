"""How long it takes to match a table of positions with a million sources.

Sources are all over the sky, with photometry and motions; four of five rows of the table are within a few arcseconds of
one. The baseline is what one would do without an index: read all positions, and match by astropy's `search_around_sky`
in the same run. Both have to find the same pairs. Times are of the CPU, of this process and of its PostgreSQL server.

    python benchmarks/crossmatch.py [--sources 1000000] [--rows 10000] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import astropy.units as u
import numpy as np
from _figures import write_figures
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table
from upsert import bound

from astra_models.base import database
from astra_models.database.sql import is_postgresql, rows_of
from astra_models.schema.tables import create_tables
from astra_models.sky import crossmatch
from astra_models.sky.cells import update_cells
from astra_models.source import Source

ROWS_AT_ONCE = 50_000
MAGNITUDES = ("g_mag", "bp_mag", "rp_mag", "j_mag", "h_mag", "k_mag", "plx", "e_plx", "zgr_teff", "zgr_logg", "ebv")
RADII = (5 * u.arcsec, 1 * u.arcmin, 0.5 * u.deg)
EPOCH = 2000.0


def fill_sources(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Store sources all over the sky, and give their positions in degrees."""
    create_tables()
    random = np.random.default_rng(1)
    ra, dec = random.uniform(0, 360, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))
    motions = random.normal(0, 10, (2, n)).astype(np.float32)
    numbers = np.arange(1, n + 1)
    flags = [field.column_name for field in Source._meta.sorted_fields if not field.null and field.default == 0]
    now = ("created", "modified")
    columns = ["sdss_id", "ra", "dec", "pmra", "pmde"]
    constant = ", ".join(
        [*["15.5"] * len(MAGNITUDES), *["0"] * len(flags), *["'2026-01-01 00:00:00+00:00'"] * len(now)]
    )
    into = f"INSERT INTO source ({', '.join([*columns, *MAGNITUDES, *flags, *now])})"
    for start in range(0, n, ROWS_AT_ONCE):
        part = [column[start : start + ROWS_AT_ONCE].tolist() for column in (numbers, ra, dec, *motions)]
        with database.atomic():
            if is_postgresql(database):
                sql = "SELECT x.*, {} FROM unnest(%s::bigint[], %s::float8[], %s::float8[], %s::real[], %s::real[]) x"
                database.execute_sql(f"{into} {sql.format(constant)}", tuple(part))
            else:
                database.connection().executemany(f"{into} VALUES (?, ?, ?, ?, ?, {constant})", zip(*part, strict=True))
    database.execute_sql("ANALYZE")
    return ra, dec


def own_table(ra: np.ndarray, dec: np.ndarray, n: int) -> Table:
    """Make a table of positions, of which one in five is nowhere near a source."""
    random = np.random.default_rng(2)
    chosen = random.choice(len(ra), n, replace=False)
    table = Table({"ra": ra[chosen] + random.normal(0, 1 / 3600, n), "dec": dec[chosen].clip(-89.9, 89.9)})
    table["ra"][: n // 5] = random.uniform(0, 360, n // 5)
    return table


def by_hand(table: Table, radius: u.Quantity) -> int:
    """Match without an index: read all positions, and search around each of the table's."""
    rows = np.array(rows_of(Source.select(Source.pk, Source.ra, Source.dec)))
    sources = SkyCoord(rows[:, 1], rows[:, 2], unit="deg")
    return len(search_around_sky(SkyCoord(table["ra"], table["dec"], unit="deg"), sources, radius)[0])


def server_seconds() -> float:
    """Give the CPU time of this connection's server process."""
    if not is_postgresql(database):
        return 0.0
    (pid,) = database.execute_sql("SELECT pg_backend_pid()").fetchone()
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give the CPU time that work takes, and what it gives."""
    before = time.process_time() + server_seconds()
    result = work()
    return time.process_time() + server_seconds() - before, result


def measure(backend: str, n_sources: int, n_rows: int) -> dict[str, tuple[float, float | None]]:
    """Give times of matches and of the baseline, by what is done."""
    with bound(backend):
        ra, dec = fill_sources(n_sources)
        table = own_table(ra, dec, n_rows)
        made, _ = seconds(update_cells)
        times: dict[str, tuple[float, float | None]] = {"the index, made once": (made, None)}
        for radius in RADII:
            here, found = seconds(lambda radius=radius: crossmatch(table, radius, all=True))
            theirs, pairs = seconds(lambda radius=radius: by_hand(table, radius))
            assert len(found) == pairs, (len(found), pairs)
            times[f"within {radius}: {pairs:,} pairs"] = (here, theirs)
        times[f"within 5 arcsec, at epoch {EPOCH:.0f}"] = (
            seconds(lambda: crossmatch(table, 5 * u.arcsec, epoch=EPOCH))[0],
            None,
        )
        return times


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    measured = {
        backend: measure(backend, options.sources, options.rows)
        for backend in options.backend or ["postgresql", "sqlite"]
    }
    lines = [f"{options.sources:,} sources, {options.rows:,} rows; seconds of CPU.", ""]
    heading = [f"{backend}{which}" for backend in measured for which in ("", ", by hand")]
    lines += [f"| | {' | '.join(heading)} |", f"|{' --- |' * (1 + len(heading))}"]
    for name in next(iter(measured.values())):
        figures = [f"{one:.2f} s" if one is not None else "" for times in measured.values() for one in times[name]]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    print("\n".join(lines))
    if options.write:
        write_figures(options.write, "crossmatch", lines)


if __name__ == "__main__":
    main()
