"""Results of astroNN's distances: spectro-photometric, from a neural network's luminosity."""

from playhouse.hybrid import hybrid_property

from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField
from astra_models.pipeline import Condition, PipelineOutputMixin

# ruff: noqa: N815  names are the survey's
FAKEMAG = "10 ** (M / 5 + 2) of the absolute magnitude M in Ks"


class AstroNNdist(PipelineOutputMixin):
    """Distance of a star, from its luminosity by a neural network and its magnitude in Ks."""

    _photometry = Heading("Photometry that was used")
    k_mag = FloatField(null=True)
    ebv = FloatField(null=True, help_text="Reddening E(B-V) that was used")
    A_k_mag = FloatField(null=True, unit="mag", help_text="Extinction in Ks")

    _distance = Heading("Luminosity and distance")
    L_fakemag = FloatField(null=True, unit="", help_text=f"Luminosity by the network: {FAKEMAG}")
    e_L_fakemag = FloatField(null=True, unit="", help_text="Uncertainty of the luminosity by the network")
    dist = FloatField(null=True, unit="pc", help_text="Heliocentric distance")
    e_dist = FloatField(null=True, unit="pc", help_text="Uncertainty of the heliocentric distance")

    _quality = Heading("Quality")
    result_flags = BitField()
    flag_fakemag_unreliable = result_flags.flag(
        2**0,
        "e_L_fakemag at least 20 % of L_fakemag",
        when=lambda row: row.e_L_fakemag * 5 >= row.L_fakemag,
    )
    # Only of a star that was analysed: of another one, nobody has looked for photometry.
    flag_missing_photometry = result_flags.flag(
        2**1,
        "No magnitude in Ks",
        when=lambda row: row.L_fakemag.is_null(False) & (row.k_mag.is_null() | (row.k_mag >= 98) | (row.k_mag <= -1)),
    )
    flag_missing_extinction = result_flags.flag(
        2**2,
        "No extinction",
        when=lambda row: row.L_fakemag.is_null(False) & (row.ebv.is_null() | (row.ebv >= 98) | (row.ebv <= 0)),
    )
    flag_no_result = result_flags.flag(2**11, "The spectrum could not be read or analysed")

    class Meta:
        table_name = "astro_nn_dist"

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether to use the result with caution; in queries, the condition of that."""
        return self.flag_missing_extinction

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the result; in queries, the condition of that."""
        return self.flag_fakemag_unreliable | self.flag_missing_photometry | self.flag_no_result
