"""The records on the bus, windows of PCM and gaps, and their Kafka keys, headers and values.

This is the contract between ingest and monitor. A record carries its wire version; readers refuse unknown versions.
Headers may be added within a version: a reader uses the defaults of those that are missing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ingest import flac
from ingest.errors import WireError

# 2: the value may be FLAC, which a reader of version 1 would take for PCM. All other records are still written as 1.
WIRE_VERSIONS = (b"1", b"2")

# The only PCM format of the system. PANNs' Cnn14 was trained at 32 kHz, evidence clips sound good at it, and it is
# twice the fingerprint's 16 kHz.
SAMPLE_RATE_HZ = 32_000
BYTES_PER_SAMPLE = 2  # signed 16 bit little endian, mono
MAX_INTEGER = 2**62  # the databases' integers have 63 bits; sums of two of ours must fit
MAX_TRACE_CHARACTERS = 200  # a W3C traceparent has 55


class Codec(StrEnum):
    """The encoding of a window's audio."""

    PCM = "pcm"
    FLAC = "flac"


class GapReason(StrEnum):
    """Why there is no audio for an interval of a stream's wall clock."""

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

    `anchor` and every other instant on the wire are *stream clock* values: samples at 32 kHz since the Unix epoch (see
    `ingest.timeline`). Sample 0 of the session sounded at `anchor`.

    sequence: counts the windows of a session. first_sample: number of the first sample within the session.
    pcm: signed 16 bit little endian, mono, 32 kHz.
    epoch: of the lease under which it was published (see `ingest.leases.lease`); 0 if no other process can publish.
    is_discontinuous: the window published before it does not end where this one starts.
    trace: its trace context, as W3C `traceparent`; empty if there is none.
    """

    stream_id: int
    session_id: uuid.UUID
    sequence: int
    anchor: int
    first_sample: int
    pcm: bytes
    epoch: int = 0
    is_discontinuous: bool = False
    trace: str = ""

    @property
    def start(self) -> int:
        """Stream clock of the first sample."""
        return self.anchor + self.first_sample

    @property
    def end(self) -> int:
        """Stream clock just after the last sample."""
        return self.start + len(self.pcm) // BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval of a stream's wall clock without audio, as stream clock values. epoch: see `Window`."""

    stream_id: int
    start: int
    end: int
    reason: GapReason
    epoch: int = 0


Record = Window | Gap
Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as Kafka carries it: key, headers and value."""

    key: bytes
    headers: Headers
    value: bytes


def encode(record: Record, codec: Codec = Codec.PCM) -> Encoded:
    """Encodes a record. Its key is the stream, so that the records of one stream stay in order."""
    key = str(record.stream_id).encode()
    if isinstance(record, Window):
        fields = {
            "kind": "window",
            "session": record.session_id.hex,
            "sequence": str(record.sequence),
            "anchor": str(record.anchor),
            "first_sample": str(record.first_sample),
            "sample_rate_hz": str(SAMPLE_RATE_HZ),
            "codec": codec.value,
            "epoch": str(record.epoch),
            "discontinuity": str(int(record.is_discontinuous)),
            "traceparent": record.trace,
        }
        value = flac.encode(record.pcm, SAMPLE_RATE_HZ) if codec is Codec.FLAC else record.pcm
        return Encoded(key, _headers(fields, WIRE_VERSIONS[codec is Codec.FLAC]), value)
    places = {"start": str(record.start), "end": str(record.end)}
    fields = {"kind": "gap", **places, "reason": record.reason.value, "epoch": str(record.epoch)}
    return Encoded(key, _headers(fields), b"")


def decode(key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes | None) -> Record:
    """Decodes a Kafka message.

    Raises:
        WireError: it is not a record of ours, has an unknown version, or is damaged; the error says which.
    """
    fields = dict(headers)
    if (version := fields.get("airtrace")) not in WIRE_VERSIONS:
        known = " and ".join(map(repr, WIRE_VERSIONS))
        raise WireError(f"wire version {version!r}, this reader knows {known}: upgrade the older side")
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


def _headers(fields: dict[str, str], version: bytes = WIRE_VERSIONS[0]) -> Headers:
    return (("airtrace", version), *((name, text.encode()) for name, text in fields.items()))


def _integer(text: bytes) -> int:
    number = int(text)
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{text[:30]!r} is out of bounds")
    return number


def _gap(stream_id: int, fields: dict[str, bytes], reason: GapReason) -> Gap:
    start, end = _integer(fields["start"]), _integer(fields["end"])
    if end <= start:
        raise ValueError(f"a gap that ends {start - end} samples before it starts")
    return Gap(stream_id, start, end, reason, _integer(fields.get("epoch", b"0")))


def _window(stream_id: int, fields: dict[str, bytes], value: bytes) -> Window:
    if _integer(fields["sample_rate_hz"]) != SAMPLE_RATE_HZ:
        raise WireError(f"sample rate {fields['sample_rate_hz']!r} Hz, this reader takes {SAMPLE_RATE_HZ}")
    codec = Codec(fields.get("codec", b"pcm").decode())
    pcm = flac.decode(value, SAMPLE_RATE_HZ) if codec is Codec.FLAC else value
    if not pcm or len(pcm) % BYTES_PER_SAMPLE:
        raise WireError(f"{len(pcm)} bytes are not a whole number of samples")
    return Window(
        stream_id=stream_id,
        session_id=uuid.UUID(hex=fields["session"].decode()),
        sequence=_integer(fields["sequence"]),
        anchor=_integer(fields["anchor"]),
        first_sample=_integer(fields["first_sample"]),
        pcm=pcm,
        epoch=_integer(fields.get("epoch", b"0")),
        is_discontinuous=fields.get("discontinuity", b"0") != b"0",
        trace=fields.get("traceparent", b"").decode("ascii", "replace")[:MAX_TRACE_CHARACTERS],
    )
