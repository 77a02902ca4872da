"""Logging for the whole process, including the libraries, to standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import structlog
from structlog.typing import Processor

HANDLER = "airtrace"
REPEAT_S = 10.0  # aiokafka logs the same message fifty times a second while its brokers are away


class RepeatFilter:
    """A logging filter: passes the same message of the same logger once per REPEAT_S."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_s: dict[tuple[str, str], float] = {}  # by logger and message template: few

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        now_s, key = self._clock(), (record.name, str(record.msg))
        if now_s - self._logged_s.get(key, -REPEAT_S) < REPEAT_S:
            return False
        self._logged_s[key] = now_s
        return True


def configure(level: str, format: str) -> None:
    """Configures logging; may be called again.

    level: debug, info, warning or error; libraries log at least at warning.
    format: console, json, or auto, which is console on a terminal and json otherwise.
    """
    minimum = logging.getLevelNamesMapping()[level.upper()]
    renderer = _renderer(format)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,  # so that configuring again takes effect everywhere
    )
    _configure_libraries(max(minimum, logging.WARNING), shared, renderer)


def _renderer(format: str) -> Processor:
    on_terminal = sys.stderr.isatty()
    if format == "console" or (format == "auto" and on_terminal):
        # Plain tracebacks: the default ones print local variables, and with them passwords.
        return structlog.dev.ConsoleRenderer(colors=on_terminal, exception_formatter=structlog.dev.plain_traceback)
    return _json


def _json(logger: object, name: str, event: structlog.typing.EventDict) -> str | bytes:
    event = structlog.processors.format_exc_info(logger, name, event)
    return structlog.processors.JSONRenderer()(logger, name, event)


def _configure_libraries(minimum: int, shared: list[Processor], renderer: Processor) -> None:
    """Sends records of the standard library's logging the same way; replaces the handler of an earlier call."""
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(HANDLER)
    handler.addFilter(RepeatFilter(time.monotonic))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(minimum)
