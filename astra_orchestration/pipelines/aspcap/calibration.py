"""Step 11: calibrated values, from raw ones: pure functions, with a name each. Raw values are kept beside them.

``dr19-irfm`` is the relation by which the survey's DR19 brings temperatures to those of the infrared flux method. For
gravity and abundances there is none here: their calibrated columns stay empty until the configuration has one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .configuration import CalibrationRules, Linear

DR19_IRFM = "dr19-irfm"

LEAST_LOGG_OF_DWARF = 3.8
"""dex of cm/s2."""


class _Piece(NamedTuple):
    """A correction: constant outside a range, a polynomial in it."""

    low: float
    high: float
    below: float
    above: float
    coefficients: tuple[float, ...]

    def __call__(self, value: float) -> float:
        if value < self.low:
            return self.below
        if value > self.high:
            return self.above
        total = 0.0
        for coefficient in self.coefficients:  # the highest power first
            total = total * value + coefficient
        return total


_TEFF_OF_DWARFS = _Piece(4000.0, 7000.0, 31.4673, 486.8381, (1.4065e-4, -1.4283, 3592.9544))
_M_H_OF_DWARFS = _Piece(-0.75, 0.5, -95.2568, 121.3829, (173.3117, 34.7270))
_TEFF_OF_GIANTS = _Piece(3000.0, 5750.0, 360.6954, 321.0579, (2.0370e-4, -1.7968, 3917.8432))
_M_H_OF_GIANTS = _Piece(-2.5, 0.5, -192.4408, 64.0073, (85.4827, 21.2660))


def calibrated_teff(teff: float, logg: float, m_h: float) -> float:
    """Calibrate a temperature by ``dr19-irfm``.

    Parameters
    ----------
    teff, logg, m_h : float
        Raw temperature (K), gravity (dex of cm/s2) and metallicity (dex).

    Returns
    -------
    float
        K; NaN if one of them is.
    """
    if teff != teff or logg != logg or m_h != m_h:
        return float("nan")
    of_dwarfs = logg >= LEAST_LOGG_OF_DWARF
    of_teff, of_m_h = (_TEFF_OF_DWARFS, _M_H_OF_DWARFS) if of_dwarfs else (_TEFF_OF_GIANTS, _M_H_OF_GIANTS)
    return teff - of_teff(teff) - of_m_h(m_h)


def calibrated(rules: CalibrationRules, raw: Mapping[str, float]) -> dict[str, float | bool | str]:
    """Calibrate a result.

    Parameters
    ----------
    rules : CalibrationRules
        Which calibrations the configuration names.
    raw : mapping of str to float
        Raw values and errors by their columns without ``raw_``: ``teff``, ``e_teff``, ``al_h``.

    Returns
    -------
    dict
        Calibrated columns and flags. What has no calibration is left out.
    """
    found: dict[str, float | bool | str] = {"calibration": rules.name}
    teff, logg, m_h = (raw.get(name, float("nan")) for name in ("teff", "logg", "m_h_atm"))
    is_dwarf = logg >= LEAST_LOGG_OF_DWARF
    if rules.teff == DR19_IRFM:
        found |= {"teff": calibrated_teff(teff, logg, m_h), "e_teff": raw.get("e_teff", float("nan"))}
    linear = rules.logg_of_dwarfs if is_dwarf else rules.logg_of_giants
    if linear is not None:
        found |= {"logg": logg - _correction(linear, raw), "e_logg": raw.get("e_logg", float("nan"))}
    if "teff" in found or "logg" in found:
        found |= {
            "flag_as_dwarf_for_calibration": is_dwarf,
            "flag_as_giant_for_calibration": logg < LEAST_LOGG_OF_DWARF,
        }
    for name, zero_point in rules.zero_points.items():
        if name in raw:
            found |= {name: raw[name] - zero_point, f"e_{name}": raw.get(f"e_{name}", float("nan"))}
    return found


def _correction(linear: Linear, raw: Mapping[str, float]) -> float:
    slopes = {"teff": linear.teff, "logg": linear.logg, "m_h_atm": linear.m_h}
    return linear.constant + sum(slope * raw.get(name, float("nan")) for name, slope in slopes.items() if slope)
