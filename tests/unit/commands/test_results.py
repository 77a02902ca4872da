"""Tables of matches and coverage say what they sounded like, where PANNs has listened."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.commands import results

SOUND = {"kind": "music_under_speech", "analyzed_s": 30.0, "shares": {"music": 0.25, "music_under_speech": 0.75}}


def shown(capsys: pytest.CaptureFixture[str], *sounds: dict[str, Any] | None) -> list[str]:
    found: list[dict[str, Any]] = [{"sound": sound} for sound in sounds]
    results._table(("stream",), found, [(f"radio-{i}",) for i in range(len(found))], "nothing")
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_row_says_what_most_of_it_sounded_like(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, SOUND, None) == ["stream sounds like", "radio-0 music under speech (75%)", "radio-1"]


def test_without_panns_there_is_no_such_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, None, None) == ["stream", "radio-0", "radio-1"]
