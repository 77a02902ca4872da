"""Turns ffmpeg's last words into a coverage gap's reason and one readable line. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingest.wire import GapReason

KEPT_CHARACTERS = 4000  # of each: a line may quote a whole web page
SHOWN_LINES = 2
SHOWN_CHARACTERS = 300

# What ffmpeg says when the source is there but no audio ...
NOT_AUDIO = re.compile(
    r"Invalid data found|not contain any stream|matches no streams|Protocol not found|not on whitelist"
    r"|Header missing|no 'data' tag|Failed to read frame size"
)
# ... and when the source is not there, or goes away.
UNREACHABLE = re.compile(
    r"refused|resolve|timed? ?out|unreachable|No route|Server returned|HTTP error|reset by peer|Broken pipe"
    r"|HTTP response|Input/output error|End of file|Stream ends prematurely|certificate|TLS|handshake|Unauthorized",
    re.IGNORECASE,
)
ORIGIN = re.compile(r"^(\[[^\]]*\] *)+")  # "[tcp @ 0x55d5] ", also twice
OPENING = re.compile(r"^Error opening input: ")
# Lines that only say that there was another line, and what follows from having no input.
HOLLOW = re.compile(
    r"^(Error opening (in|out)put files?\b|Task finished|Terminating thread|Last message|Nothing was|Conversion failed"
    r"|Neither number of channels|Error (initializing|applying|configuring|reinitializing)|Could not open encoder)"
)
NO_STREAM = re.compile(r"Output file (#\d+ )?does not contain any stream")
NO_AUDIO = "there is no audio in it"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no more audio: a coverage gap's reason, and ffmpeg's last words without credentials."""

    reason: GapReason
    text: str
    exit_code: int | None = None


def _reason(code: int | None, has_given: bool, text: str) -> GapReason:
    if has_given:
        return GapReason.ENDED if code == 0 or UNREACHABLE.search(text) else GapReason.DECODE_ERROR
    if code == 0 or NOT_AUDIO.search(text):
        return GapReason.NOT_AUDIO
    return GapReason.CONNECTING if UNREACHABLE.search(text) else GapReason.DECODE_ERROR


def _summary(lines: list[str]) -> str:
    """The last lines that say something, each once."""
    told: list[str] = []
    for line in reversed(lines):
        line = OPENING.sub("", ORIGIN.sub("", line))
        if line and not HOLLOW.search(line) and not any(line in other for other in told):
            told = [other for other in told if other not in line]
            told.insert(0, line)
        if len(told) == SHOWN_LINES:
            break
    return NO_STREAM.sub(NO_AUDIO, "; ".join(told))


def _exit(code: int | None, has_given: bool) -> str:
    if code == 0:
        return "the source ended" if has_given else NO_AUDIO
    return f"ffmpeg ended with code {code}"


def _clean(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line[:KEPT_CHARACTERS]).strip()
