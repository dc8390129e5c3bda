"""The continuum that binspec's spectra were normalised by: the same for spectra and for models.

Of each chip it is a Chebyshev polynomial through the network's continuum pixels, weighted by their inverse variances.
It is linear in the flux. So a model goes through the same weights as the spectrum, and its derivatives do, too. Before,
it is bent by the spectrum's continuum: pixels of the continuum have lines, too, and what these do depends on its slope.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .network import Array

ORDER = 4
"""Of the polynomial of each chip."""

LEAST_PIXELS = 3 * (ORDER + 1)
"""Good continuum pixels that a chip needs."""

LARGEST_STEP = 1.5
"""Times the usual step between two pixels: a longer one is a gap between chips."""


class Chip(NamedTuple):
    """A chip of a network's pixels.

    Attributes
    ----------
    pixels : slice
        Which of the network's pixels it has.
    basis : ndarray of float64, shape (n_pixels, ORDER + 1)
        Chebyshev polynomials at its pixels.
    is_continuum : ndarray of bool, shape (n_pixels,)
        The pixels that the continuum goes through.
    """

    pixels: slice
    basis: Array
    is_continuum: NDArray[np.bool_]


def chips_of(wavelength: Array, continuum_pixels: NDArray[np.bool_]) -> tuple[Chip, ...]:
    """Split a network's pixels at the gaps between them."""
    steps = np.diff(np.log(wavelength))
    gaps = np.flatnonzero(steps > LARGEST_STEP * np.median(steps)) + 1
    found = []
    for first, last in zip([0, *gaps], [*gaps, len(wavelength)], strict=True):
        place = np.linspace(-1, 1, last - first)
        basis = np.asarray(np.polynomial.chebyshev.chebvander(place, ORDER), dtype=np.float64)
        found.append(Chip(slice(int(first), int(last)), basis, continuum_pixels[first:last]))
    return tuple(found)


class Continuum:
    """The continuum of one spectrum's weights.

    Parameters
    ----------
    chips : tuple of Chip
        Of the network.
    ivar : ndarray of float64, shape (n_pixels,)
        Inverse variance of the spectrum, 0 where a pixel isn't to be used.

    Attributes
    ----------
    known : ndarray of bool, shape (n_pixels,)
        Pixels of chips that have enough good continuum pixels.
    """

    def __init__(self, chips: tuple[Chip, ...], ivar: Array):
        self._solvers: list[tuple[Chip, NDArray[np.bool_], Array]] = []
        self.known = np.zeros(len(ivar), dtype=bool)
        for chip in chips:
            good = chip.is_continuum & (ivar[chip.pixels] > 0)
            if good.sum() >= LEAST_PIXELS:
                weighted = chip.basis[good].T * (ivar[chip.pixels][good] / ivar[chip.pixels][good].max())
                self._solvers.append((chip, good, np.linalg.solve(weighted @ chip.basis[good], weighted)))
                self.known[chip.pixels] = True

    def of(self, flux: Array) -> Array:
        """Give the continuum of fluxes of shape (n_pixels,) or (n_pixels, n_fluxes); 1 where it isn't known."""
        found = np.ones_like(flux)
        for chip, good, solver in self._solvers:
            found[chip.pixels] = chip.basis @ (solver @ flux[chip.pixels][good])
        return found

    def normalised(self, flux: Array, slopes: Array) -> tuple[Array, Array]:
        """Divide a flux by its continuum, and give the derivatives of what comes out.

        Parameters
        ----------
        flux : ndarray of float64, shape (n_pixels,)
        slopes : ndarray of float64, shape (n_pixels, n_parameters)
            Derivatives of the flux.
        """
        level = self.of(flux)
        bent = np.where(self.known[:, None], self.of(slopes), 0)
        ratio = flux / level
        return ratio, (slopes - ratio[:, None] * bent) / level[:, None]

    def with_its_noise(self, gain: Array, flux: Array, level: Array) -> Array:
        """Say how what was found depends on a spectrum's flux, its continuum included.

        Parameters
        ----------
        gain : ndarray of float64, shape (n_parameters, n_pixels)
            Derivatives of what was found by the normalised flux.
        flux, level : ndarray of float64, shape (n_pixels,)
            Normalised flux, and the continuum.

        Returns
        -------
        ndarray of float64, shape (n_parameters, n_pixels)
            Derivatives of what was found by the flux before it was normalised.
        """
        by_flux = gain / level
        found = by_flux.copy()
        for chip, good, solver in self._solvers:
            by_level = (by_flux[:, chip.pixels] * flux[chip.pixels]) @ chip.basis
            found[:, np.flatnonzero(good) + chip.pixels.start] -= by_level @ solver
        return found
