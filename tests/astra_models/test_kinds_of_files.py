"""Kinds of spectrum files that other packages bring, as entry points; the example of docs/spectrum_files.md is one."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import peewee
import pytest
from astropy.io import fits
from astropy.table import Table
from spectrum_files import write_apstar

from astra_models.boss import BossVisitSpectrum
from astra_models.ingest import ingest_spectra
from astra_models.ingest.spectra.kinds import GROUP, other_kinds
from astra_models.source import Source
from tests.other_packages import ROOT, forget_packages

pytestmark = pytest.mark.long_on_each

PAGE = (ROOT / "docs" / "spectrum_files.md").read_text()
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
ENTRY = re.findall(r"```toml\n\[project.entry-points.\"(.*?)\"\]\n(\w+) = \"(.*?)\"\n```", PAGE)[0]
IDENTIFIER = 5929246508730155392

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Give a function that installs a module with a kind of file, as a package of its own."""
    site = tmp_path / "site"
    installed: list[str] = []

    def install(module: str, code: str, entry: str) -> None:
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")
        (site / f"{module}.py").write_text(code)
        installed.append(module)
        forget_packages(module)
        other_kinds.cache_clear()

    monkeypatch.syspath_prepend(str(site))
    yield install
    monkeypatch.undo()
    forget_packages(*installed)
    other_kinds.cache_clear()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update({"SURVEY": "DEMO", "GAIA_ID": IDENTIFIER, "MJD": 60000, "RA": 1.5, "DEC": -2.5, "SN": 30.0})
    loglam = np.float32(3.6 + 1e-4 * np.arange(100))
    table = Table({"FLUX": np.ones(100, np.float32), "LOGLAM": loglam, "IVAR": np.full(100, 4, np.float32)})
    fits.HDUList([primary, fits.BinTableHDU(table)]).writeto(tmp_path / "demo.fits")
    return tmp_path / "demo.fits"


def test_the_example_of_the_page(database: peewee.Database, install: Install, demo: Path) -> None:
    group, name, value = ENTRY
    assert group == GROUP
    before = ingest_spectra([demo]).refused
    install("demo_files", EXAMPLE, f"{name} = {value}")

    report = ingest_spectra([demo])

    assert (len(before), report.refused) == (1, [])  # it was refused before, and is read again for the new kind
    row = BossVisitSpectrum.get()
    assert (row.mjd, row.snr, row.run2d, Source.get().gaia_dr3_source_id) == (60000, 30.0, "demo1", IDENTIFIER)
    np.testing.assert_allclose(row.flux, 1)
    assert row.wavelength[0] == pytest.approx(10**3.6, rel=1e-5)
    assert ingest_spectra([demo]).known == 1


def test_what_isnt_complete_is_refused_with_its_own_words(
    database: peewee.Database, install: Install, demo: Path
) -> None:
    install("demo_files", EXAMPLE, f"{ENTRY[1]} = {ENTRY[2]}")
    fits.delval(demo, "GAIA_ID")

    ((_, reason),) = ingest_spectra([demo]).refused

    assert reason == "it is a spectrum of DEMO without identifier: looked for GAIA_ID and MJD"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nothing_like_this", "can't be imported: ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("raise SystemExit(3)", "can't be imported: SystemExit"),
        ("THING = 5", "is int and not an astra_models.ingest.spectra.content.Kind"),
        ("", "can't be imported: AttributeError"),
    ],
)
def test_a_broken_entry_point_is_said_and_takes_nothing_with_it(
    database: peewee.Database,
    install: Install,
    demo: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    code: str,
    says: str,
) -> None:
    install("broken_files", code, "broken = broken_files:THING")
    install("demo_files", EXAMPLE, f"{ENTRY[1]} = {ENTRY[2]}")
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")

    report = ingest_spectra([write_apstar(tmp_path / "apStar.fits", 1), demo, tmp_path / "other.fits"])

    ((path, reason),) = report.refused
    assert path.endswith("other.fits")
    for said in (reason, caplog.text):
        assert "the kind of file 'broken' of the package 'broken_files'" in said
        assert says in said
    assert "a spectrum of DEMO" in reason


def test_a_kind_that_fails_to_look_doesnt_take_the_next_one(
    database: peewee.Database, install: Install, demo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "from astra_models.ingest.spectra.content import Kind\n"
        "def raising(file): raise KeyError('no such card')\n"
        "KIND = Kind('a file of a', raising, raising)\n"
    )
    install("a_files", code, "a = a_files:KIND")
    install("demo_files", EXAMPLE, f"{ENTRY[1]} = {ENTRY[2]}")

    assert ingest_spectra([demo]).refused == []
    assert "whether it is a file of a can't be told: KeyError: 'no such card'" in caplog.text


def test_whatever_it_raises_while_reading_refuses_that_file_alone(
    database: peewee.Database, install: Install, demo: Path, tmp_path: Path
) -> None:
    install(
        "demo_files",
        EXAMPLE + "\n\ndef wrong(file): return 1 / 0\n\nDEMO = DEMO._replace(read=wrong)\n",
        "a = demo_files:DEMO",
    )

    report = ingest_spectra([demo, write_apstar(tmp_path / "apStar.fits", 1)])

    ((path, reason),) = report.refused
    assert (path, "ZeroDivisionError" in reason) == (str(demo), True)
