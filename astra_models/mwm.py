"""Star and visit spectra that Astra itself makes (mwmStar, mwmVisit)."""

from typing import Any

from astra_models.boss import FLUX_UNIT, IVAR_UNIT, BossFlagsMixin
from astra_models.errors import MissingPixelsError
from astra_models.fields import (
    BigIntegerField,
    BitField,
    FloatField,
    IntegerField,
    LogLambdaArrayAccessor,
    PixelArray,
    TextField,
)

_BOSS_HDU = {"apo25m": 1, "lco25m": 2}


def _boss_hdu(row: Any) -> int:
    try:
        return _BOSS_HDU[row.telescope]
    except KeyError as error:
        raise MissingPixelsError(
            f"{type(row).__name__} with spectrum_pk {row.spectrum_pk} has telescope {row.telescope!r}, but an mwmStar "
            f"file has BOSS spectra of {' and '.join(_BOSS_HDU)} only"
        ) from error


class BossCombinedSpectrum(BossFlagsMixin):
    """A star's co-added BOSS spectrum (mwmStar), in its rest frame."""

    # healpix follows from sdss_id, and may be missing: in the key it would let the same row in twice.
    natural_key = ("release", "filetype", "v_astra", "sdss_id", "telescope", "run2d")

    release = TextField(index=True)
    filetype = TextField(default="mwmStar")
    v_astra = IntegerField()
    healpix = IntegerField(null=True)
    sdss_id = BigIntegerField(index=True)
    run2d = TextField()
    telescope = TextField(index=True)

    min_mjd = IntegerField(null=True)
    max_mjd = IntegerField(null=True)
    n_visits = IntegerField(null=True)
    n_good_visits = IntegerField(null=True)
    n_good_rvs = IntegerField(null=True)
    v_rad = FloatField(null=True)
    e_v_rad = FloatField(null=True)
    std_v_rad = FloatField(null=True)
    median_e_v_rad = FloatField(null=True)
    xcsao_meanrxc = FloatField(null=True)
    nmf_rchi2 = FloatField(null=True)
    nmf_flags = BitField()

    wavelength = PixelArray(
        accessor_class=LogLambdaArrayAccessor,
        accessor_kwargs={"crval": 3.5523, "cdelt": 1e-4, "naxis": 4648},
        unit="Angstrom",
        help_text="In vacuum",
    )
    flux = PixelArray(ext=_boss_hdu, unit=FLUX_UNIT, help_text="Flux density")
    ivar = PixelArray(
        ext=_boss_hdu, unit=IVAR_UNIT, help_text="Inverse variance of the flux; 0 where it is not to be used"
    )
    pixel_flags = PixelArray(ext=_boss_hdu, unit="", help_text="Mask bits")
    continuum = PixelArray(ext=_boss_hdu, unit="", help_text="NMF continuum")
    nmf_rectified_model_flux = PixelArray(ext=_boss_hdu, unit="", help_text="NMF model over its continuum")

    class Meta:
        indexes = ((("release", "filetype", "v_astra", "sdss_id", "telescope", "run2d"), True),)
