"""APOGEE stars of the sample survey: files, truth, labels, and what becomes of them in the database."""

import json
import warnings
from pathlib import Path

import numpy as np
import peewee
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.stats import kstest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.errors import SampleError
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.source import Source
from astra_orchestration.sample import SampleSummary, make_sample, usual_apogee_stars
from astra_orchestration.sample.apogee.light import has_persistence, observe
from astra_orchestration.sample.apogee.lines import CHIPS, LABELS
from astra_orchestration.sample.apogee.stars import draw_apogee_star

N_STARS, SEED = 12, 1
MISSING, COSMIC_RAY, SKY_LINE = 1, 2, 4096
PERSISTENCE = 512 | 1024 | 2048


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return make_sample(tmp_path_factory.mktemp("sample"), stars=1, seed=SEED, apogee_stars=N_STARS)


@pytest.fixture(scope="module")
def truth(sample: SampleSummary) -> Table:
    assert sample.apogee_truth is not None
    return Table.read(sample.apogee_truth)


def contents(folder: str | Path) -> dict[str, bytes]:
    """Give all files below a folder but the manifest, which says how many stars were asked for."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != "sample.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def ap_stars(sample: SampleSummary) -> list[str]:
    return [path for path in sample.files if "/apogee/apStar/" in path]


def labels_of(sample: SampleSummary) -> str:
    assert sample.labels is not None
    return sample.labels


# ---- beside the other stars


def test_apogee_stars_leave_the_other_files_as_they_are(sample: SampleSummary, tmp_path: Path) -> None:
    without = make_sample(tmp_path, stars=1, seed=SEED, apogee_stars=0)

    others = {name: content for name, content in contents(sample.folder).items() if not name.startswith("apogee/")}
    assert contents(without.folder) == others
    assert (without.apogee_stars, without.apogee_truth, without.labels) == (0, None, None)
    assert not (tmp_path / "apogee").exists()


def test_the_same_seed_gives_the_same_bytes_of_apogee_stars(sample: SampleSummary, tmp_path: Path) -> None:
    again = make_sample(tmp_path, stars=1, seed=SEED, apogee_stars=N_STARS)

    assert contents(again.folder) == contents(sample.folder)


def test_more_apogee_stars_begin_with_the_same_ones(sample: SampleSummary, tmp_path: Path) -> None:
    fewer = make_sample(tmp_path, stars=1, seed=SEED, apogee_stars=3)

    spectra = {name: content for name, content in contents(fewer.folder).items() if name.endswith(".fits")}
    assert spectra.items() <= contents(sample.folder).items()


@pytest.mark.parametrize(("stars", "apogee"), [(1, 0), (19, 0), (20, 6), (200, 60), (5000, 60)])
def test_how_many_there_are_if_nobody_says_it(stars: int, apogee: int) -> None:
    assert usual_apogee_stars(stars) == apogee


def test_a_survey_of_other_apogee_stars_replaces_the_one_in_its_folder(tmp_path: Path) -> None:
    make_sample(tmp_path, stars=1, seed=2, apogee_stars=3)

    fewer = make_sample(tmp_path, stars=1, seed=2, apogee_stars=1)
    found = make_sample(tmp_path, stars=1, seed=2, apogee_stars=1)

    assert (fewer.was_there, found.was_there) == (False, True)
    assert len([path for path in fewer.files if "/apogee/" in path]) == 2
    assert found.labeled == 1


@pytest.mark.parametrize("gone", ["an apStar", "the labels", "the truth"])
def test_a_survey_that_lacks_a_file_of_apogee_stars_is_made_again(tmp_path: Path, gone: str) -> None:
    made = make_sample(tmp_path, stars=1, seed=2, apogee_stars=1)
    before = contents(tmp_path)
    path = {"an apStar": ap_stars(made)[0], "the labels": made.labels, "the truth": made.apogee_truth}[gone]
    Path(str(path)).unlink()

    again = make_sample(tmp_path, stars=1, seed=2, apogee_stars=1)

    assert not again.was_there
    assert contents(tmp_path) == before


def test_a_survey_made_before_there_were_apogee_stars_is_made_again(tmp_path: Path) -> None:
    make_sample(tmp_path, stars=1, seed=2, apogee_stars=0)
    manifest = json.loads((tmp_path / "sample.json").read_text())
    (tmp_path / "sample.json").write_text(json.dumps({k: manifest[k] for k in ("stars", "seed")} | {"format": 2}))

    again = make_sample(tmp_path, stars=1, seed=2, apogee_stars=1)

    assert not again.was_there
    assert len(ap_stars(again)) == 1


def test_apogee_stars_that_can_not_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="a sample of -1 APOGEE stars can't be made; ask for 0 to 1000000"):
        make_sample(tmp_path, stars=1, apogee_stars=-1)


# ---- which stars


def test_giants_and_dwarfs_stand_where_stars_stand() -> None:
    stars = [draw_apogee_star(SEED, number) for number in range(60)]

    assert {star.kind for star in stars} == {"giant", "subgiant", "dwarf"}
    assert min(star.teff for star in stars) < 4000
    assert max(star.teff for star in stars) > 6100
    giants = np.array([(star.teff, star.logg) for star in stars if star.kind == "giant"])
    assert np.corrcoef(giants.T)[0, 1] > 0.8
    assert all(star.logg < 3.4 for star in stars if star.kind == "giant")
    assert all(4.0 <= star.logg <= 4.8 for star in stars if star.kind == "dwarf")
    assert all(30 <= np.sqrt(sum(visit.snr**2 for visit in star.visits)) < 350 for star in stars)
    assert {(star.telescope, star.lsf) for star in stars} == {(t, x) for t in ("apo25m", "lco25m") for x in "bd"}
    assert len({star.sdss_id for star in stars} | {star.obj for star in stars}) == 120
    assert sum(star.is_labeled for star in stars) == 40


# ---- files


def test_an_ap_star_has_the_layout_of_dr19(sample: SampleSummary) -> None:
    for path in ap_stars(sample):
        with warnings.catch_warnings(), fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
            warnings.simplefilter("error")
            hdus.verify("exception")
            n_visits = hdus[0].header["NVISITS"]
            shape = (8575,) if n_visits == 1 else (n_visits + 2, 8575)
            assert [hdus[i].data.shape for i in (1, 2, 3)] == [shape] * 3
            assert [hdus[i].data.dtype.str for i in (1, 2, 3)] == [">f8", ">f8", ">i8"]
            assert [hdus[i].header["BUNIT"].split(" ")[0] for i in (1, 2, 3)] == ["Flux", "Err", "Pixel"]
            assert (hdus[1].header["CRVAL1"], hdus[1].header["CDELT1"]) == (4.179, 6e-6)
            assert len(hdus) == 10
            assert (len(hdus[8].data), len(hdus[9].data)) == (0, n_visits)


def test_specutils_opens_an_ap_star(sample: SampleSummary) -> None:
    specutils = pytest.importorskip("specutils")
    path = next(path for path in ap_stars(sample) if fits.getval(path, "NVISITS") > 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectra = specutils.SpectrumList.read(path, format="SDSS-V apStar")

    assert spectra[0].flux.shape == (8575,)
    assert spectra[0].spectral_axis[0].value == pytest.approx(10**4.179)


def test_noise_is_what_the_errors_say(sample: SampleSummary) -> None:
    pulls = []
    for number in range(N_STARS):
        star = draw_apogee_star(SEED, number)
        seen = observe(SEED, star)
        for exposure in (*seen.visits, seen.by_pixel, seen.by_visit):
            good = (exposure.error < 1e10) & (exposure.mask & PERSISTENCE == 0)
            pulls.append(((exposure.flux - seen.model * seen.continuum) / exposure.error)[good])

    together = np.concatenate([some[::7] for some in pulls])
    assert together.size > 20_000
    assert abs(together.std() - 1) < 0.02
    assert kstest(together, "norm").pvalue > 1e-3


def test_lost_pixels_have_no_flux_a_huge_error_and_a_bit(sample: SampleSummary) -> None:
    for path in ap_stars(sample):
        with fits.open(path, memmap=False) as hdus:
            flux, error, mask = (np.atleast_2d(hdus[i].data) for i in (1, 2, 3))
        lost = mask & MISSING != 0
        np.testing.assert_array_equal(flux[lost], 0)
        np.testing.assert_array_equal(error[lost], 1e10)
        assert np.all(error[~lost & (mask & COSMIC_RAY == 0)] < 1e10)
        assert np.all(np.isfinite(flux))
        assert np.any(mask & SKY_LINE)
        for first, n_pixels in CHIPS:
            # A cosmic ray in the only visit may leave nothing of a pixel; the edges of the chips are inside, always.
            assert np.count_nonzero(lost[0, first : first + n_pixels]) < 20
        assert lost[0, 3500] and lost[0, 6150]


def test_noise_is_larger_at_sky_lines_which_are_at_rest_for_the_observer(sample: SampleSummary) -> None:
    fast = max((draw_apogee_star(SEED, number) for number in range(40)), key=lambda star: abs(star.v_rad))
    slow = min((draw_apogee_star(SEED, number) for number in range(40)), key=lambda star: abs(star.v_rad))
    first, second = (observe(SEED, star).visits[0] for star in (fast, slow))

    for exposure in (first, second):
        at_line = exposure.mask & SKY_LINE != 0
        good = exposure.error < 1e10
        assert np.median(exposure.error[good & at_line]) > 2.5 * np.median(exposure.error[good & ~at_line])
    shift = round(1e6 * np.log10(1 + fast.visits[0].v_rad / 299_792.458) / 6)
    moved = np.flatnonzero(first.mask & SKY_LINE) + shift
    still = np.flatnonzero(second.mask & SKY_LINE) + round(1e6 * np.log10(1 + slow.visits[0].v_rad / 299_792.458) / 6)
    assert abs(shift) > 10
    assert len(np.intersect1d(moved, still)) > 0.9 * len(still) * 0.9


def test_some_stars_have_persistence_in_the_blue_with_errors_that_cover_it() -> None:
    star = next(star for star in (draw_apogee_star(SEED, n) for n in range(10)) if has_persistence(star))
    seen = observe(SEED, star)

    hit = seen.by_pixel.mask & PERSISTENCE != 0
    first, _ = CHIPS[0]
    assert set(np.flatnonzero(hit)) == set(range(first, first + 1000))
    excess = (seen.by_pixel.flux / (seen.model * seen.continuum) - 1)[hit & (seen.by_pixel.error < 1e10)]
    assert np.mean(excess[:300]) > 0.03
    assert np.percentile(np.abs(excess) * (seen.model * seen.continuum / seen.by_pixel.error)[hit][0], 50) < 3


def test_the_continuum_of_each_chip_bends_by_15_per_cent() -> None:
    for number in range(6):
        star = draw_apogee_star(SEED, number)
        continuum = observe(SEED, star).continuum
        pixels = np.arange(8575)
        slope = 10 ** (-(3.2 + 0.4 * (star.teff - 5000) / 1000) * (6e-6 * pixels - 0.026))
        for first, n_pixels in CHIPS:
            some = slice(first, first + n_pixels)
            ratio = continuum[some] / slope[some]
            assert np.ptp(ratio) / (ratio.max() + ratio.min()) == pytest.approx(0.075, abs=0.02)


def test_an_mwm_star_has_the_co_add_of_the_ap_star(sample: SampleSummary) -> None:
    for number in range(4):
        star = draw_apogee_star(SEED, number)
        path = next(path for path in sample.files if path.endswith(f"mwmStar-0.8.1-{star.sdss_id}.fits"))
        with fits.open(path, memmap=False) as hdus:
            filled = [hdu.name for hdu in hdus[1:] if len(hdu.data)]
            assert filled == [{"apo25m": "APOGEE/APO", "lco25m": "APOGEE/LCO"}[star.telescope]]
            row = hdus[filled[0]].data[0]
            assert len(hdus[filled[0]].columns) == 45
            assert row["obj"] == star.obj
            flux, ivar = row["flux"].astype(float), row["ivar"].astype(float)
        with fits.open(next(path for path in ap_stars(sample) if star.obj in path), memmap=False) as hdus:
            co_add, error = (np.atleast_2d(hdus[i].data)[0] for i in (1, 2))
        np.testing.assert_allclose(flux, co_add, rtol=1e-6)
        np.testing.assert_allclose(ivar, np.where(error < 1e10, error, np.inf) ** -2, rtol=1e-6)


# ---- truth and labels


def test_the_truth_has_units_and_what_was_put_in(truth: Table) -> None:
    assert len(truth) == N_STARS
    assert {name: str(truth[name].unit) for name in ("teff", "logg", "m_h", "fe_h", "v_rad", "v_micro")} == {
        "teff": "K",
        "logg": "dex(cm / s2)",
        "m_h": "dex",
        "fe_h": "dex",
        "v_rad": "km / s",
        "v_micro": "km / s",
    }
    for number, line in enumerate(truth):
        star = draw_apogee_star(SEED, number)
        assert tuple(line[name] for name in LABELS) == star.labels
        assert line["mg_h"] == pytest.approx(star.m_h + star.alpha_m)
        assert line["n_h"] == pytest.approx(star.m_h + star.n_m)


def test_apogee_stars_become_rows_and_their_labels_results(
    database: peewee.Database, sample: SampleSummary, truth: Table
) -> None:
    report = ingest_spectra([path for path in sample.files if "/apogee/" in path])
    labels = ingest_result_file(labels_of(sample))

    assert report.refused == []
    assert Source.select().count() == ApogeeCombinedSpectrum.select().count() == N_STARS
    assert ApogeeVisitSpectrumInApStar.select().count() == sum(truth["n_visits"])
    assert (labels.tables["aspcap"]["inserted"], labels.rejected) == (sample.labeled, 0)
    # It says of the spectra what their files say, so that no result of them becomes outdated.
    assert not labels.tables[ApogeeCoaddedSpectrumInApStar._meta.table_name]["updated"]
    for line in truth:
        row = ApogeeCoaddedSpectrumInApStar.get(obj=str(line["obj"]))
        assert Source.get_by_id(row.source_pk).sdss_id == line["sdss_id"]
        assert (row.telescope, row.n_visits) == (line["telescope"], line["n_visits"])
        assert row.snr == pytest.approx(line["snr"], rel=1e-4)
        assert row.mean_fiber == pytest.approx(line["mean_fiber"], rel=1e-4)
        results = list(ASPCAP.select().where(ASPCAP.spectrum_pk == row.spectrum_pk))
        assert len(results) == line["labeled"]
        for result in results:
            found = [result.teff, result.logg, result.m_h_atm, result.alpha_m_atm, result.c_m_atm, result.n_m_atm]
            np.testing.assert_allclose(found, [line[name] for name in LABELS], atol=1e-3)
            assert result.e_teff > 0
            assert result.mg_h == pytest.approx(line["mg_h"], abs=1e-3)
            assert result.ce_h is None
            assert result.result_flags == 0


def test_pixels_of_apogee_stars_are_read(memory_database: peewee.Database, sample: SampleSummary) -> None:
    ingest_spectra([path for path in sample.files if "/apogee/" in path])

    row = ApogeeCoaddedSpectrumInApStar.select().where(ApogeeCoaddedSpectrumInApStar.n_visits > 1).first()
    assert np.count_nonzero(row.ivar) > 7000
    assert np.median((row.flux * row.ivar**0.5)[row.ivar > 0]) == pytest.approx(row.snr, rel=0.02)
    visit = ApogeeVisitSpectrumInApStar.get(obj=row.obj)
    assert 0 < np.median((visit.flux * visit.ivar**0.5)[visit.ivar > 0]) < row.snr
    combined = ApogeeCombinedSpectrum.get(obj=row.obj)
    np.testing.assert_allclose(combined.flux, row.flux, rtol=1e-5)
