"""How urgent the alert of a match is. Pure."""

from __future__ import annotations

# "This recording was played" is a fact to act on; "this sounds similar" is for a person to judge.
SEVERITIES = {"fingerprint": "warning", "panns": "info"}


def severity(detector: str) -> str:
    """The severity of the alert that a match of a detector raises."""
    return SEVERITIES[detector]
