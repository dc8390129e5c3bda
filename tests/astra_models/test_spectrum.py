"""Spectra of all kinds: finding the concrete row, copying, uncertainties, plots."""

import copy
import pickle
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import AstraError, UnresolvedSpectrumError
from astra_models.fields import FloatField
from astra_models.mwm import BossCombinedSpectrum
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin, load_spectra

DUPLICATES = pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))],
    ids=["copy", "deepcopy", "pickle"],
)


@pytest.fixture
def kinds(database: peewee.Database, source: Source) -> dict[int, SpectrumMixin]:
    """Store one spectrum of each kind, by spectrum_pk."""
    rows = [
        BossVisitSpectrum(release="dr19", run2d="v6", mjd=59_900, fieldid=1, catalogid=2, spec_file="x.fits", snr=10),
        BossCombinedSpectrum(release="dr19", v_astra=8001, sdss_id=3, run2d="v6", telescope="apo25m", snr=20),
        ApogeeCoaddedSpectrumInApStar(release="dr19", apred="1.3", obj="2M00", telescope="lco25m", snr=30),
    ]
    for row in rows:
        row.spectrum_pk, row.source_pk = Spectrum.create().pk, source.pk
        row.save(force_insert=True)
    return {row.spectrum_pk: row for row in rows}


# ---- finding the concrete row


@pytest.mark.lesson(52)
def test_each_spectrum_is_resolved_to_its_own_kind(kinds: dict[int, SpectrumMixin]) -> None:
    for spectrum_pk, row in kinds.items():
        found = Spectrum.get_by_id(spectrum_pk).resolve()
        assert type(found) is type(row)
        assert found.to_dict() == type(row).get_by_id(row.pk).to_dict()


@pytest.mark.lesson(52)
def test_resolving_takes_one_query(kinds: dict[int, SpectrumMixin], recorded_queries: Any) -> None:
    for spectrum_pk in kinds:
        spectrum = Spectrum.get_by_id(spectrum_pk)
        with recorded_queries() as queries:
            assert spectrum.resolve() is spectrum.resolve()
        assert len(queries) == 1
        assert queries[0].startswith("SELECT")


@pytest.mark.lesson(52)
def test_a_spectrum_passes_on_what_its_row_has(kinds: dict[int, SpectrumMixin], source: Source) -> None:
    spectra = [Spectrum.get_by_id(spectrum_pk) for spectrum_pk in kinds]
    assert [spectrum.snr for spectrum in spectra] == [10, 20, 30]
    assert [spectrum.source_pk for spectrum in spectra] == [source.pk] * 3
    assert [spectrum.spectrum_pk for spectrum in spectra] == list(kinds)
    assert spectra[1].wavelength.shape == (4648,)
    assert spectra[0].flag_sky_fiber is False


@pytest.mark.lesson(52)
def test_what_no_kind_has_is_an_attribute_error(kinds: dict[int, SpectrumMixin]) -> None:
    spectrum = Spectrum.get_by_id(min(kinds))
    assert not hasattr(spectrum, "no_such_thing")
    with pytest.raises(AttributeError, match="no_such_thing"):
        assert spectrum.no_such_thing


@pytest.mark.lesson(52)
@pytest.mark.parametrize("missing", [[BossCombinedSpectrum], [BossCombinedSpectrum, ApogeeCoaddedSpectrumInApStar]])
def test_not_every_kind_needs_its_table(spectrum: BossVisitSpectrum, missing: list[type[SpectrumMixin]]) -> None:
    for model in missing:
        model.drop_table()
    assert Spectrum.get_by_id(spectrum.spectrum_pk).catalogid == spectrum.catalogid


@pytest.mark.lesson(52)
def test_resolving_inside_a_transaction_does_not_break_it(spectrum: BossVisitSpectrum, database: Any) -> None:
    BossCombinedSpectrum.drop_table()
    with database.atomic():
        created = Source.create(sdss_id=7)
        assert Spectrum.get_by_id(spectrum.spectrum_pk).catalogid == spectrum.catalogid
        Source.create(sdss_id=8)
    assert Source.select().where(Source.sdss_id.in_([7, 8])).count() == 2
    assert created.pk is not None


@pytest.mark.lesson(52)
def test_a_kind_that_is_defined_later_is_found_too(database: peewee.Database) -> None:
    class LaterSpectrum(SpectrumMixin):
        snr = FloatField(null=True)

    LaterSpectrum.create_table()
    spectrum = Spectrum.create()
    LaterSpectrum.create(spectrum_pk=spectrum.pk, snr=5)
    assert isinstance(Spectrum.get_by_id(spectrum.pk).resolve(), LaterSpectrum)


@pytest.mark.lesson(52)
def test_an_unknown_spectrum_is_an_error_that_names_it(database: peewee.Database) -> None:
    with pytest.raises(UnresolvedSpectrumError, match=r"spectrum_pk 404 is in none of the tables .*boss_visit"):
        Spectrum(pk=404).resolve()
    lonely = Spectrum.create()
    with pytest.raises(UnresolvedSpectrumError, match=f"spectrum_pk {lonely.pk} is in none"):
        assert lonely.flux
    assert issubclass(UnresolvedSpectrumError, AstraError)
    assert issubclass(UnresolvedSpectrumError, LookupError)


# ---- copying


@pytest.mark.lesson(52)
@DUPLICATES
def test_an_unresolved_spectrum_can_be_copied_without_a_query(
    spectrum: BossVisitSpectrum, duplicate: Any, recorded_queries: Any
) -> None:
    unresolved = Spectrum.get_by_id(spectrum.spectrum_pk)
    with recorded_queries() as queries:
        other = duplicate(unresolved)
        assert (repr(other), str(other)) == (repr(unresolved), str(unresolved))
    assert queries == []
    assert other.resolve() == spectrum


@pytest.mark.lesson(52)
@DUPLICATES
def test_a_resolved_spectrum_can_be_copied(spectrum: BossVisitSpectrum, duplicate: Any) -> None:
    resolved = Spectrum.get_by_id(spectrum.spectrum_pk)
    assert resolved.catalogid == spectrum.catalogid
    assert duplicate(resolved).catalogid == spectrum.catalogid


@pytest.mark.lesson(52)
@DUPLICATES
def test_a_spectrum_that_exists_nowhere_can_be_copied_and_shown(database: peewee.Database, duplicate: Any) -> None:
    for nowhere in (Spectrum(), Spectrum(pk=404)):
        assert duplicate(nowhere).pk == nowhere.pk
        assert "Spectrum" in repr(nowhere)


@pytest.mark.lesson(52)
@DUPLICATES
def test_a_concrete_spectrum_can_be_copied_and_saved(spectrum: BossVisitSpectrum, duplicate: Any) -> None:
    other = duplicate(spectrum)
    other.snr = 99
    other.save()
    assert BossVisitSpectrum.get().snr == 99


# ---- uncertainties


def test_the_uncertainty_is_infinite_where_there_is_no_weight() -> None:
    spectrum = BossVisitSpectrum(ivar=np.array([4.0, 0.0, 1e-30, np.inf]))
    np.testing.assert_allclose(spectrum.e_flux, [0.5, np.inf, 1e15, 0])


@pytest.mark.parametrize("ivar", [-1.0, np.nan])
def test_the_uncertainty_is_infinite_where_the_weight_makes_no_sense(ivar: float) -> None:
    assert BossVisitSpectrum(ivar=np.array([ivar])).e_flux == [np.inf]


def test_the_uncertainty_has_the_precision_of_the_weight() -> None:
    assert BossVisitSpectrum(ivar=np.ones(2, dtype=np.float32)).e_flux.dtype == np.float32


# ---- plots


def test_a_plot_is_a_figure_with_axes_in_physical_units(spectrum: BossVisitSpectrum) -> None:
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    spectrum.wavelength = np.linspace(4000, 5000, 100)
    spectrum.flux, spectrum.ivar = np.ones(100), np.r_[np.ones(90), np.zeros(10)]
    figure = spectrum.plot()
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert "Å" in axes.get_xlabel()
    assert "erg" in axes.get_ylabel()
    assert np.isnan(axes.lines[0].get_ydata()).sum() == 10
    figure.canvas.draw()
    plt.close(figure)


def test_a_plot_may_go_into_given_axes() -> None:
    from matplotlib.figure import Figure

    spectrum = BossVisitSpectrum(wavelength=np.arange(5.0), flux=np.ones(5), ivar=np.ones(5))
    figure = Figure()
    axes = figure.subplots(2)
    assert spectrum.plot(axes[1]) is figure
    assert not axes[0].lines
    assert axes[1].lines


# ---- reading rows by key


def test_spectra_are_loaded_with_all_their_columns(database: peewee.Database, make_spectra: Any) -> None:
    values = {"snr": 3.3, "fiber_offset": True, "delta_ra": [0.5, -1.25], "zwarning_flags": 2**40, "tai_beg": 2**50}
    (selected,) = make_spectra(1, path="é.fits", **values)
    (loaded,) = load_spectra(BossVisitSpectrum, [selected.spectrum_pk])
    assert loaded.to_dict() == selected.to_dict()
    assert (loaded.fiber_offset, loaded.delta_ra, loaded.flag_sky_fiber) == (True, [0.5, -1.25], False)
    assert not loaded.is_dirty()
    loaded.snr = 5.0
    loaded.save()
    assert BossVisitSpectrum.get().snr == 5.0


def test_spectra_are_loaded_in_the_order_of_their_keys(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(10)]
    wanted = [*keys[::-1], 10_000]
    loaded = list(load_spectra(BossVisitSpectrum, iter(wanted), chunk=3))
    assert [spectrum.spectrum_pk for spectrum in loaded] == keys[::-1]


def test_spectra_are_loaded_a_chunk_at_a_time(
    database: peewee.Database, make_spectra: Any, recorded_queries: Any
) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(10)]
    with recorded_queries() as queries:
        rows = load_spectra(BossVisitSpectrum, keys, chunk=4)
        next(rows)
        assert len(queries) == 1
        list(rows)
        assert len(queries) == 3


# ---- keys


@pytest.mark.lesson(23)
def test_the_same_spectrum_is_not_stored_twice(kinds: dict[int, SpectrumMixin]) -> None:
    for row in kinds.values():
        again = type(row)(**{name: getattr(row, name) for name in row.natural_key})
        for name, field in type(row)._meta.fields.items():
            if not field.null and name not in ("pk", "created", "modified"):
                setattr(again, name, getattr(row, name))
        again.spectrum_pk = Spectrum.create().pk
        with pytest.raises(peewee.IntegrityError):
            again.save(force_insert=True)


def test_a_spectrum_pk_belongs_to_one_row(spectrum: BossVisitSpectrum) -> None:
    columns = spectrum.to_dict() | {"pk": None, "mjd": 1}
    with pytest.raises(peewee.IntegrityError):
        BossVisitSpectrum.create(**columns)


def test_a_spectrum_pk_has_to_exist(database: peewee.Database, source: Source) -> None:
    with pytest.raises(peewee.IntegrityError):
        ApogeeCoaddedSpectrumInApStar.create(release="dr19", apred="1", obj="x", telescope="t", spectrum_pk=404)


def test_reading_a_key_runs_no_query(spectrum: BossVisitSpectrum, recorded_queries: Any) -> None:
    again = BossVisitSpectrum.get()
    with recorded_queries() as queries:
        assert (again.spectrum_pk, again.source_pk) == (spectrum.spectrum_pk, spectrum.source_pk)
    assert queries == []


def test_a_key_stays_a_key_when_the_source_is_joined(spectrum: BossVisitSpectrum) -> None:
    model = BossVisitSpectrum
    joined = model.select(model, Source).join(Source, on=(model.source_pk == Source.pk)).get()
    assert joined.source_pk == spectrum.source_pk
    assert isinstance(joined.source_pk, int)
    assert joined.to_dict() == model.get().to_dict()
