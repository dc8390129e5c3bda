"""The records that `explain_star` gives: a star's spectra, results, due spectra and rejected rows."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class SpectrumOfStar:
    """A spectrum of the star.

    Attributes
    ----------
    spectrum_pk : int or None
        Its key.
    kind : str
        The table that it is in.
    key : dict
        What identifies it, by column: release, field, date...
    telescope : str or None
        Which telescope took it.
    snr : float or None
        Its signal-to-noise ratio.
    modified : datetime
        When its row was last changed.
    file : str or None
        Path of its file; None if the row doesn't say.
    is_there : bool
        Whether the file is there.
    problem : str or None
        Why the place of the file isn't known.
    """

    spectrum_pk: int | None
    kind: str
    key: dict[str, Any]
    telescope: str | None
    snr: float | None
    modified: datetime
    file: str | None
    is_there: bool
    problem: str | None = None


@dataclass(frozen=True)
class Result:
    """A result for the star.

    Attributes
    ----------
    pipeline, table : str
        The pipeline, and the table that the result is in.
    task_pk, spectrum_pk : int
        Its key, and that of the spectrum.
    version : str
        The version that it is of, such as ``"0.9.0"``.
    is_newest : bool
        Whether it is of the newest version for its spectrum.
    values : dict
        What was measured, by column: those of `explain.HEADLINES`, and their errors.
    units : dict
        Units of these columns, of those that have one.
    flags : list of str
        Names of the flags that are set.
    modified : datetime
        When it was last written or changed.
    files : list of str
        Names of the result files of this pipeline and version that were ingested: it came from one of them.
    adopted : str or None
        From which schema it was copied, and when, if `astra adopt` did.
    """

    pipeline: str
    table: str
    task_pk: int
    spectrum_pk: int | None
    version: str
    is_newest: bool
    values: dict[str, Any]
    units: dict[str, str]
    flags: list[str]
    modified: datetime
    files: list[str]
    adopted: str | None = None


@dataclass(frozen=True)
class Analysis:
    """Where a spectrum stands with a pipeline that is computed here, at the installed version.

    Attributes
    ----------
    pipeline : str
        The pipeline.
    spectrum_pk : int
        The spectrum.
    state : {"due", "done", "failed", "waiting", "left out"}
        ``failed`` is not due again until the spectrum changes; what is ``waiting`` needs another pipeline's result
        first, and what is ``left out`` isn't taken by the pipeline's own condition.
    why : str
        The reason, in words.
    """

    pipeline: str
    spectrum_pk: int
    state: str
    why: str


@dataclass(frozen=True)
class Listed:
    """A row of ``rejected_result`` about the star.

    Attributes
    ----------
    model : str
        The model of the result.
    spectrum_pk : int or None
        The spectrum, if it is known.
    version : str or None
        The version.
    reason, message : str
        Why: ``exception``, ``no_result``, ``refused`` or ``not_ingested``; and in words.
    when : datetime
        When it happened.
    run_id : str or None
        In which run.
    """

    model: str
    spectrum_pk: int | None
    version: str | None
    reason: str
    message: str
    when: datetime
    run_id: str | None


@dataclass(frozen=True, repr=False)
class Star:
    """Everything about one star.

    Attributes
    ----------
    source_pk : int
        Key of the source.
    identifiers, position : dict
        By column, those that it has; positions in degrees.
    spectra : list of SpectrumOfStar
        Its spectra, by kind and key.
    results : list of Result
        The results, by pipeline and spectrum, newest version first.
    analyses : list of Analysis
        What is due, done and failed.
    rejected : list of Listed
        What failed or could not be stored, oldest first.
    """

    source_pk: int
    identifiers: dict[str, Any]
    position: dict[str, float]
    spectra: list[SpectrumOfStar] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    analyses: list[Analysis] = field(default_factory=list)
    rejected: list[Listed] = field(default_factory=list)

    def __repr__(self) -> str:
        named = ", ".join(f"{name} {value}" for name, value in self.identifiers.items())
        return f"<Star of {named}: {len(self.spectra)} spectra, {len(self.results)} results>"
