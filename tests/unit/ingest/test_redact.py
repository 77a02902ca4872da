"""Credentials leave no trace, and no input raises."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.redact import redact, redact_text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://radio.example/live.mp3", "http://radio.example/live.mp3"),
        ("http://radio.example:8000/@station/live", "http://radio.example:8000/@station/live"),
        ("https://user:secret@radio.example:8443/live", "https://radio.example:8443/live"),
        ("rtsp://user:sec@ret@10.0.0.1/ch1", "rtsp://10.0.0.1/ch1"),
        ("http://[::1]:8000/a", "http://[::1]:8000/a"),
        ("http://r.example/a?token=secret&format=mp3", "http://r.example/a?token=***&format=***"),
        ("http://r.example/a?secret", "http://r.example/a?***"),
        ("srt://r.example:9000?passphrase=secret;streamid=x", "srt://r.example:9000?passphrase=***;streamid=***"),
        ("http://r.example/a#secret", "http://r.example/a"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_a_url_keeps_what_tells_streams_apart(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "user:secret@radio.example/live",
        "http://user:sec/secret@radio.example/live",
        "http://user:secret#@radio.example/",
        "http://user:secret@[::1/live",
        "concat:http://user:secret@a|http://b",
        "http:\\\\user:secret@radio.example",
        "",
    ],
)
def test_a_url_that_cannot_be_parsed_is_hidden_altogether(url: str) -> None:
    assert redact(url) == "***"


@given(st.text())
@example("http://[")
@example("http://a:99999999/")
@example("//\ud800@")
def test_nothing_raises(text: str) -> None:
    redact(text)
    redact_text(text, text)


@given(st.text("abcdefghijklmnopqrstuvwxyz:@%&", min_size=1))
def test_no_password_survives(password: str) -> None:
    secret = f"S3CRET{password}"
    assert "S3CRET" not in redact(f"http://user:{secret}@radio.example/live")


def test_errors_are_quoted_without_credentials() -> None:
    url = "http://user:pa%24%24word@radio.example:8000/live?key=abc123"
    said = (
        f"Error opening input file {url}. [tcp @ 0x1] Connection to "
        "tcp://user:pa%24%24word@radio.example:8000?key=abc123 failed: refused, redirected to "
        "https://user:other@cdn.example/x?sig=zzzz, password pa$$word, key abc123"
    )
    shown = redact_text(said, url)
    assert not any(secret in shown for secret in ("pa%24%24word", "pa$$word", "abc123", "user", "other", "zzzz"))
    assert "http://radio.example:8000/live?key=***." in shown
    assert "failed: refused" in shown
    assert "https://cdn.example/x?sig=***," in shown


def test_an_error_without_a_url_stays_as_it_is() -> None:
    said = "Server returned 404 Not Found (mp3)"
    assert redact_text(said, "http://radio.example/a?format=mp3") == said
