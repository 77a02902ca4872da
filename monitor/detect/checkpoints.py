"""The checkpoint files of pretrained models: which exist, where they belong, and whether they are intact."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from monitor.errors import ModelUnavailable

State = Literal["valid", "missing", "incomplete", "wrong"]

FOLDER = "models"  # in the home
RECORD = "https://zenodo.org/records/3987831/files"
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint file. rate_hz: the sample rate of the network's input."""

    name: str
    file_name: str
    url: str
    size_bytes: int
    md5: str
    rate_hz: int

    def within(self, home: Path) -> Path:
        """The path at which a home keeps the file."""
        return home / FOLDER / self.file_name


# Kong et al., PANNs (IEEE TASLP 2020); weights under CC BY 4.0. Sizes and checksums are those of the Zenodo record.
PANNS = Checkpoint(
    "panns",
    "Cnn14_mAP=0.431.pth",
    f"{RECORD}/Cnn14_mAP%3D0.431.pth?download=1",
    327_428_481,
    "541141fa2ee191a88f24a3219fff024e",
    32_000,
)
PANNS_16K = Checkpoint(
    "panns-16k",
    "Cnn14_16k_mAP=0.438.pth",
    f"{RECORD}/Cnn14_16k_mAP%3D0.438.pth?download=1",
    358_668_570,
    "362fc5ff18f1d6ad2f6d464b45893f2c",
    16_000,
)
CHECKPOINTS = {each.name: each for each in (PANNS, PANNS_16K)}


@dataclass(frozen=True, slots=True)
class Digests:
    """Hexadecimal digests of a file. The authors published the md5; the sha256 identifies the model of a vector."""

    md5: str
    sha256: str


def digests(file: BinaryIO) -> Digests:
    """The digests of a whole open file, which is rewound to its start. Blocking: about a second for 300 MB."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    file.seek(0)
    while block := file.read(READ_BYTES):
        md5.update(block)
        sha256.update(block)
    file.seek(0)
    return Digests(md5.hexdigest(), sha256.hexdigest())


def state(checkpoint: Checkpoint, path: Path) -> State:
    """Whether the file exists, is complete and is the published one. Blocking.

    Raises:
        ModelUnavailable: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        if size < checkpoint.size_bytes:
            return "incomplete"
        if size > checkpoint.size_bytes:
            return "wrong"
        with path.open("rb") as file:
            return "valid" if digests(file).md5 == checkpoint.md5 else "wrong"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror}") from error


def verified_digests(checkpoint: Checkpoint, file: BinaryIO, path: Path) -> Digests:
    """The digests of an open file, which must be the published one.

    Raises:
        ModelUnavailable: the file's md5 differs from the published one.
    """
    found = digests(file)
    if found.md5 != checkpoint.md5:
        raise ModelUnavailable(
            f"{path} is not the published file (md5 {found.md5}, not {checkpoint.md5}): delete it, then run "
            f"`airtrace models fetch {checkpoint.name}`"
        )
    return found


def manual_instructions(checkpoint: Checkpoint, path: Path) -> str:
    """Instructions for a machine without internet access."""
    return (
        f"download {checkpoint.url} ({checkpoint.size_bytes:,} bytes, md5 {checkpoint.md5}) on a machine with "
        f"internet access, copy it to {path}, then check it with `airtrace models`"
    )
