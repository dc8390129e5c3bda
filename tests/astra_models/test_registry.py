"""The registry: models by name, where their rows come from, and pipelines of other packages."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from astra_models import outputs
from astra_models.analysis.task import Task
from astra_models.aspcap import ASPCAP
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import (
    AstraError,
    PackageClashError,
    PackageImportError,
    SelectionError,
    UnknownPackageError,
    UnknownPipelineError,
    did_you_mean,
)
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.rocket import Rocket
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.the_cannon import TheCannon
from astra_models.the_payne import ThePayne
from tests.other_packages import MODELS, forget_packages, run_python, write_metadata, write_package

OURS = (
    *("aspcap", "corv", "ferre_coarse", "ferre_stellar_parameters", "mdwarftype", "mwm_best", "rocket", "snow_white"),
    *("the_cannon", "the_payne"),
)

Install = Callable[..., Path]

OTHER_TABLE = 'class Meta:\n        table_name = "{}"'


# ---- models


@pytest.mark.parametrize("name", ["BossVisitSpectrum", "boss_visit_spectrum", "BOSSVISITSPECTRUM", "bossvisitspectrum"])
def test_a_model_is_found_by_its_name_or_its_tables_in_any_case(name: str) -> None:
    assert outputs.model_named(name) is BossVisitSpectrum


def test_models_of_results_are_told_from_others() -> None:
    assert outputs.output_model_named("aspcap") is ASPCAP
    with pytest.raises(SelectionError, match="there is no model of results 'source'"):
        outputs.output_model_named("source")
    assert Source not in outputs.output_models()
    assert {Source, Spectrum, Corv, MWMSpectrumProductStatus} <= set(outputs.all_models())


def test_an_unknown_model_is_told_with_those_that_are_close() -> None:
    with pytest.raises(SelectionError, match=r"there is no model 'korv'; did you mean Corv\?"):
        outputs.model_named("korv")


def test_what_rows_are_made_from() -> None:
    assert outputs.made_from(BossVisitSpectrum) == ()
    assert outputs.made_from(MWMSpectrumProductStatus) == (Source,)
    assert outputs.made_from(Rocket) == (BossVisitSpectrum,)  # as its pipeline says


def test_which_files_carry_results() -> None:
    assert outputs.product_names(Corv) == ("astraAllStarCorv", "astraAllVisitCorv")
    assert outputs.product_names(MWMBest) == ("astraMWMLite",)
    assert outputs.product_names(Source) == outputs.product_names(MWMSpectrumProductStatus) == ()
    assert Corv in outputs.published_models()
    assert Rocket not in outputs.published_models()


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("ROCKT", ["rocket", "corv"], "did you mean rocket?"),
        ("teff", ["Teff", "teff_2"], "did you mean Teff or teff_2?"),
        ("zzz", ["b", "a"], "known are b, a"),
        ("zzz", [], "known are none"),
        ("zzz", map(str, range(20)), "known are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."),
    ],
)
def test_did_you_mean(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known) == hint


def test_did_you_mean_says_something_else_if_nothing_is_close() -> None:
    assert did_you_mean("zzz", ["rocket"], "see the page") == "see the page"


# ---- pipelines


def test_our_pipelines_are_entry_points() -> None:
    assert outputs.pipeline_names() == [*OURS]
    made = {task.name: task.output_models for task in outputs.pipelines()}
    assert made == {
        "aspcap": (ASPCAP, FerreChemicalAbundances),
        "corv": (Corv,),
        "ferre_coarse": (FerreCoarse,),
        "ferre_stellar_parameters": (FerreStellarParameters,),
        "mdwarftype": (MDwarfType,),
        "mwm_best": (MWMBest,),
        "rocket": (Rocket,),
        "snow_white": (SnowWhite,),
        "the_cannon": (TheCannon,),
        "the_payne": (ThePayne,),
    }


def test_an_unknown_pipeline_is_told_with_those_that_are_close() -> None:
    with pytest.raises(
        UnknownPipelineError,
        match=rf"no pipeline 'rokket' \(known: {', '.join(OURS)}\); did you mean rocket",
    ):
        outputs.load_pipeline("rokket")


def test_a_pipeline_of_another_package_joins_ours(install: Install) -> None:
    install()
    assert outputs.pipeline_names() == sorted([*OURS, "brightest"])
    task = outputs.load_pipeline("brightest")
    assert isinstance(task, Task)
    assert [task.name for task in outputs.pipelines()] == sorted([*OURS, "brightest"])
    [model] = task.output_models
    assert outputs.model_named("brightest_pixel") is outputs.output_model_named("brightestpixel") is model
    assert model in outputs.all_models()
    assert outputs.made_from(model) == (BossVisitSpectrum,)
    assert outputs.product_names(model) == ("astraAllStarBrightestPixel", "astraAllVisitBrightestPixel")
    assert model not in outputs.published_models()


def test_names_are_read_from_metadata_and_nothing_is_imported(tmp_path: Path) -> None:
    write_package(tmp_path, files={"__init__.py": "raise RuntimeError('imported')"})
    program = """
        import sys
        import astra_models, astra_models.task, astra_models.ingest, astra_models.products, astra_models.status
        from astra_models import outputs
        print(outputs.pipeline_names())
        print(outputs.model_named("corv").__name__)
        outputs.load_pipeline("corv")
        print([name for name in sys.modules if name.startswith("brightest")])
    """
    run = run_python(program, tmp_path, ASTRA_DATABASE_PATH=":memory:")
    assert run.stdout.splitlines() == [str(sorted([*OURS, "brightest"])), "Corv", "[]"], run.stderr
    assert "imported" not in run.stderr


def test_a_pipeline_is_called_what_its_entry_point_says(install: Install, tmp_path: Path) -> None:
    install()
    write_metadata(tmp_path / "site", "brightest", {"peaks": "brightest.pipeline:brightest"})
    forget_packages()
    assert outputs.load_pipeline("peaks").name == "peaks"
    assert outputs.pipeline_names() == sorted([*OURS, "peaks"])


# ---- packages that can't be used


@pytest.mark.parametrize("reason", ["ImportError('no torch')", "SystemExit(3)", "GeneratorExit()", "OSError()"])
def test_a_package_that_cannot_be_imported_stops_nothing_else(
    install: Install, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    install("broken", pipeline="broken", files={"models.py": f"raise {reason}"})
    install()
    assert [task.name for task in outputs.pipelines()] == sorted([*OURS, "brightest"])
    assert {package.name for package in outputs.packages()} == {"astra_models", "brightest"}
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None and record.exc_info[0].__name__ == reason.partition("(")[0]  # type: ignore[union-attr]
    assert "the pipeline 'broken' of the package broken (broken.pipeline:broken) can't be used" in record.message
    with pytest.raises(PackageImportError, match=r"'broken' of the package broken \(.*\) can't be used: " + reason[:5]):
        outputs.load_pipeline("broken")
    with pytest.raises(PackageImportError):
        outputs.package_named("broken")
    assert len(caplog.records) == 1  # and not again


def test_ctrl_c_during_an_import_is_not_the_packages_fault(install: Install) -> None:
    install(files={"models.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        outputs.load_pipeline("brightest")


def test_an_entry_point_that_is_no_pipeline_is_refused(install: Install) -> None:
    install(files={"pipeline.py": "def brightest(spectra):\n    yield None\n"})
    with pytest.raises(PackageImportError, match=r"brightest\.pipeline:brightest is no pipeline but a function"):
        outputs.load_pipeline("brightest")


def test_a_name_that_no_asset_can_have_is_refused(install: Install) -> None:
    install()
    site = install("other", pipeline="other", model="OtherPixel").parent
    write_metadata(site, "other", {"peaks-2": "other.pipeline:other"})
    forget_packages()
    with pytest.raises(PackageImportError, match="'peaks-2' is no name for a pipeline: use letters"):
        outputs.load_pipeline("peaks-2")
    assert [task.name for task in outputs.pipelines()] == sorted([*OURS, "brightest"])


def test_tables_of_a_package_that_failed_halfway_are_not_made(install: Install) -> None:
    install(files={"pipeline.py": "from brightest.models import BrightestPixel\nraise ImportError('no torch')"})
    assert "BrightestPixel" not in {model.__name__ for model in outputs.all_models()}
    with pytest.raises(SelectionError):
        outputs.model_named("BrightestPixel")


# ---- two packages with one name


def both_told(first: str, second: str) -> str:
    return rf"(?s)(?=.*\b{first}\b)(?=.*\b{second}\b)"


def test_two_packages_with_one_pipeline_name_are_refused_by_that_name(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("first", pipeline="peaks", model="FirstPeak")
    install("second", pipeline="peaks", model="SecondPeak")
    install()
    assert outputs.pipeline_names() == sorted([*OURS, "brightest"])
    with pytest.raises(PackageClashError, match=both_told("first", "second") + ".*each have a pipeline 'peaks'"):
        outputs.load_pipeline("peaks")
    assert [task.name for task in outputs.pipelines()] == sorted([*OURS, "brightest"])
    assert any("each have a pipeline 'peaks'" in record.message for record in caplog.records)


def test_one_package_found_twice_is_no_clash(install: Install, tmp_path: Path) -> None:
    install()
    write_metadata(tmp_path / "site", "brightest_again", {"brightest": "brightest.pipeline:brightest"})
    forget_packages()
    assert outputs.load_pipeline("brightest").name == "brightest"


def test_a_pipeline_named_as_one_of_ours_is_refused(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("other", pipeline="corv", model="OtherCorv")
    assert outputs.load_pipeline("corv").output_models == (Corv,)
    assert [record.message for record in caplog.records if "ours is used" in record.message]
    assert "OtherCorv" not in {model.__name__ for model in outputs.all_models()}


@pytest.mark.parametrize("what", ["table", "class"])
@pytest.mark.parametrize("asked_first", ["first_peak", "second_peak"])
def test_two_packages_with_one_table_or_class_are_both_refused(
    install: Install, caplog: pytest.LogCaptureFixture, what: str, asked_first: str
) -> None:
    for number in ("first", "second"):
        model = "Peak" if what == "class" else f"{number.title()}Pixel"
        table = "peaks" if what == "table" else f"{number}_peaks"
        models = MODELS.format(model=model) + f'\n    class Meta:\n        table_name = "{table}"\n'
        install(number, pipeline=f"{number}_peak", model=model, files={"models.py": models})
    install()
    for name in (asked_first, "first_peak", "second_peak"):
        with pytest.raises(PackageClashError, match=both_told("first", "second")):
            outputs.load_pipeline(name)
    assert [task.name for task in outputs.pipelines()] == sorted([*OURS, "brightest"])
    assert {package.name for package in outputs.packages()} == {"astra_models", "brightest"}
    assert not {"first", "second"} & {model.__module__.partition(".")[0] for model in outputs.all_models()}
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@pytest.mark.parametrize(
    ("model", "meta"),
    [
        ("Corv", ""),
        ("CORV", 'class Meta:\n        table_name = "other_corv"'),
        ("Other", 'class Meta:\n        table_name = "corv"'),
    ],
)
def test_a_package_with_one_of_our_tables_or_classes_is_refused(install: Install, model: str, meta: str) -> None:
    models = MODELS.format(model=model) + (f"\n    {meta}\n" if meta else "")
    install("other", pipeline="other", model=model, files={"models.py": models})
    install()
    with pytest.raises(PackageClashError, match=both_told("other", "astra_models") + ".*that of astra_models is used"):
        outputs.load_pipeline("other")
    assert outputs.model_named("corv") is Corv
    assert [task.name for task in outputs.pipelines()] == sorted([*OURS, "brightest"])


def test_a_pipeline_is_not_called_as_a_table_of_ours_that_it_does_not_fill(install: Install) -> None:
    install("other", pipeline="slam", model="OtherLabels")
    with pytest.raises(PackageClashError, match=r"other \(the pipeline 'slam'\) use one name"):
        outputs.load_pipeline("slam")
    assert outputs.model_named("slam") is Slam


def test_a_pipeline_may_fill_a_table_of_ours(install: Install) -> None:
    pipeline = """
        from collections.abc import Iterable
        from astra_models import task
        from astra_models.boss import BossVisitSpectrum
        from astra_models.slam import Slam

        @task
        def slam(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Slam]:
            yield from ()
    """.replace("\n        ", "\n")
    install("slams", pipeline="slam", files={"pipeline.py": pipeline, "models.py": ""})
    assert outputs.load_pipeline("slam").output_models == (outputs.model_named("slam"),)


# ---- packages


def test_packages_are_found_by_the_name_they_are_imported_or_installed_as(install: Install, tmp_path: Path) -> None:
    own = install("bright_peaks", model="BrightPeak")
    for name in ("bright_peaks", "bright-peaks", "Bright-Peaks"):
        package = outputs.package_named(name)
        assert (package.name, package.migrations) == ("bright_peaks", own / "migrations")
        assert package.tables == {"bright_peak"}
    assert outputs.package_named("astra-orchestration").name == "astra_models"
    with pytest.raises(UnknownPackageError, match=r"no package 'bright' .* did you mean bright_peaks"):
        outputs.package_named("bright")


def test_models_say_which_packages_they_are_of(install: Install) -> None:
    install()
    assert [package.name for package in outputs.packages_of([Corv, Source])] == ["astra_models"]
    [model] = outputs.load_pipeline("brightest").output_models
    assert [package.name for package in outputs.packages_of([model, Source])] == ["astra_models", "brightest"]


def test_a_package_may_lie_in_a_namespace(install: Install, tmp_path: Path) -> None:
    nested = tmp_path / "site" / "survey"
    write_package(nested, "peaks", files={"models.py": MODELS.format(model="BrightestPixel")})
    pipeline = nested / "peaks" / "pipeline.py"
    pipeline.write_text(pipeline.read_text().replace("from peaks.models", "from survey.peaks.models"))
    write_metadata(tmp_path / "site", "survey_peaks", {"brightest": "survey.peaks.pipeline:brightest"})
    forget_packages("survey")
    try:
        assert [package.name for package in outputs.packages()] == ["astra_models", "survey.peaks"]
        assert outputs.package_named("survey.peaks").tables == {"brightest_pixel"}
    finally:
        forget_packages("survey")


def test_all_refusals_are_of_our_family() -> None:
    assert issubclass(PackageImportError, AstraError | ImportError)
    assert issubclass(PackageClashError, AstraError | LookupError)
