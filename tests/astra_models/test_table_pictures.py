"""Pictures of a pipeline's table: which are drawn, that they are small, and that a wrong one costs nothing."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.io import fits
from PIL import Image

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import TaskError
from astra_models.quality import Thresholds, measure
from astra_models.quality.drawing import LARGEST, new_figure, png_of
from astra_models.quality.pictures import Picture, draw_pictures, sky
from astra_models.snow_white import SnowWhite
from astra_models.source import Source

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]
Columns = Mapping[str, np.ndarray]


@task
def dwarfs(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
    for spectrum in spectra:
        yield Corv.from_spectrum(spectrum)


def store(spectra: list[BossVisitSpectrum], seed: int = 0, **values: Any) -> None:
    random = np.random.default_rng(seed)
    rows = []
    for each in spectra:
        measured = {
            "teff": 10_000 + 3_000 * random.exponential(),
            "logg": random.normal(8, 0.2),
            "v_rad": random.normal(20, 40),
            "e_v_rad": random.uniform(1, 10),
            "result_flags": int(random.uniform() < 0.1),
        }
        rows.append({"spectrum_pk": each.spectrum_pk, "source_pk": each.source_pk} | measured | values)
    Corv.insert_many(rows).execute()


def pictures(pipeline: Any = dwarfs) -> dict[str, Picture]:
    thresholds = Thresholds()
    return {each.name: each for each in draw_pictures(pipeline, measure(pipeline, thresholds), thresholds)}


def test_a_table_of_two_versions_has_its_pictures(database: peewee.Database, make_spectra: Visits) -> None:
    spectra = make_spectra(200, snr=12.5)
    store(spectra, v_astra=8_001)
    store(spectra)
    Corv.update(teff=60_000).where(Corv.spectrum_pk == spectra[7].spectrum_pk, Corv.v_astra == 9_000).execute()

    found = pictures()

    assert list(found) == ["Kiel diagram", "velocities", "errors", "this version against the last"]
    assert {each.problem for each in found.values()} == {""}
    for each in found.values():
        with Image.open(io.BytesIO(each.png)) as image:
            assert image.size[0] > 400
            assert min(image.convert("RGB").getpixel((2, 2))) > 240  # a light ground of its own
        assert len(each.png) < 80_000
    outlier = f"1: `astra explain --spectrum-pk {spectra[7].spectrum_pk}`"
    assert f"teff differs most in {outlier}" in found["this version against the last"].caption
    assert found["velocities"].markdown().startswith("![velocities](data:image/png;base64,iVBOR")


def test_an_empty_table_has_no_pictures(database: peewee.Database, make_spectra: Visits) -> None:
    make_spectra(2)

    assert pictures() == {}


@pytest.mark.parametrize("n", [1, 2])
def test_a_table_of_hardly_a_row_has_pictures(memory_database: peewee.Database, make_spectra: Visits, n: int) -> None:
    spectra = make_spectra(n, snr=5)
    store(spectra, v_astra=8_001)
    store(spectra, seed=1)

    assert {name: each.problem for name, each in pictures().items() if each.problem} == {}
    assert len(pictures()) == 4


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ({"teff": None}, ["velocities", "errors"]),
        ({"v_rad": None, "e_v_rad": None}, ["Kiel diagram"]),
        ({"teff": float("inf"), "v_rad": float("-inf"), "e_v_rad": -1}, []),
        ({"teff": 0, "e_v_rad": 0}, ["Kiel diagram", "velocities"]),
    ],
)
def test_a_picture_without_values_is_left_out(
    memory_database: peewee.Database, make_spectra: Visits, values: dict[str, Any], drawn: list[str]
) -> None:
    store(make_spectra(10, snr=5), **values)

    assert {name: each.problem for name, each in pictures().items()} == dict.fromkeys(drawn, "")


# ---- residuals


@task
def whites(spectra: Iterable[BossVisitSpectrum]) -> Iterable[SnowWhite]:
    for spectrum in spectra:
        yield SnowWhite.from_spectrum(spectrum)


def test_residuals_are_drawn_where_files_are(
    memory_database: peewee.Database,
    make_spectra: Visits,
    write_spec_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path))
    write_spec_file(tmp_path / "spec.fits")
    spectra = make_spectra(6, path=str(tmp_path / "spec.fits"))
    SnowWhite.insert_many(
        [{"spectrum_pk": each.spectrum_pk, "source_pk": each.source_pk, "teff": 9_000} for each in spectra]
    ).execute()
    assert "residuals" not in pictures(whites)

    for row in SnowWhite.select().limit(2):
        path = Path(row.absolute_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ravel(spectra[0].flux) * 0.9)]).writeto(path)

    residuals = pictures(whites)["residuals"]
    assert residuals.problem == ""
    assert len(residuals.png) > 1_000


# ---- a pipeline's own


def hot_stars(figure: Any, rows: Columns) -> None:
    """How many stars are hot.

    It is for the test.
    """
    figure.subplots().hist(rows["teff"], bins=20)


def broken(figure: Any, rows: Columns) -> None:
    raise KeyError("no such column")


def test_a_pipeline_adds_pictures_and_a_wrong_one_is_told(
    memory_database: peewee.Database, make_spectra: Visits
) -> None:
    @task(plots=[hot_stars, broken])
    def own(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
        yield from ()

    store(make_spectra(20))
    found = pictures(own)

    assert found["hot stars"].caption == "How many stars are hot."
    assert found["hot stars"].png
    assert found["broken"].problem == "KeyError: 'no such column'"
    assert found["broken"].markdown() == "not drawn: KeyError: 'no such column'"
    assert found["Kiel diagram"].problem == ""


def test_one_function_needs_no_list() -> None:
    @task(plots=hot_stars)
    def own(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
        yield from ()

    assert own.plots == (hot_stars,)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TaskError, match="own: plots has 'kiel', which is no function"):

        @task(plots=["kiel"])  # type: ignore[list-item]
        def own(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
            yield from ()


# ---- the sky, and what pictures cost


def test_sources_are_on_the_sky(database: peewee.Database) -> None:
    assert sky() is None
    random = np.random.default_rng(1)
    Source.insert_many(
        [{"sdss_id": i, "ra": random.uniform(0, 360), "dec": random.uniform(-90, 90)} for i in range(300)]
    ).execute()
    Source.create(sdss_id=1_000)

    found = sky()

    assert found is not None
    assert found.problem == ""
    assert found.caption.startswith("300 of 301 sources")


def test_a_picture_is_small_whatever_is_in_it() -> None:
    figure = new_figure(height=12)
    figure.figimage(np.random.default_rng(0).uniform(size=(1_320, 704)))

    assert len(png_of(figure)) <= LARGEST


def test_nothing_loads_matplotlib_before_a_picture_is_drawn() -> None:
    code = (
        "import sys, astra_models.quality.pictures, astra_orchestration.definitions\n"
        "assert not [each for each in sys.modules if each.split('.')[0] in ('matplotlib', 'PIL')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
