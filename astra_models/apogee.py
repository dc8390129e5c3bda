"""Spectra of the APOGEE instruments, as its reduction has them: visits, and apStar files with visits and co-add.

An apStar holds images of ``(n_visits + 2, 8575)`` pixels: two co-adds and the visits, at rest; of a star with one
visit they are 1-D. An apVisit holds images of three chips, from red to blue, which are turned round here.
"""

import numpy as np
from playhouse.hybrid import hybrid_property

from astra_models.columns.headings import Heading
from astra_models.fields import (
    BigIntegerField,
    BitField,
    BooleanField,
    DateTimeField,
    DoubleField,
    FloatField,
    ForeignKeyField,
    IntegerField,
    PixelArray,
    TextField,
)
from astra_models.fields.flags import any_bit
from astra_models.pipeline import Condition
from astra_models.pixels.arrays import APOGEE_GRID, FLUX_UNIT, IVAR_UNIT, RowOf, log_wavelength
from astra_models.pixels.ivar import into_ivar
from astra_models.pixels.paths import APOGEE_STAR, APOGEE_VISIT
from astra_models.pixels.rows import visit_in_apstar
from astra_models.spectrum import Spectrum, SpectrumMixin

CO_ADD = 0
"""Row of the co-add in the images of an apStar."""

VISIT_HUGE = 1e6
"""Errors of pixels without signal in an apVisit: a flux of some hundreds divided by next to nothing."""


def _flux(row: RowOf) -> PixelArray:
    return PixelArray(ext=1, group="flux", row=row, unit=FLUX_UNIT, help_text="Flux density")


def _ivar(row: RowOf) -> PixelArray:
    text = "Inverse variance of the flux; 0 where it is not to be used"
    return PixelArray(ext=2, group="flux", beside="flux", row=row, transform=into_ivar, unit=IVAR_UNIT, help_text=text)


class DopplerMixin(SpectrumMixin):
    """What Doppler and cross-correlation found, of visits and stars alike."""

    abstract = True

    _doppler = Heading("Doppler and cross-correlation")
    doppler_teff = FloatField(null=True)
    doppler_e_teff = FloatField(null=True)
    doppler_logg = FloatField(null=True)
    doppler_e_logg = FloatField(null=True)
    doppler_fe_h = FloatField(null=True)
    doppler_e_fe_h = FloatField(null=True)
    doppler_rchi2 = FloatField(null=True)
    doppler_flags = BitField()
    xcorr_v_rad = FloatField(null=True)
    xcorr_v_rel = FloatField(null=True)
    xcorr_e_v_rel = FloatField(null=True)
    ccfwhm = FloatField(null=True)
    autofwhm = FloatField(null=True)
    n_components = IntegerField(null=True)


class ApogeeCoAddMixin(DopplerMixin):
    """What is known of a star's co-added spectrum."""

    abstract = True

    _visits = Heading("Visits")
    min_mjd = IntegerField(null=True)
    max_mjd = IntegerField(null=True)
    n_entries = IntegerField(null=True)
    n_visits = IntegerField(null=True)
    n_good_visits = IntegerField(null=True)
    n_good_rvs = IntegerField(null=True)
    snr = FloatField(null=True)
    mean_fiber = FloatField(null=True)
    std_fiber = FloatField(null=True)
    spectrum_flags = BitField()

    _velocity = Heading("Velocity")
    v_rad = FloatField(null=True)
    e_v_rad = FloatField(null=True)
    std_v_rad = FloatField(null=True)
    median_e_v_rad = FloatField(null=True)


class ApogeeVisitMixin(DopplerMixin):
    """What is known of a visit by APOGEE: which it is, how it was taken, its velocity and flags."""

    abstract = True

    _reduction_keys = Heading("Keys of the reduction database")
    catalogid = BigIntegerField(null=True)
    star_pk = BigIntegerField(null=True)
    visit_pk = BigIntegerField(null=True)
    rv_visit_pk = BigIntegerField(null=True)

    _visit = Heading("Which visit")
    release = TextField()
    apred = TextField()
    plate = TextField()
    telescope = TextField()
    fiber = IntegerField()
    mjd = IntegerField()
    field = TextField()
    prefix = TextField()
    reduction = TextField(default="")
    obj = TextField(null=True)

    _observation = Heading("Observation")
    date_obs = DateTimeField(null=True)
    jd = DoubleField(null=True)
    exptime = FloatField(null=True)
    dithered = BooleanField(null=True)
    f_night_time = FloatField(null=True)
    input_ra = DoubleField(null=True)
    input_dec = DoubleField(null=True)
    n_frames = IntegerField(null=True)
    assigned = IntegerField(null=True)
    on_target = IntegerField(null=True)
    valid = IntegerField(null=True)
    fps = BooleanField(null=True)
    snr = FloatField(null=True)

    _velocity = Heading("Velocity")
    v_rad = FloatField(null=True)
    v_rel = FloatField(null=True)
    e_v_rel = FloatField(null=True)
    bc = FloatField(null=True)

    _quality = Heading("Flags of the visit")
    spectrum_flags = BitField()
    flag_bad_pixels = spectrum_flags.flag(2**0, "over 20 % of the pixels are bad")
    flag_commissioning = spectrum_flags.flag(2**1, "taken during commissioning")
    flag_bright_neighbor = spectrum_flags.flag(2**2, "neighbour over 10 times as bright")
    flag_very_bright_neighbor = spectrum_flags.flag(2**3, "neighbour over 100 times as bright")
    flag_low_snr = spectrum_flags.flag(2**4, "low signal-to-noise ratio")
    flag_persist_high = spectrum_flags.flag(2**9, "over 20 % of the pixels with high persistence")
    flag_persist_med = spectrum_flags.flag(2**10, "over 20 % of the pixels with medium persistence")
    flag_persist_low = spectrum_flags.flag(2**11, "over 20 % of the pixels with low persistence")
    flag_persist_jump_pos = spectrum_flags.flag(2**12, "flux jumps up where persistence begins")
    flag_persist_jump_neg = spectrum_flags.flag(2**13, "flux jumps down where persistence begins")
    flag_suspect_rv_combination = spectrum_flags.flag(2**16, "velocities of two methods differ")
    flag_suspect_broad_lines = spectrum_flags.flag(2**17, "lines may be broad")
    flag_bad_rv_combination = spectrum_flags.flag(2**18, "velocities of two methods differ a lot")
    flag_rv_reject = spectrum_flags.flag(2**19, "velocity rejected: two methods disagree")
    flag_rv_suspect = spectrum_flags.flag(2**20, "velocity suspect: two methods differ somewhat")
    flag_multiple_suspect = spectrum_flags.flag(2**21, "more than one star may be in it")
    flag_rv_failure = spectrum_flags.flag(2**22, "no velocity could be found")
    flag_suspect_rotation = spectrum_flags.flag(2**23, "fast rotation may have spoilt the velocity")
    flag_mtpflux_lt_75 = spectrum_flags.flag(2**24, "bundle of fibers has less than 75 % of the flux")
    flag_mtpflux_lt_50 = spectrum_flags.flag(2**25, "bundle of fibers has less than 50 % of the flux")
    flag_missing_or_corrupted_file = spectrum_flags.flag(2**26, "file missing or damaged")

    @hybrid_property
    def flag_warn(self) -> Condition:
        """Whether anything is flagged; in queries, the condition of that."""
        return any_bit(self.spectrum_flags)

    @hybrid_property
    def flag_bad(self) -> Condition:
        """Whether not to use the spectrum; in queries, the condition of that."""
        return (
            self.flag_bad_pixels | self.flag_very_bright_neighbor | self.flag_bad_rv_combination | self.flag_rv_failure
        )


def turned_round(image: np.ndarray) -> np.ndarray:
    """Put chips and pixels of an apVisit, which run from red to blue, in order of increasing wavelength."""
    return np.ascontiguousarray(image[::-1, ::-1])


def visit_ivar(error: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Make inverse variances of the errors of an apVisit, in order of increasing wavelength."""
    return turned_round(into_ivar(error, flux, huge=VISIT_HUGE))


class ApogeeVisitSpectrum(ApogeeVisitMixin):
    """A visit by APOGEE: one apVisit file, of three chips, in the observed frame."""

    natural_key = ("release", "apred", "mjd", "plate", "telescope", "field", "fiber", "prefix", "reduction")
    path_templates = APOGEE_VISIT

    _more = Heading("Which visit")
    visit_pk = BigIntegerField(null=True, unique=True)
    rv_visit_pk = BigIntegerField(null=True, unique=True)
    filetype = TextField(default="apVisit")

    wavelength = PixelArray(
        ext=4, transform=turned_round, unit="Angstrom", help_text="Vacuum wavelength as observed, (3, n_pixels)"
    )
    flux = PixelArray(ext=1, group="flux", transform=turned_round, unit=FLUX_UNIT, help_text="Flux density")
    ivar = PixelArray(
        ext=2,
        group="flux",
        beside="flux",
        transform=visit_ivar,
        unit=IVAR_UNIT,
        help_text="Inverse variance of the flux; 0 where it is not to be used",
    )
    pixel_flags = PixelArray(ext=3, transform=turned_round, unit="", help_text="Mask bits")


class ApogeeVisitSpectrumInApStar(SpectrumMixin):
    """A visit by APOGEE as it is in an apStar file: resampled, in the star's rest frame."""

    natural_key = ("release", "apred", "apstar", "obj", "telescope", "field", "prefix", "plate", "mjd", "fiber")
    path_templates = APOGEE_STAR

    spectrum_pk = ForeignKeyField(Spectrum, unique=True, index=False)
    drp_spectrum_pk = ForeignKeyField(
        ApogeeVisitSpectrum, field=ApogeeVisitSpectrum.spectrum_pk, null=True, index=False
    )
    release = TextField()
    filetype = TextField(default="apStar")
    apred = TextField()
    apstar = TextField(default="stars")
    obj = TextField()
    telescope = TextField()
    healpix = IntegerField(null=True)
    field = TextField(default="")
    prefix = TextField(default="")
    plate = TextField()
    mjd = IntegerField()
    fiber = IntegerField()
    reduction = TextField(null=True, default="")

    wavelength = log_wavelength(APOGEE_GRID, "Vacuum wavelength at rest")
    flux = _flux(visit_in_apstar)
    ivar = _ivar(visit_in_apstar)
    pixel_flags = PixelArray(ext=3, row=visit_in_apstar, unit="", help_text="Mask bits of the visit")


class ApogeeCoaddedSpectrumInApStar(ApogeeCoAddMixin):
    """A star's co-added APOGEE spectrum (apStar), in its rest frame."""

    natural_key = ("release", "apred", "apstar", "obj", "telescope", "field", "prefix")
    path_templates = APOGEE_STAR

    _identifiers = Heading("Which star")
    star_pk = BigIntegerField(null=True, unique=True)
    release = TextField()
    filetype = TextField(default="apStar")
    apred = TextField()
    apstar = TextField(default="stars")
    obj = TextField()
    telescope = TextField()
    healpix = IntegerField(null=True)
    field = TextField(default="")
    prefix = TextField(default="")
    starver = IntegerField(null=True)

    wavelength = log_wavelength(APOGEE_GRID, "Vacuum wavelength at rest")
    flux = _flux(CO_ADD)
    ivar = _ivar(CO_ADD)
    pixel_flags = PixelArray(ext=3, row=CO_ADD, unit="", help_text="Mask bits of any visit")
