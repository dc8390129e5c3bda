"""Results of LineForest: strengths of 52 lines of BOSS spectra.

The columns of a line are declared once and expanded by its name.
"""

from typing import Any

from astra_models.columns.families import Family, WithFamilies, floats
from astra_models.columns.headings import Heading
from astra_models.fields import FloatArrayField
from astra_models.pipeline import PipelineOutputMixin

LINES = {
    "h_alpha": 6562.8,
    "h_beta": 4861.3,
    "h_gamma": 4340.5,
    "h_delta": 4101.7,
    "h_epsilon": 3970.1,
    "h_8": 3889.064,
    "h_9": 3835.391,
    "h_10": 3797.904,
    "h_11": 3770.637,
    "h_12": 3750.158,
    "h_13": 3734.369,
    "h_14": 3721.945,
    "h_15": 3711.977,
    "h_16": 3703.859,
    "h_17": 3697.157,
    "pa_7": 10049.489,
    "pa_8": 9546.081,
    "pa_9": 9229.12,
    "pa_10": 9014.909,
    "pa_11": 8862.782,
    "pa_12": 8750.472,
    "pa_13": 8665.019,
    "pa_14": 8598.392,
    "pa_15": 8545.383,
    "pa_16": 8502.483,
    "pa_17": 8467.254,
    "ca_ii_8662": 8662.14,
    "ca_ii_8542": 8542.089,
    "ca_ii_8498": 8498.018,
    "ca_k_3933": 3933.661,
    "ca_h_3968": 3968.467,
    "he_i_6678": 6678.151,
    "he_i_5875": 5875.621,
    "he_i_5015": 5015.678,
    "he_i_4471": 4471.479,
    "he_ii_4685": 4685.7,
    "n_ii_6583": 6583.45,
    "n_ii_6548": 6548.05,
    "s_ii_6716": 6716.44,
    "s_ii_6730": 6730.816,
    "fe_ii_5018": 5018.434,
    "fe_ii_5169": 5169.03,
    "fe_ii_5197": 5197.577,
    "fe_ii_6432": 6432.68,
    "o_i_5577": 5577.339,
    "o_i_6300": 6300.304,
    "o_i_6363": 6363.777,
    "o_ii_3727": 3727.42,
    "o_iii_4959": 4958.911,
    "o_iii_5006": 5006.843,
    "o_iii_4363": 4363.85,
    "li_i": 6707.76,
}
"""Wavelengths in air, in angstrom, by the name that a line has in its columns."""

_PERCENTILES = "16th, 50th and 84th percentile of the"


def _label(line: str) -> str:
    """Spell a line as astronomers do: ``ca_ii_8662`` is Ca II 8662."""
    element, *others = line.split("_")
    numerals = [word.upper() if word in ("i", "ii", "iii", "h", "k") else word for word in others]
    return " ".join([element.capitalize(), *numerals])


def _columns(line: str, wavelength: float) -> dict[str, Any]:
    label = _label(line)
    width, strength = f"equivalent width of {label}", f"absolute strength of {label}"
    return {
        f"_{line}": Heading(f"{label} ({wavelength:g} Angstrom in air)"),
        **floats(f"eqw_{line}", unit="Angstrom", help_text=f"Equivalent width of {label}; negative in emission"),
        **floats(f"abs_{line}", unit="", help_text=f"Absolute strength of {label}"),
        **floats(f"detection_stat_{line}", unit="", help_text=f"{label}: 1 in absorption, -1 in emission, 0 if unseen"),
        **floats(f"detection_raw_{line}", unit="", help_text=f"{label}: share of trials with other noise that see it"),
        f"eqw_percentiles_{line}": FloatArrayField(null=True, unit="Angstrom", help_text=f"{_PERCENTILES} {width}"),
        f"abs_percentiles_{line}": FloatArrayField(null=True, unit="", help_text=f"{_PERCENTILES} {strength}"),
    }


class LineForest(WithFamilies, PipelineOutputMixin):
    """Equivalent width, strength and significance of each line, by a neural network, with percentiles over trials."""

    lines = Family(_columns(line, wavelength) for line, wavelength in LINES.items())
