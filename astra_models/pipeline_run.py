"""Runs of pipelines: what each was made with, and what came of it."""

from astra_models.base import BaseModel
from astra_models.fields import (
    AutoField,
    BigIntegerField,
    BooleanField,
    DateTimeField,
    DoubleField,
    IntegerField,
    TextField,
    utc_now,
)

ADOPTION = "astra adopt"
"""What a schema that was adopted has for the pipeline of its results; no pipeline can have that name."""


class PipelineRun(BaseModel):
    """One run of a pipeline. Its results have its key in ``pipeline_run_pk``."""

    pk = AutoField()
    pipeline = TextField(help_text="Name of the pipeline")
    version = TextField(help_text="The pipeline's own version")
    v_astra = IntegerField(unit="", help_text="Version of Astra")
    recipe = TextField(help_text="SHA-256 of the version and of the parameters that results depend on")
    parameters = TextField(help_text="The parameters as they were used, as JSON")
    model_files = TextField(null=True, help_text="SHA-256 of each file that a parameter names, as JSON")
    git_revision = TextField(null=True, help_text="Git revision of the pipeline's source, +changes if it was edited")
    packages = TextField(null=True, help_text="Versions of the packages that were installed, as JSON")
    python = TextField(null=True, help_text="Version of Python")
    host = TextField(null=True, help_text="The computer")
    run_id = TextField(null=True, help_text="The run of Dagster in which it happened")
    due = BigIntegerField(null=True, unit="", help_text="Spectra that were due")
    answered = BigIntegerField(null=True, unit="", help_text="Spectra that have a result, or a failure, of this run")
    inserted = BigIntegerField(null=True, unit="", help_text="New results")
    updated = BigIntegerField(null=True, unit="", help_text="Results that replaced another")
    unchanged = BigIntegerField(null=True, unit="", help_text="Results with the values that were stored before")
    kept = BigIntegerField(null=True, unit="", help_text="Results that were not written: the stored ones are better")
    rejected = BigIntegerField(null=True, unit="", help_text="Failures, and results that could not be stored")
    engine = TextField(null=True, help_text="Where the pipeline was called: in_process, local, slurm, or address")
    workers = IntegerField(null=True, unit="", help_text="The most processes that called it at once")
    hosts = TextField(null=True, help_text="The computers that called it, as JSON")
    core_seconds = DoubleField(null=True, unit="s", help_text="Time that all processes together spent calling it")
    keep = BooleanField(null=True, help_text="Whether results with these parameters are left alone")
    started = DateTimeField(default=utc_now, help_text="When it began (UTC)")
    ended = DateTimeField(null=True, help_text="When it ended (UTC); NULL while it runs, or if it was killed")

    class Meta:
        indexes = ((("pipeline", "recipe"), False),)
