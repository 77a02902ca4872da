"""The exceptions of ingest.

IngestError
├── WireError            a record on the bus cannot be read
├── BusError             the bus cannot take or deliver records
│   └── UnfitBroker      limits of the brokers would lose windows
├── FfmpegMissing        this machine has no ffmpeg
└── SourceError          a stream or file cannot be read; `reason` is that of the coverage gap
    └── UnsupportedUrl   the URL is of an unsupported kind
"""

from __future__ import annotations


class IngestError(Exception):
    """The base of all errors of ingest."""


class WireError(IngestError):
    """A record on the bus cannot be read."""


class BusError(IngestError):
    """The bus cannot take or deliver records."""


class UnfitBroker(BusError):
    """Limits of the brokers, or of a topic, would lose windows."""


class FfmpegMissing(IngestError):
    """There is no ffmpeg on this machine: apt-get install ffmpeg, or pip install 'airtrace[embedded]'."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class SourceError(IngestError):
    """A stream or file cannot be read."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnsupportedUrl(SourceError):
    """The URL is of a kind that Airtrace does not support."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "not_audio")
