"""The columns of spectra in summary products, in the order in which they are published, under headings.

Kinds of spectra that share a table of a product share its columns. Columns that aren't listed here follow after those
that are, unless the source in the same row has them already.
"""

from typing import NamedTuple

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.spectrum import SpectrumMixin


class SpectrumColumns(NamedTuple):
    """The spectra of one table.

    Parameters
    ----------
    models : tuple of type
        The kinds of spectra, the usual one first.
    groups : tuple
        Headings, and the names of the columns below each.
    """

    models: tuple[type[SpectrumMixin], ...]
    groups: tuple[tuple[str, str], ...]

    def headings(self) -> dict[str, str]:
        """Give the heading of each column that has its place."""
        return {name: heading for heading, names in self.groups for name in names.split()}


OTHERS = "More about the spectrum"

_XCSAO = (
    "Cross-correlation with templates (XCSAO)",
    "xcsao_teff xcsao_e_teff xcsao_logg xcsao_e_logg xcsao_fe_h xcsao_e_fe_h",
)
_DOPPLER = (
    "Doppler and cross-correlation",
    (
        "doppler_teff doppler_e_teff doppler_logg doppler_e_logg doppler_fe_h doppler_e_fe_h doppler_rchi2 "
        "doppler_flags xcorr_v_rad xcorr_v_rel xcorr_e_v_rel ccfwhm autofwhm n_components"
    ),
)
_VELOCITY = ("Velocity", "v_rad e_v_rad std_v_rad median_e_v_rad")

BOSS_STARS = SpectrumColumns(
    (BossCombinedSpectrum,),
    (
        ("Spectrum", "spectrum_pk source_pk release filetype v_astra run2d telescope"),
        ("Visits", "min_mjd max_mjd n_visits n_good_visits n_good_rvs"),
        _VELOCITY,
        (_XCSAO[0], f"{_XCSAO[1]} xcsao_meanrxc"),
        ("Quality of the spectrum", "snr gri_gaia_transform_flags zwarning_flags nmf_rchi2 nmf_flags"),
    ),
)
APOGEE_STARS = SpectrumColumns(
    (ApogeeCoaddedSpectrumInApStar, ApogeeCombinedSpectrum),
    (
        ("Spectrum", "source_pk star_pk spectrum_pk release filetype apred apstar obj telescope field prefix"),
        ("Visits", "min_mjd max_mjd n_entries n_visits n_good_visits n_good_rvs"),
        ("Quality of the spectrum", "snr mean_fiber std_fiber spectrum_flags"),
        _VELOCITY,
        _DOPPLER,
    ),
)
BOSS_VISITS = SpectrumColumns(
    (BossVisitSpectrum, BossRestFrameVisitSpectrum),
    (
        ("Spectrum", "spectrum_pk source_pk release filetype run2d mjd fieldid"),
        (
            "Exposures and their reduction",
            (
                "n_exp exptime plateid cartid mapid slitid psfsky preject n_std n_gal lowrej highrej scatpoly proftype "
                "nfitpoly skychi2 schi2min schi2max"
            ),
        ),
        (
            "Observing conditions",
            (
                "alt az telescope seeing airmass airtemp dewpoint humidity pressure dust_a dust_b gust_direction "
                "gust_speed wind_direction wind_speed moon_dist_mean moon_phase_mean n_guide tai_beg tai_end "
                "fiber_offset f_night_time delta_ra delta_dec"
            ),
        ),
        ("Quality of the spectrum", "snr gri_gaia_transform_flags zwarning_flags"),
        (_XCSAO[0], f"xcsao_v_rad xcsao_e_v_rad {_XCSAO[1]} xcsao_rxc"),
    ),
)
APOGEE_VISITS = SpectrumColumns(
    (ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar, ApogeeRestFrameVisitSpectrum),
    (
        (
            "Spectrum",
            (
                "spectrum_pk source_pk star_pk visit_pk rv_visit_pk release filetype apred plate telescope fiber mjd "
                "field prefix reduction obj"
            ),
        ),
        (
            "Observation",
            "date_obs jd exptime dithered f_night_time input_ra input_dec n_frames assigned on_target valid fps",
        ),
        ("Quality of the spectrum", "snr spectrum_flags"),
        ("Velocity", "v_rad v_rel e_v_rel bc"),
        _DOPPLER,
        ("In an apStar file", "drp_spectrum_pk apstar"),
    ),
)

STARS = {"BOSS": BOSS_STARS, "APOGEE": APOGEE_STARS}
VISITS = {"BOSS": BOSS_VISITS, "APOGEE": APOGEE_VISITS}
ORIGINAL_VISITS = {name: SpectrumColumns(columns.models[:1], columns.groups) for name, columns in VISITS.items()}
"""Visits as their reduction has them, each once: what Astra or an apStar file made of them is left out."""

DRP_SPECTRUM: dict[type[SpectrumMixin], type[SpectrumMixin]] = {ApogeeVisitSpectrumInApStar: ApogeeVisitSpectrum}
"""Kinds of spectra that take their other columns from the visit that they were made of."""
