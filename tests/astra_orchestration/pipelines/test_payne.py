"""The Payne: networks and their files, fits of known labels, and the pipeline on stored spectra."""

import pickle

import numpy as np
import pytest

from astra_models.analysis.stream import analyse, write
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.errors import NotSetUpError, PipelineError
from astra_models.ingest import ingest_spectra
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.quality.drawing import new_figure
from astra_models.the_payne import LABELS, ThePayne
from astra_orchestration.pipelines.npz import npz_bytes
from astra_orchestration.pipelines.the_payne import the_payne
from astra_orchestration.pipelines.the_payne.columns import table_labels
from astra_orchestration.pipelines.the_payne.finding import default_network
from astra_orchestration.pipelines.the_payne.fitting import Fitter
from astra_orchestration.pipelines.the_payne.network import Network, PayneError
from astra_orchestration.pipelines.the_payne.network_file import load_network, save_network
from astra_orchestration.pipelines.the_payne.pictures import PICTURES
from science.the_payne import REAL, observed

GRID = 10 ** (4.179 + 6e-6 * np.arange(8575))
CHIPS = ((GRID > 15_170) & (GRID < 15_790)) | ((GRID > 15_880) & (GRID < 16_410)) | ((GRID > 16_500) & (GRID < 16_930))
LOWER = np.array([4000.0, 3.5, -1.0, -0.2, 0.0])
UPPER = np.array([7000.0, 5.0, 0.5, 0.5, 30.0])


def make_network(wavelength=GRID[CHIPS], labels=("teff", "logg", "fe_h", "mg_fe", "v_macro"), activation="leaky_relu"):
    """Give a network that pixels share: twelve neurons, each the depth of lines that are three pixels wide."""
    random = np.random.default_rng(7)
    n_pixels, hidden = len(wavelength), 12
    places = np.arange(n_pixels)
    profiles = np.zeros((n_pixels, hidden))
    for neuron in range(hidden):
        for centre in random.uniform(0, n_pixels, 25):
            profiles[:, neuron] -= random.uniform(0.05, 0.3) * np.exp(-0.5 * ((places - centre) / 3) ** 2)
    continuum = (profiles > -0.01).all(axis=1)
    first = random.normal(0, 1, (hidden, len(labels)))
    return Network(
        (first, profiles),
        (random.uniform(0.7, 1.2, hidden), np.ones(n_pixels)),
        activation,
        labels,
        LOWER[: len(labels)],
        UPPER[: len(labels)],
        wavelength,
        continuum,
    )


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "products"))
    monkeypatch.delenv("ASTRA_THE_PAYNE_NETWORK", raising=False)


def spectrum_of(network, scaled, snr=150, seed=1, pk=1, kind=ApogeeCombinedSpectrum, v_rel=0.0):
    """Give a co-add whose flux is the network's, at 300 units, with noise; nothing between the chips."""
    random = np.random.default_rng(seed)
    flux = network.flux(np.asarray(scaled))
    flux = 300 * np.interp(GRID, network.wavelength * (1 + v_rel / 299_792.458), flux)
    known = np.isin(np.arange(len(GRID)), np.round((np.log10(network.wavelength) - 4.179) / 6e-6))
    spectrum = kind(spectrum_pk=pk, source_pk=None, snr=snr)
    spectrum.flux = np.where(known, flux + random.normal(size=len(GRID)) * 300 / snr, 0)
    spectrum.ivar = np.where(known, (snr / 300) ** 2, 0)
    return spectrum


def fitted(network, tmp_path, spectra, **parameters):
    path = tmp_path / "network.npz"
    save_network(network, path)
    return list(the_payne(spectra, write_to_database=False, network=path, **parameters))


# ---- the network


@pytest.mark.parametrize("activation", ["sigmoid", "leaky_relu"])
def test_derivatives_are_those_of_the_flux(activation):
    network = make_network(activation=activation)
    here = np.array([0.1, -0.3, 0.2, 0.05, -0.1])
    flux, slopes = network.flux_and_slopes(here)
    assert flux == pytest.approx(network.flux(here))
    for place in range(5):
        step = 1e-6 * np.eye(5)[place]
        assert (network.flux(here + step) - network.flux(here - step)) / 2e-6 == pytest.approx(
            slopes[:, place], abs=1e-7
        )


def test_a_network_of_each_pixel_is_what_the_pixels_say_alone():
    random = np.random.default_rng(3)
    first, last = random.normal(size=(30, 4, 2)), random.normal(size=(30, 4))
    biases = random.normal(size=(30, 4)), random.normal(size=30)
    wavelength = GRID[:30]
    network = Network(
        (first, last), biases, "sigmoid", ("teff", "logg"), LOWER[:2], UPPER[:2], wavelength, np.ones(30, dtype=bool)
    )
    scaled = np.array([0.2, -0.4])
    alone = [last[i] @ (1 / (1 + np.exp(-(first[i] @ scaled + biases[0][i])))) + biases[1][i] for i in range(30)]
    assert network.flux(scaled) == pytest.approx(alone)
    assert network.flux_and_slopes(scaled)[1].shape == (30, 2)


def test_a_network_comes_back_from_its_file(network, tmp_path):
    checksum = save_network(network, tmp_path / "one.npz")
    again = load_network(tmp_path / "one.npz")
    assert (again.labels, again.name, again.checksum) == (network.labels, "one.npz", checksum)
    assert (again.flux(np.zeros(5)) == network.flux(np.zeros(5))).all()
    assert save_network(again, tmp_path / "two.npz") == checksum


def test_what_is_no_network_is_told_in_a_sentence(network, tmp_path):
    path = tmp_path / "network.npz"
    path.write_bytes(b"something else")
    with pytest.raises(PayneError, match="no network of The Payne can be read"):
        load_network(path)
    path.write_bytes(npz_bytes({"labels": np.array(["teff"])}))
    with pytest.raises(PayneError, match="it has no activation, continuum_pixels, format"):
        load_network(path)
    with path.open("wb") as file:
        np.savez(file, weights_0=np.array([{"a": 1}], dtype=object))
    with pytest.raises(PayneError, match="can be read from"):
        load_network(path)
    path.write_bytes(pickle.dumps({"weights": ()}))
    with pytest.raises(PayneError, match="can be read from"):
        load_network(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(PayneError, match=r"isn't binspec's: it has no NN_normalized_spectra.npz"):
        load_network(tmp_path / "folder")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"activation": "tanh"}, "its activation is 'tanh'"),
        ({"labels": ("teff", "teff", "fe_h", "mg_fe", "v_macro")}, "a label twice"),
        ({"upper": LOWER}, "range isn't one"),
        ({"lower": LOWER[:4]}, "4 and 5 ends for 5 labels"),
        ({"wavelength": GRID[CHIPS][::-1]}, "don't increase"),
        (
            {"wavelength": GRID[:10], "continuum_pixels": np.ones(10, dtype=bool)},
            r"gives \d+ pixels, and has 10 ",
        ),
        ({"biases": (np.zeros(12), np.zeros(4))}, "layer 1 has weights"),
        ({"weights": (np.full((12, 5), np.nan), np.zeros((10, 12)))}, "aren't finite"),
    ],
)
def test_parts_that_dont_fit_are_told(network, change, why):
    parts = {name: getattr(network, name) for name in network.__dataclass_fields__}
    with pytest.raises(PayneError, match=why):
        Network(**parts | change)


def test_abundances_over_iron_become_those_over_hydrogen():
    names, matrix = table_labels(("teff", "fe_h", "mg_fe", "o_h"))
    assert names == ("teff", "fe_h", "mg_h", "o_h")
    assert (matrix @ [5000, -0.5, 0.3, 0.1]).tolist() == [5000, -0.5, pytest.approx(-0.2), 0.1]
    with pytest.raises(PayneError, match="no column for the network's label 'mg_fe'"):
        table_labels(("teff", "mg_fe"))
    with pytest.raises(PayneError, match="two labels of the network are one column"):
        table_labels(("fe_h", "mg_fe", "mg_h"))


# ---- the fit


def test_labels_come_back_within_their_errors(network):
    random = np.random.default_rng(5)
    pulls, speeds = [], []
    for _ in range(60):
        scaled, v_rel = random.uniform(-0.35, 0.35, 5), random.uniform(-6, 6)
        fit = observed(network, scaled, v_rel, 80, random)
        pulls.append((fit.labels - network.unscaled(scaled)) / np.sqrt(np.diag(fit.covariance)))
        speeds.append(fit.v_rel - v_rel)
        assert fit.converged and fit.rchi2 == pytest.approx(1, abs=0.1)
    assert 0.8 < np.std(pulls) < 1.2 and np.abs(np.mean(pulls, axis=0)).max() < 0.5
    assert np.std(speeds) < 0.3 and abs(np.mean(speeds)) < 0.1


def test_formal_errors_dont_have_the_noise_of_the_continuum(network):
    fit = observed(network, np.zeros(5), 0, 80, np.random.default_rng(1))
    assert (np.diag(fit.formal) < np.diag(fit.covariance)).all()
    assert np.abs(fit.covariance / np.sqrt(np.outer(*2 * [np.diag(fit.covariance)]))).max() == pytest.approx(1)


def test_a_continuum_doesnt_change_the_labels(network):
    flux = network.flux(np.array([0.2, 0.1, -0.2, 0.1, 0.1]))
    bent = flux * 500 * (1 + 0.2 * np.linspace(-1, 1, len(flux)))
    plain, other = (Fitter(network).fit(one, (100 / one) ** 2) for one in (flux, bent))
    assert plain.labels == pytest.approx(other.labels, rel=2e-3, abs=2e-3)
    assert np.nanmax(np.abs(other.continuum * other.model / bent - 1)) < 1e-3


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("beyond", [-0.8, 0.8])
def test_labels_beyond_the_box_are_at_its_edge(network, place, beyond):
    scaled = np.array([0.1, -0.1, 0.1, 0.05, 0.0])
    scaled[place] = beyond
    fit = observed(network, scaled, 0, 150, np.random.default_rng(2))
    assert fit.at_edge.any()
    assert (fit.labels >= network.lower).all() and (fit.labels <= network.upper).all()


def test_a_speed_of_zero_is_no_edge_of_the_network(network):
    parts = {name: getattr(network, name) for name in network.__dataclass_fields__}
    wider = Network(**parts | {"lower": LOWER - [0, 0, 0, 0, 10]})
    scaled = np.append(np.zeros(4), wider.scaled(np.array([0, 0, 0, 0, -6.0]))[4])
    fit = observed(wider, scaled, 0, 200, np.random.default_rng(2))
    assert fit.labels[4] == pytest.approx(0, abs=1e-6)
    assert not fit.at_edge[4]


# ---- the pipeline


def test_a_result_has_the_networks_labels_and_no_others(network, tmp_path):
    scaled = np.array([0.2, -0.1, 0.1, 0.2, -0.2])
    [result] = fitted(network, tmp_path, [spectrum_of(network, scaled, v_rel=2)])
    truth = dict(zip(network.labels, network.unscaled(scaled), strict=True))
    truth["mg_h"] = truth.pop("mg_fe") + truth["fe_h"]
    for name, value in truth.items():
        assert abs(getattr(result, name) - value) < 5 * getattr(result, f"e_{name}"), name
        assert getattr(result, f"raw_e_{name}") < getattr(result, f"e_{name}")
    others = set(LABELS) - truth.keys()
    assert all(getattr(result, f"{prefix}{name}") is None for name in others for prefix in ("", "e_", "raw_e_"))
    assert result.rho_teff_c_h is None and -1 < result.rho_teff_logg < 1 and result.rho_mg_h_fe_h > -1
    assert result.v_rel == pytest.approx(2, abs=0.3)
    assert result.chi2 > 4000 and 0.9 < result.reduced_chi2 < 1.3
    assert result.network.startswith("network.npz ") and len(result.network) == 24
    assert result.result_flags == 0


def test_flags_say_what_a_reader_has_to_know(network, tmp_path):
    good = np.zeros(5)
    outside, faint, fast, empty, no_chip, noise = [
        spectrum_of(network, [0.9, 0, 0, 0, 0], pk=1),
        spectrum_of(network, good, snr=20, pk=2),
        spectrum_of(network, good, pk=3, v_rel=14),
        spectrum_of(network, good, pk=4),
        spectrum_of(network, good, pk=5),
        spectrum_of(network, good, pk=6),
    ]
    empty.ivar = np.zeros(len(GRID))
    no_chip.ivar = np.where(GRID < 15_800, 0, no_chip.ivar)
    noise.flux = noise.flux * (1 + 0.2 * np.sin(np.arange(len(GRID)) / 2))
    results = fitted(network, tmp_path, [outside, faint, fast, empty, no_chip, noise])
    outside, faint, fast, empty, no_chip, noise = results
    assert outside.flag_outside_network and outside.flag_warn
    assert faint.flag_low_snr and not outside.flag_low_snr and not faint.flag_outside_network
    assert fast.flag_v_rel_at_limit and fast.v_rel == pytest.approx(10)
    assert empty.flag_fitting_failure and empty.flag_bad and empty.teff is None and empty.flag_no_continuum
    assert no_chip.flag_no_continuum and no_chip.teff is not None
    assert noise.flag_bad_chi2 and not faint.flag_bad_chi2


def test_without_a_velocity_to_find_there_is_none(network, tmp_path):
    [result] = fitted(network, tmp_path, [spectrum_of(network, np.zeros(5))], largest_v_rel=0.0)
    assert np.isnan(result.v_rel) and result.teff is not None  # NULL, when it is stored


def test_a_network_on_other_wavelengths_is_refused(network, tmp_path):
    other = make_network(wavelength=GRID[CHIPS] * 1.000007)
    with pytest.raises(PipelineError, match=r"other wavelengths than APOGEE's co-adds: .* resample it"):
        fitted(other, tmp_path, [spectrum_of(network, np.zeros(5))])


def test_without_a_network_a_run_ends_at_once_with_what_to_do(memory_database, network):
    with pytest.raises(NotSetUpError, match=r"there is no network .* ASTRA_THE_PAYNE_NETWORK"):
        analyse(the_payne)
    save_network(network, default_network())
    assert analyse(the_payne).due == 0


def test_stored_spectra_have_rows_and_arrays(database, apstar_file, network, tmp_path):
    ingest_spectra([str(apstar_file)])
    save_network(network, tmp_path / "network.npz")
    report = write(analyse(the_payne, parameters={"network": tmp_path / "network.npz"}))
    assert (report.inserted, report.rejected) == (1, 0)
    row = ThePayne.get()
    spectrum = ApogeeCoaddedSpectrumInApStar.get()
    assert row.model_flux.shape == row.continuum.shape == spectrum.flux.shape
    known = np.isfinite(row.model_flux)
    assert known.sum() == CHIPS.sum() and np.isnan(row.model_flux[0])
    save_network(make_network(activation="sigmoid"), tmp_path / "network.npz")
    assert analyse(the_payne, parameters={"network": tmp_path / "network.npz"}).due == 1


@pytest.fixture
def apstar_file(tmp_path):
    from astra_orchestration.sample import make_sample

    make_sample(tmp_path / "sample", stars=1, apogee_stars=1)
    return next((tmp_path / "sample" / "apogee" / "apStar").glob("*.fits"))


def test_pictures_are_drawn_of_the_results(network):
    random = np.random.default_rng(1)
    rows = {name: random.normal(size=20) for name in ("teff", "logg", "fe_h", "mg_h", "rchi2")}
    rows["result_flags"] = np.arange(20) % 2
    for draw in PICTURES:
        figure = new_figure()
        draw(figure, rows)
        assert figure.axes


# ---- binspec's network, and its real spectrum


def test_binspecs_network_recovers_what_went_in(real_data):
    network = load_network(real_data / "binspec")
    assert network.labels == ("teff", "logg", "fe_h", "mg_fe", "v_macro")
    assert network.lower[:2] == pytest.approx([4200, 4.0], abs=1) and network.upper[0] == pytest.approx(6996, abs=1)
    random = np.random.default_rng(11)
    pulls = []
    for _ in range(40):
        scaled = random.uniform(-0.4, 0.4, 5)
        fit = observed(network, scaled, random.uniform(-5, 5), 100, random)
        pulls.append((fit.labels - network.unscaled(scaled)) / np.sqrt(np.diag(fit.covariance)))
    assert 0.8 < np.std(pulls) < 1.2


def test_binspecs_real_spectrum_gets_the_labels_of_its_own_code(real_data):
    with np.load(real_data / "binspec" / REAL, allow_pickle=False) as file:
        fit = Fitter(load_network(real_data / "binspec")).fit(file["spectrum"], file["spec_err"] ** -2.0)
    theirs = np.array([4921.7, 4.498, -0.193, 0.096, 16.21])
    # Theirs shifts lines by linear interpolation, which makes them wider: its v_macro is smaller.
    assert (np.abs(fit.labels - theirs) < [20, 0.02, 0.02, 0.02, 1]).all()
    assert fit.v_rel == pytest.approx(0.97, abs=0.1)
    assert fit.converged and not fit.at_edge.any()


def test_the_pipeline_runs_with_binspecs_folder(real_data, tmp_path):
    network = load_network(real_data / "binspec")
    spectrum = spectrum_of(network, [-0.2, 0.1, 0.2, 0.0, 0.1])
    [result] = the_payne([spectrum], write_to_database=False, network=real_data / "binspec")
    assert abs(result.teff - network.unscaled(np.array([-0.2, 0.1, 0.2, 0.0, 0.1]))[0]) < 5 * result.e_teff
    assert result.c_h is None and result.network.startswith("binspec ")
    assert result.result_flags == 0
