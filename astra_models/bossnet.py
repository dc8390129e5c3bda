"""Results of BOSSNet: stellar parameters and velocities of BOSS spectra from a neural network."""

from playhouse.hybrid import hybrid_property

from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField
from astra_models.pipeline import Condition, PipelineOutputMixin


class BossNet(PipelineOutputMixin):
    """Effective temperature, gravity, iron abundance and velocity, from a BOSS spectrum by a neural network."""

    _parameters = Heading("Stellar parameters")
    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    fe_h = FloatField(null=True)
    e_fe_h = FloatField(null=True)

    _quality = Heading("Quality")
    result_flags = BitField()
    flag_runtime_exception = result_flags.flag(
        2**0, "The pipeline raised an exception, or gave no teff", when=lambda row: row.teff.is_null()
    )
    flag_unreliable_teff = result_flags.flag(
        2**1,
        "teff below 1,700 K or above 100,000 K",
        when=lambda row: (row.teff < 1_700) | (row.teff > 100_000),
    )
    flag_unreliable_logg = result_flags.flag(
        2**2, "logg outside the range of -1 to 10", when=lambda row: (row.logg < -1) | (row.logg > 10)
    )
    flag_unreliable_fe_h = result_flags.flag(
        2**3,
        "teff below 3,200 K, logg over 5, or fe_h outside -4 to 2",
        when=lambda row: (
            row.teff.is_null(False)
            & row.logg.is_null(False)
            & row.fe_h.is_null(False)
            & ((row.teff < 3_200) | (row.logg > 5) | (row.fe_h < -4) | (row.fe_h > 2))
        ),
    )
    flag_suspicious_fe_h = result_flags.flag(
        2**4,
        "fe_h of a star with teff below 3,900 K and logg of 3 to 6",
        when=lambda row: (row.teff < 3_900) & (row.logg > 3) & (row.logg < 6),
    )

    _velocity = Heading("Velocity")
    # Not v_rad: that is the spectrum's, and both are columns of the same summary file.
    bn_v_r = FloatField(null=True, unit="km / s", help_text="Radial velocity, measured by BOSSNet")
    e_bn_v_r = FloatField(null=True, unit="km / s", help_text="Uncertainty of the velocity measured by BOSSNet")

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether to use the result with caution; in queries, the condition of that."""
        return self.flag_unreliable_fe_h | self.flag_suspicious_fe_h

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the result; in queries, the condition of that."""
        return (
            self.flag_runtime_exception
            | self.flag_unreliable_teff
            | self.flag_unreliable_logg
            | self.flag_unreliable_fe_h
        )
