"""What can go wrong while listening.

IngestError
├── WireError            a record on the bus cannot be read
├── BusError             the bus cannot take or give records
│   └── UnfitBroker      its limits would lose windows
├── FfmpegMissing        no ffmpeg on this machine
└── SourceError          a stream or file cannot be heard; `reason` is the coverage gap's reason
    └── UnsupportedUrl   the URL is of a kind that Airtrace does not open
"""

from __future__ import annotations


class IngestError(Exception):
    """Something went wrong while listening."""


class WireError(IngestError):
    """A record on the bus cannot be read."""


class BusError(IngestError):
    """The bus cannot take or give records."""


class UnfitBroker(BusError):
    """Limits of the brokers, or of a topic, would lose windows."""


class FfmpegMissing(IngestError):
    """There is no ffmpeg on this machine: apt-get install ffmpeg, or pip install 'airtrace[embedded]'."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class SourceError(IngestError):
    """A stream or file cannot be heard."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnsupportedUrl(SourceError):
    """The URL is of a kind that Airtrace does not open."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "not_audio")
