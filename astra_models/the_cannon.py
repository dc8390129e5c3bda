"""Results of The Cannon: stellar labels by a model that learnt from labelled spectra.

A model gives the labels that its training set has; the others are NULL.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from astra_models.apogee import APOGEE_GRID
from astra_models.boss import FLUX_UNIT
from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField, IntegerField, PixelArray, TextField
from astra_models.intermediate import IntermediateOutputMixin, NpzArrayAccessor
from astra_models.pixels.arrays import log_wavelength

LABELS = (
    *("teff", "logg", "fe_h", "v_micro", "v_macro", "c_fe", "n_fe", "o_fe", "na_fe", "mg_fe", "al_fe"),
    *("si_fe", "s_fe", "k_fe", "ca_fe", "ti_fe", "v_fe", "cr_fe", "mn_fe", "ni_fe"),
)
OF_ATMOSPHERE = ("m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm")
"""Labels that sdss/astra's table doesn't have: what the grids of model atmospheres are made for."""

ALL_LABELS = (*LABELS, *OF_ATMOSPHERE)
"""All that a model may give."""


class TheCannon(WithFamilies, IntermediateOutputMixin):
    """Stellar parameters and abundances of an APOGEE spectrum."""

    intermediate_path = "$MWM_ASTRA/{version}/pipelines/TheCannon/{group}/{source_pk}-{spectrum_pk}.npz"

    _labels = Heading("Stellar labels")
    labels = Family(floats(label, f"e_{label}") for label in ALL_LABELS)
    trained_model = TextField(null=True, help_text="Name and checksum of the model")

    _quality = Heading("Quality of the fit")
    chi2 = FloatField(null=True)
    rchi2 = FloatField(null=True)

    _formal = Heading("Formal uncertainties")
    formal_errors = Family(floats(f"raw_e_{label}") for label in ALL_LABELS)

    _optimiser = Heading("Optimiser and flags")
    ier = IntegerField(default=-1, unit="", help_text="Status that the optimiser ended with; -1 if not run")
    nfev = IntegerField(default=-1, unit="", help_text="Number of evaluations of the model; -1 if not run")
    x0_index = IntegerField(default=-1, unit="", help_text="Which of the starting points was best; -1 if not run")
    result_flags = BitField()
    flag_fitting_failure = result_flags.flag(2**0, "The fit failed")
    flag_outside_training_set = result_flags.flag(
        2**1, "Outside the training set's convex hull by more than the errors"
    )
    flag_bad_chi2 = result_flags.flag(2**2, "The model doesn't fit: reduced chi-squared is high")
    flag_not_converged = result_flags.flag(2**3, "The search for labels did not converge")
    flag_no_continuum = result_flags.flag(2**4, "Too few good pixels for a continuum in one of the chips")

    wavelength = log_wavelength(APOGEE_GRID)
    model_flux = PixelArray(
        accessor_class=NpzArrayAccessor,
        accessor_kwargs={},
        unit=FLUX_UNIT,
        help_text="Flux density of the best model; NaN between chips",
    )
    continuum = PixelArray(
        accessor_class=NpzArrayAccessor,
        accessor_kwargs={},
        unit=FLUX_UNIT,
        help_text="Pseudo-continuum of the spectrum, which the model is multiplied by",
    )
    correlation = PixelArray(
        accessor_class=NpzArrayAccessor,
        accessor_kwargs={},
        unit="",
        help_text="Correlation of the labels' errors, (24, 24) in the order of ALL_LABELS",
    )

    same_unless_given: ClassVar[Mapping[str, str]] = {f"raw_e_{label}": f"e_{label}" for label in ALL_LABELS}

    @property
    def covariance(self) -> np.ndarray:
        """Formal covariance of the labels in the order of `ALL_LABELS`, in their units; NaN for those without a value.

        Raises
        ------
        MissingPixelsError
            If the row's file isn't there.
        """
        errors = np.array([getattr(self, f"raw_e_{label}") for label in ALL_LABELS], dtype=np.float64)
        return self.correlation * np.outer(errors, errors)

    def _path_for(self, version: str) -> str:
        digits = f"{self.source_pk or 0:04d}"
        return self.intermediate_path.format(
            version=version,
            group=f"{digits[-4:-2]}/{digits[-2:]}",
            source_pk=self.source_pk,
            spectrum_pk=self.spectrum_pk,
        )
