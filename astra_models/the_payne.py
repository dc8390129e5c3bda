"""Results of The Payne: stellar labels by a neural network that makes model spectra."""

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

from playhouse.hybrid import hybrid_property

from astra_models.apogee import APOGEE_GRID
from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField, TextField
from astra_models.fields.flags import any_bit
from astra_models.intermediate import FittedModelMixin
from astra_models.pipeline import Condition
from astra_models.pixels.arrays import log_wavelength

LABELS = (
    *("teff", "logg", "v_turb", "c_h", "n_h", "o_h", "na_h", "mg_h", "al_h", "si_h", "p_h", "s_h", "k_h", "ca_h"),
    *("ti_h", "v_h", "cr_h", "mn_h", "fe_h", "co_h", "ni_h", "cu_h", "ge_h", "c12_c13", "v_macro"),
)


class ThePayne(WithFamilies, FittedModelMixin):
    """25 stellar labels of an APOGEE spectrum, with the correlation of each two."""

    intermediate_path = "$MWM_ASTRA/{version}/pipelines/ThePayne/intermediate/{group}/{spectrum_pk}.pkl"

    _labels = Heading("Stellar labels")
    v_rel = FloatField(null=True)
    labels = Family(floats(label, f"e_{label}") for label in LABELS)

    network = TextField(null=True, help_text="Name and checksum of the network")

    _quality = Heading("Quality of the fit")
    chi2 = FloatField(null=True)
    reduced_chi2 = FloatField(null=True, unit="", help_text="Reduced chi-squared of the best fit")
    result_flags = BitField()
    flag_fitting_failure = result_flags.flag(2**0, "The fit failed")
    flag_warn_teff = result_flags.flag(
        2**1, "teff below 3,100 K or above 7,900 K", when=lambda row: (row.teff < 3_100) | (row.teff > 7_900)
    )
    flag_warn_logg = result_flags.flag(
        2**2, "logg below 0.1 or above 5.2", when=lambda row: (row.logg < 0.1) | (row.logg > 5.2)
    )
    flag_warn_fe_h = result_flags.flag(
        2**3, "fe_h below -1.4 or above 0.4", when=lambda row: (row.fe_h < -1.4) | (row.fe_h > 0.4)
    )
    flag_low_snr = result_flags.flag(2**4, "S/N below 70")
    flag_outside_network = result_flags.flag(
        2**5, "A label is at the edge of what the network was trained on, or would be outside"
    )
    flag_v_rel_at_limit = result_flags.flag(2**6, "The velocity is as large as it may be")
    flag_bad_chi2 = result_flags.flag(2**7, "The model doesn't fit: reduced chi-squared is high")
    flag_not_converged = result_flags.flag(2**8, "The search for labels did not converge")
    flag_no_continuum = result_flags.flag(2**9, "Too few good pixels for a continuum in one of the chips")

    _formal = Heading("Formal uncertainties")
    formal_errors = Family(floats(f"raw_e_{label}") for label in LABELS)

    _correlations = Heading("Correlations")
    correlations = Family(floats(f"rho_{one}_{other}") for one, other in combinations(LABELS, 2))

    wavelength = log_wavelength(APOGEE_GRID)

    same_unless_given: ClassVar[Mapping[str, str]] = {f"raw_e_{label}": f"e_{label}" for label in LABELS}

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether anything is flagged; in queries, the condition of that."""
        return any_bit(self.result_flags)

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the result; in queries, the condition of that."""
        return self.flag_fitting_failure
