"""What can go wrong in the matching half, with its exit code and its HTTP status.

AirtraceError                      exit 1, HTTP 500
├── SettingsError                  exit 3        a setting is wrong or unknown
├── HomeError                      exit 3        the home cannot be used
│   ├── HomeBusy                   exit 4        another process has it
│   └── HomeTooNew                 exit 3        made by a newer version
├── DependencyError                exit 4, 503   PostgreSQL, Milvus, Kafka or a port is not to be had
├── ModelMismatch                  exit 3, 409   the catalog was made with other weights
├── ModelUnavailable               exit 3, 409   a model's file or library is not there, or not what it should be
├── StaleProgress                  exit 1        another worker has written a stream's progress
├── AudioError                     exit 1, 422   a file cannot be used; `reason` is a short constant
├── DetailsError                   exit 1, 422   what is said of a track is not valid; `reason` is a short constant
├── CalibrationError               exit 1, 422   too little was heard to set a threshold by
├── NotFound                       exit 1, 404
└── Conflict                       exit 1, 409
    ├── IdTaken                    exit 1, 409   another track has this own id
    └── SameAudio                  exit 1, 409   another track has this audio
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
    """Another process has the home."""

    exit_code = 4
    status = 503
    title = "The home is in use"


class HomeTooNew(HomeError):
    """The home was made by a newer version."""

    title = "The home was made by a newer version"


class DependencyError(AirtraceError):
    """PostgreSQL, Milvus, Kafka or a port is not to be had."""

    exit_code = 4
    status = 503
    title = "A part that Airtrace needs cannot be reached"


class ModelMismatch(AirtraceError):
    """The catalog was made with other weights."""

    exit_code = 3
    status = 409
    title = "The catalog was made with another model"


class StaleProgress(AirtraceError):
    """Another worker has written this stream's progress: read it again."""


class ModelUnavailable(AirtraceError):
    """A model's file or library is not there, or not what it should be."""

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
    """What is said of a track is not valid."""

    status = 422
    title = "What is said of the track is not valid"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CalibrationError(AirtraceError):
    """Too little was heard to set a threshold by."""

    status = 422
    title = "It cannot be calibrated"


class NotFound(AirtraceError):
    """There is no such thing."""

    status = 404
    title = "Not found"


class Conflict(AirtraceError):
    """It cannot be done as things stand."""

    status = 409
    title = "It cannot be done as things stand"


class IdTaken(Conflict):
    """Another track has this own id."""

    reason = "id_taken"

    def __init__(self, own_id: str | None) -> None:
        super().__init__(f"own id {own_id!r} is another track's: airtrace tracks list {own_id!r}")
        self.own_id = own_id


class SameAudio(Conflict):
    """Another track has this audio."""

    reason = "same_audio"

    def __init__(self, track: int) -> None:
        super().__init__(f"track {track} has this very audio: edit that one")
        self.track = track
