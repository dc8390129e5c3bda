"""Models that are declared as the survey's own Astra declares its own: they work, or the error says what to change."""

import datetime
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models import task
from astra_models.analysis.due import due_options, select_due
from astra_models.analysis.stream import analyse, write
from astra_models.base import BaseModel
from astra_models.errors import ModelError
from astra_models.fields import (
    AutoField,
    BitField,
    DateTimeField,
    FloatField,
    ForeignKeyField,
    IntegerField,
    PixelArray,
    TextField,
)
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products import to_table
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.upsert import upsert

pytestmark = pytest.mark.long_on_each


@pytest.fixture
def night(database: peewee.Database) -> Iterator[Any]:
    """Declare a kind of spectra as it would be there, and make its table."""

    class NightSpectrum(BaseModel, SpectrumMixin):
        """A spectrum of one night."""

        pk = AutoField()

        spectrum_pk = ForeignKeyField(
            Spectrum, null=True, index=True, unique=True, lazy_load=False, help_text="Key of the spectrum"
        )
        source = ForeignKeyField(
            Source, null=True, index=True, column_name="source_pk", help_text="Its star", backref="night_spectra"
        )
        wavelength = PixelArray(ext=1, column_name="loglam", transform=lambda v, *a: 10**v)
        flux = PixelArray(ext=1, help_text="Flux")
        ivar = PixelArray(ext=1)

        mjd = IntegerField(help_text="Night")
        snr = FloatField(null=True)

    NightSpectrum.create_table()
    yield NightSpectrum
    NightSpectrum.drop_table()


@pytest.fixture
def warmth(database: peewee.Database) -> Iterator[Any]:
    """Declare results as they would be there, and make their table."""

    class Warmth(BaseModel, PipelineOutputMixin):
        """How warm a star is."""

        source_pk = ForeignKeyField(Source, null=True, index=True, lazy_load=False)
        spectrum_pk = ForeignKeyField(Spectrum, index=True, lazy_load=False, help_text="Key of the spectrum")
        task_pk = AutoField(help_text="Key of the result")
        created = DateTimeField(default=datetime.datetime.now)
        t_elapsed = FloatField(null=True)
        t_overhead = FloatField(null=True)
        tag = TextField(default="", index=True)

        teff = FloatField(null=True)
        result_flags = BitField(default=0)
        flag_cold = result_flags.flag(2**0, help_text="Cold")

    Warmth.create_table()
    yield Warmth
    Warmth.drop_table()


@pytest.fixture
def nights(night: Any, write_spec_file: Callable[..., Path], tmp_path: Path) -> list[Any]:
    """Store three spectra of two stars; one row is given its star, the others the key."""
    path = str(write_spec_file(tmp_path / "spec.fits"))
    stars = [Source.create(sdss_id=sdss_id, g_mag=15.0) for sdss_id in (1, 2)]
    keys = [Spectrum.create().pk for _ in range(3)]
    night(spectrum_pk=keys[0], source=stars[0], mjd=1, path=path, snr=9).save()
    night.insert_many([{"spectrum_pk": keys[1], "source": stars[1].pk, "mjd": 2, "path": path}]).execute()
    night.insert(spectrum_pk=keys[2], source_pk=stars[1].pk, mjd=3, path=path).execute()
    return list(night.select().order_by(night.spectrum_pk))


def test_the_key_is_the_column_and_the_attribute_is_the_row(night: Any, nights: list[Any]) -> None:
    first, second, _ = nights

    assert [one.source_pk for one in nights] == [first.source.pk, second.source.pk, second.source.pk]
    assert (first.source.sdss_id, second.source.sdss_id) == (1, 2)
    assert list(night._meta.columns) == list(night._meta.fields)
    assert "source_pk" in night._meta.columns
    assert night.select().where(night.source == second.source_pk).count() == 2
    assert night.select().join(Source).where(Source.sdss_id == 2).count() == 2
    assert [one.mjd for one in Source.get(Source.sdss_id == 2).night_spectra.order_by(night.mjd)] == [2, 3]
    assert first.spectrum_pk == Spectrum.get_by_id(first.spectrum_pk).resolve().spectrum_pk
    first.source = second.source
    assert (first.source_pk, first.source.sdss_id) == (second.source_pk, 2)


def test_pixels_are_read(nights: list[Any]) -> None:
    assert nights[0].flux.shape == nights[0].ivar.shape == nights[0].wavelength.shape == (50,)
    assert nights[0].wavelength[0] == pytest.approx(10**3.5523, rel=1e-4)


def test_a_pipeline_runs_over_them_and_its_results_are_stored_and_exported(
    night: Any, nights: list[Any], warmth: Any
) -> None:
    def warm(spectra: Iterable[Any]) -> Iterable[Any]:
        for spectrum in spectra:
            yield warmth.from_spectrum(spectrum, teff=1000.0 * spectrum.mjd, flag_cold=spectrum.mjd == 1)

    warm.__annotations__ = {"spectra": Iterable[night], "return": Iterable[warmth]}
    pipeline = task(warm)
    assert len(select_due(warmth, night, **due_options(pipeline, night))) == 3

    write(analyse(pipeline))

    assert len(select_due(warmth, night, **due_options(pipeline, night))) == 0
    table = to_table(warmth)
    assert list(table["teff"]) == [1000, 2000, 3000]
    assert list(table["source_pk"]) == [one.source_pk for one in nights]
    assert list(table["result_flags"]) == [1, 0, 0]
    assert table["teff"].unit == "K"
    row = warmth.get(warmth.teff == 1000)
    assert row.created.tzinfo is not None
    assert row.v_astra_major_minor == row.v_astra // 1000


def test_results_may_call_their_keys_source_and_spectrum(database: peewee.Database, nights: list[Any]) -> None:
    class Coldness(PipelineOutputMixin):
        """How cold a star is."""

        source = ForeignKeyField(Source, null=True, index=True, column_name="source_pk", lazy_load=False)
        spectrum = ForeignKeyField(Spectrum, index=True, column_name="spectrum_pk", lazy_load=False)
        teff = FloatField(null=True)

    Coldness.create_table()
    upsert(Coldness, [Coldness.from_spectrum(nights[0], teff=1.0), {"spectrum": nights[1].spectrum_pk, "teff": 2.0}])

    first = Coldness.get(Coldness.spectrum == nights[0].spectrum_pk)
    assert (first.source_pk, first.source.sdss_id) == (nights[0].source_pk, 1)
    assert first.spectrum.pk == nights[0].spectrum_pk
    assert Coldness.select().count() == 2
    Coldness.drop_table()


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"v_astra": lambda: TextField(default="0.8.0")}, r"v_astra is a TextField.*leave the line out.*0.8.1 is 8001"),
        ({"teff": lambda: peewee.FloatField(null=True)}, r"teff is a number.*own FloatField.*from astra_models.fields"),
        ({"bits": lambda: peewee.BitField(default=0)}, r"bits is .*peewee's own BitField.*from astra_models.fields"),
        ({"source_pk": lambda: ForeignKeyField(Spectrum)}, r"source_pk: this key is of Source.*another name"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_declared_so_says_what_to_change(columns: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        type(BaseModel)(
            "Declared",
            (BaseModel, PipelineOutputMixin),
            {"__module__": __name__, "__qualname__": "Declared", **{name: make() for name, make in columns.items()}},
        )


def test_columns_of_peewee_that_the_base_has_are_the_bases() -> None:
    class Redeclared(BaseModel, PipelineOutputMixin):
        """Results with keys and times of peewee's own types."""

        source_pk = peewee.ForeignKeyField(Source, null=True, index=True, lazy_load=False)
        spectrum_pk = peewee.ForeignKeyField(Spectrum, index=True, lazy_load=False)
        task_pk = peewee.AutoField()
        created = peewee.DateTimeField(default=datetime.datetime.now)
        t_elapsed = peewee.FloatField(null=True)

    assert list(Redeclared._meta.fields) != []
    for name in ("source_pk", "spectrum_pk", "task_pk", "created", "t_elapsed"):
        assert type(Redeclared._meta.fields[name]) is type(PipelineOutputMixin._meta.fields[name])
        assert Redeclared._meta.fields[name].column_name == name
