"""The registry of models and pipelines, ours and those of other packages.

Which models there are, by name; what their rows are made from, and which summary files carry them; and the pipelines
that compute them.
"""

from astra_models.outputs.entry_points import (
    Pipeline,
    load_pipeline,
    package_named,
    packages,
    packages_of,
    pipeline_names,
    pipelines,
)
from astra_models.outputs.known_models import (
    MADE_FROM,
    all_models,
    made_from,
    model_named,
    output_model_named,
    output_models,
    product_names,
    published_models,
)
from astra_models.outputs.relations import Results

__all__ = [
    "MADE_FROM",
    "Pipeline",
    "Results",
    "all_models",
    "load_pipeline",
    "made_from",
    "model_named",
    "output_model_named",
    "output_models",
    "package_named",
    "packages",
    "packages_of",
    "pipeline_names",
    "pipelines",
    "product_names",
    "published_models",
]
