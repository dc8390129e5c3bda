"""A result is current if what it was made from is what is there now, whatever any clock says."""

from collections import Counter
from datetime import timedelta
from typing import Any

import peewee
import pytest

from astra_models.analysis.due import Need, RecipeKey, count_due_by_reason, select_due, standing_of_spectra
from astra_models.base import bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.revisions import PIXELS
from astra_models.database.sql import quote
from astra_models.fields import utc_now
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_models.upsert import upsert

V = 9_001
RECIPE = RecipeKey("rocket", "1", "a")
NEEDS = (Need(SnowWhite),)
MAYBE = (Need(SnowWhite, optional=True),)


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that 0.9.1 is installed."""
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")


@pytest.fixture
def keys(database: peewee.Database, make_spectra: Any) -> list[int]:
    """Store five spectra and give their keys."""
    return [spectrum.spectrum_pk for spectrum in make_spectra(5)]


def revision(key: int) -> int:
    return BossVisitSpectrum.get(spectrum_pk=key).revision or 0


def run(recipe: RecipeKey = RECIPE) -> int:
    columns = {"pipeline": recipe.pipeline, "version": recipe.version, "recipe": recipe.digest}
    return PipelineRun.create(**columns, v_astra=V, parameters="{}").pk


def made(keys: list[int], **columns: Any) -> None:
    """Store results that say what they were made from: the spectra as they are."""
    rows = [{"spectrum_pk": key, "v_astra": V, "spectrum_revision": revision(key)} | columns for key in keys]
    assert upsert(Rocket, rows).rejected == 0


def measured(keys: list[int], **columns: Any) -> dict[int, int]:
    """Store results of the pipeline upstream, and give their revisions."""
    assert upsert(SnowWhite, [{"spectrum_pk": key, "v_astra": V} | columns for key in keys]).rejected == 0
    return {row.spectrum_pk: row.revision for row in SnowWhite.select()}


def reasons(**options: Any) -> dict[int, str]:
    """Give the reason of each spectrum that is due, and check that all ways to ask agree."""
    due = list(select_due(Rocket, BossVisitSpectrum, **options))
    standings = standing_of_spectra(Rocket, BossVisitSpectrum, BossVisitSpectrum.mjd > 0, **options)
    assert due == sorted(key for key, standing in standings.items() if standing.is_due)
    found = {key: standings[key].reason for key in due}
    counts = count_due_by_reason(Rocket, BossVisitSpectrum, **options)
    assert counts.reasons == Counter(found.values())
    assert counts.waiting == sum(s.waiting and s.reason is not None and not s.failed for s in standings.values())
    return {key: str(reason) for key, reason in found.items()}


# ---- spectra


CHANGES = {
    "an update": lambda key: BossVisitSpectrum.update(snr=3).where(BossVisitSpectrum.spectrum_pk == key).execute(),
    "SQL": lambda key: BossVisitSpectrum._meta.database.execute_sql(
        f"UPDATE {quote(bound_schema(), 'boss_visit_spectrum')} SET snr = 3 WHERE spectrum_pk = {key}"
    ),
    "a row": lambda key: _saved(key, snr=3),
}


def _saved(key: int, **columns: Any) -> None:
    row = BossVisitSpectrum.get(spectrum_pk=key)
    for name, value in columns.items():
        setattr(row, name, value)
    row.save()


@pytest.mark.parametrize("way", CHANGES)
@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=400)])
def test_a_changed_spectrum_is_due_however_it_was_changed_and_whatever_the_clock_said(
    keys: list[int], way: str, ahead: timedelta
) -> None:
    made(keys)
    Rocket.update(modified=utc_now() + ahead).execute()
    assert reasons() == {}
    CHANGES[way](keys[1])
    assert reasons() == {keys[1]: "spectrum changed"}
    made(keys)
    assert reasons() == {}


def test_a_spectrum_that_changed_while_it_was_analysed_is_due(keys: list[int]) -> None:
    taken = revision(keys[0])
    CHANGES["an update"](keys[0])
    made(keys[:1], spectrum_revision=taken)
    made(keys[1:])
    assert reasons() == {keys[0]: "spectrum changed"}


def test_what_no_result_depends_on_makes_nothing_due(keys: list[int]) -> None:
    made(keys)
    later = utc_now() + timedelta(days=1)
    BossVisitSpectrum.update(path="elsewhere.fits", modified=later, created=later, source_pk=None).execute()
    BossVisitSpectrum.update(snr=BossVisitSpectrum.snr).execute()  # to what it is
    assert reasons() == {}
    CHANGES["SQL"](keys[0])
    assert reasons() == {keys[0]: "spectrum changed"}
    made(keys)
    BossVisitSpectrum.update(snr=None).where(BossVisitSpectrum.spectrum_pk == keys[0]).execute()
    assert reasons() == {keys[0]: "spectrum changed"}


def test_new_pixels_under_the_same_row_are_a_reason_of_their_own(keys: list[int]) -> None:
    made(keys)
    model = BossVisitSpectrum
    pixels = peewee.fn.COALESCE(model.revision, 0) + PIXELS
    model.update(revision=pixels).where(model.spectrum_pk.in_(keys[:2])).execute()
    CHANGES["an update"](keys[1])
    assert reasons() == {keys[0]: "pixels changed", keys[1]: "spectrum changed"}
    assert [revision(key) for key in keys[:3]] == [PIXELS, PIXELS + 1, 0]


def test_rows_that_do_not_say_what_they_were_made_from_keep_the_rule_of_times(keys: list[int]) -> None:
    made(keys, spectrum_revision=None)
    BossVisitSpectrum.update(modified=utc_now() - timedelta(days=1)).execute()
    run_pk = run(RECIPE._replace(digest="b"))
    assert reasons(recipe=RECIPE, needs=MAYBE) == {}
    CHANGES["an update"](keys[2])
    assert reasons(recipe=RECIPE, needs=MAYBE) == {keys[2]: "spectrum changed"}
    made(keys[:1], pipeline_run_pk=run_pk)
    assert reasons(recipe=RECIPE)[keys[0]] == "parameters changed"


def test_a_result_of_a_newer_patch_is_never_due(keys: list[int]) -> None:
    made(keys, v_astra=V + 1, pipeline_run_pk=run(RECIPE._replace(digest="b")))
    CHANGES["an update"](keys[0])
    assert reasons(recipe=RECIPE) == {}


# ---- recipes


def test_another_recipe_makes_due_and_the_same_one_does_not(keys: list[int]) -> None:
    made(keys[:2], pipeline_run_pk=run())
    made(keys[2:3], pipeline_run_pk=run())
    made(keys[3:4], pipeline_run_pk=run(RecipeKey("rocket", "1", "b")))
    made(keys[4:], pipeline_run_pk=run(RecipeKey("rocket", "2", "c")))
    assert reasons() == {}
    assert reasons(recipe=RECIPE) == {keys[3]: "parameters changed", keys[4]: "pipeline's version"}
    assert set(reasons(recipe=RecipeKey("rocket", "2", "c"))) == set(keys[:4])


# ---- other pipelines' results


def test_a_spectrum_without_a_result_that_is_needed_waits(keys: list[int]) -> None:
    measured(keys[:2], p_da=0.5)
    assert reasons(needs=NEEDS) == dict.fromkeys(keys[:2], "new")
    assert count_due_by_reason(Rocket, BossVisitSpectrum, needs=NEEDS).waiting == 3
    assert set(reasons(needs=MAYBE)) == set(keys)
    assert count_due_by_reason(Rocket, BossVisitSpectrum, needs=MAYBE).waiting == 0


def test_a_result_of_another_version_is_not_the_one_that_is_needed(keys: list[int]) -> None:
    measured(keys, v_astra=8_000)
    assert reasons(needs=NEEDS) == {}


def test_other_values_upstream_make_due_and_the_same_values_again_do_not(keys: list[int]) -> None:
    before = measured(keys, p_da=0.5, classification="DA")
    for key in keys:
        made([key], upstream_revision=before[key])
    assert reasons(needs=NEEDS) == {}
    assert measured(keys, p_da=0.5, classification="DA", t_elapsed=3.0, tag="again") == before
    assert reasons(needs=NEEDS) == {}
    measured(keys[:1], p_da=0.6, classification="DA")
    measured(keys[1:2], p_da=0.5, classification="DB")
    measured(keys[2:3], p_da=0.5, classification="DA", result_flags=1)
    SnowWhite.update(p_da=0.7).where(SnowWhite.spectrum_pk == keys[3]).execute()
    assert reasons(needs=NEEDS) == dict.fromkeys(keys[:4], "upstream changed")
    measured(keys, p_da=0.5, classification="DA")
    assert reasons(needs=NEEDS) == {}


def test_a_result_that_was_not_there_and_is_now_makes_due(keys: list[int]) -> None:
    made(keys, upstream_revision=0)
    assert reasons(needs=MAYBE) == {}
    measured(keys[:1])
    assert reasons(needs=MAYBE) == {keys[0]: "upstream changed"}


def test_results_upstream_of_an_older_release_count_by_their_time(keys: list[int]) -> None:
    measured(keys, p_da=0.5)
    SnowWhite.update(revision=None, modified=utc_now() - timedelta(days=1)).execute()
    made(keys, upstream_revision=1)
    assert reasons(needs=NEEDS) == {}
    SnowWhite.update(revision=None, modified=utc_now()).where(SnowWhite.spectrum_pk == keys[0]).execute()
    assert reasons(needs=NEEDS) == {keys[0]: "upstream changed"}


# ---- failures


def failed(key: int, **columns: Any) -> None:
    values = {"model": "Rocket", "spectrum_pk": key, "v_astra": V, "reason": "exception", "message": "x"}
    RejectedResult.create(**values | columns)


def test_a_failure_counts_only_while_what_it_was_of_is_there(keys: list[int]) -> None:
    upstream = measured(keys, p_da=0.5)
    current, other = run(), run(RECIPE._replace(digest="b"))
    for key in keys[:4]:
        failed(key, spectrum_revision=0, pipeline_run_pk=current, upstream_revision=upstream[key])
    failed(keys[4], spectrum_revision=0, pipeline_run_pk=other, upstream_revision=upstream[keys[4]])
    options: dict[str, Any] = {"needs": NEEDS, "recipe": RECIPE}
    assert reasons(**options) == {keys[4]: "new"}
    CHANGES["SQL"](keys[0])
    measured(keys[1:2], p_da=0.6)
    BossVisitSpectrum.update(modified=utc_now() + timedelta(days=1)).execute()
    assert set(reasons(**options)) == {keys[0], keys[1], keys[4]}


def test_values_that_are_merged_into_a_result_upstream_make_due_once_they_differ(keys: list[int]) -> None:
    before = measured(keys, p_da=0.5, p_db=0.25)
    for key in keys:
        made([key], upstream_revision=before[key])
    SnowWhite.update(modified=utc_now() - timedelta(days=1)).execute()

    row = {"spectrum_pk": keys[0], "v_astra": V, "p_da": 0.75}
    assert upsert(SnowWhite, [row], existing="merge").updated == 1
    assert reasons(needs=NEEDS) == {keys[0]: "upstream changed"}

    # Of a row that was written in parts, the parts don't say what it holds: another row may have set the same ones.
    assert SnowWhite.get(spectrum_pk=keys[0]).revision is None
    measured(keys[:1], p_da=0.75)
    assert SnowWhite.get(spectrum_pk=keys[0]).p_db is None
    assert reasons(needs=NEEDS) == {keys[0]: "upstream changed"}
