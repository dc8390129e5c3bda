"""Results of The Cannon: stellar labels by a model that learnt from labelled spectra."""

from astra_models.apogee import APOGEE_GRID
from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField, IntegerField
from astra_models.intermediate import FittedModelMixin
from astra_models.pixels.arrays import log_wavelength

LABELS = (
    *("teff", "logg", "fe_h", "v_micro", "v_macro", "c_fe", "n_fe", "o_fe", "na_fe", "mg_fe", "al_fe"),
    *("si_fe", "s_fe", "k_fe", "ca_fe", "ti_fe", "v_fe", "cr_fe", "mn_fe", "ni_fe"),
)


class TheCannon(WithFamilies, FittedModelMixin):
    """Stellar parameters and abundances of an APOGEE spectrum."""

    intermediate_path = "$MWM_ASTRA/{version}/pipelines/TheCannon/{group}/{source_pk}-{spectrum_pk}.pkl"

    _labels = Heading("Stellar labels")
    labels = Family(floats(label, f"e_{label}") for label in LABELS)

    _quality = Heading("Quality of the fit")
    chi2 = FloatField(null=True)
    rchi2 = FloatField(null=True)

    _formal = Heading("Formal uncertainties")
    formal_errors = Family(floats(f"raw_e_{label}") for label in LABELS)

    _optimiser = Heading("Optimiser and flags")
    ier = IntegerField(default=-1, unit="", help_text="Status that the optimiser ended with; -1 if not run")
    nfev = IntegerField(default=-1, unit="", help_text="Number of evaluations of the model; -1 if not run")
    x0_index = IntegerField(default=-1, unit="", help_text="Which of the starting points was best; -1 if not run")
    result_flags = BitField()
    flag_fitting_failure = result_flags.flag(2**0, "The fit failed")

    wavelength = log_wavelength(APOGEE_GRID)

    def _path_for(self, version: str) -> str:
        digits = f"{self.source_pk or 0:04d}"
        return self.intermediate_path.format(
            version=version,
            group=f"{digits[-4:-2]}/{digits[-2:]}",
            source_pk=self.source_pk,
            spectrum_pk=self.spectrum_pk,
        )
