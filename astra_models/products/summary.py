"""Summary products: the files that a survey publishes of all results, with sources and spectra beside them.

``astraAllStarASPCAP-0.9.0.fits.gz`` has a row per result of a co-added spectrum, ``astraAllVisit...`` per result of a
visit, in one table for BOSS and one for APOGEE; the one without rows is there, too.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import peewee

from astra_models.base import database
from astra_models.best import MWMBest
from astra_models.errors import NothingToWriteError, UnknownProductError, did_you_mean
from astra_models.mwm import ApogeeCombinedSpectrum, BossCombinedSpectrum
from astra_models.outputs import output_models, product_names
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products import joins
from astra_models.products.fits.file import FitsReport, FitsTable, Progress, write_fits
from astra_models.products.provenance import provenance
from astra_models.products.query import Model, OutColumn, major_minor_of, of_version
from astra_models.products.spectrum_columns import ORIGINAL_VISITS, STARS, VISITS, SpectrumColumns
from astra_models.source import Source
from astra_models.version import installed_v_astra, version_integer_to_string

FOLDER = "var/products"
OF_SOURCES = "MWM"


class Product(NamedTuple):
    """A summary product.

    Parameters
    ----------
    name : str
        Name of its file, up to the version.
    description : str
        What a row is.
    models : tuple of type
        The models that it is made from: results, sources, spectra.
    versioned : tuple of type
        Those of them whose rows have a version of Astra.
    tables : callable
        Gives its tables of one major.minor version.
    """

    name: str
    description: str
    models: tuple[Model, ...]
    versioned: tuple[Model, ...]
    tables: Callable[[int], list[FitsTable]]

    @property
    def followed(self) -> tuple[Model, ...]:
        """The tables whose changes change the product: results if it is of results, else all that it is made of."""
        of_results = tuple(model for model in self.models if issubclass(model, PipelineOutputMixin))
        return of_results or self.models


class ProductReport(NamedTuple):
    """What was written of a product.

    Parameters
    ----------
    product, version : str
        Its name, and the newest version of Astra that its rows are of.
    file : FitsReport
        The file.
    elsewhere : int
        Results of the same version that are of other spectra, and so aren't in this product.
    columns : tuple of OutColumn
        The columns of its tables, table after table; `lineage.origins_of` says where each is from.
    """

    product: str
    version: str
    file: FitsReport
    elsewhere: int
    columns: tuple[OutColumn, ...] = ()


def products() -> dict[str, Product]:
    """Give all summary products, by their names: two of each pipeline, and those of the survey itself."""
    found = [*_of_the_survey()]
    for model in output_models():
        if "source_pk" not in model.upsert_key:
            found += _of_pipeline(model)
    return {product.name: product for product in found}


def product_named(name: str) -> Product:
    """Find a product by its name, in capitals or not.

    Raises
    ------
    UnknownProductError
        If there is none, with those whose names are close.
    """
    known = products()
    folded = {other.lower(): product for other, product in known.items()}
    if (found := folded.get(name.lower())) is not None:
        return found
    raise UnknownProductError(f"there is no product {name!r}; {did_you_mean(name, sorted(known))}")


def write_product(
    product: Product | str,
    folder: str | Path = FOLDER,
    v_astra: str | int | None = None,
    *,
    run_id: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ProductReport:
    """Write a summary product, as it is now, in bounded memory.

    Parameters
    ----------
    product : Product or str
        The product or its name, such as ``"astraAllStarASPCAP"``.
    folder : str or Path, optional
        The file's folder, which is made if need be.
    v_astra : str or int, optional
        Write the results of this version's major.minor; by default of the newest one in the database.
    run_id : str, optional
        The run that this is a part of.
    overwrite : bool, optional
        Whether an existing file is replaced.
    progress : callable, optional
        Called with the number of rows written so far.

    Returns
    -------
    ProductReport
        What was written.

    Raises
    ------
    NothingToWriteError
        If there are no rows for it.
    OutputExistsError
        If the file exists, and isn't to be replaced.
    """
    product = product_named(product) if isinstance(product, str) else product
    version = _version(product, v_astra)
    path = Path(folder) / f"{product.name}-{version_integer_to_string(version)}.fits.gz"
    results, columns = 0, []

    def tables() -> list[FitsTable]:
        nonlocal results
        made = product.tables(version // 1000)
        if not any(table.selection.base.exists() for table in made):
            raise NothingToWriteError(_nothing(product, version))
        for model in product.versioned:
            results += model.select().where(of_version(model, version)).count()
        columns.extend(column for table in made for column in table.selection.columns)
        return made

    told = _told(product, version, run_id)
    written = write_fits(path, tables, told, overwrite=overwrite, progress=progress)
    is_of_results = any(issubclass(model, PipelineOutputMixin) for model in product.versioned)
    elsewhere = results - sum(written.rows.values()) if is_of_results else 0
    return ProductReport(product.name, version_integer_to_string(version), written, elsewhere, tuple(columns))


def _of_pipeline(model: type[PipelineOutputMixin]) -> Iterator[Product]:
    described = (("co-added spectrum", STARS), ("visit", VISITS))
    for name, (spectrum, kinds) in zip(product_names(model), described, strict=True):
        spectra = [kind for columns in kinds.values() for kind in columns.models]

        def tables(major_minor: int, kinds: dict[str, SpectrumColumns] = kinds) -> list[FitsTable]:
            return [FitsTable(name, joins.results(model, columns, major_minor)) for name, columns in kinds.items()]

        text = f"Results of {model.__name__}, one row per {spectrum}, with the spectrum and its source."
        yield Product(name, text, (model, Source, *spectra), (model,), tables)


def _of_the_survey() -> Iterator[Product]:
    def of_spectra(kinds: dict[str, SpectrumColumns]) -> Callable[[int], list[FitsTable]]:
        return lambda major_minor: [
            FitsTable(name, joins.spectra(columns, major_minor)) for name, columns in kinds.items()
        ]

    stars = tuple(model for columns in STARS.values() for model in columns.models)
    visits = tuple(model for columns in ORIGINAL_VISITS.values() for model in columns.models)
    made = (BossCombinedSpectrum, ApogeeCombinedSpectrum)
    yield Product(
        "mwmTargets", "All sources, one row each.", (Source,), (), lambda _: [FitsTable(OF_SOURCES, joins.targets())]
    )
    text = "All co-added spectra, one row each, with their source."
    yield Product("mwmAllStar", text, (Source, *stars), made, of_spectra(STARS))
    text = "All visits, one row each, with their source."
    yield Product("mwmAllVisit", text, (Source, *visits), (), of_spectra(ORIGINAL_VISITS))
    [name_of_best] = product_names(MWMBest)
    yield Product(
        name_of_best,
        "The adopted result of each source, one row each, with the source.",
        (MWMBest, Source),
        (MWMBest,),
        lambda major_minor: [FitsTable(OF_SOURCES, joins.best_results(MWMBest, major_minor))],
    )


def _version(product: Product, v_astra: str | int | None) -> int:
    """Give the newest version of what is stored of the major.minor that was asked for."""
    database.connect(reuse_if_open=True)
    stored = []
    for model in product.versioned:
        query = model.select(peewee.fn.MAX(model._meta.fields["v_astra"]))
        if v_astra is not None:
            query = query.where(of_version(model, v_astra))
        stored.append(query.scalar())
    found = max((version for version in stored if version is not None), default=None)
    if found is not None:
        return int(found)
    return installed_v_astra() if v_astra is None else major_minor_of(v_astra) * 1000


def _nothing(product: Product, version: int) -> str:
    text = f"there are no rows for {product.name}"
    if not product.versioned:
        return f"{text}: ingest files first"
    tables = ", ".join(model._meta.table_name for model in product.models if model is not Source)
    return (
        f"{text} of version {version_integer_to_string(version)}: none in {tables} go together; run the pipeline, "
        "ingest its results, or give another version (--v-astra)"
    )


def _told(product: Product, version: int, run_id: str | None) -> dict[str, tuple[str, str]]:
    """Give the keywords of the primary header."""
    pipelines = [model.__name__ for model in product.versioned if issubclass(model, PipelineOutputMixin)]
    source = provenance(run_id)
    told = {
        "PRODUCT": (product.name, "summary product"),
        "PIPELINE": (", ".join(pipelines), "whose results these are"),
        "V_ASTRA": (version_integer_to_string(version), "Astra version, the newest of the rows"),
        "SOFTWARE": (source["software"], "that wrote this file"),
        "REVISION": (source.get("revision", ""), "its git revision"),
        "RUN_ID": (source["run_id"], "run that wrote this file"),
        "CREATED": (source["created"], "when this file was written (UTC)"),
    }
    return {keyword: entry for keyword, entry in told.items() if entry[0]}
