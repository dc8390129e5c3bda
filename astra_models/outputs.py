"""The results of all pipelines, in one place.

A model is a table only once it has been imported: whoever makes tables, or looks a model up by its name, imports this
module first. With the models of results it imports those of sources and spectra, which they are of.
"""

from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.astronn_dist import AstroNNdist
from astra_models.best import MWMBest
from astra_models.bossnet import BossNet
from astra_models.clam import Clam
from astra_models.corv import Corv
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.ingested import IngestedFile
from astra_models.line_forest import LineForest
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.nmf_rectify import NMFRectify
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.the_cannon import TheCannon
from astra_models.the_payne import ThePayne

__all__ = [
    "ASPCAP",
    "ApogeeNet",
    "AstroNN",
    "AstroNNdist",
    "BossNet",
    "Clam",
    "Corv",
    "FerreChemicalAbundances",
    "FerreCoarse",
    "FerreStellarParameters",
    "IngestedFile",
    "LineForest",
    "MDwarfType",
    "MWMBest",
    "MWMSpectrumProductStatus",
    "NMFRectify",
    "RejectedResult",
    "Rocket",
    "Slam",
    "SnowWhite",
    "TheCannon",
    "ThePayne",
]
