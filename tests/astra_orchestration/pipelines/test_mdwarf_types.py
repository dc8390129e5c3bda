"""MDwarfType: synthetic templates and spectra of known types, and PyHammer's M5 template beside real spectra."""

import numpy as np
import pytest
from astropy.io import fits

from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import NotSetUpError
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import BossCombinedSpectrum
from astra_orchestration.pipelines.mdwarftype import mdwarftype
from astra_orchestration.pipelines.mdwarftype.matching import match
from astra_orchestration.pipelines.mdwarftype.templates import (
    LOG_WAVELENGTH,
    TemplatesError,
    load_templates,
)

WAVELENGTH = 10**LOG_WAVELENGTH
TYPES = ("K5.0", "K7.0", "M0.0", "M2.0", "M4.0", "M6.0", "M8.0")


def made_up(spectral_type, sub_type=0.0):
    """Give a spectrum whose molecular bands get deeper with the type, and whose calcium lines do with the sub-type."""
    number = float(spectral_type[1:]) + (0 if spectral_type[0] == "K" else 10)
    flux = (WAVELENGTH / 7500) ** (0.4 * number - 3)
    for head, width in ((4761, 200), (5167, 250), (6150, 200), (6651, 120), (7053, 200), (7589, 250), (8432, 150)):
        band = (head < WAVELENGTH) & (head + 3 * width > WAVELENGTH)
        depth = np.clip(0.06 * (number - 4), 0.02, 0.9)
        flux = flux * np.where(band, 1 - depth * np.exp(-(WAVELENGTH - head) / width), 1)
    for line in (8500, 8544, 8664):
        flux = flux * (1 - (0.3 + 0.2 * sub_type) * np.exp(-0.5 * ((WAVELENGTH - line) / 4) ** 2))
    return flux


def write_csv(folder, spectral_type, sub_type):
    path = folder / f"template_{spectral_type}_{sub_type}.csv"
    flux = made_up(spectral_type, sub_type)
    pairs = zip(LOG_WAVELENGTH.tolist(), flux.tolist(), strict=True)
    rows = (f"{number},{log!r},{value!r}" for number, (log, value) in enumerate(pairs))
    path.write_text("\n".join([",loglam,flux", *rows, ""]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    for spectral_type in TYPES:
        for sub_type in (-0.5, 0.0, 0.5):
            write_csv(folder, spectral_type, sub_type)
    return folder


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "products"))
    monkeypatch.delenv("ASTRA_MDWARFTYPE_TEMPLATES", raising=False)


def spectrum_of(flux, snr=15, pk=1, kind=BossCombinedSpectrum, v_rad=0.0, seed=1, **columns):
    random = np.random.default_rng(seed)
    spectrum = kind(spectrum_pk=pk, source_pk=None, **columns)
    flux = 40 * np.interp(WAVELENGTH, WAVELENGTH * (1 + v_rad / 299_792.458), flux)
    error = np.abs(np.median(flux)) / snr
    spectrum.wavelength = WAVELENGTH
    spectrum.flux = flux + random.normal(size=flux.shape) * error
    spectrum.ivar = np.full(flux.shape, error**-2.0)
    return spectrum


def typed(spectra, templates, **parameters):
    return list(mdwarftype(spectra, write_to_database=False, templates=templates, **parameters))


# ---- types


@pytest.mark.parametrize("spectral_type", TYPES)
def test_types_come_back(folder, spectral_type):
    results = typed([spectrum_of(made_up(spectral_type, 0.5), seed=seed) for seed in range(5)], folder)
    assert {row.spectral_type for row in results} == {spectral_type}
    assert all(row.rchi2 == pytest.approx(1, abs=0.1) for row in results)
    assert all(row.flag_not_m_dwarf == (spectral_type == "K5.0") == row.flag_bad for row in results)


def test_sub_types_come_back_where_there_is_light_enough(folder):
    results = typed([spectrum_of(made_up("M4.0", sub), snr=60, seed=3) for sub in (-0.5, 0.0, 0.5)], folder)
    assert [row.sub_type for row in results] == [-0.5, 0, 0.5]
    assert results[0].templates.startswith(f"{folder.name} ")


def test_neither_the_level_nor_a_smooth_distortion_counts(folder):
    bent = made_up("M2.0") * 1e-3 * (1 + 0.4 * np.linspace(-1, 1, len(WAVELENGTH)))
    [row] = typed([spectrum_of(bent)], folder)
    assert row.spectral_type == "M2.0"
    some = (WAVELENGTH >= 7495) & (WAVELENGTH <= 7505)
    assert row.continuum == pytest.approx(40 * bent[some].mean(), rel=0.1)


def test_visits_are_shifted_by_their_velocity(folder):
    moving = [
        spectrum_of(made_up("M4.0", 0.5), 60, kind=BossVisitSpectrum, v_rad=400, xcsao_v_rad=velocity)
        for velocity in (400.0, None)
    ]
    known, unknown = typed(moving, folder)
    assert (known.spectral_type, known.sub_type) == ("M4.0", 0.5)
    assert known.rchi2 < 1.2 < unknown.rchi2


def test_matching_all_at_once_is_matching_one_by_one(folder):
    templates = load_templates(folder)
    spectrum = spectrum_of(made_up("M3.0"))
    found = match(templates, WAVELENGTH, spectrum.flux, spectrum.ivar)
    x = 2 * (WAVELENGTH - WAVELENGTH[1]) / (WAVELENGTH[-2] - WAVELENGTH[1]) - 1
    known = np.isfinite(templates.flux).all(axis=0)
    weight = np.sqrt(spectrum.ivar[known])
    for place in (0, 7, 20):
        design = (templates.flux[place] * x ** np.arange(3)[:, None]).T[known]
        terms, *_ = np.linalg.lstsq(design * weight[:, None], spectrum.flux[known] * weight, rcond=None)
        chi2 = np.sum(((spectrum.flux[known] - design @ terms) * weight) ** 2)
        assert found.rchi2[place] == pytest.approx(chi2 / (known.sum() - 3), rel=2e-3)


def test_bad_pixels_dont_count_and_too_few_good_ones_are_told(folder):
    spoiled, empty, upside_down = (spectrum_of(made_up("M6.0"), pk=pk) for pk in (1, 2, 3))
    spoiled.flux[::3], spoiled.ivar[::3] = 1e9, 0
    spoiled.flux[1::7] = np.nan
    empty.ivar[400:] = 0
    upside_down.flux = -upside_down.flux
    spoiled, empty, upside_down = typed([spoiled, empty, upside_down], folder)
    assert spoiled.spectral_type == "M6.0" and spoiled.rchi2 < 1.2
    assert empty.flag_too_few_pixels and empty.spectral_type is None and empty.rchi2 is None
    assert upside_down.flag_no_match and upside_down.flag_bad and upside_down.spectral_type is None


def test_of_one_type_no_type_is_claimed(tmp_path):
    for sub_type in (0.0, 0.5):
        write_csv(tmp_path, "M4.0", sub_type)
    [row] = typed([spectrum_of(made_up("M4.0"))], tmp_path)
    assert row.flag_one_type and row.flag_bad
    assert row.spectral_type is None and row.sub_type is None and row.rchi2 == pytest.approx(1, abs=0.1)
    [warning] = mdwarftype.warnings(templates=tmp_path)
    assert "no type is claimed" in warning


# ---- templates, by configuration


def test_a_list_names_its_files(folder, tmp_path, monkeypatch, memory_database):
    for spectral_type in ("M2.0", "M6.0"):
        write_csv(tmp_path, spectral_type, 0.0)
    listed = tmp_path / "template.list"
    monkeypatch.setenv("TEMPLATES_HERE", str(tmp_path))
    listed.write_text("# two\ntemplate_M2.0_0.0.csv\n\n$TEMPLATES_HERE/template_M6.0_0.0.csv\n")
    templates = load_templates(listed)
    assert templates.types == ("M2.0", "M6.0") and templates.flux.shape == (2, 4648)
    before = mdwarftype.recipe(templates=listed).digest
    write_csv(tmp_path, "M6.0", 0.5).rename(tmp_path / "template_M6.0_0.0.csv")
    assert mdwarftype.recipe(templates=listed).digest != before


def test_without_templates_a_run_ends_at_once_with_what_to_do(memory_database, tmp_path, folder):
    with pytest.raises(NotSetUpError, match="ASTRA_MDWARFTYPE_TEMPLATES"):
        analyse(mdwarftype)
    there = tmp_path / "products" / "pipelines" / "MDwarfType" / "template.list"
    there.parent.mkdir(parents=True)
    there.write_text("".join(f"{path}\n" for path in sorted(folder.iterdir())))
    assert analyse(mdwarftype).due == 0


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("notes.txt", "", "has no templates"),
        ("template_M5.0_0.5.csv", "nothing", "has no flux|no table of log wavelength"),
        ("template_M5.0_0.5.csv", "i,a,b\n0,x,y\n", "no table of log wavelength"),
        ("template_M5.0_0.5.csv", "i,a,b\n0,5000,1\n1,5001,1\n", "has no flux over log10"),
        ("template_M5.0_0.5.csv", "i,a,b\n0,4.5,1\n1,4.6,1\n", "has no flux from 356"),
        ("template_M5..0_0.5.csv", "", "has no|no table"),
        ("M5_+0.0_Dwarf.fits", "nothing", "no template of PyHammer"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_what_is_no_template_is_told_in_a_sentence(tmp_path, name, content, why):
    (tmp_path / name).write_text(content)
    with pytest.raises(TemplatesError, match=why):
        load_templates(tmp_path)


def test_a_list_of_what_isnt_there_is_told(tmp_path):
    listed = tmp_path / "template.list"
    listed.write_text("template_M2.0_0.0.csv\n")
    with pytest.raises(TemplatesError, match=r"template_M2\.0_0\.0\.csv"):
        load_templates(listed)
    listed.write_text("spectrum.csv\n")
    with pytest.raises(TemplatesError, match="doesn't say its type"):
        load_templates(listed)


def test_stored_spectra_have_rows(database, folder, make_visits):
    make_visits(2)
    report = write(analyse(mdwarftype, parameters={"templates": folder}))
    assert report.rows == 2 and MDwarfType.select().count() == 2
    assert write(analyse(mdwarftype, parameters={"templates": folder})).rows == 0


# ---- PyHammer's M5 template, and its real spectra


def real(path, pk=1):
    with fits.open(path) as hdus:
        table = hdus[1].data
        spectrum = BossVisitSpectrum(spectrum_pk=pk, source_pk=None)
        spectrum.wavelength = 10 ** table["loglam"].astype(float)
        spectrum.flux, spectrum.ivar = table["flux"].astype(float), table["ivar"].astype(float)
    return spectrum


def test_pyhammers_template_fits_its_m5_better_than_others_and_claims_no_type(real_data):
    folder = real_data / "pyhammer"
    templates = load_templates(folder)
    assert templates.types == ("M5",) and templates.sub_types.tolist() == [0]
    names = {"M1": "0618-52049-0372", "M5": "1123-52882-0065", "B2": "4068-55445-0924", "M2": "5047-55833-0936"}
    rows = dict(zip(names, typed([real(folder / f"spec-{name}.fits") for name in names.values()], folder), strict=True))
    assert all(row.spectral_type is None for row in rows.values())
    assert rows["M5"].flag_one_type and rows["M5"].rchi2 < 5
    # Per unit of S/N squared, as bright stars misfit more: the M5 is the nearest.
    assert min(rows, key=lambda name: rows[name].rchi2 if rows[name].rchi2 is not None else np.inf) in ("M5", "M1")


def test_a_real_m5_is_told_from_made_up_types(real_data, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "M5_+0.0_Dwarf.fits").write_bytes((real_data / "pyhammer" / "M5_+0.0_Dwarf.fits").read_bytes())
    [row] = typed([real(real_data / "pyhammer" / "spec-1123-52882-0065.fits")], tmp_path)
    assert (row.spectral_type, row.sub_type, row.flag_bad) == ("M5", 0, False)
