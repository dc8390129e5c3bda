"""Tables of other packages: made, moved by steps of their own, and kept apart in the history."""

from collections.abc import Callable
from pathlib import Path

import peewee
import pytest

from astra_models import outputs
from astra_models.base import BaseModel, bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.catalog import StoredTable, read_tables
from astra_models.errors import MigrationError, OutdatedSchemaError
from astra_models.schema.check import check_schema
from astra_models.schema.making import WrittenStep, make_step
from astra_models.schema.migration import init, migrate, require_current, steps
from tests.other_packages import MODELS, forget_packages

Install = Callable[..., Path]

MORE_COLUMNS = """
    rv = FloatField(null=True, unit="km / s")
    n_good = BigIntegerField(default=-1, unit="")
    note = TextField(default="it's 100%", index=True)
    is_blend = BooleanField(default=True)
"""
NEW_TABLE = '''

class PeakWidth(PipelineOutputMixin):
    """Widths of peaks."""

    width = DoubleField(null=True, unit="Angstrom")
    peak_pk = ForeignKeyField(BrightestPixel, null=True)

    class Meta:
        indexes = ((("width", "tag"), False),)
'''


@pytest.fixture
def brightest(install: Install, database: peewee.Database) -> Path:
    """Install a package of pipelines whose table is there, with two rows."""
    folder = install()
    init(outputs.packages())
    return folder


def model() -> type[BaseModel]:
    return outputs.model_named("BrightestPixel")


def store(spectra: list[BossVisitSpectrum]) -> None:
    for spectrum in spectra:
        model().create(spectrum_pk=spectrum.spectrum_pk, source_pk=spectrum.source_pk, peak=5000.0)


def change(folder: Path, more: str, after: str = "") -> None:
    """Let the package's author add columns to the model, and models after it."""
    imports = "from astra_models.fields import BooleanField, ForeignKeyField\n\n\nclass "
    text = MODELS.format(model="BrightestPixel").replace("\n\nclass ", imports, 1)
    (folder / "models.py").write_text(text + more + after)
    forget_packages(folder.name)
    bind_again()


def bind_again() -> None:
    """Begin as a new process does."""
    bind(BaseModel._meta.database.obj, bound_schema())


def make(name: str | None = None) -> WrittenStep:
    return make_step(outputs.package_named("brightest"), name)


def tables() -> dict[str, StoredTable]:
    return read_tables(BaseModel._meta.database.obj, bound_schema())


# ---- made


def test_tables_of_a_package_are_made_with_ours(install: Install, database: peewee.Database) -> None:
    install()
    assert init(outputs.packages()) == ["brightest_pixel"]
    assert init(outputs.packages()) == []
    assert check_schema([model()]) == []


def test_a_table_that_is_made_new_has_all_steps_on_record(install: Install, database: peewee.Database) -> None:
    for package in ("first", "second"):
        folder = install(package, pipeline=f"{package}_peak", model=f"{package.title()}Peak")
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0001_begin.py").write_text("def up(migrator, db):\n    raise RuntimeError\n")
    init(outputs.packages())
    listed = {(step.package, step.name): step.applied is not None for step in steps(outputs.packages())}
    assert listed["first", "0001_begin"] and listed["second", "0001_begin"]
    require_current(outputs.packages())
    stored = database.execute_sql(f"SELECT name FROM {in_schema('schema_migration')}").fetchall()
    assert {("first/0001_begin",), ("second/0001_begin",)} <= set(stored)


def in_schema(table: str) -> str:
    return f'"{bound_schema()}"."{table}"' if bound_schema() else f'"{table}"'


def test_a_package_whose_tables_are_not_made_stops_nothing(install: Install, database: peewee.Database) -> None:
    folder = install()
    (folder / "migrations").mkdir()
    (folder / "migrations" / "0001_begin.py").write_text("def up(migrator, db):\n    raise RuntimeError\n")
    require_current(outputs.packages())
    assert [step for step in steps(outputs.packages()) if step.package == "brightest"] == []
    assert [name for name in migrate(outputs.packages()) if "brightest" in name] == []


# ---- moved


def test_an_added_column_is_a_step_in_the_packages_folder(
    brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]
) -> None:
    store(make_spectra(2))
    change(brightest, MORE_COLUMNS)
    written = make()
    assert written.path == brightest / "migrations" / "0001_add_brightest_pixel_rv.py"
    assert written.adds[:4] == [f"brightest_pixel.{name}" for name in ("rv", "n_good", "note", "is_blend")]
    assert written.left_out == []
    assert (brightest / "migrations" / "__init__.py").exists()
    with pytest.raises(OutdatedSchemaError, match=r"brightest/0001_add_brightest_pixel_rv to be applied.*migrate up"):
        require_current(outputs.packages())
    require_current(outputs.packages_of([BossVisitSpectrum]))  # which has nothing to do with it

    assert migrate(outputs.packages())[-1] == "brightest/0001_add_brightest_pixel_rv"
    assert migrate(outputs.packages()) == []
    require_current(outputs.packages())
    assert check_schema([model()]) == []
    [row, _] = model().select().dicts()
    assert (row["peak"], row["rv"], row["n_good"], row["note"], row["is_blend"]) == (5000, None, -1, "it's 100%", True)
    with pytest.raises(MigrationError, match="lacks nothing that the models of brightest have"):
        make()


def test_a_step_says_what_it_does_and_not_what_the_models_say(brightest: Path) -> None:
    change(brightest, MORE_COLUMNS)
    text = make().path.read_text()
    assert 'add_column(migrator, "brightest_pixel", "rv", "REAL")' in text
    assert (
        'add_column(\n        migrator,\n        "brightest_pixel",\n        "n_good",\n        "BIGINT NOT NULL",'
        in text
    )
    assert 'sqlite="INTEGER NOT NULL",\n        default=-1,' in text
    assert "import brightest" not in text and "from brightest" not in text
    change(brightest, MORE_COLUMNS + '\n    later = FloatField(null=True, unit="")\n')
    migrate(outputs.packages())
    assert "rv" in tables()["brightest_pixel"].columns
    assert "later" not in tables()["brightest_pixel"].columns
    assert make("Later, too!").path.name == "0002_later_too.py"


def test_a_new_table_is_a_step_with_its_keys_and_indexes(
    brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]
) -> None:
    [spectrum] = make_spectra(1)
    change(brightest, "", NEW_TABLE)
    assert make().adds[0] == "peak_width"
    migrate(outputs.packages())
    width = outputs.model_named("PeakWidth")
    assert check_schema([model(), width]) == []
    migrated = tables()["peak_width"]
    with pytest.raises(peewee.IntegrityError):
        width.insert(spectrum_pk=spectrum.spectrum_pk, v_astra=9000, peak_pk=77).execute()
    width.drop_table()
    init(outputs.packages())
    assert tables()["peak_width"].columns == migrated.columns
    key = {(index.columns, index.unique) for index in migrated.indexes}
    assert {(index.columns, index.unique) for index in tables()["peak_width"].indexes} == key
    width.drop_table()


def test_an_added_foreign_key_refers_to_its_table(
    brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]
) -> None:
    spectra = make_spectra(2)
    store(spectra)
    change(brightest, '\n    of_pk = ForeignKeyField("self", null=True)\n')
    make()
    migrate(outputs.packages())
    assert check_schema([model()]) == []
    with pytest.raises(peewee.IntegrityError):
        model().update(of_pk=99).execute()


def test_an_added_generated_column_is_computed(
    brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]
) -> None:
    store(make_spectra(1))
    column = 'GeneratedField("v_astra / 100", "v_astra", lambda v_astra: v_astra // 100, unit="")'
    change(brightest, f"\n    from astra_models.fields import GeneratedField\n    patch = {column}\n")
    make()
    migrate(outputs.packages())
    assert not any(difference.matters for difference in check_schema([model()]))
    model().update(v_astra=9007).execute()
    assert [row.patch for row in model().select()] == [90]


# ---- what can't be written, or fails


def test_a_column_without_value_for_the_rows_that_are_there_is_refused(brightest: Path) -> None:
    change(brightest, '\n    name = TextField(unit="")\n')
    with pytest.raises(MigrationError, match=r"BrightestPixel.name can't be added to a table with rows: .*null=True"):
        make()


def test_what_a_step_cannot_bring_about_is_told(brightest: Path) -> None:
    text = (brightest / "models.py").read_text().replace("peak = FloatField(null=True", "peak = TextField(null=True")
    (brightest / "models.py").write_text(text + '\n    rv = FloatField(null=True, unit="km / s")\n')
    forget_packages("brightest")
    bind_again()
    [left_out] = make().left_out
    assert left_out.startswith("brightest_pixel.peak: type ")


def test_earlier_steps_come_first(brightest: Path) -> None:
    change(brightest, '\n    rv = FloatField(null=True, unit="km / s")\n')
    make()
    change(brightest, MORE_COLUMNS)
    with pytest.raises(MigrationError, match=r"first apply brightest/0001_add_brightest_pixel_rv: `astra migrate up`"):
        make()


def test_tables_that_are_not_there_need_no_step(install: Install, database: peewee.Database) -> None:
    install()
    with pytest.raises(MigrationError, match="has no table of brightest; make them as they are now: `astra init`"):
        make()


def test_a_folder_that_cannot_be_written_is_told(brightest: Path) -> None:
    change(brightest, MORE_COLUMNS)
    (brightest / "migrations").write_text("in the way")
    with pytest.raises(MigrationError, match=r"can't be written: .*; install the package from its folder"):
        make()


def test_a_single_module_has_no_steps(brightest: Path) -> None:
    package = outputs.package_named("brightest")._replace(migrations=None)
    with pytest.raises(MigrationError, match="brightest is a single module, and migrations need a folder"):
        make_step(package)


def test_a_step_that_fails_is_undone_and_stops_no_other_package(install: Install, database: peewee.Database) -> None:
    folders = [install(name, pipeline=f"{name}_peak", model=f"{name.title()}Peak") for name in ("first", "second")]
    init(outputs.packages())
    for folder, body in zip(folders, ("db.execute_sql('CREATE TABLE t (x INTEGER)'); 1 / 0", "pass"), strict=True):
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0001_step.py").write_text(f"def up(migrator, db):\n    {body}\n")
    with pytest.raises(MigrationError, match=r"failed and was undone: first/0001_step: ZeroDivisionError"):
        migrate(outputs.packages())
    applied = {step.package: step.applied is not None for step in steps(outputs.packages())}
    assert (applied["first"], applied["second"]) == (False, True)
    assert "t" not in tables()
