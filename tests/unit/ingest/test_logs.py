"""One stream of logs, ours and the libraries', in the requested format, without local variables in tracebacks."""

import json
import logging
import subprocess
import sys

from ingest.logs import REPEAT_S, RepeatFilter

SAYS = """
import logging, sys, structlog
from ingest import logs
log = structlog.get_logger("before")
logs.configure("debug", "console")
logs.configure(*sys.argv[1:])
log.debug("quiet.event")
log.warning("loud.event", stream=7)
logging.getLogger("library").info("news")
logging.getLogger("library").warning("%s is wrong", "it")
password = "hunter2" * 1
try:
    raise ValueError("broken")
except ValueError:
    log.exception("bad.event")
"""


def _said(*arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SAYS, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_auto_is_json_without_a_terminal() -> None:
    lines = [json.loads(line) for line in _said("info", "auto")]
    assert [line["event"] for line in lines] == ["loud.event", "it is wrong", "bad.event"]
    assert lines[0]["stream"] == 7
    assert lines[0]["level"] == "warning"
    assert lines[1]["logger"] == "library"
    assert "ValueError: broken" in lines[2]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_console_is_readable_and_has_no_colors_without_a_terminal() -> None:
    text = "\n".join(_said("warning", "console"))
    assert "loud.event" in text
    assert "stream=7" in text
    assert "it is wrong" in text
    assert "quiet.event" not in text
    assert "\x1b" not in text


def test_tracebacks_do_not_show_variables() -> None:
    for format in ("console", "json"):
        text = "\n".join(_said("info", format)).replace('"hunter2" * 1', "")
        assert "ValueError: broken" in text
        assert "hunter2" not in text


def test_the_level_applies_to_libraries_but_is_at_least_warning() -> None:
    assert len(_said("error", "json")) == 1
    events = [json.loads(line)["event"] for line in _said("debug", "json")]
    assert events == ["quiet.event", "loud.event", "it is wrong", "bad.event"]


def _warning(text: str, *values: object, logger: str = "aiokafka") -> logging.LogRecord:
    return logging.LogRecord(logger, logging.WARNING, "", 0, text, values, None)


def test_repeated_messages_of_a_library_are_logged_once_in_a_while() -> None:
    now = [100.0]
    seldom = RepeatFilter(lambda: now[0])
    assert seldom.filter(_warning("no broker at %s", "a"))
    assert not seldom.filter(_warning("no broker at %s", "b"))
    assert seldom.filter(_warning("something else"))
    assert seldom.filter(_warning("no broker at %s", "a", logger="other"))
    now[0] += REPEAT_S
    assert seldom.filter(_warning("no broker at %s", "a"))
