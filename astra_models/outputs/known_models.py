"""Every model by its name, what its rows are made from, and which summary files carry them.

A model is a table only once it has been imported: this module imports all of ours, `all_models` those of others, too.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.astronn_dist import AstroNNdist
from astra_models.base import BaseModel
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.clam import Clam
from astra_models.corv import Corv
from astra_models.database_identity import DatabaseIdentity  # noqa: F401  has a table, too
from astra_models.due_mark import DueMark  # noqa: F401  has a table, too
from astra_models.errors import SelectionError, did_you_mean
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.ingested import IngestedFile  # noqa: F401  has a table, too
from astra_models.lease import Lease  # noqa: F401  has a table, too
from astra_models.line_forest import LineForest
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.nmf_rectify import NMFRectify
from astra_models.outputs.entry_points import folded, load_packages, pipelines, usable_models
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pipeline_run import PipelineRun  # noqa: F401  has a table, too
from astra_models.rejected import RejectedResult  # noqa: F401  has a table, too
from astra_models.rocket import Rocket
from astra_models.sky.cells import SourceCell  # noqa: F401  has a table, too
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum_file import SpectrumContent, SpectrumFile  # noqa: F401  have tables, too
from astra_models.survey_count import SurveyCount  # noqa: F401  has a table, too
from astra_models.the_cannon import TheCannon
from astra_models.the_payne import ThePayne

_APOGEE_STAR = (ApogeeCoaddedSpectrumInApStar,)
_APOGEE = (ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrumInApStar)
_BOSS = (BossVisitSpectrum, BossCombinedSpectrum)

MADE_FROM: Mapping[type[BaseModel], tuple[type[BaseModel], ...]] = {
    # spectra are read from files
    **dict.fromkeys((BossVisitSpectrum, BossRestFrameVisitSpectrum, BossCombinedSpectrum), ()),
    **dict.fromkeys((ApogeeVisitSpectrum, *_APOGEE, ApogeeRestFrameVisitSpectrum, ApogeeCombinedSpectrum), ()),
    # results
    ApogeeNet: _APOGEE,
    FerreCoarse: (*_APOGEE_STAR, ApogeeNet),
    FerreStellarParameters: (*_APOGEE_STAR, FerreCoarse),
    FerreChemicalAbundances: (*_APOGEE_STAR, FerreStellarParameters),
    ASPCAP: (*_APOGEE_STAR, Source, FerreCoarse, FerreStellarParameters, FerreChemicalAbundances),
    AstroNN: _APOGEE,
    AstroNNdist: (*_APOGEE_STAR, Source),
    BossNet: _BOSS,
    Clam: _APOGEE_STAR,
    Corv: (BossVisitSpectrum, SnowWhite),
    LineForest: _BOSS,
    MDwarfType: _BOSS,
    NMFRectify: (BossVisitSpectrum, *_APOGEE_STAR),
    Slam: (BossCombinedSpectrum, Source),
    SnowWhite: _BOSS,
    TheCannon: (ApogeeCombinedSpectrum, *_APOGEE_STAR, ApogeeVisitSpectrum, NMFRectify),
    ThePayne: (*_APOGEE, ApogeeCombinedSpectrum),
    MWMBest: (ASPCAP, ApogeeNet, AstroNN, BossNet, MDwarfType, Slam, SnowWhite, BossCombinedSpectrum, *_APOGEE_STAR),
    MWMSpectrumProductStatus: (Source,),
}
"""What the rows of each of our models are made from: spectra, and results."""

OF_SOURCES = {MWMBest: "astraMWMLite"}
"""The summary file of results that are of a source and not of a spectrum."""

NOT_PUBLISHED = (Rocket,)
"""Results that no file of the survey has: the tutorial's."""

Model = TypeVar("Model", bound=BaseModel)


# ---- models, by name


def all_models() -> list[type[BaseModel]]:
    """Import all models, ours and those of other packages as far as these can be used, and give those with a table.

    Of a class that was defined again, as in a notebook, the later one is given.
    """
    load_packages()
    return _imported(BaseModel)


def output_models() -> list[type[PipelineOutputMixin]]:
    """Give the models of results of `all_models`: a row per spectrum, or source, and version."""
    load_packages()
    return _imported(PipelineOutputMixin)


def model_named(name: str) -> type[BaseModel]:
    """Find a model by its name, or that of its table, in capitals or not.

    Raises
    ------
    SelectionError
        If there is none, with those whose names are close.
    """
    return _named(name, BaseModel, "model")


def output_model_named(name: str) -> type[PipelineOutputMixin]:
    """Find a model of results by its name, or that of its table, in capitals or not.

    Raises
    ------
    SelectionError
        If there is none, with those whose names are close.
    """
    return _named(name, PipelineOutputMixin, "model of results")


def _imported(kind: type[Model]) -> list[type[Model]]:
    models = usable_models(kind.concrete_models())
    return list({(model.__module__, model.__qualname__): model for model in models}.values())


def _named(name: str, kind: type[Model], what: str) -> type[Model]:
    """Find a model; other packages are only imported if it is none of ours."""
    if (found := _find(name, _imported(kind))) is not None:
        return found
    load_packages()
    models = _imported(kind)
    if (found := _find(name, models)) is not None:
        return found
    known = sorted({model.__name__ for model in models})
    raise SelectionError(f"there is no {what} {name!r}; {did_you_mean(name, known)}")


def _find(name: str, models: Sequence[type[Model]]) -> type[Model] | None:
    """Find the last model of a name; one that has exactly this name comes first."""
    exact = (model for model in reversed(models) if model.__name__ == name)
    alike = (
        model for model in reversed(models) if folded(name) in (folded(model.__name__), folded(model._meta.table_name))
    )
    return next(exact, None) or next(alike, None)


# ---- where their rows come from


def made_from(model: type[BaseModel]) -> tuple[type[BaseModel], ...]:
    """Tell what the rows of a model are made from: spectra, sources and other results.

    What isn't said in `MADE_FROM` is made by a pipeline, from the kinds of spectra that it takes.
    """
    if model in MADE_FROM:
        return MADE_FROM[model]
    return next((task.spectrum_models for task in pipelines() if model in task.output_models), ())


def product_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Name the summary files that carry a model's results.

    Results of spectra are in two, of co-added spectra and of visits, in this order.
    """
    if model in OF_SOURCES:
        return (OF_SOURCES[model],)
    is_of_spectra = issubclass(model, PipelineOutputMixin) and "source_pk" not in model.upsert_key
    return tuple(f"astraAll{level}{model.__name__}" for level in ("Star", "Visit")) if is_of_spectra else ()


def published_models() -> list[type[PipelineOutputMixin]]:
    """Give the models whose results the survey publishes: a file that doesn't name its pipeline has one of these."""
    found = [model for model in MADE_FROM if issubclass(model, PipelineOutputMixin) and model not in NOT_PUBLISHED]
    return sorted(found, key=lambda model: model.__name__)
