"""A code location whose runs hold the pool of writers, don't hear, or don't start as long as a file is there."""

import os
import time
from pathlib import Path

import dagster as dg

from astra_orchestration.automation.run_sweep import run_sweep_sensor
from astra_orchestration.resources.writers import WRITERS
from tests import launched_jobs

while Path(os.environ["HOLD"]).exists():  # a run's process loads this file before the run starts
    time.sleep(0.1)


@dg.op(pool=WRITERS)
def holds() -> None:
    """Hold the pool for long."""
    time.sleep(600)


@dg.op(pool=WRITERS)
def waits() -> None:
    """Need the pool for a moment."""


@dg.job(executor_def=dg.in_process_executor, tags={"dagster/max_retries": "0"})
def holding() -> None:
    """Hold the pool for long."""
    holds()


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    """Need the pool for a moment."""
    waits()


defs = dg.Definitions(jobs=[holding, waiting, launched_jobs.deaf, launched_jobs.short], sensors=[run_sweep_sensor])
