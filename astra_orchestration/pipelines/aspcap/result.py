"""Step 9: one row of ASPCAP's table from what the stages found."""

import math
from collections.abc import Mapping
from typing import Any

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.ferre import FerreCoarse, FerreStellarParameters

from .calibration import calibrated
from .configuration import CalibrationRules
from .dimensions import DIMENSIONS
from .flags import result_flags

LN10 = math.log(10)
NAN = float("nan")


def parameters_of(row: FerreCoarse | FerreStellarParameters, prefix: str = "") -> dict[str, float]:
    """Give a stage's parameters as ASPCAP's table has them: velocities as such, and not their logarithms.

    Parameters
    ----------
    row : FerreCoarse or FerreStellarParameters
        The row of the stage.
    prefix : str, optional
        What its columns begin with: "initial_".

    Returns
    -------
    dict
        Values by parameter, and errors by ``e_`` and its name, as far as the row has them; NaN where it has none.
    """
    found: dict[str, float] = {}
    for dimension in DIMENSIONS.values():
        value, error = (_number(getattr(row, f"{p}{dimension.column}", None)) for p in (prefix, f"{prefix}e_"))
        if dimension.is_log10:
            value = 10**value if abs(value) < 300 else NAN
            error = value * LN10 * error
        found |= {dimension.parameter: value, f"e_{dimension.parameter}": error}
    return found


def result_columns(
    spectrum: ApogeeCoaddedSpectrumInApStar,
    coarse: FerreCoarse,
    parameters: FerreStellarParameters,
    abundances: Mapping[str, Mapping[str, Any]],
    rules: CalibrationRules,
) -> dict[str, Any]:
    """Give the columns of a result.

    Parameters
    ----------
    spectrum : ApogeeCoaddedSpectrumInApStar
        The spectrum.
    coarse, parameters : FerreCoarse, FerreStellarParameters
        What the stages before found.
    abundances : mapping of str to mapping
        For each column of an abundance, such as ``al_h``: ``value``, ``error``, ``rchi2``, and the flags
        ``bad_grid_edge`` and ``warn_grid_edge``.
    rules : CalibrationRules
        Which calibrations are used.
    """
    raw = parameters_of(parameters)
    for column, found in abundances.items():
        raw |= {column: found["value"], f"e_{column}": found["error"]}
    columns: dict[str, Any] = {f"raw_{name}": value for name, value in raw.items()}
    columns |= {name: raw[name] for name in _UNCALIBRATED}
    columns |= {f"initial_{name}": v for name, v in parameters_of(coarse, "initial_").items() if _has_column(name)}
    columns |= {f"coarse_{name}": v for name, v in parameters_of(coarse).items() if _has_column(name)}
    for column, found in abundances.items():
        columns[f"{column}_rchi2"] = found["rchi2"]
        columns |= {f"flag_{column}_{flag}": True for flag in ("bad_grid_edge", "warn_grid_edge") if found[flag]}
    columns |= _of_stages(coarse, parameters)
    columns |= calibrated(rules, raw)
    flags = result_flags(raw["v_micro"], _number(parameters.rchi2), spectrum.snr, spectrum.std_v_rad)
    return columns | {name: True for name, is_set in flags.items() if is_set}


_UNCALIBRATED = tuple(
    f"{error}{name}"
    for name in ("v_micro", "v_sini", "m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm")
    for error in ("", "e_")
)
"""Parameters of the model atmosphere, for which there is no calibration: the plain columns have the raw values."""


def _of_stages(coarse: FerreCoarse, parameters: FerreStellarParameters) -> dict[str, Any]:
    return {
        "short_grid_name": parameters.short_grid_name,
        "continuum_order": parameters.continuum_order,
        "continuum_reject": parameters.continuum_reject,
        "interpolation_order": parameters.interpolation_order,
        "initial_flags": parameters.initial_flags,
        "result_flags": parameters.ferre_flags,  # the bits 0 to 20 have the same meanings
        "coarse_ferre_flags": _coarse_flags(coarse),
        "rchi2": parameters.rchi2,
        "ferre_log_snr_sq": parameters.ferre_log_snr_sq,
        "ferre_time_coarse": coarse.ferre_time_elapsed,
        "ferre_time_params": parameters.ferre_time_elapsed,
        "coarse_rchi2": coarse.rchi2,
        "coarse_penalized_rchi2": coarse.penalized_rchi2,
    }


_SAME_BITS = (1 << 21) - 1
_RENUMBERED = {
    "flag_caused_timeout": 21,
    "flag_multiple_equally_good_coarse_results": 22,
    "flag_no_good_coarse_result": 23,
}
"""Bits of ``coarse_ferre_flags`` in ASPCAP's table that have another number than in that of the coarse stage."""


def _coarse_flags(coarse: FerreCoarse) -> int:
    renumbered = sum(1 << bit for name, bit in _RENUMBERED.items() if getattr(coarse, name))
    return (int(coarse.ferre_flags or 0) & _SAME_BITS) | renumbered


def _has_column(name: str) -> bool:
    return not name.startswith("e_")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else NAN
