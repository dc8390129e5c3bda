"""Pixel arrays of results, which the pipeline wrote into a file of its own.

The file's place follows from the row: below the root of Astra's products (``$MWM_ASTRA``), by version, pipeline and
the last digits of ``spectrum_pk``. Pickles are read for their arrays alone: one that asks for anything else is refused.
What we write ourselves is an npz file, in which nothing can be but arrays.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from astra_models.boss import FLUX_UNIT
from astra_models.configuration import expand_path
from astra_models.errors import MissingPixelsError, UnrecognizedFileError
from astra_models.fits import door
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels.arrays import Array, PixelArray, PixelsMixin
from astra_models.pixels.paths import ROOTS, product_root
from astra_models.version import version_integer_to_string

_ARRAYS = {
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
    "ndarray": ("numpy",),
    "dtype": ("numpy",),
    "encode": ("_codecs",),
}
"""What a pickle of NumPy arrays needs, and in which modules it was in old and new versions."""


class IntermediateOutputMixin(PixelsMixin, PipelineOutputMixin):
    """Base of results whose pixel arrays are in a file that the pipeline wrote."""

    abstract = True

    intermediate_path: ClassVar[str]
    """Where the file is: ``{version}``, ``{group}`` (two levels of folders) and ``{spectrum_pk}`` are filled in."""

    @property
    def intermediate_output_path(self) -> str:
        """Path of the row's file, whether it exists or not; environment variables are not expanded."""
        return self._path_for(version_integer_to_string(self.v_astra))

    @property
    def absolute_path(self) -> str:
        """Where the row's file is read from; ``$MWM_ASTRA`` is the configured root of Astra's products.

        Raises
        ------
        ConfigurationError
            If the root isn't configured, or an environment variable isn't set.
        """
        path = _expand(self.intermediate_output_path)
        by_number = _expand(self._path_for(str(self.v_astra)))  # sdss/astra 0.8 names the folder 8001
        return by_number if not os.path.exists(path) and os.path.exists(by_number) else path

    @property
    def arrays_path(self) -> str:
        """Where a pipeline of ours writes the row's arrays: beside the pickle of sdss/astra, as an npz file.

        Raises
        ------
        ConfigurationError
            As for `absolute_path`.
        """
        return str(Path(_expand(self.intermediate_output_path)).with_suffix(".npz"))

    def _path_for(self, version: str) -> str:
        digits = f"{self.spectrum_pk:04d}"
        group = f"{digits[-4:-2]}/{digits[-2:]}"
        return self.intermediate_path.format(version=version, group=group, spectrum_pk=self.spectrum_pk)


def _expand(path: str) -> str:
    if path.startswith(ROOTS["astra"]):
        path = product_root("astra") + path.removeprefix(ROOTS["astra"])
    return expand_path(path)


class PickledArrayAccessor:
    """Reads arrays from the pickle that a pipeline left; or from the npz file beside it, if there is one.

    Parameters
    ----------
    unpack : callable
        Gives the arrays by name, from what the file holds.
    """

    def __init__(self, unpack: Callable[[Any], Mapping[str, Array]]):
        self.unpack = unpack

    def load(self, row: IntermediateOutputMixin, name: str) -> None:
        """Read all arrays of the row's file into its cache.

        Raises
        ------
        MissingPixelsError
            If there is no file, or it holds something else.
        """
        if os.path.exists(row.arrays_path):
            row._pixels_read.update(_read_npz(row.arrays_path, name))
            return
        path = row.absolute_path
        content = _unpickle(path, name)
        try:
            row._pixels_read.update(self.unpack(content))
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise MissingPixelsError(
                f"{name}: {path!r} doesn't hold what {type(row).__name__} writes: {error}"
            ) from error


class NpzArrayAccessor:
    """Reads arrays from the npz file that `write_arrays` left; it holds them by their names."""

    def load(self, row: IntermediateOutputMixin, name: str) -> None:
        """Read all arrays of the row's file into its cache.

        Raises
        ------
        MissingPixelsError
            If there is no file, it is damaged, or it has no such array.
        """
        row._pixels_read.update(_read_npz(row.absolute_path, name))


def _read_npz(path: str, name: str) -> dict[str, Array]:
    try:
        with door.refusing(), door.open_file(path) as file, np.load(file, allow_pickle=False) as arrays:
            found = {one: arrays[one] for one in arrays.files}
    except UnrecognizedFileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise MissingPixelsError(f"{name}: there is no file {path!r}") from error
        raise MissingPixelsError(f"{name}: can't read arrays from {path!r}: {error}") from error
    if name not in found:
        raise MissingPixelsError(f"{name}: {path!r} doesn't hold it; it has {', '.join(found) or 'nothing'}")
    return found


def write_arrays(path: str | Path, **arrays: ArrayLike) -> None:
    """Write arrays into an npz file, in folders that are made; it has its name only when it is whole.

    Raises
    ------
    ValueError
        If one holds objects.
    OSError
        If the file can't be written.
    """
    path = Path(path)
    values: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in values.items():
        if array.dtype.hasobject:
            raise ValueError(f"{name}: an array of objects can't go into {str(path)!r}; give numbers or text")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **values)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def model_flux_and_continuum(content: Iterable[ArrayLike]) -> dict[str, Array]:
    """Give the arrays of the files of most pipelines, which hold the continuum and the model divided by it."""
    continuum, rectified_model_flux = (np.ravel(array) for array in content)
    return {"model_flux": continuum * rectified_model_flux, "continuum": continuum}


class FittedModelMixin(IntermediateOutputMixin):
    """Base of results whose file holds the continuum of the spectrum, and the best model divided by it."""

    abstract = True

    model_flux = PixelArray(
        accessor_class=PickledArrayAccessor,
        accessor_kwargs={"unpack": model_flux_and_continuum},
        unit=FLUX_UNIT,
        help_text="Flux density of the best model",
    )
    continuum = PixelArray(
        accessor_class=PickledArrayAccessor,
        accessor_kwargs={"unpack": model_flux_and_continuum},
        unit=FLUX_UNIT,
        help_text="Continuum of the spectrum, which the model is multiplied by",
    )


def _unpickle(path: str, wanted: str) -> object:
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file).load()
    except FileNotFoundError as error:
        raise MissingPixelsError(f"{wanted}: there is no file {path!r}") from error
    except (pickle.UnpicklingError, OSError, EOFError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise MissingPixelsError(f"{wanted}: can't read arrays from {path!r}, which may be damaged: {error}") from error


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="latin1")  # of arrays that Python 2 wrote

    def find_class(self, module_name: str, global_name: str) -> object:
        """Give the function or class that a pickle names, if it is one of the few that arrays need."""
        if module_name not in _ARRAYS.get(global_name, ()):
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is no array")
        return super().find_class(module_name, global_name)
