"""Where pipelines are called: in the run's own process, on the cores of this computer, or on a cluster by Slurm.

Workers are Dask's; they import no Dagster.
"""
