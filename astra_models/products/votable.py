"""VOTables: what a column holds is said in the words of the Virtual Observatory, so that its tools know it.

The version is 1.3, where units are written as the CDS has them: ``[cm.s-2]`` is a logarithm. Version 1.4 has no way to
write that which astropy knows.
"""

import re
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from astra_models.columns.typed import BOOLEAN, BYTES, MOMENT, TEXT
from astra_models.products.flag_bits import described
from astra_models.products.query import OutColumn, Selection

if TYPE_CHECKING:
    from astropy.units import UnitBase

VERSION = "1.3"
TIMESTAMP = "timestamp"

_BANDS = {
    "u": "em.opt.U", "b": "em.opt.B", "v": "em.opt.V", "g": "em.opt", "r": "em.opt.R", "i": "em.opt.I",
    "z": "em.opt.I", "y": "em.opt.I", "bp": "em.opt.B", "rp": "em.opt.R", "j": "em.IR.J", "h": "em.IR.H",
    "k": "em.IR.K", "w1": "em.IR.3-4um", "w2": "em.IR.4-8um",
}  # fmt: skip
_BAND = "|".join(_BANDS)

UCDS: tuple[tuple[str, str], ...] = (
    (r"ra", "pos.eq.ra;meta.main"),
    (r"dec", "pos.eq.dec;meta.main"),
    (r"\w+_ra|racat", "pos.eq.ra"),
    (r"\w+_dec|deccat", "pos.eq.dec"),
    (r"l", "pos.galactic.lon"),
    (r"b", "pos.galactic.lat"),
    (r"healpix", "pos.healpix"),
    (r"plx", "pos.parallax"),
    (r"pmra", "pos.pm;pos.eq.ra"),
    (r"pmde", "pos.pm;pos.eq.dec"),
    (r"sdss_id", "meta.id;meta.main"),
    (r"\w+_(id|pk)|catalogid\d*|pk", "meta.id"),
    (r"\w*flags?|flag_\w+", "meta.code"),
    (r"(\w+_)?v_astra\w*|release|apred|run2d", "meta.version"),
    (r"(source_)?created", "time.creation"),
    (r"(source_)?modified", "time.processing"),
    (r"(\w+_)?mjd|jd", "time.epoch"),
    (r"exptime", "time.duration;obs.exposure"),
    (r"t_elapsed|t_overhead", "time.duration"),
    (r"airmass", "obs.airMass"),
    (r"seeing", "instr.obsty.seeing"),
    (r"telescope", "instr.tel"),
    (r"fieldid|field|plate|plateid", "meta.id;obs.field"),
    (r"rho_\w+", "stat.correlation"),
    (r"(\w+_)?(rchi2|chi2)", "stat.fit.chi2"),
    (r"snr", "stat.snr"),
    (r"p_\w+(?<!_h)", "stat.probability"),
    (r"n_\w+(?<!_h)(?<!_fe)(?<!_m)(?<!_atm)", "meta.number"),
    (r"(\w+_)?teff", "phys.temperature.effective"),
    (r"(\w+_)?logg", "phys.gravity"),
    (r"(\w+_)?v_sini", "phys.veloc.rotat"),
    (r"(\w+_)?v_(micro|macro|turb)", "phys.veloc.microTurb"),
    (r"(\w+_)?v_(rad|rel)", "spect.dopplerVeloc"),
    (r"(\w+_)?(fe_h|m_h|m_h_atm|fe_h_niu)", "phys.abund.Z"),
    (r"(raw_|initial_|coarse_)?([a-z]{1,2}|alpha|c_1|ti_2)_(h|fe|m|m_atm)", "phys.abund"),
    (r"(raw_)?(c_12_13|c12_c13)", "phys.abund"),
    (r"element", "phys.atmol.element"),
    (r"(eqw|abs)_percentiles_\w+", "stat.percentile;spect.line"),
    (r"eqw_\w+", "spect.line.eqWidth"),
    (r"abs_\w+", "spect.line.intensity"),
    (r"detection_raw_\w+|zgr_\w+_confidence", "stat.confidenceLevel"),
    (r"detection_stat_\w+", "meta.code;spect.line"),
    (r"ebv\w*", "phot.color.excess"),
    (r"mass", "phys.mass"),
    (r"radius", "phys.size.radius"),
    (r"dist", "pos.distance"),
    (r"r_med_(photo)?geo", "pos.distance;stat.median"),
    (r"r_(lo|hi)_(photo)?geo", "stat.percentile;pos.distance"),
    (r"w1_flux", "phot.flux.density;em.IR.3-4um"),
    (r"w2_flux", "phot.flux.density;em.IR.4-8um"),
    (r"w1_dflux", "stat.error;phot.flux.density;em.IR.3-4um"),
    (r"w2_dflux", "stat.error;phot.flux.density;em.IR.4-8um"),
    (r"mag4_5", "phot.mag;em.IR.4-8um"),
    (r"d4_5m", "stat.error;phot.mag;em.IR.4-8um"),
    (r"rms_f4_5", "stat.stdev;phot.flux.density;em.IR.4-8um"),
    (r"continuum", "phot.flux.density;em.opt"),
    (r"A_k_mag", "phys.absorption;em.IR.K"),
    (r"zgr_e", "phys.absorption"),
    (r"zgr_plx", "pos.parallax"),
    (r"L_fakemag", "phys.luminosity"),
    (r"bn_v_r", "spect.dopplerVeloc"),
    (r"bc", "phys.veloc"),
    (r"spectral_type|sub_type", "src.spType"),
    (r"classification", "src.class"),
    (r"motion", "pos.pm"),
    (r"cell", "pos.healpix"),
    (r"alt", "pos.az.alt"),
    (r"az", "pos.az.azi"),
    (r"moon_dist_mean", "pos.angDistance"),
    (r"airtemp|dewpoint", "phys.temperature;obs.atmos"),
    (r"pressure", "phys.pressure;obs.atmos"),
    (r"humidity", "obs.atmos.humidity"),
    (r"(wind|gust)_speed", "phys.veloc;obs.atmos.wind"),
    (r"(wind|gust)_direction", "pos.az.azi;obs.atmos.wind"),
    (r"skychi2|schi2(min|max)", "stat.fit.chi2"),
    (r"log10_W|continuum_theta", "stat.fit.param"),
    (r"date_obs|tai_beg|started|taken", "time.start"),
    (r"tai_end|ended|expires", "time.end"),
    (r"looked|mtime_ns", "time.epoch"),
    (r"f_night_time", "time.phase"),
    (r"(core_)?seconds|ferre_time_\w+", "time.duration"),
    (r"ph_qual|sqf_4_5", "meta.code.qual"),
    (r"bl_flg|cc_flg|mf4_5|csf|filetype|apstar|prefix|proftype|f_access|f_format", "meta.code"),
    (r"dithered|assigned|on_target|valid|fps|in_stack|fiber_offset|success|optimality", "meta.code"),
    (r"status|ier", "meta.code.status"),
    (r"fiber|cartid|mapid|slitid", "meta.id;instr"),
    (r"obj|reduction|ferre_name|name|identity|newest_visit|(first|last)_key", "meta.id"),
    (r"templates|template_grid|network|trained_model|classifier", "meta.id;meta.modelled"),
    (r"ferre_index", "meta.record"),
    (r"sha256|content|mapping|recipe", "meta.checksum"),
    (r"(spectrum_|upstream_)?revision|git_revision|starver|reader|version|python", "meta.version"),
    (r"rows|inserted|updated|unchanged|rejected|kept|due|answered|spectra|workers|nfev|ferre_n_obj", "meta.number"),
    (r"size", "phys.size;meta.file"),
    (r"message|reason|traceback|refused", "meta.note"),
    (r"spec_file|header_path|weight_path", "meta.ref;meta.file"),
    (r"tag|note|comment", "meta.note"),
    (r"path|pwd", "meta.ref"),
)
"""By the pattern of a column's whole name, its UCD1+; the first that matches counts. An error has what it is of."""


_UNLIKE = (MOMENT, BYTES, BOOLEAN)
"""Kinds whose values astropy reads from Parquet as another type than a VOTable's, and then refuses the whole file."""

_DATATYPES = {
    "text": ("unicodeChar", "*"), "bytea": ("unsignedByte", "*"), "real[]": ("float", "*"),
    "boolean": ("boolean", None), "integer": ("int", None), "bigint": ("long", None), "real": ("float", None),
    "double precision": ("double", None), "timestamptz": ("char", "*"),
}  # fmt: skip


def ucd_of(name: str) -> str | None:
    """Give the UCD1+ of a column by its name; None if none is known.

    Parameters
    ----------
    name : str
        The column's name.
    """
    if error := re.fullmatch(r"(\w*?_)?e_(\w+)", name):
        measured = ucd_of(f"{error[1] or ''}{error[2]}")
        return f"stat.error;{measured.removesuffix(';meta.main')}" if measured else None
    if band := re.fullmatch(rf"({_BAND})(_sdss|_jkc|_ps1)?_mag", name):
        return f"phot.mag;{_BANDS[band[1]]}"
    return next((ucd for pattern, ucd in UCDS if re.fullmatch(pattern, name)), None)


def votable_with_rows(table: Any, selection: Selection, told: Mapping[str, str]) -> bytes:
    """Give a table as VOTable, with a PARAM for each thing that is told of it.

    Parameters
    ----------
    table : astropy.table.Table
        The table; its columns are changed.
    selection : Selection
        What they are.
    told : mapping of str to str
        What is said of the table.
    """
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Param

    units = {}
    for name in (column.name for column in selection.columns if column.kind is MOMENT):
        table.replace_column(name, _in_ascii(table[name]))  # an xtype of time is of char, not of unicodeChar
    for name in table.colnames:
        if table[name].dtype in ("U1", "S1"):  # a length of 1 is written in a way that readers warn of
            table.replace_column(name, table[name].astype(f"{table[name].dtype.kind}2"))
    for column in table.itercols():
        units[column.info.name], column.unit = _unit(column.unit), None
    file = from_table(table)
    file.version = VERSION
    (written,) = file.iter_tables()
    columns = {column.name: column for column in selection.columns}
    for name, value in told.items():
        file.resources[0].params.append(
            Param(file, ID=f"about_{name}", name=name, datatype="char", arraysize="*", value=str(value))
        )
    for field in written.fields:
        _describe(field, columns[field.name], units[field.name])
    written.name = told.get("table")
    file.set_all_tables_format("binary2")
    text = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file.to_xml(text)
    return text.getvalue()


def _in_ascii(column: Any) -> Any:
    from astropy.table import MaskedColumn

    values, mask = np.char.encode(np.ma.getdata(column).astype(str), "ascii"), np.ma.getmaskarray(column)
    return MaskedColumn(values, mask=mask, description=column.description)


def votable_of(selection: Selection, told: Mapping[str, str], lengths: Mapping[str, int]) -> str:
    """Give a VOTable without rows that describes columns: the metadata of a VOParquet file.

    Parameters
    ----------
    selection : Selection
        The columns.
    told : mapping of str to str
        What is said of the table, a PARAM each.
    lengths : mapping of str to int
        How long the longest text of a column is.
    """
    from astropy.io.votable.tree import Field, Param, Resource, TableElement, VOTableFile
    from astropy.units import Unit

    file = VOTableFile(version=VERSION)
    resource = Resource()
    table = TableElement(file, name=told.get("table"))
    file.resources.append(resource)
    resource.tables.append(table)
    for name, value in told.items():
        resource.params.append(
            Param(file, ID=f"about_{name}", name=name, datatype="char", arraysize="*", value=str(value))
        )
    for column in selection.columns:
        if column.kind in _UNLIKE:
            continue
        datatype, size = _DATATYPES.get(column.kind.sql, ("double", None))
        size = str(max(lengths.get(column.name, 2), 2)) if column.kind is TEXT else size
        field = Field(file, ID=column.name, name=column.name, datatype=datatype, arraysize=size)
        _describe(field, column, _unit(Unit(column.unit)) if column.unit else None)
        table.fields.append(field)
    text = BytesIO()
    file.to_xml(text)
    return text.getvalue().decode()


def _describe(field: Any, column: OutColumn, unit: "UnitBase | str | None") -> None:
    """Say of a field what its column holds."""
    field._config = {**field._config, "version_1_4_or_later": False}
    description = described(column) or column.name
    if isinstance(unit, str):
        description, unit = f"{description} [{unit}]", None
    field.description = description
    field.unit = unit
    field.ucd = ucd_of(column.name)
    if column.kind is MOMENT:
        field.xtype = TIMESTAMP
    if column.kind is BOOLEAN:  # a single bit, as astropy has it, is nothing that STILTS reads
        field.datatype = "boolean"


def _unit(unit: "UnitBase | None") -> "UnitBase | str | None":
    """Give a unit that CDS's standard can write, or else its text."""
    from astropy import units

    if unit is None or unit == units.dimensionless_unscaled:
        return None
    unit = units.dex(units.one) if unit == units.dex else unit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            units.Unit(unit.to_string("cds"), format="cds")
    except (ValueError, units.UnitsWarning):
        return str(unit)
    return unit
