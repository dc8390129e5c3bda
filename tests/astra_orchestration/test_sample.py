import json
import warnings
from pathlib import Path

import numpy as np
import peewee
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.stats import kstest

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingPixelsError, SampleError
from astra_models.ingest import ingest_spectra
from astra_models.mwm import BossCombinedSpectrum
from astra_models.source import Source
from astra_orchestration.pipelines.white_dwarfs.family import da_flux
from astra_orchestration.sample import SampleSummary, make_sample
from astra_orchestration.sample.stars import draw_star

STARS = 6
SEED = 1
SPEED_OF_LIGHT = 299_792.458


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return make_sample(tmp_path_factory.mktemp("sample"), stars=STARS, seed=SEED)


@pytest.fixture(scope="module")
def truth(sample: SampleSummary) -> Table:
    return Table.read(sample.truth)


def contents(sample: SampleSummary) -> dict[str, bytes]:
    return {str(Path(path).relative_to(sample.folder)): Path(path).read_bytes() for path in sample.files}


def visit_rows(sample: SampleSummary, line: Table.Row) -> tuple[fits.FITS_rec, fits.FITS_rec]:
    """Give pixels and table of a visit."""
    with fits.open(Path(sample.folder) / str(line["file"]), memmap=False) as hdus:
        return hdus["COADD"].data, hdus["SPALL"].data


# ---- the same survey for the same seed


def test_the_same_seed_gives_the_same_bytes(sample: SampleSummary, tmp_path: Path) -> None:
    again = make_sample(tmp_path / "again", stars=STARS, seed=SEED)

    assert contents(again) == contents(sample)
    assert Path(again.truth).read_bytes() == Path(sample.truth).read_bytes()


def test_another_seed_gives_other_stars(sample: SampleSummary, tmp_path: Path) -> None:
    other = make_sample(tmp_path, stars=2, seed=SEED + 1)

    assert not set(contents(other)) & {name for name in contents(sample) if not name.startswith("broken/")}


def test_a_larger_survey_begins_with_the_smaller_one(sample: SampleSummary, tmp_path: Path) -> None:
    smaller = contents(make_sample(tmp_path, stars=3, seed=SEED))

    assert smaller.items() <= contents(sample).items()


def test_random_numbers_of_a_star_and_of_its_visits_differ() -> None:
    from astra_orchestration.sample.stars import random_numbers

    first = [tuple(random_numbers(1, *key).random(4)) for key in ((5,), (5, 0), (5, 0, 0), (5, 0, 1), (5, 1, 0))]

    assert len(set(first)) == len(first)


# ---- making it once


def test_a_finished_survey_is_left_alone(tmp_path: Path) -> None:
    made = make_sample(tmp_path, stars=1, seed=2)
    times = {path: Path(path).stat().st_mtime_ns for path in made.files}

    found = make_sample(tmp_path, stars=1, seed=2)

    assert (made.was_there, found.was_there) == (False, True)
    assert found.broken == made.broken
    assert (found.visits, found.co_adds, found.size) == (made.visits, made.co_adds, made.size)
    assert {path: Path(path).stat().st_mtime_ns for path in found.files} == times


@pytest.mark.parametrize("harm", ["interrupted", "file removed"])
def test_an_unfinished_survey_is_made_again(tmp_path: Path, harm: str) -> None:
    made = make_sample(tmp_path, stars=1, seed=2)
    before = contents(made)
    manifest = tmp_path / "sample.json"
    if harm == "interrupted":
        manifest.write_text(json.dumps({"format": 1, "stars": 1, "seed": 2, "finished": False}))
        Path(made.files[-1]).write_bytes(b"half")
    else:
        Path(made.files[0]).unlink()

    again = make_sample(tmp_path, stars=1, seed=2)

    assert not again.was_there
    assert contents(again) == before


def test_another_survey_replaces_the_one_in_its_folder(tmp_path: Path) -> None:
    make_sample(tmp_path, stars=2, seed=2)

    replaced = make_sample(tmp_path, stars=1, seed=3)

    assert len(replaced.files) == replaced.visits + 1 + len(replaced.broken)


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "visits").mkdir()
    precious = tmp_path / "visits" / "mine.fits"
    precious.write_text("data")

    with pytest.raises(SampleError, match=r"has files, but no sample\.json that says they are a sample survey"):
        make_sample(tmp_path, stars=1)

    (tmp_path / "sample.json").write_text('{"of": "another program"}')
    with pytest.raises(SampleError, match="name another folder, or empty this one"):
        make_sample(tmp_path, stars=1)
    assert precious.read_text() == "data"
    with pytest.raises(SampleError, match=r"mine\.fits' is a file; name a folder"):
        make_sample(precious, stars=1)


@pytest.mark.parametrize(
    ("stars", "seed", "message"),
    [(0, 1, "a sample of 0 stars can't be made"), (1, -1, "seed -1 is negative"), (2_000_000, 1, "1 to 1000000")],
)
def test_what_can_not_be_asked_for(tmp_path: Path, stars: int, seed: int, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        make_sample(tmp_path, stars=stars, seed=seed)


def test_progress_is_told_star_by_star(tmp_path: Path) -> None:
    seen: list[int] = []

    make_sample(tmp_path, stars=2, progress=seen.append)

    assert seen == [1, 2]


# ---- what is in it


def test_most_stars_are_white_dwarfs_with_two_to_four_visits() -> None:
    stars = [draw_star(1, number) for number in range(200)]

    dwarfs = [star for star in stars if star.kind == "DA"]
    assert len(dwarfs) == 160
    assert {star.kind for star in stars} == {"DA", "M", "K", "F"}
    assert {len(star.visits) for star in dwarfs} == {2, 3, 4}
    assert 500 <= sum(len(star.visits) for star in stars) <= 600
    single = [star.visits[0].v_rad for star in stars if not star.is_binary]
    assert 40 < np.std(single) < 60
    assert 20 <= sum(star.is_binary for star in stars) <= 60
    assert all(len({visit.mjd for visit in star.visits}) == len(star.visits) for star in stars)
    assert all((len({visit.v_rad for visit in star.visits}) > 1) == star.is_binary for star in dwarfs)
    assert len({star.sdss_id for star in stars}) == len({star.catalogid for star in stars}) == 200


def test_files_are_sound_fits(sample: SampleSummary) -> None:
    broken = {file.path for file in sample.broken}
    for path in sample.files:
        if path in broken:
            continue
        with warnings.catch_warnings(), fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
            warnings.simplefilter("error")
            hdus.verify("exception")
            assert not any(keyword.startswith("DATE") for hdu in hdus for keyword in hdu.header)


def test_a_visit_has_the_layout_of_the_survey(sample: SampleSummary, truth: Table) -> None:
    path = Path(sample.folder) / str(truth["file"][0])
    with fits.open(path, memmap=False) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "COADD", "SPALL"]
        assert hdus[1].columns.names == [
            "FLUX",
            "LOGLAM",
            "IVAR",
            "AND_MASK",
            "OR_MASK",
            "WDISP",
            "SKY",
            "MODEL",
            "WRESL",
        ]
        assert hdus[1].columns["LOGLAM"].unit == "log10(Angs)"
        assert hdus[0].header["VERS2D"].startswith("v6")
        assert len(hdus[2].data) == 1
        row = hdus[2].data[0]
    assert path.name == f"spec-{row['FIELD']:06d}-{row['MJD']}-{row['CATALOGID']}.fits"


def test_a_co_add_has_the_layout_of_the_survey(sample: SampleSummary) -> None:
    path = next(path for path in sample.files if "/stars/" in path)
    with fits.open(path, memmap=False) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO"]
        assert [len(hdu.data) for hdu in hdus[1:]] == [1, 0, 0, 0]
        assert len(hdus[1].columns) == 35
        assert hdus[1].data["flux"].shape == (1, 4648)
        assert hdus[0].header["PLX"] == "NaN"
        assert hdus[1].header["CUNIT"] == "Angstrom (Vacuum)"


def test_noise_is_what_the_inverse_variances_say(sample: SampleSummary, truth: Table) -> None:
    pulls = []
    for line in truth:
        pixels, _ = visit_rows(sample, line)
        good = pixels["IVAR"] > 0
        pulls.append((pixels["FLUX"] - pixels["MODEL"])[good] * np.sqrt(pixels["IVAR"][good]))

    together = np.concatenate(pulls)
    assert together.size > 40_000
    assert abs(together.mean()) < 0.02
    assert abs(together.std() - 1) < 0.02
    assert kstest(together, "norm").pvalue > 1e-3


def test_the_truth_is_what_was_put_in(sample: SampleSummary, truth: Table) -> None:
    for line in truth[truth["kind"] == "DA"]:
        pixels, row = visit_rows(sample, line)
        wavelength = 10 ** pixels["LOGLAM"].astype(float)
        beta = line["v_rad"] / SPEED_OF_LIGHT
        expected = da_flux(wavelength / np.sqrt((1 + beta) / (1 - beta)), line["teff"], line["logg"])
        ratio = pixels["MODEL"] / expected
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=2e-4)
        good = pixels["IVAR"] > 0
        snr = np.median(pixels["FLUX"][good] * np.sqrt(pixels["IVAR"][good]))
        assert snr == pytest.approx(line["snr"], rel=1e-4)
        assert row["SN_MEDIAN_ALL"][0] == pytest.approx(line["snr"], rel=1e-4)


def test_lost_pixels_are_masked_and_have_no_weight(sample: SampleSummary, truth: Table) -> None:
    n_hit = 0
    for line in truth:
        pixels, _ = visit_rows(sample, line)
        np.testing.assert_array_equal(pixels["AND_MASK"] != 0, pixels["IVAR"] == 0)
        hit = pixels["AND_MASK"] & (1 << 18) != 0
        n_hit += np.count_nonzero(hit)
        assert np.all(pixels["FLUX"][hit][pixels["AND_MASK"][hit] & (1 << 24) == 0] > pixels["MODEL"][hit].min())
        assert np.all(pixels["OR_MASK"] & pixels["AND_MASK"] == pixels["AND_MASK"])
    assert n_hit > 5 * len(truth)


def test_noise_is_larger_in_the_blue_and_at_sky_lines(sample: SampleSummary, truth: Table) -> None:
    for line in truth[truth["kind"] != "DA"]:
        pixels, _ = visit_rows(sample, line)
        wavelength = 10 ** pixels["LOGLAM"].astype(float)
        good = pixels["IVAR"] > 0
        noise = np.where(good, pixels["IVAR"], np.nan) ** -0.5

        def typical(low: float, high: float, noise: np.ndarray = noise, at: np.ndarray = wavelength) -> float:
            return float(np.nanmedian(noise[(at > low) & (at < high)]))

        assert typical(3600, 3700) > 1.2 * typical(4900, 5100)
        assert typical(5577, 5581) > 1.5 * typical(5520, 5550)


def test_a_co_add_is_at_rest(sample: SampleSummary, truth: Table) -> None:
    hydrogen = {"H-beta": 4862.7, "H-gamma": 4341.7}
    dwarfs = truth[truth["kind"] == "DA"]
    for sdss_id in set(dwarfs["sdss_id"]):
        path = next(path for path in sample.files if path.endswith(f"-{sdss_id}.fits"))
        with fits.open(path, memmap=False) as hdus:
            table = next(hdu.data for hdu in hdus[1:3] if len(hdu.data))
            flux, ivar = table["flux"][0].astype(float), table["ivar"][0]
            visits = dwarfs[dwarfs["sdss_id"] == sdss_id]
            wavelength = 10 ** (3.5523 + 1e-4 * np.arange(4648))
            model = da_flux(wavelength, visits["teff"][0], visits["logg"][0])
            scale = np.median(flux[ivar > 0] / model[ivar > 0])
            for centre in hydrogen.values():
                near = (np.abs(wavelength - centre) < 60) & (ivar > 0)
                chi2 = np.mean((flux - scale * model)[near] ** 2 * ivar[near])
                assert chi2 < 2.5, (sdss_id, centre)
            assert table["snr"][0] > max(visits["snr"])


# ---- broken on purpose, and what becomes of it all


def test_a_survey_becomes_rows(database: peewee.Database, sample: SampleSummary, truth: Table) -> None:
    report = ingest_spectra(sample.files)

    assert Source.select().count() == sample.stars == STARS
    assert BossCombinedSpectrum.select().count() == sample.co_adds == STARS
    ingestible = [file for file in sample.broken if file.ingests]
    assert BossVisitSpectrum.select().count() == sample.visits + len(ingestible)
    assert {path for path, _ in report.refused} == {file.path for file in sample.broken if not file.ingests}
    assert sample.visits == len(truth)
    for line in truth:
        row = BossVisitSpectrum.get(catalogid=int(line["catalogid"]), mjd=int(line["mjd"]))
        assert row.snr == pytest.approx(line["snr"], rel=1e-4)
        assert Source.get_by_id(row.source_pk).sdss_id == line["sdss_id"]
        assert row.spec_file == Path(str(line["file"])).name


def test_broken_files_are_named(sample: SampleSummary) -> None:
    assert [(Path(file.path).name[:9], file.ingests) for file in sample.broken] == [
        ("truncated", False),
        ("truncated", False),
        ("not-fits.", False),
        ("empty.fit", False),
        ("spec-1000", True),
        ("spec-1000", True),
    ]
    assert all(Path(file.path).is_file() and file.what for file in sample.broken)


def test_broken_pixels_are_found_only_when_read(memory_database: peewee.Database, sample: SampleSummary) -> None:
    without_flux, unreadable = (file.path for file in sample.broken if file.ingests)
    ingest_spectra([without_flux, unreadable])

    assert np.all(np.isnan(BossVisitSpectrum.get(path=without_flux).flux))
    with pytest.raises(MissingPixelsError, match="can't read HDU 1"):
        _ = BossVisitSpectrum.get(path=unreadable).flux
