"""Two versions of a pipeline's results, compared."""

from typing import Any

import numpy as np
import peewee
import pytest
from matplotlib import pyplot as plt

from astra_models.best import MWMBest
from astra_models.corv import Corv
from astra_models.errors import SelectionError
from astra_models.products import compare
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert

pytestmark = pytest.mark.long_on_each
LOW_SNR = Corv.flag_low_snr.value


@pytest.fixture
def versions(database: peewee.Database, make_spectra: Any) -> list[int]:
    """Store results of five spectra: of 0.9 of the first four, of 0.10 of the last four, of 0.8 of one."""
    keys = [one.spectrum_pk for one in make_spectra(5)]
    old = {"v_astra": 9000, "e_teff": 50.0, "v_rad": 1.0, "result_flags": 0}
    new = {"v_astra": 10_001, "e_teff": 20.0, "v_rad": 1.0, "result_flags": LOW_SNR}
    upsert(Corv, [old | {"spectrum_pk": key, "teff": 10_000.0} for key in keys[:3]])
    upsert(Corv, [old | {"spectrum_pk": keys[3], "teff": None}])
    upsert(Corv, [new | {"spectrum_pk": keys[1], "teff": 10_100.0}, new | {"spectrum_pk": keys[2], "teff": None}])
    upsert(Corv, [new | {"spectrum_pk": key, "teff": 9_000.0, "result_flags": 0} for key in keys[3:]])
    upsert(Corv, [{"spectrum_pk": keys[0], "v_astra": 8000}])
    return keys


def test_rows_are_matched_by_spectrum(versions: list[int]) -> None:
    compared = compare("0.9", "0.10.3", Corv, columns=["teff"])
    table = compared.to_table()
    assert table["spectrum_pk"].tolist() == versions[1:4]
    assert table["teff_0.9"].tolist() == [10_000, 10_000, None]
    assert table["teff_0.10"].tolist() == [10_100, None, 9_000]
    assert table["delta_teff"].tolist() == [100, None, None]
    assert (table["delta_teff"].unit, table["teff_0.9"].unit) == ("K", "K")
    assert compared.only == {"0.9": 1, "0.10": 1}
    assert repr(compared) == "<Corv 0.9 and 0.10: 3 of both, 1 of 0.9 alone, 1 of 0.10 alone>"


def test_differences_are_in_units_of_each_versions_own_error(versions: list[int]) -> None:
    compared = compare(9000, 10_000, Corv, columns=["teff"])
    assert compared.matched["delta_teff_in_e_0.9"][0] == pytest.approx(2)
    assert compared.matched["delta_teff_in_e_0.10"][0] == pytest.approx(5)
    (row,) = compared.summary
    assert (row["both"], row["lost"], row["new"]) == (1, 1, 1)
    assert (row["median"], row["median_in_e_0.9"], row["median_in_e_0.10"]) == pytest.approx((100, 2, 5))


def test_the_share_of_flags_that_changed(versions: list[int]) -> None:
    flags = compare("0.9", "0.10", Corv).flags
    (row,) = flags[flags["flag"] == "flag_low_snr"]
    assert (row["column"], row["share_0.9"]) == ("result_flags", 0)
    assert (row["share_0.10"], row["changed"]) == pytest.approx((2 / 3, 2 / 3))


def test_columns_are_named_by_a_list_or_by_text(versions: list[int]) -> None:
    assert compare("0.9", "0.10", Corv, columns="teff").columns == ["teff"]
    assert compare("0.9", "0.10", Corv, columns="teff, v_rad").columns == ["teff", "v_rad"]


def test_the_same_way_round_as_it_is_asked(versions: list[int]) -> None:
    assert compare("0.10", "0.9", Corv, columns=["teff"]).matched["delta_teff"].tolist() == [-100, None, None]


def test_columns_without_errors_are_compared_plainly(versions: list[int]) -> None:
    Corv.update(e_teff=0).where(Corv.v_astra == 9000).execute()
    compared = compare("0.9", "0.10", Corv, columns=["v_rad", "rchi2", "teff"])
    assert compared.summary["both"].tolist() == [3, 0, 1]
    assert np.ma.getmaskarray(compared.matched["delta_teff_in_e_0.9"]).all()
    assert not any(name.startswith("delta_rchi2_in") for name in compared.matched.colnames)


def test_it_is_drawn(versions: list[int]) -> None:
    compared = compare("0.9", "0.10", Corv)
    figure = compared.plot()
    assert {"teff: difference / error"} <= {ax.get_xlabel() for ax in figure.axes}
    plt.close(figure)
    assert "teff" in compared._repr_html_()
    assert "low_snr" in compared._repr_html_()


def test_results_that_are_of_sources(database: peewee.Database) -> None:
    source, spectrum = Source.create(sdss_id=1), Spectrum.create()
    for v_astra, teff in ((9000, 5000.0), (10_000, 5100.0)):
        file = {"release": "sdss5", "filetype": "mwmStar", "telescope": "apo25m"}
        keys = {"source_pk": source.pk, "spectrum_pk": spectrum.pk, "v_astra": v_astra}
        MWMBest.create(**keys, **file, teff=teff, e_teff=10.0)
    compared = compare("0.9", "0.10", MWMBest, columns=["teff"])
    assert compared.matched["delta_teff"].tolist() == [100]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.9", "0.11", Corv), "Corv has no results of 0.11; there are results of: 0.8, 0.9, 0.10"),
        (("0.9", "0.9.5", Corv), "are the same major.minor"),
        (("0.9", "0.10", Source), "has no versions to compare"),
        (("0.9", "0.10", Corv, ["tef"]), "no column 'tef'.*teff"),
        (("0.9", "0.10", Corv, ["result_flags"]), "is no number"),
        (("0.9", "0.10", Corv, []), "no columns are named"),
        (("0.9", "0.10", Corv, [Corv.teff]), "by their names, such as 'teff'"),
        (("0.9", "0.10", "corv"), "'corv' has no versions to compare"),
        (("0.9", "0.10", Corv.select()), "has no versions to compare"),
    ],
)
def test_what_can_not_be_compared(versions: list[int], arguments: Any, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        compare(*arguments[:3], columns=arguments[3] if len(arguments) > 3 else None)
