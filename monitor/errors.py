"""The errors of `monitor`, each with its exit code and its HTTP status.

AirtraceError                      exit 1, HTTP 500
├── SettingsError                  exit 3        a setting is wrong or unknown
├── HomeError                      exit 3        the home cannot be used
│   ├── HomeBusy                   exit 4        another process is using it
│   └── HomeTooNew                 exit 3        made by a newer version
├── DependencyError                exit 4, 503   a dependency is missing or unreachable, or the port is in use
│   └── QueryFailed                exit 4, 500   PostgreSQL could not run a query; the next try may succeed
├── RejectedValue                  exit 1, 422   PostgreSQL does not store a value, such as NUL in text
├── RowDeleted                     exit 1, 409   a row that a new one refers to was just deleted
├── ModelMismatch                  exit 3, 409   the catalog was made with other weights
├── ModelUnavailable               exit 3, 409   a model's file or library is missing or invalid
├── StaleProgress                  exit 1        another worker has written a stream's progress
├── AudioError                     exit 1, 422   a file cannot be used; `reason` is a short constant
├── MetadataError                  exit 1, 422   metadata of a track is invalid; `reason` is a short constant
├── CalibrationError               exit 1, 422   the recordings are too short to set a threshold
├── NotFound                       exit 1, 404
└── Conflict                       exit 1, 409
    ├── IdTaken                    exit 1, 409   another track has the same own id
    └── SameAudio                  exit 1, 409   another track has the same audio
"""

from __future__ import annotations

from typing import ClassVar


class AirtraceError(Exception):
    """Something went wrong."""

    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    reason: str | None = None  # a short constant, for programs


class SettingsError(AirtraceError):
    """A setting is wrong or unknown."""

    exit_code = 3
    title = "A setting is wrong"


class HomeError(AirtraceError):
    """The home directory cannot be used."""

    exit_code = 3
    title = "The home cannot be used"


class HomeBusy(HomeError):
    """Another process is using the home."""

    exit_code = 4
    status = 503
    title = "The home is in use"


class HomeTooNew(HomeError):
    """The home was made by a newer version."""

    title = "The home was made by a newer version"


class DependencyError(AirtraceError):
    """A dependency is missing or unreachable, or the port is in use."""

    exit_code = 4
    status = 503
    title = "A dependency is unavailable"


class QueryFailed(DependencyError):
    """PostgreSQL could not run a query, such as for a missing privilege or a deadlock. A retry may succeed."""

    status = 500
    title = "Something went wrong"


class RejectedValue(AirtraceError):
    """PostgreSQL does not store a value, such as text with NUL or a number out of range."""

    status = 422
    title = "A value cannot be stored"


class RowDeleted(AirtraceError):
    """A row that a new one refers to was just deleted: read it again."""

    status = 409
    title = "It was just deleted"


class ModelMismatch(AirtraceError):
    """The catalog was made with other weights."""

    exit_code = 3
    status = 409
    title = "The catalog was made with another model"


class StaleProgress(AirtraceError):
    """Another worker has written this stream's progress: read it again."""


class ModelUnavailable(AirtraceError):
    """A model's file or library is missing or invalid."""

    exit_code = 3
    status = 409
    title = "The model cannot be used"


class AudioError(AirtraceError):
    """A file cannot be used as audio."""

    status = 422
    title = "The file cannot be used"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MetadataError(AirtraceError):
    """Metadata of a track is invalid."""

    status = 422
    title = "The metadata is not valid"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CalibrationError(AirtraceError):
    """The recordings are too short to set a threshold."""

    status = 422
    title = "Calibration is not possible"


class NotFound(AirtraceError):
    """The requested object does not exist."""

    status = 404
    title = "Not found"


class Conflict(AirtraceError):
    """The request conflicts with the current state."""

    status = 409
    title = "The request conflicts with the current state"


class IdTaken(Conflict):
    """Another track has the same own id."""

    reason = "id_taken"

    def __init__(self, own_id: str | None) -> None:
        super().__init__(f"another track has the own id {own_id!r}: see `airtrace tracks list {own_id!r}`")
        self.own_id = own_id


class SameAudio(Conflict):
    """Another track has the same audio."""

    reason = "same_audio"

    def __init__(self, track: int) -> None:
        super().__init__(f"track {track} has the same audio: edit that track instead")
        self.track = track


def with_cause(error: BaseException) -> str:
    """The text of an error for the log, followed by that of its cause unless it contains it."""
    text, cause = str(error) or type(error).__name__, error.__cause__
    reason = "" if cause is None else str(cause) or type(cause).__name__
    return text if reason in text else f"{text}: {reason}"
