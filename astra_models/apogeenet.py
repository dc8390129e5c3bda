"""Results of APOGEENet: stellar parameters of APOGEE spectra from a neural network."""

from playhouse.hybrid import hybrid_property

from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField
from astra_models.pipeline import Condition, PipelineOutputMixin


class ApogeeNet(PipelineOutputMixin):
    """Effective temperature, gravity and iron abundance, from an APOGEE spectrum by a neural network."""

    _parameters = Heading("Stellar parameters")
    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    fe_h = FloatField(null=True)
    e_fe_h = FloatField(null=True)

    _quality = Heading("Quality")
    result_flags = BitField()
    flag_runtime_exception = result_flags.flag(2**0, "The pipeline raised an exception")
    flag_unreliable_teff = result_flags.flag(2**1, "teff below 1,700 K or above 100,000 K")
    flag_unreliable_logg = result_flags.flag(2**2, "logg outside the range of -1 to 6")
    flag_unreliable_fe_h = result_flags.flag(2**3, "teff below 3,200 K, logg over 5, or fe_h outside -4 to 2")

    _raw = Heading("Formal uncertainties")
    raw_e_teff = FloatField(null=True)
    raw_e_logg = FloatField(null=True)
    raw_e_fe_h = FloatField(null=True)

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether to use the result with caution; in queries, the condition of that."""
        return self.flag_unreliable_fe_h

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the result; in queries, the condition of that."""
        return (
            self.flag_runtime_exception
            | self.flag_unreliable_teff
            | self.flag_unreliable_logg
            | self.flag_unreliable_fe_h
        )
