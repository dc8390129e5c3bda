"""Results of FERRE's three stages in ASPCAP: coarse, stellar parameters, chemical abundances.

Each stage starts from the one before: ``upstream_pk`` is the ``task_pk`` of that result. What the stages have in common
is in `FerreOutputMixin`; only the abundances have a row per element.
"""

from typing import Any, ClassVar

import peewee

from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField, ForeignKeyField, IntegerField, TextField
from astra_models.pipeline import PipelineOutputMixin

LABELS = ("teff", "logg", "m_h", "log10_v_sini", "log10_v_micro", "alpha_m", "c_m", "n_m")
"""Dimensions of the grids of models, in the order of the bits of ``frozen_flags``."""

GRID_EDGES = ("teff", "logg", "v_micro", "v_sini", "m_h_atm", "alpha_m", "c_m_atm", "n_m_atm")
"""The same dimensions as the flags about a grid's edges call them, in the order of their bits."""


def frozen_labels(field: BitField) -> dict[str, Any]:
    """Make the flags of the parameters that were held fixed in a fit."""
    return {f"flag_{label}_frozen": field.flag(2**bit, f"{label} held fixed") for bit, label in enumerate(LABELS)}


def initial_guesses(field: BitField) -> dict[str, Any]:
    """Make the flags of where the initial guess of the stellar parameters comes from."""
    return {
        "flag_initial_guess_from_apogeenet": field.flag(2**0, "From ApogeeNet"),
        "flag_initial_guess_from_doppler": field.flag(2**1, "From Doppler, SDSS-V reduction"),
        "flag_initial_guess_from_user": field.flag(2**2, "Given by the user"),
        "flag_initial_guess_from_gaia_xp_andrae23": field.flag(2**3, "From Gaia XP spectra (Andrae et al. 2023)"),
        "flag_initial_guess_from_doppler_sdss4": field.flag(2**4, "From Doppler, SDSS-IV reduction"),
    }


def fit_problems(field: BitField) -> dict[str, Any]:
    """Make the flags of what can go wrong in any fit by FERRE."""
    flags = {
        "flag_ferre_fail": field.flag(2**0, "FERRE failed"),
        "flag_missing_model_flux": field.flag(2**1, "FERRE gave no model flux"),
        "flag_potential_ferre_timeout": field.flag(2**2, "FERRE may have been stopped for taking too long"),
        "flag_no_suitable_initial_guess": field.flag(2**3, "FERRE not run, for want of an initial guess"),
        "flag_spectrum_io_error": field.flag(2**4, "The spectrum's pixels could not be read"),
    }
    for bit, label in zip(range(5, 21, 2), GRID_EDGES, strict=True):
        flags[f"flag_{label}_grid_edge_warn"] = field.flag(2**bit, f"{label} within a step of the grid's edge")
        flags[f"flag_{label}_grid_edge_bad"] = field.flag(2 ** (bit + 1), f"{label} within 1/8 step of the grid's edge")
    return flags


class FerreOutputMixin(WithFamilies, PipelineOutputMixin):
    """What the results of all stages have in common."""

    abstract = True

    provenance_columns: ClassVar[frozenset[str]] = PipelineOutputMixin.provenance_columns | {
        *("pwd", "ferre_name", "ferre_index", "ferre_n_obj"),
        "ferre_time_load_grid",
        "ferre_time_elapsed",
    }

    _grid = Heading("Grid and folder")
    pwd = TextField(default="")
    short_grid_name = TextField(default="")
    header_path = TextField(default="", help_text="Header file of the grid of models")

    _initial = Heading("Initial guess")
    initial = Family(floats(f"initial_{label}") for label in LABELS)

    _settings = Heading("Settings of FERRE")
    continuum_order = IntegerField(null=True, default=-1)
    continuum_reject = FloatField(null=True)
    continuum_flag = IntegerField(null=True, default=0, unit="", help_text="How the continuum is fitted (CONT)")
    continuum_observations_flag = IntegerField(
        null=True, default=0, unit="", help_text="How the continuum of the observation is fitted (OBSCONT)"
    )
    interpolation_order = IntegerField(default=-1)
    weight_path = TextField(default="", help_text="File of the weights of the pixels")
    frozen_flags = BitField(help_text="Which parameters were held fixed")
    frozen = Family([frozen_labels(frozen_flags)])
    f_access = IntegerField(default=-1, unit="", help_text="How the grid is read (F_ACCESS); -1 if not said")
    f_format = IntegerField(default=-1, unit="", help_text="Format of the grid's file (F_FORMAT); -1 if not said")
    n_threads = IntegerField(default=-1, unit="", help_text="Number of threads; -1 if not said")

    _parameters = Heading("Stellar parameters")
    parameters = Family(floats(label, f"e_{label}") for label in LABELS)

    _access = Heading("Place in FERRE's files")
    ferre_name = TextField(default="", help_text="Name of the spectrum in FERRE's files")
    ferre_index = IntegerField(default=-1)
    ferre_n_obj = IntegerField(default=-1, unit="", help_text="Number of spectra in FERRE's files; -1 if not said")

    _quality = Heading("Quality of the fit")
    snr = FloatField(null=True)
    rchi2 = FloatField(null=True)
    penalized_rchi2 = FloatField(null=True)
    ferre_log_snr_sq = FloatField(null=True)
    ferre_time_load_grid = FloatField(null=True, unit="s", help_text="Time that FERRE took to load the grid")
    ferre_time_elapsed = FloatField(null=True, unit="s", help_text="Time that FERRE took for the fit")


class FerreCoarse(FerreOutputMixin):
    """The first stage: the best fit on the coarse grids that were tried."""

    _flags = Heading("Flags")
    initial_flags = BitField()
    flag_initial_guess_from_apogeenet = initial_flags.flag(2**0, "From ApogeeNet")
    flag_initial_guess_from_doppler = initial_flags.flag(2**1, "From Doppler, SDSS-V reduction")
    flag_initial_guess_from_doppler_sdss4 = initial_flags.flag(2**2, "From Doppler, SDSS-IV reduction")
    flag_initial_guess_from_gaia_xp_andrae_2023 = initial_flags.flag(2**3, "From Gaia XP spectra (Andrae et al. 2023)")
    flag_initial_guess_from_gaia_xp_zhang_2023 = initial_flags.flag(2**4, "From Gaia XP spectra (Zhang et al. 2023)")
    flag_initial_guess_from_user = initial_flags.flag(2**5, "Given by the user")
    flag_initial_guess_at_grid_center = initial_flags.flag(2**6, "The centre of the grid")

    ferre_flags = BitField()
    problems = Family([fit_problems(ferre_flags)])
    flag_caused_timeout = ferre_flags.flag(2**21, "Took so long that FERRE was stopped")
    flag_affected_by_timeout = ferre_flags.flag(2**22, "In a run of FERRE that was stopped")
    flag_multiple_equally_good_coarse_results = ferre_flags.flag(2**23, "Another coarse result is as good")
    flag_no_good_coarse_result = ferre_flags.flag(2**24, "No coarse result is good")
    flag_too_many_bad_pixels = ferre_flags.flag(2**25, "Not fitted, for too many bad pixels")


class FerreStellarParameters(FerreOutputMixin):
    """The second stage: all stellar parameters, from the best coarse result on."""

    _stage = Heading("The stage before, and flags")
    upstream_pk = ForeignKeyField(FerreCoarse, null=True, unit="", help_text="Key of the coarse result")
    initial_flags = BitField()
    guesses = Family([initial_guesses(initial_flags)])
    ferre_flags = BitField()
    problems = Family([fit_problems(ferre_flags)])


class FerreChemicalAbundances(FerreOutputMixin):
    """The third stage: one abundance, with the stellar parameters held fixed. There is a row per element."""

    _stage = Heading("Element, the stage before, and flags")
    element = TextField(help_text="What was fitted, named as its mask is: Al, C_12_13")
    upstream_pk = ForeignKeyField(FerreStellarParameters, null=True, unit="", help_text="Key of the parameters' result")
    initial_flags = BitField()
    ferre_flags = BitField()
    problems = Family([fit_problems(ferre_flags)])

    upsert_key: ClassVar[tuple[str, ...]] = ("spectrum_pk", "v_astra_major_minor", "element")

    class Meta:
        constraints = [peewee.SQL("UNIQUE (spectrum_pk, v_astra_major_minor, element)")]
