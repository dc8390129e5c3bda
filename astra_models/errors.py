"""Errors that a user can cause: one family, each also the built-in it refines; and the hint for a misspelt name."""

import difflib
from collections.abc import Iterable

NAMES_SHOWN = 12


def close_names(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """Give the known names that are close to a given one, in capitals or not, the closest first.

    Parameters
    ----------
    name : str
        The name that was given.
    known : iterable of str
        The names that there are.
    cutoff : float, optional
        How similar they are at least, from 0 to 1: see `difflib.get_close_matches`.
    """
    folded = {str(other).lower(): str(other) for other in known}
    return [folded[match] for match in difflib.get_close_matches(str(name).lower(), folded, cutoff=cutoff)]


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Say which known names are close to an unknown one, for the end of an error's message.

    Parameters
    ----------
    name : str
        The name that was given.
    known : iterable of str
        The names that there are.
    otherwise : str, optional
        What to say if none is close; by default, which names there are.
    """
    names = list(map(str, known))
    if close := close_names(name, names):
        return f"did you mean {' or '.join(close)}?"
    if otherwise is not None:
        return otherwise
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"known are {', '.join(names[:NAMES_SHOWN]) or 'none'}{more}"


class AstraError(Exception):
    """Base of every error that a user of this project can cause."""


class ConfigurationError(AstraError, ValueError):
    """Something is configured, and wrong."""


class UnknownEngineError(ConfigurationError):
    """There is no engine of this name."""


class VersionError(AstraError, ValueError):
    """A version that can't be encoded in, or decoded from, ``v_astra``."""


class FieldValueError(AstraError, ValueError):
    """A value that its column can't hold."""


class FlagError(AstraError, ValueError):
    """A flag whose bit is out of range, not a single bit, or taken."""


class FamilyError(AstraError, TypeError):
    """A family of columns that can't be a part of its model."""


class ModelError(AstraError, TypeError):
    """A model that was defined with a column, a unit or a table that it can't have."""


class TableTakenError(ModelError):
    """A model whose table is another model's already.

    Parameters
    ----------
    message : str
        What is wrong.
    module : str
        Where the other model was defined.
    """

    def __init__(self, message: str, module: str):
        super().__init__(message)
        self.module = module


class AbstractModelError(AstraError, TypeError):
    """A model that only serves as a base was used as a table."""


class MissingTableError(AstraError, LookupError):
    """A table or schema that isn't in the bound database."""


class MissingColumnError(AstraError, LookupError):
    """A column of a model that its table in the bound database lacks."""


class ReadOnlyTableError(AstraError, TypeError):
    """A table that can be read but not upserted into, because its columns or keys don't allow it."""


class OutdatedSchemaError(AstraError, LookupError):
    """A database whose tables are those of an older release."""


class MigrationError(AstraError, RuntimeError):
    """A migration that can't be applied."""


class AdoptionError(AstraError, ValueError):
    """A production schema that can't be adopted as asked."""


class SchemaPermissionError(AstraError, PermissionError):
    """Tables can't be made or changed by this user."""


class MissingPixelsError(AstraError, LookupError):
    """Pixels that can't be read: no file, no HDU, no column, or a damaged file."""


class MissingExtraError(AstraError, ImportError):
    """A package that an optional part of this one needs."""


class UnresolvedSpectrumError(AstraError, LookupError):
    """A ``spectrum_pk`` without a row in any of the concrete spectrum tables."""


class UnknownColumnError(AstraError, ValueError):
    """Rows have a column that the model doesn't have."""


class UnknownSourceError(AstraError, LookupError):
    """None of the given ``sdss_id`` is in the database."""


class TaskError(AstraError, TypeError):
    """A pipeline function whose annotations don't say what it takes and gives."""


class ParameterError(TaskError, ValueError):
    """A value that a pipeline's parameter can't take, or a parameter that the pipeline doesn't have."""


class NotSetUpError(ParameterError):
    """A pipeline that can't run here, because a program, model or configuration that it needs isn't given yet.

    Where several pipelines run, such a one has nothing to do; asked for alone, it says what it needs.
    """


class PipelineError(AstraError, RuntimeError):
    """A pipeline that raised on every call before it gave any result, gave none at all, or ended too early."""


class UnansweredError(AstraError, RuntimeError):
    """A run after which too few of the spectra that were due have a result."""


class LeaseLostError(AstraError, RuntimeError):
    """Another run has taken over spectra that this one had in hand."""

    def __init__(self, keys: "Iterable[int]", message: str):
        super().__init__(message)
        self.keys = frozenset(keys)


class WorkerError(AstraError, RuntimeError):
    """The processes that call a pipeline can't be started, or are lost again and again."""


class DatabaseUnavailableError(AstraError, ConnectionError):
    """The database can't be reached, or refuses this user."""


class StorageError(AstraError, OSError):
    """A disk that is full, read-only or broken."""


class TransactionInterruptedError(AstraError, ConnectionError):
    """A passing failure inside a caller's transaction: only the caller can run it again."""


class UnrecognizedFileError(AstraError, ValueError):
    """A file that is none of the kinds that can be ingested."""


class UnknownReleaseError(UnrecognizedFileError):
    """A file of which nobody has said yet, or rightly, of which data release it is."""


class UnknownKindError(UnrecognizedFileError):
    """A file of an unknown kind, in which no damage was found."""


class PipelineNameError(AstraError, ValueError):
    """A name that a new pipeline can't have."""


class UnknownPipelineError(AstraError, LookupError):
    """A name that no pipeline has."""


class UnknownPackageError(AstraError, LookupError):
    """A name that no installed package with pipelines has."""


class PackageImportError(AstraError, ImportError):
    """A package of pipelines that can't be imported, or gives something that is no pipeline."""


class PackageClashError(AstraError, LookupError):
    """A package of pipelines that uses a name of another package, or one of ours."""


class ResultTypeError(AstraError, TypeError):
    """An asset gave, or asks for, something that isn't results."""


class PortTakenError(AstraError, OSError):
    """A port that something else listens on."""


class AlreadyRunningError(AstraError, RuntimeError):
    """A service of which there may be one, and is one."""


class ServerEndedError(AstraError, RuntimeError):
    """A process of the Dagster UI that ended by itself."""


class MissingFileError(AstraError, FileNotFoundError):
    """Files that a path or a pattern names, and that aren't there."""


class SampleError(AstraError, ValueError):
    """A sample survey that can't be made as asked, or not in that folder."""


class NothingRejectedError(AstraError, LookupError):
    """There are no refused rows to try again or to drop."""


class InexactPayloadError(AstraError, ValueError):
    """A refused row of which some value was kept as a description: it can be shown, and not stored again."""


class SelectionError(AstraError, ValueError):
    """Something that can't be selected: there is no such model, column, source or version."""


class OutputExistsError(AstraError, FileExistsError):
    """A file exists, and was not to be replaced."""


class OutputFormatError(AstraError, ValueError):
    """A file that can't be written: its suffix is unknown, or the package that writes it isn't installed."""


class NothingToWriteError(AstraError, LookupError):
    """A file was asked for, and there are no rows for it."""


class DamagedProductError(AstraError, OSError):
    """A file that was just written doesn't read back as it should."""


class UnknownProductError(AstraError, LookupError):
    """A name that no summary product has."""


class ModelSpectrumError(AstraError, LookupError):
    """A result whose model spectrum can't be had: of no measurement, or by a grid that isn't here."""
