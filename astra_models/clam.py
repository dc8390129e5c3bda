"""Results of Clam: stellar labels and continuum of APOGEE co-adds, fitted together."""

from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField
from astra_models.pipeline import PipelineOutputMixin


class Clam(PipelineOutputMixin):
    """Stellar labels from a fit to a grid of models; the continuum is part of the fit."""

    _labels = Heading("Stellar labels")
    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    m_h = FloatField(null=True)
    e_m_h = FloatField(null=True)
    n_m = FloatField(null=True)
    e_n_m = FloatField(null=True)
    c_m = FloatField(null=True)
    e_c_m = FloatField(null=True)
    v_micro = FloatField(null=True)
    e_v_micro = FloatField(null=True)
    v_sini = FloatField(null=True)
    e_v_sini = FloatField(null=True)

    _initial = Heading("Initial guess")
    initial_teff = FloatField(null=True)
    initial_logg = FloatField(null=True)
    initial_m_h = FloatField(null=True)
    initial_n_m = FloatField(null=True)
    initial_c_m = FloatField(null=True)
    initial_v_micro = FloatField(null=True)
    initial_v_sini = FloatField(null=True)

    _quality = Heading("Quality of the fit")
    rchi2 = FloatField(null=True)
    result_flags = BitField()
    flag_spectrum_io_error = result_flags.flag(2**0, "The spectrum could not be read")
    flag_runtime_error = result_flags.flag(2**1, "The fit raised an exception")
