"""Names of columns in published files that aren't those of the models, as data."""

from typing import NamedTuple


class Rename(NamedTuple):
    """A column that has another name in files than here.

    Parameters
    ----------
    model : str
        Name of the model, or ``*`` for any.
    theirs, ours : str
        The name in the file, and here.
    releases : str
        In files of which versions of Astra.
    """

    model: str
    theirs: str
    ours: str
    releases: str


RENAMES = (
    Rename("*", "source", "source_pk", "all: the spectrum's, beside source_pk, the result's"),
    Rename("*", "spectrum_pk_id", "spectrum_pk", "0.6.0: name of the database's column"),
    Rename("*", "drp_spectrum_pk_id", "drp_spectrum_pk", "0.6.0: the same"),
    Rename("AstroNNdist", "a_k_mag", "A_k_mag", "0.6.0"),
    Rename("AstroNNdist", "L_fakemag_err", "e_L_fakemag", "0.6.0"),
    Rename("AstroNNdist", "nn_dist", "dist", "0.6.0"),
    Rename("AstroNNdist", "nn_dist_err", "e_dist", "0.6.0"),
    Rename("BossNet", "v_rad", "bn_v_r", "0.6.0: only in visit files, elsewhere it is the spectrum's"),
    Rename("BossNet", "e_v_rad", "e_bn_v_r", "0.6.0: the same"),
    Rename("MWMBest", "id", "task_pk", "0.6.0"),
)


class Dropped(NamedTuple):
    """A column of published files that no table of ours has.

    Parameters
    ----------
    model : str
        Name of the model, or ``*`` for any.
    theirs : str
        The name in the file; ``*`` in it stands for any text.
    reason : str
        Why.
    """

    model: str
    theirs: str
    reason: str


DROPPED = (
    Dropped("*", "flag_warn", "derived: the models compute it from the flags"),
    Dropped("*", "flag_bad", "derived: the models compute it from the flags"),
    Dropped("ASPCAP", "*_task_pk", "key of a table of FERRE's runs that is not published"),
    Dropped("ASPCAP", "*c_1_h*", "no column since 0.8: carbon from its neutral lines alone"),
    Dropped("ASPCAP", "*ti_2_h*", "no column since 0.8: titanium from its ionised lines"),
    Dropped("ASPCAP", "ferre_time_elapsed", "no column since 0.8, which has the time of each stage"),
    Dropped("AstroNNdist", "*_model_err", "no column since 0.8: the network's part of an uncertainty"),
    Dropped("AstroNNdist", "nn_parallax*", "no column since 0.8: the inverse of the distance"),
    Dropped("AstroNNdist", "gdr3_*", "no column since 0.8: Gaia's parallax, which the source has"),
    Dropped("AstroNNdist", "weighted_*", "no column since 0.8: mean with Gaia's parallax"),
    Dropped("MWMBest", "task_pk", "key of the row that the result is a copy of, in the table of `pipeline`"),
)
NO_COLUMN = "no column has this name"


def our_names(model: str, theirs: str) -> list[str]:
    """Give the names that a column of a file may have in a model, the likelier first."""
    renamed = [entry.ours for entry in RENAMES if entry.theirs == theirs and entry.model in ("*", model)]
    is_taken = any(entry.theirs == theirs and entry.model == model for entry in RENAMES)
    return renamed if is_taken else [theirs, *renamed]


def without_prefix(prefix: str, theirs: str) -> str | None:
    """Give the name that our own products make longer because another table of the row has it; None if it isn't so."""
    return theirs.removeprefix(f"{prefix}_") if theirs.startswith(f"{prefix}_") else None


def why_dropped(model: str | None, theirs: str) -> str:
    """Say why no table of ours has a column of a file."""
    from fnmatch import fnmatchcase

    for entry in DROPPED:
        if entry.model in ("*", model) and fnmatchcase(theirs, entry.theirs):
            return entry.reason
    return NO_COLUMN


def is_dropped(model: str | None, theirs: str) -> bool:
    """Tell whether a column is known to have no place here, even if a column of ours has its name."""
    return any(entry.model == model and entry.theirs == theirs for entry in DROPPED)
