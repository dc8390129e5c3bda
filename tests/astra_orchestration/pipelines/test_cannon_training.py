"""The Cannon's training and test steps, cross-validation, and the file of a model."""

from dataclasses import replace

import numpy as np
import pytest

from astra_models.errors import AstraError
from astra_orchestration.pipelines.the_cannon.hull import Hull
from astra_orchestration.pipelines.the_cannon.labelling import find_labels, sums_of
from astra_orchestration.pipelines.the_cannon.making import least_stars
from astra_orchestration.pipelines.the_cannon.model import CannonModel, starts_among
from astra_orchestration.pipelines.the_cannon.model_file import load_model, save_model
from astra_orchestration.pipelines.the_cannon.polynomial import CannonError, Polynomial, polynomial_for, powers_of
from astra_orchestration.pipelines.the_cannon.training import Coefficients, InMemory, find_prior, train
from astra_orchestration.pipelines.the_cannon.validation import cross_validate, error_model

NAMES = ("teff", "logg", "fe_h")
UNITS = ("K", "dex", "dex")
N_PIXELS = 300


class Stars:
    """Stars whose pixels follow a quadratic model with a scatter."""

    def __init__(self, number=200, noise=0.005, seed=1, scatter=0.003, alike=1):
        rng = np.random.default_rng(seed)
        self.labels = np.column_stack([rng.uniform(*ends, number) for ends in ((4000, 5500), (0.5, 4), (-1.5, 0.4))])
        self.polynomial = Polynomial(NAMES, powers_of(3), np.array([4750, 2.2, -0.5]), np.array([500, 1.2, 0.6]))
        self.scaled = self.polynomial.scaled(self.labels)
        of_model = np.random.default_rng(0)
        theta = of_model.normal(0, 0.02, (N_PIXELS, 10)) * [1, 1, 1, 1, *[0.2] * 6]
        theta[:, 0] += 1
        theta = np.repeat(theta[::alike], alike, axis=0)
        self.truth = Coefficients(theta, np.where(np.arange(N_PIXELS) % 3 == 0, 2 * scatter, scatter))
        clean = self.polynomial.terms(self.scaled) @ theta.T
        self.flux = clean + rng.normal(size=clean.shape) * np.hypot(noise, self.truth.scatter)
        self.ivar = np.full(clean.shape, noise**-2)

    def trained(self):
        return train(self.polynomial.terms(self.scaled), InMemory(self.flux, self.ivar))

    def model(self):
        found = self.trained()
        wavelength = np.linspace(15150, 16950, N_PIXELS)
        starts = starts_among(self.scaled)
        return CannonModel(
            self.polynomial,
            found,
            wavelength,
            UNITS,
            np.array([1, 1.5, 2]),
            np.array([0, 0, 0.1]),
            self.scaled,
            starts,
            "as given",
            {"a": 1},
        )


@pytest.fixture(scope="module")
def stars():
    return Stars()


@pytest.fixture(scope="module")
def oracle(request):
    folder = request.getfixturevalue("real_data") / "annieslasso"
    with np.load(folder / "cannon_training_set.npz") as file:
        return dict(file)


def test_terms_and_their_derivatives_agree_with_differences():
    powers = np.array([[0, 0, 0], [4, 0, 0], [1, 2, 0], [1, 1, 1], [0, 0, 1]])
    polynomial = replace(polynomial_for(NAMES, np.random.default_rng(1).normal(size=(9, 3))), powers=powers)
    at = np.array([[0.5, -1.2, 2.0], [0.0, 0.3, -0.7]])
    weights = np.arange(10.0).reshape(2, 5)

    for label in range(3):
        step = np.eye(3)[label] * 1e-5
        numeric = (polynomial.terms(at + step) - polynomial.terms(at - step)) / 2e-5
        assert polynomial.gradient(at)[..., label] == pytest.approx(numeric, abs=1e-8)
        slope = [np.einsum("st,stl->sl", weights, polynomial.gradient(at + sign * step)) for sign in (1, -1)]
        assert polynomial.curvature(at, weights)[:, label] == pytest.approx((slope[0] - slope[1]) / 2e-5, abs=1e-6)


def test_linear_and_quadratic_terms():
    assert powers_of(2, "linear").tolist() == [[0, 0], [1, 0], [0, 1]]
    assert powers_of(2).tolist() == [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    assert len(powers_of(20)) == 231


def test_training_finds_coefficients_and_scatter(stars):
    found = stars.trained()

    assert np.std(found.theta - stars.truth.theta, axis=0) == pytest.approx(0, abs=0.002)
    assert found.scatter / stars.truth.scatter == pytest.approx(1, abs=0.8)
    assert np.median(found.scatter / stars.truth.scatter) == pytest.approx(1, abs=0.04)


def test_blocks_of_pixels_change_nothing(stars, monkeypatch):
    whole = stars.trained()
    monkeypatch.setattr("astra_orchestration.pipelines.the_cannon.training.BLOCK_BYTES", 8 * 200 * 7)

    in_parts = stars.trained()

    assert in_parts.theta == pytest.approx(whole.theta, abs=1e-10)
    assert in_parts.scatter == pytest.approx(whole.scatter, abs=1e-6)


def test_pixels_that_are_missing_dont_count(stars):
    ivar, flux = stars.ivar.copy(), stars.flux.copy()
    flux[::5, 10], ivar[::5, 10] = 50, 0
    flux[::7, 11] = np.nan
    ivar[5:, 12] = 0

    found = train(stars.polynomial.terms(stars.scaled), InMemory(flux, ivar))

    assert found.theta[10:12] == pytest.approx(stars.truth.theta[10:12], abs=0.01)
    assert np.isinf(found.scatter[12]) and not found.theta[12].any()


def test_a_censored_label_has_no_part_in_the_pixels_that_its_mask_forbids(stars):
    allowed = np.ones((N_PIXELS, 10), dtype=bool)
    allowed[:100] = stars.polynomial.powers[:, 2] == 0

    found = train(stars.polynomial.terms(stars.scaled), InMemory(stars.flux, stars.ivar), allowed=allowed)
    alone = train(
        stars.polynomial.terms(stars.scaled)[:, allowed[0]], InMemory(stars.flux[:, :100], stars.ivar[:, :100])
    )

    assert not found.theta[:100, stars.polynomial.powers[:, 2] > 0].any()
    assert found.theta[:100][:, allowed[0]] == pytest.approx(alone.theta, abs=1e-9)
    assert found.theta[100:] == pytest.approx(stars.trained().theta[100:], abs=1e-12)


def test_labels_that_were_put_in_come_back_with_the_errors_that_they_have(stars):
    model, others = stars.model(), Stars(3000, noise=0.01, seed=2)

    answer = model.label(others.flux, others.ivar)

    pulls = (answer.found.labels - others.labels) / answer.found.errors
    assert answer.found.converged.all()
    assert pulls.std(axis=0) == pytest.approx(1, abs=0.05)
    assert np.median(answer.found.rchi2) == pytest.approx(1, abs=0.03)
    assert answer.errors == pytest.approx(np.hypot(answer.found.errors * [1, 1.5, 2], [0, 0, 0.1]))
    of_pairs = np.einsum(
        "si,sij,sj->s", pulls * answer.found.errors, np.linalg.inv(answer.found.covariance), pulls * answer.found.errors
    )
    assert of_pairs.mean() == pytest.approx(3, abs=0.2)


def test_several_starts_find_what_one_misses(stars):
    others = Stars(300, noise=0.002, seed=3)
    sums = sums_of(stars.truth, others.flux, others.ivar)
    far = np.array([[20.0, -25.0, 20.0]])

    one = find_labels(replace(stars.polynomial, powers=stars.polynomial.powers), sums, far)
    several = find_labels(stars.polynomial, sums, np.concatenate([far, starts_among(stars.scaled)]))

    assert (several.chi2 <= one.chi2 + 1e-3).all()
    assert several.labels == pytest.approx(others.labels, rel=0.1, abs=0.3)
    assert set(several.start) <= set(range(8))


def test_a_spectrum_without_pixels_has_no_labels_and_leaves_the_others_alone(stars):
    model = stars.model()
    flux, ivar = stars.flux[:3].copy(), stars.ivar[:3].copy()
    ivar[1] = 0

    answer, alone = model.label(flux, ivar), model.label(flux[[0, 2]], ivar[[0, 2]])

    assert np.isnan(answer.found.labels[1]).all() and np.isnan(answer.errors[1]).all()
    assert np.isnan(answer.found.rchi2[1]) and not answer.found.converged[1] and answer.outside[1]
    assert answer.found.labels[[0, 2]] == pytest.approx(alone.found.labels)


def test_stars_outside_of_the_training_sets_hull_are_told(stars):
    model = stars.model()
    inside, outside = stars.scaled.mean(axis=0), stars.scaled.max(axis=0) + np.array([0.3, 0, 0])
    flux = stars.polynomial.terms(np.array([inside, outside])) @ stars.truth.theta.T

    assert model.label(flux, np.full(flux.shape, 1e8)).outside.tolist() == [False, True]


@pytest.mark.parametrize("n_labels", [1, 2, 3, 7])
def test_the_hull_of_few_and_of_many_labels(n_labels):
    points = np.random.default_rng(1).normal(size=(60, n_labels))
    hull = Hull(points, n_labels)
    weights = np.random.default_rng(2).dirichlet(np.ones(60), 20)

    assert hull.holds(points).all()
    assert hull.holds(weights @ points).all()
    assert not hull.holds(points[[np.argmax(points[:, 0])]] * 1.01).any()
    assert not hull.holds(np.full((1, n_labels), np.nan)).any()
    beyond = points[[np.argmax(points[:, 0])]] + 0.1 * np.eye(n_labels)[:1]
    assert hull.holds(beyond, np.full((1, n_labels), 0.2)).all()
    assert not hull.holds(beyond, np.full((1, n_labels), 0.01)).any()


def test_few_stars_have_a_hull_of_their_leading_labels_alone():
    """In six labels, hardly any star would be inside of the hull of forty others of its kind."""
    known, others = np.random.default_rng(1).normal(size=(2, 40, 6))
    hull = Hull(known)
    beyond = others.copy()
    beyond[:, 5] = known[:, 5].max() + 0.1

    assert hull.n_leading == 3
    assert hull.holds(others).mean() > 0.3 > 0.15 > Hull(known, 6).holds(others).mean()
    assert not hull.holds(beyond).any()


def test_the_hull_of_stars_in_one_plane():
    points = np.random.default_rng(1).normal(size=(40, 3))
    points[:, 2] = points[:, 0]

    assert Hull(points).holds(np.array([[0, 0, 0], [0, 0, 0.1]])).tolist() == [True, False]


def test_cross_validation_finds_by_how_much_errors_are_too_small():
    """Of five neighbouring pixels that share their noise, four tell nothing new."""
    stars = Stars(alike=5)
    rng = np.random.default_rng(5)
    shared = np.repeat(rng.normal(0, 0.01, (200, N_PIXELS // 5)), 5, axis=1)
    pixels = InMemory(stars.flux + shared, 1 / (1 / stars.ivar + 0.01**2))
    whole = train(stars.polynomial.terms(stars.scaled), pixels)

    found = cross_validate(stars.polynomial, stars.labels, pixels, whole, starts_among(stars.scaled))

    assert found.factors == pytest.approx(2, abs=0.4)
    pulls = (found.found.labels - stars.labels) / (found.found.errors * found.factors)
    assert 1.4826 * np.median(np.abs(pulls - np.median(pulls, axis=0)), axis=0) == pytest.approx(1, abs=1e-6)
    assert not np.array_equal(found.found.labels, stars.labels)


@pytest.mark.parametrize(("n_terms", "folds", "least"), [(28, 10, 33), (28, 2, 58), (4, 5, 7)])
def test_each_part_of_cross_validation_leaves_more_stars_than_terms(n_terms, folds, least):
    assert least_stars(n_terms, folds) == least
    assert all((least - size) > n_terms for size in np.bincount(np.arange(least) % folds))
    assert not all((least - 1 - size) > n_terms for size in np.bincount(np.arange(least - 1) % folds))


def test_what_noise_doesnt_account_for_is_a_floor_of_the_errors():
    rng = np.random.default_rng(1)
    formal, normal = rng.uniform(0.5, 2, 5000), rng.normal(size=5000)

    assert error_model(1.6 * formal * normal, formal) == (pytest.approx(1.6, abs=0.05), 0)
    assert error_model(np.hypot(3 * formal, 20) * normal, formal) == (3, pytest.approx(20, abs=0.8))
    assert error_model(normal[:4], formal[:4]) == (1, 0)


def test_a_prior_keeps_many_terms_from_following_few_stars():
    """Forty stars and ten terms: without a prior, theirs is a worse model of others."""
    stars, others = Stars(40, noise=0.02), Stars(500, noise=0.001, seed=9, scatter=0)
    terms, pixels = stars.polynomial.terms(stars.scaled), InMemory(stars.flux, stars.ivar)
    prior = find_prior(terms, pixels)

    off = [
        np.std(found.theta @ others.polynomial.terms(others.scaled).T - others.flux.T)
        for found in (train(terms, pixels, prior=prior), train(terms, pixels))
    ]

    assert off[0] < 0.85 * off[1]
    assert np.sqrt(prior[1:]) == pytest.approx([0.02] * 3 + [0.004] * 6, rel=0.35)
    assert find_prior(np.ones((2000, 10)), InMemory(np.ones((2000, 3)))) is None


def test_a_model_comes_back_from_its_file(stars, tmp_path):
    model = stars.model()

    checksum = save_model(model, tmp_path / "models" / "model.npz")
    found = load_model(tmp_path / "models" / "model.npz")

    assert (found.labels, found.units, found.continuum) == (NAMES, UNITS, "as given")
    assert (found.provenance, found.name, found.checksum) == ({"a": 1}, "model.npz", checksum)
    before, after = model.label(stars.flux[:5], stars.ivar[:5]), found.label(stars.flux[:5], stars.ivar[:5])
    assert np.array_equal(before.found.labels, after.found.labels) and np.array_equal(before.errors, after.errors)
    assert save_model(found, tmp_path / "again.npz") == checksum


def test_files_that_are_no_models_are_refused_with_a_sentence(stars, tmp_path):
    path = tmp_path / "model.npz"
    save_model(stars.model(), path)
    content = dict(np.load(path))
    bad = {
        "there is no such file": None,
        "damaged": {},
        "no model of The Cannon: it has no theta": {k: v for k, v in content.items() if k != "theta"},
        "format 9": content | {"format": 9},
        "doesn't fit": content | {"scatter": content["scatter"][1:]},
        "values that no model": content | {"scales": content["scales"] * 0},
        "objects": content | {"theta": np.array([{}], dtype=object)},
    }
    for number, (reason, arrays) in enumerate(bad.items()):
        path = tmp_path / f"{number}.npz"
        if reason == "damaged":
            path.write_bytes(b"PK\x03\x04 and nothing else")
        elif arrays is not None:
            np.savez(path, **arrays, allow_pickle=True)
        if reason == "objects":
            reason = "allow_pickle=False"
        with pytest.raises(CannonError, match=reason):
            load_model(path)
    assert issubclass(CannonError, AstraError)


@pytest.mark.parametrize(("change", "reason"), [("same", "have logg 2"), ("missing", "without some of the labels")])
def test_labels_that_cant_be_learnt_are_refused(stars, change, reason):
    labels = stars.labels.copy()
    labels[:, 1] = 2 if change == "same" else np.nan

    with pytest.raises(CannonError, match=reason):
        polynomial_for(NAMES, labels)


def oracle_powers(terms):
    """Read terms such as ``TEFF^1 * LOGG^1``."""
    names = ["TEFF", "LOGG", "M_H"]
    powers = [[0, 0, 0]]
    for term in terms:
        powers.append([0, 0, 0])
        for part in term.replace(" ", "").replace("PARAM_", "").split("*"):
            name, _, power = part.partition("^")
            powers[-1][names.index(name)] += int(power)
    return powers


@pytest.mark.parametrize(("which", "largest"), [("oracle", 0.0130), ("quadratic", 0.0132)])
def test_real_stars_are_reproduced(oracle, which, largest):
    labels, flux = oracle["labels"].astype(float), oracle["flux"]
    powers = oracle_powers(oracle["terms"]) if which == "oracle" else None
    polynomial = polynomial_for(NAMES, labels, powers=powers)
    terms = polynomial.terms(polynomial.scaled(labels))

    found = train(terms, InMemory(flux))

    assert np.sqrt(np.mean((flux - terms @ found.theta.T) ** 2)) <= largest
    assert np.corrcoef(found.scatter, oracle["scatter"])[0, 1] > 0.98


def test_real_stars_cross_validated(oracle):
    labels = oracle["labels"].astype(float)
    polynomial, pixels = polynomial_for(NAMES, labels), InMemory(oracle["flux"])
    scaled = polynomial.scaled(labels)
    whole = train(polynomial.terms(scaled), pixels)

    found = cross_validate(polynomial, labels, pixels, whole, starts_among(scaled))

    assert (found.spread <= [155, 0.35, 0.145]).all()
    assert ((found.factors > 1.5) & (found.factors < 1.9)).all()
    assert found.found.converged.all()
