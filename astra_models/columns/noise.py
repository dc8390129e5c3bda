"""Uncertainties from formal errors: a scale and an offset for each label, which repeated visits of stars tell."""

from collections.abc import Mapping

import peewee

from astra_models.errors import UnknownColumnError

__all__ = ["NoiseModel", "uncertainties"]

NoiseModel = Mapping[str, tuple[float, float]]
"""For labels by name, the scale that the formal error is multiplied by, and the offset, in the label's unit."""

SAME = 1e-6
"""Relative difference up to which a stored uncertainty, of single precision, is the one that was computed."""


def uncertainties(model: type[peewee.Model], noise_model: NoiseModel) -> tuple[dict[str, peewee.Node], peewee.Node]:
    """Give new values of the columns ``e_*``, and which rows they are others in, for an UPDATE query.

    Where there is no formal error, the uncertainty stays as it is.

    Parameters
    ----------
    model : type
        The model.
    noise_model : NoiseModel
        ``e_LABEL`` becomes ``scale * raw_e_LABEL + offset``.

    Raises
    ------
    UnknownColumnError
        If the model has no such label, or no formal error of it.
    """
    values: dict[str, peewee.Node] = {}
    is_other: peewee.Node | None = None
    for label, (scale, offset) in noise_model.items():
        for name in (f"e_{label}", f"raw_e_{label}"):
            if name not in model._meta.fields:
                raise UnknownColumnError(
                    f"{model.__name__} has no column {name!r}, which the noise model of {label} needs"
                )
        own, formal = (getattr(model, name) for name in (f"e_{label}", f"raw_e_{label}"))
        computed = peewee.Value(float(scale)) * formal + peewee.Value(float(offset))
        values[f"e_{label}"] = peewee.fn.COALESCE(computed, own)
        differs = formal.is_null(False) & (
            own.is_null() | (peewee.fn.ABS(own - computed) > peewee.fn.ABS(computed) * SAME)
        )
        is_other = differs if is_other is None else is_other | differs
    return values, peewee.Value(False) if is_other is None else is_other
