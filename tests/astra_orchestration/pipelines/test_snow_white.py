"""Snow White as a pipeline: a row for every spectrum, whatever is in it, and what the row was made with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.table import Table

from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.ingest import ingest_spectra
from astra_models.pipeline_run import PipelineRun
from astra_models.quality.drawing import new_figure
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_orchestration.pipelines.corv import corv
from astra_orchestration.pipelines.snow_white import SHIPPED, snow_white
from astra_orchestration.pipelines.snow_white.confusion import confusion_by_snr
from astra_orchestration.pipelines.snow_white.forest import load_classifier
from astra_orchestration.pipelines.snow_white.parameters import measured
from astra_orchestration.pipelines.snow_white.pictures import classes_by_snr, shares_by_snr
from astra_orchestration.pipelines.white_dwarfs.catalogues import photometry_of
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family, black_body, da_flux
from astra_orchestration.pipelines.white_dwarfs.fit import fit_spectrum
from astra_orchestration.pipelines.white_dwarfs.solutions import Photometry
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.stars import draw_star

BOSS = 10 ** (3.5523 + 1e-4 * np.arange(4648))
KNOWN = {"p_da", "p_db", "p_dc", "p_dq", "p_dz", "p_da_ms", "p_not_white_dwarf"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no grid of the user's count."""
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ASTRA_CORV_GRID", raising=False)


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """Give a grid of one's own: the built-in family in a file, which counts for any spectrum."""
    grid = balmer_family()
    arrays = {"teff": grid.teff[::2], "logg": grid.logg[::2], "flux": grid.flux[::2, ::2]}
    np.savez(tmp_path / "family.npz", wavelength=grid.wavelength, resolution=0, **arrays)
    return tmp_path / "family.npz"


def visit(flux: Any, ivar: Any) -> BossVisitSpectrum:
    spectrum = BossVisitSpectrum(spectrum_pk=1, source_pk=None)
    spectrum.flux, spectrum.ivar, spectrum.wavelength = np.array(flux), np.array(ivar), BOSS
    return spectrum


def noisy(flux: np.ndarray, snr: float = 40.0, seed: int = 1) -> BossVisitSpectrum:
    flux = flux / np.median(flux)
    return visit(flux + np.random.default_rng(seed).normal(0, 1 / snr, BOSS.size), np.full(BOSS.size, snr**2))


def classified(spectrum: BossVisitSpectrum, **parameters: Any) -> SnowWhite:
    [found] = snow_white([spectrum], write_to_database=False, **parameters)
    return found


# ---- classes


def test_a_da_gets_a_class_and_parameters(family: Path) -> None:
    found = classified(noisy(da_flux(BOSS, 20_000, 8.2)), grid=family)

    assert found.classification == "DA" and found.p_da > 0.9
    assert abs(found.teff - 20_000) < 4 * found.e_teff and abs(found.logg - 8.2) < 4 * found.e_logg
    assert 0 < found.raw_e_teff < found.e_teff < 1000 and 0 < found.raw_e_logg < found.e_logg < 0.2
    assert abs(found.v_rel) < 60
    assert found.result_flags == 0
    assert found.template_grid.startswith("family ")


def test_classes_that_the_classifier_cant_know_are_missing() -> None:
    found = classified(noisy(black_body(BOSS, 9000)))

    given = {name for name in found._meta.fields if name.startswith("p_") and getattr(found, name) is not None}
    assert given == KNOWN
    assert sum(getattr(found, name) for name in KNOWN) == pytest.approx(1)
    assert found.classification == "DC"


def test_only_das_are_fitted(family: Path) -> None:
    found = classified(noisy(black_body(BOSS, 9000)), grid=family)

    assert (found.teff, found.logg, found.template_grid) == (None, None, None)
    assert not found.flag_no_model_grid


def test_without_a_grid_a_real_da_has_a_class_and_no_temperature() -> None:
    found = classified(noisy(da_flux(BOSS, 20_000, 8.2)))

    assert found.classification == "DA"
    assert (found.teff, found.logg, found.e_teff, found.template_grid) == (None, None, None, None)
    assert found.flag_no_model_grid


def test_a_spectrum_of_low_snr_has_a_flag() -> None:
    faint, bright = (classified(noisy(da_flux(BOSS, 15_000, 8), snr)) for snr in (7.5, 9))

    assert faint.flag_low_snr and not bright.flag_low_snr


def test_a_row_names_the_classifier_by_its_checksum() -> None:
    checksum = load_classifier(SHIPPED).checksum

    assert classified(noisy(black_body(BOSS, 9000))).classifier == f"snow_white {checksum[:12]}"
    assert snow_white.recipe().files == {str(SHIPPED): checksum}


# ---- bad input

NOTHING = np.zeros(BOSS.size)
GOOD = da_flux(BOSS, 15_000, 8)


@pytest.mark.parametrize(
    ("flux", "ivar", "flag"),
    [
        (NOTHING, NOTHING + 100, "flag_no_flux"),
        (NOTHING * np.nan, NOTHING + 100, "flag_no_flux"),
        (GOOD, NOTHING, "flag_no_flux"),
        (GOOD, NOTHING * np.nan, "flag_no_flux"),
        (GOOD, np.where((BOSS > 4500) & (BOSS < 7000), 100, 0), "flag_too_few_pixels"),
        (GOOD, np.where(np.arange(BOSS.size) % 40 == 0, 100, 0), "flag_too_few_pixels"),
    ],
    ids=["zero", "NaN", "no ivar", "NaN ivar", "short", "few pixels"],
)
def test_bad_input_gives_a_flag_and_nothing_else(family: Path, flux: np.ndarray, ivar: np.ndarray, flag: str) -> None:
    found = classified(visit(flux, ivar), grid=family)

    assert getattr(found, flag) and found.flag_low_snr
    assert {name for name in KNOWN if getattr(found, name) is not None} == set()
    assert (found.classification, found.teff, found.logg) == (None, None, None)
    assert found.classifier


def test_some_nan_do_no_harm(family: Path) -> None:
    spectrum = noisy(GOOD)
    spectrum.flux[::29] = np.nan
    spectrum.ivar[5::31] = np.nan

    found = classified(spectrum, grid=family)

    assert found.classification == "DA" and abs(found.teff - 15_000) < 4 * found.e_teff


def test_noise_is_no_exception(family: Path) -> None:
    random = np.random.default_rng(3)
    spectra = [visit(random.normal(0, 1, BOSS.size), np.ones(BOSS.size)) for _ in range(10)]
    for number, spectrum in enumerate(spectra):
        spectrum.spectrum_pk = number + 1

    found = list(snow_white(spectra, write_to_database=False, grid=family))

    assert len(found) == 10 and all(row.flag_low_snr for row in found)


# ---- two solutions


def test_catalogues_are_asked_and_not_believed_blindly(database: peewee.Database) -> None:
    keys = {"plx": 10.0, "e_plx": 0.25, "g_mag": 16.0, "zgr_teff": 11_000.0, "zgr_e_teff": 100.0}
    trusted, doubted = (Source.create(sdss_id=n, **keys, zgr_teff_confidence=c) for n, c in ((1, 0.9), (2, 0.2)))
    empty = Source.create(sdss_id=3)

    found = [photometry_of(BossVisitSpectrum(source_pk=source.pk)) for source in (trusted, doubted, empty)]

    assert found[0] == Photometry(11_000, 100, 16, 10, 0.25)
    assert found[1] is not None and np.isnan(found[1].teff) and found[1].parallax == 10
    assert found[2] is not None and np.isnan(found[2].parallax)
    assert photometry_of(BossVisitSpectrum(source_pk=None)) is None


def test_a_worker_that_cannot_reach_the_database_goes_by_lines_alone(
    database: peewee.Database, family: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spectrum = noisy(da_flux(BOSS, 11_500, 8.0), snr=10, seed=0)
    spectrum.source_pk = 1
    nowhere = peewee.PostgresqlDatabase("survey", host="127.0.0.1", port=1)

    with Source.bind_ctx(nowhere):
        found = classified(spectrum, grid=family)

    assert found.flag_two_solutions and np.isfinite(found.teff)
    assert "can't be looked up" in caplog.text


@pytest.mark.parametrize("side", [0, 1])
def test_photometry_chooses_between_a_cool_and_a_hot_solution(side: int) -> None:
    spectrum = noisy(da_flux(BOSS, 11_500, 8.0), snr=10, seed=0)
    arrays, grid = (spectrum.wavelength, spectrum.flux, spectrum.ivar), balmer_family()
    fit = fit_spectrum(*arrays, grid)
    assert fit.two_solutions
    temperatures = sorted([fit.teff, fit.other_teff])

    known = Photometry(teff=temperatures[side], e_teff=100.0)
    found = measured(*arrays, grid, lambda: known)

    assert found["teff"] == pytest.approx(temperatures[side], rel=0.05)
    assert not found["flag_two_solutions"]
    assert measured(*arrays, grid)["flag_two_solutions"]


@pytest.mark.parametrize("side", [0, 1])
def test_what_is_known_of_the_star_chooses_for_corv(database: peewee.Database, family: Path, side: int) -> None:
    spectrum = noisy(da_flux(BOSS, 11_500, 8.0), snr=10, seed=0)
    fit = fit_spectrum(spectrum.wavelength, spectrum.flux, spectrum.ivar, balmer_family())
    known = sorted([fit.teff, fit.other_teff])[side]
    source = Source.create(sdss_id=1, zgr_teff=known, zgr_e_teff=100.0, zgr_teff_confidence=0.9)
    spectrum.spectrum_pk, spectrum.source_pk = 1, source.pk

    [row] = corv([(spectrum, None)], write_to_database=False, grid=family)

    assert row.teff == pytest.approx(known, rel=0.05)
    assert not row.flag_two_solutions


def test_photometry_is_looked_up_only_where_it_can_matter() -> None:
    spectrum = noisy(da_flux(BOSS, 30_000, 8.0))

    def never() -> Photometry:
        raise AssertionError("nothing is to be decided at 30,000 K")

    assert measured(spectrum.wavelength, spectrum.flux, spectrum.ivar, balmer_family(), never)["teff"] > 25_000


# ---- the picture


def test_the_picture_shows_what_spectra_were_called_by_snr(
    database: peewee.Database, make_spectra: Callable[..., list[BossVisitSpectrum]]
) -> None:
    spectra = make_spectra(3)
    for spectrum, snr in zip(spectra, (4.0, 30.0, 31.0), strict=True):
        BossVisitSpectrum.update(snr=snr).where(BossVisitSpectrum.spectrum_pk == spectrum.spectrum_pk).execute()
    nothing = np.full(3, np.nan)
    rows = {f"p_{name}": nothing for name in ("db", "dah")}
    rows |= {"p_da": np.array([0.4, 0.9, np.nan]), "p_not_white_dwarf": np.array([0.1, 0.1, np.nan])}
    rows |= {"spectrum_pk": np.array([spectrum.spectrum_pk for spectrum in spectra])}

    figure = new_figure()
    classes_by_snr(figure, rows)

    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["DA", "DA:", "no class"]
    assert [text.get_text() for text in axes.texts if text.get_text() != "0%"] == ["50%", "100%", "50%"]


def test_the_picture_shows_what_spectra_of_the_sample_survey_were_called(
    database: peewee.Database, make_spectra: Callable[..., list[BossVisitSpectrum]], tmp_path: Path
) -> None:
    made = make_sample(tmp_path / "sample", stars=6, seed=5)
    truth = Table.read(made.truth, format="ascii.ecsv")
    spectra = make_spectra(len(truth) + 1)  # of the last one nothing is known
    for spectrum, row in zip(spectra, truth, strict=False):
        path = str(tmp_path / "sample" / str(row["file"]))
        where = BossVisitSpectrum.spectrum_pk == spectrum.spectrum_pk
        BossVisitSpectrum.update(snr=float(row["snr"]), path=path).where(where).execute()
    is_da = np.array([kind == "DA" for kind in truth["kind"]] + [True])
    rows = {"p_da": np.where(is_da, 0.9, 0.1), "p_not_white_dwarf": np.where(is_da, 0.1, 0.9)}
    rows |= {"spectrum_pk": np.array([spectrum.spectrum_pk for spectrum in spectra])}

    figure, without = new_figure(), new_figure()
    confusion_by_snr(figure, rows)
    confusion_by_snr(without, {name: column[-1:] for name, column in rows.items()})

    assert len(figure.axes) == 3 and not without.axes
    kinds = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert set(kinds) == set(truth["kind"])
    for axes in figure.axes:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        for text in axes.texts:
            column, row = (round(place) for place in text.get_position())
            assert text.get_text() == "100%" and (kinds[row] == "DA") == (labels[column] == "DA")


def test_rare_labels_share_a_row() -> None:
    names = np.array([f"label {number:02}" for number in range(12) for _ in range(20 - number)], dtype=object)

    labels, shares, numbers = shares_by_snr(names, np.full(names.size, 10.0))

    assert len(labels) == 9 and labels[-1] == "other"
    assert shares.sum() == pytest.approx(1) and numbers.sum() == names.size


# ---- the survey


def test_the_sample_survey_is_told_apart(database: peewee.Database, tmp_path: Path) -> None:
    sample = make_sample(tmp_path / "sample", stars=20, seed=3)
    ingest_spectra(path for path in sample.files if "/visits/" in path)
    kinds = {100_000_000 + 3_000_000 + number: draw_star(3, number).kind for number in range(20)}

    report = write(analyse(snow_white))

    model = BossVisitSpectrum
    joined = SnowWhite.select(SnowWhite, model.snr, Source.sdss_id).join(
        model, on=model.spectrum_pk == SnowWhite.spectrum_pk
    )
    rows = list(joined.join(Source, on=Source.pk == SnowWhite.source_pk).namedtuples())
    assert report.rejected == 0 and len(rows) == sample.visits
    assert load_classifier(SHIPPED).checksum in str(PipelineRun.get(pipeline="snow_white").__data__)
    called = {(kinds[row.sdss_id], row.classification) for row in rows if row.snr >= 10}
    assert {label for kind, label in called if kind == "DA"} <= {"DA", "DA:"}
    assert not any(str(label).startswith("DA") for kind, label in called if kind != "DA")
    temperatures = [row.teff for row in rows if row.classification == "DA"]
    assert np.all(np.isfinite(np.array(temperatures, dtype=float)))
    assert {row.template_grid for row in rows if row.teff} == {"built-in"}
