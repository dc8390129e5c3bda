"""The job that retries what failed, and the link to its launchpad."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import dagster as dg
import peewee
import pytest
import yaml
from dagster._core.errors import DagsterConfigMappingFunctionError

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.retries import retry_job
from astra_orchestration.checks.links import launchpad_link
from astra_orchestration.definitions import defs
from astra_orchestration.resources import resources_for

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5772)


@task
def corv(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
    for spectrum in spectra:
        yield Corv.from_spectrum(spectrum, v_rad=0)


def failed(spectrum: BossVisitSpectrum, model: str, reason: str) -> None:
    RejectedResult.create(
        model=model,
        spectrum_pk=spectrum.spectrum_pk,
        v_astra=9000,
        reason=reason,
        message="it was late",
        spectrum_revision=0,
    )


@pytest.fixture
def failures(database: peewee.Database, make_spectra: Visits) -> list[BossVisitSpectrum]:
    """List three spectra of each pipeline, each for another reason."""
    spectra = make_spectra(3)
    for model in ("Rocket", "Corv"):
        for spectrum, reason in zip(spectra, ("timeout", "memory", "exception"), strict=True):
            failed(spectrum, model, reason)
    return spectra


def retry(target: dict[str, Any], folder: Path, **config: Any) -> dg.ExecuteInProcessResult:
    assets = [pipeline_asset(rocket), pipeline_asset(corv)]
    definitions = dg.Definitions(assets=assets, resources=resources_for(target), jobs=[retry_job(assets)])
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        job = definitions.resolve_job_def("retry_failed")
        return job.execute_in_process(run_config=config, instance=instance)


def left(model: str) -> list[str]:
    return sorted(row.reason for row in RejectedResult.select().where(RejectedResult.model == model))


def test_all_that_failed_is_retried(failures: list[BossVisitSpectrum], target: dict[str, Any], tmp_path: Path) -> None:
    assert retry(target, tmp_path).success
    assert (Rocket.select().count(), Corv.select().count()) == (3, 3)
    assert RejectedResult.select().count() == 0


def test_only_some_pipelines_and_reasons(
    failures: list[BossVisitSpectrum], target: dict[str, Any], tmp_path: Path
) -> None:
    assert retry(target, tmp_path, pipelines=["corv"], reasons=["timeout", "memory"]).success
    assert (left("Corv"), Corv.select().count()) == (["exception"], 2)
    assert (left("Rocket"), Rocket.select().count()) == (["exception", "memory", "timeout"], 0)


@pytest.mark.sqlite_only(reason="the database isn't asked")
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pipelines": ["corf"]}, "there is no pipeline 'corf'"),
        ({"reasons": ["timeouts"]}, "there is no reason 'timeouts'"),
    ],
)
def test_a_name_that_is_unknown_is_refused(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(DagsterConfigMappingFunctionError) as refused:
        retry(target, tmp_path, **config)
    assert message in str(refused.value.__cause__)


@pytest.mark.parametrize(
    "page", ["https://astra.example.org/prefix/assets/corv?view=checks", "http://localhost:3000/prefix/runs/5f1c"]
)
def test_the_link_leads_to_the_launchpad_filled_in(page: str) -> None:
    address = urlsplit(urljoin(page, launchpad_link("corv", "timeout")))
    assert address.path == "/prefix/locations/astra_orchestration.definitions/jobs/retry_failed/playground/setup"
    [config] = parse_qs(address.query)["config"]
    assert yaml.safe_load(config) == {"pipelines": ["corv"], "reasons": ["timeout"]}


def test_what_the_link_says_is_what_our_job_takes() -> None:
    [config] = parse_qs(urlsplit(launchpad_link("corv", "timeout")).query)["config"]
    job = defs.resolve_job_def("retry_failed")
    assert dg.validate_run_config(job, yaml.safe_load(config))
    assert dg.validate_run_config(job, {})
