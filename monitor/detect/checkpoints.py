"""The files of pretrained models: which there are, where they lie, whether they are what their authors published."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from monitor.errors import ModelUnavailable

State = Literal["valid", "missing", "incomplete", "wrong"]

FOLDER = "models"  # within the home
RECORD = "https://zenodo.org/records/3987831/files"
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that its authors published. rate_hz: of the sound that its network takes."""

    name: str
    file_name: str
    url: str
    size_bytes: int
    md5: str
    rate_hz: int

    def within(self, home: Path) -> Path:
        """Where it belongs."""
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
    """Of a file's bytes, in hexadecimal. md5 is what its authors published, sha256 what vectors are told apart by."""

    md5: str
    sha256: str


def digests(file: BinaryIO) -> Digests:
    """Of an open file from its beginning, where it stands again afterwards. Blocking: a second for 300 MB."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    file.seek(0)
    while block := file.read(READ_BYTES):
        md5.update(block)
        sha256.update(block)
    file.seek(0)
    return Digests(md5.hexdigest(), sha256.hexdigest())


def state(checkpoint: Checkpoint, path: Path) -> State:
    """Whether the file is there, whole, and the published one. Blocking."""
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


def checked(checkpoint: Checkpoint, file: BinaryIO, path: Path) -> Digests:
    """The digests of an open file that must be the published one.

    Raises:
        ModelUnavailable: it is not.
    """
    found = digests(file)
    if found.md5 != checkpoint.md5:
        raise ModelUnavailable(
            f"{path} is not the file that was published (md5 {found.md5}, not {checkpoint.md5}): delete it, then "
            f"`airtrace models fetch {checkpoint.name}`"
        )
    return found


def by_hand(checkpoint: Checkpoint, path: Path) -> str:
    """What to put where, for a machine that reaches no internet."""
    return (
        f"download {checkpoint.url} ({checkpoint.size_bytes:,} bytes, md5 {checkpoint.md5}) where there is internet, "
        f"put it here as {path}, then look with `airtrace models`"
    )
