"""Results of Rocket, the tutorial's pipeline."""

from astra_models.fields import BitField, FloatField
from astra_models.pipeline import PipelineOutputMixin


class Rocket(PipelineOutputMixin):
    """A temperature from the brightest wavelength of a spectrum: a lesson, not a measurement."""

    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    fe_h = FloatField(null=True)
    e_fe_h = FloatField(null=True)

    result_flags = BitField()
    flag_low_snr = result_flags.flag(2**0, help_text="S/N below 3")
