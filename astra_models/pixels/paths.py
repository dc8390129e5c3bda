"""Where files are: paths as users write them, and places in the survey's tree of products.

A spectrum's row names its file, or its kind has a template that the row fills. Templates begin at a root, ``{sas}`` or
``{astra}``, which the configuration says, by default through environment variables::

    products:
      sas: $SAS_BASE_DIR     # everything but Astra's own products
      astra: $MWM_ASTRA      # Astra's own

Templates are chosen by release, or by release and reduction (``"sdss5 v6_2*"``); the first whose pattern fits counts.
"""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import ClassVar, Protocol

from astra_models.configuration import expand_path, kind_of, read_configuration, shown_key
from astra_models.errors import ConfigurationError, MissingPixelsError
from astra_models.version import version_integer_to_string

ROOTS = {"sas": "$SAS_BASE_DIR", "astra": "$MWM_ASTRA"}

_SDSSWORK = "{sas}/sdsswork/mwm/apogee/spectro/redux/{apred}"
_PUBLIC = "{sas}/{release}/spectro/apogee/redux/{apred}"
_SDSS4 = "{sas}/{release}/apogee/spectro/redux/{apred}"
_VISIT = "visit/{telescope}/{field}/{plate}/{mjd}"
_VISIT_NAME = "apVisit-{apred}-{telescope}-{plate}-{mjd}-{fiber:0>3}.fits"
_STAR = "{apstar}/{telescope}/{healpix_group}/{healpix}/apStar-{apred}-{telescope}-{obj}.fits"

APOGEE_VISIT = {
    "sdss5": f"{_SDSSWORK}/{_VISIT}/{_VISIT_NAME}",
    "dr1[67]": f"{_SDSS4}/{_VISIT}/{{prefix}}Visit-{{apred}}-{{plate}}-{{mjd}}-{{fiber:0>3}}.fits",
    "dr19": f"{_PUBLIC}/{_VISIT}/{_VISIT_NAME}",
    "dr2?": f"{_PUBLIC}/{_VISIT}/{_VISIT_NAME}",
}
APOGEE_STAR = {
    "sdss5": f"{_SDSSWORK}/{_STAR}",
    "dr1[67]": f"{_SDSS4}/{{apstar}}/{{telescope}}/{{field}}/{{prefix}}Star-{{apred}}-{{obj}}.fits",
    "dr19": f"{_PUBLIC}/{_STAR}",
    "dr2?": f"{_PUBLIC}/{_STAR}",
}
_BOSS_REDUX = "{sas}/sdsswork/bhm/boss/spectro/redux/{run2d}/spectra"
BOSS_VISIT = {
    "sdss5 v6_0_[1234]": f"{_BOSS_REDUX}/full/{{fieldid}}p/{{mjd}}/{{spec_file}}",
    "sdss5 v6_2*": f"{_BOSS_REDUX}/daily/full/{{field_group}}/{{fieldid:0>6}}/{{mjd}}/{{spec_file}}",
    "sdss5": f"{_BOSS_REDUX}/full/{{fieldid:0>6}}/{{mjd}}/{{spec_file}}",
    "dr[89]": "{sas}/{release}/sdss/spectro/redux/{run2d}/spectra/{fieldid:0>4}/{spec_file}",
    "dr1[34567]": "{sas}/{release}/eboss/spectro/redux/{run2d}/spectra/full/{fieldid:0>4}/{spec_file}",
    "dr18": "{sas}/{release}/spectro/sdss/redux/{run2d}/spectra/full/{fieldid:0>4}p/{mjd}/{spec_file}",
    "dr19": "{sas}/{release}/spectro/boss/redux/{run2d}/spectra/full/{fieldid:0>6}/{mjd}/{spec_file}",
    "dr2?": "{sas}/{release}/spectro/boss/redux/{run2d}/spectra/full/{fieldid:0>6}/{mjd}/{spec_file}",
}
MWM_STAR = {"*": "{astra}/{version}/spectra/star/{sdss_id_groups}/mwmStar-{version}-{sdss_id}.fits"}
MWM_VISIT = {"*": "{astra}/{version}/spectra/visit/{sdss_id_groups}/mwmVisit-{version}-{sdss_id}.fits"}

_DERIVED = {
    "version": ("v_astra", version_integer_to_string),
    "field_group": ("fieldid", lambda fieldid: f"{fieldid // 1000:03d}XXX"),
    "healpix_group": ("healpix", lambda healpix: str(healpix // 1000)),
    "sdss_id_groups": ("sdss_id", lambda sdss_id: f"{sdss_id // 100 % 100:02d}/{sdss_id % 100:02d}"),
}


class RowInTree(Protocol):
    """A spectrum whose model says where its file is in the survey's tree."""

    path_templates: ClassVar[Mapping[str, str]]
    spectrum_pk: int | None


def fill_path(row: RowInTree) -> str:
    """Give the place of a spectrum's file in the survey's tree.

    Parameters
    ----------
    row : SpectrumMixin
        A spectrum; its model has templates by release.

    Raises
    ------
    MissingPixelsError
        If there is no template for its release, or a column that the template needs is empty.
    ConfigurationError
        If the root of the tree is not configured, or by a variable that isn't set.
    """
    who = f"{type(row).__name__} with spectrum_pk {row.spectrum_pk} has no file: its 'path' is not set"
    release = getattr(row, "release", None)
    of_reduction = f"{release} {getattr(row, 'run2d', '')}"
    fitting = (
        text
        for pattern, text in row.path_templates.items()
        if fnmatchcase(of_reduction if " " in pattern else str(release), pattern)
    )
    template = next(fitting, None) if release is not None else None
    if template is None:
        known = ", ".join(row.path_templates) or "none"
        raise MissingPixelsError(f"{who}, and the place of release {release!r} is not known (known: {known})")
    try:
        return template.format_map(_Parts(row))
    except _EmptyColumnError as error:
        raise MissingPixelsError(f"{who}, and its place in the tree can't be told without its {error}") from None


class _EmptyColumnError(Exception):
    """A column that a template needs."""


class _Parts:
    """What a template may name: roots, columns of the row, and what follows from them."""

    def __init__(self, row: RowInTree):
        self._row = row

    def __getitem__(self, name: str) -> object:
        if name in ROOTS:
            return product_root(name)
        column, derive = _DERIVED.get(name, (name, None))
        value = getattr(self._row, column)
        if value is None:
            raise _EmptyColumnError(column)
        return value if derive is None else derive(value)


def product_root(name: str) -> str:
    """Give the folder that a root stands for.

    Parameters
    ----------
    name : str
        One of `ROOTS`.

    Raises
    ------
    ConfigurationError
        If it is not configured, or by a variable that isn't set.
    """
    settings = ("ASTRA_CONFIG_PATH", "XDG_CONFIG_HOME", "HOME")
    return expand_path(_configured_roots(*(os.environ.get(setting) for setting in settings))[name])


@lru_cache(maxsize=8)
def _configured_roots(*_: str | None) -> dict[str, str]:
    """Read the roots from the configuration, once for every place that it may be in."""
    section = read_configuration().get("products") or {}
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"products: is {kind_of(section)}, and is not a mapping of names to folders")
    if unknown := section.keys() - ROOTS.keys():
        names = ", ".join(sorted(map(shown_key, unknown)))
        raise ConfigurationError(f"products: has {names}, but takes only {' and '.join(ROOTS)}, which name folders")
    return ROOTS | {name: os.path.expanduser(str(folder)) for name, folder in section.items()}
