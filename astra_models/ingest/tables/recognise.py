"""Which kind of summary file a file is, detected from its content and never from its name."""

from collections.abc import Sequence

from astra_models import outputs
from astra_models.errors import SelectionError, UnrecognizedFileError
from astra_models.ingest.tables.placing import SPECTRUM_MODELS, Layout, Model, place
from astra_models.ingest.tables.renames import NO_COLUMN
from astra_models.ingest.tables.row_kinds import RowKind
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source

_PIXELS = {"wavelength", "flux", "ivar", "model_flux", "pixel_flags"}
_SOURCE_ENOUGH = 0.5
_SPECTRUM_KEYS = {"spectrum_pk", "spectrum_pk_id"}
_COMMON = set(PipelineOutputMixin._meta.fields)


class SpectrumFileError(UnrecognizedFileError):
    """A file of one star's spectra, and not a summary of many results."""


def kind_of_file(tables: Sequence[Sequence[str]], pipeline: str | None) -> tuple[str, Model | None] | None:
    """Recognise a summary file of Astra.

    Parameters
    ----------
    tables : sequence of sequence of str
        The names of the columns of each table.
    pipeline : str or None
        PIPELINE of the primary header.

    Returns
    -------
    (str, type or None) or None
        The kind, as the survey names it, and the model of the results in it; None if it is no such file.

    Raises
    ------
    SpectrumFileError
        If it is the file of one star.
    UnrecognizedFileError
        If it is of a pipeline that there is no table for.
    """
    names = [set(table) for table in tables]
    with_spectra = [table for table in names if _SPECTRUM_KEYS & table]
    if any(table & _PIXELS or not _has_source(table) for table in with_spectra):
        raise SpectrumFileError(
            "it is the file of one star's spectra (mwmStar, mwmVisit, astraStar, astraVisit), not a summary of many: "
            "ingest it as a spectrum"
        )
    if not all(map(_has_source, names)):
        return None
    level = "Visit" if any(map(_is_visit, names)) else "Star"
    with_results = [table for table in tables if "task_pk" in table]
    if not with_results:
        return (f"mwmAll{level}" if with_spectra else "mwmTargets"), None
    model = _model_of_results(with_results, pipeline)
    kinds = outputs.product_names(model) or (model.__name__,)
    return kinds[-1 if level == "Visit" else 0], model


def _model_of_results(tables: Sequence[Sequence[str]], pipeline: str | None) -> type[PipelineOutputMixin]:
    model = pipeline_model(pipeline) if pipeline else _likeliest(tables)
    if model is None:
        known = ", ".join(sorted(model.__name__ for model in outputs.output_models()))
        raise UnrecognizedFileError(
            f"it has results of {pipeline or 'a pipeline'}, for which there is no table (there is for {known})"
        )
    return model


def layout_of(names: Sequence[str], result: Model | None, kind: RowKind) -> Layout:
    """Tell which tables the rows of a table are of.

    Parameters
    ----------
    names : sequence of str
        Its columns.
    result : type or None
        The model of the results in the file.
    kind : RowKind
        What the rows say themselves.
    """
    known = set(names)
    result = result if "task_pk" in known else None
    if not _SPECTRUM_KEYS & known:
        return Layout(result=result)
    level = "visit" if _is_visit(known) else "star"
    models = SPECTRUM_MODELS["BOSS" if kind.is_boss or "apred" not in known else "APOGEE", level]
    if kind.is_in_star:
        return Layout(models["apStar"], result, reduced=models["apVisit"])
    return Layout(models.get(kind.filetype, next(iter(models.values()))), result)


def pipeline_model(name: str | None) -> type[PipelineOutputMixin] | None:
    """Find the model of a pipeline by its name, in whatever case; None if there is none."""
    try:
        return outputs.output_model_named(name) if name else None
    except SelectionError:
        return None


def _likeliest(tables: Sequence[Sequence[str]]) -> type[PipelineOutputMixin] | None:
    """Choose the pipeline that leaves the fewest columns without a place, and lacks the fewest of its own.

    None if the best of them leaves more of its columns without a place than not.
    """
    columns = [_Named(name) for name in tables[0]]

    def cost(model: type[PipelineOutputMixin]) -> tuple[int, int, int]:
        placed, unplaced = place(columns, layout_of(tables[0], model, RowKind()))
        own = set(model._meta.fields) - _COMMON
        measured = {placement.name for placement in placed if placement.model is model} & own
        unknown = sum(reason == NO_COLUMN for _, reason in unplaced)
        return unknown, len(own - measured), len(measured)

    costs = {model: cost(model) for model in outputs.published_models()}
    best = min(costs, key=lambda model: costs[model][:2])
    unknown, _, measured = costs[best]
    return best if unknown < measured else None


class _Named:
    """A column of which only the name is known."""

    kind = "float"
    unit = unreadable = None
    shape = ()

    def __init__(self, name: str):
        self.name = name


def _has_source(names: set[str]) -> bool:
    own = {name for name in Source._meta.fields if name not in ("pk", "created", "modified")}
    return "sdss_id" in names and len(own & names) >= _SOURCE_ENOUGH * len(own)


def _is_visit(names: set[str]) -> bool:
    return "mjd" in names and bool({"fiber", "fieldid"} & names)
