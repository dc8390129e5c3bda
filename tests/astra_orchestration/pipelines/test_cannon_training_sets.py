"""Training sets from one's own survey: which stars and labels, by which conditions, and their pixels on disk."""

from pathlib import Path

import numpy as np
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.errors import SelectionError
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_orchestration.pipelines.the_cannon import training_run
from astra_orchestration.pipelines.the_cannon.labelled import read_training_set, read_windows, why_too_few
from astra_orchestration.pipelines.the_cannon.making import train_model
from astra_orchestration.pipelines.the_cannon.model_file import load_model
from astra_orchestration.pipelines.the_cannon.polynomial import CannonError
from astra_orchestration.pipelines.the_cannon.stored import StoredPixels
from astra_orchestration.sample import make_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make_sample(tmp_path_factory.mktemp("sample"), stars=1, apogee_stars=30).folder


@pytest.fixture
def survey(database, sample):
    apogee = Path(sample) / "apogee"
    ingest_spectra(map(str, apogee.glob("apStar/*.fits")))
    [labels] = apogee.glob("astraAllStarASPCAP*")
    ingest_result_file(str(labels))
    return apogee


def test_conditions_are_of_the_table_its_spectra_and_sources(survey, tmp_path):
    everything = read_training_set(tmp_path / "all")
    some = read_training_set(tmp_path / "some", where="telescope = 'apo25m' and dec > -90 and not flag_low_snr")
    assert 0 < len(some.labels) < len(everything.labels)
    with pytest.raises(SelectionError, match=r"'tef' is no column or flag of aspcap, .*; did you mean teff"):
        read_training_set(tmp_path / "none", where="tef > 1")


# ---- stars and labels


def test_a_training_set_has_the_labels_of_the_table(survey, tmp_path):
    found = read_training_set(tmp_path, where="snr > 20")

    assert found.names == ("teff", "logg", "m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm")
    assert found.units == ("K", "dex(cm / s2)", "dex", "dex", "dex", "dex")
    query = ASPCAP.select(ASPCAP.teff, ASPCAP.n_m_atm).order_by(ASPCAP.spectrum_pk)
    assert found.labels[:, [0, 5]] == pytest.approx(np.array(list(query.tuples())))
    assert (found.pixels.shape, found.wavelength.shape, found.left_out) == ((20, 8575), (8575,), ())
    assert found.source == {
        "labels": "aspcap",
        "spectra": "apogee_coadded_spectrum_in_ap_star",
        "where": "snr > 20",
    }


def test_newer_results_without_all_labels_leave_those_that_have_them(survey, tmp_path):
    before = read_training_set(tmp_path / "before")
    newer = [ASPCAP(spectrum_pk=row.spectrum_pk, v_astra=9_000, teff=row.teff + 100) for row in ASPCAP.select()]
    newer[0].logg, newer[0].m_h_atm, newer[0].alpha_m_atm, newer[0].c_m_atm, newer[0].n_m_atm = (1.0, 0, 0, 0, 0)
    for row in newer:
        row.save()

    after = read_training_set(tmp_path / "after")

    assert after.labels.shape == before.labels.shape
    changed = (after.labels != before.labels).any(axis=1)
    assert changed.sum() == 1 and after.labels[changed, 1] == 1.0


def test_abundances_relative_to_iron_follow_from_those_relative_to_hydrogen(survey, tmp_path):
    found = read_training_set(tmp_path, labels=["teff", "fe_h", "mg_fe"])

    expected = [row.mg_h - row.fe_h for row in ASPCAP.select().order_by(ASPCAP.spectrum_pk)]
    assert found.labels[:, 2] == pytest.approx(expected, abs=1e-6)


def test_stars_and_labels_that_are_missing_are_left_out_and_said(survey, tmp_path):
    keys = [row.spectrum_pk_id for row in ASPCAP.select().order_by(ASPCAP.spectrum_pk)]
    ASPCAP.update(logg=None).where(ASPCAP.spectrum_pk == keys[0]).execute()
    ASPCAP.update(n_m_atm=None).where(ASPCAP.spectrum_pk != keys[1]).execute()
    gone = ApogeeCoaddedSpectrumInApStar.get(ApogeeCoaddedSpectrumInApStar.spectrum_pk == keys[2])
    ApogeeCoaddedSpectrumInApStar.update(path="/nowhere/apStar.fits").where(
        ApogeeCoaddedSpectrumInApStar.spectrum_pk == gone.spectrum_pk_id
    ).execute()

    found = read_training_set(tmp_path)

    assert found.names == ("teff", "logg", "m_h_atm", "alpha_m_atm", "c_m_atm")
    assert len(found.labels) == found.pixels.shape[0] == 18
    told = "; ".join(found.left_out)
    assert "n_m_atm: 5% of the stars have it" in told and "1 of 20 stars lack a label" in told
    assert "1 spectra can't be used" in told and "/nowhere/apStar.fits" in told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"table": "aspcab"}, "aspcab"),
        ({"labels": ["v_sini"]}, "has no label 'v_sini'"),
        ({"labels": ["v_macro"]}, "aspcap has no label 'v_macro'; it has teff"),
        ({"where": "teff > 99999"}, "has no results of spectra .* where teff > 99999"),
        ({"labels": ["teff", "v_micro"], "where": "v_micro is null"}, "no results|no star has labels"),
    ],
)
def test_what_cant_be_learnt_is_one_sentence(survey, tmp_path, options, reason):
    with pytest.raises((CannonError, LookupError, ValueError), match=reason):
        read_training_set(tmp_path, **options)


def test_too_few_stars_are_told_before_anything_is_trained(survey, tmp_path):
    assert why_too_few() == "20 stars have labels, and 33 are needed"
    with pytest.raises(CannonError, match="20 stars can't tell 28 terms of 6 labels apart"):
        train_model(read_training_set(tmp_path))


# ---- from the survey to a file


def test_a_model_is_trained_from_the_survey_and_says_what_it_is_made_of(survey, tmp_path):
    said = []
    windows = tmp_path / "windows.csv"
    windows.write_text("label,first,last\nm_h_atm,15200,15800\nm_h_atm,15900,16400\n")

    found = training_run.train_to_file(
        tmp_path / "model.npz",
        labels=["teff", "logg", "m_h_atm"],
        where="teff < 7000",
        degree="linear",
        windows=windows,
        folds=4,
        say=said.append,
    )

    model = load_model(tmp_path / "model.npz")
    assert (model.labels, model.checksum) == (("teff", "logg", "m_h_atm"), found.checksum)
    assert model.provenance["training set"]["stars"] == 20
    assert model.provenance["training set"]["where"] == "teff < 7000"
    assert len(model.provenance["training set"]["sha256"]) == 64
    assert model.provenance["cross-validation"]["spread"]["teff"] == pytest.approx(found.validation.spread[0], rel=1e-4)
    red = model.wavelength > 16_400
    assert not model.coefficients.theta[red, 3].any() and model.coefficients.theta[red, 1].any()
    assert any("20 stars" in sentence for sentence in said)


def test_the_same_stars_give_the_same_file(survey, tmp_path):
    options = {"labels": ["teff", "logg"], "degree": "linear", "folds": 2}

    first, second = (training_run.train_to_file(tmp_path / f"{i}.npz", **options) for i in range(2))
    fewer = training_run.train_to_file(tmp_path / "2.npz", where="teff < 5500", **options)

    assert first.checksum == second.checksum
    hashes = [each.model.provenance["training set"]["sha256"] for each in (first, fewer)]
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("content", ["label,first\nm_h,1\n", "label,first,last\nm_h,a,b\n", "\x00", None])
def test_windows_that_cant_be_read_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "windows.csv").write_text(content)
    with pytest.raises(CannonError, match="windows"):
        assert read_windows(tmp_path / "windows.csv")


# ---- pixels on disk


def test_pixels_come_back_from_disk_in_blocks(tmp_path):
    rng = np.random.default_rng(1)
    flux, ivar = rng.normal(size=(2, 600, 50)).astype(np.float32)
    stored = StoredPixels(tmp_path, 50)
    for pair in zip(flux, ivar, strict=True):
        stored.add(*pair)

    for some in (slice(0, 7), slice(45, 50), slice(None, None, 9)):
        found = stored.block(some)
        assert np.array_equal(found[0], flux[:, some].T) and np.array_equal(found[1], ivar[:, some].T)
    assert stored.shape == (600, 50)
