"""What columns mean: unit and description, said once for all tables.

A name with a known prefix (``e_teff``, ``initial_logg``) or suffix (``al_h_flags``), or both, is described through the
rest of the name, and a correlation (``rho_teff_logg``) through the two names that it is of. `Glossary` has the texts by
name, for people and for models: ``FloatField(help_text=Glossary.teff)``.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from astra_models.errors import did_you_mean


class Entry(NamedTuple):
    """A column's unit, as `astropy.units` reads it (``""`` if dimensionless), and its description."""

    unit: str | None
    description: str


_PREFIXES = {
    "e_": "Uncertainty of",
    "initial_": "Initial guess of",
    "coarse_": "Coarse stage:",
    "raw_": "Uncalibrated:",
    "raw_e_": "Formal uncertainty of",
    "std_": "Standard deviation of",
    "median_e_": "Median uncertainty of",
    "xcsao_": "XCSAO:",
    "xcsao_e_": "XCSAO: uncertainty of",
    "doppler_": "Doppler:",
    "doppler_e_": "Doppler: uncertainty of",
    "xcorr_": "Cross-correlation:",
    "xcorr_e_": "Cross-correlation: uncertainty of",
    "zgr_": "Gaia XP:",
    "zgr_e_": "Gaia XP: uncertainty of",
    "boss_net_": "BOSSNet:",
    "boss_net_e_": "BOSSNet: uncertainty of",
}
_LONGEST_FIRST = sorted(_PREFIXES, key=len, reverse=True)
_NAMES = ("Gaia", "Galactic", "Julian", "Doppler")
_SUFFIXES = {
    "_flags": "Flags of",
    "_rchi2": "Reduced chi-squared of the fit of",
}
_ELEMENTS = {
    "al": "aluminium",
    "c": "carbon",
    "ca": "calcium",
    "ce": "cerium",
    "co": "cobalt",
    "cr": "chromium",
    "cu": "copper",
    "fe": "iron",
    "ge": "germanium",
    "k": "potassium",
    "mg": "magnesium",
    "mn": "manganese",
    "n": "nitrogen",
    "na": "sodium",
    "nd": "neodymium",
    "ni": "nickel",
    "o": "oxygen",
    "p": "phosphorus",
    "s": "sulphur",
    "si": "silicon",
    "ti": "titanium",
    "v": "vanadium",
}

_ENTRIES = {
    # keys and bookkeeping
    "pk": Entry("", "Primary key"),
    "task_pk": Entry("", "Primary key of the result"),
    "source_pk": Entry("", "Key of the source"),
    "spectrum_pk": Entry("", "Key of the spectrum, unique over all kinds of spectra"),
    "drp_spectrum_pk": Entry("", "Key of the visit's spectrum as the reduction gives it"),
    "star_pk": Entry("", "Key of the star in the APOGEE reduction database"),
    "visit_pk": Entry("", "Key of the visit in the APOGEE reduction database"),
    "rv_visit_pk": Entry("", "Key of the visit's velocity in the APOGEE reduction database"),
    "v_astra": Entry("", "Astra version, as an integer: 0.8.1 is 8001"),
    "v_astra_major_minor": Entry("", "Astra version without its patch number"),
    "created": Entry(None, "When the row was first written (UTC)"),
    "modified": Entry(None, "When the row was last written (UTC)"),
    "t_elapsed": Entry("s", "Time spent on this spectrum"),
    "t_overhead": Entry("s", "This spectrum's share of the overhead"),
    "tag": Entry(None, "Free label of the run"),
    "pipeline_run_pk": Entry("", "The run that it is of, in pipeline_run"),
    "spectrum_revision": Entry("", "Revision of the spectrum that was analysed"),
    "upstream_revision": Entry("", "Sum of the revisions of the other pipelines' results that were used"),
    "path": Entry(None, "Where the file is, if not at its place in the survey's tree"),
    "spectrum_flags": Entry("", "Flags of the spectrum"),
    "result_flags": Entry("", "Flags of the result"),
    # identifiers
    "sdss_id": Entry("", "SDSS-V identifier of the source"),
    "sdss4_apogee_id": Entry(None, "SDSS-IV APOGEE identifier"),
    "gaia_dr2_source_id": Entry("", "Gaia DR2 source identifier"),
    "gaia_dr3_source_id": Entry("", "Gaia DR3 source identifier"),
    "tic_v8_id": Entry("", "TESS Input Catalog v8 identifier"),
    "healpix": Entry("", "HEALPix (nside 128)"),
    "lead": Entry(None, "Lead catalogue of the cross-match"),
    "version_id": Entry("", "Version of the SDSS catalogue of targets"),
    "catalogid": Entry("", "SDSS-V catalogue identifier"),
    "catalogid21": Entry("", "SDSS-V catalogue identifier, version 21"),
    "catalogid25": Entry("", "SDSS-V catalogue identifier, version 25"),
    "catalogid31": Entry("", "SDSS-V catalogue identifier, version 31"),
    "n_associated": Entry("", "Number of sources associated with this catalogue identifier"),
    "n_neighborhood": Entry("", "Number of sources within 3 arcsec and 5 mag in G; NULL if not counted"),
    # astrometry
    "ra": Entry("deg", "Right ascension (ICRS)"),
    "dec": Entry("deg", "Declination (ICRS)"),
    "l": Entry("deg", "Galactic longitude"),
    "b": Entry("deg", "Galactic latitude"),
    "plx": Entry("mas", "Parallax"),
    "pmra": Entry("mas / yr", "Proper motion in right ascension, times cos(dec)"),
    "pmde": Entry("mas / yr", "Proper motion in declination"),
    "gaia_v_rad": Entry("km / s", "Gaia radial velocity"),
    "gaia_e_v_rad": Entry("km / s", "Uncertainty of the Gaia radial velocity"),
    "g_mag": Entry("mag", "Gaia DR3 mean G magnitude"),
    "bp_mag": Entry("mag", "Gaia DR3 mean BP magnitude"),
    "rp_mag": Entry("mag", "Gaia DR3 mean RP magnitude"),
    # targeting
    "sdss5_target_flags": Entry(None, "SDSS-V targeting bits; see has_target_bit"),
    "sdss4_apogee_target1_flags": Entry("", "APOGEE-1 targeting, first part"),
    "sdss4_apogee_target2_flags": Entry("", "APOGEE-1 targeting, second part"),
    "sdss4_apogee2_target1_flags": Entry("", "APOGEE-2 targeting, first part"),
    "sdss4_apogee2_target2_flags": Entry("", "APOGEE-2 targeting, second part"),
    "sdss4_apogee2_target3_flags": Entry("", "APOGEE-2 targeting, third part"),
    "sdss4_apogee_member_flags": Entry("", "Star clusters and dwarf galaxies that it is a member of"),
    "sdss4_apogee_extra_target_flags": Entry("", "SDSS-IV APOGEE: whether of the main sample, telluric, duplicate"),
    # photometry
    "j_mag": Entry("mag", "Magnitude in J (2MASS)"),
    "h_mag": Entry("mag", "Magnitude in H (2MASS)"),
    "k_mag": Entry("mag", "Magnitude in Ks (2MASS)"),
    "ph_qual": Entry(None, "Quality of the 2MASS photometry, a letter each for J, H, Ks"),
    "bl_flg": Entry(None, "Components fitted by 2MASS, a digit each for J, H, Ks"),
    "cc_flg": Entry(None, "Confusion and artefacts in 2MASS, a letter each for J, H, Ks"),
    "mag4_5": Entry("mag", "Magnitude at 4.5 micron (Spitzer IRAC)"),
    "d4_5m": Entry("mag", "Uncertainty of the magnitude at 4.5 micron"),
    "rms_f4_5": Entry("mJy", "Scatter of the detections' flux at 4.5 micron"),
    "sqf_4_5": Entry("", "GLIMPSE: quality of the source at 4.5 micron"),
    "mf4_5": Entry("", "GLIMPSE: how the flux at 4.5 micron was computed"),
    "csf": Entry("", "GLIMPSE: how close other sources are"),
    # Gaia XP spectra (Zhang, Green & Rix 2023)
    "zgr_e": Entry("mag", "Gaia XP: extinction"),
    "zgr_e_e": Entry("mag", "Gaia XP: uncertainty of extinction"),
    "zgr_teff_confidence": Entry("", "Gaia XP: confidence in the effective temperature"),
    "zgr_logg_confidence": Entry("", "Gaia XP: confidence in the surface gravity"),
    "zgr_fe_h_confidence": Entry("", "Gaia XP: confidence in the iron abundance"),
    "zgr_ln_prior": Entry("", "Gaia XP: logarithm of the prior on the parameters"),
    "zgr_chi2": Entry("", "Gaia XP: chi-squared of the best fit"),
    "zgr_quality_flags": Entry("", "Gaia XP: quality flags"),
    "c_star": Entry("", "Corrected excess of Gaia's BP and RP flux (C*)"),
    # distance and reddening
    "r_med_geo": Entry("pc", "Geometric distance, median"),
    "r_lo_geo": Entry("pc", "Geometric distance, 16th percentile"),
    "r_hi_geo": Entry("pc", "Geometric distance, 84th percentile"),
    "r_med_photogeo": Entry("pc", "Photogeometric distance, median"),
    "r_lo_photogeo": Entry("pc", "Photogeometric distance, 16th percentile"),
    "r_hi_photogeo": Entry("pc", "Photogeometric distance, 84th percentile"),
    "bailer_jones_flags": Entry(None, "Quality of the distances (Bailer-Jones et al. 2021)"),
    "ebv": Entry("mag", "Reddening E(B-V), the best there is"),
    "ebv_flags": Entry("", "Where the reddening E(B-V) comes from"),
    "ebv_zhang_2023": Entry("mag", "Reddening E(B-V) by Zhang et al. (2023)"),
    "ebv_sfd": Entry("mag", "Reddening E(B-V) by Schlegel, Finkbeiner & Davis (1998)"),
    "ebv_rjce_glimpse": Entry("mag", "Reddening E(B-V) by RJCE with GLIMPSE photometry"),
    "ebv_rjce_allwise": Entry("mag", "Reddening E(B-V) by RJCE with AllWISE photometry"),
    "ebv_bayestar_2019": Entry("mag", "Reddening E(B-V) by Bayestar (2019)"),
    "ebv_edenhofer_2023": Entry("mag", "Reddening E(B-V) by Edenhofer et al. (2023)"),
    # visits of a source
    "n_boss_visits": Entry("", "Number of BOSS visits"),
    "boss_min_mjd": Entry("d", "MJD of the first BOSS visit"),
    "boss_max_mjd": Entry("d", "MJD of the last BOSS visit"),
    "n_apogee_visits": Entry("", "Number of APOGEE visits"),
    "apogee_min_mjd": Entry("d", "MJD of the first APOGEE visit"),
    "apogee_max_mjd": Entry("d", "MJD of the last APOGEE visit"),
    # where a spectrum comes from
    "release": Entry(None, "SDSS release"),
    "filetype": Entry(None, "Kind of file"),
    "run2d": Entry(None, "Version of the BOSS reduction"),
    "apred": Entry(None, "Version of the APOGEE reduction"),
    "apstar": Entry(None, "Kind of APOGEE co-add"),
    "obj": Entry(None, "Name of the object in the APOGEE reduction"),
    "field": Entry(None, "Name of the field"),
    "prefix": Entry(None, "Prefix of the file: ap (north) or as (south)"),
    "spec_file": Entry(None, "Name of the spectrum's file"),
    "telescope": Entry(None, "Telescope: apo25m, lco25m, apo1m"),
    "mjd": Entry("d", "Modified Julian date of the observation"),
    "min_mjd": Entry("d", "MJD of the first visit"),
    "max_mjd": Entry("d", "MJD of the last visit"),
    "fieldid": Entry("", "Field"),
    "plateid": Entry("", "Plate"),
    "cartid": Entry("", "Cartridge"),
    "mapid": Entry("", "Mapping of the plate"),
    "slitid": Entry("", "Slit"),
    "starver": Entry("", "Version of the star: MJD of its last visit"),
    "plate": Entry(None, "Plate, or configuration of the robots"),
    "fiber": Entry("", "Fiber"),
    "reduction": Entry(None, "Name in the reduction, of spectra by the 1-m telescope"),
    "date_obs": Entry(None, "When the observation began (UTC)"),
    "jd": Entry("d", "Julian date of the middle of the observation"),
    "input_ra": Entry("deg", "Right ascension that was asked for"),
    "input_dec": Entry("deg", "Declination that was asked for"),
    "n_frames": Entry("", "Number of frames"),
    "dithered": Entry(None, "Whether the detector was dithered"),
    "fps": Entry(None, "Whether fibers were placed by robots"),
    "assigned": Entry("", "1 if the fiber was assigned to a target"),
    "on_target": Entry("", "1 if the fiber was on its target"),
    "valid": Entry("", "1 if the position of the fiber's robot was valid"),
    "in_stack": Entry(None, "Whether the visit is part of the star's co-add"),
    "n_entries": Entry("", "Number of entries in the apStar table"),
    "n_visits": Entry("", "Number of visits"),
    "n_good_visits": Entry("", "Number of good visits"),
    "n_good_rvs": Entry("", "Number of visits with a good velocity"),
    "mean_fiber": Entry("", "Mean fiber of the visits, weighted by S/N"),
    "std_fiber": Entry("", "Standard deviation of the fibers, weighted by S/N"),
    # observing conditions
    "n_exp": Entry("", "Number of exposures"),
    "exptime": Entry("s", "Exposure time"),
    "psfsky": Entry("", "Order of the PSF sky subtraction"),
    "preject": Entry("", "Rejection threshold of the profile"),
    "n_std": Entry("", "Number of standard stars"),
    "n_gal": Entry("", "Number of galaxies on the plate"),
    "lowrej": Entry("", "Low rejection of the extraction"),
    "highrej": Entry("", "High rejection of the extraction"),
    "scatpoly": Entry("", "Order of the scattered-light polynomial"),
    "proftype": Entry("", "Kind of extraction profile"),
    "nfitpoly": Entry("", "Order of the profile polynomial"),
    "skychi2": Entry("", "Chi-squared of the sky subtraction"),
    "schi2min": Entry("", "Smallest chi-squared of the sky subtraction"),
    "schi2max": Entry("", "Largest chi-squared of the sky subtraction"),
    "alt": Entry("deg", "Altitude of the telescope"),
    "az": Entry("deg", "Azimuth of the telescope"),
    "seeing": Entry("arcsec", "Seeing"),
    "airmass": Entry("", "Airmass"),
    "airtemp": Entry("deg_C", "Air temperature"),
    "dewpoint": Entry("deg_C", "Dew point"),
    "humidity": Entry("%", "Humidity"),
    "pressure": Entry("mbar", "Air pressure"),
    "dust_a": Entry("1 / (m3 s)", "Dust particles, 0.3 micron"),
    "dust_b": Entry("1 / (m3 s)", "Dust particles, 1.0 micron"),
    "gust_direction": Entry("deg", "Direction of gusts"),
    "gust_speed": Entry("km / s", "Speed of gusts"),
    "wind_direction": Entry("deg", "Wind direction"),
    "wind_speed": Entry("km / s", "Wind speed"),
    "moon_dist_mean": Entry("deg", "Mean distance of the Moon"),
    "moon_phase_mean": Entry("", "Mean phase of the Moon"),
    "n_guide": Entry("", "Number of guide stars"),
    "tai_beg": Entry("s", "Start of the exposures (TAI)"),
    "tai_end": Entry("s", "End of the exposures (TAI)"),
    "fiber_offset": Entry(None, "Whether the fiber was offset on purpose"),
    "f_night_time": Entry("", "When in the night: 0 at sunset, 1 at sunrise"),
    "delta_ra": Entry("arcsec", "Offset in right ascension, per exposure"),
    "delta_dec": Entry("arcsec", "Offset in declination, per exposure"),
    "snr": Entry("", "Signal-to-noise ratio per pixel"),
    "gri_gaia_transform_flags": Entry("", "Where the optical magnitudes come from"),
    "zwarning_flags": Entry("", "Warnings of the redshift fit"),
    "nmf_rchi2": Entry("", "Reduced chi-squared of the NMF continuum"),
    "nmf_flags": Entry("", "Flags of the NMF continuum"),
    # pixels
    "wavelength": Entry(None, "Wavelength in vacuum"),
    "flux": Entry(None, "Flux density"),
    "ivar": Entry(None, "Inverse variance of the flux"),
    "wresl": Entry(None, "Resolution"),
    "pixel_flags": Entry(None, "Flags of a pixel"),
    "model_flux": Entry(None, "Flux density of the best model"),
    # measured quantities
    "v_rad": Entry("km / s", "Radial velocity, barycentric"),
    "v_rel": Entry("km / s", "Velocity relative to the template"),
    "bc": Entry("km / s", "Barycentric correction that was applied to the velocity"),
    "teff": Entry("K", "Effective temperature"),
    "logg": Entry("dex(cm / s2)", "Surface gravity"),
    "m_h": Entry("dex", "Metallicity [M/H]"),
    "alpha_m": Entry("dex", "Abundance of alpha elements [alpha/M]"),
    "c_m": Entry("dex", "Carbon abundance [C/M]"),
    "n_m": Entry("dex", "Nitrogen abundance [N/M]"),
    "alpha_fe": Entry("dex", "Abundance of alpha elements [alpha/Fe]"),
    "fe_h_niu": Entry("dex", "Iron abundance [Fe/H] on the scale of Niu et al. (2023)"),
    "v_micro": Entry("km / s", "Microturbulence"),
    "v_macro": Entry("km / s", "Macroturbulence"),
    "v_turb": Entry("km / s", "Turbulent velocity"),
    "v_sini": Entry("km / s", "Projected rotational velocity"),
    "log10_v_micro": Entry("dex(km / s)", "Microturbulence, log10"),
    "log10_v_sini": Entry("dex(km / s)", "Projected rotational velocity, log10"),
    "m_h_atm": Entry("dex", "Metallicity of the model atmosphere [M/H]"),
    "alpha_m_atm": Entry("dex", "Alpha elements of the model atmosphere [alpha/M]"),
    "c_m_atm": Entry("dex", "Carbon of the model atmosphere [C/M]"),
    "n_m_atm": Entry("dex", "Nitrogen of the model atmosphere [N/M]"),
    "c_1_h": Entry("dex", "Carbon abundance from C I lines [C I/H]"),
    "ti_2_h": Entry("dex", "Titanium abundance from Ti II lines [Ti II/H]"),
    "c_12_13": Entry("", "Ratio of carbon isotopes 12C/13C"),
    "c12_c13": Entry("", "Ratio of carbon isotopes 12C/13C"),
    "chi2": Entry("", "Chi-squared of the best fit"),
    "rchi2": Entry("", "Reduced chi-squared of the best fit"),
    "penalized_rchi2": Entry("", "Reduced chi-squared, raised where the fit is doubtful"),
    "pwd": Entry(None, "Folder in which FERRE ran"),
    "short_grid_name": Entry(None, "Short name of the grid of models"),
    "continuum_order": Entry("", "Order of the continuum's polynomial; -1 if none"),
    "continuum_reject": Entry("", "Relative deviation from which continuum points are rejected"),
    "interpolation_order": Entry("", "Order of the interpolation between models; -1 if not said"),
    "initial_flags": Entry("", "Where the initial guess comes from"),
    "ferre_index": Entry("", "Place of the spectrum in FERRE's input, from 0"),
    "ferre_log_snr_sq": Entry("", "log10 of the squared S/N, as FERRE counts it"),
    "ferre_flags": Entry("", "Problems of the FERRE fit"),
    "doppler_flags": Entry("", "Flags of the Doppler fit"),
    "rxc": Entry("", "Height of the correlation peak over its noise (Tonry & Davis R)"),
    "meanrxc": Entry("", "Mean height of the correlation peak over its noise"),
    "ccfwhm": Entry("km / s", "Full width at half maximum of the cross-correlation"),
    "autofwhm": Entry("km / s", "Full width at half maximum of the auto-correlation"),
    "n_components": Entry("", "Number of components found in the cross-correlation"),
}

_BANDS = {
    **{f"{band}_jkc": f"Johnson-Kron-Cousins {band.upper()}" for band in "ubvri"},
    **{f"{band}_sdss": f"SDSS {band}" for band in "ugriz"},
    "y_ps1": "Pan-STARRS y",
}
for _band, _name in _BANDS.items():
    _ENTRIES[f"{_band}_mag"] = Entry("mag", f"Magnitude in {_name}, from Gaia XP spectra")
    _ENTRIES[f"{_band}_mag_flag"] = Entry("", f"Quality flag of the magnitude in {_name}")
for _band in ("w1", "w2"):
    _name = f"{_band.upper()} (unWISE, Vega)"
    _ENTRIES[f"{_band}_mag"] = Entry("mag", f"Magnitude in {_name}")
    _ENTRIES[f"{_band}_flux"] = Entry("nmgy", f"Flux in {_name}")
    _ENTRIES[f"{_band}_dflux"] = Entry("nmgy", f"Uncertainty of the flux in {_name}")
    _ENTRIES[f"{_band}_frac"] = Entry("", f"Share of this source in the flux around it in {_band.upper()}")
    _ENTRIES[f"{_band}uflags"] = Entry("", f"unWISE: artefacts in {_band.upper()}")
    _ENTRIES[f"{_band}aflags"] = Entry("", f"unWISE: notes on the surroundings in {_band.upper()}")

for _element, _name in _ELEMENTS.items():
    for _other in ("H", "Fe"):
        _ratio = f"[{_element.capitalize()}/{_other}]"
        _ENTRIES[f"{_element}_{_other.lower()}"] = Entry("dex", f"{_name.capitalize()} abundance {_ratio}")


def look_up(name: str) -> Entry | None:
    """Give what is known about a column's name, or None.

    Parameters
    ----------
    name : str
        A column's name, with or without a prefix such as ``e_`` and a suffix such as ``_flags``.
    """
    if name in _ENTRIES:
        return _ENTRIES[name]
    for prefix in _LONGEST_FIRST:
        stem = look_up(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if stem is not None:
            return Entry(stem.unit, f"{_PREFIXES[prefix]} {_inside_a_sentence(stem)}")
    for suffix, words in _SUFFIXES.items():
        stem = look_up(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if stem is not None:
            return Entry("", f"{words} {_inside_a_sentence(stem)}")
    return _correlation(name) if name.startswith("rho_") else None


_declared: dict[str, set[str]] = {}


def note(name: str, text: str) -> None:
    """Take in what a model says of a column or flag of its own, so that it is found by its name.

    Parameters
    ----------
    name : str
        The column, or the flag.
    text : str
        What it means there.
    """
    _declared.setdefault(name, set()).add(text)


class GlossaryOfNames(Mapping[str, str]):
    """What columns and flags mean, by name: ``Glossary["e_teff"]``, or ``Glossary.e_teff``.

    It knows the names of the survey, with their prefixes and suffixes, and those that the models which are imported
    give a meaning of their own. A name that means several things, such as ``flag_low_snr``, has the texts of all.
    """

    def __getitem__(self, name: str) -> str:
        entry = look_up(name)
        if entry is not None:
            return entry.description
        return "; or: ".join(sorted(_declared[name]))

    def __getattr__(self, name: str) -> str:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the glossary has no {name!r}; {did_you_mean(name, self)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(_ENTRIES | _declared)

    def __len__(self) -> int:
        return len(_ENTRIES | _declared)


Glossary = GlossaryOfNames()


def _inside_a_sentence(entry: Entry) -> str:
    """Give a text without its capital, unless it begins with a name."""
    first = entry.description.partition(" ")[0].rstrip(":,")
    if first in _NAMES or first != first.capitalize():
        return entry.description
    return entry.description[0].lower() + entry.description[1:]


def _correlation(name: str) -> Entry | None:
    """Describe ``rho_ONE_OTHER``, if both names are known."""
    words = name.split("_")[1:]
    for n in range(1, len(words)):
        one, other = "_".join(words[:n]), "_".join(words[n:])
        if one in _ENTRIES and other in _ENTRIES:
            return Entry("", f"Correlation coefficient of {one} and {other}")
    return None
