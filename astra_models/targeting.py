"""Which object a source is, and why it was targeted.

The identifiers of `Source`, the targeting bits of SDSS-IV APOGEE, one flag each, and those of SDSS-V, which are as
many as there are cartons and therefore bytes: bit 0 is the lowest of the first byte.
"""

# ruff: noqa: PIE794  "flag" stands for each column's in turn

import operator
from functools import reduce

import peewee
from playhouse.hybrid import hybrid_method

from astra_models.base import BaseModel
from astra_models.columns.headings import Heading
from astra_models.database.sql import is_postgresql
from astra_models.errors import FlagError
from astra_models.fields import AutoField, BigIntegerField, BitField, BytesField, IntegerField, TextField


class IdentifiersMixin(BaseModel):
    """Names of a source in the catalogues."""

    abstract = True

    _identifiers = Heading("Identifiers")
    pk = AutoField()

    sdss_id = BigIntegerField(null=True, unique=True)
    sdss4_apogee_id = TextField(null=True, unique=True)
    gaia_dr2_source_id = BigIntegerField(null=True, unique=True)
    gaia_dr3_source_id = BigIntegerField(null=True, unique=True)
    tic_v8_id = BigIntegerField(null=True)
    healpix = IntegerField(null=True)

    lead = TextField(null=True)
    version_id = IntegerField(null=True)
    catalogid = BigIntegerField(null=True, index=True)
    catalogid21 = BigIntegerField(null=True)
    catalogid25 = BigIntegerField(null=True)
    catalogid31 = BigIntegerField(null=True)
    n_associated = IntegerField(null=True)
    n_neighborhood = IntegerField(null=True)  # NULL if not counted; other tables say -1


class TargetingMixin(IdentifiersMixin):
    """Why a source was targeted, by SDSS-V and by APOGEE in SDSS-IV."""

    abstract = True

    _targeting = Heading("Targeting")
    sdss5_target_flags = BytesField(null=True)

    sdss4_apogee_target1_flags = BitField()
    flag = sdss4_apogee_target1_flags.flag
    flag_sdss4_apogee_faint = flag(2**0, "Faint bin of its cohort")
    flag_sdss4_apogee_medium = flag(2**1, "Medium bin of its cohort")
    flag_sdss4_apogee_bright = flag(2**2, "Bright bin of its cohort")
    flag_sdss4_apogee_irac_dered = flag(2**3, "Dereddened by RJCE with Spitzer IRAC photometry")
    flag_sdss4_apogee_wise_dered = flag(2**4, "Dereddened by RJCE with WISE photometry")
    flag_sdss4_apogee_sfd_dered = flag(2**5, "Dereddened by the SFD map")
    flag_sdss4_apogee_no_dered = flag(2**6, "Chosen without dereddening")
    flag_sdss4_apogee_wash_giant = flag(2**7, "Giant by Washington and DDO51 photometry")
    flag_sdss4_apogee_wash_dwarf = flag(2**8, "Dwarf by Washington and DDO51 photometry")
    flag_sdss4_apogee_sci_cluster = flag(2**9, "Probable member of a star cluster")
    flag_sdss4_apogee_extended = flag(2**10, "Extended object")
    flag_sdss4_apogee_short = flag(2**11, "Short cohort, about 3 visits")
    flag_sdss4_apogee_intermediate = flag(2**12, "Intermediate cohort, about 6 visits")
    flag_sdss4_apogee_long = flag(2**13, "Long cohort, 12 or 24 visits")
    flag_sdss4_apogee_do_not_observe = flag(2**14, "Not to be observed again: unwanted dwarf, galaxy...")
    flag_sdss4_apogee_serendipitous = flag(2**15, "Interesting by chance, to be observed again")
    flag_sdss4_apogee_first_light = flag(2**16, "Target of the first plates")
    flag_sdss4_apogee_ancillary = flag(2**17, "Ancillary program; another bit says which")
    flag_sdss4_apogee_m31_cluster = flag(2**18, "Ancillary: star clusters of M31")
    flag_sdss4_apogee_mdwarf = flag(2**19, "Ancillary: velocities and metallicities of M dwarfs")
    flag_sdss4_apogee_hires = flag(2**20, "Ancillary: has optical high-resolution spectra")
    flag_sdss4_apogee_old_star = flag(2**21, "Ancillary: oldest stars of the Galaxy")
    flag_sdss4_apogee_disk_red_giant = flag(2**22, "Ancillary: red giants of the disk")
    flag_sdss4_apogee_kepler_eb = flag(2**23, "Ancillary: eclipsing binary of Kepler")
    flag_sdss4_apogee_gc_pal1 = flag(2**24, "Ancillary: globular cluster Palomar 1")
    flag_sdss4_apogee_massive_star = flag(2**25, "Ancillary: massive star")
    flag_sdss4_apogee_sgr_dsph = flag(2**26, "Member of the Sagittarius dwarf galaxy")
    flag_sdss4_apogee_kepler_seismo = flag(2**27, "Asteroseismology with Kepler")
    flag_sdss4_apogee_kepler_host = flag(2**28, "Planet host of Kepler")
    flag_sdss4_apogee_faint_extra = flag(2**29, "Faint extra target in a field with few targets")
    flag_sdss4_apogee_segue_overlap = flag(2**30, "Also observed by SEGUE")

    sdss4_apogee_target2_flags = BitField()
    flag = sdss4_apogee_target2_flags.flag
    flag_sdss4_apogee_light_trap = flag(2**0, "Hole that traps the light of a bright star")
    flag_sdss4_apogee_flux_standard = flag(2**1, "Flux standard")
    flag_sdss4_apogee_standard_star = flag(2**2, "Standard of stellar parameters and abundances")
    flag_sdss4_apogee_rv_standard = flag(2**3, "Standard of radial velocity")
    flag_sdss4_apogee_sky = flag(2**4, "Blank sky")
    flag_sdss4_apogee_sky_bad = flag(2**5, "Sky position that proved unsuitable")
    flag_sdss4_apogee_guide_star = flag(2**6, "Guide star")
    flag_sdss4_apogee_bundle_hole = flag(2**7, "Hole for a bundle of fibers")
    flag_sdss4_apogee_telluric_bad = flag(2**8, "Telluric standard that proved unsuitable")
    flag_sdss4_apogee_calib_cluster = flag(2**10, "Member of a calibration cluster")
    flag_sdss4_apogee_bulge_giant = flag(2**11, "Probable giant of the bulge")
    flag_sdss4_apogee_bulge_super_giant = flag(2**12, "Probable supergiant of the bulge")
    flag_sdss4_apogee_embedded_cluster_star = flag(2**13, "Ancillary: young star of an embedded cluster")
    flag_sdss4_apogee_long_bar = flag(2**14, "Ancillary: red-clump star of the long bar")
    flag_sdss4_apogee_emission_star = flag(2**15, "Ancillary: star with emission lines")
    flag_sdss4_apogee_kepler_cool_dwarf = flag(2**16, "Ancillary: cool dwarf or subgiant of Kepler")
    flag_sdss4_apogee_mir_cluster_star = flag(2**17, "Ancillary: candidate of a mid-infrared star cluster")
    flag_sdss4_apogee_rv_monitor_ic348 = flag(2**18, "Ancillary: velocities of IC 348 over time")
    flag_sdss4_apogee_rv_monitor_kepler = flag(2**19, "Ancillary: velocities of Kepler hosts and binaries over time")
    flag_sdss4_apogee_ges_calibrate = flag(2**20, "Calibrator of the Gaia-ESO survey")
    flag_sdss4_apogee_bulge_rv_verify = flag(2**21, "Check of bulge velocities, during commissioning")
    flag_sdss4_apogee_1m_target = flag(2**22, "Target of the 1 m telescope")

    sdss4_apogee2_target1_flags = BitField()
    flag = sdss4_apogee2_target1_flags.flag
    flag_sdss4_apogee2_onebit_gt_0_5 = flag(2**0, "Single colour bin, dereddened J - Ks above 0.5")
    flag_sdss4_apogee2_twobit_0_5_to_0_8 = flag(2**1, "Blue of two colour bins, dereddened J - Ks 0.5 to 0.8")
    flag_sdss4_apogee2_twobit_gt_0_8 = flag(2**2, "Red of two colour bins, dereddened J - Ks above 0.8")
    flag_sdss4_apogee2_irac_dered = flag(2**3, "Dereddened by RJCE with Spitzer IRAC photometry")
    flag_sdss4_apogee2_wise_dered = flag(2**4, "Dereddened by RJCE with WISE photometry")
    flag_sdss4_apogee2_sfd_dered = flag(2**5, "Dereddened by the SFD map")
    flag_sdss4_apogee2_no_dered = flag(2**6, "Chosen without dereddening")
    flag_sdss4_apogee2_wash_giant = flag(2**7, "Giant by Washington and DDO51 photometry")
    flag_sdss4_apogee2_wash_dwarf = flag(2**8, "Dwarf by Washington and DDO51 photometry")
    flag_sdss4_apogee2_sci_cluster = flag(2**9, "Candidate member of a science cluster")
    flag_sdss4_apogee2_cluster_candidate = flag(2**10, "Candidate member of a globular cluster")
    flag_sdss4_apogee2_short = flag(2**11, "Short cohort")
    flag_sdss4_apogee2_medium = flag(2**12, "Medium cohort")
    flag_sdss4_apogee2_long = flag(2**13, "Long cohort")
    flag_sdss4_apogee2_normal_sample = flag(2**14, "Drawn at random for the main sample")
    flag_sdss4_apogee2_manga_led = flag(2**15, "On a plate shared with, and led by, MaNGA")
    flag_sdss4_apogee2_onebin_gt_0_3 = flag(2**16, "Single colour bin, dereddened J - Ks above 0.3")
    flag_sdss4_apogee2_wash_noclass = flag(2**17, "No class from Washington and DDO51 photometry")
    flag_sdss4_apogee2_stream_member = flag(2**18, "Member of a tidal stream of the halo")
    flag_sdss4_apogee2_stream_candidate = flag(2**19, "Candidate member of a tidal stream, by its photometry")
    flag_sdss4_apogee2_dsph_member = flag(2**20, "Member of a dwarf spheroidal galaxy other than Sagittarius")
    flag_sdss4_apogee2_dsph_candidate = flag(2**21, "Candidate member of such a dwarf galaxy, by its photometry")
    flag_sdss4_apogee2_magcloud_member = flag(2**22, "Member of a Magellanic Cloud")
    flag_sdss4_apogee2_magcloud_candidate = flag(2**23, "Candidate member of a Magellanic Cloud, by its photometry")
    flag_sdss4_apogee2_rrlyr = flag(2**24, "RR Lyrae star")
    flag_sdss4_apogee2_bulge_rc = flag(2**25, "Candidate red-clump star of the bulge")
    flag_sdss4_apogee2_sgr_dsph = flag(2**26, "Member of the core or stream of Sagittarius")
    flag_sdss4_apogee2_apokasc_giant = flag(2**27, "APOKASC, sample of giants")
    flag_sdss4_apogee2_apokasc_dwarf = flag(2**28, "APOKASC, sample of dwarfs")
    flag_sdss4_apogee2_faint_extra = flag(2**29, "Fainter than its cohort's limit; may stay below the wanted S/N")
    flag_sdss4_apogee2_apokasc = flag(2**30, "APOKASC: seismology and gyrochronology with Kepler and K2")

    sdss4_apogee2_target2_flags = BitField()
    flag = sdss4_apogee2_target2_flags.flag
    flag_sdss4_apogee2_k2_gap = flag(2**0, "K2 Galactic Archaeology Program")
    flag_sdss4_apogee2_ccloud_as4 = flag(2**1, "California Cloud")
    flag_sdss4_apogee2_standard_star = flag(2**2, "Standard of stellar parameters and abundances")
    flag_sdss4_apogee2_rv_standard = flag(2**3, "Standard of radial velocity")
    flag_sdss4_apogee2_sky = flag(2**4, "Blank sky")
    flag_sdss4_apogee2_external_calib = flag(2**5, "Cross-calibration with another survey")
    flag_sdss4_apogee2_internal_calib = flag(2**6, "Cross-calibration of APOGEE-1, APOGEE-2N and APOGEE-2S")
    flag_sdss4_apogee2_disk_substructure_member = flag(2**7, "Member of a substructure of the outer disk")
    flag_sdss4_apogee2_disk_substructure_candidate = flag(2**8, "Candidate member of a substructure of the outer disk")
    flag_sdss4_apogee2_telluric = flag(2**9, "Telluric standard")
    flag_sdss4_apogee2_calib_cluster = flag(2**10, "Member of a calibration cluster")
    flag_sdss4_apogee2_k2_planet_host = flag(2**11, "Planet host of K2")
    flag_sdss4_apogee2_tidal_binary = flag(2**12, "Ancillary: tidally synchronized binary")
    flag_sdss4_apogee2_literature_calib = flag(2**13, "High-resolution spectra in the literature")
    flag_sdss4_apogee2_ges_overlap = flag(2**14, "Also observed by Gaia-ESO")
    flag_sdss4_apogee2_argos_overlap = flag(2**15, "Also observed by ARGOS")
    flag_sdss4_apogee2_gaia_overlap = flag(2**16, "Also observed by Gaia")
    flag_sdss4_apogee2_galah_overlap = flag(2**17, "Also observed by GALAH")
    flag_sdss4_apogee2_rave_overlap = flag(2**18, "Also observed by RAVE")
    flag_sdss4_apogee2_commis_south_spec = flag(2**19, "Special target of commissioning in the south")
    flag_sdss4_apogee2_halo_member = flag(2**20, "Member of the halo")
    flag_sdss4_apogee2_halo_candidate = flag(2**21, "Candidate member of the halo")
    flag_sdss4_apogee2_1m_target = flag(2**22, "Target of the 1 m telescope")
    flag_sdss4_apogee2_mod_bright_limit = flag(2**23, "Cohort with bright limit H = 10 instead of 7")
    flag_sdss4_apogee2_cis = flag(2**24, "Program of the Carnegie Institution")
    flag_sdss4_apogee2_cntac = flag(2**25, "Program of the Chilean community")
    flag_sdss4_apogee2_external = flag(2**26, "Proprietary program of an external group")
    flag_sdss4_apogee2_cvz_as4_obaf = flag(2**27, "Continuous viewing zone: O, B, A or F star, many epochs")
    flag_sdss4_apogee2_cvz_as4_gi = flag(2**28, "Continuous viewing zone: proposed by a guest")
    flag_sdss4_apogee2_cvz_as4_ctl = flag(2**29, "Continuous viewing zone: filler from the TESS target list")
    flag_sdss4_apogee2_cvz_as4_giant = flag(2**30, "Continuous viewing zone: filler giant, by its proper motion")

    sdss4_apogee2_target3_flags = BitField()
    flag = sdss4_apogee2_target3_flags.flag
    flag_sdss4_apogee2_koi = flag(2**0, "Kepler object of interest, long cadence")
    flag_sdss4_apogee2_eb = flag(2**1, "Eclipsing binary")
    flag_sdss4_apogee2_koi_control = flag(2**2, "Control sample of the Kepler objects of interest")
    flag_sdss4_apogee2_mdwarf = flag(2**3, "M dwarf")
    flag_sdss4_apogee2_substellar_companions = flag(2**4, "Search for substellar companions")
    flag_sdss4_apogee2_young_cluster = flag(2**5, "Young star cluster")
    flag_sdss4_apogee2_k2 = flag(2**6, "K2 field")
    flag_sdss4_apogee2_object = flag(2**7, "Any target of APOGEE-2")
    flag_sdss4_apogee2_ancillary = flag(2**8, "Ancillary program; another bit may say which")
    flag_sdss4_apogee2_massive_star = flag(2**9, "Massive star")
    flag_sdss4_apogee2_qso = flag(2**10, "Ancillary: quasar")
    flag_sdss4_apogee2_cepheid = flag(2**11, "Ancillary: Cepheid")
    flag_sdss4_apogee2_low_av_windows = flag(2**12, "Ancillary: distant disk through windows of low extinction")
    flag_sdss4_apogee2_be_star = flag(2**13, "Ancillary: Be star")
    flag_sdss4_apogee2_young_moving_group = flag(2**14, "Ancillary: member of a young moving group")
    flag_sdss4_apogee2_ngc6791 = flag(2**15, "Ancillary: star of NGC 6791")
    flag_sdss4_apogee2_label_star = flag(2**16, "Ancillary: training star of The Cannon")
    flag_sdss4_apogee2_faint_kepler_giants = flag(2**17, "Ancillary: faint giant of Kepler")
    flag_sdss4_apogee2_w345 = flag(2**18, "Ancillary: star-forming complex W3, W4, W5")
    flag_sdss4_apogee2_massive_evolved = flag(2**19, "Ancillary: massive or evolved star")
    flag_sdss4_apogee2_extinction = flag(2**20, "Ancillary: extinction law")
    flag_sdss4_apogee2_kepler_mdwarf_koi = flag(2**21, "Ancillary: M dwarf among the Kepler objects of interest")
    flag_sdss4_apogee2_agb = flag(2**22, "Ancillary: star of the asymptotic giant branch")
    flag_sdss4_apogee2_m33 = flag(2**23, "Ancillary: M33")
    flag_sdss4_apogee2_ultracool = flag(2**24, "Ancillary: ultracool dwarf")
    flag_sdss4_apogee2_distant_segue_giants = flag(2**25, "Ancillary: distant giant of SEGUE")
    flag_sdss4_apogee2_cepheid_mapping = flag(2**26, "Ancillary: map of the disk by Cepheids")
    flag_sdss4_apogee2_sa57 = flag(2**27, "Ancillary: Kapteyn's selected area 57")
    flag_sdss4_apogee2_k2_mdwarf = flag(2**28, "Ancillary: M dwarf of K2")
    flag_sdss4_apogee2_rvvar = flag(2**29, "Ancillary: variable radial velocity")
    flag_sdss4_apogee2_m31 = flag(2**30, "Ancillary: M31")

    sdss4_apogee_member_flags = BitField()
    flag = sdss4_apogee_member_flags.flag
    flag_sdss4_apogee_member_m92 = flag(2**0, "Member of the globular cluster M 92")
    flag_sdss4_apogee_member_m15 = flag(2**1, "Member of the globular cluster M 15")
    flag_sdss4_apogee_member_m53 = flag(2**2, "Member of the globular cluster M 53")
    flag_sdss4_apogee_member_ngc_5466 = flag(2**3, "Member of the globular cluster NGC 5466")
    flag_sdss4_apogee_member_ngc_4147 = flag(2**4, "Member of the globular cluster NGC 4147")
    flag_sdss4_apogee_member_m2 = flag(2**5, "Member of the globular cluster M 2")
    flag_sdss4_apogee_member_m13 = flag(2**6, "Member of the globular cluster M 13")
    flag_sdss4_apogee_member_m3 = flag(2**7, "Member of the globular cluster M 3")
    flag_sdss4_apogee_member_m5 = flag(2**8, "Member of the globular cluster M 5")
    flag_sdss4_apogee_member_m12 = flag(2**9, "Member of the globular cluster M 12")
    flag_sdss4_apogee_member_m107 = flag(2**10, "Member of the globular cluster M 107")
    flag_sdss4_apogee_member_m71 = flag(2**11, "Member of the globular cluster M 71")
    flag_sdss4_apogee_member_ngc_2243 = flag(2**12, "Member of the open cluster NGC 2243")
    flag_sdss4_apogee_member_be29 = flag(2**13, "Member of the open cluster Berkeley 29")
    flag_sdss4_apogee_member_ngc_2158 = flag(2**14, "Member of the open cluster NGC 2158")
    flag_sdss4_apogee_member_m35 = flag(2**15, "Member of the open cluster M 35")
    flag_sdss4_apogee_member_ngc_2420 = flag(2**16, "Member of the open cluster NGC 2420")
    flag_sdss4_apogee_member_ngc_188 = flag(2**17, "Member of the open cluster NGC 188")
    flag_sdss4_apogee_member_m67 = flag(2**18, "Member of the open cluster M 67")
    flag_sdss4_apogee_member_ngc_7789 = flag(2**19, "Member of the open cluster NGC 7789")
    flag_sdss4_apogee_member_pleiades = flag(2**20, "Member of the open cluster Pleiades")
    flag_sdss4_apogee_member_ngc_6819 = flag(2**21, "Member of the open cluster NGC 6819")
    flag_sdss4_apogee_member_coma_berenices = flag(2**22, "Member of the open cluster Coma Berenices")
    flag_sdss4_apogee_member_ngc_6791 = flag(2**23, "Member of the open cluster NGC 6791")
    flag_sdss4_apogee_member_ngc_5053 = flag(2**24, "Member of the globular cluster NGC 5053")
    flag_sdss4_apogee_member_m68 = flag(2**25, "Member of the globular cluster M 68")
    flag_sdss4_apogee_member_ngc_6397 = flag(2**26, "Member of the globular cluster NGC 6397")
    flag_sdss4_apogee_member_m55 = flag(2**27, "Member of the globular cluster M 55")
    flag_sdss4_apogee_member_ngc_5634 = flag(2**28, "Member of the globular cluster NGC 5634")
    flag_sdss4_apogee_member_m22 = flag(2**29, "Member of the globular cluster M 22")
    flag_sdss4_apogee_member_m79 = flag(2**30, "Member of the globular cluster M 79")
    flag_sdss4_apogee_member_ngc_3201 = flag(2**31, "Member of the globular cluster NGC 3201")
    flag_sdss4_apogee_member_m10 = flag(2**32, "Member of the globular cluster M 10")
    flag_sdss4_apogee_member_ngc_6752 = flag(2**33, "Member of the globular cluster NGC 6752")
    flag_sdss4_apogee_member_omega_centauri = flag(2**34, "Member of the globular cluster Omega Centauri")
    flag_sdss4_apogee_member_m54 = flag(2**35, "Member of the globular cluster M 54")
    flag_sdss4_apogee_member_ngc_6229 = flag(2**36, "Member of the globular cluster NGC 6229")
    flag_sdss4_apogee_member_pal5 = flag(2**37, "Member of the globular cluster Palomar 5")
    flag_sdss4_apogee_member_ngc_6544 = flag(2**38, "Member of the globular cluster NGC 6544")
    flag_sdss4_apogee_member_ngc_6522 = flag(2**39, "Member of the globular cluster NGC 6522")
    flag_sdss4_apogee_member_ngc_288 = flag(2**40, "Member of the globular cluster NGC 288")
    flag_sdss4_apogee_member_ngc_362 = flag(2**41, "Member of the globular cluster NGC 362")
    flag_sdss4_apogee_member_ngc_1851 = flag(2**42, "Member of the globular cluster NGC 1851")
    flag_sdss4_apogee_member_m4 = flag(2**43, "Member of the globular cluster M 4")
    flag_sdss4_apogee_member_ngc_2808 = flag(2**44, "Member of the globular cluster NGC 2808")
    flag_sdss4_apogee_member_pal6 = flag(2**45, "Member of the globular cluster Palomar 6")
    flag_sdss4_apogee_member_47tuc = flag(2**46, "Member of the globular cluster 47 Tucanae")
    flag_sdss4_apogee_member_pal1 = flag(2**47, "Member of the globular cluster Palomar 1")
    flag_sdss4_apogee_member_ngc_6539 = flag(2**48, "Member of the globular cluster NGC 6539")
    flag_sdss4_apogee_member_ngc_6388 = flag(2**49, "Member of the globular cluster NGC 6388")
    flag_sdss4_apogee_member_ngc_6441 = flag(2**50, "Member of the globular cluster NGC 6441")
    flag_sdss4_apogee_member_ngc_6316 = flag(2**51, "Member of the globular cluster NGC 6316")
    flag_sdss4_apogee_member_ngc_6760 = flag(2**52, "Member of the globular cluster NGC 6760")
    flag_sdss4_apogee_member_ngc_6553 = flag(2**53, "Member of the globular cluster NGC 6553")
    flag_sdss4_apogee_member_ngc_6528 = flag(2**54, "Member of the globular cluster NGC 6528")
    flag_sdss4_apogee_member_draco = flag(2**55, "Member of the dwarf galaxy Draco")
    flag_sdss4_apogee_member_urminor = flag(2**56, "Member of the dwarf galaxy Ursa Minor")
    flag_sdss4_apogee_member_bootes1 = flag(2**57, "Member of the dwarf galaxy Bootes I")
    flag_sdss4_apogee_member_sexans = flag(2**58, "Member of the dwarf galaxy Sextans")
    flag_sdss4_apogee_member_fornax = flag(2**59, "Member of the dwarf galaxy Fornax")
    flag_sdss4_apogee_member_sculptor = flag(2**60, "Member of the dwarf galaxy Sculptor")
    flag_sdss4_apogee_member_carina = flag(2**61, "Member of the dwarf galaxy Carina")

    sdss4_apogee_extra_target_flags = BitField()
    flag = sdss4_apogee_extra_target_flags.flag
    flag_sdss4_apogee_not_main = flag(2**0, "Not of the main sample")
    flag_sdss4_apogee_commissioning = flag(2**1, "Observed during commissioning")
    flag_sdss4_apogee_telluric = flag(2**2, "Targeted as a telluric standard")
    flag_sdss4_apogee_apo1m = flag(2**3, "Observed with the 1 m telescope at Apache Point")
    flag_sdss4_apogee_duplicate = flag(2**4, "Observed elsewhere with higher S/N")
    del flag

    @hybrid_method
    def has_target_bit(self, bit: int) -> bool | peewee.ColumnBase:
        """Tell whether a bit of ``sdss5_target_flags`` is set: of a row, or as a condition in queries.

        ``source.has_target_bit(5)`` is True or False, and ``Source.has_target_bit(5)`` goes into ``where``. It is
        false, never NULL, where there are no flags, or too few bytes for the bit.

        Parameters
        ----------
        bit : int
            Number of the bit, from 0: bit 8 is the lowest one of the second byte.

        Raises
        ------
        FlagError
            If `bit` is no whole number, negative, or beyond 31 bits.
        """
        number, flags = _checked(bit), self.sdss5_target_flags
        if isinstance(flags, peewee.Field):  # the column of the model, or of an alias
            return BitIsSet(flags, number)
        byte, place = divmod(number, 8)
        return flags is not None and byte < len(flags) and bool(flags[byte] >> place & 1)

    @hybrid_method
    def has_any_target_bit(self, *bits: int) -> bool | peewee.ColumnBase:
        """Tell whether any of some bits of ``sdss5_target_flags`` is set, such as those of the cartons of a program.

        Parameters
        ----------
        *bits : int
            Numbers of the bits, as for `has_target_bit`. Without any, no source has one.

        Raises
        ------
        FlagError
            As `has_target_bit` does.
        """
        found = [self.has_target_bit(bit) for bit in bits]
        if not isinstance(self.sdss5_target_flags, peewee.Field):
            return any(found)
        return reduce(operator.or_, found) if found else peewee.Value(1) == peewee.Value(0)

    @property
    def target_bits(self) -> tuple[int, ...]:
        """The numbers of the bits of ``sdss5_target_flags`` that are set, in ascending order."""
        flags = self.sdss5_target_flags or b""
        return tuple(8 * byte + place for byte, value in enumerate(flags) for place in range(8) if value >> place & 1)


def _checked(bit: int) -> int:
    try:
        number = operator.index(bit)
    except TypeError as error:
        raise FlagError(f"bit {bit!r} is not a whole number") from error
    if not 0 <= number < 2**31:
        raise FlagError(f"bit {number} is not from 0 to 2**31 - 1")
    return number


class BitIsSet(peewee.ColumnBase):
    """The condition that a bit of a column of bytes is set, in the bound database's SQL."""

    def __init__(self, column: peewee.Field, bit: int):
        super().__init__()
        self.column = column
        self.bit = bit

    def __sql__(self, ctx: peewee.Context) -> peewee.Context:
        byte, place = divmod(self.bit, 8)
        if is_postgresql(self.column.model._meta.database):
            is_set = peewee.fn.GET_BIT(self.column, self.bit) == 1  # an error if there are fewer
            return ctx.sql(peewee.Case(None, [(peewee.fn.LENGTH(self.column) > byte, is_set)], peewee.SQL("FALSE")))
        # SQLite has no operator for bits of a BLOB: look at the half byte as a hexadecimal digit, "" if there is none.
        half, place = divmod(place, 4)
        digit = peewee.fn.SUBSTR(peewee.fn.HEX(peewee.fn.SUBSTR(self.column, byte + 1, 1)), 2 - half, 1)
        return ctx.sql(digit.in_([f"{value:X}" for value in range(16) if value >> place & 1]))
