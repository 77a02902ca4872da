"""Removes credentials from URLs, and from text that may quote them, before anybody sees them. Never raises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

HIDDEN = "***"

# A URL inside a sentence, without the punctuation after it.
QUOTED_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*[^\s'\"<>.,:;)\]]")
PARAMETER = re.compile(r"[^&;]+")

# Shorter values stay in text: hiding every "1" or "mp3" would make an error unreadable, and they are no secrets.
MIN_SECRET_CHARACTERS = 4


def redact(url: str) -> str:
    """The URL without user, password, fragment and query values; `***` if it cannot be parsed."""
    parts = _parts(url)
    if parts is None:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    query = PARAMETER.sub(_hide_value, parts.query)
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def redact_text(text: str, url: str) -> str:
    """Text about `url`, such as an error message, with every URL redacted and the secrets of this one hidden."""
    if url:
        text = text.replace(url, redact(url))
    text = QUOTED_URL.sub(lambda found: redact(found[0]), text)
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        is_whole = bool(parts.scheme and parts.hostname)
        _ = parts.port  # raises if it is not a number: then the apparent host may be part of a password
    except ValueError:
        return None
    return parts if is_whole else None


def _hide_value(parameter: re.Match[str]) -> str:
    name, equals, _ = parameter[0].partition("=")
    return f"{name}={HIDDEN}" if equals else HIDDEN


def _secrets(url: str) -> Iterator[str]:
    parts = _parts(url)
    if parts is None:
        return
    values = [parameter.partition("=")[2] or parameter for parameter in PARAMETER.findall(parts.query)]
    for value in (parts.password or "", *values):
        yield from (secret for secret in {value, unquote(value)} if len(secret) >= MIN_SECRET_CHARACTERS)
