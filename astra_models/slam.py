"""Results of SLAM, the Stellar LAbel Machine: parameters of M dwarfs."""

import numpy as np
import peewee
from playhouse.hybrid import hybrid_property

from astra_models.columns.headings import Heading
from astra_models.database.sql import is_any_of, rows_of
from astra_models.fields import BitField, BooleanField, FloatField, IntegerField
from astra_models.intermediate import FittedModelMixin
from astra_models.mwm import BOSS_GRID
from astra_models.pipeline import Condition
from astra_models.pixels.arrays import log_wavelength
from astra_models.source import Source


def outside_photometry_range(bp_mag: np.ndarray, rp_mag: np.ndarray, g_mag: np.ndarray, plx: np.ndarray) -> np.ndarray:
    """Tell which stars are unlike the M dwarfs that SLAM was trained on, by their colour or their luminosity.

    Parameters
    ----------
    bp_mag, rp_mag, g_mag : ndarray of float, of shape (n_stars,)
        Magnitudes of Gaia; NaN where there is none.
    plx : ndarray of float, of shape (n_stars,)
        Parallaxes in mas; NaN where there is none. Those that aren't positive say nothing.

    Returns
    -------
    ndarray of bool, of shape (n_stars,)
        Where BP - RP is 1.5 or less or 3.5 or more, or the absolute magnitude in G is 6 or less or 12 or more.
    """
    colour = bp_mag - rp_mag
    absolute = g_mag + 5 * np.log10(np.where(plx > 0, plx, np.nan)) - 10
    return (colour <= 1.5) | (colour >= 3.5) | (absolute <= 6) | (absolute >= 12)


class Slam(FittedModelMixin):
    """Stellar labels of an M dwarf with their correlations, from a BOSS spectrum."""

    intermediate_path = "$MWM_ASTRA/{version}/pipelines/slam/{group}/{spectrum_pk}.pkl"

    _labels = Heading("Stellar labels")
    teff = FloatField(null=True)
    e_teff = FloatField(null=True)
    logg = FloatField(null=True)
    e_logg = FloatField(null=True)
    fe_h = FloatField(null=True)
    e_fe_h = FloatField(null=True)
    fe_h_niu = FloatField(null=True)
    e_fe_h_niu = FloatField(null=True)
    alpha_fe = FloatField(null=True)
    e_alpha_fe = FloatField(null=True)

    _correlations = Heading("Correlations")
    rho_teff_logg = FloatField(null=True)
    rho_teff_fe_h = FloatField(null=True)
    rho_teff_fe_h_niu = FloatField(null=True)
    rho_teff_alpha_fe = FloatField(null=True)
    rho_logg_fe_h_niu = FloatField(null=True)
    rho_logg_alpha_fe = FloatField(null=True)
    rho_logg_fe_h = FloatField(null=True)
    rho_fe_h_fe_h_niu = FloatField(null=True)
    rho_fe_h_alpha_fe = FloatField(null=True)

    _initial = Heading("Initial guess")
    initial_teff = FloatField(null=True)
    initial_logg = FloatField(null=True)
    initial_fe_h = FloatField(null=True)
    initial_alpha_fe = FloatField(null=True)
    initial_fe_h_niu = FloatField(null=True)

    _quality = Heading("Quality of the fit")
    success = BooleanField(null=True, help_text="Whether the optimiser reports success")
    status = IntegerField(null=True, unit="", help_text="Status that the optimiser ended with")
    optimality = BooleanField(null=True, help_text="Whether the condition of optimality is met")
    result_flags = BitField()
    flag_bad_optimizer_status = result_flags.flag(
        2**0,
        "The optimiser ended with another status than 0 or 2",
        when=lambda row: (row.status != 0) & (row.status != 2),
    )
    flag_teff_outside_bounds = result_flags.flag(
        2**1,
        "teff outside the range of 2,800 to 4,500 K",
        when=lambda row: (row.teff < 2_800) | (row.teff > 4_500),
    )
    flag_fe_h_outside_bounds = result_flags.flag(
        2**2, "fe_h outside the range of -1 to 0.5", when=lambda row: (row.fe_h < -1) | (row.fe_h > 0.5)
    )
    flag_outside_photometry_range = result_flags.flag(2**3, "Colour or absolute magnitude unlike the training set's")
    chi2 = FloatField(null=True)
    rchi2 = FloatField(null=True)

    wavelength = log_wavelength(BOSS_GRID)

    @classmethod
    def apply_photometry_flag(cls, where: peewee.ColumnBase | None = None) -> int:
        """Set ``flag_outside_photometry_range`` of stored rows by the photometry of their sources, where it isn't set.

        Parameters
        ----------
        where : peewee.Expression, optional
            Which rows: a condition on this model or on `Source`; all by default.

        Returns
        -------
        int
            How many rows had no such flag before, which are now of another revision.
        """
        columns = (cls.task_pk, Source.bp_mag, Source.rp_mag, Source.g_mag, Source.plx)
        query = cls.select(*columns).join(Source, on=(Source.pk == cls.source_pk))
        query = query.where(~cls.flag_outside_photometry_range)
        rows = np.array(rows_of(query if where is None else query.where(where)), dtype=np.float64).reshape(-1, 5)
        keys = rows[outside_photometry_range(*rows[:, 1:].T), 0].astype(int).tolist()
        flagged = {cls.result_flags: cls.flag_outside_photometry_range.set()}
        return cls.update(flagged).where(is_any_of(cls.task_pk, keys)).execute()

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether to use the result with caution; in queries, the condition of that."""
        return self.flag_bad_optimizer_status | self.flag_outside_photometry_range

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the result; in queries, the condition of that."""
        return (
            self.flag_bad_optimizer_status
            | self.flag_teff_outside_bounds
            | self.flag_fe_h_outside_bounds
            | self.flag_outside_photometry_range
        )
