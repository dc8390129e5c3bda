"""Results of ASPCAP: stellar parameters and chemical abundances of APOGEE co-adds."""

from typing import Any, ClassVar

from playhouse.hybrid import hybrid_property

from astra_models.apogee import APOGEE_GRID
from astra_models.boss import FLUX_UNIT
from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.errors import MissingPixelsError
from astra_models.ferre import fit_problems, initial_guesses
from astra_models.fields import BitField, FloatField, IntegerField, PixelArray, TextField
from astra_models.fields.flags import any_bit
from astra_models.intermediate import IntermediateOutputMixin
from astra_models.pipeline import Condition
from astra_models.pixels.arrays import log_wavelength
from astra_models.pixels.aspcap_star import AspcapStarAccessor
from astra_models.pixels.ferre import FerreAbundanceAccessor, FerreParametersAccessor

PARAMETERS = ("teff", "logg", "v_micro", "v_sini", "m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm")
ABUNDANCES = (
    *("al_h", "c_12_13", "ca_h", "ce_h", "c_h", "co_h", "cr_h", "cu_h", "fe_h", "k_h", "mg_h"),
    *("mn_h", "na_h", "nd_h", "ni_h", "n_h", "o_h", "p_h", "si_h", "s_h", "ti_h", "v_h"),
)
WITH_UPPER_LIMITS = ("ce_h", "c_1_h", "c_h", "cu_h", "na_h", "nd_h", "n_h", "o_h", "p_h", "s_h", "v_h")
"""Abundances from lines so weak that they may be upper limits only."""

BAD_PARAMETERS = sum(2**bit for bit in (0, 1, 2, 3, 4, 6, 8, *range(21, 28)))


def abundance(name: str) -> dict[str, Any]:
    """Make the columns of one abundance, and its flags."""
    columns = floats(name, f"e_{name}")
    columns[f"{name}_flags"] = flags = BitField()
    columns |= floats(f"{name}_rchi2")
    if name in WITH_UPPER_LIMITS:
        for n in range(1, 6):
            meaning = f"A line is an upper limit at the {n} % threshold (Hayes et al. 2022)"
            columns[f"flag_{name}_upper_limit_t{n}"] = flags.flag(2 ** (n - 1), meaning)
    return columns | {
        f"flag_{name}_censored_high_teff": flags.flag(2**5, "Removed: known to be wrong at this teff"),
        f"flag_{name}_censored_low_teff_vmicro": flags.flag(2**6, "Removed: both teff and v_micro are low"),
        f"flag_{name}_censored_unphysical": flags.flag(2**7, "Removed: what FERRE gave can't be"),
        f"flag_{name}_bad_grid_edge": flags.flag(2**8, "At the edge of the grid, not to be used"),
        f"flag_{name}_warn_grid_edge": flags.flag(2**9, "Close to the edge of the grid"),
        f"flag_{name}_warn_teff": flags.flag(2**10, "Known to be unreliable at this teff"),
        f"flag_{name}_warn_m_h": flags.flag(2**11, "Known to be unreliable at this metallicity"),
    }


def _model_flux(name: str) -> dict[str, PixelArray]:
    element = name.removesuffix("_h").title()
    array = PixelArray(
        accessor_class=FerreAbundanceAccessor,
        accessor_kwargs={"element": element},
        unit="",
        help_text=f"Model flux over its continuum, at the best {name}; NaN if that was not fitted",
    )
    return {f"model_flux_{name}": array}


class ASPCAP(WithFamilies, IntermediateOutputMixin):
    """Stellar parameters and 22 abundances of a star, by fits of model spectra with FERRE.

    Calibrated values have the plain name (``teff``), those that FERRE gave begin with ``raw_``.
    """

    provenance_columns: ClassVar[frozenset[str]] = IntermediateOutputMixin.provenance_columns | {
        *("pwd", "ferre_index"),
        "ferre_time_coarse",
        "ferre_time_params",
        "ferre_time_abundances",
    }

    _irfm = Heading("Effective temperature by the infrared flux method")
    irfm_teff = FloatField(
        null=True, unit="K", help_text="Effective temperature from V-Ks, by the infrared flux method"
    )
    irfm_teff_flags = BitField(help_text="How far the temperature from V-Ks can be trusted")
    flag_out_of_v_k_bounds = irfm_teff_flags.flag(2**0, "V-Ks out of the relation's range")
    flag_out_of_fe_h_bounds = irfm_teff_flags.flag(2**1, "[Fe/H] out of the relation's range")
    flag_extrapolated_v_mag = irfm_teff_flags.flag(2**2, "V is extrapolated")
    flag_poor_quality_k_mag = irfm_teff_flags.flag(2**3, "Ks is of poor quality")
    flag_ebv_used_is_upper_limit = irfm_teff_flags.flag(2**4, "Reddening is an upper limit")
    flag_as_dwarf_for_irfm_teff = irfm_teff_flags.flag(2**5, "Taken as a dwarf")
    flag_as_giant_for_irfm_teff = irfm_teff_flags.flag(2**6, "Taken as a giant")

    _parameters = Heading("Stellar parameters")
    parameters = Family(floats(name, f"e_{name}") for name in PARAMETERS)

    _abundances = Heading("Chemical abundances")
    abundances = Family(abundance(name) for name in ABUNDANCES)

    _settings = Heading("Settings of FERRE")
    short_grid_name = TextField(default="")
    continuum_order = IntegerField(default=-1)
    continuum_reject = FloatField(null=True)
    interpolation_order = IntegerField(default=-1)
    initial_flags = BitField()
    guesses = Family([initial_guesses(initial_flags)])

    _quality = Heading("Quality of the fit")
    rchi2 = FloatField(null=True)
    ferre_log_snr_sq = FloatField(null=True)
    ferre_time_coarse = FloatField(null=True, unit="s", help_text="Time that FERRE took for the coarse stage")
    ferre_time_params = FloatField(null=True, unit="s", help_text="Time that FERRE took for the stellar parameters")
    ferre_time_abundances = FloatField(null=True, unit="s", help_text="Time that FERRE took for the abundances")

    # Bits 0 to 20 are those of `coarse_ferre_flags`, said of the stellar parameters; sdss/astra gives them no names.
    result_flags = BitField()
    flag_suspicious_parameters = result_flags.flag(2**21, "Parameters where there are hardly any stars")
    flag_high_v_sini = result_flags.flag(2**22, "Rotates fast")
    flag_high_v_micro = result_flags.flag(2**23, "v_micro over 3 km/s")
    flag_unphysical_parameters = result_flags.flag(2**24, "Parameters that can't be")
    flag_high_rchi2 = result_flags.flag(2**25, "Reduced chi-squared over 1000")
    flag_low_snr = result_flags.flag(2**26, "S/N below 20")
    flag_high_std_v_rad = result_flags.flag(2**27, "Velocities of the visits scatter by more than 1 km/s")

    _initial = Heading("Initial guess")
    initial = Family(floats(f"initial_{name}") for name in PARAMETERS)

    _coarse = Heading("Coarse stage")
    coarse = Family(floats(f"coarse_{name}") for name in PARAMETERS)
    coarse_ferre_flags = BitField()
    coarse_problems = Family([fit_problems(coarse_ferre_flags)])
    flag_caused_timeout = coarse_ferre_flags.flag(2**21, "Took so long that FERRE was stopped")
    flag_multiple_equally_good_coarse_results = coarse_ferre_flags.flag(2**22, "Another coarse result is as good")
    flag_no_good_coarse_result = coarse_ferre_flags.flag(2**23, "No coarse result is good")
    coarse_rchi2 = FloatField(null=True)
    coarse_penalized_rchi2 = FloatField(null=True)

    _access = Heading("Place in FERRE's files")
    pwd = TextField(null=True)
    ferre_index = IntegerField(null=True)

    _calibration = Heading("Calibration")
    calibrated_flags = BitField(null=True, help_text="What kind of star it was taken for in the calibration")
    flag_as_dwarf_for_calibration = calibrated_flags.flag(2**0, "logg calibrated as that of a main-sequence star")
    flag_as_giant_for_calibration = calibrated_flags.flag(2**1, "logg calibrated as that of a red giant")
    flag_as_red_clump_for_calibration = calibrated_flags.flag(2**2, "logg calibrated as that of a red clump star")
    flag_as_m_dwarf_for_calibration = calibrated_flags.flag(2**3, "teff and logg calibrated as those of an M dwarf")
    flag_censored_logg_for_metal_poor_m_dwarf = calibrated_flags.flag(
        2**4, "logg removed: an M dwarf with [M/H] below -0.6"
    )
    calibration = TextField(null=True, help_text="Name of the calibration")
    mass = FloatField(null=True, unit="solMass", help_text="Mass by isochrones")
    radius = FloatField(null=True, unit="solRad", help_text="Radius by isochrones")

    _raw = Heading("Uncalibrated parameters and abundances")
    uncalibrated = Family(floats(f"raw_{name}", f"raw_e_{name}") for name in (*PARAMETERS, *ABUNDANCES))

    wavelength = log_wavelength(APOGEE_GRID)
    model_flux = PixelArray(
        accessor_class=AspcapStarAccessor,
        accessor_kwargs={"otherwise": FerreParametersAccessor},
        unit="",
        help_text="Model flux at the stellar parameters",
    )
    normalised_flux = PixelArray(
        accessor_class=AspcapStarAccessor,
        accessor_kwargs={},
        unit="",
        help_text="Flux over its continuum, of an aspcapStar file; NaN where its error is 0",
    )
    e_normalised_flux = PixelArray(
        accessor_class=AspcapStarAccessor,
        accessor_kwargs={},
        unit="",
        help_text="Error of normalised_flux; NaN where it is 0",
    )
    continuum = PixelArray(
        accessor_class=AspcapStarAccessor,
        accessor_kwargs={"otherwise": FerreParametersAccessor},
        unit=FLUX_UNIT,
        help_text="What model_flux is multiplied by to fit the spectrum",
    )
    model_fluxes = Family(_model_flux(name) for name in ABUNDANCES)

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether anything is flagged; in queries, the condition of that."""
        return any_bit(self.result_flags)

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the stellar parameters; in queries, the condition of that."""
        return any_bit(self.result_flags, BAD_PARAMETERS)

    def _path_for(self, version: str) -> str:
        if not self.pwd:
            raise MissingPixelsError(
                f"the result of spectrum_pk {self.spectrum_pk} has no pwd, where FERRE's files are"
            )
        return self.pwd
