"""Catalogues of APOGEE and BOSS, generated with the columns that they are documented to have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.io import fits

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum
from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import UnrecognizedFileError
from astra_models.ingest import ingest_result_file
from astra_models.ingest.tables.mapped import NOT_MAPPED
from astra_models.ingest.tables.opening import ResultFile, open_result_file
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum

N_ROWS = 4
ELEMENTS = ("C", "CI", "N", "O", "NA", "MG", "AL", "SI", "P", "S", "K", "CA", "TI", "TIII", "V", "CR", "MN", "CO")
ABUNDANCES = [f"{element}_FE" for element in (*ELEMENTS, "NI", "CU", "CE", "YB")] + ["FE_H"]
GAIA = ("PARALLAX", "PARALLAX_ERROR", "PMRA", "PMRA_ERROR", "PMDEC", "PMDEC_ERROR")
PHOTOMETRY = "J:E J_ERR:E H:E H_ERR:E K:E K_ERR:E SRC_H:16A AK_TARG:E AK_TARG_METHOD:32A AK_WISE:E SFD_EBV:E"
TARGETS = "APOGEE_TARGET1:J APOGEE_TARGET2:J APOGEE2_TARGET1:J APOGEE2_TARGET2:J APOGEE2_TARGET3:J APOGEE2_TARGET4:J"

# Name, format and, where the documentation has one that isn't plain, unit.
ALL_STAR = (
    "FILE:64A APOGEE_ID:30A TARGET_ID:58A APSTAR_ID:71A ASPCAP_ID:77A TELESCOPE:6A LOCATION_ID:J FIELD:20A ALT_ID:30A "
    f"RA:D:degrees DEC:D:degrees GLON:D:degrees GLAT:D:degrees {PHOTOMETRY} {TARGETS} TARGFLAGS:132A SURVEY:32A "
    "PROGRAMNAME:32A NVISITS:J SNR:E SNREV:E STARFLAG:K STARFLAGS:132A ANDFLAG:K ANDFLAGS:132A VHELIO_AVG:E:km/s "
    "VSCATTER:E:km/s VERR:E:km/s RV_TEFF:E:K RV_LOGG:E:log_(cgs) RV_FEH:E RV_ALPHA:E RV_CARB:E RV_CHI2:E "
    "RV_CCFWHM:E:km/s RV_AUTOFWHM:E:km/s RV_FLAG:J N_COMPONENTS:J MEANFIB:E SIGFIB:E MIN_H:E MAX_H:E {gaia} "
    "ASPCAP_GRID:8A FPARAM_GRID:189E CHI2_GRID:21E FPARAM:9E FPARAM_COV:81E ASPCAP_CHI2:E PARAM:9E PARAM_COV:81E "
    "PARAMFLAG:9K ASPCAPFLAG:K ASPCAPFLAGS:256A FELEM:27E FELEM_ERR:27D X_H:27E X_H_ERR:27E ELEMFLAG:27K EXTRATARG:J "
    "MEMBERFLAG:K MEMBER:10A TEFF:E:K TEFF_ERR:E:K LOGG:E:log_(cgs) LOGG_ERR:E:log_(cgs) M_H:E:dex M_H_ERR:E:dex "
    "ALPHA_M:E:dex ALPHA_M_ERR:E:dex VMICRO:E:(cgs) VMACRO:E:(cgs) VSINI:E:(cgs) TEFF_SPEC:E LOGG_SPEC:E "
    + " ".join(f"{name}:E:dex {name}_SPEC:E {name}_ERR:E:dex {name}_FLAG:J:dex" for name in ABUNDANCES)
)
OF_EDR3 = " ".join(
    ["GAIAEDR3_SOURCE_ID:K", *(f"GAIAEDR3_{name}:E" for name in GAIA)]
    + [f"GAIAEDR3_PHOT_{band}_MEAN_MAG:E" for band in ("G", "BP", "RP")]
    + [f"GAIAEDR3_R_{end}_{kind}:E" for end in ("MED", "LO", "HI") for kind in ("GEO", "PHOTOGEO")]
)
OF_DR2 = " ".join(
    ["GAIA_SOURCE_ID:K", *(f"GAIA_{name}:E" for name in GAIA)]
    + [f"GAIA_PHOT_{band}_MEAN_MAG:E" for band in ("G", "BP", "RP")]
    + ["GAIA_R_EST:D", "GAIA_R_LO:D", "GAIA_R_HI:D"]
)
ALL_VISIT = (
    "APOGEE_ID:30A TARGET_ID:58A VISIT_ID:64A FILE:64A FIBERID:J CARTID:J PLATE:5A MJD:J TELESCOPE:6A SURVEY:32A "
    f"FIELD:20A PROGRAMNAME:32A LOCATION_ID:J RA:D:degrees DEC:D:degrees GLON:D GLAT:D {PHOTOMETRY} {TARGETS} "
    "TARGFLAGS:132A SNR:E STARFLAG:K STARFLAGS:132A DATEOBS:32A JD:D VTYPE:J VREL:E:km/s VRELERR:E:km/s VHELIO:E:km/s "
    "BC:E:km/s RV_TEFF:E:K RV_LOGG:E:log_(cgs) RV_FEH:E RV_CARB:E RV_ALPHA:E XCORR_VREL:E XCORR_VRELERR:E "
    "XCORR_VHELIO:E CCFWHM:E AUTOFWHM:E RV_CHI2:E N_COMPONENTS:J RV_COMPONENTS:3E RV_FLAG:J"
)
ALL_VISIT_SDSS5 = (
    "apogee_id:28A target_id:28A apred_vers:15A file:51A uri:126A fiberid:K plate:15A mjd:K:days telescope:16A "
    "survey:23A field:32A programname:57A healpix:K ra:D:degree dec:D:degree glon:D:degree glat:D:degree jmag:D:mag "
    "jerr:D:mag hmag:D:mag herr:D:mag kmag:D:mag kerr:D:mag src_h:15A pmra:D:mas/yr pmdec:D:mas/yr pm_src:15A "
    "apogee_target1:K catalogid:K sdss_id:K ra_sdss_id:D:degree dec_sdss_id:D:degree sdss5_target_flagshex:124A "
    "gaia_release:13A gaia_plx:D:mas gaia_plx_error:D:mas gaia_pmra:D:mas/yr gaia_pmra_error:D:mas/yr "
    "gaia_pmdec:D:mas/yr gaia_pmdec_error:D:mas/yr gaia_gmag:D:mag gaia_bpmag:D:mag gaia_rpmag:D:mag snr:D starflag:K "
    "starflags:84A dateobs:33A jd:D:days exptime:D:seconds starver:15A bc:D:km/s vtype:K vrel:D:km/s vrelerr:D:km/s "
    "vrad:D:km/s chisq:D rv_teff:D:K rv_feh:D:dex rv_logg:D:log_(cgs) xcorr_vrel:D:km/s xcorr_vrelerr:D:km/s "
    "xcorr_vrad:D:km/s n_components:K rv_components:3D"
)
SP_ALL = (
    "FIELD:K MJD:K OBS:3A MJD_FINAL:D MJD_LIST:107A TAI_LIST:197A RUN2D:6A RUN1D:6A DESIGNS:125A NEXP:I EXPTIME:E:s "
    "TARGET_INDEX:K FIBERID_LIST:71A SPEC_FILE:42A PROGRAMNAME:14A SURVEY:13A FIRSTCARTON:48A SDSS5_TARGET_FLAGS:57B "
    "OBJTYPE:16A CATALOGID:K CATALOGID_V0:K CATALOGID_V0P5:K SDSS_ID:K SPECOBJID:30A CALIBFLUX:5E:nanomaggy MAG:5E "
    "GAIA_G_MAG:E GRI_GAIA_TRANSFORM:K BP_MAG:E RP_MAG:E GAIA_ID:K WISE_MAG:4E TWOMASS_MAG:3E EBV:E "
    "FIBER_RA:D:degrees PLUG_RA:D:degrees PLUG_DEC:D:degrees RACAT:D:degrees DECCAT:D:degrees COORD_EPOCH:E "
    "PMRA:E:mas/year PMDEC:E:mas/year PARALLAX:E:mas FIBER_OFFSET:K XFOCAL:161A:mm ZOFFSET:E:microns HEALPIX:K "
    "HEALPIXGRP:K FIELDQUALITY:4A FIELDSN2:E SN_MEDIAN:5E SN_MEDIAN_ALL:E AIRMASS:E SEEING50:E:arcsecs "
    "MOON_DIST:107A:degrees CLASS:6A SUBCLASS:21A Z:E Z_ERR:E ZWARNING:K RCHI2:E DOF:K TFILE:24A XCSAO_RV:E:km/s "
    "XCSAO_ERV:E:km/s XCSAO_RXC:E XCSAO_TEFF:E:K XCSAO_ETEFF:E:K XCSAO_LOGG:E:cm/s^2 XCSAO_ELOGG:E:cm/s^2 "
    "XCSAO_FEH:E:solar XCSAO_EFEH:E:solar"
)
STARS = ["2M00000002+7417074", "2M00000019-1924498", "2M00000032+5737103", "2M00000068+5710233"]
TELESCOPES = ["apo25m", "lco25m", "apo1m", "apo25m"]


def columns_of(documented: str, given: dict[str, Any]) -> Iterator[fits.Column]:
    """Make columns of the documented formats: with the values that are given, else with 1, or text."""
    for entry in documented.split():
        name, form, *unit = entry.split(":")
        width = int(form[:-1] or 1)
        usual: Any = "x" if form.endswith("A") else [1] * width if width > 1 else 1
        values = given.get(name, [usual] * N_ROWS)
        yield fits.Column(name, form, unit="".join(unit).replace("_", " ") or None, array=np.array(values))


def write(path: Path, documented: str, others: int = 0, **given: Any) -> Path:
    """Write a catalogue; after its table come `others` that it has besides."""
    catalogue = fits.BinTableHDU.from_columns(list(columns_of(documented, given)))
    symbols = fits.BinTableHDU.from_columns([fits.Column("ELEM_SYMBOL", "104A", array=["C N O"])])
    fits.HDUList([fits.PrimaryHDU(), catalogue, *[symbols] * others]).writeto(path)
    return path


def all_star(path: Path, release: str = "dr17") -> Path:
    reduction, gaia = {"dr17": ("dr17", OF_EDR3), "dr16": ("r12", OF_DR2)}[release]
    return write(
        path,
        ALL_STAR.replace("{gaia}", gaia),
        others=1,
        FILE=[
            f"a{'s' if t == 'lco25m' else 'p'}Star-{reduction}-{s}.fits" for t, s in zip(TELESCOPES, STARS, strict=True)
        ],
        APOGEE_ID=STARS,
        TELESCOPE=TELESCOPES,
        FIELD=["120+12", "060-75-C", "M92", "116-04"],
        GAIAEDR3_SOURCE_ID=[11, 12, 0, 14],
        GAIA_SOURCE_ID=[11, 12, 0, 14],
        J=[9.5, 99.999, 10.5, np.nan],
        TEFF=[4000, np.nan, -9999, 5000],
        PARAM=[[4000, 2, 0.1, 0.2, 0.3, -0.1, 0.1, 0, 0]] * N_ROWS,
        FPARAM=[[4100, 2.1, 0.3, 0.25, 0.35, -0.15, 0.15, 0, 0]] * N_ROWS,
        C_FE=[0.5] * N_ROWS,
        FE_H=[-1.0, -9999, 0.25, 0.5],
    )


def all_visit(path: Path, reduction: str = "dr17") -> Path:
    def name(number: int) -> str:
        prefix = "as" if TELESCOPES[number] == "lco25m" else "ap"
        rest = f"56257-{STARS[number]}" if TELESCOPES[number] == "apo1m" else f"5583-56257-{290 + number}"
        return f"{prefix}Visit-{reduction}-{rest}.fits"

    return write(
        path,
        ALL_VISIT,
        FILE=[name(number) for number in range(N_ROWS)],
        APOGEE_ID=STARS,
        TELESCOPE=TELESCOPES,
        PLATE=[" 5583"] * N_ROWS,
        MJD=[56257] * N_ROWS,
        FIBERID=[290 + number for number in range(N_ROWS)],
        DATEOBS=["2012-11-26T04:05:06.789"] * N_ROWS,
        VHELIO=[10.5, -9999.99, 999999, np.inf],
    )


def told(file: ResultFile) -> list[str]:
    """Give what is said of the columns that have a place, once all rows were read."""
    (part,) = file.parts
    (chunk,) = part.chunks()
    assert chunk.problems == []
    assert {why for _, why in part.unplaced} == {NOT_MAPPED}
    return part.notes


def values(model: Any, *names: str) -> list[tuple[Any, ...]]:
    return list(model.select(*(model._meta.fields[name] for name in names)).order_by(model.spectrum_pk).tuples())


def linked(model: Any) -> int:
    """Count spectra that have a source, and a row among all spectra."""
    return (
        model.select()
        .join(Source, on=(Source.pk == model.source_pk))
        .join(Spectrum, on=(Spectrum.pk == model.spectrum_pk))
        .count()
    )


@pytest.mark.parametrize(("release", "reduction", "version"), [("dr17", "dr17", 17), ("dr16", "r12", 16)])
def test_all_star(database: peewee.Database, tmp_path: Path, release: str, reduction: str, version: int) -> None:
    path = all_star(tmp_path / "whatever.fits", release)
    file = open_result_file(path)
    notes = told(file)
    report, again = ingest_result_file(path), ingest_result_file(path, again=True)

    assert (file.release, file.v_astra, file.notes[0]) == (
        release,
        version,
        "HDU 2 is not read: the mapping is for one table",
    )
    assert [note for note in notes if "the file doesn't have" not in note] == []
    assert report.counts() == {"inserted": N_ROWS}
    assert again.counts() == {"unchanged": N_ROWS}
    key = ("release", "apred", "apstar", "obj", "telescope", "field", "prefix")
    assert values(ApogeeCoaddedSpectrumInApStar, *key)[:2] == [
        (release, reduction, "stars", STARS[0], "apo25m", "120+12", "ap"),
        (release, reduction, "stars", STARS[1], "lco25m", "060-75-C", "as"),
    ]
    assert linked(ApogeeCoaddedSpectrumInApStar) == N_ROWS
    results = ASPCAP.select(ASPCAP.teff, ASPCAP.v_astra, ASPCAP.fe_h).order_by(ASPCAP.spectrum_pk).tuples()
    assert list(results) == [(4000, version, -1), (None, version, None), (None, version, 0.25), (5000, version, 0.5)]
    first = ASPCAP.select().order_by(ASPCAP.spectrum_pk).get()
    measured = (first.c_h, first.c_m_atm, first.raw_v_micro, first.raw_alpha_m_atm, first.v_micro)
    assert measured == pytest.approx((-0.5, 0.3, 10**0.3, 0.15, 1))


@pytest.mark.parametrize(("release", "column"), [("dr17", "gaia_dr3_source_id"), ("dr16", "gaia_dr2_source_id")])
def test_the_stars_of_all_star(database: peewee.Database, tmp_path: Path, release: str, column: str) -> None:
    ingest_result_file(all_star(tmp_path / "whatever.fits", release))

    stars = list(Source.select().order_by(Source.sdss4_apogee_id))
    assert [getattr(star, column) for star in stars] == [11, 12, None, 14]
    assert [star.j_mag for star in stars] == [9.5, None, 10.5, None]
    assert {(star.r_med_geo, star.ebv_sfd, star.plx, star.sdss4_apogee_member_flags) for star in stars} == {
        (1, 1, 1, 1)
    }


def test_two_releases_of_all_star_share_their_stars(database: peewee.Database, tmp_path: Path) -> None:
    for release in ("dr16", "dr17"):
        ingest_result_file(all_star(tmp_path / f"{release}.fits", release))

    assert Source.select().count() == N_ROWS
    assert ApogeeCoaddedSpectrumInApStar.select().count() == ASPCAP.select().count() == 2 * N_ROWS
    assert RejectedResult.select().count() == 0


@pytest.mark.parametrize(("reduction", "release"), [("dr17", "dr17"), ("r12", "dr16")])
def test_all_visit(database: peewee.Database, tmp_path: Path, reduction: str, release: str) -> None:
    path = all_visit(tmp_path / "whatever.fits", reduction)
    assert told(open_result_file(path)) == []
    report, again = ingest_result_file(path), ingest_result_file(path, again=True)

    assert (report.counts(), again.counts()) == ({"inserted": N_ROWS}, {"unchanged": N_ROWS})
    key = ("release", "apred", "plate", "telescope", "mjd", "fiber", "prefix", "reduction")
    assert values(ApogeeVisitSpectrum, *key) == [
        (release, reduction, "5583", "apo25m", 56257, 290, "ap", ""),
        (release, reduction, "5583", "lco25m", 56257, 291, "as", ""),
        (release, reduction, "5583", "apo1m", 56257, 292, "ap", STARS[2]),
        (release, reduction, "5583", "apo25m", 56257, 293, "ap", ""),
    ]
    measured = ("v_rel", "xcorr_v_rad", "ccfwhm", "autofwhm", "doppler_rchi2", "doppler_logg")
    assert set(values(ApogeeVisitSpectrum, *measured)) == {(1.0,) * len(measured)}
    assert linked(ApogeeVisitSpectrum) == N_ROWS


def test_all_visit_of_sdss5(database: peewee.Database, tmp_path: Path) -> None:
    path = write(
        tmp_path / "whatever.fits",
        ALL_VISIT_SDSS5,
        apogee_id=STARS,
        apred_vers=["1.3"] * N_ROWS,
        file=[f"apVisit-1.3-apo25m-15000-59146-{number:03d}.fits" for number in range(N_ROWS)],
        telescope=["apo25m"] * N_ROWS,
        plate=["15000"] * N_ROWS,
        mjd=[59146] * N_ROWS,
        fiberid=list(range(N_ROWS)),
        sdss_id=[54392544, 54392545, -1, 54392547],
        catalogid=[4_544_040_696 + number for number in range(N_ROWS)],
        dateobs=["2020-10-24T01:02:03.456"] * N_ROWS,
    )
    assert told(open_result_file(path)) == []
    report = ingest_result_file(path)

    assert (report.kind, report.counts()) == ("APOGEE allVisit of SDSS-V", {"inserted": N_ROWS})
    key = ("release", "apred", "plate", "mjd", "fiber", "prefix", "reduction")
    assert values(ApogeeVisitSpectrum, *key)[1] == ("sdss5", "1.3", "15000", 59146, 1, "ap", "")
    assert [star.sdss_id for star in Source.select().order_by(Source.sdss4_apogee_id)] == [
        54392544,
        54392545,
        None,
        54392547,
    ]
    assert linked(ApogeeVisitSpectrum) == N_ROWS


def test_sp_all(database: peewee.Database, tmp_path: Path) -> None:
    flags = np.zeros((N_ROWS, 57), np.uint8)
    flags[1, 3] = 4
    path = write(
        tmp_path / "whatever.fits",
        SP_ALL,
        FIELD=[15000 + number for number in range(N_ROWS)],
        MJD=[59146] * N_ROWS,
        OBS=["APO", "LCO", "APO", "APO"],
        RUN2D=["v6_1_3"] * N_ROWS,
        SPEC_FILE=["spec-15000-59146-27021597775.fits"] * N_ROWS,
        CATALOGID=[27_021_597_775, 27_021_597_776, 27_021_597_777, -999],
        SDSS_ID=[54392544, 54392545, -999, -999],
        GAIA_ID=[101, -999, 0, -999],
        CATALOGID_V0=[-999] * N_ROWS,
        CATALOGID_V0P5=[-999] * N_ROWS,
        SDSS5_TARGET_FLAGS=flags,
        TWOMASS_MAG=[[9, 8, 7]] * N_ROWS,
        XCSAO_LOGG=[4.5] * N_ROWS,
        XCSAO_FEH=[-0.5] * N_ROWS,
        RACAT=[10.5] * N_ROWS,
    )
    notes = told(open_result_file(path))
    report = ingest_result_file(path)

    assert [note for note in notes if "the file doesn't have" not in note] == []
    assert (report.counts(), report.rejected) == ({"inserted": N_ROWS - 1}, 1)
    [reason] = report.reasons
    assert reason.startswith("catalogid is missing; it has no identifier of a source")
    key = ("release", "run2d", "fieldid", "mjd", "catalogid", "telescope", "spec_file")
    assert values(BossVisitSpectrum, *key)[:2] == [
        ("sdss5", "v6_1_3", 15000, 59146, 27_021_597_775, "apo25m", "spec-15000-59146-27021597775.fits"),
        ("sdss5", "v6_1_3", 15001, 59146, 27_021_597_776, "lco25m", "spec-15000-59146-27021597775.fits"),
    ]
    assert set(values(BossVisitSpectrum, "xcsao_logg", "xcsao_fe_h", "seeing", "fiber_offset")) == {
        (4.5, -0.5, 1, True)
    }
    stars = list(Source.select().order_by(Source.catalogid))
    assert [(star.sdss_id, star.gaia_dr2_source_id) for star in stars] == [
        (54392544, 101),
        (54392545, None),
        (None, None),
    ]
    assert {(star.ra, star.j_mag, star.h_mag, star.k_mag) for star in stars} == {(10.5, 9, 8, 7)}
    assert bytes(stars[1].sdss5_target_flags) == flags[1].tobytes()
    assert linked(BossVisitSpectrum) == N_ROWS - 1


def test_an_older_all_star_is_not_taken_for_one_of_these(tmp_path: Path) -> None:
    path = write(tmp_path / "allStar-l31c.2.fits", ALL_STAR.replace("{gaia}", ""))
    with pytest.raises(UnrecognizedFileError, match="no file of results that is known"):
        open_result_file(path)
