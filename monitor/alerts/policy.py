"""Which matches somebody must see, and how urgently. Pure."""

from __future__ import annotations

# "This recording" is a fact to act on; "sounds like this" is for a person to judge.
SEVERITIES = {"fingerprint": "warning", "panns": "info"}


def severity(detector: str) -> str:
    """Severity of the alert that a match of this detector raises."""
    return SEVERITIES[detector]
