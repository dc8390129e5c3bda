"""The file of a network: arrays in an npz, without objects; and the folder of files that binspec has."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.analysis.recipe import content_digest
from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_orchestration.pipelines.npz import npz_bytes, write_whole

from .network import Network, PayneError

__all__ = ["load_network", "network_of_binspec", "save_network"]

FORMAT = 1
"""Of the file."""

LARGEST = 2_000_000_000
"""Bytes that the arrays of a file may take; 25 labels, 300 neurons and 7,514 pixels take 10 million."""

MOST_LAYERS = 20

NAMED = ("labels", "x_min", "x_max", "wavelength", "continuum_pixels", "activation", "format")
"""Arrays of the file beside ``weights_0``, ``biases_0``, ``weights_1``..."""

BINSPEC_WEIGHTS = "NN_normalized_spectra.npz"
BINSPEC_WAVELENGTH = "apogee_wavelength.npz"
BINSPEC_CONTINUUM = "cannon_cont_pixels_apogee.npz"
BINSPEC_LABELS = ("teff", "logg", "fe_h", "mg_fe", "v_macro")


def save_network(network: Network, path: str | Path) -> str:
    """Write a network, and give the SHA-256 of the file."""
    values: dict[str, ArrayLike] = {
        "labels": np.array(network.labels),
        "x_min": network.lower,
        "x_max": network.upper,
        "wavelength": network.wavelength,
        "continuum_pixels": network.continuum_pixels,
        "activation": network.activation,
        "format": FORMAT,
    }
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        values |= {f"weights_{place}": weight, f"biases_{place}": bias}
    return write_whole(npz_bytes(values), path)


def load_network(path: str | Path) -> Network:
    """Read a network.

    Parameters
    ----------
    path : str or Path
        An npz file that `save_network` wrote, or a folder with binspec's three files. Nothing in them is unpickled.

    Raises
    ------
    PayneError
        If it can't be read, is of another format, or its arrays don't fit together.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return network_of_binspec(path)
    values, checksum = _arrays(path)
    if missing := set(NAMED) - values.keys():
        raise PayneError(f"{str(path)!r} is no network of The Payne: it has no {', '.join(sorted(missing))}")
    if values["format"].shape != () or values["format"].tolist() != FORMAT:
        raise PayneError(f"{str(path)!r} is a network of another format; this version reads {FORMAT}")
    n_layers = next((n for n in range(MOST_LAYERS) if f"weights_{n}" not in values), MOST_LAYERS)
    layers = range(n_layers)
    if missing := [f"biases_{n}" for n in layers if f"biases_{n}" not in values]:
        raise PayneError(f"{str(path)!r} is no network of The Payne: it has no {', '.join(missing)}")
    return Network(
        tuple(_numbers(path, values, f"weights_{n}") for n in layers),
        tuple(_numbers(path, values, f"biases_{n}") for n in layers),
        str(values["activation"]),
        tuple(map(str, values["labels"].ravel())),
        _numbers(path, values, "x_min").astype(np.float64),
        _numbers(path, values, "x_max").astype(np.float64),
        _numbers(path, values, "wavelength").astype(np.float64),
        _numbers(path, values, "continuum_pixels").astype(bool),
        name=path.name,
        checksum=checksum,
    )


def network_of_binspec(folder: Path) -> Network:
    """Read the network of normalised spectra of kareemelbadry/binspec: dwarfs, 4200 to 7000 K.

    Parameters
    ----------
    folder : Path
        A folder with ``NN_normalized_spectra.npz``, ``apogee_wavelength.npz`` and ``cannon_cont_pixels_apogee.npz``.

    Raises
    ------
    PayneError
        If a file lacks, or isn't what binspec has.
    """
    names = (BINSPEC_WEIGHTS, BINSPEC_WAVELENGTH, BINSPEC_CONTINUUM)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise PayneError(f"the folder {str(folder)!r} isn't binspec's: it has no {', '.join(missing)}")
    values: dict[str, NDArray[Any]] = {}
    for name in names:
        values |= _arrays(folder / name)[0]
    wanted = ("w_array_0", "w_array_1", "b_array_0", "b_array_1", "x_min", "x_max", "wavelength", "pixels_cannon")
    if missing := [name for name in wanted if name not in values]:
        raise PayneError(f"the files in {str(folder)!r} aren't binspec's: they have no {', '.join(missing)}")
    number = {name: _numbers(folder, values, name) for name in wanted}
    return Network(
        (number["w_array_0"], number["w_array_1"]),
        (number["b_array_0"], number["b_array_1"]),
        "sigmoid",
        BINSPEC_LABELS,
        number["x_min"].astype(np.float64),
        number["x_max"].astype(np.float64),
        number["wavelength"].astype(np.float64),
        number["pixels_cannon"].astype(bool),
        name=folder.name,
        checksum=content_digest(folder),
    )


def _arrays(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Give the arrays of an npz file, and its SHA-256."""
    try:
        with door.refusing(), door.open_file(str(path)) as file:
            content = file.read()
            with ZipFile(io.BytesIO(content)) as archive:
                if sum(member.file_size for member in archive.infolist()) > LARGEST:
                    raise ValueError(f"its arrays take more than {LARGEST:,} bytes")
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                values = {name: archive[name] for name in archive.files}
    except UnrecognizedFileError as error:
        raise PayneError(f"no network of The Payne can be read from {str(path)!r}: {error}") from error
    return values, hashlib.sha256(content).hexdigest()


def _numbers(path: Path, values: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if values[name].dtype.kind not in "fiub":
        raise PayneError(f"{str(path)!r} is no network of The Payne: its array {name} has no numbers")
    return values[name]
