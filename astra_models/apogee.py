"""Spectra of the APOGEE instruments."""

import numpy as np

from astra_models.boss import FLUX_UNIT, IVAR_UNIT
from astra_models.fields import (
    BigIntegerField,
    BitField,
    FloatField,
    IntegerField,
    LogLambdaArrayAccessor,
    PixelArray,
    TextField,
)
from astra_models.pixels import error_to_ivar
from astra_models.spectrum import SpectrumMixin


def first_row(image: np.ndarray) -> np.ndarray:
    """Take the co-add: row 0 of ``(n_visits + 2, n_pixels)``, or all of the 1-D array of a star with one visit."""
    return image if image.ndim == 1 else image[0]


def first_row_ivar(error: np.ndarray) -> np.ndarray:
    """Take the co-add's error and make its inverse variance."""
    return error_to_ivar(first_row(error))


class ApogeeCoaddedSpectrumInApStar(SpectrumMixin):
    """A star's co-added APOGEE spectrum (apStar), in its rest frame."""

    natural_key = ("release", "apred", "apstar", "obj", "telescope", "field", "prefix")

    star_pk = BigIntegerField(null=True, unique=True)
    release = TextField()
    filetype = TextField(default="apStar")
    apred = TextField()
    apstar = TextField(default="stars")
    obj = TextField()
    telescope = TextField()
    healpix = IntegerField(null=True)
    field = TextField(default="")
    prefix = TextField(default="")

    min_mjd = IntegerField(null=True)
    max_mjd = IntegerField(null=True)
    starver = IntegerField(null=True)
    n_entries = IntegerField(null=True)
    n_visits = IntegerField(null=True)
    n_good_visits = IntegerField(null=True)
    n_good_rvs = IntegerField(null=True)
    snr = FloatField(null=True)
    mean_fiber = FloatField(null=True)
    std_fiber = FloatField(null=True)
    spectrum_flags = BitField()

    v_rad = FloatField(null=True)
    e_v_rad = FloatField(null=True)
    std_v_rad = FloatField(null=True)
    median_e_v_rad = FloatField(null=True)
    doppler_teff = FloatField(null=True)
    doppler_e_teff = FloatField(null=True)
    doppler_logg = FloatField(null=True)
    doppler_e_logg = FloatField(null=True)
    doppler_fe_h = FloatField(null=True)
    doppler_e_fe_h = FloatField(null=True)
    doppler_rchi2 = FloatField(null=True)
    doppler_flags = BitField()
    xcorr_v_rad = FloatField(null=True)
    xcorr_v_rel = FloatField(null=True)
    xcorr_e_v_rel = FloatField(null=True)
    ccfwhm = FloatField(null=True)
    autofwhm = FloatField(null=True)
    n_components = IntegerField(null=True)

    wavelength = PixelArray(
        accessor_class=LogLambdaArrayAccessor,
        accessor_kwargs={"crval": 4.179, "cdelt": 6e-6, "naxis": 8575},
        unit="Angstrom",
        help_text="In vacuum",
    )
    flux = PixelArray(ext=1, transform=first_row, unit=FLUX_UNIT, help_text="Flux density")
    ivar = PixelArray(ext=2, transform=first_row_ivar, unit=IVAR_UNIT, help_text="Inverse variance of the flux")
    pixel_flags = PixelArray(ext=3, transform=first_row, unit="", help_text="Mask bits of any visit")

    class Meta:
        indexes = ((("release", "apred", "apstar", "obj", "telescope", "field", "prefix"), True),)
