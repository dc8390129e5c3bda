"""Parameters of a pipeline: options of ``astra run``, and fields of the launchpad."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import peewee
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from astra_models import base, task
from astra_models.analysis.parameters import COMMAND_NAMES
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.errors import ParameterError
from astra_models.rocket import Rocket
from astra_orchestration.assets.parameters import with_parameters
from astra_orchestration.assets.pipelines import PipelineRunConfig, pipeline_asset
from astra_orchestration.cli.main import app
from astra_orchestration.pipelines.corv import corv
from astra_orchestration.resources import resources_for
from tests.other_packages import MODELS

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]
IN_MEMORY = {"sqlite": {"path": ":memory:"}}

PIPELINE = '''
"""A pipeline that says how it was called."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from astra_models import base, task
from astra_models.boss import BossVisitSpectrum
from told.models import Told


@task(environment={"grid": "TOLD_GRID"}, without_effect=["threads"])
def told(
    spectra: Iterable[BossVisitSpectrum],
    n_iterations: int = 3,
    scale: float | None = 1.5,
    mode: Literal["fast", "[exact]"] = "fast",
    lines: list[float] = [1.0, 2.0],
    masks: list[str] | None = None,
    strict: bool = False,
    careful: bool | None = None,
    label: str | None = "a [b]",
    lambda_: int = 1,
    grid: Path | None = None,
    threads: int = 1,
    model: Any = None,
) -> Iterable[Told]:
    """Say how it was called.

    Parameters
    ----------
    n_iterations : int
        How often [at most].
    """
    print("called with", (n_iterations, scale, mode, lines, masks, strict, careful, label, lambda_, grid, threads))
    for spectrum in spectra:
        yield Told.from_spectrum(spectrum, peak=n_iterations)
'''
DEFAULTS = (3, 1.5, "fast", [1.0, 2.0], None, False, None, "a [b]", 1, None, 1)


@pytest.fixture
def told(install: Callable[..., Path]) -> None:
    """Install a package with the pipeline ``told``."""
    files = {"pipeline.py": PIPELINE, "models.py": MODELS.format(model="Told")}
    install("told", pipeline="told", model="Told", files=files)


@pytest.fixture
def a_visit(told: None, memory_database: peewee.Database, make_spectra: Visits, tmp_path: Path) -> None:
    """Bind a SQLite file with a visit; the command line refuses what is in memory."""
    base.bind(sqlite_database(tmp_path / "astra.db"))
    assert astra("init").exit_code == 0
    make_spectra(1)


def astra(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment)


def flat(result: Result) -> str:
    return " ".join(result.output.replace("│", " ").split())


# ---- the command


def test_the_names_that_are_refused_are_those_of_the_command_and_the_launchpad() -> None:
    command: Any = typer.main.get_command(app)
    options = {parameter.name for parameter in command.commands["run"].params} | {"help"}

    assert options | set(PipelineRunConfig.model_fields) <= COMMAND_NAMES


def test_the_help_of_a_run_shows_the_pipelines_parameters(told: None) -> None:
    shown = flat(CliRunner().invoke(app, ["run", "told", "--help"], env={"COLUMNS": "160"}))

    assert "Parameters of told" in shown
    for text in (
        "--n-iterations <int> How often [at most]. [default: (3)]",
        "--mode <'fast' or '[exact]'>",
        "--lines <list of float> May be repeated. [default: (1.0, 2.0)]",
        "Set lines to an empty list.",
        "[default: (a [b])]",
        "--strict --no-strict",
        "--none-careful",
        "Set label to None.",
        "--lambda ",
        "--grid <Path or None> Without it, the environment variable TOLD_GRID counts.",
        "--threads <int> Results don't depend on it.",
        "Only a direct call can give model.",
        "--limit",
    ):
        assert text in shown
    assert "--no-grid" not in shown
    assert "--model" not in shown
    assert "Parameters of" not in astra("run", "--help").output


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--n-iterations", "5", "--scale=2", "--mode", "[exact]"], {0: 5, 1: 2.0, 2: "[exact]"}),
        (["--no-scale", "--no-label", "--masks", "a", "--masks", "b c"], {1: None, 7: None, 4: ["a", "b c"]}),
        (["--no-lines", "--no-masks", "--strict", "--no-careful"], {3: [], 4: [], 5: True, 6: False}),
        (["--lines", "-1", "--none-masks", "--none-careful", "--no-strict", "--lambda", "-3"], {3: [-1.0], 8: -3}),
        (["--label", "", "--scale", "nan", "--threads", "4"], {7: "", 1: float("nan"), 10: 4}),
        (["--label", "none", "--careful"], {7: "none", 6: True}),
        (["--grid", "."], {9: Path()}),
    ],
    ids=str,
)
def test_options_are_the_parameters(a_visit: None, arguments: list[str], changed: dict[int, Any]) -> None:
    result = astra("run", "told", *arguments)

    expected = tuple(changed.get(i, value) for i, value in enumerate(DEFAULTS))
    assert result.exit_code == 0, result.output
    assert f"called with {expected}" in result.output


def test_options_may_stand_before_the_pipelines_name(a_visit: None) -> None:
    result = astra("run", "--n-iterations", "7", "--limit", "0", "--rerun", "all", "told")

    assert "nothing is due" in result.output
    assert "called with (7, " in astra("run", "--n-iterations", "7", "--limit", "1", "told").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-iterations", "5.5"], "the parameter n_iterations takes int, and '5.5' is not a whole number"),
        (["--n-iterations", "1\x1b[2J"], r"'1\x1b[2J' is not a whole number"),
        (["--n-iterations", "9" * 5000], "9...9"),
        (["--mode", "slow"], "'slow' is not 'fast' or '[exact]'"),
        (["--lines", "1", "--lines", "x"], "'x' is not a number"),
        (["--lines", "1", "--no-lines"], "lines is given twice"),
        (["--grid", ""], "'' is not Path or None"),
        (["--n-iteration", "5"], "no such option: --n-iteration"),
        (["--model", "x"], "no such option: --model"),
    ],
)
def test_wrong_options_are_wrong_usage(told: None, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["run", "told", *arguments], env={"COLUMNS": "300"})

    assert result.exit_code == 2, result.output
    assert message.replace("...", "") in flat(result).replace("...", "") or message in flat(result)
    assert "\x1b[2J" not in result.output
    assert len(result.output) < 5000


def test_a_file_that_is_not_there_is_one_sentence_before_anything_starts(a_visit: None) -> None:
    for result in (astra("run", "told", "--grid", "nowhere.npz"), astra("run", "told", TOLD_GRID="nowhere.npz")):
        assert result.exit_code == 1
        assert "error: told: the parameter grid (or the environment variable TOLD_GRID) names 'nowhere.npz', which" in (
            flat(result)
        )
        assert "called" not in result.output


def test_the_environment_gives_what_the_command_line_does_not(a_visit: None, tmp_path: Path) -> None:
    assert f"PosixPath('{tmp_path}'), 1)" in astra("run", "told", TOLD_GRID=str(tmp_path)).output


def test_corvs_grid_counts_where_it_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = tmp_path / "grid.npz"
    grid.write_bytes(b"templates")
    built_in = corv.recipe()
    monkeypatch.setenv("ASTRA_CORV_GRID", str(grid))

    assert corv.recipe().values == {"grid": grid, "all_spectra": False}
    assert corv.recipe().digest == corv.recipe(grid=str(grid)).digest != built_in.digest


# ---- the launchpad

calls: list[tuple[Any, ...]] = []


@task(version="2", environment={"grid": "KNOWN_GRID"})
def known(
    spectra: Iterable[BossVisitSpectrum],
    n_iterations: int = 3,
    scale: float | None = 1.5,
    mode: Literal["fast", 2] = "fast",
    kind: Literal["a", "b"] | None = None,
    level: float | Literal["auto"] = "auto",
    lines: tuple[float, ...] = (1.0,),
    picks: list[Literal["x", "y"]] = ["x"],  # noqa: B006
    json: bool = False,
    grid: Path | None = None,
    model_name: str = "m",
) -> Iterable[Rocket]:
    """Say how it was called.

    Parameters
    ----------
    n_iterations : int
        How often.
    """
    calls.append((n_iterations, scale, mode, kind, level, lines, picks, json, grid, model_name))
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum)


KNOWN = (3, 1.5, "fast", None, "auto", (1.0,), ["x"], False, None, "m")


def launch(config: Any = None, **kwargs: Any) -> dg.ExecuteInProcessResult:
    run_config = {} if config is None else {"ops": {"known": {"config": config}}}
    return dg.materialize([pipeline_asset(known)], resources=resources_for(IN_MEMORY), run_config=run_config, **kwargs)


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (None, {}),
        ({"n_iterations": 5, "scale": 2, "mode": "2", "kind": "b", "level": "auto"}, {0: 5, 1: 2.0, 2: 2, 3: "b"}),
        ({"scale": None, "level": "2.5", "lines": [], "picks": ["y", "x"]}, {1: None, 4: 2.5, 5: (), 6: ["y", "x"]}),
        ({"json": True, "grid": __file__, "model_name": "n"}, {7: True, 8: Path(__file__), 9: "n"}),
        ({"limit": 1, "n_iterations": 4}, {0: 4}),
    ],
    ids=str,
)
def test_fields_of_the_launchpad_are_the_parameters(
    memory_database: peewee.Database, make_spectra: Visits, config: Any, changed: dict[int, Any]
) -> None:
    make_spectra(1)
    calls.clear()

    assert launch(config).success
    assert calls == [tuple(changed.get(i, value) for i, value in enumerate(KNOWN))]


def test_fields_have_types_defaults_and_descriptions() -> None:
    fields = {
        name: (field.config_type, field.default_value if field.default_provided else None, field.description)
        for name, field in pipeline_asset(known).op.config_schema.as_field().config_type.fields.items()  # type: ignore[union-attr]
    }

    assert fields["n_iterations"][1:] == (3, "How often.")
    assert fields["grid"][2] == "Without it, the environment variable KNOWN_GRID counts."
    assert fields["level"][1:] == ("auto", "Takes float or 'auto'.")
    assert [value.config_value for value in fields["mode"][0].inner_type.enum_values] == ["fast", "2"]
    assert {"limit", "sdss_ids", "rerun", "batch_size"} < set(fields)


def test_the_environment_gives_what_the_launchpad_does_not(
    memory_database: peewee.Database, make_spectra: Visits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_spectra(1)
    monkeypatch.setenv("KNOWN_GRID", str(tmp_path))
    calls.clear()
    launch()
    assert calls[0][8] == tmp_path


@pytest.mark.parametrize(
    "config", [{"n_iterations": "5"}, {"n_iterations": 5.5}, {"mode": "slow"}, {"lines": 3}, {"n": 3}, {"json": 1}]
)
def test_the_launchpad_refuses_other_types(memory_database: peewee.Database, config: dict[str, Any]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        launch(config)


@pytest.mark.parametrize("config", [{"level": "high"}, {"picks": ["z"]}, {"grid": "nowhere.npz"}, {"grid": ""}])
def test_what_only_the_pipeline_can_tell_fails_the_run(
    memory_database: peewee.Database, make_spectra: Visits, config: dict[str, Any]
) -> None:
    make_spectra(1)
    with pytest.raises(ParameterError, match=f"known: the parameter {next(iter(config))} "):
        launch(config)


def test_parameters_can_be_configured_in_python(memory_database: peewee.Database, make_spectra: Visits) -> None:
    make_spectra(1)
    calls.clear()
    config: Any = with_parameters(PipelineRunConfig, known)
    run_config = dg.RunConfig(ops={"known": config(n_iterations=9, mode="2", limit=1)})
    dg.materialize([pipeline_asset(known)], resources=resources_for(IN_MEMORY), run_config=run_config)
    assert calls[0][:3] == (9, 1.5, 2)


def test_an_assets_code_has_the_pipelines_version() -> None:
    assert pipeline_asset(known).get_asset_spec().code_version == "0.9.0-2"
    assert pipeline_asset(known, pipeline_version="7").get_asset_spec().code_version == "0.9.0-7"


def test_an_asset_may_be_made_twice_of_a_pipeline() -> None:
    assets = [pipeline_asset(known), pipeline_asset(known, name="again")]
    dg.Definitions.validate_loadable(dg.Definitions(assets, resources=resources_for(IN_MEMORY)))
