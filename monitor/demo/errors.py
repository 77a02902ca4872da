"""The error of the demo itself; Airtrace's own errors are in monitor/errors.py."""

from __future__ import annotations

from monitor.errors import AirtraceError


class DemoError(AirtraceError):
    """The demo cannot continue; the message says what to do."""

    exit_code = 4
    title = "The demo cannot continue"
