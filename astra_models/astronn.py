"""Results of astroNN: stellar parameters and abundances from a neural network."""

from collections.abc import Mapping
from typing import ClassVar

from playhouse.hybrid import hybrid_property

from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import BitField
from astra_models.fields.flags import any_bit
from astra_models.pipeline import Condition, PipelineOutputMixin

LABELS = (
    *("teff", "logg", "c_h", "c_1_h", "n_h", "o_h", "na_h", "mg_h", "al_h", "si_h", "p_h", "s_h", "k_h"),
    *("ca_h", "ti_h", "ti_2_h", "v_h", "cr_h", "mn_h", "fe_h", "co_h", "ni_h"),
)


class AstroNN(WithFamilies, PipelineOutputMixin):
    """Effective temperature, gravity and 20 abundances, from an APOGEE spectrum by a neural network.

    Calibrated values have the plain name (``teff``), those that the network gave begin with ``raw_``.
    """

    _labels = Heading("Stellar labels")
    labels = Family(floats(label, f"e_{label}") for label in LABELS)

    _raw = Heading("Uncalibrated labels")
    uncalibrated = Family(floats(f"raw_{label}", f"raw_e_{label}") for label in LABELS)

    _quality = Heading("Quality")
    result_flags = BitField()
    # Whole numbers, which are exact, rather than 7.5 % and 12 %; and no division by a gravity or an abundance of zero.
    flag_uncertain_logg = result_flags.flag(
        2**0,
        "raw_e_logg over 0.2, and over 7.5 % of raw_logg",
        when=lambda row: (
            (row.raw_e_logg > 0.2)
            & (row.raw_e_logg * 40 > row.raw_logg * 3)
            & (row.raw_e_logg * 40 > row.raw_logg * -3)
        ),
    )
    flag_uncertain_teff = result_flags.flag(2**1, "raw_e_teff over 300 K", when=lambda row: row.raw_e_teff > 300)
    flag_uncertain_fe_h = result_flags.flag(
        2**2,
        "raw_e_fe_h over 12 % of raw_fe_h",
        when=lambda row: (row.raw_e_fe_h * 25 > row.raw_fe_h * 3) & (row.raw_e_fe_h * 25 > row.raw_fe_h * -3),
    )
    flag_no_result = result_flags.flag(2**11, "The spectrum could not be read or analysed")

    same_unless_given: ClassVar[Mapping[str, str]] = {
        f"raw_{name}": name for label in LABELS for name in (label, f"e_{label}")
    }

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether anything is flagged; in queries, the condition of that."""
        return any_bit(self.result_flags)

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether teff, logg and fe_h are all uncertain; in queries, the condition of that."""
        return self.flag_uncertain_logg & self.flag_uncertain_teff & self.flag_uncertain_fe_h
