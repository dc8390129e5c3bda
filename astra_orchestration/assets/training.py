"""Training as an asset: the file of a classifier, or of a model, of one's own."""

import os
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.outputs import output_model_named
from astra_orchestration.assets.columns import code_of
from astra_orchestration.resources.database import DatabaseResource

__all__ = ["snow_white_classifier", "the_cannon_model"]

CLASSIFIER = "var/snow_white/classifier.npz"


class TrainingConfig(dg.Config):
    """What the classifier is trained on, and where it goes."""

    path: str = Field(default=CLASSIFIER, description="The file that is written")
    grid: str = Field(default="", description="Grid of DA models, by name or path. If empty, the one registered as da")
    low_gravity: str = Field(
        default="", description="Grid of models of log g 5 to 5.6. If empty, the one registered as da_low_gravity"
    )
    labelled: str = Field(
        default="", description="Table of spectra of known class, with the columns path and classification"
    )
    seed: int = Field(default=1, ge=0, description="The same seed, grids and versions give the same file")
    share: float = Field(default=1.0, gt=0, le=1, description="Share of the synthetic spectra, for a trial")
    trees: int = Field(default=240, ge=1, description="Trees of the forest")


@dg.asset(
    group_name="training",
    kinds={"python", "file"},
    metadata=code_of(TrainingConfig),
    owners=["team:astra"],
    description="A classifier for Snow White, trained on synthetic and on labelled spectra. It is used by a run that "
    "names it (parameter classifier, or ASTRA_SNOW_WHITE_CLASSIFIER). Needs scikit-learn, the extra `train`.",
)
def snow_white_classifier(context: dg.AssetExecutionContext, config: TrainingConfig) -> dg.MaterializeResult:
    """Train Snow White's classifier."""
    from astra_orchestration.pipelines.snow_white.training import train_to_file

    path = Path(os.path.abspath(config.path))
    path.parent.mkdir(parents=True, exist_ok=True)
    found, checksum = train_to_file(
        path,
        config.grid or None,
        config.low_gravity or None,
        config.labelled or None,
        seed=config.seed,
        n_trees=config.trees,
        share=config.share,
    )
    context.log.info(f"{path} has SHA-256 {checksum}")
    made_from = found.provenance
    return dg.MaterializeResult(
        metadata={
            "file": dg.MetadataValue.path(str(path)),
            "SHA-256": checksum,
            "right in cross-validation": made_from["cross-validation"]["right"],
            "classes": dg.MetadataValue.json(made_from["classes"]),
            "spectra": dg.MetadataValue.json(made_from["spectra"]),
            "grids": dg.MetadataValue.json(made_from["grids"]),
            "seed": made_from["seed"],
        }
    )


class CannonConfig(dg.Config):
    """Which stars The Cannon learns from, and what."""

    path: str = Field(default="", description="The file that is written. If empty, the one that runs look for")
    labels: str = Field(default="aspcap", description="Table of results that has the labels")
    label: list[str] = Field(default=[], description="Labels to learn; if empty, those of the atmosphere")
    where: str = Field(default="", description="Which stars, such as: snr > 50 and not flag_low_snr")
    degree: Literal["linear", "quadratic"] = Field(default="quadratic", description="Terms of the labels")
    windows: str = Field(
        default="", description="CSV file with the columns label, first, last: where labels may be used"
    )
    folds: int = Field(default=10, ge=2, description="Parts of the cross-validation")
    seed: int = Field(default=0, ge=0, description="Of the cross-validation's parts")


@dg.asset(
    group_name="training",
    kinds={"python", "file"},
    metadata=code_of(CannonConfig),
    owners=["team:astra"],
    deps=["aspcap", "apogee_coadded_spectrum_in_ap_star", "apogee_combined_spectrum"],
    description="A model for The Cannon, trained on labels of the survey's own stars, and cross-validated. Runs of "
    "the_cannon use the last one; what an older one has labelled is then due.",
)
def the_cannon_model(
    context: dg.AssetExecutionContext, config: CannonConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Train The Cannon."""
    from astra_orchestration.pipelines.the_cannon.training_run import train_to_file

    database.connect(output_model_named(config.labels), ApogeeCoaddedSpectrumInApStar, ApogeeCombinedSpectrum)
    found = train_to_file(
        config.path or None,
        config.labels,
        labels=config.label or None,
        where=config.where or None,
        degree=config.degree,
        windows=config.windows or None,
        folds=config.folds,
        seed=config.seed,
        say=context.log.info,
    )
    made_from = found.model.provenance
    metadata: dict[str, Any] = {
        "file": dg.MetadataValue.path(str(found.path)),
        "SHA-256": found.checksum,
        "stars": len(found.validation.truth),
        "training set": dg.MetadataValue.json(made_from["training set"]),
        "cross-validation": dg.MetadataValue.json(made_from["cross-validation"]),
        "seconds": round(found.seconds, 1),
    }
    return dg.MaterializeResult(metadata=metadata | _cross_validation_picture(context, found))


def _cross_validation_picture(context: dg.AssetExecutionContext, found: Any) -> dict[str, Any]:
    from astra_orchestration.checks.pictures import figure_metadata
    from astra_orchestration.pipelines.the_cannon.pictures import cross_validation

    return figure_metadata("labels of stars not seen", lambda figure: cross_validation(figure, found), context.log)
