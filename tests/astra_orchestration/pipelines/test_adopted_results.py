"""MWMBest as a pipeline: the order of preference, from the survey's or another file, on both databases."""

from pathlib import Path

import pytest

from astra_models.analysis.stream import analyse, write
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.best import MWMBest
from astra_models.bossnet import BossNet
from astra_models.mwm import BossCombinedSpectrum
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from astra_orchestration.pipelines.best import SURVEY, mwm_best
from astra_orchestration.pipelines.best.order import BestError, read_order

pytestmark = pytest.mark.long_on_each

OB, YSO = 3, 12
"""Bits of a carton of each program."""

CARTONS = f"label,bit,program\nob_core,{OB},mwm_ob\nyso_disk,{YSO},mwm_yso\nyso_other,40,mwm_yso\n"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    for name in ("ASTRA_BEST_ORDER", "ASTRA_CARTONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "products"))


@pytest.fixture
def cartons(tmp_path):
    path = tmp_path / "cartons.csv"
    path.write_text(CARTONS)
    return path


def source_of(*bits):
    flags = bytearray(6)
    for bit in bits:
        flags[bit // 8] |= 1 << bit % 8
    number = Source.select().count() + 1
    return Source.create(sdss_id=1000 + number, sdss5_target_flags=bytes(flags) if bits else None).pk


def boss(source, **columns):
    key = Spectrum.create().pk
    given = {"release": "sdss5", "filetype": "mwmStar", "telescope": "apo25m", "run2d": "v6_2_0", "v_astra": 9_000}
    given |= {"sdss_id": source, "healpix": key, "snr": 50.0} | columns
    return BossCombinedSpectrum.create(spectrum_pk=key, source_pk=source, **given)


def apogee(source, **columns):
    key = Spectrum.create().pk
    given = {"release": "sdss5", "filetype": "apStar", "telescope": "apo25m", "apred": "1.3", "apstar": "stars"}
    given |= {"obj": f"star{key}", "field": "", "prefix": "ap", "snr": 80.0} | columns
    return ApogeeCoaddedSpectrumInApStar.create(spectrum_pk=key, source_pk=source, star_pk=key, **given)


def give(model, spectrum, **columns):
    upsert(model, [{"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk} | columns])


def run(**parameters):
    return write(analyse(mwm_best, parameters=parameters))


def adopted():
    return {row.source_pk: row.pipeline for row in MWMBest.select()}


# ---- the survey's order


def test_each_source_once_by_the_first_rule_that_it_meets(database, cartons):
    wanted = {}

    def star(expected, *bits, **results):
        source = source_of(*bits)
        on_boss, on_apogee = boss(source), apogee(source)
        kinds = {SnowWhite: on_boss, BossNet: on_boss, Slam: on_boss}
        for name, columns in results.items():
            model = {one.__name__: one for one in (SnowWhite, BossNet, Slam, ASPCAP, ApogeeNet, AstroNN)}[name]
            give(model, kinds.get(model, on_apogee), **columns)
        wanted[source] = expected

    good, flagged = {"teff": 5000.0}, {"teff": 5000.0, "result_flags": 1}
    everything = {"BossNet": good, "ASPCAP": good, "ApogeeNet": good, "Slam": good, "AstroNN": good}
    star("snow_white", SnowWhite=flagged, **everything)
    star("boss_net", OB, **everything)
    star("aspcap", OB, **everything | {"BossNet": flagged})
    star("apogee_net", YSO, **everything)
    star("apogee_net", 40, **everything)
    star("boss_net", YSO, **everything | {"ApogeeNet": flagged})
    star("slam", **everything)
    star("slam", 13, **everything)  # of another carton
    star("aspcap", **everything | {"Slam": flagged})
    star("astro_nn", AstroNN=good, ApogeeNet=good, BossNet=good, ASPCAP={"result_flags": 1})
    star("apogee_net", ApogeeNet=good, BossNet=good, AstroNN=flagged)
    star("boss_net", ApogeeNet=flagged, BossNet=good)
    star("apogee_net", ApogeeNet=flagged, BossNet=flagged)
    star("boss_net", BossNet=flagged)
    star(None)

    report = run(cartons=cartons)

    assert (report.rejected, adopted()) == (0, {pk: name for pk, name in wanted.items() if name})
    assert run(cartons=cartons).rows == 0


def test_what_is_bad_for_aspcap_isnt_adopted_but_a_warning_is(database):
    bad, warned = source_of(), source_of()
    for source, flags in ((bad, 2**26), (warned, 2**5)):
        spectrum = apogee(source)
        give(ASPCAP, spectrum, teff=4500.0, result_flags=flags)
        give(AstroNN, spectrum, teff=4600.0)
    run()
    assert adopted() == {bad: "astro_nn", warned: "aspcap"}


def test_columns_are_those_of_the_result_and_of_its_spectrum(database):
    cool, hot, white = source_of(), source_of(), source_of()
    spectrum = boss(cool, v_rad=12.5, e_v_rad=0.5, xcsao_teff=3500.0, zwarning_flags=4, min_mjd=59000, n_visits=3)
    give(Slam, spectrum, teff=3400.0, e_teff=50.0, logg=4.9, fe_h=-0.1, alpha_fe=0.2, e_alpha_fe=0.05, rchi2=1.5)
    spectrum = boss(hot, v_rad=-3.0)
    give(BossNet, spectrum, teff=9000.0, bn_v_r=-2.5, e_bn_v_r=1.5, result_flags=1)
    give(SnowWhite, boss(white), classification="DA", p_da=0.9, teff=12000.0, logg=8.0)

    run()

    slam, net, dwarf = (MWMBest.get(MWMBest.source_pk == pk) for pk in (cool, hot, white))
    assert (slam.teff, slam.e_teff, slam.alpha_m_atm, slam.e_alpha_m_atm) == pytest.approx((3400, 50, 0.2, 0.05))
    assert (slam.v_rad, slam.xcsao_teff, slam.zwarning_flags, slam.min_mjd, slam.n_visits) == (12.5, 3500, 4, 59000, 3)
    assert (slam.release, slam.filetype, slam.telescope, slam.run2d) == ("sdss5", "mwmStar", "apo25m", "v6_2_0")
    assert slam.apred is None and slam.boss_net_v_rad is None and slam.mg_h is None and slam.rchi2 == 1.5
    assert (net.v_rad, net.boss_net_v_rad, net.boss_net_e_v_rad, net.pipeline_flags) == (-3, -2.5, 1.5, 1)
    assert (dwarf.classification, dwarf.p_da, dwarf.teff) == ("DA", pytest.approx(0.9), 12000)


def test_abundances_come_with_their_flags(database):
    spectrum = apogee(source_of(), doppler_teff=4800.0, mean_fiber=120.0)
    give(ASPCAP, spectrum, teff=4700.0, mg_h=0.1, e_mg_h=0.02, mg_h_flags=2**4, m_h_atm=-0.2, v_sini=3.0)
    run()
    row = MWMBest.get()
    assert (row.mg_h, row.e_mg_h, row.m_h_atm, row.v_sini) == pytest.approx((0.1, 0.02, -0.2, 3.0))
    assert (row.mg_h_flags, row.doppler_teff, row.mean_fiber, row.apred) == (2**4, 4800, 120, "1.3")


def test_of_several_spectra_the_one_of_the_highest_snr_counts(database):
    source = source_of()
    faint, bright, unknown = (
        boss(source, snr=10.0),
        boss(source, snr=90.0, telescope="lco25m"),
        boss(source, snr=None, telescope="apo1m"),
    )
    for spectrum in (faint, bright, unknown):
        give(Slam, spectrum, teff=3500.0 + spectrum.spectrum_pk)
    run()
    assert MWMBest.get().spectrum_pk == bright.spectrum_pk


def test_of_two_co_adds_the_newer_one_counts(database):
    source = source_of()
    old, new = boss(source, snr=90.0, v_astra=8_000), boss(source, snr=80.0, v_astra=9_000)
    for spectrum in (old, new):
        give(Slam, spectrum, teff=3500.0)
    run()
    assert MWMBest.get().spectrum_pk == new.spectrum_pk


def test_results_of_another_version_or_without_a_source_arent_adopted(database):
    give(Slam, boss(source_of()), teff=3500.0, v_astra=1_000_000_000)
    give(Slam, boss(None, sdss_id=5), teff=3500.0)
    assert run().rows == 0 and MWMBest.select().count() == 0


# ---- what becomes due


def test_a_changed_result_is_adopted_again_in_place(database):
    source = source_of()
    spectrum = boss(source)
    give(Slam, spectrum, teff=3500.0)
    run()
    before = MWMBest.get()
    give(Slam, spectrum, teff=3600.0)
    report = run()
    assert (report.inserted, report.updated, MWMBest.get().teff, MWMBest.get().task_pk) == (0, 1, 3600, before.task_pk)
    give(Slam, spectrum, teff=3600.0)
    assert run().rows == 0


def test_a_better_result_takes_the_place_of_the_one_before(database):
    source = source_of()
    on_boss, on_apogee = boss(source), apogee(source)
    give(BossNet, on_boss, teff=5000.0)
    run()
    give(ASPCAP, on_apogee, teff=5100.0)
    report = run()
    assert (report.inserted, report.updated) == (0, 1)
    assert [(row.pipeline, row.spectrum_pk, row.apred, row.run2d) for row in MWMBest.select()] == [
        ("aspcap", on_apogee.spectrum_pk, "1.3", None)
    ]


def test_a_result_that_vanished_gives_place_to_the_next(database):
    source = source_of()
    on_boss, on_apogee = boss(source), apogee(source)
    give(BossNet, on_boss, teff=5000.0)
    give(Slam, on_boss, teff=5050.0)
    give(ASPCAP, on_apogee, teff=5100.0)
    run()
    assert adopted() == {source: "slam"}
    Slam.delete().execute()
    run()
    assert adopted() == {source: "aspcap"}
    ASPCAP.delete().execute()
    run()
    assert adopted() == {source: "boss_net"}
    assert run().rows == 0 and MWMBest.select().count() == 1


# ---- other orders


def other(tmp_path, text):
    path = tmp_path / "order.yaml"
    path.write_text(text)
    return path


def test_another_order_is_a_file_and_makes_rows_due(database, tmp_path):
    source = source_of(OB)
    spectrum = boss(source)
    give(Slam, spectrum, teff=3500.0)
    give(BossNet, spectrum, teff=3600.0)
    run()
    order = other(
        tmp_path,
        f"""
        programs: {{mwm_ob: {{bits: [{OB}]}}}}
        order:
          - {{pipeline: boss_net, spectra: boss_combined_spectrum, program: mwm_ob}}
          - {{pipeline: slam, spectra: boss_combined_spectrum}}
        """,
    )
    assert run(order=order).updated == 1
    assert adopted() == {source: "boss_net"}
    assert mwm_best.warnings(order=order) == ()


def test_only_named_reductions_count(database):
    one, other = source_of(), source_of()
    give(Slam, boss(one, run2d="v6_1_3"), teff=3500.0)
    give(Slam, boss(other, run2d="v6_2_0"), teff=3500.0)
    run(run2d=["v6_1_3"])
    assert adopted() == {one: "slam"}


def test_without_the_table_of_cartons_rules_with_programs_adopt_nothing(database, cartons, monkeypatch, tmp_path):
    source = source_of(OB)
    spectrum = boss(source)
    give(Slam, spectrum, teff=3500.0)
    give(BossNet, spectrum, teff=3600.0)
    run()
    assert adopted() == {source: "slam"}
    [warning] = mwm_best.warnings()
    assert "mwm_ob, mwm_yso aren't known" in warning and "--cartons or ASTRA_CARTONS" in warning
    beside = tmp_path / "products" / "aux" / "targeting-bits" / "sdss5_target_1_with_groups.csv"
    beside.parent.mkdir(parents=True)
    beside.write_text(CARTONS)
    run()
    assert adopted() == {source: "boss_net"} and mwm_best.warnings() == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("order: []", "order: Tuple should have at least 1 item"),
        ("rules: []", "order: Field required"),
        ("order: [{pipeline: slamm, spectra: boss_combined_spectrum}]", "did you mean slam"),
        ("order: [{pipeline: slam, spectra: boss_visit_spectrum}]", "'boss_visit_spectrum' is no table"),
        ("order: [{pipeline: slam, spectra: boss_combined_spectrum, unless: [flag_bat]}]", "did you mean flag_bad"),
        ("order: [{pipeline: slam, spectra: boss_combined_spectrum, unless: [delete]}]", "no flag 'delete'"),
        ("order: [{pipeline: slam, spectra: boss_combined_spectrum, program: mwm_ob}]", "isn't under `programs`"),
        ("order: 3", "order: Input should be"),
        ("- 1", "no order of preference can be read"),
    ],
)
def test_an_order_that_cant_be_used_is_one_sentence(tmp_path, text, why):
    with pytest.raises(BestError, match=why):
        read_order(other(tmp_path, text))


def test_a_table_of_cartons_that_cant_be_used_is_one_sentence(tmp_path):
    path = tmp_path / "cartons.csv"
    for text, why in (
        ("label,bit\na,1\n", "has no column program"),
        ("bit,program\nx,mwm_ob\n", "line 2: the bit 'x' is no whole number"),
        ("bit,program\n1,mwm_ob\n", "no carton of the program 'mwm_yso'"),
    ):
        path.write_text(text)
        with pytest.raises(BestError, match=why):
            read_order(SURVEY).with_cartons(path)
    with pytest.raises(BestError, match="can't be read"):
        read_order(SURVEY).with_cartons(Path("/nowhere/cartons.csv"))
