"""Turns ffmpeg's last messages into the reason of a coverage gap and one readable line. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.wire import GapReason

KEPT_CHARACTERS = 4000  # of each line: it may quote a whole web page
SHOWN_LINES = 2
SHOWN_CHARACTERS = 300

# ffmpeg's messages for a source that exists but has no audio ...
NOT_AUDIO = re.compile(
    r"Invalid data found|not contain any stream|matches no streams|Protocol not found|not on whitelist"
    r"|Header missing|no 'data' tag|Failed to read frame size"
)
# ... and for a source that is missing or goes away.
UNREACHABLE = re.compile(
    r"refused|resolve|timed? ?out|unreachable|No route|Server returned|HTTP error|reset by peer|Broken pipe"
    r"|HTTP response|Input/output error|End of file|Stream ends prematurely|certificate|TLS|handshake|Unauthorized",
    re.IGNORECASE,
)
ORIGIN = re.compile(r"^(\[[^\]]*\] *)+")  # "[tcp @ 0x55d5] ", possibly twice
OPENING = re.compile(r"^Error opening input: ")
# Lines that only refer to another line, or that follow from having no input.
HOLLOW = re.compile(
    r"^(Error opening (in|out)put files?\b|Task finished|Terminating thread|Last message|Nothing was|Conversion failed"
    r"|Neither number of channels|Error (initializing|applying|configuring|reinitializing)|Could not open encoder)"
)
NO_STREAM = re.compile(r"Output file (#\d+ )?does not contain any stream")
NO_AUDIO = "there is no audio in it"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no more audio: the reason of the coverage gap, and ffmpeg's last messages without credentials."""

    reason: GapReason
    text: str
    exit_code: int | None = None


def gap_reason(exit_code: int | None, text: str, *, had_audio: bool) -> GapReason:
    """The reason of the gap after ffmpeg exited with this code and said `text`; `had_audio`: it gave some before."""
    if had_audio:
        return GapReason.ENDED if exit_code == 0 or UNREACHABLE.search(text) else GapReason.DECODE_ERROR
    if exit_code == 0 or NOT_AUDIO.search(text):
        return GapReason.NOT_AUDIO
    return GapReason.CONNECTING if UNREACHABLE.search(text) else GapReason.DECODE_ERROR


def summarize(lines: Sequence[str], exit_code: int | None, *, had_audio: bool) -> str:
    """The last informative lines, each once, or a sentence about the exit code; at most SHOWN_CHARACTERS."""
    shown: list[str] = []
    for line in reversed(lines):
        line = OPENING.sub("", ORIGIN.sub("", line))
        if line and not HOLLOW.search(line) and not any(line in other for other in shown):
            shown = [other for other in shown if other not in line]
            shown.insert(0, line)
        if len(shown) == SHOWN_LINES:
            break
    text = NO_STREAM.sub(NO_AUDIO, "; ".join(shown))[:SHOWN_CHARACTERS]
    return text or _describe_exit(exit_code, had_audio)


def printable(line: str) -> str:
    """A line of ffmpeg without control characters; at most KEPT_CHARACTERS."""
    return "".join(character if character.isprintable() else " " for character in line[:KEPT_CHARACTERS]).strip()


def _describe_exit(exit_code: int | None, had_audio: bool) -> str:
    if exit_code == 0:
        return "the source ended" if had_audio else NO_AUDIO
    return f"ffmpeg ended with code {exit_code}"
