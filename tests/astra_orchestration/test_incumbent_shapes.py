"""Generators of another Astra, of every shape that the survey's has, called as tasks of ours.

The package `survey_astra` stands for it: `tests/incumbent` has it, and nothing of it is the survey's code.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest

from astra_models.analysis.due import due_options, select_due
from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.corv import Corv
from astra_models.errors import ConfigurationError, ParameterError, PipelineError
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import BossCombinedSpectrum
from astra_models.nmf_rectify import NMFRectify
from astra_models.rejected import RejectedResult
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.the_cannon import TheCannon
from astra_models.upsert import upsert
from astra_orchestration.incumbent import incumbent

VISITS = "BossVisitSpectrum"
Visits = Callable[..., list[BossVisitSpectrum]]


pytestmark = [pytest.mark.usefixtures("other_astra"), pytest.mark.long_on_each]


def place(name: str) -> str:
    module, _, function = name.rpartition(".")
    return f"survey_astra.pipelines.{module}:{function}"


# ---- what it takes, gives and needs


def test_kinds_and_results_follow_from_the_annotations(database: peewee.Database) -> None:
    task = incumbent(place("bossnet.bossnet"))

    assert task.spectrum_models == (BossVisitSpectrum, BossCombinedSpectrum)
    assert task.output_models == (BossNet,)
    assert (task.name, task.version) == ("bossnet", "0.8.0")
    assert {name: one.is_configuration for name, one in task.parameters.items()} == {"scale": True}


def test_results_are_rows_of_ours_with_the_flags_that_its_own_rule_set(
    database: peewee.Database, make_visits: Visits
) -> None:
    spectra = make_visits(2)

    list(incumbent(place("bossnet.bossnet"))(spectra, scale=500.0))

    rows = list(BossNet.select().order_by(BossNet.spectrum_pk))
    assert [row.spectrum_pk for row in rows] == [spectrum.spectrum_pk for spectrum in spectra]
    assert [row.source_pk for row in rows] == [spectrum.source_pk for spectrum in spectra]
    assert rows[0].teff == 1000
    assert rows[0].e_teff == 0.5
    assert rows[0].flag_unreliable_teff
    assert not rows[0].flag_runtime_exception
    assert rows[0].v_astra != "0.8.0"
    assert rows[0].t_overhead > 0


def test_a_default_query_becomes_the_selection_and_is_never_run(database: peewee.Database, make_visits: Visits) -> None:
    spectra = make_visits(6)
    Source.update(g_mag=16.0).execute()
    kinds = dict.fromkeys((spectrum.spectrum_pk for spectrum in spectra), "DA")
    kinds[spectra[1].spectrum_pk] = "DB"
    upsert(SnowWhite, [SnowWhite.from_spectrum(one, classification=kinds[one.spectrum_pk]) for one in spectra[:5]])
    BossVisitSpectrum.update(run2d="other").where(BossVisitSpectrum.spectrum_pk == spectra[2].spectrum_pk).execute()
    Source.update(g_mag=21.0).where(Source.pk == spectra[3].source_pk).execute()
    task = incumbent(place("corv.corv"))

    due = select_due(Corv, BossVisitSpectrum, **due_options(task, BossVisitSpectrum))

    assert set(due) == {spectra[0].spectrum_pk, spectra[4].spectrum_pk}
    assert [need.model for need in task.needs] == [SnowWhite]


def test_a_process_pool_gives_results_in_any_order_and_none_is_no_result(
    database: peewee.Database, make_visits: Visits
) -> None:
    spectra = make_visits(5)
    upsert(SnowWhite, [SnowWhite.from_spectrum(one, classification="DA") for one in spectra])
    BossVisitSpectrum.update(mjd=1).where(BossVisitSpectrum.spectrum_pk == spectra[1].spectrum_pk).execute()
    BossVisitSpectrum.update(mjd=7).where(BossVisitSpectrum.spectrum_pk == spectra[2].spectrum_pk).execute()
    again = list(BossVisitSpectrum.select().order_by(BossVisitSpectrum.spectrum_pk))

    list(incumbent(place("corv.corv"))(again, max_workers=2))

    teff = {row.spectrum_pk: row.teff for row in Corv.select()}
    assert set(teff) == {one.spectrum_pk for one in spectra} - {spectra[1].spectrum_pk}
    assert teff[spectra[2].spectrum_pk] == 10_007
    [lost] = RejectedResult.select()
    assert (lost.spectrum_pk, lost.reason) == (spectra[1].spectrum_pk, "no_result")


def test_a_return_annotation_without_iterable_and_its_page_and_limit_are_left_alone(
    database: peewee.Database, make_visits: Visits
) -> None:
    spectra = make_visits(3)
    BossVisitSpectrum.update(snr=3.0).execute()
    BossVisitSpectrum.update(snr=9.0).where(BossVisitSpectrum.spectrum_pk == spectra[1].spectrum_pk).execute()
    task = incumbent(place("slam.slam"))
    assert not task.parameters

    write(analyse(task))

    [row] = Slam.select()
    assert (row.spectrum_pk, row.tag, row.source_pk) == (spectra[1].spectrum_pk, "visit", spectra[1].source_pk)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("slam.slam_of_snow_white", "only_there"),
        ("slam.few", "LIMIT"),
        ("slam.of_a_subquery", "ModelSelect"),
        ("slam.of_a_table_that_is_not_joined", "SnowWhite.classification, and doesn't join"),
        ("slam.of_done_ones", "that have a result of Slam already"),
    ],
)
def test_a_query_that_cannot_be_said_in_our_columns_is_refused_and_never_left_out(
    database: peewee.Database, name: str, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        incumbent(place(name))

    assert incumbent(place(name), where=None).spectrum_models == (BossVisitSpectrum,)
    assert incumbent(place(name), where=BossVisitSpectrum.snr > 5).where is not None


def test_a_union_of_queries_is_refused(memory_database: peewee.Database) -> None:
    with pytest.raises(ConfigurationError, match="it is a ModelCompoundSelectQuery"):
        incumbent(place("slam.of_two_queries"))


def test_all_that_conditions_are_made_of_is_taken_over(database: peewee.Database, make_visits: Visits) -> None:
    spectra = make_visits(5)
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    Source.update(g_mag=15.5).execute()
    Source.update(g_mag=17.0).where(Source.pk == spectra[1].source_pk).execute()
    BossVisitSpectrum.update(run2d="v5_1").where(BossVisitSpectrum.spectrum_pk == keys[2]).execute()
    BossVisitSpectrum.update(mjd=50).where(BossVisitSpectrum.spectrum_pk == keys[3]).execute()
    upsert(SnowWhite, [SnowWhite.from_spectrum(spectra[4], classification="DA")])
    task = incumbent(place("slam.of_many_conditions"))

    assert [(need.model, need.optional) for need in task.needs] == [(SnowWhite, True)]
    assert set(select_due(Slam, BossVisitSpectrum, **due_options(task, BossVisitSpectrum))) == {keys[0]}


def test_sources_are_handed_over_with_their_spectra_and_results_name_spectra(
    database: peewee.Database, make_visits: Visits
) -> None:
    spectra = make_visits(3)
    first = spectra[0].source_pk
    Source.update(g_mag=16.0).execute()
    BossVisitSpectrum.update(source_pk=first).where(BossVisitSpectrum.spectrum_pk == spectra[1].spectrum_pk).execute()
    with pytest.raises(ConfigurationError, match="say which spectra of theirs"):
        incumbent(place("nmf_rectify.by_source"))
    task = incumbent(place("nmf_rectify.by_source"), spectra=VISITS)

    write(analyse(task))

    rows = {row.spectrum_pk: row for row in NMFRectify.select()}
    assert [rows[one.spectrum_pk].joint_rchi2 for one in spectra] == [2, 2, 1]
    assert [rows[one.spectrum_pk].rchi2 for one in spectra] == [1, 1, 1]
    assert not RejectedResult.select().count()


def test_any_kind_of_spectra_needs_the_operators_word(database: peewee.Database, make_visits: Visits) -> None:
    for name in ("others.mdwarftype", "others.clam"):
        with pytest.raises(ConfigurationError, match="spectra='BossVisitSpectrum'"):
            incumbent(place(name))
    spectra = make_visits(3)

    list(incumbent(place("others.mdwarftype"), spectra=VISITS)(spectra))
    list(incumbent(place("others.clam"), spectra=BossVisitSpectrum)(spectra, max_nfev=7))

    assert [(row.spectral_type, row.rchi2) for row in MDwarfType.select()] == [("M5", 3)] * 3
    assert [row.teff for row in Slam.select()] == [7] * 3


def test_a_parameter_without_a_default_has_to_be_given(
    database: peewee.Database, make_visits: Visits, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="'model_path' has no default"):
        incumbent(place("others.the_cannon"), spectra=VISITS)
    with pytest.raises(ParameterError, match="did you mean model_path"):
        incumbent(place("others.the_cannon"), spectra=VISITS, parameters={"model_pat": "x"})
    model = tmp_path / "some.model"
    model.write_text("5770")

    task = incumbent(place("others.the_cannon"), spectra=VISITS, parameters={"model_path": str(model)})
    list(task(make_visits(1)))

    assert task.parameters["model_path"].is_configuration
    assert TheCannon.get().teff == 5770


def test_a_pipeline_without_input_reads_our_tables_and_answers_what_is_due(
    database: peewee.Database, make_visits: Visits
) -> None:
    with pytest.raises(ConfigurationError, match="it takes no spectra"):
        incumbent(place("others.best"))
    spectra = make_visits(3)
    upsert(Slam, [Slam.from_spectrum(one, teff=3000.0) for one in spectra])

    list(incumbent(place("others.best"), spectra=VISITS)(spectra[:2]))

    assert [(row.spectrum_pk, row.teff) for row in BossNet.select().order_by(BossNet.spectrum_pk)] == [
        (one.spectrum_pk, 3001) for one in spectra[:2]
    ]
    assert not RejectedResult.select().count()


# ---- spectra and results


def test_failures_that_it_hides_are_no_result(database: peewee.Database, make_visits: Visits) -> None:
    spectra = make_visits(3)
    BossVisitSpectrum.update(mjd=1).where(BossVisitSpectrum.spectrum_pk == spectra[1].spectrum_pk).execute()

    list(
        incumbent(place("others.hiding"), spectra=VISITS)(
            BossVisitSpectrum.select().order_by(BossVisitSpectrum.spectrum_pk)
        )
    )

    assert Slam.select().count() == 2
    assert [(row.spectrum_pk, row.reason) for row in RejectedResult.select()] == [(spectra[1].spectrum_pk, "no_result")]


def test_spectra_can_be_counted_gone_over_twice_and_picked(database: peewee.Database, make_visits: Visits) -> None:
    list(incumbent(place("others.going_over_twice"), spectra=VISITS)(make_visits(4)))

    assert [row.teff for row in Slam.select()] == [4] * 4


def test_what_is_returned_as_a_list_counts_as_if_it_were_yielded(
    database: peewee.Database, make_visits: Visits
) -> None:
    list(incumbent(place("others.giving_a_list"), spectra=VISITS)(make_visits(2)))

    assert Slam.select().count() == 2


def test_results_may_be_mappings_named_tuples_and_objects(database: peewee.Database, make_visits: Visits) -> None:
    list(incumbent(place("others.of_any_kind"), spectra=VISITS)(make_visits(3)))

    rows = list(BossNet.select().order_by(BossNet.spectrum_pk))
    assert [(row.teff, row.flag_runtime_exception) for row in rows] == [(1, True), (2, False), (3, False)]


def test_a_value_without_a_column_is_refused_by_name(database: peewee.Database, make_visits: Visits) -> None:
    with pytest.raises(PipelineError, match=r"no column or flag 'tefff'.*did you mean"):
        list(incumbent(place("others.unknown_name"), spectra=VISITS)(make_visits(2)))


def test_results_without_a_table_here_need_one(database: peewee.Database, make_visits: Visits) -> None:
    with pytest.raises(ConfigurationError, match="no table of results 'unpublished'"):
        incumbent(place("others.unpublished"), spectra=VISITS)

    list(incumbent(place("others.unpublished"), spectra=VISITS, results="Slam")(make_visits(1)))

    assert Slam.get().teff == 1


def test_it_cannot_write_to_the_database_by_itself(database: peewee.Database, make_visits: Visits) -> None:
    with pytest.raises(PipelineError, match="writes to the database by itself"):
        list(incumbent(place("others.storing"), spectra=VISITS)(make_visits(1)))

    assert not Slam.select().count()


# ---- files


def test_files_go_below_the_root_and_variables_are_restored(
    database: peewee.Database, make_visits: Visits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MWM_ASTRA", "/nowhere")
    root = tmp_path / "products"
    task = incumbent(
        place("others.writing"), spectra=VISITS, root=str(root), environment={"SURVEY_SCRATCH": str(tmp_path / "s")}
    )
    assert str(root / "pipelines" / "others") == sys.modules["survey_astra.pipelines.others"].AT_IMPORT
    [spectrum] = make_visits(1)

    for _ in task([spectrum]):
        assert os.environ["MWM_ASTRA"] == "/nowhere"

    [file] = root.rglob("*.txt")
    assert file.relative_to(root).as_posix() == f"0.8.0/pipelines/writing/{spectrum.spectrum_pk}.txt"
    assert file.read_text() == str(tmp_path / "s")
    assert os.environ["MWM_ASTRA"] == "/nowhere"
    assert "SURVEY_SCRATCH" not in os.environ


def test_without_any_root_files_go_to_the_users_folder_of_data(
    memory_database: peewee.Database, make_visits: Visits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MWM_ASTRA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    list(incumbent(place("others.writing"), spectra=VISITS)(make_visits(1)))

    assert list((tmp_path / "data" / "astra").rglob("*.txt"))


# ---- where it is


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("survey_astra.pipelines.absent:absent", "install the survey's Astra"),
        ("survey_astra.pipelines.bossnet:bosnet", "did you mean bossnet"),
        ("survey_astra.pipelines.bossnet", "write package.module:function"),
    ],
)
def test_a_pipeline_that_is_not_there_is_said_with_a_remedy(where: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        incumbent(where)
