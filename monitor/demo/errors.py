"""What can go wrong in the demo, apart from what can go wrong in Airtrace."""

from __future__ import annotations

from monitor.errors import AirtraceError


class DemoError(AirtraceError):
    """The demo cannot go on; the message says what to do."""

    exit_code = 4
    title = "The demo cannot go on"
