"""Sources on the sky: what is near a position, and which sources are those of a table."""

from astra_models.sky.crossmatch import crossmatch
from astra_models.sky.motion import SOURCE_EPOCH
from astra_models.sky.near import coord_of, near

__all__ = ["SOURCE_EPOCH", "coord_of", "crossmatch", "near"]
