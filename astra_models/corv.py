"""Results of Corv: radial velocities of DA white dwarfs."""

from astra_models.fields import BitField, FloatField
from astra_models.pipeline import PipelineOutputMixin


class Corv(PipelineOutputMixin):
    """Radial velocity, effective temperature and gravity of a DA white dwarf, from its Balmer lines."""

    v_rad = FloatField(null=True)
    e_v_rad = FloatField(null=True)
    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    initial_teff = FloatField(null=True)
    initial_logg = FloatField(null=True)
    initial_v_rad = FloatField(null=True)
    rchi2 = FloatField(null=True)

    result_flags = BitField()
    flag_low_snr = result_flags.flag(2**0, help_text="S/N too low for a velocity")
    flag_no_lines = result_flags.flag(2**1, help_text="No Balmer lines like those of a DA white dwarf")
    flag_not_converged = result_flags.flag(2**2, help_text="The fit did not converge")
    flag_v_rad_at_edge = result_flags.flag(2**3, help_text="Velocity at the edge of its range")
    flag_template_at_edge = result_flags.flag(2**4, help_text="Teff or logg at the edge of the template grid")
    flag_too_few_pixels = result_flags.flag(2**5, help_text="Too few good pixels around the Balmer lines")
