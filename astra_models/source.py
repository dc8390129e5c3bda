"""The sources: one row per astronomical object."""

from astra_models.base import BaseModel
from astra_models.fields import (
    AutoField,
    BigIntegerField,
    DateTimeField,
    DoubleField,
    FloatField,
    IntegerField,
    TextField,
    utc_now,
)


class Source(BaseModel):
    """One astronomical source: its identifiers, astrometry and photometry."""

    pk = AutoField()

    sdss_id = BigIntegerField(null=True, unique=True)
    sdss4_apogee_id = TextField(null=True, unique=True)
    gaia_dr2_source_id = BigIntegerField(null=True, unique=True)
    gaia_dr3_source_id = BigIntegerField(null=True, unique=True)
    tic_v8_id = BigIntegerField(null=True)
    healpix = IntegerField(null=True)

    lead = TextField(null=True)
    version_id = IntegerField(null=True)
    catalogid = BigIntegerField(null=True, index=True)
    catalogid21 = BigIntegerField(null=True)
    catalogid25 = BigIntegerField(null=True)
    catalogid31 = BigIntegerField(null=True)
    n_associated = IntegerField(null=True)
    n_neighborhood = IntegerField(null=True)

    ra = DoubleField(null=True)
    dec = DoubleField(null=True)
    l = DoubleField(null=True)  # noqa: E741  the survey's name
    b = DoubleField(null=True)
    plx = FloatField(null=True)
    e_plx = FloatField(null=True)
    pmra = FloatField(null=True)
    e_pmra = FloatField(null=True)
    pmde = FloatField(null=True)
    e_pmde = FloatField(null=True)
    gaia_v_rad = FloatField(null=True)
    gaia_e_v_rad = FloatField(null=True)
    g_mag = FloatField(null=True)
    bp_mag = FloatField(null=True)
    rp_mag = FloatField(null=True)

    created = DateTimeField(default=utc_now)
    modified = DateTimeField(default=utc_now)
