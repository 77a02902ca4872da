"""Detects encrypted audio files (DRM), which ffmpeg would decode to noise or report as damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

# The sample entries of iTunes, Common Encryption and Audible, after the header of the sample description table.
PROTECTED_MP4 = re.compile(rb"stsd.{12}(drms|enca|drmi|aavd)", re.DOTALL)
MAX_MOOV_BYTES = 64_000_000  # the index of an MP4 file; 10 h of audio need less than 10 MB
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
# Content encryption object and its extended form (ASF specification, 10.1 and 10.2).
ASF_ENCRYPTION = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
MAX_ASF_HEADER_BYTES = 1_000_000


def is_protected(path: Path) -> bool:
    """Whether an MP4 or Windows Media file declares encrypted audio. False for every other file."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head == ASF_HEADER:
                header = file.read(MAX_ASF_HEADER_BYTES)
                return any(each in header for each in ASF_ENCRYPTION)
            return head[4:8] == b"ftyp" and PROTECTED_MP4.search(_moov(file)) is not None
    except OSError:  # the decoder reports it
        return False


def _moov(file: BinaryIO) -> bytes:
    """The `moov` box, which describes the tracks; empty if there is none."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        size, kind, taken = int.from_bytes(head[:4], "big"), head[4:], 8
        if size == 1:  # the size follows, as 64 bits
            size, taken = int.from_bytes(file.read(8), "big"), 16
        if kind == b"moov":
            return file.read(min(size - taken, MAX_MOOV_BYTES) if size else MAX_MOOV_BYTES)
        if size < taken:  # it extends to the end of the file, or the file is damaged
            break
        file.seek(size - taken, 1)
    return b""
