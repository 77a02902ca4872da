"""Files and folders that change while they are read."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest

from monitor.commands.tracks.files import UnchangedFile, in_directory
from monitor.errors import AudioError


def test_an_unchanged_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(range(256)) * 10)
    with path.open("rb") as file:
        unchanged = UnchangedFile(file, "a.wav", 10_000)
        assert (unchanged.seek(0, os.SEEK_END), unchanged.seek(0)) == (2560, 0)
        assert b"".join(iter(lambda: unchanged.read(1000), b"")) == path.read_bytes()
        with pytest.raises(io.UnsupportedOperation):
            unchanged.fileno()


@pytest.mark.parametrize("how", ["grows", "shrinks", "is overwritten"])
def test_a_file_that_changes_fails_before_its_end_is_read(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(3000))
    with path.open("rb", buffering=0) as file:
        unchanged = UnchangedFile(file, "a.wav", 10_000)  # type: ignore[arg-type]
        assert len(unchanged.read(1000)) == 1000
        if how == "grows":
            path.write_bytes(bytes(4000))
        elif how == "shrinks":
            path.write_bytes(bytes(1500))
        else:
            path.write_bytes(b"x" * 3000)
            os.utime(path, ns=(1, 1))
        with pytest.raises(AudioError, match=r"a\.wav: the file changed") as caught:
            _ = [unchanged.read(1000) for _ in range(3)]
        assert caught.value.reason == "changed"


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with path.open("wb") as file:
        file.truncate(3_000_001)  # sparse
    with path.open("rb") as file, pytest.raises(AudioError, match="larger than 3 MB") as caught:
        UnchangedFile(file, "a.wav", 3_000_000)
    assert caught.value.reason == "too_large"


def test_a_directory_that_disappears_during_the_walk_is_a_row(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").touch()
    walk = in_directory(tmp_path)
    first = next(walk)
    shutil.rmtree(tmp_path / "b")
    rows = [first, *walk]
    assert [(row.path, row.reason) for row in rows] == [
        (tmp_path / "a/x.wav", None),
        (tmp_path / "c/x.wav", None),
        (tmp_path / "b", "unreadable"),
    ]


def test_a_directory_yields_only_audio_files_and_dangling_links(tmp_path: Path) -> None:
    for name in ("b.txt", "A.MP3", "c"):
        (tmp_path / name).touch()
    (tmp_path / "lost.ogg").symlink_to(tmp_path / "none.ogg")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [row.path.name for row in in_directory(tmp_path)] == ["A.MP3", "lost.ogg"]
