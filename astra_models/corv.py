"""Results of Corv: radial velocities of DA white dwarfs."""

from astra_models.fields import BitField, FloatField, TextField
from astra_models.model_spectrum import WithModelSpectrum


class Corv(WithModelSpectrum):
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

    raw_e_v_rad = FloatField(null=True, unit="km / s", help_text="Formal error of v_rad")
    raw_e_teff = FloatField(null=True, unit="K", help_text="Formal error of teff")
    raw_e_logg = FloatField(null=True, unit="dex(cm / s2)", help_text="Formal error of logg")
    other_teff = FloatField(
        null=True, unit="K", help_text="Effective temperature on the other side of the Balmer maximum"
    )
    other_logg = FloatField(null=True, unit="dex(cm / s2)", help_text="Surface gravity of that solution")
    other_rchi2 = FloatField(null=True, unit="", help_text="Reduced chi-squared of that solution")
    template_grid = TextField(null=True, help_text="Name and checksum of the grid of model spectra")

    result_flags = BitField()
    flag_low_snr = result_flags.flag(2**0, help_text="S/N too low for a velocity")
    flag_no_lines = result_flags.flag(2**1, help_text="No Balmer lines like those of a DA white dwarf")
    flag_not_converged = result_flags.flag(2**2, help_text="The fit did not converge")
    flag_v_rad_at_edge = result_flags.flag(2**3, help_text="Velocity at the edge of its range")
    flag_template_at_edge = result_flags.flag(2**4, help_text="Teff or logg at the edge of the template grid")
    flag_too_few_pixels = result_flags.flag(2**5, help_text="Too few good pixels around the Balmer lines")
    flag_bad_fit = result_flags.flag(2**6, help_text="The model does not describe the lines")
    flag_two_solutions = result_flags.flag(2**7, help_text="A hotter and a cooler model fit alike")
    flag_no_model_grid = result_flags.flag(2**8, help_text="No grid of model atmospheres: no teff and logg")
    flag_v_rad_without_grid = result_flags.flag(2**9, help_text="Velocity from analytic templates")
