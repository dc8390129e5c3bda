"""The fit of a white dwarf's spectrum, as Corv does it: see `astra_orchestration.pipelines.white_dwarfs.fit`."""

from astra_orchestration.pipelines.white_dwarfs.fit import BalmerFit, Photometry, fit_spectrum

__all__ = ["BalmerFit", "Photometry", "fit_spectrum"]
