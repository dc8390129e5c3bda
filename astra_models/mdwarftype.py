"""Results of MDwarfType: spectral types of M dwarfs."""

from playhouse.hybrid import hybrid_property

from astra_models.boss import FLUX_UNIT
from astra_models.fields import BitField, FloatField, TextField
from astra_models.fields.flags import any_bit
from astra_models.pipeline import Condition, PipelineOutputMixin


class MDwarfType(PipelineOutputMixin):
    """Spectral type of the template that fits a BOSS spectrum best."""

    spectral_type = TextField(null=True, help_text="Spectral type of the best template")
    sub_type = FloatField(null=True, unit="", help_text="Sub-type of the best template")
    rchi2 = FloatField(null=True)
    continuum = FloatField(null=True, unit=FLUX_UNIT, help_text="Mean flux at 7500 Angstrom, by which it was divided")

    templates = TextField(null=True, help_text="Name and checksum of the templates")

    result_flags = BitField()
    flag_not_m_dwarf = result_flags.flag(
        2**0,
        "The best template is the earliest, K5: hardly an M dwarf",
        when=lambda row: row.spectral_type == "K5.0",
    )
    flag_runtime_exception = result_flags.flag(2**1, "The pipeline raised an exception")

    flag_too_few_pixels = result_flags.flag(2**2, "Too few good pixels")
    flag_no_match = result_flags.flag(2**3, "No template fits with a positive flux")
    flag_one_type = result_flags.flag(2**4, "All templates are of one type, so that no type is claimed")

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether any flag is set; in queries, the condition of that."""
        return any_bit(self.result_flags)
