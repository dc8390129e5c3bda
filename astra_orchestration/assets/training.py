"""Training as an asset: the file of a classifier of one's own."""

import os
from pathlib import Path

import dagster as dg
from pydantic import Field

from astra_orchestration.assets.columns import code_of

__all__ = ["snow_white_classifier"]

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
