"""What can go wrong in training."""

from __future__ import annotations

from monitor.errors import AirtraceError


class TrainingError(AirtraceError):
    """The model cannot be trained or measured like this; the message says what to do."""

    exit_code = 3
    title = "The model cannot be trained like this"
