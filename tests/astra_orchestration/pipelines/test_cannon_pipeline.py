"""The Cannon as a pipeline: trained on two thirds of the sample survey's stars, it labels the rest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from astra_models.analysis.stream import analyse, write
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.errors import MissingPixelsError, NotSetUpError, ParameterError, PipelineError
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.quality.drawing import new_figure
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.the_cannon import ALL_LABELS, TheCannon
from astra_orchestration.pipelines.the_cannon import the_cannon
from astra_orchestration.pipelines.the_cannon.finding import default_model
from astra_orchestration.pipelines.the_cannon.model_file import load_model, save_model
from astra_orchestration.pipelines.the_cannon.pictures import (
    alpha_against_metallicity,
    cross_validation,
    kiel_diagram_by_metallicity,
    worst_fits,
)
from astra_orchestration.pipelines.the_cannon.training_run import train_to_file
from astra_orchestration.sample import make_sample

TRUTH = {
    "teff": "teff",
    "logg": "logg",
    "m_h_atm": "m_h",
    "alpha_m_atm": "alpha_m",
    "c_m_atm": "c_m",
    "n_m_atm": "n_m",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return Path(make_sample(tmp_path_factory.mktemp("sample"), stars=1, apogee_stars=60).folder) / "apogee"


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    """Give what training leaves, on a database of its own that nobody else sees."""
    from tests.conftest import _bound, sqlite_database

    with _bound(sqlite_database(":memory:")):
        ingest(sample)
        return train_to_file(tmp_path_factory.mktemp("model") / "model.npz")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "products"))
    monkeypatch.delenv("ASTRA_THE_CANNON_MODEL", raising=False)


def ingest(sample):
    ingest_spectra(sorted(map(str, sample.glob("*/*.fits"))))
    [labels] = sample.glob("astraAllStarASPCAP*")
    ingest_result_file(str(labels))


def run(**parameters):
    return write(analyse(the_cannon, parameters=parameters))


def truth_of(sample):
    table = Table.read(sample / "truth.ecsv")
    sources = {source.pk: source.sdss_id for source in Source.select()}
    by_id = {int(row["sdss_id"]): row for row in table}
    return {pk: by_id[sdss_id] for pk, sdss_id in sources.items()}


# ---- the sample


def test_stars_that_it_hasnt_seen_are_labelled_within_the_errors(database, sample, trained):
    ingest(sample)

    report = run(model=trained.path)

    truth = truth_of(sample)
    others = [row for row in TheCannon.select() if not truth[row.source_pk_id]["labeled"]]
    pulls = np.array(
        [
            [(getattr(row, name) - truth[row.source_pk_id][TRUTH[name]]) / getattr(row, f"e_{name}") for name in TRUTH]
            for row in others
        ]
    )
    assert (report.inserted, report.rejected) == (120, 0)
    assert pulls.shape == (40, 6)
    assert 0.8 < pulls.std() < 1.2
    assert 0.8 < 1.4826 * np.median(np.abs(pulls)) < 1.2
    assert all(row.raw_e_teff < row.e_teff and row.fe_h is None and row.e_mg_fe is None for row in others)
    assert {row.trained_model for row in others} == {f"model.npz {trained.checksum[:12]}"}
    assert all(row.ier == 1 and row.nfev > 1 and 0 <= row.x0_index <= 6 for row in others)
    inside = np.mean([not row.flag_outside_training_set for row in TheCannon.select()])
    assert inside > 0.5
    assert not any(row.flag_fitting_failure or row.flag_no_continuum for row in others)


def test_cross_validation_is_told_by_the_model(trained):
    model = load_model(trained.path)

    told = model.provenance["cross-validation"]
    assert told["spread"]["teff"] < 100 and told["spread"]["m_h_atm"] < 0.05
    assert model.provenance["training set"]["stars"] == 40


def test_arrays_of_a_result_are_read_from_its_row(memory_database, sample, trained):
    ingest(sample)
    run(model=trained.path, largest_rchi2=1.2)

    row = TheCannon.select().order_by(TheCannon.spectrum_pk).get()
    spectrum = ApogeeCoaddedSpectrumInApStar.get(ApogeeCoaddedSpectrumInApStar.spectrum_pk == row.spectrum_pk_id)
    good = (spectrum.ivar > 0) & np.isfinite(row.model_flux)

    off = (spectrum.flux - row.model_flux)[good] * np.sqrt(spectrum.ivar[good])
    assert good.sum() > 6000 and 1.4826 * np.median(np.abs(off)) < 2
    assert np.nanmean(row.model_flux / row.continuum) == pytest.approx(1, abs=0.02)
    places = [ALL_LABELS.index(name) for name in TRUTH]
    assert np.diag(row.correlation)[places] == pytest.approx(1, abs=1e-5)
    assert np.sqrt(row.covariance[0, 0]) == pytest.approx(row.raw_e_teff, rel=1e-4)
    assert np.isnan(row.correlation[2]).all()  # fe_h, of which the training set has none
    flags = [(one.flag_bad_chi2, one.rchi2 > 1.2) for one in TheCannon.select()]
    assert all(bad == high for bad, high in flags) and 0 < sum(bad for bad, _ in flags) < 120


def test_without_a_place_for_products_there_are_labels_and_a_warning(memory_database, sample, trained, monkeypatch):
    monkeypatch.delenv("MWM_ASTRA")
    ingest_spectra([str(next(sample.glob("apStar/*.fits")))])

    assert run(model=trained.path).inserted == 1

    assert TheCannon.get().teff is not None
    with pytest.raises(Exception, match="MWM_ASTRA"):
        _ = TheCannon.get().model_flux
    [warning] = the_cannon.warnings(model=trained.path)
    assert "model fluxes aren't kept" in warning
    assert the_cannon.warnings(model=trained.path, keep_models=False) == ()


# ---- which model


def test_without_a_model_a_run_ends_at_once_with_what_to_do(memory_database):
    with pytest.raises(NotSetUpError, match=r"no model has been trained .* `astra train the_cannon --labels aspcap`"):
        analyse(the_cannon)


def test_a_model_is_found_where_training_leaves_it(memory_database, sample, trained):
    ingest_spectra([str(next(sample.glob("apStar/*.fits")))])
    save_model(load_model(trained.path), default_model())

    assert run().inserted == 1
    assert run().rows == 0


def test_a_new_model_makes_older_results_due(memory_database, sample, trained):
    ingest_spectra([str(next(sample.glob("apStar/*.fits")))])
    run(model=trained.path)
    moved = trained.path.with_name("moved.npz")
    moved.write_bytes(trained.path.read_bytes())
    assert analyse(the_cannon, parameters={"model": moved}).due == 0

    other = load_model(trained.path)
    other.factors[:] = 1
    save_model(other, trained.path.with_name("other.npz"))

    assert analyse(the_cannon, parameters={"model": trained.path.with_name("other.npz")}).due == 1


def test_a_model_that_cant_be_used_is_one_sentence(memory_database, sample, tmp_path):
    ingest_spectra([str(next(sample.glob("apStar/*.fits")))])
    (tmp_path / "model.npz").write_bytes(b"something else")
    with pytest.raises(Exception, match="no model of The Cannon can be read"):
        run(model=tmp_path / "model.npz")
    with pytest.raises(ParameterError, match="isn't there"):
        run(model=tmp_path / "none.npz")


def test_a_model_of_another_continuum_is_refused(memory_database, sample, trained, tmp_path):
    ingest_spectra([str(next(sample.glob("apStar/*.fits")))])
    save_model(replace(load_model(trained.path), continuum="sines and cosines 1"), tmp_path / "other.npz")

    with pytest.raises(PipelineError, match=r"another continuum \(sines and cosines 1\) .* train it again"):
        run(model=tmp_path / "other.npz")


# ---- bad spectra


def test_bad_spectra_leave_the_others_as_they_are(database, sample, trained):
    files = sorted(map(str, sample.glob("apStar/*.fits")))[:5]
    ingest_spectra(files)
    kind = ApogeeCoaddedSpectrumInApStar
    first, *_ = kind.select().order_by(kind.spectrum_pk)
    kind.update(path="/nowhere/apStar.fits").where(kind.spectrum_pk == first.spectrum_pk_id).execute()

    report = run(model=trained.path)

    assert (report.inserted, report.rejected) == (4, 1)
    rejected = RejectedResult.get()
    assert rejected.spectrum_pk == first.spectrum_pk_id and "/nowhere/apStar.fits" in rejected.message


def test_a_spectrum_without_flux_has_a_row_with_flags(memory_database, trained):
    spectra = [ApogeeCombinedSpectrum(spectrum_pk=pk, source_pk=None) for pk in (1, 2, 3)]
    pixels = load_model(trained.path).wavelength.size
    for spectrum in spectra:
        spectrum.flux, spectrum.ivar = np.ones(pixels), np.full(pixels, 1e4)
    spectra[1].ivar = np.zeros(pixels)
    spectra[2].ivar = np.where(np.arange(pixels) < 3500, 0, 1e4)

    flat, empty, part = the_cannon(spectra, write_to_database=False, model=trained.path, keep_models=False)

    assert np.isnan(empty.teff) and np.isnan(empty.rchi2)  # NULL, when they are stored
    assert empty.flag_fitting_failure and empty.flag_no_continuum and not empty.flag_bad_chi2
    assert part.flag_no_continuum and not part.flag_fitting_failure
    assert flat.flag_bad_chi2 or flat.flag_outside_training_set


def test_a_spectrum_with_other_pixels_than_the_models_is_refused(memory_database, trained):
    spectra = [ApogeeCombinedSpectrum(spectrum_pk=pk, source_pk=None) for pk in (1, 2)]
    for spectrum, size in zip(spectra, (8575, 100), strict=True):
        spectrum.flux, spectrum.ivar = np.ones(size), np.ones(size)

    results = the_cannon.function(iter(spectra), model=trained.path, keep_models=False)
    next(results)
    assert len(next(results)) == 1
    with pytest.raises(MissingPixelsError, match=r"shape \(100,\)"):
        next(results)


# ---- pictures


def test_pictures_are_drawn_of_the_results_and_of_the_cross_validation(memory_database, sample, trained):
    ingest_spectra(sorted(map(str, sample.glob("apStar/*.fits")))[:8])
    run(model=trained.path)
    names = ("task_pk", "spectrum_pk", "rchi2", "result_flags", "teff", "logg", "m_h_atm", "alpha_m_atm", "fe_h")
    rows = {
        name: np.array(
            [getattr(row, name) for row in TheCannon.select(*[getattr(TheCannon, n) for n in names])], dtype=float
        )
        for name in names
        if name != "spectrum_pk"
    }
    rows["result_flags"] = rows["result_flags"].astype(int)
    rows["task_pk"] = rows["task_pk"].astype(int)

    for draw, n_axes in ((kiel_diagram_by_metallicity, 2), (alpha_against_metallicity, 2), (worst_fits, 9)):
        figure = new_figure()
        draw(figure, rows)
        assert len(figure.axes) == n_axes, draw
    figure = new_figure()
    cross_validation(figure, trained)
    assert [axes.get_title().split(" ")[0] for axes in figure.axes] == list(TRUTH)
