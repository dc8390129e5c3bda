"""A run in a process of its own, so that it can be ended: ``python running.py SECONDS SHARED [SETTING=VALUE ...]``.

It takes a job from its standard input, which says where the database is.
"""

import pickle
import sys

from astra_models.analysis.stream import analyse, write
from astra_orchestration.cli.interrupts import Terminated, watch_for_signals
from astra_orchestration.engines.choosing import make_engine

if __name__ == "__main__":
    watch_for_signals()
    pipeline = pickle.load(sys.stdin.buffer).load()
    seconds, shared, *settings = sys.argv[1:]
    engine = make_engine(
        "slurm",
        {"shared_temp_directory": shared, "jobs": 2, "memory": "1GB"} | dict(one.split("=", 1) for one in settings),
    )
    stream = analyse(pipeline, parameters={"seconds": float(seconds)}, engine=engine)
    try:
        write(
            stream,
            run_id="ended",
            on_progress=lambda progress: print(progress.done, flush=True),
            interval=0.1,
            growth=1,
        )
    except Terminated:
        sys.exit(143)
