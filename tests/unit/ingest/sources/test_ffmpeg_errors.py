"""ffmpeg's last messages become the reason of a coverage gap and one readable line."""

import pytest

from ingest.sources.ffmpeg_errors import KEPT_CHARACTERS, NO_AUDIO, SHOWN_CHARACTERS, gap_reason, printable, summarize
from ingest.wire import GapReason


@pytest.mark.parametrize(
    ("exit_code", "text", "had_audio", "reason"),
    [
        (0, "", True, GapReason.ENDED),
        (1, "Connection reset by peer", True, GapReason.ENDED),
        (1, "Error while decoding", True, GapReason.DECODE_ERROR),
        (0, "", False, GapReason.NOT_AUDIO),
        (1, "Invalid data found when processing input", False, GapReason.NOT_AUDIO),
        (1, "Server returned 404 Not Found", False, GapReason.CONNECTING),
        (1, "Connection refused", False, GapReason.CONNECTING),
        (-9, "", False, GapReason.DECODE_ERROR),
        (None, "", False, GapReason.DECODE_ERROR),
    ],
)
def test_the_reason_depends_on_exit_code_messages_and_earlier_audio(
    exit_code: int | None, text: str, had_audio: bool, reason: GapReason
) -> None:
    assert gap_reason(exit_code, text, had_audio=had_audio) is reason


def test_a_summary_has_the_last_informative_lines_without_their_origin() -> None:
    lines = [
        "[mp3 @ 0x1] an early warning",
        "[https @ 0x55d5] [tcp @ 0x2] Connection refused",
        "Error opening input: Connection refused",
        "Error opening input files: Connection refused",
        "Conversion failed!",
    ]
    assert summarize(lines, 1, had_audio=False) == "an early warning; Connection refused"


def test_a_summary_names_a_missing_audio_stream_plainly() -> None:
    assert summarize(["Output file #0 does not contain any stream"], 1, had_audio=False) == NO_AUDIO


def test_a_summary_is_bounded() -> None:
    assert len(summarize(["x" * 1000], 1, had_audio=False)) == SHOWN_CHARACTERS


@pytest.mark.parametrize(
    ("exit_code", "had_audio", "text"),
    [(0, True, "the source ended"), (0, False, NO_AUDIO), (3, True, "ffmpeg ended with code 3")],
)
def test_without_messages_the_exit_code_is_described(exit_code: int, had_audio: bool, text: str) -> None:
    assert summarize([], exit_code, had_audio=had_audio) == text


def test_control_characters_become_spaces_and_lines_are_bounded() -> None:
    assert printable("\x1b[31mlast \x00words\t") == "[31mlast  words"
    assert len(printable("x" * 2 * KEPT_CHARACTERS)) == KEPT_CHARACTERS
