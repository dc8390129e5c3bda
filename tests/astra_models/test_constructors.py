"""Rows are made of names that their model has: a misspelt one is an error that names the nearest."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import AstraError, UnknownColumnError
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum

SPECTRUM = BossVisitSpectrum(spectrum_pk=1, source_pk=2)

CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "from_spectrum": lambda **values: Rocket.from_spectrum(SPECTRUM, **values),
    "Model": lambda **values: Rocket(spectrum_pk=1, **values),
    "create": lambda **values: Rocket.create(spectrum_pk=1, **values),
    "get_or_create": lambda **values: Rocket.get_or_create(spectrum_pk=404, defaults=values),
    "insert": lambda **values: Rocket.insert(spectrum_pk=1, **values).execute(),
    "insert a dict": lambda **values: Rocket.insert({"spectrum_pk": 1} | values).execute(),
    "replace": lambda **values: Rocket.replace(spectrum_pk=1, **values).execute(),
    "insert_many": lambda **values: Rocket.insert_many([{"spectrum_pk": 1} | values]).execute(),
    "insert_many, a later row": lambda **values: Rocket.insert_many(
        [{"spectrum_pk": 1}, {"spectrum_pk": 1} | values]
    ).execute(),
    "bulk_create": lambda **values: Rocket.bulk_create([Rocket(spectrum_pk=1, **values)]),
}


@pytest.mark.parametrize("construct", CONSTRUCTORS.values(), ids=CONSTRUCTORS.keys())
def test_an_unknown_name_is_an_error_that_names_the_nearest(
    memory_database: peewee.Database, construct: Callable[..., Any]
) -> None:
    for name, nearest in (("tef", "teff"), ("flag_lowsnr", "flag_low_snr"), ("Teff", "teff")):
        message = rf"Rocket has no column or flag '{name}'; did you mean .*{nearest}"
        with pytest.raises(UnknownColumnError, match=message):
            construct(**{name: 1})
    assert isinstance(UnknownColumnError(), AstraError)
    assert Rocket.select().count() == 0


@pytest.mark.parametrize("name", ["select", "latest", "upsert_key", "_dirty", "__class__", "v_astra_majorminor", "ü"])
def test_what_a_row_has_besides_columns_is_no_name_of_a_value(name: str) -> None:
    with pytest.raises(UnknownColumnError):
        Rocket(**{name: 1})


def test_values_without_names_are_an_error() -> None:
    with pytest.raises(TypeError, match="Rocket takes its values by name"):
        Rocket(5_000)


@pytest.fixture
def spectrum(database: peewee.Database, make_spectra: Any) -> BossVisitSpectrum:
    """Store a spectrum."""
    return make_spectra(1)[0]


FLAGGED: dict[str, Callable[..., Any]] = {
    "from_spectrum": lambda spectrum, **flags: Rocket.from_spectrum(spectrum, **flags).save(),
    "create": lambda spectrum, **flags: Rocket.create(spectrum_pk=spectrum.spectrum_pk, **flags),
    "insert": lambda spectrum, **flags: Rocket.insert(spectrum_pk=spectrum.spectrum_pk, **flags).execute(),
    "insert_many": lambda spectrum, **flags: Rocket.insert_many(
        [{"spectrum_pk": spectrum.spectrum_pk, **flags}]
    ).execute(),
}


@pytest.mark.parametrize("construct", FLAGGED.values(), ids=FLAGGED.keys())
@pytest.mark.parametrize("is_set", [True, False, np.True_, 1, None], ids=repr)
def test_flags_are_values_like_others(spectrum: BossVisitSpectrum, construct: Callable[..., Any], is_set: Any) -> None:
    construct(spectrum, flag_low_snr=is_set)
    row = Rocket.get()
    assert row.flag_low_snr is bool(is_set)
    assert row.result_flags == (Rocket.flag_low_snr.value if is_set else 0)


@pytest.mark.parametrize("order", [("result_flags", "flag_low_snr"), ("flag_low_snr", "result_flags")])
def test_a_flag_is_set_whatever_else_its_column_is_given_before_or_after(order: tuple[str, str]) -> None:
    values = {"result_flags": 2**7, "flag_low_snr": True}
    row = Rocket(**{name: values[name] for name in order})
    assert row.result_flags == 2**7 | Rocket.flag_low_snr.value
    row = Rocket(**{name: (values | {"flag_low_snr": False})[name] for name in order})
    assert row.result_flags == 2**7


def test_other_values_come_with_flags() -> None:
    row = Rocket.from_spectrum(SPECTRUM, teff=5_000, flag_low_snr=True)
    assert (row.teff, row.flag_low_snr, row.spectrum_pk, row.source_pk, row.tag) == (5_000, True, 1, 2, "")
    assert row.v_astra
    assert row.created


def test_pixels_and_rows_of_other_tables_are_given_by_name() -> None:
    row = BossVisitSpectrum(spectrum_pk=1, flux=np.ones(3), source_pk=Source(pk=5), snr=2)
    assert row.flux.tolist() == [1, 1, 1]
    assert (row.source_pk, row.snr) == (5, 2)


def test_a_column_that_is_called_otherwise_in_the_table_has_both_names() -> None:
    column = Source._meta.fields["sdss_id"]
    assert Source(**{column.column_name: 5}).sdss_id == 5


def test_what_a_query_selects_besides_columns_is_on_its_rows(spectrum: BossVisitSpectrum) -> None:
    Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=5_000)
    doubled = (Rocket.teff * 2).alias("doubled")
    assert vars(Rocket.select(Rocket, doubled).get())["doubled"] == 10_000
    assert vars(Rocket.select(Rocket, doubled).objects().get())["doubled"] == 10_000
    assert vars(Rocket.select(Rocket.teff, doubled).join(Spectrum).get())["doubled"] == 10_000


def test_rows_of_an_insert_that_have_other_columns_than_the_first_are_an_error(database: peewee.Database) -> None:
    keys = [Spectrum.create().pk, Spectrum.create().pk]
    query = Rocket.insert_many([{"spectrum_pk": keys[0]}, {"spectrum_pk": keys[1], "teff": 5_000}])
    with pytest.raises(UnknownColumnError, match="a row has teff, and the first row doesn't"):
        query.execute()


def test_rows_of_an_insert_are_read_when_it_is_run(database: peewee.Database) -> None:
    read = []

    def rows() -> Iterator[dict[str, int]]:
        read.append(True)
        yield {"spectrum_flags": 0}

    query = Spectrum.insert_many(rows())
    assert read == []
    query.execute()
    assert Spectrum.select().count() == 1


NAMES = [field.name for field in Corv._meta.sorted_fields] + ["flag_low_snr", "select", "_dirty"]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=12), st.integers(-5, 5), max_size=6))
def test_a_row_has_every_value_that_it_was_given_or_none_is_made(values: dict[str, int]) -> None:
    known = {*Corv._meta.fields, *Corv._meta.fields["result_flags"].flags}
    if not values.keys() <= known:
        with pytest.raises(UnknownColumnError):
            Corv(**values)
        return
    row = Corv(**values)
    flags = values.keys() & Corv._meta.fields["result_flags"].flags.keys()
    for name, value in values.items():
        if name != "result_flags" or not flags:
            assert getattr(row, name) == (bool(value) if name in flags else value)
