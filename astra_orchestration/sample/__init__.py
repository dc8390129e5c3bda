"""A small survey of one's own: FITS files of the real formats, made from simple models with known truth."""

from astra_orchestration.sample.apogee.survey import usual_apogee_stars
from astra_orchestration.sample.survey import BrokenFile, SampleSummary, make_sample

__all__ = ["BrokenFile", "SampleSummary", "make_sample", "usual_apogee_stars"]
