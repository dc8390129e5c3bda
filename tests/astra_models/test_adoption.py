"""A production schema is adopted: its differences are said, and its rows copied into a schema of ours."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg2
import psycopg2.extensions
import pytest
from production import insert, statements

from astra_models import base
from astra_models.adoption import adopt
from astra_models.adoption.in_place import bound_to
from astra_models.base import bind, bound_schema
from astra_models.bossnet import BossNet
from astra_models.corv import Corv
from astra_models.database.config import postgresql_database
from astra_models.source import Source
from astra_models.spectrum import Spectrum

NAMES = itertools.count()
Query = Callable[..., list[Any]]


class Production(NamedTuple):
    """A production schema, the schema to adopt it into, and a function that runs SQL in the former."""

    schema: str
    target: str
    query: Query


@pytest.fixture
def make_production(postgresql: dict[str, str]) -> Iterator[Callable[..., Production]]:
    """Give a function that makes a production schema with two spectra; models are bound to the database."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(psycopg2.connect(**postgresql)))
        connection.autocommit = True
        before = base.database.obj, bound_schema()
        database = postgresql_database(**postgresql)
        bind(database)
        stack.callback(bind, *before)
        stack.callback(database.close)

        def make(release: str = "v080", name: str = 'Astra "080" %s', filled: bool = True) -> Production:
            number = next(NAMES)
            schema, target = f"{name} {number}", f'Adopted "here" {number}'

            def query(sql: str, *parameters: Any) -> list[Any]:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
                    cursor.execute(sql, parameters)
                    return cursor.fetchall() if cursor.description else []

            def drop() -> None:
                for one in (schema, target):
                    with connection.cursor() as cursor:
                        cursor.execute(f"DROP SCHEMA IF EXISTS {quoted(one)} CASCADE")

            stack.callback(drop)
            for statement in statements(release, "THE SCHEMA"):
                with connection.cursor() as cursor:
                    cursor.execute(statement.replace('"THE SCHEMA"', quoted(schema)))
            if filled:
                fill(query)
            return Production(schema, target, query)

        yield make


@pytest.fixture(params=["v080", "v081"])
def production(request: pytest.FixtureRequest, make_production: Callable[..., Production]) -> Production:
    """Give a production schema of each release, with two spectra."""
    return make_production(request.param)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def fill(query: Query) -> None:
    """Store two sources, two BOSS visits, and results of them, as sdss/astra does."""
    insert(query, "source", pk=1, sdss_id=54_392_544, ra=266.4168262, n_neighborhood=-1)
    insert(query, "source", pk=7, sdss_id=54_392_545, ra=1.5, n_neighborhood=2)
    for pk in (1, 2):
        query("INSERT INTO spectrum (pk, spectrum_flags) VALUES (%s, 0)", pk)
        visit = {"source_pk": 1, "mjd": 59_900, "fieldid": 15_000, "catalogid": pk, "run2d": "v6_1_1", "release": "a"}
        visit |= {"spec_file": "x.fits", "modified": "2024-07-01 12:00:00"}
        insert(query, "boss_visit_spectrum", pk=pk, spectrum_pk=pk, telescope="apo25m", **visit)
    result = {"source_pk": 1, "v_astra": 8000, "modified": "2024-07-01 13:00:00", "created": "2024-01-01 01:00:00"}
    insert(query, "corv", task_pk=26_210, spectrum_pk=1, teff=12_000, logg="NaN", tag="é'%s", **result)
    insert(query, "boss_net", task_pk=5, spectrum_pk=1, teff=5777.25, **result)
    insert(query, "boss_net", task_pk=6, spectrum_pk=2, teff="Infinity", **result)


# ---- copying


def test_rows_keep_keys_times_and_versions(production: Production) -> None:
    report = adopt(production.schema, production.target, "America/Denver")
    assert report.is_good
    assert {name: copied.rows for name, copied in report.tables.items() if copied.rows} == {
        "source": 2,
        "spectrum": 2,
        "boss_visit_spectrum": 2,
        "corv": 1,
        "boss_net": 2,
    }
    with bound_to(production.target):
        [result] = Corv.select()
        assert (result.task_pk, result.spectrum_pk, result.source_pk, result.v_astra) == (26_210, 1, 1, 8000)
        assert (result.teff, result.logg, result.tag, result.v_astra_major_minor) == (12_000, None, "é'%s", 8)
        assert result.modified == datetime(2024, 7, 1, 19, tzinfo=UTC)
        assert result.created == datetime(2024, 1, 1, 8, tzinfo=UTC)
        assert [row.teff for row in BossNet.select().order_by(BossNet.task_pk)] == [5777.25, math.inf]
        assert [row.n_neighborhood for row in Source.select().order_by(Source.pk)] == [None, 2]
        assert Spectrum.get_by_id(2).resolve().catalogid == 2
        assert Corv.create(spectrum_pk=2, v_astra=9000).task_pk == 26_211
        assert Source.create(sdss_id=1).pk == 8


def test_the_production_schema_is_only_read(production: Production, postgresql: dict[str, str]) -> None:
    """A role that may not write there can adopt it."""
    schema, role = quoted(production.schema), f"reader_{next(NAMES)}"
    production.query(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema.replace('%', '%%')} TO {role}"
    )
    production.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema.replace('%', '%%')} TO {role}")
    production.query(f'GRANT CREATE ON DATABASE "{postgresql["dbname"]}" TO {role}')
    before = base.database.obj, bound_schema()
    database = postgresql_database(**{**postgresql, "user": role, "password": "x"})
    bind(database)
    try:
        assert adopt(production.schema, production.target).is_good
    finally:
        database.close()
        bind(*before)
        production.query(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
