"""Everything about one star: see `astra_models.status.explain`."""

from astra_models.source import Source
from astra_models.status import star_html  # noqa: F401  draws a star in a notebook
from astra_models.status.explain import HEADLINES, explain_star, find_star
from astra_models.status.star import Star

__all__ = ["HEADLINES", "explain", "explain_star", "find_star"]


def explain(
    sdss_id: int | Source | None = None,
    *,
    apogee_id: str | None = None,
    gaia_id: int | None = None,
    spectrum_pk: int | None = None,
) -> Star:
    """Collect everything about a star, named by one identifier; a notebook draws it.

    Parameters
    ----------
    sdss_id, apogee_id, gaia_id, spectrum_pk
        One of them: see `find_star`. Or the source itself, in the place of ``sdss_id``.

    Returns
    -------
    Star
        Its spectra, the results of all versions, what is due, what failed, and why.

    Raises
    ------
    UnknownSourceError
        If there is no such source.
    """
    if isinstance(sdss_id, Source):
        return explain_star(sdss_id)
    return explain_star(find_star(sdss_id, apogee_id=apogee_id, gaia_id=gaia_id, spectrum_pk=spectrum_pk))
