"""Only network streams are opened, and never a file, whatever they name."""

import pytest

from ingest.errors import SourceError, UnsupportedUrl
from ingest.settings import IngestSettings
from ingest.sources.urls import ACCEPTED, IO_TIMEOUT_S, PROTOCOLS, check


@pytest.mark.parametrize(
    "url",
    [
        "http://radio.example/live.mp3",
        "https://radio.example/hls/master.m3u8?token=x",
        "HTTP://radio.example/live",
        "http://127.0.0.1:8000/live",
        "http://[::1]:8000/live",
        "rtmp://radio.example/app/key",
        "rtmps://radio.example/app/key",
        "rtsp://user:secret@10.0.0.1:554/ch1",
        "rtsps://10.0.0.1/ch1",
        "srt://10.0.0.1:9000?mode=caller",
        "udp://239.0.0.1:1234",
        "rtp://239.0.0.1:5004",
    ],
)
def test_network_streams_are_accepted_with_options_that_keep_files_out(url: str) -> None:
    source = check(url)
    assert source.url.lower() == url.lower()
    assert source.url.partition(":")[0] in PROTOCOLS
    opened = source.options["protocol_whitelist"].split(",")
    assert not {"file", "pipe", "concat", "data", "fd", "subfile", "cache", "unix"} & set(opened)
    assert not any(option.startswith("reconnect") for option in source.options)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "live.mp3",
        "-i",
        "",
        "concat:http://a/1|/etc/passwd",
        "pipe:0",
        "data:audio/wav;base64,AAAA",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "crypto+http://a/b",
        "ftp://radio.example/a.mp3",
        "unix:///run/a.sock",
        "http:/radio.example/live",
        "http:///live",
        "udp://@:1234",
        "http://radio.example:0/",
        "http://radio.example:99999/",
        "http://radio.example:http/",
        "http://[::1/live",
        "http://radio.example/a b",
        "http://radio.example/a\r\nHost: other",
        "http://radio.example/a\x00",
    ],
)
def test_anything_else_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(UnsupportedUrl) as refused:
        check(url)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, SourceError)
    assert refused.value.reason == "not_audio"


def test_the_refusal_says_what_is_accepted() -> None:
    with pytest.raises(UnsupportedUrl, match="use one of http, https"):
        check("ftp://radio.example/a.mp3")
    assert all(scheme in ACCEPTED for scheme in PROTOCOLS)


@pytest.mark.parametrize(
    "url",
    ["ftp://user:secret@h/", "user:secret@h", "http://user:secret@h:x/", "http://u:secret@/x", "rtsp://u:secret@h\0"],
)
def test_no_refusal_repeats_a_password(url: str) -> None:
    with pytest.raises(UnsupportedUrl) as refused:
        check(url)
    assert "secret" not in str(refused.value)


def test_spaces_around_a_url_are_ignored() -> None:
    assert check(" http://radio.example/live\n").url == "http://radio.example/live"


def test_airtrace_sends_its_name_and_rtsp_uses_tcp() -> None:
    assert check("http://a/").options["user_agent"].startswith("Airtrace/")
    assert check("rtsp://a/").options["rtsp_transport"] == "tcp"


def test_ffmpegs_own_timeout_is_never_the_first() -> None:
    longest = [
        bound
        for name in ("connect_timeout_s", "stall_timeout_s")
        for limit in IngestSettings.model_fields[name].metadata
        if (bound := getattr(limit, "le", None)) is not None
    ]
    assert len(longest) == 2
    assert max(longest) < IO_TIMEOUT_S
