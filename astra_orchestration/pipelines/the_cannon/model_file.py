"""The file of a model: arrays in an npz, without objects, the same bytes for the same model."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_orchestration.pipelines.npz import npz_bytes, write_whole

from .model import CannonModel
from .polynomial import CannonError, Polynomial
from .training import Coefficients

FORMAT = 1
"""Of the file."""

LARGEST = 2_000_000_000
"""Bytes that the arrays of a file may take; 20 labels at 8,575 pixels take 16 million."""

_SHAPES = {
    "theta": ("n_pixels", "n_terms"),
    "scatter": ("n_pixels",),
    "wavelength": ("n_pixels",),
    "powers": ("n_terms", "n_labels"),
    "offsets": ("n_labels",),
    "scales": ("n_labels",),
    "factors": ("n_labels",),
    "floors": ("n_labels",),
    "stars": ("n_stars", "n_labels"),
    "starts": ("n_starts", "n_labels"),
    "labels": ("n_labels",),
    "units": ("n_labels",),
    "continuum": (),
    "provenance": (),
    "format": (),
}
"""Arrays of the file. `stars` and `starts` are scaled labels."""


def save_model(model: CannonModel, path: str | Path) -> str:
    """Write a model, and give the SHA-256 of the file."""
    return write_whole(_content(model), path)


def _content(model: CannonModel) -> bytes:
    """Give the content of a model's file."""
    values: dict[str, ArrayLike] = {
        "theta": model.coefficients.theta,
        "scatter": model.coefficients.scatter,
        "wavelength": model.wavelength,
        "powers": model.polynomial.powers,
        "offsets": model.polynomial.offsets,
        "scales": model.polynomial.scales,
        "factors": model.factors,
        "floors": model.floors,
        "stars": np.asarray(model.stars, dtype=np.float64),
        "starts": model.starts,
        "labels": np.array(model.labels),
        "units": np.array(model.units),
        "continuum": model.continuum,
        "provenance": json.dumps(dict(model.provenance), sort_keys=True),
        "format": FORMAT,
    }
    return npz_bytes(values)


def load_model(path: str | Path) -> CannonModel:
    """Read a model.

    Parameters
    ----------
    path : str or Path
        An npz file that `save_model` wrote. Nothing in it is unpickled.

    Raises
    ------
    CannonError
        If it can't be read, is of another format, or its arrays don't fit together.
    """
    path = Path(path).expanduser()
    try:
        with door.refusing(), door.open_file(str(path)) as file:
            content = file.read()
            values = _arrays(content)
    except UnrecognizedFileError as error:
        raise CannonError(
            f"no model of The Cannon can be read from {str(path)!r}: {error}; `astra train the_cannon` writes one"
        ) from error
    _require_fitting(path, values)
    polynomial = Polynomial(
        tuple(map(str, values["labels"])), values["powers"].astype(np.int64), values["offsets"], values["scales"]
    )
    return CannonModel(
        polynomial,
        Coefficients(values["theta"], values["scatter"]),
        values["wavelength"],
        tuple(map(str, values["units"])),
        values["factors"],
        values["floors"],
        values["stars"],
        values["starts"],
        str(values["continuum"]),
        _provenance(path, values["provenance"]),
        name=path.name,
        checksum=hashlib.sha256(content).hexdigest(),
    )


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    with ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST:
            raise ValueError(f"its arrays take more than {LARGEST:,} bytes")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in _SHAPES if name in archive.files}


def _require_fitting(path: Path, values: Mapping[str, NDArray[Any]]) -> None:
    if missing := _SHAPES.keys() - values.keys():
        raise CannonError(f"{str(path)!r} is no model of The Cannon: it has no {', '.join(sorted(missing))}")
    if int(values["format"]) != FORMAT:
        raise CannonError(
            f"{str(path)!r} is a model of format {values['format']}; this version reads {FORMAT}: train it again"
        )
    sizes: dict[str, int] = {}
    for name, axes in _SHAPES.items():
        shape = values[name].shape
        is_text = name in ("labels", "units", "continuum", "provenance")
        wrong_kind = values[name].dtype.kind not in ("U" if is_text else "fiu")
        fits = len(shape) == len(axes) and all(
            sizes.setdefault(axis, n) == n for axis, n in zip(axes, shape, strict=True)
        )
        if wrong_kind or not fits:
            raise CannonError(f"{str(path)!r}: its array {name} has shape {shape}, which doesn't fit the others")
    finite = all(
        np.isfinite(values[name]).all() for name in ("theta", "offsets", "scales", "factors", "floors", "starts")
    )
    if not finite or not (values["scales"] > 0).all() or values["powers"].min(initial=0) < 0:
        raise CannonError(f"{str(path)!r} has values that no model of The Cannon has; train it again")


def _provenance(path: Path, text: NDArray[Any]) -> dict[str, Any]:
    try:
        found = json.loads(str(text))
    except ValueError as error:
        raise CannonError(f"{str(path)!r}: its provenance can't be read: {error}") from error
    return found if isinstance(found, dict) else {}
