"""A training set from one's own survey: labels of a table of results, and the spectra that they were found from."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peewee
from numpy.typing import NDArray

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.columns.condition_text import read_condition
from astra_models.errors import MissingPixelsError
from astra_models.mwm import ApogeeCombinedSpectrum
from astra_models.outputs import output_model_named
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.the_cannon import ALL_LABELS, TheCannon

from .continuum import VERSION, normalise
from .making import TrainingSet, Windows, least_stars
from .polynomial import Array, CannonError, powers_of
from .stored import StoredPixels

KINDS = (ApogeeCoaddedSpectrumInApStar, ApogeeCombinedSpectrum)
"""Kinds of spectra that The Cannon takes."""

USUAL = ("teff", "logg", "m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm")
"""Labels where none are named; if the table has none of these two, `fe_h` for the metallicity."""

READ_AT_ONCE = 64
LEAST_SHARE = 0.5
"""A label that fewer of the stars have is left out, if it wasn't asked for."""


class Rows(NamedTuple):
    """Results with labels.

    Attributes
    ----------
    kind : type
        Kind of spectra.
    keys : ndarray of int64, shape (n_stars,)
        Their ``spectrum_pk``.
    labels : ndarray of float64, shape (n_stars, n_labels)
        NaN where there is none.
    """

    kind: type[Any]
    keys: NDArray[np.int64]
    labels: Array


def read_training_set(
    folder: Path, table: str = "aspcap", labels: Sequence[str] | None = None, where: str | None = None
) -> TrainingSet:
    """Read labels and spectra from the database and its files.

    Parameters
    ----------
    folder : Path
        An empty folder, for the normalised spectra.
    table : str
        A table of results, or its model; of several versions, a spectrum's newest result with all labels counts.
    labels : sequence of str, optional
        Labels of `ALL_LABELS` that the table has; abundances relative to iron may also follow from those relative to
        hydrogen. By default `USUAL`.
    where : str, optional
        Conditions on the table, its spectra and sources, see `astra_models.columns.condition_text.read_condition`.

    Raises
    ------
    CannonError
        If a name is unknown, or there are no such stars.
    """
    model = output_model_named(table)
    asked = tuple(labels or _usual_labels(model))
    rows = [found for kind in KINDS if kind.table_exists() and len((found := _rows(model, kind, asked, where)).keys)]
    if not rows:
        told = f" where {where}" if where else ""
        raise CannonError(
            f"{model._meta.table_name} has no results of spectra that The Cannon takes{told}; ingest labels "
            "(`astra ingest FILE`) and their spectra first, or take fewer conditions"
        )
    # Both kinds of spectra are of the same stars: the kind with more labels is enough.
    best = max(rows, key=lambda found: len(found.keys))
    names, left_out = _chosen(best, asked, required=labels is not None)
    columns = [asked.index(name) for name in names]
    complete = np.flatnonzero(np.isfinite(best.labels[:, columns]).all(axis=1))
    if n_without := len(best.keys) - len(complete):
        left_out.append(f"{n_without} of {len(best.keys)} stars lack a label")
    pixels, kept, wavelength = _read_spectra(folder, best, complete, left_out)
    if not len(kept):
        raise CannonError(f"none of {len(best.keys)} stars can be learnt from: {'; '.join(left_out)}")
    source = {"labels": str(model._meta.table_name), "spectra": str(best.kind._meta.table_name), "where": where or ""}
    units = tuple(TheCannon._meta.fields[name].unit or "" for name in names)
    values = best.labels[kept][:, columns]
    return TrainingSet(tuple(names), units, values, pixels, wavelength, VERSION, source, tuple(left_out))


def why_too_few(table: str = "aspcap") -> str | None:
    """Say why a quadratic model of the usual labels can't be trained; None if there are stars enough."""
    model = output_model_named(table)
    asked = _usual_labels(model)
    if not model.table_exists():
        return f"there is no table {model._meta.table_name}"
    there = [_rows(model, kind, asked, None) for kind in KINDS if kind.table_exists()]
    n_stars = max((int(np.isfinite(found.labels).all(axis=1).sum()) for found in there), default=0)
    least = least_stars(len(powers_of(len(asked))))
    return None if n_stars >= least else f"{n_stars} stars have labels, and {least} are needed"


def _usual_labels(model: type[PipelineOutputMixin]) -> tuple[str, ...]:
    """Give the labels that are learnt where none are named."""
    found = tuple(name for name in USUAL if _has(model, name))
    return found if {"m_h_atm", "fe_h"} & set(found) or not _has(model, "fe_h") else (*found, "fe_h")


def read_windows(path: str | Path) -> Windows:
    """Read where labels may be used, from a CSV file with the columns label, first and last (vacuum Angstrom).

    Raises
    ------
    CannonError
        If it can't be read.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                found.setdefault(line["label"].strip(), []).append((float(line["first"]), float(line["last"])))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CannonError(
            f"windows can't be read from {str(path)!r} ({type(error).__name__}: {error}); it is a CSV file with the "
            "columns label, first, last"
        ) from error
    if not found:
        raise CannonError(f"{str(path)!r} has no windows; it is a CSV file with the columns label, first, last")
    return found


def _has(model: type[PipelineOutputMixin], label: str) -> bool:
    return label in model._meta.fields or _from_hydrogen(model, label) is not None


def _from_hydrogen(model: type[PipelineOutputMixin], label: str) -> tuple[peewee.Field, peewee.Field] | None:
    """Give the columns whose difference is an abundance relative to iron."""
    fields = model._meta.fields
    element = label.removesuffix("_fe")
    if element == label or f"{element}_h" not in fields or "fe_h" not in fields:
        return None
    return fields[f"{element}_h"], fields["fe_h"]


def _expression(model: type[PipelineOutputMixin], label: str) -> peewee.ColumnBase:
    if label not in ALL_LABELS:
        raise CannonError(f"The Cannon's table has no label {label!r}; there are {', '.join(ALL_LABELS)}")
    if label in model._meta.fields:
        return model._meta.fields[label]
    pair = _from_hydrogen(model, label)
    if pair is None:
        has = ", ".join(name for name in ALL_LABELS if _has(model, name)) or "none of The Cannon's labels"
        raise CannonError(f"{model._meta.table_name} has no label {label!r}; it has {has}")
    return pair[0] - pair[1]


def _rows(model: type[PipelineOutputMixin], kind: type[Any], labels: Sequence[str], where: str | None) -> Rows:
    columns = [_expression(model, label).alias(f"label_{i}") for i, label in enumerate(labels)]
    query = (
        kind.select(kind.spectrum_pk, *columns)
        .join(model, on=(model.spectrum_pk == kind.spectrum_pk))
        .join(Source, peewee.JOIN.LEFT_OUTER, on=(kind.source_pk == Source.pk))
        .order_by(kind.spectrum_pk, model._meta.fields["v_astra"])
    )
    if where:
        query = query.where(read_condition(where, (model, kind, Source)))
    found = list(query.tuples())
    keys = np.array([row[0] for row in found], dtype=np.int64)
    values = np.array([row[1:] for row in found], dtype=np.float64).reshape(len(found), len(labels))
    chosen = _newest(keys, np.asarray(np.isfinite(values).all(axis=1)))
    return Rows(kind, keys[chosen], values[chosen])


def _newest(keys: NDArray[np.int64], has_labels: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Give the place of each spectrum's newest row with all labels, else of its newest; rows are by key and version."""
    order = np.lexsort((np.arange(len(keys)), has_labels, keys))
    return order[np.append(np.diff(keys[order]) != 0, True)] if len(keys) else order


def _chosen(rows: Rows, asked: Sequence[str], *, required: bool) -> tuple[list[str], list[str]]:
    """Choose the labels that enough stars have, and say which are left out."""
    share = np.isfinite(rows.labels).mean(axis=0)
    names = [name for name, part in zip(asked, share, strict=True) if part > (0 if required else LEAST_SHARE)]
    left_out = [
        f"{name}: {part:.0%} of the stars have it" for name, part in zip(asked, share, strict=True) if name not in names
    ]
    if not names:
        raise CannonError(f"no star has labels: {'; '.join(left_out)}")
    return names, left_out


def _read_spectra(
    folder: Path, rows: Rows, chosen: NDArray[np.intp], left_out: list[str]
) -> tuple[StoredPixels, NDArray[np.intp], Array]:
    """Normalise spectra and put them on disk; give them, which rows they are of, and their wavelengths."""
    pixels: StoredPixels | None = None
    wavelength = np.empty(0)
    kept, problems = [], []
    for some in _batches(chosen):
        found = _spectra(rows.kind, rows.keys[some])
        for place in some.tolist():
            spectrum = found.get(int(rows.keys[place]))
            try:
                arrays = None if spectrum is None else (spectrum.wavelength, spectrum.flux, spectrum.ivar)
            except MissingPixelsError as error:
                problems.append(str(error))
                continue
            if arrays is None or (pixels is not None and arrays[1].shape != wavelength.shape):
                problems.append(f"spectrum_pk {rows.keys[place]} isn't there, or has other pixels than the first")
                continue
            if pixels is None:
                wavelength = np.asarray(arrays[0], dtype=np.float64)
                pixels = StoredPixels(folder, len(wavelength))
            normalised = normalise(wavelength, arrays[1][None], arrays[2][None])
            if not (normalised.ivar > 0).any():
                problems.append(f"spectrum_pk {rows.keys[place]} has no continuum")
                continue
            pixels.add(normalised.flux[0], normalised.ivar[0])
            kept.append(place)
    if problems:
        left_out.append(f"{len(problems)} spectra can't be used, the first because: {problems[0]}")
    return pixels or StoredPixels(folder, 0), np.array(kept, dtype=np.intp), wavelength


def _batches(chosen: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    values = iter(chosen.tolist())
    while some := list(islice(values, READ_AT_ONCE)):
        yield np.array(some)


def _spectra(kind: type[Any], keys: NDArray[np.int64]) -> dict[int, Any]:
    from astra_models.database.sql import is_any_of

    query = kind.select().where(is_any_of(kind.spectrum_pk, keys.tolist()))
    return {int(row.__data__["spectrum_pk"]): row for row in query}
