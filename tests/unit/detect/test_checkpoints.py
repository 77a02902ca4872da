"""Checkpoint files: whether they are intact, and the instructions for a manual download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from monitor.detect.checkpoints import Checkpoint, manual_instructions, state

CONTENT = np.random.default_rng(1).bytes(3_000)
PUBLISHED = Checkpoint(
    "made", "made.pth", "https://example.org/made.pth", len(CONTENT), hashlib.md5(CONTENT).hexdigest(), 32_000
)


def test_a_file_is_missing_incomplete_wrong_or_valid(tmp_path: Path) -> None:
    path = tmp_path / "made.pth"
    assert state(PUBLISHED, path) == "missing"
    for content, expected in ((CONTENT[:10], "incomplete"), (bytes(len(CONTENT)), "wrong"), (CONTENT + b"x", "wrong")):
        path.write_bytes(content)
        assert state(PUBLISHED, path) == expected
    path.write_bytes(CONTENT)
    assert state(PUBLISHED, path) == "valid"


def test_the_manual_instructions_fit_on_one_line(tmp_path: Path) -> None:
    assert "\n" not in manual_instructions(PUBLISHED, tmp_path / "made.pth")
