"""Models of the tables that the survey has, on its own database."""

import datetime

import peewee
from peewee import AutoField, BigIntegerField, DateTimeField, FloatField, ForeignKeyField, TextField

from survey_astra import __version__

queries = []


class OwnDatabase(peewee.SqliteDatabase):
    """The survey's own database: nothing here may ask it."""

    def execute_sql(self, sql, params=None, commit=None):
        """Keep what was asked, and refuse."""
        queries.append(sql)
        raise peewee.OperationalError(f"the survey's own database was asked: {sql}")


database = OwnDatabase(":memory:")


class BitField(peewee.BitField):
    """Flags."""


class BaseModel(peewee.Model):
    """Base of all."""

    class Meta:
        database = database
        schema = None
        legacy_table_names = False


class SpectrumMixin:
    """What spectra have in common."""

    @property
    def e_flux(self):
        """Uncertainty."""
        return self.ivar**-0.5

    def brightest(self):
        """Find the brightest pixel."""
        return float(max(self.flux))


class PipelineOutputMixin:
    """What results have in common."""

    @classmethod
    def from_spectrum(cls, spectrum, **kwargs):
        """Make a result."""
        return cls(spectrum_pk=spectrum.spectrum_pk, source_pk=spectrum.source_pk, **kwargs)


class Source(BaseModel):
    """A source."""

    pk = AutoField()
    sdss_id = BigIntegerField(null=True)
    g_mag = FloatField(null=True)
    n_boss_visits = peewee.IntegerField(null=True)

    @property
    def is_bright(self):
        """Whether it is bright."""
        return self.g_mag is not None and self.g_mag < 17


class Spectrum(BaseModel):
    """A spectrum of any kind."""

    pk = AutoField()


class BossVisitSpectrum(BaseModel, SpectrumMixin):
    """A BOSS visit."""

    pk = AutoField()
    spectrum_pk = ForeignKeyField(Spectrum, index=True, unique=True, lazy_load=False, column_name="spectrum_pk")
    source = ForeignKeyField(Source, null=True, index=True, column_name="source_pk", backref="boss_visit_spectra")
    run2d = TextField()
    mjd = peewee.IntegerField()
    snr = FloatField(null=True)
    only_there = FloatField(null=True)
    zwarning_flags = BitField(default=0)
    flag_sky_fiber = zwarning_flags.flag(2**0)


class BossCombinedSpectrum(BaseModel, SpectrumMixin):
    """A BOSS co-add."""

    pk = AutoField()
    spectrum_pk = ForeignKeyField(Spectrum, index=True, lazy_load=False, column_name="spectrum_pk")
    source = ForeignKeyField(Source, null=True, index=True, column_name="source_pk", backref="boss_combined_spectra")
    snr = FloatField(null=True)


class Result(BaseModel, PipelineOutputMixin):
    """Columns of all results."""

    source_pk = ForeignKeyField(Source, null=True, index=True, lazy_load=False)
    spectrum_pk = ForeignKeyField(Spectrum, index=True, lazy_load=False)
    task_pk = AutoField()
    v_astra = TextField(default=__version__)
    created = DateTimeField(default=datetime.datetime.now)
    t_elapsed = FloatField(null=True)
    t_overhead = FloatField(null=True)
    tag = TextField(default="")


class BossNet(Result):
    """Results of bossnet."""

    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    result_flags = BitField(default=0)
    flag_runtime_exception = result_flags.flag(2**0)
    flag_unreliable_teff = result_flags.flag(2**1)

    @classmethod
    def from_spectrum(cls, spectrum, **kwargs):
        """Make a result; its own rule sets a flag."""
        result = super().from_spectrum(spectrum, **kwargs)
        result.flag_unreliable_teff = result.teff is not None and result.teff < 1700
        return result


class SnowWhite(Result):
    """Results of snow_white."""

    classification = TextField(null=True)
    result_flags = BitField(default=0)


class Corv(Result):
    """Results of corv."""

    teff = FloatField(null=True)
    v_rad = FloatField(null=True)


class MDwarfType(Result):
    """Results of mdwarftype."""

    spectral_type = TextField(null=True)
    sub_type = FloatField(null=True)
    rchi2 = FloatField(null=True)


class NMFRectify(Result):
    """Results of nmf_rectify."""

    joint_rchi2 = FloatField(null=True)
    rchi2 = FloatField(null=True)
    L = FloatField()
    deg = peewee.IntegerField()


class Slam(Result):
    """Results of slam."""

    teff = FloatField(null=True)


class TheCannon(Result):
    """Results of the_cannon."""

    teff = FloatField(null=True)
    logg = FloatField(null=True)


class Unpublished(Result):
    """Results for which there is no table of ours."""

    teff = FloatField(null=True)
