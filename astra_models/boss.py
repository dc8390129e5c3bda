"""Spectra of the BOSS instrument."""

import numpy as np

from astra_models.columns.headings import Heading
from astra_models.fields import (
    BigIntegerField,
    BitField,
    BooleanField,
    FloatArrayField,
    FloatField,
    IntegerField,
    PixelArray,
    TextField,
)
from astra_models.pixels.arrays import FLUX_UNIT, IVAR_UNIT
from astra_models.pixels.ivar import error_to_ivar, usable_ivar
from astra_models.pixels.paths import BOSS_VISIT
from astra_models.spectrum import SpectrumMixin


class BossFlagsMixin(SpectrumMixin):
    """Flags that all BOSS spectra carry."""

    abstract = True

    _flags = Heading("Flags of BOSS spectra")
    gri_gaia_transform_flags = BitField()
    flag_u_gaia_transformed = gri_gaia_transform_flags.flag(2**0, "u transformed from Gaia")
    flag_u_gaia_outside = gri_gaia_transform_flags.flag(2**1, "u from Gaia, outside the range of validity")
    flag_u_gaia_none = gri_gaia_transform_flags.flag(2**2, "no u from Gaia")
    flag_g_gaia_transformed = gri_gaia_transform_flags.flag(2**3, "g transformed from Gaia")
    flag_g_gaia_outside = gri_gaia_transform_flags.flag(2**4, "g from Gaia, outside the range of validity")
    flag_g_gaia_none = gri_gaia_transform_flags.flag(2**5, "no g from Gaia")
    flag_r_gaia_transformed = gri_gaia_transform_flags.flag(2**6, "r transformed from Gaia")
    flag_r_gaia_outside = gri_gaia_transform_flags.flag(2**7, "r from Gaia, outside the range of validity")
    flag_r_gaia_none = gri_gaia_transform_flags.flag(2**8, "no r from Gaia")
    flag_i_gaia_transformed = gri_gaia_transform_flags.flag(2**9, "i transformed from Gaia")
    flag_i_gaia_outside = gri_gaia_transform_flags.flag(2**10, "i from Gaia, outside the range of validity")
    flag_i_gaia_none = gri_gaia_transform_flags.flag(2**11, "no i from Gaia")
    flag_z_gaia_transformed = gri_gaia_transform_flags.flag(2**12, "z transformed from Gaia")
    flag_z_gaia_outside = gri_gaia_transform_flags.flag(2**13, "z from Gaia, outside the range of validity")
    flag_z_gaia_none = gri_gaia_transform_flags.flag(2**14, "no z from Gaia")
    flag_gaia_neighbor = gri_gaia_transform_flags.flag(2**15, "bright Gaia neighbour close by")
    flag_g_panstarrs = gri_gaia_transform_flags.flag(2**16, "g from Pan-STARRS")
    flag_r_panstarrs = gri_gaia_transform_flags.flag(2**17, "r from Pan-STARRS")
    flag_i_panstarrs = gri_gaia_transform_flags.flag(2**18, "i from Pan-STARRS")
    flag_z_panstarrs = gri_gaia_transform_flags.flag(2**19, "z from Pan-STARRS")
    flag_position_offset = gri_gaia_transform_flags.flag(2**20, "position offset between catalogues")

    zwarning_flags = BitField()
    flag_sky_fiber = zwarning_flags.flag(2**0, "sky fiber")
    flag_little_wavelength_coverage = zwarning_flags.flag(2**1, "little wavelength coverage")
    flag_small_delta_chi2 = zwarning_flags.flag(2**2, "best fit hardly better than the next")
    flag_negative_model = zwarning_flags.flag(2**3, "negative model")
    flag_many_outliers = zwarning_flags.flag(2**4, "many outlying pixels")
    flag_z_fit_limit = zwarning_flags.flag(2**5, "redshift at the limit of its range")
    flag_negative_emission = zwarning_flags.flag(2**6, "negative emission line in a quasar")
    flag_unplugged = zwarning_flags.flag(2**7, "fiber unplugged or broken")
    flag_bad_target = zwarning_flags.flag(2**8, "target with bad astrometry")
    flag_no_data = zwarning_flags.flag(2**9, "no data")

    _xcsao = Heading("Cross-correlation with templates (XCSAO)")
    xcsao_teff = FloatField(null=True)
    xcsao_e_teff = FloatField(null=True)
    xcsao_logg = FloatField(null=True)
    xcsao_e_logg = FloatField(null=True)
    xcsao_fe_h = FloatField(null=True)
    xcsao_e_fe_h = FloatField(null=True)


def _wavelength_from_loglam(loglam: np.ndarray) -> np.ndarray:
    return 10 ** loglam.astype(np.float64)


class BossVisitMixin(BossFlagsMixin):
    """What is known of a visit by BOSS: how it was taken, and what its reduction measured."""

    abstract = True

    _exposures = Heading("Exposures and their reduction")
    n_exp = IntegerField(null=True)
    exptime = FloatField(null=True)
    plateid = IntegerField(null=True)
    cartid = IntegerField(null=True)
    mapid = IntegerField(null=True)
    slitid = IntegerField(null=True)
    psfsky = IntegerField(null=True)
    preject = FloatField(null=True)
    n_std = IntegerField(null=True)
    n_gal = IntegerField(null=True)
    lowrej = IntegerField(null=True)
    highrej = IntegerField(null=True)
    scatpoly = IntegerField(null=True)
    proftype = IntegerField(null=True)
    nfitpoly = IntegerField(null=True)
    skychi2 = FloatField(null=True)
    schi2min = FloatField(null=True)
    schi2max = FloatField(null=True)

    _conditions = Heading("Observing conditions")
    alt = FloatField(null=True)
    az = FloatField(null=True)
    telescope = TextField(null=True)
    seeing = FloatField(null=True)
    airmass = FloatField(null=True)
    airtemp = FloatField(null=True)
    dewpoint = FloatField(null=True)
    humidity = FloatField(null=True)
    pressure = FloatField(null=True)
    dust_a = FloatField(null=True)
    dust_b = FloatField(null=True)
    gust_direction = FloatField(null=True)
    gust_speed = FloatField(null=True)
    wind_direction = FloatField(null=True)
    wind_speed = FloatField(null=True)
    moon_dist_mean = FloatField(null=True)
    moon_phase_mean = FloatField(null=True)
    n_guide = IntegerField(null=True)
    tai_beg = BigIntegerField(null=True)
    tai_end = BigIntegerField(null=True)
    fiber_offset = BooleanField(null=True)
    f_night_time = FloatField(null=True)
    delta_ra = FloatArrayField(null=True)
    delta_dec = FloatArrayField(null=True)

    _quality = Heading("Quality and velocity")
    snr = FloatField(null=True)
    xcsao_v_rad = FloatField(null=True)
    xcsao_e_v_rad = FloatField(null=True)
    xcsao_rxc = FloatField(null=True)


class BossVisitSpectrum(BossVisitMixin):
    """A visit by BOSS: one spec or specFull file, in the observed, barycentric frame."""

    natural_key = ("release", "run2d", "fieldid", "mjd", "catalogid")
    path_templates = BOSS_VISIT

    _identifiers = Heading("Which visit")
    release = TextField()
    filetype = TextField(default="specFull")
    run2d = TextField()
    mjd = IntegerField()
    fieldid = IntegerField()
    catalogid = BigIntegerField()
    healpix = IntegerField(null=True)
    spec_file = TextField()

    wavelength = PixelArray(
        ext=1,
        group="flux",
        column_name="loglam",
        transform=_wavelength_from_loglam,
        unit="Angstrom",
        help_text="Vacuum wavelength, barycentric",
    )
    flux = PixelArray(ext=1, group="flux", unit=FLUX_UNIT, help_text="Flux density")
    ivar = PixelArray(
        ext=1,
        group="flux",
        transform=usable_ivar,
        alternative=("PropErr", error_to_ivar),  # as templates have it
        unit=IVAR_UNIT,
        help_text="Inverse variance of the flux; 0 where it is not to be used",
    )
    wresl = PixelArray(ext=1, unit="Angstrom", help_text="Resolution")
    pixel_flags = PixelArray(ext=1, column_name="or_mask", unit="", help_text="Mask bits of any exposure")
