"""Smaller shapes, one each."""

import os
import types
from collections import namedtuple
from collections.abc import Iterable
from pathlib import Path

from survey_astra import task
from survey_astra.models import BossNet, MDwarfType, Slam, SpectrumMixin, TheCannon, Unpublished
from survey_astra.utils import expand_path

AT_IMPORT = expand_path("$MWM_ASTRA/pipelines/others")


@task
def mdwarftype(spectra: Iterable[SpectrumMixin], template_list: str = "$MWM_ASTRA/t.list") -> Iterable[MDwarfType]:
    """Give lists of a batch."""
    yield from [
        MDwarfType.from_spectrum(spectrum, spectral_type="M5", sub_type=5.0, rchi2=float(len(spectra)))
        for spectrum in spectra
    ]


@task
def clam(spectra, page=None, limit=None, max_nfev=100) -> Iterable[Slam]:
    """Have no annotation."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=float(max_nfev))


@task
def the_cannon(spectra: Iterable[SpectrumMixin], model_path: str, page=None) -> Iterable[TheCannon]:
    """Need a file of a model."""
    for spectrum in spectra:
        yield TheCannon(
            spectrum_pk=spectrum.spectrum_pk, source_pk=spectrum.source_pk, teff=float(Path(model_path).read_text())
        )


@task
def best(release="sdss5") -> Iterable[BossNet]:
    """Take no input: ask tables, and give a row for each result in them."""
    for row in Slam.select():
        yield BossNet(spectrum_pk=row.spectrum_pk, source_pk=row.source_pk, teff=row.teff + 1)


@task
def hiding(spectra: Iterable[SpectrumMixin]) -> Iterable[Slam]:
    """Skip what fails without a word."""
    for spectrum in spectra:
        try:
            if spectrum.mjd == 1:
                raise RuntimeError("hidden")
            yield Slam.from_spectrum(spectrum, teff=1.0)
        except:  # noqa: E722
            pass


@task
def writing(spectra: Iterable[SpectrumMixin]) -> Iterable[Slam]:
    """Write a file for each spectrum, and say where the first variable leads."""
    for spectrum in spectra:
        path = Path(expand_path(f"$MWM_ASTRA/0.8.0/pipelines/writing/{spectrum.spectrum_pk}.txt"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(os.environ.get("SURVEY_SCRATCH", ""))
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def of_any_kind(spectra: Iterable[SpectrumMixin]) -> Iterable[BossNet]:
    """Give mappings, named tuples and objects in turn."""
    row = namedtuple("row", "spectrum_pk source_pk teff")
    for n, spectrum in enumerate(spectra):
        keys = {"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk}
        if n % 3 == 0:
            yield keys | {"teff": 1.0, "flag_runtime_exception": True, "v_astra": "0.1.0", "created": "never"}
        elif n % 3 == 1:
            yield row(*keys.values(), 2.0)
        else:
            yield types.SimpleNamespace(**keys, teff=3.0)


@task
def unknown_name(spectra: Iterable[SpectrumMixin]) -> Iterable[BossNet]:
    """Give a value for which there is no column."""
    for spectrum in spectra:
        yield {"spectrum_pk": spectrum.spectrum_pk, "tefff": 1.0}


@task
def unpublished(spectra: Iterable[SpectrumMixin]) -> Iterable[Unpublished]:
    """Give results for a table that there isn't."""
    for spectrum in spectra:
        yield Unpublished.from_spectrum(spectrum, teff=1.0)


@task
def storing(spectra: Iterable[SpectrumMixin]) -> Iterable[Slam]:
    """Write to the database by itself."""
    for spectrum in spectra:
        Slam.create(spectrum_pk=spectrum.spectrum_pk, source_pk=spectrum.source_pk, teff=1.0)
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def going_over_twice(spectra: Iterable[SpectrumMixin]) -> Iterable[Slam]:
    """Ask how many there are, go over them twice, and pick one."""
    n = len(spectra)
    assert [spectrum.spectrum_pk for spectrum in spectra][-1] == spectra[n - 1].spectrum_pk
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=float(n))


@task
def giving_a_list(spectra: Iterable[SpectrumMixin]) -> Iterable[Slam]:
    """Return what others yield."""
    return [Slam.from_spectrum(spectrum, teff=1.0) for spectrum in spectra]
