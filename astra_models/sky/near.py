"""A source's place on the sky, and the sources near a place."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import peewee

from astra_models.base import database
from astra_models.database.peewee_internals import still_default
from astra_models.database.sql import is_postgresql
from astra_models.errors import SelectionError
from astra_models.fields import DoubleField
from astra_models.messages import shown
from astra_models.sky.candidates import Index
from astra_models.sky.cells import Positions, is_on_the_sky
from astra_models.sky.motion import SOURCE_EPOCH
from astra_models.source import Source

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["arcsec", "coord_of", "icrs", "near", "pairs_within", "sky"]

NEAR, SEPARATION = "near", "separation"
"""The names of the found sources in the query of `near`, and of their separations."""


def coord_of(source: Source) -> "SkyCoord | None":
    """Give a source's position, ICRS, at epoch 2016.0, with its proper motion if that is known; None without one."""
    if source.ra is None or source.dec is None or not is_on_the_sky(source.ra, source.dec):
        return None
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    place: dict[str, Any] = {"ra": source.ra * u.deg, "dec": source.dec * u.deg}
    if source.pmra is not None and source.pmde is not None:
        place |= {"pm_ra_cosdec": source.pmra * u.mas / u.yr, "pm_dec": source.pmde * u.mas / u.yr}
    return SkyCoord(**place, obstime=Time(SOURCE_EPOCH, format="jyear"))


def near(coord: "SkyCoord", radius: object) -> "peewee.ModelSelect[Source]":
    """Select the sources within a radius of a position.

    Parameters
    ----------
    coord : astropy.coordinates.SkyCoord
        One position, of any frame.
    radius : Quantity or float
        An angle; a number is in arcsec.

    Returns
    -------
    peewee.ModelSelect
        A query of `Source`, to be refined; the nearest comes first. Each row has its ``separation`` in arcsec, which
        is a column of the query, too: ``to_table(Source.near(coord, 30))``.

    Raises
    ------
    SelectionError
        If `coord` is not one position, or `radius` is no angle.
    """
    if not getattr(coord, "isscalar", False):
        raise SelectionError(f"near() takes one position, not {shown(coord)}; crossmatch() takes many")
    place: Any = icrs(coord)
    limit = arcsec(radius)
    ra, dec = np.atleast_1d(place.ra.deg), np.atleast_1d(place.dec.deg)
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        raise SelectionError(f"near() takes a position, and this one is no number: {shown(coord)}")
    found = Index().within(ra, dec, limit)
    _, places, separations = pairs_within(sky(ra, dec), found, limit)
    return _with_separations(found.source_pk[places], separations)


class _Separation(DoubleField):
    """The column of separations in the query of `near`, which no table has."""

    model = Source  # it belongs to its rows

    def __sql__(self, ctx: peewee.Context) -> peewee.Context:
        return ctx.sql(peewee.SQL(f"{NEAR}.{SEPARATION}"))


def _with_separations(keys: np.ndarray, separations: np.ndarray) -> "peewee.ModelSelect[Source]":
    """Select sources by their keys, each with its separation in arcsec, the nearest first."""
    separation = _Separation(unit="arcsec", help_text="Separation from the position")
    near = _rows_of(keys.tolist(), separations.tolist()).alias(NEAR)
    query = Source.select().join(near, on=(Source.pk == peewee.SQL(f"{NEAR}.source_pk")))
    return still_default(query.select_extend(separation.alias(SEPARATION)).order_by(separation, Source.pk))


def _rows_of(keys: list[int], separations: list[float]) -> peewee.Select:
    """Make a query that gives keys and separations, sent as two parameters, or one, however many there are."""
    if is_postgresql(database):
        sent = peewee.SQL("unnest(%s::bigint[], %s::float8[]) AS given (source_pk, separation)", [keys, separations])
        columns = [peewee.SQL("source_pk"), peewee.SQL(SEPARATION)]
    else:
        rows = json.dumps(list(zip(keys, separations, strict=True)))
        sent = peewee.SQL("json_each(?)", [rows])
        columns = [
            peewee.SQL("json_extract(value, '$[0]') AS source_pk"),
            peewee.SQL(f"json_extract(value, '$[1]') AS {SEPARATION}"),
        ]
    return peewee.Select([sent], columns)


def arcsec(radius: object) -> float:
    """Give an angle in arcsec; a plain number is in arcsec already.

    Raises
    ------
    SelectionError
        If it isn't an angle, is negative, or over 180 degrees.
    """
    import astropy.units as u

    try:
        angle = float(u.Quantity(radius, u.arcsec).value)  # type: ignore[arg-type]  # it says so if it isn't one
    except (TypeError, ValueError, u.UnitsError) as error:
        raise SelectionError(
            f"a radius is an angle, such as 5 * u.arcsec, or a number in arcsec, not {shown(radius)}"
        ) from error
    if not 0 <= angle <= 180 * 3600:
        raise SelectionError(f"a radius is 0 to 180 degrees, not {angle:g} arcsec")
    return angle


def icrs(coord: Any) -> "SkyCoord":
    """Give positions in the frame of the sources.

    Raises
    ------
    SelectionError
        If they are in a frame that can't be turned into it, such as altitude and azimuth without a place and a time.
    """
    try:
        return coord.icrs
    except (AttributeError, TypeError, ValueError) as error:  # astropy raises what comes of a missing place or time
        name = shown(getattr(getattr(coord, "frame", coord), "name", coord))
        raise SelectionError(f"positions of the frame {name} can't be turned into ICRS; give them in ICRS") from error


def sky(ra: np.ndarray, dec: np.ndarray) -> "SkyCoord":
    """Make coordinates of positions in degrees."""
    from astropy.coordinates import SkyCoord

    return SkyCoord(ra, dec, unit="deg")


def pairs_within(
    places: "SkyCoord", sources: Positions, radius: float
) -> tuple[Sequence[int] | np.ndarray, np.ndarray, np.ndarray]:
    """Give the pairs of places and sources that are within a radius (arcsec): their numbers, and the separations."""
    import astropy.units as u
    from astropy.coordinates import search_around_sky

    if not len(places) or not len(sources):
        return np.empty(0, int), np.empty(0, int), np.empty(0)
    one, other, separation, _ = search_around_sky(places, sky(sources.ra, sources.dec), radius * u.arcsec)
    return one, other, np.asarray(separation.to_value(u.arcsec), float)


Source.coord = property(coord_of)
Source.near = staticmethod(near)
