"""Errors of training and of the retrieval evaluation."""

from __future__ import annotations

from monitor.errors import AirtraceError


class TrainingError(AirtraceError):
    """The model cannot be trained or measured as requested; the message says what to do."""

    exit_code = 3
    title = "The model cannot be trained or measured"
