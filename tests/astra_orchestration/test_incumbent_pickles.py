"""Pickles of another Astra's pipelines: closed, unless the operator opens them for that pipeline."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peewee
import pytest

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import ConfigurationError, PipelineError
from astra_models.slam import Slam
from astra_orchestration.incumbent import incumbent

pytestmark = pytest.mark.usefixtures("other_astra")

VISITS = "BossVisitSpectrum"
RUN = "survey_astra.pipelines.pickles:weights"
IMPORTED = "survey_astra.pipelines.pickle_at_import:weights"
Visits = Callable[..., list[BossVisitSpectrum]]


class Opened:
    """What says that it was unpickled, by the number of its items."""

    opened = 0

    def __reduce__(self) -> tuple[object, ...]:
        return _open, ()


def _open() -> list[int]:
    Opened.opened += 1
    return [1, 2, 3]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Write weights that are plain values: no class is in them."""
    path = tmp_path / "mwm" / "weights.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps([1.0, 2.0, 3.0]))
    return path


@pytest.mark.parametrize("way", ["plain", "python", "class", "thread", "hidden"])
def test_a_pickle_is_refused_while_it_runs_whatever_is_in_it(
    memory_database: peewee.Database, make_visits: Visits, weights: Path, way: str
) -> None:
    with pytest.raises(PipelineError, match=rf"{RUN} opens a pickle.*pickles=True"):
        list(incumbent(RUN, spectra=VISITS)(make_visits(2), way=way))

    assert not Slam.select().count()


@pytest.mark.parametrize("way", ["plain", "python", "class", "thread", "hidden"])
def test_a_pickle_is_opened_where_the_operator_says_so(
    memory_database: peewee.Database, make_visits: Visits, weights: Path, way: str
) -> None:
    list(incumbent(RUN, spectra=VISITS, pickles=True)(make_visits(2), way=way))

    assert [row.teff for row in Slam.select()] == [3, 3]


@pytest.mark.parametrize("way", ["plain", "python", "class", "numpy", "joblib", "thread", "hidden"])
def test_nothing_of_a_refused_pickle_is_run(
    memory_database: peewee.Database, make_visits: Visits, weights: Path, way: str
) -> None:
    if way == "joblib":
        joblib = pytest.importorskip("joblib")
        joblib.dump(Opened(), weights)
    elif way == "numpy":
        with weights.open("wb") as file:
            np.save(file, np.array([Opened()], dtype=object))
    else:
        weights.write_bytes(pickle.dumps(Opened()))
    before = Opened.opened

    with pytest.raises(PipelineError, match="opens a pickle"):
        list(incumbent(RUN, spectra=VISITS)(make_visits(1), way=way))

    assert Opened.opened == before


def test_a_pickle_at_import_is_refused_and_opened_only_for_that_pipeline(
    memory_database: peewee.Database, make_visits: Visits, weights: Path
) -> None:
    with pytest.raises(ConfigurationError, match=rf"{IMPORTED} opens a pickle.*pickles: true"):
        incumbent(IMPORTED, spectra=VISITS)

    list(incumbent(IMPORTED, spectra=VISITS, pickles=True)(make_visits(1)))
    assert Slam.get().teff == 3
    with pytest.raises(PipelineError, match="opens a pickle"):
        list(incumbent(RUN, spectra=VISITS)(make_visits(1)))


def test_whoever_else_unpickles_meanwhile_is_left_alone(
    memory_database: peewee.Database, make_visits: Visits, weights: Path
) -> None:
    original = pickle.loads
    spectra = make_visits(2)

    def read() -> object:
        for spectrum in spectra:
            assert pickle.loads(pickle.dumps(Opened())) == [1, 2, 3]
            yield spectrum

    results = incumbent("survey_astra.pipelines.others:clam", spectra=VISITS)(read())
    for _ in results:
        assert pickle.loads is original

    assert Slam.select().count() == 2
    assert pickle.loads is original
