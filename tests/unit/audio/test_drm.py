"""Encrypted audio is recognized by the header of its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.audio.drm import is_protected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00\x00\x18ftypM4A ",
        b"\x00\x00\x00\x08ftyp\x00\x00\x00\x00moov",
        b"\x00\x00\x00\x10ftypM4A \x00\x00\x00\x00\xff",
    ],
)
def test_an_incomplete_header_is_not_protected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.m4a").write_bytes(content)
    assert not is_protected(tmp_path / "a.m4a")
    assert not is_protected(tmp_path / "none.m4a")


def test_windows_media_is_protected_if_its_header_says_so(tmp_path: Path) -> None:
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
    (tmp_path / "a.wma").write_bytes(head)
    assert not is_protected(tmp_path / "a.wma")
    (tmp_path / "a.wma").write_bytes(head + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"))
    assert is_protected(tmp_path / "a.wma")
