"""The commands of ``astra``: in which module each is, and what it does, in a line.

The line is what ``astra --help`` says, which imports none of the modules: it is the first paragraph of the command's
docstring, or the help of its group (a test compares them).
"""

from typing import NamedTuple

__all__ = ["ABOUT", "CONTENTS", "VERSION_OPTION", "Entry"]


class Entry(NamedTuple):
    """A command, or a group of commands.

    Attributes
    ----------
    module : str
        The module of `astra_orchestration.cli` that has it, in ``<module>_commands``, or in ``app`` of ``main``.
    does : str
        What it does.
    """

    module: str
    does: str


ABOUT = "Analyse stellar spectra, and keep the results."
VERSION_OPTION = "The same as `astra version`."

CONTENTS = {
    "sample": Entry("main", "Write a small survey of one's own: FITS files of the real formats, with known truth."),
    "run": Entry(
        "main", "Analyse what is due, here in the terminal. The pipeline's asset does the same under Dagster."
    ),
    "version": Entry("main", "Print the installed version, and the integer that results carry."),
    "materialize": Entry(
        "main", "Make the tables, and materialize every asset once, in this process; the Dagster UI shows the run."
    ),
    "ingest": Entry("ingest", "Read files into the database."),
    "new": Entry("new", "Begin a package of one's own."),
    "grids": Entry("grids", "Grids of model spectra: fetch, list, add."),
    "mapping": Entry("mapping", "Mappings of tables: propose one, list and show those of the project."),
    "train": Entry("train", "Train classifiers and models."),
    "init": Entry("schema", "Make the schema and the tables that are missing; what is there stays as it is."),
    "check-schema": Entry(
        "schema",
        "List what differs between the database and the models, and whether it matters; exits with 1 if something "
        "does.",
    ),
    "migrate": Entry("schema", "Bring older tables up to date with this release."),
    "adopt": Entry(
        "adopt",
        "Adopt a production schema: say what will differ, then copy it into a schema of ours, or use it in place.",
    ),
    "rejected": Entry("rejected", "List what failed, gave no result or could not be stored, and why."),
    "replay": Entry("rejected", "Try to store refused rows again, at the version that they were made with."),
    "query": Entry("query", "Ask the database in SQL. The connection can't change anything."),
    "rows": Entry("query", "Show rows of a model."),
    "export": Entry("export", "Write rows of a model into a file, or a summary product as the survey publishes it."),
    "leases": Entry(
        "leases",
        "Show which run has which spectra in hand. A run renews its leases; without it they expire in a minute.",
    ),
    "status": Entry(
        "status",
        "Show which database is used, what it holds, and per pipeline and version what is due, done and failed.",
    ),
    "explain": Entry(
        "explain",
        "Show everything about a star: its spectra, the results of all versions, what is due, what failed, and why.",
    ),
    "ui": Entry(
        "web", "Serve the Dagster UI and its daemon until Ctrl-C, which ends every process and run that this started."
    ),
    "web": Entry("web", "Serve the Dagster UI without a daemon, which has to run elsewhere; a part of a deployment."),
    "alerts": Entry(
        "alerts",
        "Show how people are told of failed runs; exits with 1 if nobody is, or if a message can't be delivered.",
    ),
    "watch": Entry(
        "watch", "Look whether the daemon beats, sensors tick, and no tick fails; exits with 1 if something is wrong."
    ),
    "backup": Entry(
        "backup", "Copy the results, and Dagster's records of DAGSTER_HOME, into a folder; runs may go on meanwhile."
    ),
    "restore": Entry("backup", "Put a backup back, after all of it was checked. Stop the services first."),
}
