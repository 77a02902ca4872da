"""Encoded programs as a station sends them: when each frame or page has been on the air. Pure.

A program is a loop: its chunks are numbered on and on, lap after lap. MP3 and ADTS frames repeat as they are. Ogg pages
get positions, numbers and checksums that continue from the lap before.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Codec = Literal["mp3", "aac", "opus"]

MP3_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_RATES_HZ = (44_100, 48_000, 32_000)
MP3_SAMPLES = 1152
ADTS_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
ADTS_SAMPLES = 1024
OPUS_RATE_HZ = 48_000
OPUS_PACKET_SAMPLES = 960  # 20 ms, the default of libopus
OGG_HEADER = struct.Struct("<4sBBqIIIB")
OGG_CONTINUED, OGG_BEGINS, OGG_ENDS = 1, 2, 4
# zlib's CRC-32 has the polynomial of Ogg's with the bits of each byte and of the result in reverse order.
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
ONES = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Encoded:
    """A program. Chunk i is data[offsets[i] : offsets[i + 1]], and its sound ends at ends_s[i].

    head: sent first to each listener. samples: of one lap, in Ogg's clock; 0 for other formats.
    """

    data: bytes
    offsets: NDArray[np.int64]
    ends_s: NDArray[np.float64]
    head: bytes = b""
    samples: int = 0

    @property
    def duration_s(self) -> float:
        """The length of a lap in seconds."""
        return float(self.ends_s[-1])

    def aired(self, at_s: float) -> int:
        """How many chunks have been on the air completely, `at_s` seconds after the start of the first lap."""
        lap, within_s = divmod(at_s, self.duration_s)
        return int(lap) * len(self.ends_s) + int(np.searchsorted(self.ends_s, within_s, "right"))

    def chunks(self, first: int, beyond: int) -> bytes:
        """The chunks with these numbers, starting at `first`, up to but excluding `beyond`."""
        parts, n = [], len(self.ends_s)
        while first < beyond:
            lap, begin = divmod(first, n)
            end = min(n, begin + beyond - first)
            parts.append(self._of_lap(lap, begin, end))
            first += end - begin
        return b"".join(parts)

    def _of_lap(self, lap: int, begin: int, end: int) -> bytes:
        if not self.samples:
            return self.data[self.offsets[begin] : self.offsets[end]]
        pages = (self.data[self.offsets[i] : self.offsets[i + 1]] for i in range(begin, end))
        return b"".join(moved(page, lap * self.samples, lap * len(self.ends_s)) for page in pages)


def parse(codec: Codec, data: bytes) -> Encoded:
    """Splits an encoded program into frames or pages.

    Raises:
        ValueError: the data is not in the format that the codec names.
    """
    if codec == "opus":
        return _ogg(data)
    length = _mp3_frame if codec == "mp3" else _adts_frame
    offsets, ends_s, at, seconds = [0], [], 0, 0.0
    while at + 7 <= len(data):
        n_bytes, frame_s = length(data, at)
        if at + n_bytes > len(data):
            break
        at, seconds = at + n_bytes, seconds + frame_s
        offsets.append(at)
        ends_s.append(seconds)
    return Encoded(data, np.array(offsets), np.array(ends_s))


def _mp3_frame(data: bytes, at: int) -> tuple[int, float]:
    """Bytes and seconds of the MPEG 1 layer III frame that begins at a byte."""
    if data[at] != 0xFF or data[at + 1] & 0xFE != 0xFA:
        raise ValueError(f"no MP3 frame at byte {at}")
    rate_hz = MP3_RATES_HZ[data[at + 2] >> 2 & 3]
    padding = data[at + 2] >> 1 & 1
    return MP3_SAMPLES // 8 * MP3_KBITS[data[at + 2] >> 4] * 1000 // rate_hz + padding, MP3_SAMPLES / rate_hz


def _adts_frame(data: bytes, at: int) -> tuple[int, float]:
    """Bytes and seconds of the ADTS frame that begins at a byte."""
    if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        raise ValueError(f"no ADTS frame at byte {at}")
    n_bytes = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return n_bytes, ADTS_SAMPLES / ADTS_RATES_HZ[data[at + 2] >> 2 & 15]


def _ogg(data: bytes) -> Encoded:
    """The pages of one Opus stream. The first two, its headers, become the head."""
    offsets, ends_s, at, samples = [], [], 0, 0
    while at < len(data):
        mark, _, flags, _, _, number, _, n_segments = OGG_HEADER.unpack_from(data, at)
        if mark != b"OggS" or flags & OGG_CONTINUED:
            raise ValueError(f"no Ogg page that begins with a packet at byte {at}")
        lacing = data[at + OGG_HEADER.size : at + OGG_HEADER.size + n_segments]
        if number >= 2:
            samples += OPUS_PACKET_SAMPLES * sum(each < 255 for each in lacing)
            offsets.append(at)
            ends_s.append(samples / OPUS_RATE_HZ)
        at += OGG_HEADER.size + n_segments + sum(lacing)
    return Encoded(data, np.array([*offsets, at]), np.array(ends_s), data[: offsets[0]], samples)


def moved(page: bytes, by_samples: int, by_pages: int) -> bytes:
    """An Ogg page at a later place in its stream; it never ends the stream."""
    mark, version, flags, position, serial, number, _, n_segments = OGG_HEADER.unpack_from(page)
    facts = (mark, version, flags & ~OGG_ENDS, position + by_samples, serial, number + by_pages)
    unsigned = OGG_HEADER.pack(*facts, 0, n_segments) + page[OGG_HEADER.size :]
    return OGG_HEADER.pack(*facts, checksum(unsigned), n_segments) + page[OGG_HEADER.size :]


def checksum(page: bytes) -> int:
    """Ogg's CRC of a page whose own checksum is zero."""
    register = zlib.crc32(page.translate(REVERSED), ONES) ^ ONES
    return int(f"{register:032b}"[::-1], 2)
