"""VOTables and Parquet files say what their columns are, in words that the tools of the field know."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import peewee
import pytest

from astra_models.corv import Corv
from astra_models.outputs import all_models
from astra_models.products.export import export
from astra_models.products.query import select_model
from astra_models.products.votable import ucd_of
from astra_models.source import Source
from astra_models.spectrum import Spectrum

pytestmark = pytest.mark.long_on_each


def store_one_result() -> None:
    source = Source.create(sdss_id=17, ra=1.5, dec=-2.5)
    Corv.create(source_pk=source.pk, spectrum_pk=Spectrum.create().pk, logg=8.0, teff=12_000.0, result_flags=1 << 62)


WITHOUT = {
    "what belongs to the running of pipelines": r"model|pipeline|table_name|kind|engine|hosts?|holder|process|keep"
    r"|calibration|lead|what|found|counted",
    "JSON": r"payload|parameters|packages|model_files|keys",
    "settings of fits and extractions": r"continuum_order|continuum_reject|interpolation_order|deg|L|x0_index|psfsky"
    r"|preject|lowrej|highrej|scatpoly|nfitpoly|short_grid_name",
    "averages of the numbers of fibers": r"mean_fiber|std_fiber",
    "of correlation functions, for which there is no word": r"ccfwhm|autofwhm|xcsao_rxc|xcsao_meanrxc",
    "logarithms of what there are words for": r"ferre_log_snr_sq|zgr_ln_prior",
    "shares, excesses, counts of dust, and a phase that is no angle": r"w[12]_frac|c_star|dust_[ab]|moon_phase_mean",
}
"""Columns of which no word of the vocabulary says honestly what they hold."""


def all_names() -> set[str]:
    ours = [model for model in all_models() if model.__module__.startswith("astra_models.")]
    return {field.name for model in ours for field in model._meta.sorted_fields}


def test_every_column_has_a_ucd_but_those_that_have_none_on_purpose() -> None:
    without = {name for name in all_names() if ucd_of(name) is None}
    known = {name for name in all_names() if any(re.fullmatch(pattern, name) for pattern in WITHOUT.values())}
    assert without == known


def test_every_ucd_is_one_of_the_vocabulary() -> None:
    from astropy.io.votable.ucd import check_ucd

    names = all_names()
    given = {name: ucd for name in names if (ucd := ucd_of(name)) is not None}
    assert [name for name, ucd in given.items() if not check_ucd(ucd, check_controlled_vocabulary=True)] == []


@pytest.mark.parametrize(
    ("name", "ucd"),
    [
        ("ra", "pos.eq.ra;meta.main"),
        ("e_teff", "stat.error;phys.temperature.effective"),
        ("raw_e_logg", "stat.error;phys.gravity"),
        ("e_v_rad", "stat.error;spect.dopplerVeloc"),
        ("k_mag", "phot.mag;em.IR.K"),
        ("spectrum_pk", "meta.id"),
        ("result_flags", "meta.code"),
        ("lead", None),
        ("v_jkc_mag", "phot.mag;em.opt.V"),
        ("zgr_e_e", "stat.error;phys.absorption"),
        ("raw_e_c_12_13", "stat.error;phys.abund"),
        ("eqw_percentiles_h_alpha", "stat.percentile;spect.line"),
    ],
)
def test_a_name_tells_its_ucd(name: str, ucd: str | None) -> None:
    assert ucd_of(name) == ucd


def test_a_reader_gets_units_moments_and_meanings_of_flags(database: peewee.Database, tmp_path: Path) -> None:
    from astropy.io.votable import parse_single_table

    store_one_result()
    export(Corv, select_model(Corv), tmp_path / "corv.vot")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fields = {field.name: field for field in parse_single_table(tmp_path / "corv.vot").fields}
    assert str(fields["logg"].unit) == "dex(cm / s2)"
    assert (fields["created"].xtype, fields["created"].datatype) == ("timestamp", "char")
    assert "0 flag_low_snr" in fields["result_flags"].description


def test_astropy_reads_parquet_with_units(database: peewee.Database, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from astropy.table import Table

    store_one_result()
    for model in (Corv, Source):
        export(model, select_model(model), tmp_path / f"{model.__name__}.parquet")
        assert len(Table.read(tmp_path / f"{model.__name__}.parquet", format="parquet.votable")) == 1
    table = Table.read(tmp_path / "Corv.parquet", format="parquet.votable")
    assert str(table["logg"].unit) == "dex(cm / s2)"
    assert table["result_flags"][0] == 1 << 62


@pytest.mark.skipif(shutil.which("stilts") is None, reason="needs STILTS: apt-get install stilts")
@pytest.mark.sqlite_only(reason="the bytes of the file are the same on both")
def test_votlint_finds_nothing(database: peewee.Database, tmp_path: Path) -> None:
    store_one_result()
    export(Corv, select_model(Corv), tmp_path / "corv.vot")
    done = subprocess.run(["stilts", "votlint", f"votable={tmp_path / 'corv.vot'}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
