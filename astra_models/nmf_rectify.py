"""Results of NMFRectify: continuum of a spectrum, with non-negative matrix factors as the model of its lines."""

from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatArrayField, FloatField, IntegerField
from astra_models.pipeline import PipelineOutputMixin


class NMFRectify(PipelineOutputMixin):
    """Coefficients of the continuum and of the model of the lines, fitted together."""

    _continuum = Heading("Continuum and lines")
    log10_W = FloatArrayField(null=True, unit="", help_text="log10 of the coefficients of the lines")  # noqa: N815  the survey's name
    continuum_theta = FloatArrayField(null=True, unit="", help_text="Coefficients of the continuum's sines and cosines")
    L = FloatField(null=True, unit="Angstrom", help_text="Length scale of the continuum's sines and cosines")
    deg = IntegerField(null=True, unit="", help_text="Number of the continuum's pairs of sine and cosine")
    _quality = Heading("Quality of the fit")
    rchi2 = FloatField(null=True)
    joint_rchi2 = FloatField(null=True, unit="", help_text="Reduced chi-squared of all spectra of the source together")

    nmf_flags = BitField()
    flag_initialised_from_small_w = nmf_flags.flag(2**0, "The fit started from small coefficients")
    flag_could_not_read_spectrum = nmf_flags.flag(2**3, "The spectrum could not be read")
    flag_runtime_exception = nmf_flags.flag(2**4, "The fit raised an exception")
