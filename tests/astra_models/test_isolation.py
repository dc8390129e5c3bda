"""Spectra that end the process which analyses them: found, tried alone once more, listed; the rest is done."""

import itertools
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models import bulk_insert_or_replace_pipeline_results
from astra_models.analysis.analyst import Analyst, Found, columns_of
from astra_models.analysis.engine import job_of
from astra_models.analysis.failures import Undecided
from astra_models.analysis.isolation import Limits, analyse_isolated
from astra_models.analysis.job import Job
from astra_models.analysis.recording import Recording, record_found
from astra_models.analysis.usage import Usage
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import PipelineError, WorkerError
from astra_models.outputs import output_models
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from tests import fragile

pytestmark = pytest.mark.long_on_each


def job(pipeline: Any = fragile.fragile, **parameters: Any) -> Job:
    made = job_of(pipeline, parameters)
    assert made is not None
    return made


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store twelve spectra."""
    return make_spectra(12)


def poison(spectra: list[Any], **kinds: int) -> list[int]:
    """Make some of the spectra do something to their process, by place; give all keys."""
    for place, mjd in kinds.items():
        BossVisitSpectrum.update(mjd=mjd).where(
            BossVisitSpectrum.spectrum_pk == spectra[int(place.strip("_"))].spectrum_pk
        ).execute()
    return [spectrum.spectrum_pk for spectrum in spectra]


def isolated(keys: list[int], pipeline: Any = fragile.fragile, **options: Any) -> tuple[list[int], dict[int, Any]]:
    """Analyse in isolation, and give the keys that have a result, and the failures by key."""
    limits = Limits(options.pop("seconds", None), options.pop("memory", None))
    parts = list(analyse_isolated(job(pipeline), BossVisitSpectrum, keys, limits, **options))
    done = [key for part in parts for _, columns in part.columns for key in columns["spectrum_pk"].values.tolist()]
    failures = {row.spectrum_pk: row for part in parts for row in [*part.failures, *part.undecided.raised]}
    assert len(done) == len(set(done)) and not set(done) & set(failures)
    return sorted(done), failures


@pytest.mark.sqlite_only(reason="the child does the same on either")
@pytest.mark.parametrize(
    ("mjd", "reason", "words"),
    [
        (fragile.SEGFAULTS, "crash", "SIGSEGV"),
        (fragile.EXITS, "crash", "exit code 7"),
        (fragile.HANGS, "timeout", "longer than 2 s"),
        (fragile.HOLDS_GIL, "timeout", "longer than 2 s"),
        (fragile.EATS_MEMORY, "memory", "MemoryError"),
        (fragile.RAISES, "exception", "a bad one"),
    ],
)
def test_the_culprit_is_found_and_the_rest_is_done(spectra: list[Any], mjd: int, reason: str, words: str) -> None:
    keys = poison(spectra, _5=mjd)
    done, failures = isolated(keys, seconds=2, memory=4_000_000_000)
    assert done == [*keys[:5], *keys[6:]]
    assert [(row.spectrum_pk, row.reason) for row in failures.values()] == [(keys[5], reason)]
    assert words in failures[keys[5]].message and failures[keys[5]].source_pk is not None


def test_several_culprits(spectra: list[Any]) -> None:
    keys = poison(spectra, _0=fragile.EXITS, _1=fragile.SEGFAULTS, _11=fragile.EXITS)
    done, failures = isolated(keys)
    assert done == keys[2:11] and {row.reason for row in failures.values()} == {"crash"}


@pytest.mark.sqlite_only(reason="the child does the same on either")
def test_a_culprit_among_several_that_are_open_is_found_by_halves(spectra: list[Any]) -> None:
    keys = poison(spectra, _2=fragile.EXITS)
    done, failures = isolated(keys, fragile.several_at_once)
    assert done == [*keys[:2], *keys[3:]] and list(failures) == [keys[2]]


@pytest.mark.sqlite_only(reason="the child does the same on either")
def test_what_is_well_when_it_is_tried_alone_is_not_blamed(spectra: list[Any]) -> None:
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    assert isolated(keys, suspect=keys[3]) == (keys, {})


@pytest.mark.sqlite_only(reason="the child does the same on either")
def test_what_a_pipeline_leaves_running_is_not_waited_for(spectra: list[Any]) -> None:
    started = time.monotonic()
    keys = poison(spectra, _2=fragile.EXITS)
    assert isolated(keys, fragile.leaves_a_thread) == (keys, {})
    done, failures = isolated(keys, fragile.leaves_a_process)
    assert done == [*keys[:2], *keys[3:]] and [row.reason for row in failures.values()] == ["crash"]
    assert time.monotonic() - started < 19, "a process that was left behind sleeps for 20 s"


@pytest.mark.sqlite_only(reason="the child does the same on either")
def test_a_pipeline_that_can_not_begin_ends_the_run(spectra: list[Any]) -> None:
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    with pytest.raises((PipelineError, WorkerError), match="log"):
        list(analyse_isolated(job(fragile.sets_up, log="/nowhere/log"), BossVisitSpectrum, keys, Limits()))


@pytest.mark.sqlite_only(reason="the child does the same on either")
def test_another_version_in_the_other_process_is_refused(spectra: list[Any]) -> None:
    other = job()
    other = Job(other.pipeline, other.parameters, other.versions._replace(package="0.8.1"), other.database)
    with pytest.raises(WorkerError, match=r"package 0\.8\.1.*and this process has"):
        Analyst(other)


def test_the_text_of_a_job_has_no_database(database: peewee.Database) -> None:
    assert "Opening" in repr(job().database) and str(database.database) not in repr(job())


# ---- one generator for many chunks


def collected(analyst: Analyst, keys: list[int], size: int) -> list[Found]:
    chunks = (
        [list(chunk) for chunk in itertools.batched(keys, size)]
        if hasattr(itertools, "batched")
        else [keys[start : start + size] for start in range(0, len(keys), size)]
    )
    return [Found.unpack(analyst.analyse(BossVisitSpectrum, chunk).pack()) for chunk in chunks]


def keys_of(found: Found) -> list[int]:
    columns = [columns["spectrum_pk"].values.tolist() for _, columns in found.columns]
    failed = [row.spectrum_pk for row in [*found.failures, *found.undecided.raised]]
    return sorted([*itertools.chain.from_iterable(columns), *failed, *(of[0] for of in found.undecided.silent)])


@pytest.mark.parametrize("size", [1, 5, 7])
def test_each_chunk_has_its_own_results(spectra: list[Any], size: int) -> None:
    keys = poison(spectra, _1=fragile.RAISES, _2=fragile.SAYS_NOTHING, _6=fragile.RAISES, _11=fragile.SAYS_NOTHING)
    for pipeline in (fragile.fragile, fragile.several_at_once):
        for found in collected(Analyst(job(pipeline)), keys, size):
            assert keys_of(found) == found.keys


@pytest.mark.sqlite_only(reason="nothing is written")
def test_the_set_up_is_made_once(spectra: list[Any], tmp_path: Any) -> None:
    log = tmp_path / "log"
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    parts = collected(Analyst(job(fragile.sets_up, log=str(log))), keys, 3)
    assert len(log.read_text().split()) == 1 and sum(found.answered for found in parts) == 12


def test_what_is_found_can_be_listed(spectra: list[Any]) -> None:
    keys = poison(spectra, _0=fragile.RAISES)
    first, second = collected(Analyst(job()), keys, 1)[:2]
    assert [row.reason for row in first.undecided.raised] == ["exception"] and second.answered == 1
    assert isinstance(first.undecided.raised[0], RejectedResult)


def test_a_kind_of_column_is_the_same_object_in_another_process() -> None:
    import pickle

    from astra_models.columns import typed

    kinds = [value for value in vars(typed).values() if isinstance(value, typed.Kind)]
    assert len(kinds) == 11 and all(pickle.loads(pickle.dumps(kind)) is kind for kind in kinds)


def example(field: Any) -> Any:
    """Give a value that a column takes, unlike its default."""
    from astra_models.columns import typed

    kind = typed.kind_of(field)
    if kind is typed.MOMENT:
        return datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    if kind is typed.FLOATS:
        return np.array([1.5, np.nan, -3.25])
    return {"text": "ä'\\x", "bytea": b"\x00\xff", "boolean": True, "integer": 7, "bigint": 2**40}.get(kind.sql, 1.25)


@pytest.mark.parametrize("model", output_models(), ids=lambda model: model.__name__)
def test_columns_of_another_process_are_stored_as_rows_are(
    database: peewee.Database, make_spectra: Any, model: type[PipelineOutputMixin]
) -> None:
    spectra = make_spectra(2)
    aside = {"task_pk", "spectrum_pk", "source_pk", "v_astra", "v_astra_major_minor", "pipeline_run_pk", "modified"}
    fields = [field for field in model._meta.sorted_fields if field.name not in aside]
    values = {field.name: example(field) for field in fields if not isinstance(field, peewee.ForeignKeyField)}

    def results() -> list[PipelineOutputMixin]:
        return [model.from_spectrum(spectra[0], **values), model.from_spectrum(spectra[1])]

    def stored() -> list[str]:
        rows = model.select().order_by(model.spectrum_pk).dicts()
        aside = {"task_pk", "modified"} | ({"created"} if "created" not in values else set())
        return [repr({name: value for name, value in row.items() if name not in aside}) for row in rows][:1]

    written = len(bulk_insert_or_replace_pipeline_results(results()))
    expected = stored()
    model.delete().execute()
    columns, refused = columns_of([model], results())
    keys, usage = [one.spectrum_pk for one in spectra], Usage("", 0, 0.0, 0.0, 0)
    found = Found(keys, columns, refused, Undecided([], [], 0), 2, usage)
    report = record_found(Found.unpack(found.pack()), Recording())
    assert (report.inserted, report.rejected) == (written, 2 - written) and written > 0
    assert stored() == expected
