"""Results of SnowWhite: classes of white dwarfs, and the parameters of those of class DA."""

from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField, PixelArray, TextField
from astra_models.intermediate import IntermediateOutputMixin
from astra_models.pixels.arrays import BOSS_GRID, FLUX_UNIT, log_wavelength

CLASSES = (
    *("CV", "DA", "DAB", "DABZ", "DAH", "DAHe", "DAO", "DAZ", "DA/MS", "DB", "DBA", "DBAZ", "DBH", "DBZ", "DB/MS"),
    *("DC", "DC/MS", "DO", "DQ", "DQZ", "DQpec", "DZ", "DZA", "DZB", "DZBA", "MWD", "hotDQ"),
)


def _probability(name: str) -> dict[str, FloatField]:
    column = f"p_{name.lower().replace('/', '_')}"
    return floats(column, unit="", help_text=f"Probability of class {name}")


class SnowWhite(WithFamilies, IntermediateOutputMixin):
    """Class of a white dwarf with the probability of each class, and a fit of its Balmer lines.

    ``model_flux`` is on the spectrum's own wavelengths: those of `wavelength` if the spectrum is a co-add.
    """

    intermediate_path = "$MWM_ASTRA/{version}/pipelines/snow_white/{group}/{spectrum_pk}.fits"

    _classes = Heading("Class and probabilities")
    classification = TextField(null=True, help_text="Most probable class")
    probabilities = Family(_probability(name) for name in CLASSES)
    p_not_white_dwarf = FloatField(null=True, unit="", help_text="Probability that it is no white dwarf")
    classifier = TextField(null=True, help_text="Name and checksum of the classifier")

    _parameters = Heading("Stellar parameters")
    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    v_rel = FloatField(null=True, help_text="Velocity by which the model is shifted in the fit")
    raw_e_teff = FloatField(null=True)
    raw_e_logg = FloatField(null=True)
    template_grid = TextField(null=True, help_text="Name and checksum of the grid of model spectra")

    _quality = Heading("Quality")
    result_flags = BitField()
    flag_low_snr = result_flags.flag(2**0, "S/N of 8 or less")
    flag_unconverged = result_flags.flag(2**1, "The fit did not converge")
    flag_teff_grid_edge_bad = result_flags.flag(2**2, "teff at the edge of the model grid")
    flag_logg_grid_edge_bad = result_flags.flag(2**3, "logg at the edge of the model grid")
    flag_no_flux = result_flags.flag(2**4, "The spectrum has no flux")
    flag_two_solutions = result_flags.flag(2**5, "A hotter and a cooler model fit alike")
    flag_no_model_grid = result_flags.flag(2**6, "No grid of model atmospheres: no teff and logg")
    flag_too_few_pixels = result_flags.flag(2**7, "Too few good pixels for a class")

    wavelength = log_wavelength(BOSS_GRID)
    model_flux = PixelArray(ext=1, unit=FLUX_UNIT, help_text="Flux density of the best model")
