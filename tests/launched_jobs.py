"""A code location whose jobs are short, or long, or end their process."""

import os
import signal
import time

import dagster as dg


@dg.op
def says(context: dg.OpExecutionContext) -> None:
    context.log.info("said")


@dg.op
def lasts() -> None:
    for _ in range(6000):
        time.sleep(0.1)


@dg.op
def is_deaf(context: dg.OpExecutionContext) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    context.log.info("hears nothing")
    time.sleep(600)


@dg.op
def fails() -> None:
    raise ValueError("a mistake")


@dg.op
def dies() -> None:
    print("last words", flush=True)
    os._exit(3)


@dg.job(executor_def=dg.in_process_executor)
def short() -> None:
    says()


@dg.job(executor_def=dg.in_process_executor)
def lasting() -> None:
    lasts()


@dg.job(executor_def=dg.in_process_executor)
def deaf() -> None:
    is_deaf()


@dg.job(executor_def=dg.in_process_executor)
def dying() -> None:
    dies()


@dg.job(executor_def=dg.in_process_executor)
def failing() -> None:
    fails()


defs = dg.Definitions(jobs=[short, lasting, deaf, dying, failing])
