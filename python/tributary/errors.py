"""Errors by what can be done about them: one class for each exit code of the programs (docs/reference/exit_codes.md)."""

from __future__ import annotations


class Error(Exception):
    """A defect of ours, or an error without a better class. `code` is the exit code that the programs would end with."""

    code: int = 1


class UsageError(Error, ValueError):
    """A call, a configuration or a model that cannot be: correct it."""

    code = 2


class CredentialsError(Error):
    """A certificate that is missing, of another CA, expired, or not allowed."""

    code = 3


class UnreachableError(Error):
    """The coordinator does not answer."""

    code = 4


class DataError(Error):
    """A site's data that cannot be used."""

    code = 5


class ConsentError(Error):
    """The run is outside what worker.yaml agrees to."""

    code = 6


class StorageError(Error):
    """A disk that is full, or a file or folder that cannot be read or written."""

    code = 7


class DamagedError(Error):
    """A file that fails its checks."""

    code = 8


class RunFailedError(Error):
    """The run ended as failed or stopped."""

    code = 9


class NotFoundError(Error):
    """No such run, round or file."""

    code = 10


class OutOfMemoryError(Error):
    """The run does not fit into the memory there is."""

    code = 11


class LogRewrittenError(Error):
    """The coordinator's audit log contradicts what this site holds of it."""

    code = 12


_BY_CODE: dict[int, type[Error]] = {
    kind.code: kind for kind in (UsageError, CredentialsError, UnreachableError, DataError, ConsentError, StorageError, DamagedError,
                                 RunFailedError, NotFoundError, OutOfMemoryError, LogRewrittenError)
}


def of_code(code: int, message: str) -> Error:
    """The error of an exit code."""
    return _BY_CODE.get(code, Error)(message)
