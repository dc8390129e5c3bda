"""Parameters of a pipeline: read from its signature, checked by type, and told by the recipe of its results."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models import task
from astra_models.analysis import recipe as recipes
from astra_models.analysis.job import reference_to
from astra_models.analysis.parameter_types import MOST_BITS, ParameterType, parameter_type
from astra_models.analysis.stream import analyse
from astra_models.analysis.task import Task
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import ParameterError, TaskError
from astra_models.messages import shown
from astra_models.rocket import Rocket

Visits = Iterable[BossVisitSpectrum]


def with_parameter(annotation: Any, default: Any, name: str = "value", **settings: Any) -> Task[Rocket]:
    """Make a task with one parameter, which gives no results."""
    scope: dict[str, Any] = {"Visits": Visits, "Rocket": Rocket, "annotation": annotation, "default": default}
    exec(
        f"def thermometer(spectra: Visits, {name}: annotation = default) -> 'Iterable[Rocket]':\n    yield from ()",
        scope | {"Iterable": Iterable},
        scope,
    )
    function = scope["thermometer"]
    function.__annotations__["return"] = Iterable[Rocket]
    return task(**settings)(function)


@task
def thermometer(
    spectra: Visits,
    n_iterations: int = 3,
    scale: float = 1.0,
    mode: Literal["fast", "exact"] = "fast",
    lines: list[float] = [6564.6],  # noqa: B006
    grid: Path | None = None,
    strict: bool = False,
    label: str | None = None,
) -> Iterable[Rocket]:
    """Give every spectrum a temperature that is made of the parameters.

    Parameters
    ----------
    spectra : iterable
        Spectra.
    n_iterations : int, optional
        How often it is tried,
        at most.
    scale, label
        Told together.

    Yields
    ------
    Rocket
        One each.
    """
    for spectrum in spectra:
        lines.append(0)
        yield Rocket.from_spectrum(spectrum, teff=scale * n_iterations + len(lines))


# ---- what a signature says


def test_parameters_have_their_types_defaults_and_descriptions() -> None:
    found = {one.name: (str(one.type), one.default, one.description) for one in thermometer.parameters.values()}

    assert found == {
        "n_iterations": ("int", 3, "How often it is tried, at most."),
        "scale": ("float", 1.0, "Told together."),
        "mode": ("'fast' or 'exact'", "fast", ""),
        "lines": ("list of float", [6564.6], ""),
        "grid": ("Path or None", None, ""),
        "strict": ("bool", False, ""),
        "label": ("str or None", None, "Told together."),
    }
    assert all(one.is_configuration for one in thermometer.parameters.values())


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, ParameterType(int)),
        (Optional[float], ParameterType(float, optional=True)),  # noqa: UP045
        (int | float, ParameterType(float)),
        (str | Path | None, ParameterType(Path, optional=True)),
        (Literal[1, "a", None], ParameterType(None, (1, "a"), optional=True)),
        (float | Literal["auto"], ParameterType(float, ("auto",))),
        (list[Path] | None, ParameterType(Path, (), list, optional=True)),
        (list[Literal["a", "b"]], ParameterType(None, ("a", "b"), list)),
        (Sequence[int], ParameterType(int, (), list)),
        (tuple[bool, ...], ParameterType(bool, (), tuple)),
    ],
    ids=str,
)
def test_types_are_read_from_annotations(annotation: Any, expected: ParameterType) -> None:
    assert parameter_type(annotation) == expected


class Colour(Enum):
    red = 1


@pytest.mark.parametrize(
    "annotation",
    [
        dict[str, int],
        set[int],
        list,
        list[list[int]],
        list[int | None],
        list[int] | int,
        tuple[int, int],
        int | str,
        bool | int,
        str | Literal["auto"],
        int | Literal["5"],
        Literal[1, "1"],
        Literal[True, "True"],
        Literal[Colour.red],
        Colour,
        bytes,
        np.ndarray,
        Callable[[int], int],
        "list[dict[str, int]] | None",
    ],
    ids=str,
)
def test_types_that_no_option_can_have_are_refused_when_the_task_is_made(annotation: Any) -> None:
    with pytest.raises(
        TaskError, match=r"thermometer: the annotation of its parameter 'value' is none that can be set"
    ):
        with_parameter(annotation, None)


@pytest.mark.parametrize(
    ("annotation", "default"), [(int, None), (int, 1.5), (int, True), (Literal["a"], "b"), (list[int], [1, "2"])]
)
def test_a_default_of_another_type_is_refused_when_the_task_is_made(annotation: Any, default: Any) -> None:
    with pytest.raises(TaskError, match=r"thermometer: the parameter value takes .*: that is its default"):
        with_parameter(annotation, default)


TAKEN = (
    *("batch_size", "run_id", "limit", "write_to_database", "rerun", "sdss_ids", "sdss_id", "keep_good", "version"),
    *("pipeline", "where", "help", "self", "help_", "parameters"),
)


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("annotation", [int, Any])
def test_names_that_the_task_or_the_command_uses_are_refused_when_the_task_is_made(name: str, annotation: Any) -> None:
    with pytest.raises(TaskError, match=f"its parameter '{name}' would never get a value.*rename"):
        with_parameter(annotation, 1, name)


def test_options_that_two_parameters_would_share_are_refused() -> None:
    with pytest.raises(TaskError, match="'grid' and 'no_grid' would share the option --no-grid"):

        @task
        def both(spectra: Visits, grid: str | None = None, no_grid: bool = False) -> Iterable[Rocket]:
            yield from ()


def test_a_parameter_that_has_no_name_for_callers_is_refused() -> None:
    with pytest.raises(TaskError, match="'n' can't be given by name"):

        @task
        def by_position(spectra: Visits, n: int = 3, /) -> Iterable[Rocket]:
            yield from ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"without_effect": ["valeu"]}, "names 'valeu', which is no parameter of it; did you mean value"),
        ({"without_effect": "value"}, r"is text; write without_effect=\['value'\]"),
        ({"environment": {"valeu": "X"}}, "environment names 'valeu'"),
        ({"files": {"valeu": list}}, "files names 'valeu'"),
        ({"environment": {"value": "A B"}}, "'A B', for its parameter 'value', is no name of an environment variable"),
        ({"version": 2}, r"version=2 is no version of a pipeline"),
        ({"version": ""}, "version='' is no version"),
        ({"version": "1\x1b[31m"}, r"version='1\\x1b\[31m' is no version"),
        ({"version": "9" * 41}, "is no version"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        with_parameter(int, 1, **settings)


# ---- a direct call


@pytest.fixture
def spectra(memory_database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    return make_spectra(2)


def teffs(spectra: list[BossVisitSpectrum], *args: Any, **parameters: Any) -> list[float]:
    return [row.teff for row in thermometer(spectra, *args, write_to_database=False, **parameters)]


def test_a_call_gives_values_by_name_or_position(spectra: list[BossVisitSpectrum]) -> None:
    assert teffs(spectra) == [5.0, 6.0]
    assert teffs(spectra, 4, scale=2) == [10.0, 11.0]


def test_a_list_of_the_signature_is_the_same_at_every_call(spectra: list[BossVisitSpectrum]) -> None:
    assert teffs(spectra) == teffs(spectra)
    mine = [1.0, 2.0]
    teffs(spectra, lines=mine)
    assert mine == [1.0, 2.0]
    assert thermometer.parameters["lines"].default == [6564.6]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_iteration": 5}, "thermometer has no parameter 'n_iteration'; did you mean n_iterations?"),
        ({"n_iterations": "5"}, "thermometer: the parameter n_iterations takes int, and '5' is not int"),
        ({"n_iterations": 5.0}, "takes int, and 5.0 is not int"),
        ({"n_iterations": True}, "takes int, and True is not int"),
        ({"n_iterations": None}, "takes int, and None is not int"),
        ({"n_iterations": 10**5000}, "takes int, and "),
        ({"scale": "1"}, "takes float"),
        ({"scale": 2**60 + 1}, "takes float"),
        ({"mode": "slow"}, "takes 'fast' or 'exact', and 'slow' is not"),
        ({"lines": "656"}, "takes list of float, and '656' is not a list of float"),
        ({"lines": [1, "x"]}, "and 'x' is not float"),
        ({"lines": {1.0}}, "is not a list of float"),
        ({"strict": 1}, "takes bool, and 1 is not bool"),
        ({"grid": ""}, "takes Path or None, and '' is not Path"),
        ({"label": b"x"}, "takes str or None"),
        ({"label": "x" * 200_000}, "longer than 100,000 characters"),
    ],
)
def test_a_value_that_can_not_be_is_refused_by_name(
    spectra: list[BossVisitSpectrum], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        teffs(spectra, **parameters)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_numpys_scalars_and_arrays_are_taken() -> None:
    values = thermometer.recipe(
        n_iterations=np.int16(2), scale=np.float64(2), lines=np.arange(2), strict=np.True_
    ).values

    assert (values["n_iterations"], values["scale"], values["lines"], values["strict"]) == (2, 2.0, [0.0, 1.0], True)
    assert [type(value) for value in values.values()][:2] == [int, float]


@task
def with_model(spectra: Visits, order: int, model: Any = None, *, untold=3) -> Iterable[Rocket]:  # type: ignore[no-untyped-def]
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=order + (model or untold))


def test_what_is_not_configuration_is_for_direct_calls(spectra: list[BossVisitSpectrum]) -> None:
    assert not any(one.is_configuration for one in with_model.parameters.values())
    assert [row.teff for row in with_model(spectra, 1, model=2, write_to_database=False)] == [3, 3]
    with pytest.raises(ParameterError, match="the parameter order has no value: it has no default"):
        list(with_model(spectra))
    with pytest.raises(ParameterError, match="the parameter order takes int, and 'x' is not"):
        list(with_model(spectra, "x"))
    with pytest.raises(ParameterError, match="too many positional arguments"):
        list(with_model(spectra, 1, 2, 3))


def test_an_object_of_a_direct_call_is_told_by_its_type_and_differs_from_the_default() -> None:
    first, second = with_model.recipe(1), with_model.recipe(1, model=object())

    assert json.loads(first.as_json()) == {"order": 1, "model": None, "untold": 3}
    assert json.loads(second.as_json()) == {"order": 1, "model": {"object": "builtins.object"}, "untold": 3}
    assert first.digest != second.digest


def test_any_number_of_arguments_is_passed_on_and_told(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def open_minded(spectra: Visits, *numbers: int, **others: int) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=sum(numbers) + sum(others.values()))

    assert [row.teff for row in open_minded(spectra, 1, 2, c=3, write_to_database=False)] == [6, 6]
    assert json.loads(open_minded.recipe(1, 2, c=3).as_json()) == {"numbers": [1, 2], "c": 3}


def test_a_run_of_what_is_due_takes_parameters(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(1)
    with pytest.raises(ParameterError, match="did you mean scale"):
        analyse(thermometer, parameters={"skale": 2})

    [[row]] = analyse(thermometer, parameters={"scale": 2})
    assert getattr(row, "teff", None) == 8.0


# ---- environment variables


@pytest.fixture
def from_environment() -> Task[Rocket]:
    return with_parameter(int | None, None, environment={"value": "THERMOMETER_VALUE"})


@pytest.mark.parametrize(("text", "given", "expected"), [("5", {}, 5), ("", {}, None), ("5", {"value": 6}, 6)])
def test_an_environment_variable_counts_where_nothing_is_given(
    from_environment: Task[Rocket], monkeypatch: pytest.MonkeyPatch, text: str, given: dict[str, int], expected: Any
) -> None:
    monkeypatch.setenv("THERMOMETER_VALUE", text)
    assert from_environment.recipe(**given).values == {"value": expected}
    assert from_environment.recipe(value=None).values == {"value": int(text) if text else None}


def test_a_wrong_environment_variable_is_named(from_environment: Task[Rocket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOMETER_VALUE", "many\x1b[2J")
    with pytest.raises(ParameterError, match=r"'many\\x1b\[2J' is not a whole number .*variable THERMOMETER_VALUE"):
        from_environment.recipe()


def test_another_environment_is_another_recipe(from_environment: Task[Rocket], monkeypatch: pytest.MonkeyPatch) -> None:
    before = from_environment.recipe().digest
    monkeypatch.setenv("THERMOMETER_VALUE", "7")
    assert from_environment.recipe().digest == from_environment.recipe(value=7).digest != before


# ---- the digest


@pytest.mark.parametrize(
    ("annotation", "one", "same"),
    [
        (float, 1, 1.0),
        (float, math.nan, -math.nan),
        (float, 0.1 + 0.2, 0.30000000000000004),
        (list[float], [1, 2], (1.0, 2.0)),
        (Path | None, "/tmp", Path("/tmp/.")),
        (str, "\u00e9", "é"),
    ],
)
def test_the_same_value_is_the_same_recipe(annotation: Any, one: Any, same: Any) -> None:
    pipeline = with_parameter(annotation, one)
    assert pipeline.recipe().as_json() == pipeline.recipe(value=same).as_json()


@pytest.mark.parametrize(
    ("annotation", "one", "other"),
    [
        (Any, 1, 1.0),
        (Any, 1, True),
        (Any, "1", 1),
        (Any, None, "null"),
        (Any, math.inf, "inf"),
        (float, math.inf, -math.inf),
        (float, math.nan, math.inf),
        (float, 0.0, -0.0),
        (float, 1.0, math.nextafter(1.0, 2)),
        (list[int], [1, 2], [2, 1]),
        (list[int] | None, [], None),
        (list[str], ["a", "b"], ["a, b"]),
        (str, "\u00e9", "e\u0301"),
        (str, "\ud800", "\ud801"),
        (str | None, "", None),
        (Literal[1, "a"], 1, "a"),
    ],
)
def test_another_value_is_another_recipe(annotation: Any, one: Any, other: Any) -> None:
    pipeline = with_parameter(annotation, one)
    assert pipeline.recipe().digest != pipeline.recipe(value=other).digest
    assert pipeline.recipe(value=other).as_json().isascii()


def test_the_digest_is_the_version_and_what_has_an_effect() -> None:
    tasks = [
        with_parameter(int, 1),
        with_parameter(int, 1, version="2"),
        with_parameter(int, 1, "other"),
        with_parameter(int, 1, without_effect=["value"]),
    ]
    assert len({one.recipe().digest for one in tasks}) == 4
    assert (tasks[0].version, tasks[1].version) == ("1", "2")
    assert tasks[3].recipe(value=8).digest == tasks[3].recipe().digest
    assert tasks[3].recipe(value=8).as_json() == '{"value": 8}'
    assert tasks[0].recipe().digest == with_parameter(int, 1).recipe(value=1).digest


SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**MOST_BITS) + 1, 2**MOST_BITS - 1),
    float: st.floats(),
    str: st.text(st.characters()),
    bool: st.booleans(),
    Path: st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(lambda text: Path("/", text)),
}


@given(data=st.data(), scalar=st.sampled_from(list(SCALARS)), choice=st.booleans())
def test_a_value_comes_back_from_text(data: st.DataObject, scalar: Any, choice: bool) -> None:
    kind = parameter_type(scalar | Literal["the default"] if choice and scalar not in (str, Path) else scalar)
    value = data.draw(SCALARS[scalar] | st.sampled_from(kind.choices) if kind.choices else SCALARS[scalar])

    again = kind.from_text(kind.to_text(value))

    assert (type(again), repr(again)) == (type(value), repr(value))
    assert repr(kind.check(again)) == repr(again)


@given(st.lists(st.tuples(st.sampled_from([int, float, str, bool]), st.data()), max_size=4), st.randoms())
def test_json_is_the_same_text_for_the_same_values(drawn: list[tuple[Any, st.DataObject]], random: Any) -> None:
    values = {f"value_{i}": data.draw(SCALARS[kind]) for i, (kind, data) in enumerate(drawn)}
    names = list(values)
    random.shuffle(names)

    text = open_recipe(values).as_json()

    assert text == open_recipe({name: values[name] for name in names}).as_json()
    assert text.isascii()
    assert "\0" not in text
    again = json.loads(text, parse_constant=pytest.fail)
    finite = {name: value for name, value in values.items() if not isinstance(value, float) or math.isfinite(value)}
    assert {name: again[name] for name in finite} == finite
    assert json.dumps(again, sort_keys=True) == text


@task
def anything(spectra: Visits, **values: Any) -> Iterable[Rocket]:
    yield from ()


def open_recipe(values: dict[str, Any]) -> recipes.Recipe:
    return anything.recipe(**values)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), lambda one: st.lists(one, max_size=3)
)


@given(plain_values, plain_values)
def test_recipes_are_equal_if_and_only_if_their_values_are(one: Any, other: Any) -> None:
    same = repr(one) == repr(other)
    assert (
        (open_recipe({"value": one}).digest == open_recipe({"value": other}).digest) is same
        or _deep(one)
        or _deep(other)
    )


def _deep(value: Any, depth: int = 0) -> bool:
    return isinstance(value, list) and (depth >= recipes.DEEPEST or any(_deep(item, depth + 1) for item in value))


class HostileText(str):
    def __str__(self) -> str:
        raise RuntimeError("no")


class HostileNumber(int):
    def __int__(self) -> int:
        raise RuntimeError("no")

    __float__ = __index__ = bit_length = __int__  # type: ignore[assignment]


def test_subclasses_become_what_they_are_made_of() -> None:
    values = thermometer.recipe(n_iterations=HostileNumber(4), scale=HostileNumber(5), label=HostileText("a")).values
    assert (values["n_iterations"], values["scale"], values["label"]) == (4, 5.0, "a")
    assert thermometer.recipe(grid=HostileText("/tmp")).values["grid"] == Path("/tmp")


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


cyclic: list[Any] = []
cyclic.append(cyclic)


HOSTILE = [Hostile(), cyclic, "\x1b[2J\n\0\ud800\u202e" * 99, 10**5000, np.zeros(10**6), [[[[[]]]]] * 999]


@pytest.mark.parametrize("value", HOSTILE, ids=["repr", "cyclic", "escapes", "digits", "array", "deep"])
def test_no_value_is_told_unsafely(value: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        thermometer.recipe(n_iterations=value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    assert shown(value).isprintable()
    assert anything.recipe(value=value).as_json().isascii()


@given(st.text() | st.binary() | st.complex_numbers() | st.dates() | st.sets(st.integers()) | st.decimals())
def test_no_other_value_is_taken_for_a_whole_number(value: Any) -> None:
    with pytest.raises(ParameterError):
        thermometer.recipe(n_iterations=value)


# ---- files


@pytest.fixture
def with_grid() -> Task[Rocket]:
    return with_parameter(Path | None, None)


def test_a_file_counts_by_its_content_and_not_by_its_name(with_grid: Task[Rocket], tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_text("grid")
    same.write_text("grid")
    other.write_text("grit")

    assert with_grid.recipe(value=one).digest == with_grid.recipe(value=str(same)).digest
    assert with_grid.recipe(value=one).digest != with_grid.recipe(value=other).digest
    assert with_grid.recipe(value=one).digest != with_grid.recipe().digest
    assert with_grid.recipe(value=one).files == {str(one): hashlib.sha256(b"grid").hexdigest()}
    assert json.loads(with_grid.recipe(value=one).as_json()) == {"value": str(one)}


def test_a_rewritten_file_is_another_one_even_with_the_same_size_and_time(
    with_grid: Task[Rocket], tmp_path: Path
) -> None:
    path = tmp_path / "grid"
    path.write_text("grid")
    before, status = with_grid.recipe(value=path).digest, path.stat()
    path.write_text("grit")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert with_grid.recipe(value=path).digest != before


def test_a_file_is_read_once(with_grid: Task[Rocket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grid"
    path.write_text("grid")
    monkeypatch.setattr(recipes, "SETTLED", -1)
    before = with_grid.recipe(value=path).digest
    monkeypatch.setattr(recipes.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert with_grid.recipe(value=path).digest == before


def test_a_folder_counts_by_the_names_and_contents_of_its_files(with_grid: Task[Rocket], tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> Path:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return tmp_path / name

    files = {"a/1.txt": "hot", "b/2.txt": "cold"}
    first = with_grid.recipe(value=folder("first", files))
    assert first.digest == with_grid.recipe(value=folder("same", dict(reversed(files.items())))).digest
    others = [
        {"a/1.txt": "hot"},
        files | {"c": ""},
        {"a/1.txt": "cold", "b/2.txt": "hot"},
        {"a/1.txt": "hot", "b/3.txt": "cold"},
    ]
    digests = {with_grid.recipe(value=folder(f"other{i}", some)).digest for i, some in enumerate(others)}
    assert len(digests | {first.digest}) == 5
    (tmp_path / "first" / "round").symlink_to(tmp_path / "first")
    assert with_grid.recipe(value=tmp_path / "first").digest == first.digest


@pytest.mark.parametrize("what", ["missing", "pipe", "name too long"])
def test_what_can_not_be_read_is_one_sentence_before_anything_starts(
    spectra: list[BossVisitSpectrum], tmp_path: Path, what: str
) -> None:
    path = tmp_path / (what if what != "name too long" else "x" * 5000)
    if what == "pipe":
        os.mkfifo(path)
    with pytest.raises(ParameterError, match="thermometer: the parameter grid names ") as caught:
        thermometer.batches(spectra, grid=path)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_in_a_folder_is_one_sentence(with_grid: Task[Rocket], tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # a link to nothing isn't a file
    assert with_grid.recipe(value=tmp_path).digest
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ParameterError, match=r"thermometer: the parameter value names .* which can't be read: "):
        with_grid.recipe(value=loop)


def lines_of(settings: Path) -> list[Path]:
    return [settings.parent / line for line in settings.read_text().split()]


@task(files={"settings": lines_of})
def with_settings(spectra: Iterable[BossVisitSpectrum], settings: Path) -> Iterable[Rocket]:
    yield from (Rocket.from_spectrum(spectrum) for spectrum in spectra)


def test_files_that_a_file_names_count_and_have_to_be_there(tmp_path: Path) -> None:
    settings, mask = tmp_path / "settings.txt", tmp_path / "mask"
    settings.write_text("mask\n")
    with pytest.raises(ParameterError, match=r"the parameter settings names .* isn't there"):
        with_settings.recipe(settings=settings)
    mask.write_text("1 0 1")
    recipe = with_settings.recipe(settings=settings)
    assert dict(recipe.files) == {str(path): recipes.content_digest(path) for path in (settings, mask)}
    mask.write_text("1 1 1")
    assert with_settings.recipe(settings=settings).digest != recipe.digest
    mask.write_text("1 0 1")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (settings, mask):
        path.rename(moved / path.name)
    assert with_settings.recipe(settings=moved / "settings.txt").digest == recipe.digest


def test_a_file_without_effect_is_not_looked_at(tmp_path: Path) -> None:
    pipeline = with_parameter(Path | None, None, without_effect=["value"])
    recipe = pipeline.recipe(value=tmp_path / "plots")
    assert recipe.files == {}
    assert recipe.digest == pipeline.recipe().digest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(content=st.binary(max_size=50), other=st.binary(max_size=50))
def test_files_are_the_same_if_and_only_if_their_contents_are(tmp_path: Path, content: bytes, other: bytes) -> None:
    pipeline = with_parameter(list[Path], [])
    for name, data in (("one", content), ("other", other)):
        (tmp_path / name).write_bytes(data)
    digests = [pipeline.recipe(value=[tmp_path / name]).digest for name in ("one", "other")]
    assert (digests[0] == digests[1]) is (content == other)


# ---- other defaults


def test_other_defaults_make_the_recipe_that_their_values_make(spectra: list[BossVisitSpectrum]) -> None:
    other = thermometer.with_defaults(scale=2, mode="exact")
    assert other.recipe().digest == thermometer.recipe(scale=2.0, mode="exact").digest
    assert other.recipe(scale=1.0, mode="fast").digest == thermometer.recipe().digest
    assert other.with_defaults(mode="fast").recipe().digest == thermometer.recipe(scale=2.0).digest
    assert thermometer.recipe().values["scale"] == 1.0, "it stays as it was"


def test_another_default_goes_before_the_environment(
    from_environment: Task[Rocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    [name] = from_environment.parameters
    [variable] = [one.environment for one in from_environment.parameters.values()]
    assert variable is not None
    monkeypatch.setenv(variable, "7")
    given = from_environment.parameters[name].from_text("9")
    assert from_environment.with_defaults(**{name: given}).recipe().values[name] == given


@pytest.mark.parametrize("values", [{"scal": 2.0}, {"scale": "large"}])
def test_another_default_that_can_not_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"thermometer.*scale"):
        thermometer.with_defaults(**values)


def test_with_other_defaults_it_is_still_found_by_other_processes() -> None:
    assert reference_to(thermometer.with_defaults(scale=2.0)) == reference_to(thermometer) is not None
