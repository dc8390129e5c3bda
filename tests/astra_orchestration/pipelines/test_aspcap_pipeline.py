"""ASPCAP from spectra to rows, with a program in FERRE's place that really fits."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peewee
import pytest
from astropy.table import Table

from astra_models.analysis.stream import analyse, write
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.errors import AstraError, NotSetUpError
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.ingest import ingest_spectra
from astra_models.pipeline_run import PipelineRun
from astra_models.quality import measure, thresholds_for
from astra_models.quality.drawing import new_figure
from astra_models.quality.pictures import draw_pictures
from astra_models.rejected import RejectedResult
from astra_orchestration.pipelines.aspcap import aspcap, ferre_coarse, ferre_stellar_parameters
from astra_orchestration.pipelines.aspcap.pictures import PICTURES
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.apogee.configuration import write_configuration
from astra_orchestration.sample.apogee.grids import make_grids
from tests.ferre.installing import install_fake

pytestmark = pytest.mark.long_on_each

PICTURED = ("task_pk", "rchi2", "result_flags", "teff", "raw_teff", "logg", "raw_logg")
PICTURED += ("m_h_atm", "raw_m_h_atm", "alpha_m_atm", "raw_alpha_m_atm")
STAGES = (ferre_coarse, ferre_stellar_parameters, aspcap)
N_SPECIES = 5


class Survey(NamedTuple):
    """Spectra with known truth, and small grids of the same model."""

    spectra: list[Path]
    grids: Path
    truth: dict[str, Any]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    folder = tmp_path_factory.mktemp("survey")
    make_sample(folder / "sample", stars=1, apogee_stars=60)
    make_grids(folder / "grids")
    truth = {str(row["obj"]): row for row in Table.read(folder / "sample" / "apogee" / "truth.ecsv")}
    files = (folder / "sample" / "apogee" / "apStar").glob("*.fits")

    def of_one_grid(path: Path) -> tuple[str, ...]:
        star = truth[path.stem.split("-", 3)[-1]]
        return str(star["telescope"]), str(star["lsf"]), str(star["kind"]), path.name

    return Survey(sorted(files, key=of_one_grid), folder / "grids", truth)


class Desk(NamedTuple):
    """A configuration, and where FERRE works."""

    configuration: Path
    folder: Path

    def run(self, *stages: Any, **parameters: Any) -> None:
        for stage in stages or STAGES:
            write(analyse(stage, parameters={"configuration": self.configuration, "folder": self.folder} | parameters))


@pytest.fixture
def desk(survey: Survey, tmp_path: Path) -> Iterator[Any]:
    """Give a function that installs FERRE, and configures it; what it misbehaves by is named."""
    written: list[Path] = []

    def install(limits: dict[str, Any] | None = None, **misbehaviour: object) -> Desk:
        ferre = install_fake(tmp_path / f"bin{len(written)}", **misbehaviour)
        path = write_configuration(survey.grids, str(ferre), name=f"{tmp_path.name}-{len(written)}.yml")
        if limits:
            path.write_text(path.read_text() + "limits:\n" + "".join(f"  {k}: {v}\n" for k, v in limits.items()))
        written.append(path)
        return Desk(path, tmp_path / "work")

    yield install
    for path in written:
        path.unlink()


def ingest(survey: Survey, number: int = 60) -> list[ApogeeCoaddedSpectrumInApStar]:
    ingest_spectra([str(path) for path in survey.spectra[:number]])
    return list(ApogeeCoaddedSpectrumInApStar.select().order_by(ApogeeCoaddedSpectrumInApStar.spectrum_pk))


def pulls(survey: Survey, spectra: list[ApogeeCoaddedSpectrumInApStar], name: str, known: str) -> np.ndarray:
    rows = {row.spectrum_pk: row for row in ASPCAP.select()}
    return np.array(
        [
            (getattr(rows[s.spectrum_pk], f"raw_{name}") - survey.truth[s.obj][known])
            / getattr(rows[s.spectrum_pk], f"raw_e_{name}")
            for s in spectra
        ]
    )


@pytest.mark.sqlite_only(reason="the numbers come from the fit; other tests store its rows in both")
def test_truth_comes_back_from_end_to_end(database: peewee.Database, survey: Survey, desk: Any) -> None:
    spectra = ingest(survey)
    ours = desk()
    ours.run()
    assert RejectedResult.select().count() == 0
    names = {"m_h_atm": "m_h", "alpha_m_atm": "alpha_m", "c_m_atm": "c_m", "n_m_atm": "n_m"}
    for name in ("teff", "logg", *names, "fe_h", "al_h", "mg_h", "c_h", "n_h"):
        found = pulls(survey, spectra, name, names.get(name, name))
        assert abs(np.mean(found)) < 0.4, name
        assert 0.7 < np.std(found) < 1.3, name  # of 60 stars: sigmas of 1 come out as 0.82 to 1.18
    coarse = {row.task_pk: row.spectrum_pk for row in FerreCoarse.select()}
    parameters = {row.task_pk: row for row in FerreStellarParameters.select()}
    assert set(coarse.values()) == {row.spectrum_pk for row in parameters.values()} == {s.spectrum_pk for s in spectra}
    assert all(coarse[row.__data__["upstream_pk"]] == row.spectrum_pk for row in parameters.values())
    abundances = list(FerreChemicalAbundances.select())
    assert len(abundances) == 60 * N_SPECIES
    assert all(parameters[row.__data__["upstream_pk"]].spectrum_pk == row.spectrum_pk for row in abundances)
    # The best model, and what it is multiplied by, are those of the spectrum.
    scatter = [_residuals(spectrum) for spectrum in spectra[:10]]
    assert 0.8 < np.median(scatter) < 1.2 and max(scatter) < 1.6
    _see_pictures({"configuration": ours.configuration})
    result = ASPCAP.get(ASPCAP.spectrum_pk == spectra[0].spectrum_pk)
    assert np.isfinite(result.model_flux_al_h).sum() == np.isfinite(result.model_flux).sum() == 314
    assert result.teff == pytest.approx(result.raw_teff, abs=1000) and result.teff != result.raw_teff
    assert (result.logg, result.fe_h, result.calibration) == (None, None, "dr19-irfm")
    ours.run()
    assert PipelineRun.select().where(PipelineRun.answered > 0).count() == len(STAGES)


def _see_pictures(parameters: dict[str, Any]) -> None:
    thresholds = thresholds_for("aspcap", {})
    numbers = measure(aspcap, thresholds, parameters)
    drawn = {picture.name: picture for picture in draw_pictures(aspcap, numbers, thresholds)}
    names = ("kiel diagram by metallicity", "alpha against metallicity", "worst fits")
    assert not [picture for picture in drawn.values() if picture.problem]
    assert all(drawn[name].png.startswith(b"\x89PNG") for name in names)
    if folder := os.environ.get("ASTRA_TEST_PICTURES"):
        for name in names:
            Path(folder, f"{name}.png").write_bytes(drawn[name].png)
    # Raw values stand in for calibrated ones that aren't there; the worst fits have a model in each chip.
    rows = {name: np.array([getattr(row, name) for row in ASPCAP.select()], dtype=float) for name in PICTURED}
    for draw in PICTURES:
        figure = new_figure()
        draw(figure, rows | {"task_pk": rows["task_pk"].astype(int)})
        if draw.__name__ == "worst_fits":
            lines = [axes.get_lines() for axes in figure.axes]
            assert [len(some) for some in lines] == [2] * 9
            assert all(np.isfinite(line.get_ydata()).mean() > 0.9 for some in lines for line in some)
            assert all(len(line.get_ydata()) > 50 for some in lines for line in some)
        else:
            [coloured] = [points for points in figure.axes[0].collections if points.get_array() is not None]
            assert len(coloured.get_offsets()) > 40
            assert ("raw_logg" in figure.axes[0].get_ylabel()) == ("kiel" in draw.__name__)


def _residuals(spectrum: ApogeeCoaddedSpectrumInApStar) -> float:
    result = ASPCAP.get(ASPCAP.spectrum_pk == spectrum.spectrum_pk)
    residual = (spectrum.flux - result.model_flux * result.continuum) * np.sqrt(spectrum.ivar)
    return float(np.nanstd(residual[spectrum.ivar > 0]))


@pytest.mark.sqlite_only(reason="what FERRE is like does not depend on the database")
@pytest.mark.parametrize(
    "misbehaviour", [{"version": "4.8.8"}, {"names": 1}, {"order": "apart"}, {"version": "4.8.8", "fixed": 1}]
)
def test_versions_and_formats_give_the_same(
    database: peewee.Database, survey: Survey, desk: Any, misbehaviour: dict[str, Any]
) -> None:
    spectra = ingest(survey, 6)
    threads = {"threads": 2} if "order" in misbehaviour else None  # one thread keeps the order
    desk(threads, **misbehaviour).run()
    found = {row.spectrum_pk: row for row in ASPCAP.select()}
    assert len(found) == 6
    assert np.abs(pulls(survey, spectra, "teff", "teff")).max() < 4
    assert max(map(_residuals, spectra)) < 1.6


def test_what_hangs_or_kills_ferre_costs_itself_alone(database: peewee.Database, survey: Survey, desk: Any) -> None:
    spectra = ingest(survey, 8)
    hangs, dies = (f"_{spectra[place].spectrum_pk}_" for place in (2, 5))
    desk({"seconds_per_spectrum": 3, "seconds_per_abundance": 3}, hang=hangs, die=dies).run()
    coarse = {row.spectrum_pk: row for row in FerreCoarse.select()}
    assert [coarse[s.spectrum_pk].flag_ferre_fail for s in spectra] == [place in (2, 5) for place in range(8)]
    assert coarse[spectra[2].spectrum_pk].flag_caused_timeout and not coarse[spectra[5].spectrum_pk].flag_caused_timeout
    results = {row.spectrum_pk: row for row in ASPCAP.select()}
    assert [results[s.spectrum_pk].raw_teff is None for s in spectra] == [place in (2, 5) for place in range(8)]
    assert all(results[spectra[place].spectrum_pk].flag_no_good_coarse_result for place in (2, 5))
    assert {row.spectrum_pk for row in ASPCAP.select().where(ASPCAP.flag_bad)} == {
        spectra[place].spectrum_pk for place in (2, 5)
    }


@pytest.mark.sqlite_only(reason="what becomes of a spectrum does not depend on the database")
def test_every_spectrum_has_a_row_that_says_why_it_has_no_fit(
    database: peewee.Database, survey: Survey, desk: Any, tmp_path: Path
) -> None:
    spectra = ingest(survey, 5)
    damaged = tmp_path / "damaged.fits"
    damaged.write_bytes(Path(survey.spectra[0]).read_bytes()[:20_000])
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    changes = {keys[0]: {"path": str(damaged)}, keys[1]: {"mean_fiber": None}, keys[2]: {"telescope": "elsewhere"}}
    for key, columns in changes.items():
        update = ApogeeCoaddedSpectrumInApStar.update(**columns)
        update.where(ApogeeCoaddedSpectrumInApStar.spectrum_pk == key).execute()
    desk().run()
    coarse = {row.spectrum_pk: row for row in FerreCoarse.select()}
    assert set(coarse) == set(keys[1:])
    assert [coarse[key].flag_no_suitable_initial_guess for key in keys[1:]] == [True, True, False, False]
    [listed] = RejectedResult.select()
    assert (listed.spectrum_pk, listed.model, listed.reason) == (keys[0], "FerreCoarse", "exception")
    assert {row.spectrum_pk for row in ASPCAP.select().where(ASPCAP.raw_teff.is_null(False))} == set(keys[3:])
    assert {row.spectrum_pk for row in ASPCAP.select()} == set(keys[1:])


@pytest.mark.sqlite_only(reason="pixels do not depend on the database")
def test_a_spectrum_with_too_many_bad_pixels_is_left_out_and_flagged(
    database: peewee.Database, survey: Survey, desk: Any
) -> None:
    ingest(survey, 2)
    strict = desk()
    strict.configuration.write_text(strict.configuration.read_text() + "pixels:\n  most_bad: 1e-9\n  bad_bits: 65535\n")
    strict.run(ferre_coarse)
    assert all(row.flag_too_many_bad_pixels and row.teff is None for row in FerreCoarse.select())


@pytest.mark.sqlite_only(reason="what a revision is made of does not depend on the database")
def test_the_same_values_in_another_folder_make_nothing_due(
    database: peewee.Database, survey: Survey, desk: Any
) -> None:
    ingest(survey, 4)
    ours = desk()
    ours.run()
    again = {"configuration": ours.configuration, "folder": ours.folder, "at_once": 2}
    for stage, following in itertools.pairwise(STAGES):
        stream = analyse(stage, rerun="all", parameters=again)
        write(stream)
        assert (stream.written.unchanged, stream.written.updated) == (4, 0)
        assert analyse(following, parameters=again).due == 0


@pytest.mark.sqlite_only(reason="what is on disk does not depend on the database")
@pytest.mark.parametrize("tidy", [True, False])
def test_what_no_reader_needs_is_removed_unless_something_failed(
    database: peewee.Database, survey: Survey, desk: Any, tidy: bool
) -> None:
    spectra = ingest(survey, 3)
    desk().run(tidy=tidy)
    [pwd] = {row.pwd for row in ASPCAP.select()}
    assert bool(list(Path(pwd).rglob("flux.input"))) is not tidy
    assert _residuals(spectra[0]) < 1.6
    desk(fail=f"_{spectra[0].spectrum_pk}_").run(aspcap, tidy=tidy)
    [pwd] = {row.pwd for row in ASPCAP.select()}
    assert list(Path(pwd).rglob("flux.input"))


@pytest.mark.sqlite_only(reason="what is on disk does not depend on the database")
def test_a_folder_that_somebody_has_removed_is_told(database: peewee.Database, survey: Survey, desk: Any) -> None:
    ingest(survey, 2)
    ours = desk()
    ours.run(ferre_coarse)
    shutil.rmtree(ours.folder)
    ours.run(ferre_stellar_parameters)
    assert [row.message.endswith("run ferre_coarse again for it (rerun: all)") for row in RejectedResult.select()] == [
        True
    ] * 2
    parameters = {"configuration": ours.configuration, "folder": ours.folder}
    write(analyse(ferre_coarse, rerun="all", parameters=parameters))
    write(analyse(ferre_stellar_parameters, rerun="failed", parameters=parameters))
    shutil.rmtree(ours.folder)
    ours.run(aspcap)
    rows = list(ASPCAP.select())
    assert [row.raw_teff is None for row in rows] == [False, False]
    missing = FerreCoarse(flag_missing_model_flux=True).ferre_flags
    assert all(row.result_flags & missing and row.raw_fe_h is None for row in rows)


@pytest.mark.sqlite_only(reason="what is on disk does not depend on the database")
def test_a_killed_run_goes_on_from_what_is_on_disk(
    database: peewee.SqliteDatabase, survey: Survey, desk: Any, tmp_path: Path
) -> None:
    ingest(survey, 12)
    slow = desk(sleep=0.4)
    environment = os.environ | {"ASTRA_DATABASE_PATH": str(database.database)}
    command = [sys.executable, "-m", "astra_orchestration.cli", "run", "ferre_coarse"]
    command += ["--configuration", str(slow.configuration), "--folder", str(slow.folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finished() -> int:
        return sum(path.read_bytes().count(b"\n") for path in slow.folder.rglob("parameter.output"))

    deadline = time.monotonic() + 60
    while finished() < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = finished()
    assert 3 <= done < 12 and FerreCoarse.select().count() == 0
    calls = tmp_path / "calls"
    desk(calls=calls, sleep=0.01).run(ferre_coarse)
    assert FerreCoarse.select().count() == 12
    _, kept = sorted((slow.folder / "coarse").iterdir(), key=lambda path: path.stat().st_ctime)
    names = [line.split()[0] for path in kept.rglob("parameter.output") for line in path.read_text().splitlines()]
    assert len(names) == len(set(names))
    asked = sum(path.read_text().count("next object #") for path in kept.rglob("*.log"))
    assert asked <= len(names) + 1  # the one in hand was begun twice
    assert not list(slow.folder.rglob("unfinished.json"))


@pytest.mark.sqlite_only(reason="nothing is stored")
def test_what_is_missing_or_misspelt_is_one_sentence_before_anything_starts(
    database: peewee.Database, survey: Survey, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASTRA_ASPCAP", raising=False)
    with pytest.raises(NotSetUpError, match="ASPCAP needs a configuration, which names FERRE"):
        aspcap.recipe()
    good = desk()
    text = good.configuration.read_text()
    for old, new, message in (
        ("ferre:", "fere:", "fere: Extra inputs are not permitted"),
        ("header: GKg_b/GKg_b.hdr", "header: GKg_b/none.hdr", "there is no grid .*none.hdr"),
        ("fit: METALS", "fit: METAL", "names 'METAL', which is no dimension of FERRE's grids; did you mean METALS"),
        ("masks/Fe.mask", "masks/Xx.mask", "isn't there"),
        (
            re.search("ferre: .*", text)[0],
            "ferre: no-such-program",
            "there is no program 'no-such-program' on the path",
        ),  # type: ignore[index]
        ("- 146", "- many", "grids: GKg_b: fibers"),
    ):
        good.configuration.write_text(text.replace(old, new, 1))
        with pytest.raises(AstraError, match=message):
            aspcap.recipe(configuration=good.configuration)
    good.configuration.write_text(text)
    named = {Path(path).name for path in aspcap.recipe(configuration=good.configuration).files}
    assert {"ferre.x", "GKg_b.hdr", "GKg_b.unf", "Fe.mask", good.configuration.name} <= named


@pytest.mark.sqlite_only(reason="a mask of another length does not depend on the database")
def test_a_mask_of_another_length_is_told_before_anything_starts(survey: Survey, desk: Any) -> None:
    good = desk()
    good.configuration.write_text(good.configuration.read_text().replace("masks/Fe.mask", "masks_7514/Fe.mask"))
    with pytest.raises(AstraError, match=r"Fe\.mask has 7514 weights, and the grid .* 314 pixels"):
        aspcap.recipe(configuration=good.configuration)
