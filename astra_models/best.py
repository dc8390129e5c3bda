"""The adopted result of each source, copied from the pipeline that is preferred for a star of its kind."""

from typing import ClassVar

import peewee

from astra_models.aspcap import PARAMETERS, abundance
from astra_models.columns.families import Family, WithFamilies, floats, like
from astra_models.columns.headings import Heading
from astra_models.fields import BitField, FloatField, ForeignKeyField, IntegerField, TextField
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.spectrum import Spectrum

ABUNDANCES = (
    *("al_h", "c_12_13", "ca_h", "ce_h", "c_1_h", "c_h", "co_h", "cr_h", "cu_h", "fe_h", "k_h", "mg_h"),
    *("mn_h", "na_h", "nd_h", "ni_h", "n_h", "o_h", "p_h", "si_h", "s_h", "ti_h", "ti_2_h", "v_h"),
)
"""Those of ASPCAP, and two that only astroNN has."""


class MWMBest(WithFamilies, PipelineOutputMixin):
    """The parameters and abundances to use for a source: one row per source and major.minor version."""

    _keys = Heading("Source, and the spectrum that the result is of")
    source_pk = ForeignKeyField(Source, index=False)  # the unique constraint's index serves it
    spectrum_pk = ForeignKeyField(Spectrum)
    release = TextField()
    filetype = TextField()
    telescope = TextField()
    apred = TextField(null=True)
    apstar = TextField(null=True)
    obj = TextField(null=True)
    field = TextField(null=True, default="")
    prefix = TextField(null=True, default="")
    run2d = TextField(null=True)

    _spectrum = Heading("Spectrum")
    fibers = Family([floats("snr", "mean_fiber", "std_fiber")])
    boss_flags = Family([like(BossCombinedSpectrum, "gri_gaia_transform_flags", "zwarning_flags")])
    spectrum_flags = BitField()
    min_mjd = IntegerField(null=True)
    max_mjd = IntegerField(null=True)
    n_visits = IntegerField(null=True)
    n_good_visits = IntegerField(null=True)
    n_good_rvs = IntegerField(null=True)

    _velocity = Heading("Velocity")
    velocity = Family([floats("v_rad", "e_v_rad", "std_v_rad", "median_e_v_rad")])
    xcsao = Family(floats(f"xcsao_{name}", f"xcsao_e_{name}") for name in ("teff", "logg", "fe_h"))
    xcsao_meanrxc = FloatField(null=True)
    doppler = Family(floats(f"doppler_{name}", f"doppler_e_{name}") for name in ("teff", "logg", "fe_h"))
    doppler_rchi2 = FloatField(null=True)
    doppler_flags = BitField()
    cross_correlation = Family([floats("xcorr_v_rad", "xcorr_v_rel", "xcorr_e_v_rel", "ccfwhm", "autofwhm")])
    n_components = IntegerField(null=True)
    boss_net = Family([floats("boss_net_v_rad", "boss_net_e_v_rad")])

    _parameters = Heading("Stellar parameters")
    parameters = Family(floats(name, f"e_{name}") for name in PARAMETERS)

    _abundances = Heading("Chemical abundances")
    abundances = Family(abundance(name) for name in ABUNDANCES)

    _white_dwarfs = Heading("Class of white dwarfs")
    white_dwarf = Family([like(SnowWhite, "classification", *SnowWhite.probabilities.names)])

    _m_dwarfs = Heading("Type of M dwarfs")
    m_dwarf = Family([like(MDwarfType, "spectral_type", "sub_type")])

    _quality = Heading("Quality of the fit")
    rchi2 = FloatField(null=True)
    pipeline = TextField(null=True, help_text="Table that the result is from")
    pipeline_flags = BitField(help_text="Flags of the pipeline that the result is from")

    upsert_key: ClassVar[tuple[str, ...]] = ("source_pk", "v_astra_major_minor")

    class Meta:
        constraints = [peewee.SQL("UNIQUE (source_pk, v_astra_major_minor)")]
