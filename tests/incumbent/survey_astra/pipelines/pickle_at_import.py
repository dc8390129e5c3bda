"""A pickle that is opened when the module is imported."""

import pickle
from collections.abc import Iterable

from survey_astra import task
from survey_astra.models import Slam, SpectrumMixin
from survey_astra.utils import expand_path

with open(expand_path("$MWM_ASTRA/weights.pkl"), "rb") as file:
    WEIGHTS = pickle.load(file)


@task
def weights(spectra: Iterable[SpectrumMixin]) -> Iterable[Slam]:
    """Use them."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=float(len(WEIGHTS)))
