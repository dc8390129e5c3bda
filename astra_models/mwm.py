"""Star and visit spectra that Astra itself makes (mwmStar, mwmVisit), all at rest.

Such a file has four tables: BOSS and APOGEE, from either observatory. A table of an mwmStar has one row, that of an
mwmVisit one per visit; the row of a spectrum is the one with its identifiers.
"""

from collections.abc import Callable

import numpy as np

from astra_models.apogee import ApogeeCoAddMixin, ApogeeVisitMixin
from astra_models.boss import BossFlagsMixin, BossVisitMixin, BossVisitSpectrum
from astra_models.columns.headings import Heading
from astra_models.fields import (
    BigIntegerField,
    BitField,
    BooleanField,
    FloatField,
    ForeignKeyField,
    IntegerField,
    PixelArray,
    TextField,
)
from astra_models.pixels.arrays import APOGEE_GRID, BOSS_GRID, FLUX_UNIT, IVAR_UNIT, RowOf, log_wavelength
from astra_models.pixels.ivar import usable_ivar
from astra_models.pixels.paths import MWM_STAR, MWM_VISIT
from astra_models.pixels.rows import apogee_hdu, boss_hdu, row_of_apogee_visit, row_of_boss_visit
from astra_models.spectrum import SpectrumMixin

ONLY_ROW = 0
"""Row of a table with one."""


class MwmSpectrumMixin(SpectrumMixin):
    """What all spectra that Astra makes have in common."""

    abstract = True

    _product = Heading("Which spectrum")
    release = TextField()
    v_astra = IntegerField()
    healpix = IntegerField(null=True)
    sdss_id = BigIntegerField(index=True)

    _continuum_fit = Heading("Continuum (NMF)")
    nmf_rchi2 = FloatField(null=True)
    nmf_flags = BitField()


def flags_from_floats(values: np.ndarray) -> np.ndarray:
    """Convert mask bits, which these files store as floats, to integers; NaN becomes 0."""
    return np.where(np.isfinite(values), values, 0).astype(np.int64)


def _flux(ext: Callable, row: RowOf) -> PixelArray:
    return PixelArray(ext=ext, row=row, group="flux", unit=FLUX_UNIT, help_text="Flux density")


def _ivar(ext: Callable, row: RowOf) -> PixelArray:
    text = "Inverse variance of the flux; 0 where it is not to be used"
    return PixelArray(ext=ext, row=row, group="flux", transform=usable_ivar, unit=IVAR_UNIT, help_text=text)


def _pixel_flags(ext: Callable, row: RowOf) -> PixelArray:
    other = ("or_mask", flags_from_floats)
    return PixelArray(ext=ext, row=row, transform=flags_from_floats, alternative=other, unit="", help_text="Mask bits")


def _continuum(ext: Callable, row: RowOf) -> PixelArray:
    return PixelArray(ext=ext, row=row, unit=FLUX_UNIT, help_text="Continuum (NMF)")


def _rectified_model(ext: Callable, row: RowOf) -> PixelArray:
    return PixelArray(ext=ext, row=row, unit="", help_text="Model of the flux over its continuum (NMF)")


class BossCombinedSpectrum(MwmSpectrumMixin, BossFlagsMixin):
    """A star's co-added BOSS spectrum (mwmStar), in its rest frame."""

    # healpix follows from sdss_id, and may be missing: in the key it would let the same row in twice.
    natural_key = ("release", "filetype", "v_astra", "sdss_id", "telescope", "run2d")
    path_templates = MWM_STAR

    _visits = Heading("Visits and velocity")
    filetype = TextField(default="mwmStar")
    run2d = TextField()
    telescope = TextField()
    min_mjd = IntegerField(null=True)
    max_mjd = IntegerField(null=True)
    n_visits = IntegerField(null=True)
    n_good_visits = IntegerField(null=True)
    n_good_rvs = IntegerField(null=True)
    snr = FloatField(null=True)
    v_rad = FloatField(null=True)
    e_v_rad = FloatField(null=True)
    std_v_rad = FloatField(null=True)
    median_e_v_rad = FloatField(null=True)
    xcsao_meanrxc = FloatField(null=True)

    wavelength = log_wavelength(BOSS_GRID, "Vacuum wavelength at rest")
    flux = _flux(boss_hdu, ONLY_ROW)
    ivar = _ivar(boss_hdu, ONLY_ROW)
    pixel_flags = _pixel_flags(boss_hdu, ONLY_ROW)
    continuum = _continuum(boss_hdu, ONLY_ROW)
    nmf_rectified_model_flux = _rectified_model(boss_hdu, ONLY_ROW)


class ApogeeCombinedSpectrum(MwmSpectrumMixin, ApogeeCoAddMixin):
    """A star's APOGEE spectrum that Astra co-added (mwmStar), in its rest frame."""

    natural_key = ("release", "filetype", "v_astra", "sdss_id", "telescope", "apred")
    path_templates = MWM_STAR

    _reduction = Heading("Which spectrum")
    filetype = TextField(default="mwmStar")
    apred = TextField()
    obj = TextField()
    telescope = TextField()

    wavelength = log_wavelength(APOGEE_GRID, "Vacuum wavelength at rest")
    flux = _flux(apogee_hdu, ONLY_ROW)
    ivar = _ivar(apogee_hdu, ONLY_ROW)
    pixel_flags = _pixel_flags(apogee_hdu, ONLY_ROW)
    continuum = _continuum(apogee_hdu, ONLY_ROW)
    nmf_rectified_model_flux = _rectified_model(apogee_hdu, ONLY_ROW)


class BossRestFrameVisitSpectrum(MwmSpectrumMixin, BossVisitMixin):
    """A visit by BOSS as Astra resampled it (mwmVisit), in the star's rest frame."""

    natural_key = ("v_astra", "filetype", "release", "run2d", "fieldid", "mjd", "catalogid")
    path_templates = MWM_VISIT

    _visit = Heading("Which visit")
    drp_spectrum_pk = ForeignKeyField(BossVisitSpectrum, field=BossVisitSpectrum.spectrum_pk, null=True, index=False)
    filetype = TextField(default="mwmVisit")
    run2d = TextField()
    mjd = IntegerField()
    fieldid = IntegerField()
    catalogid = BigIntegerField()
    in_stack = BooleanField(null=True)

    wavelength = log_wavelength(BOSS_GRID, "Vacuum wavelength at rest")
    flux = _flux(boss_hdu, row_of_boss_visit)
    ivar = _ivar(boss_hdu, row_of_boss_visit)
    wresl = PixelArray(ext=boss_hdu, row=row_of_boss_visit, unit="Angstrom", help_text="Resolution")
    pixel_flags = _pixel_flags(boss_hdu, row_of_boss_visit)
    continuum = _continuum(boss_hdu, row_of_boss_visit)


class ApogeeRestFrameVisitSpectrum(MwmSpectrumMixin, ApogeeVisitMixin):
    """A visit by APOGEE as Astra has it (mwmVisit), in the star's rest frame."""

    natural_key = (
        *("release", "v_astra", "sdss_id", "apred", "mjd", "plate", "telescope", "field", "fiber", "prefix"),
        "reduction",
    )
    path_templates = MWM_VISIT

    _more = Heading("Which visit")
    filetype = TextField(default="mwmVisit")
    in_stack = BooleanField(null=True)

    wavelength = log_wavelength(APOGEE_GRID, "Vacuum wavelength at rest")
    flux = _flux(apogee_hdu, row_of_apogee_visit)
    ivar = _ivar(apogee_hdu, row_of_apogee_visit)
    pixel_flags = _pixel_flags(apogee_hdu, row_of_apogee_visit)
    continuum = _continuum(apogee_hdu, row_of_apogee_visit)
