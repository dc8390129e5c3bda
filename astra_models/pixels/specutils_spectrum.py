"""Spectra as `specutils` has them. It is an extra, imported when one is made."""

from typing import TYPE_CHECKING, Any

import numpy as np

from astra_models.errors import MissingExtraError

if TYPE_CHECKING:
    from specutils import Spectrum


def make_specutils_spectrum(spectrum: Any) -> "Spectrum":
    """Make a `specutils.Spectrum` of a spectrum of any kind.

    Parameters
    ----------
    spectrum : SpectrumMixin
        The spectrum. Chips are joined, in order of wavelength: there are gaps between them.

    Returns
    -------
    specutils.Spectrum
        Flux with its unit, in vacuum angstrom; inverse variance as uncertainty; a mask that is true where there is
        no weight or no finite flux; and in ``meta`` the row's columns, and the ``pixel_flags``.

    Raises
    ------
    MissingExtraError
        If specutils isn't installed.
    """
    try:
        import specutils
    except ImportError as error:
        raise MissingExtraError(
            "to_specutils needs specutils; install it with `pip install astra-orchestration[specutils]`"
        ) from error
    from astropy.nddata import InverseVariance
    from astropy.units import Quantity

    kind = type(spectrum)
    wavelength, flux, ivar = (np.ravel(getattr(spectrum, name)) for name in ("wavelength", "flux", "ivar"))
    return specutils.Spectrum(
        spectral_axis=Quantity(wavelength, kind.wavelength.unit),
        flux=Quantity(flux, kind.flux.unit),
        uncertainty=InverseVariance(ivar, unit=kind.ivar.unit),
        mask=~((ivar > 0) & np.isfinite(flux)),
        meta={**spectrum.to_dict(), "pixel_flags": np.ravel(spectrum.pixel_flags)},
    )
