"""Results of APOGEENet: stellar parameters of APOGEE spectra from a neural network."""

from collections.abc import Mapping
from typing import ClassVar

from playhouse.hybrid import hybrid_property

from astra_models.columns.headings import Heading
from astra_models.columns.noise import NoiseModel
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
    flag_unreliable_teff = result_flags.flag(
        2**1,
        "teff not between 1,700 K and 100,000 K",
        when=lambda row: (row.teff <= 1_700) | (row.teff >= 100_000),
    )
    flag_unreliable_logg = result_flags.flag(
        2**2, "logg not between -1 and 10", when=lambda row: (row.logg <= -1) | (row.logg >= 10)
    )
    flag_unreliable_fe_h = result_flags.flag(
        2**3,
        "teff below 3,200 K, logg over 5, or fe_h not between -4 and 2",
        when=lambda row: (row.teff < 3_200) | (row.logg > 5) | (row.fe_h <= -4) | (row.fe_h >= 2),
    )

    _raw = Heading("Formal uncertainties")
    raw_e_teff = FloatField(null=True)
    raw_e_logg = FloatField(null=True)
    raw_e_fe_h = FloatField(null=True)

    same_unless_given: ClassVar[Mapping[str, str]] = {
        f"raw_e_{label}": f"e_{label}" for label in ("teff", "logg", "fe_h")
    }
    noise_model: ClassVar[NoiseModel] = {"teff": (1.25, 10.0), "logg": (1.25, 0.01), "fe_h": (1.0, 0.01)}

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
