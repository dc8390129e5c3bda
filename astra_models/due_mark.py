"""How far the sensor has looked: what came before is known not to be due."""

from astra_models.base import BaseModel
from astra_models.fields import AutoField, BigIntegerField, DateTimeField, IntegerField, TextField

__all__ = ["DueMark"]


class DueMark(BaseModel):
    """What a pipeline's sensor has seen of one table that its results are made from, when nothing there was due."""

    pk = AutoField()
    pipeline = TextField(help_text="Name of the pipeline")
    table_name = TextField(help_text="The table: spectra, or results of another pipeline")
    last_key = BigIntegerField(null=True, unit="", help_text="The largest key there was")
    looked = DateTimeField(null=True, help_text="When it was looked at (UTC)")
    v_astra = IntegerField(null=True, unit="", help_text="The version of Astra that was installed")
    recipe = TextField(null=True, help_text="What results would have been made with: SHA-256, as in pipeline_run")
    pipeline_run_pk = IntegerField(null=True)

    class Meta:
        indexes = ((("pipeline", "table_name"), True),)
