"""What travels over the bus: windows of PCM and gaps, and their Kafka key, headers and bytes.

The contract between ingest and monitor. A record carries the wire version; a reader refuses versions it does not know.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ingest.errors import WireError

WIRE_VERSION = b"1"

# The one PCM format of the system. 32 kHz is what PANNs' Cnn14 was trained on, keeps evidence clips worth hearing,
# and is four times the fingerprint's 8 kHz.
SAMPLE_RATE_HZ = 32_000
BYTES_PER_SAMPLE = 2  # signed 16 bit little endian, mono
INTEGER_MOST = 2**62  # the databases' integers have 63 bits; sums of two of ours must fit


class GapReason(StrEnum):
    """Why a stretch of a stream's wall clock was not listened to."""

    CONNECTING = "connecting"
    STALLED = "stalled"
    ENDED = "ended"
    NOT_AUDIO = "not_audio"
    DECODE_ERROR = "decode_error"
    DROPPED = "dropped_under_load"
    LOST = "worker_backlog_lost"
    STOPPED = "not_running"


@dataclass(frozen=True, slots=True)
class Window:
    """A contiguous slice of one session's PCM.

    `anchor` and every other instant on the wire is a *stream clock* value: samples at 32 kHz since the Unix epoch
    (see `ingest.timeline`). Sample 0 of the session sounded at `anchor`.
    """

    stream_id: int
    session_id: uuid.UUID
    sequence: int
    anchor: int
    first_sample: int
    pcm: bytes

    @property
    def start(self) -> int:
        """Stream clock of the first sample."""
        return self.anchor + self.first_sample

    @property
    def end(self) -> int:
        """Stream clock just behind the last sample."""
        return self.start + len(self.pcm) // BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a stream's wall clock without audio, and why. Instants are stream clock values."""

    stream_id: int
    start: int
    end: int
    reason: GapReason


Record = Window | Gap
Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as Kafka carries it."""

    key: bytes
    headers: Headers
    value: bytes


def encode(record: Record) -> Encoded:
    """The key (the stream, so that one stream stays in order), headers and value of a record."""
    key = str(record.stream_id).encode()
    if isinstance(record, Window):
        fields = {
            "kind": "window",
            "session": record.session_id.hex,
            "sequence": str(record.sequence),
            "anchor": str(record.anchor),
            "first_sample": str(record.first_sample),
            "sample_rate_hz": str(SAMPLE_RATE_HZ),
        }
        return Encoded(key, _headers(fields), record.pcm)
    fields = {"kind": "gap", "start": str(record.start), "end": str(record.end), "reason": record.reason.value}
    return Encoded(key, _headers(fields), b"")


def decode(key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes | None) -> Record:
    """The record behind a Kafka message.

    Raises:
        WireError: the message is not one of ours, of another version, or damaged; the message says which.
    """
    fields = dict(headers)
    if (version := fields.get("airtrace")) != WIRE_VERSION:
        raise WireError(f"wire version {version!r}, this reader knows {WIRE_VERSION!r}: upgrade the older side")
    try:
        kind = fields["kind"].decode()
        stream_id = _integer(key or b"")
        if kind == "window":
            return _window(stream_id, fields, value or b"")
        if kind == "gap":
            reason = GapReason(fields["reason"].decode())
            return _gap(stream_id, fields, reason)
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise WireError(f"damaged record: {type(error).__name__} {error}") from error
    raise WireError(f"unknown kind of record: {kind!r}")


def _headers(fields: dict[str, str]) -> Headers:
    return (("airtrace", WIRE_VERSION), *((name, text.encode()) for name, text in fields.items()))


def _integer(text: bytes) -> int:
    number = int(text)
    if abs(number) > INTEGER_MOST:
        raise ValueError(f"{text[:30]!r} is out of bounds")
    return number


def _gap(stream_id: int, fields: dict[str, bytes], reason: GapReason) -> Gap:
    start, end = _integer(fields["start"]), _integer(fields["end"])
    if end <= start:
        raise ValueError(f"a gap that ends {start - end} samples before it begins")
    return Gap(stream_id, start, end, reason)


def _window(stream_id: int, fields: dict[str, bytes], pcm: bytes) -> Window:
    if _integer(fields["sample_rate_hz"]) != SAMPLE_RATE_HZ:
        raise WireError(f"sample rate {fields['sample_rate_hz']!r} Hz, this reader takes {SAMPLE_RATE_HZ}")
    if not pcm or len(pcm) % BYTES_PER_SAMPLE:
        raise WireError(f"{len(pcm)} bytes are not a whole number of samples")
    return Window(
        stream_id=stream_id,
        session_id=uuid.UUID(hex=fields["session"].decode()),
        sequence=_integer(fields["sequence"]),
        anchor=_integer(fields["anchor"]),
        first_sample=_integer(fields["first_sample"]),
        pcm=pcm,
    )
