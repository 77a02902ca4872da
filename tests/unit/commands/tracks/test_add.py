"""Files and folders that change while they are read."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest

from monitor.commands.tracks.add import UnchangedFile, _below
from monitor.errors import AudioError


def test_a_file_that_stays_as_it_is_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(range(256)) * 10)
    with path.open("rb") as file:
        steady = UnchangedFile(file, "a.wav", 10_000)
        assert (steady.seek(0, os.SEEK_END), steady.seek(0)) == (2560, 0)
        assert b"".join(iter(lambda: steady.read(1000), b"")) == path.read_bytes()
        with pytest.raises(io.UnsupportedOperation):
            steady.fileno()


@pytest.mark.parametrize("how", ["grows", "shrinks", "is written over"])
def test_a_file_that_changes_fails_before_its_end_is_given(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(3000))
    with path.open("rb", buffering=0) as file:
        steady = UnchangedFile(file, "a.wav", 10_000)  # type: ignore[arg-type]
        assert len(steady.read(1000)) == 1000
        if how == "grows":
            path.write_bytes(bytes(4000))
        elif how == "shrinks":
            path.write_bytes(bytes(1500))
        else:
            path.write_bytes(b"x" * 3000)
            os.utime(path, ns=(1, 1))
        with pytest.raises(AudioError, match=r"a\.wav: it changed") as caught:
            _ = [steady.read(1000) for _ in range(3)]
        assert caught.value.reason == "changed"


def test_a_file_that_is_larger_than_what_is_taken_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with path.open("wb") as file:
        file.truncate(3_000_001)  # nothing is on the disk
    with path.open("rb") as file, pytest.raises(AudioError, match="at most 3 MB") as caught:
        UnchangedFile(file, "a.wav", 3_000_000)
    assert caught.value.reason == "too_large"


def test_a_directory_that_goes_away_while_it_is_walked_is_a_row(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").touch()
    walk = _below(tmp_path)
    first = next(walk)
    shutil.rmtree(tmp_path / "b")
    rows = [first, *walk]
    assert [(row.path, row.reason) for row in rows] == [
        (tmp_path / "a/x.wav", None),
        (tmp_path / "c/x.wav", None),
        (tmp_path / "b", "unreadable"),
    ]


def test_only_audio_is_taken_from_a_directory_and_links_that_lead_nowhere_are_rows_of_their_own(tmp_path: Path) -> None:
    for name in ("b.txt", "A.MP3", "c"):
        (tmp_path / name).touch()
    (tmp_path / "lost.ogg").symlink_to(tmp_path / "none.ogg")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [row.path.name for row in _below(tmp_path)] == ["A.MP3", "lost.ogg"]
